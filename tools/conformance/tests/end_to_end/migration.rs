//! Moves users from other systems to Latchkey, and from one Latchkey to another, with the documented commands.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use develop::tools::{ToolSet, Tools};
use dynamo::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use template::project::Project;
use template::state::DevState;

use super::server::Server;
use crate::journeys::mails::last;

/// The number of users in the application's database.
const USERS: u64 = 5_000;

/// One in this many users signs in.
const SAMPLE: u64 = 100;

/// Adds users to the tutorial's application. Only users who sign in get a hash with Werkzeug's default cost; computing
/// such a hash for every user would take minutes.
const ADD_USERS: &str = r#"
import sys
from app import User, app, db
from werkzeug.security import generate_password_hash
count, sample = map(int, sys.argv[1:])
with app.app_context():
    db.create_all()
    for n in range(1, count + 1):
        method = "pbkdf2:sha256:1" if n % sample else "scrypt"
        password_hash = generate_password_hash(f"the password of user {n}", method=method)
        db.session.add(User(username=f"user{n}", email=f"user{n}@example.com", role="user", password_hash=password_hash))
    db.session.commit()
"#;

/// A page of the documentation, and the home folder of a user who follows it.
struct Tutorial {
    page: String,
    home: TempDir,
    tools: Tools,
}

impl Tutorial {
    /// Prepares a home folder with a checkout, and with a `cargo` whose `xtask` commands use this server.
    async fn open(page: &str, server: &Server) -> Self {
        let project = Project::here();
        let tools = Tools::install(&project, ToolSet::Test).await.unwrap();
        let page = fs::read_to_string(project.root().join(page)).unwrap();
        let page = page.replace("http://127.0.0.1:9000", server.url());
        let home = tempfile::tempdir().unwrap();
        symlink(project.root(), home.path().join("latchkey")).unwrap();
        let cargo = home.path().join("bin/cargo");
        fs::create_dir(cargo.parent().unwrap()).unwrap();
        let operate = server.binaries().join("operate");
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = xtask ] && shift\nexec \"{}\" --local \"{}\" \"$@\"\n",
            operate.display(),
            server.local().display(),
        );
        fs::write(&cargo, script).unwrap();
        fs::set_permissions(&cargo, Permissions::from_mode(0o755)).unwrap();
        Self { page, home, tools }
    }

    /// The page's code blocks in this language.
    fn blocks(&self, language: &str) -> Vec<&str> {
        let mut parts = self.page.split("\n```");
        let mut blocks = Vec::new();
        parts.next();
        while let (Some(block), _) = (parts.next(), parts.next()) {
            if let Some(block) = block.strip_prefix(language).and_then(|it| it.strip_prefix('\n')) {
                blocks.push(block);
            }
        }
        blocks
    }

    /// Saves the page's Python blocks in a folder below the home folder. The first line of each block names its file.
    fn save_python(&self, folder: &str) -> PathBuf {
        let folder = self.home.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        for block in self.blocks("python") {
            let (name, code) = block.split_once('\n').unwrap();
            fs::write(folder.join(name.strip_prefix("# ").unwrap()), code).unwrap();
        }
        folder
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let bin = self.home.path().join("bin");
        let tools = self.tools.program("python");
        let path = std::env::var_os("PATH").unwrap();
        let folders = [bin.as_path(), tools.parent().unwrap()].map(Path::to_owned);
        let path = std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path)));
        command
            .env("PATH", path.unwrap())
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs all commands of the page and returns their output.
    fn follow(&self, variables: &[(&str, &str)]) -> String {
        let script = format!("set -euo pipefail\n{}\n", self.blocks("sh").join("\n"));
        let mut bash = self.command("bash");
        let output = bash.args(["-c", &script]).envs(variables.iter().copied()).output().unwrap();
        success(&output)
    }
}

