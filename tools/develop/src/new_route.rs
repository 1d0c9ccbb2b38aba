//! `cargo xtask new-route`: writes everything that a new route needs, in one step.
//!
//! In addition to the package, it writes to the places that tests compare with each other: the template, an event, the
//! API description, the table in the README, the router of `cargo lambda watch`, and the access matrix, in which a
//! reviewer sees who may call the route.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, io};

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use identity::Role;
use serde_json::{Value, json};

use template::process::cargo;
use template::project::Project;
use template::state::DevState;
use template::{Setting, Template, resource, ui};

use crate::roles::{self, ACCESS_MATRIX};

/// The maximum length of a function's name. The limit leaves room for the stack's name, which AWS prepends.
const MAX_NAME_CHARS: usize = 40;

/// Rust's current and reserved keywords.
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final \
    fn for gen if impl in let loop macro match mod move mut override priv pub ref return self static struct \
    super trait true try type typeof unsafe unsized use virtual where while yield";

/// Rust's standard crates, whose names no package can have.
const STANDARD_CRATES: [&str; 5] = ["alloc", "core", "proc-macro", "std", "test"];

/// The file that lists the public routes, so that a reviewer sees each new one.
const PUBLIC_ROUTES: &str = "tools/conformance/tests/journeys/access.rs";

/// The route to write.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask new-route reports --access admin
  cargo xtask new-route billing --access admin --fresh
  cargo xtask new-route notes --access user --method POST --table notes
  cargo xtask new-route payment-webhook --access public --method POST")]
pub struct NewRoute {
    /// Name of the function, its folder, package and event: lower-case words joined by hyphens
    pub name: Name,

    /// Who may call the route: anyone, every signed-in user, or users with a certain role. `fresh` means
    /// `signed-in --fresh`
    #[arg(long, value_parser = access())]
    pub access: Access,

    /// Check the account and the session on every call instead of trusting the token until it expires
    #[arg(long)]
    pub checked: bool,

    /// Check the account and the session, and require that the user has authenticated recently
    #[arg(long)]
    pub fresh: bool,

    /// Path of the route [default: /api/NAME, with underscores]
    #[arg(long, value_name = "PATH")]
    pub path: Option<RoutePath>,

    /// Method of the route: GET, POST, PUT, PATCH or DELETE. POST, PUT and PATCH have a body
    #[arg(long, default_value = "GET")]
    pub method: RouteMethod,

    /// DynamoDB table of the route, which is added to the template if it is missing: GET lists the
    /// caller's entries, POST stores one
    #[arg(long, value_name = "NAME")]
    pub table: Option<Name>,
}

fn is_keyword(text: &str) -> bool {
    KEYWORDS.split(' ').any(|keyword| keyword == text)
}

/// Whether `text` begins with a letter and consists of lower-case words joined by `joint`.
fn is_words(text: &str, joint: char) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.split(joint).all(|word| !word.is_empty() && word.bytes().all(good))
}

/// The name of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !is_words(text, '-') {
            return Err("expected lower-case words of letters and digits, joined by hyphens");
        }
        if text.len() > MAX_NAME_CHARS {
            return Err("expected at most 40 characters");
        }
        if is_keyword(text) || STANDARD_CRATES.contains(&text) {
            return Err("expected a name that is neither a Rust keyword nor a standard crate");
        }
        Ok(Self(text.to_owned()))
    }
}

impl Name {
    /// `monthly-report` → `monthly_report`.
    fn snake(&self) -> String {
        self.0.replace('-', "_")
    }

    /// `monthly-report` → `MonthlyReport`.
    fn camel(&self) -> String {
        let resource = resource(&self.0);
        resource.strip_suffix("Function").unwrap_or(&resource).to_owned()
    }
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    Public,
    /// Every signed-in user.
    SignedIn,
    /// Every signed-in user who has authenticated recently.
    Fresh,
    /// Callers with this role.
    Role(Role),
}

fn access() -> impl TypedValueParser<Value = Access> {
    let names = ["public", "signed-in", "fresh"].into_iter().chain(Role::ALL.map(Role::as_str));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Access>())
}

impl FromStr for Access {
    type Err = identity::RoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "public" => Ok(Self::Public),
            "signed-in" => Ok(Self::SignedIn),
            "fresh" => Ok(Self::Fresh),
            role => role.parse().map(Self::Role),
        }
    }
}

impl Access {
    /// The required role.
    const fn role(self) -> Option<Role> {
        match self {
            Self::Public | Self::SignedIn | Self::Fresh => None,
            Self::Role(role) => Some(role),
        }
    }

    /// The name of the type that stands for the required role.
    fn requirement(self) -> &'static str {
        self.role().map_or("Anyone", Role::requirement)
    }
}

/// The path of a route, in the form that the template uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePath(String);

impl FromStr for RoutePath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let mut parameters = BTreeSet::new();
        for part in text.strip_prefix('/').unwrap_or_default().split('/') {
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                None if part.is_empty() || !part.bytes().all(good) => {
                    return Err(
                        "expected `/` and parts of letters, digits, `-._~` or `{parameter}`, separated by `/`",
                    );
                }
                // A parameter becomes a field of a Rust struct.
                Some(name) if !is_words(name, '_') || is_keyword(name) => {
                    return Err(
                        "expected parameters such as `{note_id}`: lower-case words joined by `_`, not Rust keywords",
                    );
                }
                Some(name) if !parameters.insert(name) => {
                    return Err("expected a different name for each parameter");
                }
                None | Some(_) => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// The method of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMethod(String);

impl FromStr for RouteMethod {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let method = text.to_ascii_uppercase();
        if ["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
            Ok(Self(method))
        } else {
            Err("expected `GET`, `POST`, `PUT`, `PATCH` or `DELETE`")
        }
    }
}

