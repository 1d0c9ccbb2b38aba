//! Tests `cargo xtask users` as a person or a script uses it, without a running dev server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use identity::UserId;
use local::database::{self, LocalDatabase, Storage};
use process::{Clock, SystemClock, SystemRandom};
use serde_json::{Value, json};
use store::{Deletions, Remains};
use template::Template;
use template::project::Project;

/// Runs a command on the default database in a folder of local state.
fn run(local: &Path, command: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_operate"))
        .arg(command)
        .args(arguments)
        .arg("--local")
        .arg(local)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The standard output of a command that must succeed.
fn success(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The single line that a failing command must print to standard error.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// Creates the accounts `root`, `helper` and `gone`, and disables `gone`.
fn accounts(local: &Path) {
    for (username, roles) in
        [("root", "admin,super_admin"), ("helper", "user,admin"), ("gone", "user")]
    {
        let email = format!("{username}@example.com");
        let create = ["create", username, "--roles", roles, "--email", &email, "--password-stdin"];
        success(&run(local, "admin", &create, "a long passphrase\n"));
    }
    success(&run(local, "admin", &["disable", "gone"], ""));
}

/// The last word of each printed line, sorted.
fn last_words(text: &str) -> Vec<&str> {
    let mut words: Vec<_> =
        text.lines().filter_map(|line| line.split_whitespace().last()).collect();
    words.sort_unstable();
    words
}

#[test]
fn accounts_are_listed_counted_shown_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path();
    accounts(local);
    let users = |arguments: &[&str]| run(local, "users", arguments, "");
    for (filter, expected) in [
        (&[][..], &["gone", "helper", "root"][..]),
        (&["--role", "admin"], &["helper", "root"]),
        (&["--role", "super_admin"], &["root"]),
        (&["--disabled"], &["gone"]),
        (&["--active"], &["helper", "root"]),
        (&["--role", "user", "--active"], &["helper"]),
    ] {
        let listed = success(&users(&[&["list"][..], filter].concat()));
        assert_eq!(last_words(&listed), expected, "{filter:?}");
        let counted = success(&users(&[&["count"][..], filter].concat()));
        assert_eq!(counted.trim(), expected.len().to_string(), "{filter:?}");
    }
    let short = users(&["list", "--limit", "1"]);
    assert_eq!(success(&short).lines().count(), 1);
    assert!(String::from_utf8(short.stderr).unwrap().contains("--all"));
    let all = success(&users(&["list", "--all"]));
    assert_eq!(all.lines().count(), 3);
    let id = all.lines().find(|line| line.ends_with("root")).unwrap().split(' ').next().unwrap();
    for arguments in [
        &["show", "ROOT"][..],
        &["show", id],
        &["find", "--username", "root"],
        &["find", "--email", "ROOT@example.com"],
        &["find", "--email", "root@example.com", "--username", "root"],
    ] {
        let shown = success(&users(arguments));
        for part in [id, "admin,super_admin", "last login  unknown", "attributes  {}"] {
            assert!(shown.contains(part), "{arguments:?}: {shown}");
        }
    }
    for (arguments, reason) in [
        (&["show", "nobody"][..], "there is no account nobody"),
        (&["show", "0190a0f0-7c3a-7abc-8def-0123456789ab"], "there is no account"),
        (&["show", "a"], "the username"),
        (&["find", "--email", "x"], "the email address"),
        (&["find", "--email", "nobody@example.com"], "no account has that name or address"),
        (&["find", "--email", "root@example.com", "--username", "gone"], "no account has"),
    ] {
        let message = refusal(&users(arguments));
        assert!(message.contains(reason), "{arguments:?}: {message}");
    }
    // All accounts are already in the lists.
    assert_eq!(success(&users(&["reindex"])), "3 accounts are listed\n");
}

/// A mailer of an earlier version does not postpone deletions, so no later record of the stream names their remains.
#[tokio::test]
async fn reindexing_completes_interrupted_deletions() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path();
    accounts(local);
    let id = UserId::new(SystemClock.now(), &SystemRandom);
    let template = Template::read(&Project::here().template()).unwrap();
    let open = async || {
        let file = Storage::File(local.join(database::FILE));
        let database = LocalDatabase::start(&file, &template.tables).await.unwrap();
        let client = database::connect(&database.endpoint()).unwrap();
        (Deletions::new(&store::Config::new("UsersTable"), client), database)
    };
    let (deletions, database) = open().await;
    deletions.postpone(&Remains::of(id)).await.unwrap();
    drop(database);
    let reindexed = success(&run(local, "users", &["reindex"], ""));
    assert_eq!(reindexed, "3 accounts are listed\ninterrupted deletions completed: 1\n");
    let (deletions, _database) = open().await;
    assert_eq!(deletions.remains(id).await.unwrap(), None);
}

