//! `cargo xtask dev`: the whole API on this machine, in one command.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use keys::KeysTable;
use process::{Env, SystemClock, SystemRandom};
use rotation::PepperRotation;
use template::process::interrupted;
use template::project::Project;
use template::state::DevState;
use template::{Function, Setting, Template, ui};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

use crate::binaries::{self, Description, Endpoint};
use crate::database::{self, DatabaseError, LocalDatabase, Storage};
use crate::gateway::{Cors, Gateway, Origin, REFERENCE, Routes, Site};
use crate::lambda::{self, LocalLambda, Program, START_LIMIT};
use crate::local_secrets::{EDGE_DIGESTS, LocalSecrets, write_private};
use crate::rebuild::{self, Sources};
use crate::streams;
use crate::variables::{self, Variables};

/// The default limit on instances per function. Two are enough to show the effects of concurrency.
const CONCURRENCY: NonZeroU16 = NonZeroU16::new(2).unwrap();

/// The folder in `.local` to which emails are written.
const MAILS: &str = "outbox";

/// Options of the dev server.
#[derive(Clone, Debug, clap::Args)]
pub struct DevOptions {
    /// Port of the API on 127.0.0.1; 0 chooses a free one
    #[arg(long, default_value_t = 9000, value_parser = port)]
    pub port: u16,

    /// Database file, which is created if it is missing, or `memory` [default: latchkey.db in the
    /// --local folder]
    #[arg(long, value_name = "PATH|memory")]
    pub db: Option<Storage>,

    /// Build and run the release profile
    #[arg(long)]
    pub release: bool,

    /// Number of requests that each function handles at once, each in its own process; others wait
    #[arg(long, value_name = "N", default_value_t = CONCURRENCY, value_parser = concurrency)]
    pub concurrency: NonZeroU16,

    /// Allow pages of this origin, such as `http://localhost:5173`, to call the API; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    pub cors_origin: Vec<Origin>,

    /// Set an environment variable of all functions; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,

    /// Seconds that a function may take to start, for tests on a busy machine
    #[arg(long, hide = true, value_name = "SECONDS", default_value_t = START_LIMIT.as_secs())]
    pub start_seconds: u64,

    /// Stop when standard input is closed, for tests that may be killed
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("expected a number from 0 to {}", u16::MAX))
}