/// Writes the route.
///
/// # Errors
/// When a function of that name or a route at that path exists, a file does not have the expected form, or a file
/// cannot be written. In each case, all files stay unchanged.
pub async fn run(project: &Project, new: &NewRoute) -> anyhow::Result<()> {
    let plan = Plan::of(new)?;
    let files = files(project, &plan)?;
    let report = report(project, files.keys());
    write_or_restore(project.root(), plan.name, &files).await?;
    for line in report {
        ui::line(line);
    }
    ui::line(plan.hint(running_at(project)));
    Ok(())
}

/// Writes all files and updates `Cargo.lock`, or leaves everything unchanged. The package's folder must not exist yet.
async fn write_or_restore(
    root: &Path,
    package: &str,
    files: &BTreeMap<PathBuf, String>,
) -> anyhow::Result<()> {
    let mut before = Vec::new();
    for path in files.keys().map(PathBuf::as_path).chain([Path::new("Cargo.lock")]) {
        let old = match fs::read(root.join(path)) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        before.push((root.join(path), old));
    }
    let Err(error) = write(root, package, files).await else { return Ok(()) };
    for (path, old) in before {
        let restored = match old {
            Some(old) => fs::write(&path, old),
            None if path.exists() => fs::remove_file(&path),
            None => Ok(()),
        };
        if restored.is_err() {
            ui::note(format_args!("cannot restore {}", path.display()));
        }
    }
    // Cargo rejects a folder in `functions/` that contains no package.
    let folder = root.join("functions").join(package);
    if folder.exists() && fs::remove_dir_all(&folder).is_err() {
        ui::note(format_args!("cannot remove {}", folder.display()));
    }
    Err(error)
}

async fn write(
    root: &Path,
    package: &str,
    files: &BTreeMap<PathBuf, String>,
) -> anyhow::Result<()> {
    for (path, text) in files {
        let path = root.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    // The new package must be in Cargo.lock, because CI refuses to change that file. The code needs formatting, because
    // the length of its lines depends on the names.
    for arguments in
        [&["update", "--workspace", "--offline", "--quiet"][..], &["fmt", "--package", package]]
    {
        let status = cargo().current_dir(root).args(arguments).status().await;
        let succeeded = status.context("cannot run cargo")?.success();
        anyhow::ensure!(succeeded, "cargo {} failed: see the error above", arguments[0]);
    }
    Ok(())
}

/// The address of the dev server, and whether the server is running. If not, the address is the default.
fn running_at(project: &Project) -> (String, bool) {
    match DevState::of_running(project) {
        Ok(Some(server)) => (server.url, true),
        Ok(None) | Err(_) => ("http://127.0.0.1:9000".to_owned(), false),
    }
}

/// A line for each file that the command is about to write.
fn report<'a>(project: &Project, paths: impl Iterator<Item = &'a PathBuf>) -> Vec<String> {
    let line = |path: &PathBuf| {
        let verb = if project.root().join(path).exists() { "changed" } else { "created" };
        format!("{verb} {}", path.display())
    };
    paths.map(line).collect()
}

/// The gate in front of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    None,
    Token,
    Account,
    Fresh,
}

/// The table of a route with `--table`.
struct OwnTable<'a> {
    name: &'a Name,
    /// The logical id in the template: `NotesTable`.
    resource: String,
    /// The environment variable: `NOTES_TABLE`.
    variable: String,
}

/// The names and texts of a route.
struct Plan<'a> {
    name: &'a str,
    snake: String,
    camel: String,
    method: &'a str,
    path: String,
    gate: Gate,
    access: Access,
    table: Option<OwnTable<'a>>,
}

impl<'a> Plan<'a> {
    fn of(new: &'a NewRoute) -> anyhow::Result<Self> {
        let path = match &new.path {
            Some(RoutePath(path)) => path.clone(),
            None => format!("/api/{}", new.name.snake()),
        };
        let gate = match (new.access, new.checked) {
            (Access::Public, _) if new.fresh => {
                bail!("--fresh needs a signed-in caller; use an --access other than `public`")
            }
            (Access::Public, true) => {
                bail!("--checked needs a signed-in caller; use an --access other than `public`")
            }
            (Access::Public, false) => Gate::None,
            (Access::Fresh, _) => Gate::Fresh,
            _ if new.fresh => Gate::Fresh,
            (_, false) => Gate::Token,
            (_, true) => Gate::Account,
        };
        let RouteMethod(method) = &new.method;
        if new.table.is_some() && gate == Gate::None {
            bail!("--table stores entries per user; use an --access other than `public`");
        }
        if new.table.is_some() && !["GET", "POST"].contains(&method.as_str()) {
            bail!("--table needs --method GET, which lists entries, or POST, which stores one");
        }
        let table = new.table.as_ref().map(|name| OwnTable {
            name,
            resource: format!("{}Table", name.camel()),
            variable: format!("{}_TABLE", name.snake().to_uppercase()),
        });
        if let Some(OwnTable { resource, name, .. }) = &table
            && ["UsersTable", "KeysTable"].contains(&resource.as_str())
        {
            bail!("--table {}: this table belongs to Latchkey; choose another name", name.0);
        }
        Ok(Self {
            name: &new.name.0,
            snake: new.name.snake(),
            camel: new.name.camel(),
            method,
            path,
            gate,
            access: new.access,
            table,
        })
    }

    /// The access in words, as in the README.
    fn access(&self) -> String {
        let how = match self.gate {
            Gate::None => "anyone",
            Gate::Token => "by token",
            Gate::Account => "checked",
            Gate::Fresh => "fresh",
        };
        match self.access.role() {
            Some(role) => format!("{how}, role `{role}`"),
            None => how.to_owned(),
        }
    }

    fn has_body(&self) -> bool {
        ["POST", "PUT", "PATCH"].contains(&self.method)
    }