#[test]
fn the_last_super_admin_cannot_be_removed_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path();
    accounts(local);
    let admin = |arguments: &[&str]| run(local, "admin", arguments, "");
    let demote = ["set-roles", "root", "--roles", "admin", "--yes"];
    let delete = ["delete", "root", "--yes"];
    for refused in [admin(&demote), admin(&["disable", "root"]), run(local, "users", &delete, "")] {
        let message = refusal(&refused);
        assert!(message.contains("the last active super_admin"), "{message}");
        assert!(message.contains("users reindex"), "{message}");
    }
    let promote = ["set-roles", "helper", "--roles", "admin,super_admin", "--yes"];
    success(&admin(&promote));
    success(&admin(&demote));
    let helper = ["delete", "helper", "--yes"];
    assert!(refusal(&run(local, "users", &helper, "")).contains("the last active super_admin"));
    success(&run(local, "users", &delete, ""));
}

#[test]
fn a_deleted_account_is_gone_and_its_name_is_in_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path();
    accounts(local);
    let users = |arguments: &[&str]| run(local, "users", arguments, "");
    let listed = success(&users(&["list", "--disabled"]));
    let id = listed.split(' ').next().unwrap();
    for user in ["GONE", id] {
        let unconfirmed = users(&["delete", user]);
        assert!(String::from_utf8(unconfirmed.stdout).unwrap().contains(id));
        let error = String::from_utf8(unconfirmed.stderr).unwrap();
        assert!(error.contains("use --yes to confirm"), "{error}");
        assert_eq!(unconfirmed.status.code(), Some(1));
    }
    let deleted = success(&users(&["delete", "GONE", "--yes"]));
    let receipt: Value = serde_json::from_str(&deleted).unwrap();
    assert_eq!((&receipt["action"], &receipt["user_id"]), (&json!("deleted"), &json!(id)));
    // Two events: `registered` and `disabled`.
    let counts = json!({"sessions": 0, "events": 2, "codes": 0, "known_networks": 0});
    assert_eq!(receipt["deleted"], counts);
    assert!(receipt["receipt"].is_string() && receipt["at"].is_string(), "{receipt}");
    for user in ["gone", id] {
        for command in [&["show", user][..], &["delete", user, "--yes"]] {
            let message = refusal(&users(command));
            assert!(message.contains("there is no account"), "{message}");
        }
    }
    assert_eq!(success(&users(&["count"])), "2\n");
    let create = ["create", "gone", "--password-stdin"];
    let message = refusal(&run(local, "admin", &create, "a long passphrase\n"));
    assert!(message.contains("taken") || message.contains("exists"), "{message}");
    let helper = success(&users(&["list", "--role", "admin", "--all"]));
    let helper = helper.lines().find(|line| line.ends_with("helper")).unwrap();
    success(&users(&["delete", helper.split(' ').next().unwrap(), "--yes"]));
    assert_eq!(success(&users(&["count"])), "1\n");
}