fn concurrency(text: &str) -> Result<NonZeroU16, String> {
    text.parse().map_err(|_| format!("expected a number from 1 to {}", u16::MAX))
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Runs the dev server until Ctrl-C or SIGTERM.
///
/// # Errors
/// When something that the server needs is missing or broken. The message is one line.
pub async fn run(project: &Project, options: &DevOptions) -> anyhow::Result<()> {
    // The future owns everything that runs, so dropping it stops everything.
    tokio::select! {
        result = serve(project, options) => result,
        interrupted = interrupted() => Ok(interrupted?),
        () = stdin_closed(), if options.until_stdin_closes => Ok(()),
    }
}

/// Returns once the other end of standard input is closed.
async fn stdin_closed() {
    let (sender, receiver) = oneshot::channel();
    // A pending read from Tokio's standard input would keep the runtime from shutting down.
    std::thread::spawn(move || {
        // The input is ignored. An error is treated like the end of the input.
        drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
        let _ = sender.send(());
    });
    drop(receiver.await);
}

async fn serve(project: &Project, options: &DevOptions) -> anyhow::Result<()> {
    // Checks that fail fast come first.
    let port = HeldPort::hold(options.port)?;
    let url = format!("http://127.0.0.1:{}", port.port);
    let template = Template::read(&project.template()).context("template.yaml")?;
    let routes = Routes::of(&template).context("template.yaml")?;
    if !options.env.is_empty() {
        let variables = Variables::of(project, &template).context("cannot read the sources")?;
        variables.check(&options.env)?;
    }
    let table = |variable| {
        template.table_of(variable).with_context(|| format!("template.yaml sets no {variable}"))
    };
    let (users_table, keys_table) = (table("USERS_TABLE")?, table("KEYS_TABLE")?);
    project.make_local()?;
    let storage = match &options.db {
        Some(storage) => storage.clone(),
        None => Storage::File(project.local(database::FILE)),
    };
    // A misspelled path would silently become an empty database, so announce a new database.
    let created = match &storage {
        Storage::File(path) if !path.try_exists().unwrap_or(true) => Some(path.display()),
        Storage::File(_) | Storage::Memory => None,
    };
    let database = LocalDatabase::start(&storage, &template.tables).await;
    let database = database.map_err(|error| in_use(error.into()))?;
    if let Some(path) = created {
        ui::note(format_args!("created the database {path}"));
    }
    let holder = format!("the dev server at {url} (process {})", std::process::id());
    database.held_by(&holder).context("cannot write next to the database file")?;
    let secrets = LocalSecrets::of(project);
    let mut environment = environment(&template, &database.endpoint(), &url, &options.env)?;
    environment.extend(secrets.variables());
    let mails = project.local(MAILS);
    local_files(&mut environment, &mails, &url, &options.env);
    let env = Env::from_iter(environment.clone());
    variables::check_values(&env, &options.env)?;
    let table = KeysTable::new(keys_table, database::connect(&database.endpoint())?);
    let stack_secrets = secrets.versions();
    let peppers = stack_secrets.pepper_rotation(&env)?;
    secrets.make(&stack_secrets.rotation(table, &env)?, &peppers).await?;
    local_edge(&mut environment, &peppers, &options.env).await?;

    let names: Vec<_> = template.functions.iter().map(|it| it.name.clone()).collect();
    ui::note(format_args!("building {} functions", names.len()));
    // Start watching before the build, so that no edit is missed.
    let sources = Sources::watch(project);
    let binaries = binaries::build_functions(project, options.release, &names).await?;
    let programs = programs(&template, &binaries)?;
    let descriptions = describe(&template, &binaries).await?;
    let document = project.root().join("openapi.yaml");
    let site = Site::new(&template, &descriptions, document)?;

    // Used by `cargo lambda watch --env-file .local/functions.env`.
    let assignments: Vec<_> =
        environment.iter().map(|(name, value)| format!("{name}='{value}'")).collect();
    write_private(&project.local("functions.env"), assignments.join("\n").as_bytes())
        .context("cannot write .local/functions.env")?;

    let settings = lambda::Settings {
        concurrency: options.concurrency,
        environment: environment.clone(),
        start_limit: Duration::from_secs(options.start_seconds),
    };
    let local = LocalLambda::start(programs, settings).await?;
    let lambda = local.handle();
    let handle = lambda.clone();
    let delivered = streams::deliver(database.database(), &template, &handle, mails);
    let rebuilding = rebuild::rebuild(project, options.release, &names, sources, &handle);
    let listeners = port.listen()?;
    let state = DevState {
        pid: std::process::id().cast_signed(),
        url: url.clone(),
        database: database.endpoint(),
        users_table: users_table.to_owned(),
        keys_table: keys_table.to_owned(),
        environment,
    };
    let _published = state.publish(project).context("cannot write .local/dev.json")?;
    let gateway = Gateway::new(routes, lambda, Arc::new(SystemClock), Arc::new(SystemRandom))
        .with_cors(Cors::new(options.cors_origin.clone(), template.cors.clone()))
        .with_site(site);
    welcome(&url, &descriptions);
    tokio::select! {
        () = Arc::new(gateway).serve(listeners) => Ok(()),
        delivered = delivered => delivered,
        () = rebuilding => Ok(()),
    }
}

/// Pairs every function of the template with its binary.
fn programs(
    template: &Template,
    binaries: &BTreeMap<String, PathBuf>,
) -> anyhow::Result<Vec<Program>> {
    let program = |function: &Function| {
        let name = function.name.clone();
        let binary = binaries.get(&name).cloned();
        binary.map(|binary| Program { name, binary, timeout: function.timeout })
    };
    let programs = template.functions.iter().map(program).collect::<Option<_>>();
    programs.context("some functions of template.yaml could not be built: see the errors above")
}

/// The command for a second dev server that shares nothing with the first.
const INDEPENDENT: &str = "cargo xtask dev --local .local/second --port 0";

/// Adds advice to `DatabaseError::InUse`. Returns other errors unchanged.
fn in_use(error: anyhow::Error) -> anyhow::Error {
    if matches!(error.downcast_ref(), Some(DatabaseError::InUse(_))) {
        anyhow::anyhow!("{error}: stop that process, or start an independent server: {INDEPENDENT}")
    } else {
        error
    }
}

fn port_error(port: u16, error: &std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        anyhow::anyhow!(
            "port {port} is in use: choose another with --port, or any free one with --port 0; if a \
             dev server of this checkout uses it, start an independent one: {INDEPENDENT}"
        )
    } else {
        anyhow::anyhow!("cannot listen on port {port}: {error}")
    }
}

/// A port that is bound on both loopback addresses, because clients such as `cargo lambda invoke` try `::1` first. No
/// other process can take the port. Connections are refused until this process listens on it.
#[derive(Debug)]
struct HeldPort {
    port: u16,
    v4: TcpSocket,
    /// `None` if the machine has no IPv6.
    v6: Option<TcpSocket>,
}