    /// The names of the parameters in the path.
    fn parameters(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// The path with every parameter replaced by a value.
    fn example_path(&self) -> String {
        self.path.replace(['{', '}'], "")
    }

    /// The request body in the event, the hint and the test.
    fn example_body(&self) -> Option<Value> {
        let body = match self.table {
            Some(_) => json!({"name": "first", "text": "Hello!"}),
            None => json!({"text": "Hello!"}),
        };
        self.has_body().then_some(body)
    }

    /// The status of the successful answer, the route's summary, and the description of the answer.
    fn success(&self) -> (u16, &'static str, &'static str) {
        match (&self.table, self.method) {
            (Some(_), "POST") => (201, "Stores an entry", "The stored entry."),
            (Some(_), _) => (200, "Lists the caller's entries", "The entries."),
            (None, _) => (200, "Returns a message", "A message."),
        }
    }

    fn hint(&self, (address, running): (String, bool)) -> String {
        let mut curl = format!("curl -i -X {} {address}{}", self.method, self.example_path());
        if self.gate != Gate::None {
            curl.push_str(" -H \"Authorization: Bearer $TOKEN\"");
        }
        if let Some(body) = self.example_body() {
            let _ = write!(curl, " \\\n    -H 'Content-Type: application/json' -d '{body}'");
        }
        let mut hint = format!(
            "\nWrite the handler in functions/{}/src/lib.rs, and describe its answers in openapi.yaml. Then:\n",
            self.name
        );
        let start = if running {
            "restart the dev server, because the template has changed"
        } else {
            "start the API"
        };
        let _ = writeln!(hint, "  cargo xtask clients\n  cargo xtask dev    # {start}");
        if self.gate != Gate::None {
            let _ = writeln!(
                hint,
                "  TOKEN=…            # `access_token` of POST {address}/auth/login{}",
                match self.access.role() {
                    None | Some(Role::User) => String::new(),
                    Some(role) => format!(
                        "; first `cargo xtask admin set-roles USERNAME --roles user,{role}`"
                    ),
                }
            );
        }
        let _ = write!(hint, "  {curl}\n  cargo test -p {}\n  cargo xtask test", self.name);
        hint
    }
}

/// The text of every new or changed file, by path.
fn files(project: &Project, plan: &Plan<'_>) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let name = plan.name;
    let template = Template::read(&project.template()).context("template.yaml")?;
    for taken in [
        format!("functions/{name}"),
        format!("shared/{name}"),
        format!("tools/{name}"),
        format!("events/{name}.json"),
    ] {
        if project.root().join(&taken).exists() {
            bail!("{taken} already exists");
        }
    }
    refuse_collisions(&template, plan)?;
    let read = |file: &str| {
        fs::read_to_string(project.root().join(file)).with_context(|| format!("cannot read {file}"))
    };
    // Cargo could not tell the new package from a dependency of the same name.
    if read("Cargo.lock")?.lines().any(|line| line == format!("name = \"{name}\"")) {
        bail!("a package {name} already exists");
    }
    let mut files = BTreeMap::new();
    let mut put = |path: &str, text: String| drop(files.insert(PathBuf::from(path), text));
    put(&format!("functions/{name}/Cargo.toml"), package(plan));
    put(&format!("functions/{name}/src/main.rs"), main_file(plan));
    put(&format!("functions/{name}/src/lib.rs"), library(plan));
    put(&format!("functions/{name}/tests/route.rs"), test(plan));
    put(&format!("events/{name}.json"), event(plan));
    let before = |file: &str, text: &str, line: &str, new: &str| {
        insert(text, line, new)
            .with_context(|| format!("{file} has no line that begins with `{line}`"))
    };
    let section = match plan.gate {
        Gate::None => "  # --- For functions outside ",
        Gate::Token => "  # --- For everyone ",
        Gate::Account | Gate::Fresh => "  # --- Administration ",
    };
    let mut resources =
        before("template.yaml", &read("template.yaml")?, section, &resources(plan))?;
    if let Some(table) = &plan.table
        && !template.tables.iter().any(|known| known.name == table.resource)
    {
        resources = before("template.yaml", &resources, "Outputs:", &table_resource(table))?;
    }
    put("template.yaml", resources);
    for (file, line, text) in [
        ("openapi.yaml", "components:", operation(plan)),
        (
            "README.md",
            "| `GET /.well-known/jwks.json`",
            format!(
                "| `{} {}` | {} | `{name}` | {} |\n",
                plan.method,
                plan.path,
                plan.access(),
                plan.success().0
            ),
        ),
        (
            "Cargo.toml",
            "\"/.well-known/jwks.json\" = [",
            format!(
                "\"{}\" = [{{ method = \"{}\", function = \"{name}\" }}]\n",
                plan.path, plan.method
            ),
        ),
    ] {
        put(file, before(file, &read(file)?, line, &text)?);
    }
    if plan.gate == Gate::None {
        let line = format!("    \"{} {}\",\n", plan.method, plan.path);
        let list =
            before(PUBLIC_ROUTES, &read(PUBLIC_ROUTES)?, "    // The code in the body", &line)?;
        put(PUBLIC_ROUTES, list);
    }
    put(ACCESS_MATRIX, access_matrix(&read(ACCESS_MATRIX)?, plan)?);
    Ok(files)
}

/// Refuses a path, a resource or a table that the template already uses for something else.
fn refuse_collisions(template: &Template, plan: &Plan<'_>) -> anyhow::Result<()> {
    for function in &template.functions {
        // Paths that differ only in the names of their parameters are the same path.
        if let Some(route) =
            function.routes.iter().find(|route| shape(&route.path) == shape(&plan.path))
        {
            bail!("{} already exists, in the function {}", route.key(), function.name);
        }
        // Logical ids have no hyphens: `report-1` and `report1` would be the same resource.
        if resource(&function.name) == resource(plan.name) {
            bail!("{} already exists, as {}", resource(plan.name), function.name);
        }
        let Some(own) = &plan.table else { continue };
        for (variable, setting) in &function.environment {
            if *setting == Setting::Table(own.resource.clone()) && *variable != own.variable {
                bail!(
                    "--table {}: {} is the {variable} of {}; choose another name",
                    own.name.0,
                    own.resource,
                    function.name
                );
            }
        }
    }
    Ok(())
}

/// The path without the names of its parameters.
fn shape(path: &str) -> Vec<&str> {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect()
}

/// Inserts `text` into `old`, before the first line that begins with `line`.
fn insert(old: &str, line: &str, text: &str) -> Option<String> {
    let at = old.find(&format!("\n{line}"))? + 1;
    Some(format!("{}{text}{}", &old[..at], &old[at..]))
}

/// Replaces each blank in `text` with its value.
fn fill(text: &str, blanks: &[(&str, &str)]) -> String {
    blanks.iter().fold(text.to_owned(), |text, (blank, value)| text.replace(blank, value))
}

fn package(plan: &Plan<'_>) -> String {
    let mut dependencies = vec!["web"];
    match plan.gate {
        // Not used, but without it, `sam build` would build Lambda's runtime again with other features:
        // docs/decisions.md, "Deployment and tests".
        Gate::None => dependencies.push("dynamo"),
        Gate::Token => dependencies.extend(["identity", "token-guard"]),
        Gate::Account | Gate::Fresh => dependencies.extend(["account-guard", "identity"]),
    }
    if plan.has_body() || plan.table.is_some() || plan.parameters().next().is_some() {
        dependencies.push("serde");
    }
    if plan.table.is_some() {
        dependencies.extend(["dynamo", "process"]);
    }
    dependencies.sort_unstable();
    let lines: Vec<_> =
        dependencies.iter().map(|name| format!("{name}.workspace = true\n")).collect();
    let dependencies = lines.concat();
    fill(
        include_str!("new_route/Cargo.toml.txt"),
        &[
            ("@name@", plan.name),
            ("@method@", plan.method),
            ("@path@", &plan.path),
            ("@dependencies@", &dependencies),
        ],
    )
}

fn main_file(plan: &Plan<'_>) -> String {
    format!(
        "//! The binary of the function `{}`: see the library.\n\n\
         fn main() -> std::process::ExitCode {{\n    web::serve::<{}::{}Route>()\n}}\n",
        plan.name, plan.snake, plan.camel,
    )
}

/// The types that depend on the gate of a route.
struct Types {
    module: Option<&'static str>,
    gate: &'static str,
    access: String,
    caller: String,
}

impl Types {
    fn of(plan: &Plan<'_>) -> Self {
        let requirement = plan.access.requirement();
        let (module, gate, access, caller) = match plan.gate {
            Gate::None => (None, "()", "Public".to_owned(), "()".to_owned()),
            Gate::Token => (
                Some("token_guard"),
                "TokenGuard",
                match plan.access.role() {
                    None => "SignedIn".to_owned(),
                    Some(_) => format!("Has<{requirement}>"),
                },
                format!("Caller<{requirement}>"),
            ),
            Gate::Account => (
                Some("account_guard"),
                "AccountGuard",
                format!("Checked<{requirement}>"),
                format!("CheckedCaller<{requirement}>"),
            ),
            Gate::Fresh => (
                Some("account_guard"),
                "AccountGuard",
                format!("Fresh<{requirement}>"),
                format!("FreshCaller<{requirement}>"),
            ),
        };
        Self { module, gate, access, caller }
    }
}

/// The code for the input of a route.
struct InputCode {
    /// The declarations of the types that the input uses.
    items: String,
    /// The type of the input.
    input: String,
    /// The pattern that destructures the input.
    pattern: String,
    /// The names to import from `web`.
    from_web: Vec<&'static str>,
}

impl InputCode {
    fn of(plan: &Plan<'_>) -> Self {
        let (mut items, mut from_web) = (String::new(), Vec::new());
        let (mut inputs, mut patterns) = (Vec::new(), Vec::new());
        let members: Vec<_> = plan
            .parameters()
            .map(|name| format!("    /// The path parameter `{name}`.\n    pub {name}: String,\n"))
            .collect();
        if !members.is_empty() {
            from_web.push("Path");
            inputs.push(format!("Path<{}Path>", plan.camel));
            patterns.push("Path(_)");
            let _ = write!(
                items,
                "/// The path parameters.\n#[derive(Deserialize)]\npub struct {}Path {{\n{}}}\n\n",
                plan.camel,
                members.concat()
            );
        }
        if plan.has_body() {
            from_web.push("Body");
            let stores = plan.table.is_some();
            inputs.push(if stores { "Body<Entry>" } else { "Body<Input>" }.to_owned());
            patterns.push(if stores { "Body(entry)" } else { "Body(input)" });
            if !stores {
                items.push_str(
                    "/// The request body.\n#[derive(Deserialize)]\npub struct Input {\n    text: String,\n}\n\n",
                );
            }
        }
        let (input, pattern) = match (inputs.len(), inputs.join(", "), patterns.join(", ")) {
            (0, ..) => {
                from_web.push("NoBody");
                ("NoBody".to_owned(), "_".to_owned())
            }
            (1, input, pattern) => (input, pattern),
            (_, inputs, patterns) => (format!("({inputs})"), format!("({patterns})")),
        };
        Self { items, input, pattern, from_web }
    }
}

fn library(plan: &Plan<'_>) -> String {
    let Types { module, gate, access, caller } = Types::of(plan);
    let InputCode { mut items, input, pattern, mut from_web } = InputCode::of(plan);
    let without_requirement = |name: &str| name.split('<').next().unwrap_or_default().to_owned();
    let mut uses = String::new();
    match module {
        None => from_web.push("Public"),
        Some(module) => {
            let (access, caller) = (without_requirement(&access), without_requirement(&caller));
            let requirement = plan.access.requirement();
            let _ = write!(
                uses,
                "use {module}::{{{gate}, {access}, {caller}}};\nuse identity::{requirement};\n"
            );
        }
    }
    let unused = if plan.gate == Gate::None { "()" } else { "_" };
    let summary = plan.success().1;
    let (first, rest) = summary.split_at(1);
    let module_summary = format!("{}{rest}", first.to_lowercase());
    let rule = plan.access();
    let mut blanks = vec![
        ("@summary@", summary),
        ("@module_summary@", module_summary.as_str()),
        ("@rule@", rule.as_str()),
        ("@pattern@", pattern.as_str()),
        ("@gate@", gate),
        ("@name@", plan.name),
        ("@method@", plan.method),
        ("@path@", plan.path.as_str()),
        ("@access@", access.as_str()),
        ("@caller@", caller.as_str()),
        ("@input@", input.as_str()),
    ];
    let verb = plan.method.to_lowercase();
    let route = format!("{}Route", plan.camel);
    blanks.extend([("@verb@", verb.as_str()), ("@route@", route.as_str())]);
    match &plan.table {
        None => {
            from_web.extend(["Json", "Message"]);
            if !items.is_empty() {
                uses.push_str("use serde::Deserialize;\n");
            }
            let echo = "Ok(Json(Message::new(input.text)))";
            let greet = "Ok(Json(Message::new(\"Hello!\")))";
            blanks.extend([
                ("@handler@", if plan.has_body() { echo } else { greet }),
                ("@output@", "Json<Message>"),
                ("@fields@", ";"),
                ("@settings@", "()"),
                ("@open_settings@", "()"),
                ("@open_gate@", unused),
                ("@opened@", "Self"),
                ("@caller_name@", unused),
            ]);
        }
        Some(own) => {
            let stores = plan.method == "POST";
            from_web.extend(if stores { &["Created", "FieldError"][..] } else { &["Json"] });
            let item = if stores { "" } else { ", Item" };
            let _ = write!(
                uses,
                "use dynamo::{{Client, DynamoError, Value{item}}};\nuse process::{{Reader, Settings}};\n\
                 use serde::{{Deserialize, Serialize}};\n"
            );
            items.push_str(&fill(
                include_str!("new_route/table.rs.txt"),
                &[("@table@", &own.resource), ("@variable@", &own.variable)],
            ));
            blanks.extend([
                (
                    "@handler@",
                    if stores {
                        include_str!("new_route/store.rs.txt").trim_end()
                    } else {
                        include_str!("new_route/list.rs.txt").trim_end()
                    },
                ),
                ("@output@", if stores { "Created<Entry>" } else { "Json<Vec<Entry>>" }),
                ("@fields@", " {\n    database: Client,\n    table: @settings@,\n}"),
                ("@settings@", &own.resource),
                ("@open_settings@", "table"),
                ("@open_gate@", "guard"),
                ("@opened@", "Self { database: guard.database().clone(), table }"),
                ("@caller_name@", "caller"),
            ]);
        }
    }
    from_web.extend(["BootError", "Endpoint", "Problem", "Route", "World"]);
    let _ = writeln!(uses, "use web::{{{}}};", from_web.join(", "));
    blanks.extend([("@uses@", uses.as_str()), ("@items@", items.as_str())]);
    fill(include_str!("new_route/route.rs.txt"), &blanks)
}

fn test(plan: &Plan<'_>) -> String {
    let guarded = match plan.gate {
        Gate::None => None,
        Gate::Token => Some("guarded_by_token"),
        Gate::Account => Some("guarded_by_account"),
        Gate::Fresh => Some("guarded_by_fresh_session"),
    };
    let mut text = fill(
        if guarded.is_some() {
            include_str!("new_route/test.rs.txt")
        } else {
            include_str!("new_route/test_public.rs.txt")
        },
        &[
            ("@guarded@", guarded.unwrap_or_default()),
            ("@snake@", &plan.snake),
            ("@route@", &format!("{}Route", plan.camel)),
            ("@name@", plan.name),
            ("@status@", &plan.success().0.to_string()),
        ],
    );
    let expected = match (&plan.table, plan.method) {
        (None, _) => "assert_eq!(testkit::body(&answer)[\"message\"], \"Hello!\");",
        (Some(_), "POST") => "assert_eq!(testkit::body(&answer)[\"text\"], \"Hello!\");",
        (Some(_), _) => "assert_eq!(testkit::body(&answer).as_array().map(Vec::len), Some(0));",
    };
    text = text.replace("@expected@", expected);
    text
}

fn event(plan: &Plan<'_>) -> String {
    let key = format!("{} {}", plan.method, plan.path);
    let example_path = plan.example_path();
    let mut event = json!({
        "version": "2.0",
        "routeKey": key,
        "rawPath": example_path,
        "rawQueryString": "",
        "headers": {
            "accept": "*/*",
            "host": "api.example.com",
            "user-agent": "curl/8.14.1",
            "x-amzn-trace-id": "Root=1-69b30ede-1f3a5c7e9b2d4f6081a3c5ef",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3d4e5",
            "domainName": "api.example.com",
            "domainPrefix": "api",
            "http": {
                "method": plan.method,
                "path": example_path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "curl/8.14.1",
            },
            "requestId": "JKJaXmPLvHcESH09=",
            "routeKey": key,
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1_773_342_238_000_i64,
        },
        "isBase64Encoded": false,
    });
    if plan.gate != Gate::None {
        event["headers"]["authorization"] = json!("Bearer REPLACE_WITH_A_TOKEN");
    }
    for parameter in plan.parameters() {
        event["pathParameters"][parameter] = json!(parameter);
    }
    if let Some(body) = plan.example_body() {
        event["headers"]["content-type"] = json!("application/json");
        event["headers"]["content-length"] = json!(body.to_string().len().to_string());
        event["body"] = json!(body.to_string());
    }
    format!("{event:#}\n")
}

/// The resources of the template: the function and its role.
fn resources(plan: &Plan<'_>) -> String {
    let resource = resource(plan.name);
    let (mut variables, mut statements) = (String::new(), String::new());
    if let Some(table) = &plan.table {
        let _ = writeln!(variables, "          {}: !Ref {}", table.variable, table.resource);
        let action = if plan.method == "POST" { "PutItem" } else { "Query" };
        let _ = write!(
            statements,
            "              - Effect: Allow\n                Action: dynamodb:{action}\n                \
             Resource: !GetAtt {}.Arn\n",
            table.resource
        );
    }
    if matches!(plan.gate, Gate::Account | Gate::Fresh) {
        variables.push_str("          USERS_TABLE: !Ref UsersTable\n");
        statements.push_str(
            "              - Effect: Allow\n                Action: dynamodb:GetItem\n                \
             Resource: !GetAtt UsersTable.Arn\n                Condition:\n                  \
             ForAllValues:StringLike:\n                    dynamodb:LeadingKeys: [\"USER#*\"]\n",
        );
    }
    if plan.gate != Gate::None {
        variables.push_str(
            "          KEYS_TABLE: !Ref KeysTable\n          ISSUER: !Ref Issuer\n          AUDIENCE: !Ref Audience\n",
        );
        statements.push_str(
            "              - Effect: Allow\n                Action: dynamodb:GetItem\n                \
             Resource: !GetAtt KeysTable.Arn\n",
        );
    }
    if !variables.is_empty() {
        variables.insert_str(0, "      Environment:\n        Variables:\n");
    }
    if !statements.is_empty() {
        statements.insert_str(
            0,
            "      Policies:\n        - PolicyName: own\n          PolicyDocument:\n            \
             Version: \"2012-10-17\"\n            Statement:\n",
        );
    }
    fill(
        include_str!("new_route/function.yaml.txt"),
        &[
            ("@resource@", &resource),
            ("@name@", plan.name),
            ("@variables@", &variables),
            ("@statements@", &statements),
            ("@method@", plan.method),
            ("@path@", &quoted(&plan.path)),
        ],
    )
}

fn table_resource(table: &OwnTable<'_>) -> String {
    fill(include_str!("new_route/table.yaml.txt"), &[("@resource@", &table.resource)])
}

/// Quotes a path with parameters, because `{` can begin a mapping in YAML.
fn quoted(path: &str) -> String {
    if path.contains('{') { format!("\"{path}\"") } else { path.to_owned() }
}

fn operation(plan: &Plan<'_>) -> String {
    let access = plan.access();
    let (first, rest) = access.split_at(1);
    let (status, summary, answer) = plan.success();
    let (tag, security) = match plan.gate {
        Gate::None => ("public", "      security: []\n"),
        Gate::Token => ("by token", ""),
        Gate::Account | Gate::Fresh => ("checked", ""),
    };
    let parameters: Vec<_> = plan
        .parameters()
        .map(|name| {
            format!(
                "        - name: {name}\n          in: path\n          required: true\n          \
                 schema: {{ type: string }}\n"
            )
        })
        .collect();
    let parameters = if parameters.is_empty() {
        String::new()
    } else {
        format!("      parameters:\n{}", parameters.concat())
    };
    let entry = "{ type: object, required: [name, text], properties: { name: { type: string }, text: { type: string } }, \
                 example: { name: first, text: Hello! } }";
    let text = "{ type: object, required: [text], properties: { text: { type: string } }, example: { text: Hello! } }";
    let listed = format!("{{ type: array, items: {entry} }}");
    let (schema, body) = match (&plan.table, plan.method) {
        (Some(_), "POST") => (entry, entry),
        (Some(_), _) => (listed.as_str(), entry),
        (None, _) => ("{ $ref: \"#/components/schemas/Message\" }", text),
    };
    let body = if plan.has_body() {
        format!(
            "      requestBody:\n        required: true\n        content:\n          application/json:\n            \
             schema: {body}\n"
        )
    } else {
        String::new()
    };
    let mut responses = BTreeMap::from([(500, "Internal"), (503, "Unavailable")]);
    if plan.has_body() {
        responses.extend([(400, "InvalidInput"), (413, "TooLarge"), (415, "UnsupportedMediaType")]);
    }
    match plan.gate {
        Gate::None => None,
        Gate::Token | Gate::Account => responses.insert(401, "Unauthorized"),
        Gate::Fresh => responses.insert(401, "NotFresh"),
    };
    if plan.access.role().is_some() {
        responses.insert(403, "InsufficientRole");
    }
    if status == 201 {
        responses.insert(409, "AlreadyExists");
    }
    let responses: Vec<_> = responses
        .iter()
        .map(|(status, name)| {
            format!("        \"{status}\": {{ $ref: \"#/components/responses/{name}\" }}\n")
        })
        .collect();
    fill(
        include_str!("new_route/operation.yaml.txt"),
        &[
            ("@verb@", &plan.method.to_lowercase()),
            ("@name@", plan.name),
            ("@tag@", tag),
            ("@summary@", summary),
            ("@described@", &format!("{}{rest}.", first.to_uppercase())),
            ("@security@", security),
            ("@parameters@", &parameters),
            ("@body@", &body),
            ("@status@", &status.to_string()),
            ("@answer@", answer),
            ("@schema@", schema),
            ("@responses@", &responses.concat()),
            ("@path@", &plan.path),
        ],
    )
}

/// The access matrix with a row for the new route. A test compares the row with the answers of the route.
fn access_matrix(old: &str, plan: &Plan<'_>) -> anyhow::Result<String> {
    // The matrix test sends an empty object with every method except GET.
    let answer = if plan.has_body() { "400 invalid_request" } else { "200" };
    let anonymous = if plan.gate == Gate::None { answer } else { "401 missing_token" };
    let row = roles::row(anonymous, plan.access.role(), answer);
    roles::edit_matrix(old, |rows| {
        rows.insert(format!("{} {}", plan.path, plan.method), row.into());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        new: NewRoute,
    }

    fn new(arguments: &str) -> NewRoute {
        let arguments = std::iter::once("new-route").chain(arguments.split_whitespace());
        Arguments::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}")).new
    }

    fn error(arguments: &str) -> String {
        let new = new(arguments);
        let files = Plan::of(&new).and_then(|plan| files(&Project::here(), &plan));
        files.unwrap_err().to_string()
    }

    /// The text of the file whose path ends with `end`.
    fn file(files: &BTreeMap<PathBuf, String>, end: &str) -> String {
        files.iter().find(|(path, _)| path.ends_with(end)).unwrap().1.clone()
    }

    #[test]
    fn only_names_paths_and_methods_that_the_tools_support_are_accepted() {
        for name in ["a", "monthly-report", "report2"] {
            assert!(name.parse::<Name>().is_ok(), "{name}");
        }
        for name in
            ["", "-a", "a-", "a--b", "A", "2a", "a_b", "ä", "../x", "match", "std", &"a".repeat(41)]
        {
            assert!(name.parse::<Name>().is_err(), "{name}");
        }
        for path in ["/a", "/api/things/{id}", "/{a}/x/{note_id2}", "/a.b/c_d~e", "/Type/7"] {
            assert!(path.parse::<RoutePath>().is_ok(), "{path}");
        }
        for path in ["", "/", "a", "/a/", "//a", "/a b", "/a?b", "/{a", "/{}", "/{proxy+}"] {
            assert!(path.parse::<RoutePath>().is_err(), "{path}");
        }
        // A parameter becomes a field of a Rust struct.
        for path in [
            "/{note-id}",
            "/{type}",
            "/{self}",
            "/{a.b}",
            "/{7}",
            "/{A}",
            "/{_}",
            "/{_a}",
            "/{a__b}",
            "/{id}/x/{id}",
            "/a{b}",
            "/{a}b",
            "/{a}{b}",
            "/{{a}}",
            "/}{",
        ] {
            assert!(path.parse::<RoutePath>().is_err(), "{path}");
        }
        assert!("patch".parse::<RouteMethod>().is_ok() && "TRACE".parse::<RouteMethod>().is_err());
    }

    #[test]
    fn the_error_for_an_unknown_access_lists_the_known_ones() {
        let arguments = ["new-route", "a", "--access", "root"];
        let error = Arguments::try_parse_from(arguments).err().unwrap().to_string();
        for name in ["public", "signed-in", "fresh"].into_iter().chain(Role::ALL.map(Role::as_str))
        {
            assert!(error.contains(name), "{name}: {error}");
        }
    }

    /// Checks every file that must agree with the route: template, event, API description, README and router.
    fn assert_complete(arguments: &str, tables: &[(&str, &str)]) -> BTreeMap<PathBuf, String> {
        let project = Project::here();
        let new = new(arguments);
        let plan = Plan::of(&new).unwrap();
        let files = files(&project, &plan).unwrap();
        let before = Template::read(&project.template()).unwrap();
        let after = Template::parse(&file(&files, "template.yaml")).unwrap();
        assert_eq!(after.functions.len(), before.functions.len() + 1);
        let function = after.function(plan.name).unwrap();
        let (method, path) = (plan.method, plan.path.as_str());
        assert_eq!(function.routes[0].key(), format!("{method} {path}"));
        let expected: BTreeMap<_, _> = tables.iter().copied().collect();
        let read = function.environment.iter().filter_map(|(name, setting)| match setting {
            Setting::Table(table) => Some((name.as_str(), table.as_str())),
            Setting::Text(_) | Setting::Deployed => None,
        });
        assert_eq!(read.collect::<BTreeMap<_, _>>(), expected);
        for (_, table) in tables {
            assert!(after.tables.iter().any(|known| known.name == *table), "{table}");
        }
        let api: Value = serde_saphyr::from_str(&file(&files, "openapi.yaml")).unwrap();
        let operation = &api["paths"][path][method.to_lowercase()];
        assert_eq!(operation["operationId"], plan.name);
        assert_eq!(operation["requestBody"].is_object(), plan.has_body());
        for (status, response) in operation["responses"].as_object().unwrap() {
            if let Some(reference) = response["$ref"].as_str() {
                let name = reference.strip_prefix("#/components/responses/").unwrap();
                assert!(api["components"]["responses"][name].is_object(), "{status}: {name}");
            }
        }
        let event: Value =
            serde_json::from_str(&file(&files, &format!("events/{}.json", plan.name))).unwrap();
        assert_eq!(event["requestContext"]["routeKey"], format!("{method} {path}"));
        assert_eq!(event["body"].is_string(), plan.has_body());
        assert!(file(&files, "README.md").contains(&format!("| `{method} {path}` |")));
        assert!(file(&files, "Cargo.toml").contains(&format!("function = \"{}\"", plan.name)));
        let library = file(&files, &format!("functions/{}/src/lib.rs", plan.name));
        assert!(!library.contains('@'), "{library}");
        // Existing lines stay unchanged.
        for path in ["template.yaml", "openapi.yaml", "README.md", "Cargo.toml"] {
            let old = fs::read_to_string(project.root().join(path)).unwrap();
            let text = file(&files, path);
            let mut new = text.lines();
            assert!(old.lines().all(|line| new.any(|other| other == line)), "{path}");
        }
        files
    }

    #[test]
    fn every_kind_of_route_is_complete() {
        let keys = ("KEYS_TABLE", "KeysTable");
        let users = ("USERS_TABLE", "UsersTable");
        let notes = ("NOTES_TABLE", "NotesTable");
        assert_complete("greet --access signed-in", &[keys]);
        assert_complete("greet --access admin --checked --path /greet/{who}", &[keys, users]);
        assert_complete("greet --access user --method PUT --path /greet/{who}", &[keys]);
        for (arguments, requirement) in
            [("--access fresh", "Anyone"), ("--access admin --fresh --checked", "Admin")]
        {
            let files = assert_complete(&format!("greet {arguments}"), &[keys, users]);
            let library = file(&files, "functions/greet/src/lib.rs");
            assert!(library.contains(&format!("type Access = Fresh<{requirement}>;")), "{library}");
            assert!(library.contains(&format!("_: FreshCaller<{requirement}>")), "{library}");
            let test = file(&files, "functions/greet/tests/route.rs");
            assert!(test.contains("testkit::guarded_by_fresh_session::<GreetRoute>()"), "{test}");
            assert!(file(&files, "openapi.yaml").contains("      description: Fresh"));
        }
        assert_complete("greet --access user --table notes", &[keys, notes]);
        assert_complete(
            "greet --access user --method POST --checked --table notes",
            &[keys, notes, users],
        );
        let files = assert_complete("greet --access public --method POST", &[]);
        assert!(file(&files, PUBLIC_ROUTES).contains("    \"POST /api/greet\",\n"));
    }

    #[test]
    fn the_row_of_the_access_matrix_follows_from_the_access() {
        for (arguments, row) in [
            ("greet --access admin", roles::row("401 missing_token", Some(Role::Admin), "200")),
            (
                "greet --access signed-in --method DELETE",
                roles::row("401 missing_token", None, "200"),
            ),
            (
                "greet --access public --method PATCH",
                roles::row("400 invalid_request", None, "400 invalid_request"),
            ),
        ] {
            let new = new(arguments);
            let files = files(&Project::here(), &Plan::of(&new).unwrap()).unwrap();
            assert!(file(&files, ACCESS_MATRIX).contains(&format!(": \"{row}\"")), "{row}");
        }
        let admins = roles::row("401", Some(Role::Admin), "200");
        assert!(admins.starts_with("no token: 401 | user: 403 insufficient_role | admin: 200 |"));
    }

    #[test]
    fn the_hint_has_the_address_of_the_running_server() {
        let new = new("greet --access admin --method POST");
        let plan = Plan::of(&new).unwrap();
        let hint = plan.hint(("http://127.0.0.1:8123".to_owned(), true));
        for part in [
            "curl -i -X POST http://127.0.0.1:8123/api/greet -H \"Authorization: Bearer $TOKEN\"",
            r#"-d '{"text":"Hello!"}'"#,
            "set-roles USERNAME --roles user,admin",
            "cargo xtask clients\n  cargo xtask dev    # restart the dev server",
        ] {
            assert!(hint.contains(part), "{part}: {hint}");
        }
    }

    #[test]
    fn the_report_distinguishes_created_files_from_changed_files() {
        let project = Project::here();
        let new = new("greet --access admin --checked");
        let files = files(&project, &Plan::of(&new).unwrap()).unwrap();
        let report = report(&project, files.keys());
        for line in ["created functions/greet/src/lib.rs", "created events/greet.json"] {
            assert!(report.iter().any(|reported| reported == line), "{line}: {report:?}");
        }
        for path in ["README.md", "Cargo.toml", "template.yaml", "openapi.yaml"] {
            assert!(report.contains(&format!("changed {path}")), "{path}: {report:?}");
        }
    }

    #[test]
    fn existing_names_and_paths_are_refused() {
        for (arguments, reason) in [
            ("login --access user", "functions/login already exists"),
            ("store --access user", "shared/store already exists"),
            ("testkit --access user", "tools/testkit already exists"),
            ("serde --access user", "a package serde already exists"),
            (
                "greet --access user --path /auth/me",
                "GET /auth/me already exists, in the function me",
            ),
            (
                "greet --access user --path /auth/sessions/{id}",
                "DELETE /auth/sessions/{sid} already exists, in the function sessions",
            ),
        ] {
            assert_eq!(error(arguments), reason);
        }
    }

    #[test]
    fn names_with_the_same_logical_id_are_refused() {
        let first = new("report-1 --access user --table note-1");
        let files = files(&Project::here(), &Plan::of(&first).unwrap()).unwrap();
        let template = Template::parse(&file(&files, "template.yaml")).unwrap();
        for (arguments, refused) in [
            ("report1 --access user", Some("Report1Function already exists, as report-1")),
            (
                "greet --access user --table note1",
                Some("--table note1: Note1Table is the NOTE_1_TABLE of report-1"),
            ),
            ("greet --access user --table note-1", None),
        ] {
            let new = new(arguments);
            let error = refuse_collisions(&template, &Plan::of(&new).unwrap()).err();
            let error = error.map(|error| error.to_string());
            assert_eq!(error.is_some(), refused.is_some(), "{arguments}: {error:?}");
            assert!(error.unwrap_or_default().starts_with(refused.unwrap_or_default()));
        }
    }

    #[tokio::test]
    async fn a_failure_leaves_every_file_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join("Cargo.toml"), "not a manifest").unwrap();
        fs::write(root.join("Cargo.lock"), "not a lock file").unwrap();
        fs::create_dir(root.join("functions")).unwrap();
        let new = ["events", "functions/greet/src/lib.rs"];
        // In the first round cargo rejects the manifest. In the second, `events` is a file, so no folder of that name
        // can be created.
        for last in ["functions/greet/tests/route.rs", "events/greet.json"] {
            let files = ["Cargo.toml", last].into_iter().chain(new);
            let files = files.map(|path| (PathBuf::from(path), "new".to_owned())).collect();
            write_or_restore(root, "greet", &files).await.unwrap_err();
            let text = |path| fs::read_to_string(root.join(path)).unwrap();
            assert_eq!(text("Cargo.toml"), "not a manifest");
            assert_eq!(text("Cargo.lock"), "not a lock file");
            for path in ["events", "functions/greet"] {
                assert!(!root.join(path).exists(), "{path}");
            }
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for (arguments, reason) in [
            ("greet --access public --checked", "--checked needs a signed-in caller"),
            ("greet --access public --fresh", "--fresh needs a signed-in caller"),
            ("greet --access public --table notes", "--table stores entries per user"),
            ("greet --access user --table notes --method PUT", "--table needs --method GET"),
            ("greet --access user --table users", "this table belongs to Latchkey"),
        ] {
            assert!(error(arguments).contains(reason), "{}", error(arguments));
        }
    }
}