/// The standard output of a command that must succeed.
fn success(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorial_for_flask_leads_to_a_login_with_the_old_password() {
    let server = Server::start(&["--db", "memory"]);
    let tutorial = Tutorial::open("docs/migrate-from-flask.md", &server).await;
    tutorial.save_python("flask-app");
    let printed = tutorial.follow(&[]);
    let lines: Vec<_> = printed.lines().collect();
    let expected = [
        "2 can be imported, 0 already present, 0 refused",
        "2 imported, 0 already present, 0 refused",
        r#"{"message":"Welcome, Admin!"}1"#,
    ];
    assert_eq!(lines, expected);
}

/// Creates a pool with two users and prints its id.
const CREATE_POOL: &str = r#"
import boto3
cognito = boto3.client("cognito-idp")
pool = cognito.create_user_pool(PoolName="old")["UserPool"]["Id"]
cognito.create_group(UserPoolId=pool, GroupName="staff")
for name, verified in [("rosa", "true"), ("ben", "false")]:
    attributes = {"email": f"{name}@example.com", "email_verified": verified}
    cognito.admin_create_user(UserPoolId=pool, Username=name, MessageAction="SUPPRESS",
        UserAttributes=[{"Name": key, "Value": value} for key, value in attributes.items()])
cognito.admin_add_user_to_group(UserPoolId=pool, Username="rosa", GroupName="staff")
print(pool)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_for_cognito_leads_to_a_login_with_a_new_password() {
    let server = Server::start(&["--db", "memory"]);
    let cognito = testkit::Cognito::start().await;
    let tutorial = Tutorial::open("docs/migrate-from-cognito.md", &server).await;
    tutorial.save_python(".");
    let variables = [
        ("AWS_ENDPOINT_URL", cognito.url()),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ];
    let mut create = tutorial.command("python");
    let pool = success(&create.args(["-c", CREATE_POOL]).envs(variables).output().unwrap());
    let variables = [&variables[..], &[("POOL", pool.trim())]].concat();
    let printed = tutorial.follow(&variables);
    assert!(printed.contains("2 can be imported, 0 already present, 0 refused\n"), "{printed}");
    assert!(printed.contains("2 imported, 0 already present, 0 refused\n"), "{printed}");
    let mail = last(&server, "@example.com", 1).await;
    let password = "a new walk by the river";
    let reset = json!({"token": mail.token().unwrap(), "new_password": password});
    assert_eq!(server.post("/auth/password/reset", &reset).await.status, 204);
    let login = json!({"email": "rosa@example.com", "password": password});
    let answer = server.post("/auth/login", &login).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(server.get("/auth/admin", Some(&token)).await.status, 200, "staff are admins");
}

/// The number of items in a table.
async fn items(database: &Client, table: &str) -> i64 {
    let described = database.describe_table().table_name(table).send().await.unwrap();
    described.table().unwrap().item_count().unwrap()
}

/// A command of `operate` that uses the local state in the folder `local`.
fn operate(server: &Server, local: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(server.binaries().join("operate"));
    command
        .current_dir(Project::here().root())
        .arg("--local")
        .arg(local)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_twice_creates_every_account_once() {
    // Use a database file: an in-memory database has no index for its stream, so this import would take minutes.
    let server = Server::start(&["--env", "THROTTLE_NETWORK_FREE=100000"]);
    let tutorial = Tutorial::open("docs/migrate-from-flask.md", &server).await;
    let folder = tutorial.save_python("flask-app");
    let (count, sample) = (USERS.to_string(), SAMPLE.to_string());
    let mut add = tutorial.command("python");
    success(&add.current_dir(&folder).args(["-c", ADD_USERS, &count, &sample]).output().unwrap());

    let project = Project::here().with_local(server.local().to_owned());
    let state = DevState::of_running(&project).unwrap().unwrap();
    let database = local::database::connect(&state.database).unwrap();
    let users = folder.join("instance/users.db");
    let import = ["users", "import", "--from-flask", users.to_str().unwrap()];
    let mut after = items(&database, &state.users_table).await;
    for _ in 0..2 {
        let before = after;
        let mut child: Child = operate(&server, server.local(), &import).spawn().unwrap();
        // Each user has six items: an account, two claims, a password, a list entry, and an event.
        while items(&database, &state.users_table).await < before + 6 * 500 {
            assert_eq!(child.try_wait().unwrap(), None, "the import ended by itself");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "the import ended before it was killed");
        after = items(&database, &state.users_table).await;
    }
    let printed = success(&operate(&server, server.local(), &import).output().unwrap());
    let numbers: Vec<u64> = printed.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [imported, present, refused] = numbers[..] else { panic!("{printed}") };
    assert_eq!((imported + present, refused), (USERS, 0), "{printed}");
    assert!(imported > 0 && present >= 1_000, "{printed}");
    let again = success(&operate(&server, server.local(), &import).output().unwrap());
    assert_eq!(again, format!("0 imported, {USERS} already present, 0 refused\n"));

    let logins = (1..=USERS / SAMPLE).map(|n| n * SAMPLE).map(async |n| {
        let login = json!({"username": format!("user{n}"), "password": format!("the password of user {n}")});
        let answer = server.post("/auth/login", &login).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(testkit::claims(&token)["attributes"]["flask_id"], json!(n));
    });
    futures_util::future::join_all(logins).await;

    // Move the accounts to another Latchkey.
    let export = |local: &Path, file: &Path| {
        let arguments = ["users", "export", file.to_str().unwrap()];
        success(&operate(&server, local, &arguments).output().unwrap());
        fs::read_to_string(file).unwrap()
    };
    let files = tempfile::tempdir().unwrap();
    let first = files.path().join("first.jsonl");
    let exported = export(server.local(), &first);
    let ids: BTreeSet<_> = exported
        .lines()
        .map(|line| {
            let account: Value = serde_json::from_str(line).unwrap();
            account["attributes"]["flask_id"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(exported.lines().count(), ids.len());
    assert_eq!(ids, (1..=USERS).collect());
    let other = tempfile::tempdir().unwrap();
    let import = ["users", "import", first.to_str().unwrap()];
    let printed = success(&operate(&server, other.path(), &import).output().unwrap());
    assert_eq!(printed, format!("{USERS} imported, 0 already present, 0 refused\n"));
    let again = export(other.path(), &files.path().join("second.jsonl"));
    assert!(again == exported, "the second export differs from the first");
}