impl HeldPort {
    fn hold(port: u16) -> anyhow::Result<Self> {
        let bind = |socket: TcpSocket, address: SocketAddr| {
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let v4 = TcpSocket::new_v4()
            .and_then(|socket| bind(socket, (Ipv4Addr::LOCALHOST, port).into()))
            .map_err(|error| port_error(port, &error))?;
        // The port that the system chose, if `port` is 0.
        let port = v4.local_addr().map_err(|error| port_error(port, &error))?.port();
        let v6 =
            TcpSocket::new_v6().and_then(|socket| bind(socket, (Ipv6Addr::LOCALHOST, port).into()));
        let v6 = match v6 {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                return Err(port_error(port, &error));
            }
            other => other.ok(),
        };
        Ok(Self { port, v4, v6 })
    }

    fn listen(self) -> anyhow::Result<Vec<TcpListener>> {
        let sockets = [Some(self.v4), self.v6].into_iter().flatten();
        let listening = sockets.map(|socket| socket.listen(1024)).collect::<Result<_, _>>();
        listening.map_err(|error| port_error(self.port, &error))
    }
}

/// Asks the binary of every function with routes for its description. All binaries run concurrently, because the first
/// start of a binary is slow: its file is read from the disk.
async fn describe(
    template: &Template,
    binaries: &BTreeMap<String, PathBuf>,
) -> anyhow::Result<Vec<Description>> {
    let mut running = Vec::new();
    for function in template.functions.iter().filter(|function| !function.routes.is_empty()) {
        let binary = binaries.get(&function.name).with_context(|| {
            format!("template.yaml has {}, but there is no binary {0}", function.name)
        })?;
        let binary = binary.clone();
        running.push(tokio::spawn(async move { binaries::describe(&binary).await }));
    }
    let mut descriptions = Vec::new();
    for description in running {
        descriptions.push(description.await??);
    }
    Ok(descriptions)
}

/// The environment of all functions. They share one environment, because `cargo lambda watch` supports only one.
fn environment(
    template: &Template,
    endpoint: &str,
    issuer: &str,
    overrides: &[(String, String)],
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut environment = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for function in &template.functions {
        for (name, setting) in &function.environment {
            let value = match setting {
                Setting::Text(value) => value.clone(),
                Setting::Table(table) => table.clone(),
                // The dev server keeps secrets in files.
                Setting::Deployed if name.ends_with("_SECRET") => continue,
                Setting::Deployed => {
                    unknown.insert(name.clone());
                    continue;
                }
            };
            if let Some(other) = environment.insert(name.clone(), value.clone())
                && other != value
            {
                bail!(
                    "template.yaml sets {name} to two values, but local functions share one environment"
                );
            }
        }
    }
    // Do not ask for `STACK_NAME`: with it, functions log metrics for CloudWatch, which would clutter the local log.
    unknown.remove("STACK_NAME");
    // `local_files` sets the address of this server.
    unknown.remove("MAIL_LINK_BASE");
    environment.extend(database::environment(endpoint));
    environment.insert("ISSUER".to_owned(), issuer.to_owned());
    environment.extend(overrides.iter().cloned());
    for name in unknown.iter().filter(|name| !environment.contains_key(*name)) {
        ui::note(format_args!("{name} has a value only when deployed: set it with --env"));
    }
    Ok(environment)
}

/// Sets the defaults for emails and security events: functions write both to files, and emails link to this server.
fn local_files(
    environment: &mut BTreeMap<String, String>,
    mails: &Path,
    url: &str,
    overrides: &[(String, String)],
) {
    for (name, value) in [
        ("MAIL_TRANSPORT", format!("file:{}", mails.display())),
        ("MAIL_FROM", "no-reply@latchkey.example".to_owned()),
        ("MAIL_LINK_BASE", url.to_owned()),
        ("EVENT_BUS", format!("file:{}", mails.with_file_name("events.jsonl").display())),
    ] {
        if !overrides.iter().any(|(overridden, _)| overridden == name) {
            environment.insert(name.to_owned(), value);
        }
    }
}

/// Makes functions with `TRUSTED_EDGE=on` accept the edge secrets that belong to the local peppers, unless the user
/// sets other digests.
async fn local_edge(
    environment: &mut BTreeMap<String, String>,
    peppers: &PepperRotation,
    overrides: &[(String, String)],
) -> anyhow::Result<()> {
    if overrides.iter().any(|(overridden, _)| overridden == EDGE_DIGESTS) {
        return Ok(());
    }
    if let Some(peppers) = peppers.current().await? {
        environment.insert(EDGE_DIGESTS.to_owned(), peppers.edge_digests());
    }
    Ok(())
}

fn welcome(url: &str, descriptions: &[Description]) {
    ui::line(format_args!(
        "ready {url}\n\n  {url}/      an overview\n  {url}{REFERENCE}  the API reference, in which you can call every \
         route\n"
    ));
    let row = |access: &str, endpoint: &Endpoint| {
        [format!("  {}", endpoint.method), endpoint.path.clone(), access.to_owned()]
    };
    let rows: Vec<_> = descriptions
        .iter()
        .flat_map(|function| {
            function.endpoints.iter().map(|endpoint| row(&function.access, endpoint))
        })
        .collect();
    for row in ui::columns(&rows) {
        ui::line(row);
    }
    ui::line(examples(url));
}

/// Commands for trying the API, the same as in the README.
fn examples(url: &str) -> String {
    let account = r#"'{"username":"testuser","password":"a long walk by the river","email":"t@example.com"}'"#;
    let body = r#"'{"username":"testuser","password":"a long walk by the river"}'"#;
    // Response bodies end without a newline, so curl adds one for the terminal.
    format!(
        "\nTry:\n  \
         curl -i -w '\\n' {url}/auth/register --json {account}\n  \
         TOKEN=$(curl -s {url}/auth/login --json {body} | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n  \
         curl -i -w '\\n' {url}/auth/protected -H \"Authorization: Bearer $TOKEN\"\n\n\
         Press Ctrl-C to stop the server."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template::parse(
            "
Resources:
  AFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/a
      Environment: { Variables: { ISSUER: '', AUDIENCE: x, T: !Ref Tab, URL: !GetAtt A.B } }
  Tab:
    Type: AWS::DynamoDB::Table
    Properties: { KeySchema: [], AttributeDefinitions: [] }
",
        )
        .unwrap()
    }

    #[test]
    fn the_users_variables_override_those_of_the_dev_server_and_of_the_template() {
        let overrides = [("AUDIENCE".to_owned(), "mine".to_owned())];
        let environment = environment(&template(), "http://db", "http://api", &overrides).unwrap();
        for (name, value) in [
            ("ISSUER", Some("http://api")),
            ("AUDIENCE", Some("mine")),
            ("T", Some("Tab")),
            ("URL", None),
            ("AWS_ENDPOINT_URL_DYNAMODB", Some("http://db")),
        ] {
            assert_eq!(environment.get(name).map(String::as_str), value, "{name}");
        }
    }

    #[test]
    fn an_invalid_concurrency_is_refused_with_the_valid_range() {
        assert_eq!(concurrency("3"), Ok(NonZeroU16::new(3).unwrap()));
        for text in ["0", "-1", "many", "", "65536"] {
            assert_eq!(
                concurrency(text).unwrap_err(),
                "expected a number from 1 to 65535",
                "{text}"
            );
        }
    }

    #[test]
    fn an_invalid_port_is_refused_with_the_valid_range() {
        assert_eq!(port("0"), Ok(0));
        for text in ["65536", "-1", "http", ""] {
            assert_eq!(port(text).unwrap_err(), "expected a number from 0 to 65535", "{text}");
        }
    }

    #[test]
    fn the_printed_examples_match_the_readme() {
        let readme = Project::here().root().join("README.md");
        let readme = std::fs::read_to_string(readme).unwrap();
        let block = examples("$API");
        // The bodies must match too: later in the README, an email is sent to the address registered here.
        for (route, end) in [("register", "\n"), ("login", " |")] {
            let request = format!("$API/auth/{route} --json ");
            let body = block.split_once(&request).unwrap().1.split_once(end).unwrap().0;
            assert!(readme.contains(&format!("{request}{body}")), "{route} {body}");
        }
    }

    #[test]
    fn a_variable_is_split_at_the_first_equals_sign() {
        assert_eq!(variable("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(variable("A="), Ok(("A".to_owned(), String::new())));
        assert!(variable("A").is_err());
        assert!(variable("=b").is_err());
    }

    #[tokio::test]
    async fn a_held_port_refuses_connections_and_a_served_port_cannot_be_held() {
        let held = HeldPort::hold(0).unwrap();
        let port = held.port;
        let connect = || tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        assert!(connect().await.is_err());
        let _listeners = held.listen().unwrap();
        connect().await.unwrap();
        let error = HeldPort::hold(port).unwrap_err().to_string();
        assert!(error.contains("is in use"), "{error}");
    }
}
