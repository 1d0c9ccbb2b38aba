//! `cargo xtask new-route`: everything that a new protected route consists of, in one step.
//!
//! In addition to the package, these are the places that tests compare with each other: the template, an
//! event, the API description, the table in the README, the router of `cargo lambda watch`, and the row of the
//! access matrix for the reviewer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use template::process::cargo;
use template::project::Project;
use template::{Template, resource, ui};

/// The longest name of a function that leaves room for the stack's name before it.
const MAX_NAME_CHARS: usize = 40;

/// What is no name of a crate: Rust's keywords, of today and reserved, and its own crates.
const NO_CRATE: [&str; 56] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// The snapshot of who may call what.
const ACCESS_MATRIX: &str = "tools/conformance/tests/journeys/snapshots/access_matrix.snap";

/// A route to be made.
#[derive(Clone, Debug, clap::Args)]
pub struct NewRoute {
    /// Name of the function, its folder, package and event: lower-case words joined by hyphens
    pub name: Name,

    /// Who may call the route: every signed-in user, or users with this role
    #[arg(long, value_name = "user|admin|super_admin|signed-in")]
    pub access: Access,

    /// Check the account and the session on every call instead of trusting the token until it expires
    #[arg(long)]
    pub checked: bool,

    /// Path of the route [default: /api/NAME, with underscores]
    #[arg(long, value_name = "PATH")]
    pub path: Option<RoutePath>,

    /// Method of the route
    #[arg(long, default_value = "GET")]
    pub method: RouteMethod,
}

/// The name of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |word: &str| {
            let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            !word.is_empty() && word.bytes().all(good)
        };
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if !begins || !text.split('-').all(word) {
            return Err("expected lower-case words of letters and digits, joined by hyphens");
        }
        if text.len() > MAX_NAME_CHARS {
            return Err("expected at most 40 characters");
        }
        if NO_CRATE.contains(&text) {
            return Err("expected a name that is neither a keyword nor a standard crate of Rust");
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
    /// Everybody who is signed in.
    SignedIn,
    /// Callers with the role `user`.
    User,
    /// Callers with the role `admin`.
    Admin,
    /// Callers with the role `super_admin`.
    SuperAdmin,
}

impl FromStr for Access {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "signed-in" => Ok(Self::SignedIn),
            "user" => Ok(Self::User),
            "admin" => Ok(Self::Admin),
            "super_admin" => Ok(Self::SuperAdmin),
            _ => Err("expected `user`, `admin`, `super_admin` or `signed-in`"),
        }
    }
}

impl Access {
    /// The name of the role, if one is required.
    const fn role(self) -> Option<&'static str> {
        match self {
            Self::SignedIn => None,
            Self::User => Some("user"),
            Self::Admin => Some("admin"),
            Self::SuperAdmin => Some("super_admin"),
        }
    }

    /// The users whom the route greets.
    const fn users(self) -> &'static str {
        match self {
            Self::SignedIn => "signed-in users",
            Self::User => "users",
            Self::Admin => "administrators",
            Self::SuperAdmin => "super administrators",
        }
    }

    /// The type that a route names.
    const fn requirement(self) -> &'static str {
        match self {
            Self::SignedIn => "Anyone",
            Self::User => "User",
            Self::Admin => "Admin",
            Self::SuperAdmin => "SuperAdmin",
        }
    }
}

/// The path of a route, as the template writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePath(String);

impl FromStr for RoutePath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |part: &str| {
            let inner = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            let inner = inner.unwrap_or(part);
            !inner.is_empty() && inner.bytes().all(good)
        };
        match text.strip_prefix('/') {
            Some(rest) if rest.split('/').all(part) => Ok(Self(text.to_owned())),
            _ => Err(
                "expected `/` and parts of letters, digits, `-._~` or `{parameter}`, separated by `/`",
            ),
        }
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

/// Makes the route.
///
/// # Errors
/// When there is something of that name or path, or a file is not as it is expected. Then nothing has been
/// written.
pub async fn run(project: &Project, new: &NewRoute) -> anyhow::Result<()> {
    let files = files(project, new)?;
    let report = report(project, files.keys());
    for (path, text) in &files {
        let path = project.root().join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    // The new package belongs in Cargo.lock, which CI does not let change.
    let mut update = cargo();
    update.current_dir(project.root()).args(["update", "--workspace", "--offline", "--quiet"]);
    let locked = update.status().await.context("cannot run cargo")?;
    anyhow::ensure!(locked.success(), "cargo rejects the new package: see the error above");
    // Names are of any length, so where lines break is for rustfmt to say.
    let mut format = cargo();
    format.current_dir(project.root()).args(["fmt", "--package", &new.name.0]);
    if !format.status().await.is_ok_and(|formatted| formatted.success()) {
        ui::note("cannot run cargo fmt: run it yourself");
    }
    for line in report {
        ui::line(line);
    }
    let Plan { method, path, .. } = Plan::of(new);
    ui::line(format_args!(
        "\nThe route greets its callers. Write the handler in functions/{name}/src/lib.rs, and describe its answers \
         in openapi.yaml. Then:\n  \
         cargo xtask dev      # restart it, because the template has changed\n  \
         curl -i -X {method} http://127.0.0.1:9000{path} -H \"Authorization: Bearer $TOKEN\"\n  \
         cargo xtask test",
        name = new.name.0,
    ));
    Ok(())
}

/// What the command says of each file that it is about to write.
fn report<'a>(project: &Project, paths: impl Iterator<Item = &'a PathBuf>) -> Vec<String> {
    let line = |path: &PathBuf| {
        let verb = if project.root().join(path).exists() { "changed" } else { "created" };
        format!("{verb} {}", path.display())
    };
    paths.map(line).collect()
}

/// What is made, in words and names.
struct Plan<'a> {
    new: &'a NewRoute,
    method: &'a str,
    path: String,
    /// As the tables say it.
    access: String,
}

impl<'a> Plan<'a> {
    fn of(new: &'a NewRoute) -> Self {
        let path = match &new.path {
            Some(RoutePath(path)) => path.clone(),
            None => format!("/api/{}", new.name.snake()),
        };
        let how = if new.checked { "checked" } else { "by token" };
        let access = match new.access.role() {
            Some(role) => format!("{how}, role `{role}`"),
            None => how.to_owned(),
        };
        Self { new, method: &new.method.0, path, access }
    }
}

/// All files with what is to be in them, new ones and changed ones.
fn files(project: &Project, new: &NewRoute) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let Name(name) = &new.name;
    let plan = Plan::of(new);
    let template = Template::read(&project.template()).context("template.yaml")?;
    for function in &template.functions {
        if let Some(route) = function.routes.iter().find(|route| route.path == plan.path) {
            bail!("{} already exists, in the function {}", route.key(), function.name);
        }
    }
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
    // A package of the same name as another in the build is ambiguous to cargo.
    let lock = fs::read_to_string(project.root().join("Cargo.lock")).context("Cargo.lock")?;
    if lock.lines().any(|line| line == format!("name = \"{name}\"")) {
        bail!("a package {name} already exists");
    }
    let mut files = BTreeMap::new();
    let mut put = |path: String, text: String| drop(files.insert(PathBuf::from(path), text));
    put(format!("functions/{name}/Cargo.toml"), package(&plan));
    put(format!("functions/{name}/src/main.rs"), main_file(&plan));
    put(format!("functions/{name}/src/lib.rs"), library(&plan));
    put(format!("functions/{name}/tests/route.rs"), test(&plan));
    put(format!("events/{name}.json"), event(&plan));
    let checked = new.checked;
    let before = |file: &str, line: &str, text: String| -> anyhow::Result<String> {
        let old = fs::read_to_string(project.root().join(file)).context(file.to_owned())?;
        insert(&old, line, &text)
            .with_context(|| format!("{file} has no line that begins with {line}"))
    };
    let section = if checked { "  # --- Administration " } else { "  # --- For everyone " };
    let of_template = before("template.yaml", section, resource_of(&plan))?;
    put("template.yaml".to_owned(), of_template);
    put("openapi.yaml".to_owned(), before("openapi.yaml", "components:", operation(&plan))?);
    let row = format!(
        "| `{} {}` | {} | `{name}` | 200 `{{\"message\":…}}` |\n",
        plan.method, plan.path, plan.access
    );
    put("README.md".to_owned(), before("README.md", "| `GET /.well-known/jwks.json`", row)?);
    let line = format!(
        "\"{}\" = [{{ method = \"{}\", function = \"{name}\" }}]\n",
        plan.path, plan.method
    );
    put("Cargo.toml".to_owned(), before("Cargo.toml", "\"/.well-known/jwks.json\" = [", line)?);
    put(ACCESS_MATRIX.to_owned(), access_matrix(project, &plan)?);
    Ok(files)
}

/// `text` before the first line that begins with `line`.
fn insert(old: &str, line: &str, text: &str) -> Option<String> {
    let at = match old.find(&format!("\n{line}")) {
        Some(at) => at + 1,
        None => return None,
    };
    Some(format!("{}{text}{}", &old[..at], &old[at..]))
}

fn package(plan: &Plan<'_>) -> String {
    let guard = if plan.new.checked { "account-guard" } else { "token-guard" };
    let mut dependencies = [guard, "identity", "web"];
    dependencies.sort_unstable();
    let dependencies = dependencies.map(|name| format!("{name}.workspace = true\n")).concat();
    format!(
        r#"[package]
name = "{name}"
description = "{method} {path}"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish.workspace = true

[lints]
workspace = true

[dependencies]
{dependencies}
[dev-dependencies]
testkit.workspace = true
tokio = {{ workspace = true, features = ["macros", "rt"] }}
"#,
        name = plan.new.name.0,
        method = plan.method,
        path = plan.path,
    )
}

fn main_file(plan: &Plan<'_>) -> String {
    format!(
        "//! The binary of the function `{}`: see the library.\n\n\
         fn main() -> std::process::ExitCode {{\n    web::serve::<{}::{}Route>()\n}}\n",
        plan.new.name.0,
        plan.new.name.snake(),
        plan.new.name.camel(),
    )
}

fn library(plan: &Plan<'_>) -> String {
    let (name, requirement) = (&plan.new.name, plan.new.access.requirement());
    let checked = plan.new.checked;
    let (guard, gate) =
        if checked { ("account_guard", "AccountGuard") } else { ("token_guard", "TokenGuard") };
    let caller = if checked { "CheckedCaller" } else { "Caller" };
    let access = match (checked, plan.new.access) {
        (true, _) => format!("Checked<{requirement}>"),
        (false, Access::SignedIn) => "SignedIn".to_owned(),
        (false, _) => format!("Has<{requirement}>"),
    };
    let kind = access.split('<').next().unwrap_or(&access);
    // Names in the order of rustfmt.
    let mut names = [gate, kind, caller];
    names.sort_unstable();
    let how = if checked {
        "Account and session are read on every call."
    } else {
        "Nothing about the caller is read."
    };
    let users = plan.new.access.users();
    let summary = format!("`{} {}`: greets {users}. {how}", plan.method, plan.path);
    [
        ("@summary@", summary),
        ("@guard@", guard.to_owned()),
        ("@names@", names.join(", ")),
        ("@gate@", gate.to_owned()),
        ("@route@", format!("{}Route", name.camel())),
        ("@name@", name.0.clone()),
        ("@verb@", plan.method.to_lowercase()),
        ("@method@", plan.method.to_owned()),
        ("@path@", plan.path.clone()),
        ("@access@", access.clone()),
        ("@caller@", format!("{caller}<{requirement}>")),
        ("@requirement@", requirement.to_owned()),
    ]
    .iter()
    .fold(include_str!("new_route/route.rs.txt").to_owned(), |text, (blank, value)| {
        text.replace(blank, value)
    })
}

fn test(plan: &Plan<'_>) -> String {
    let name = &plan.new.name;
    let guarded = if plan.new.checked { "guarded_by_account" } else { "guarded_by_token" };
    [
        ("@snake@", name.snake()),
        ("@route@", format!("{}Route", name.camel())),
        ("@name@", name.0.clone()),
        ("@guarded@", guarded.to_owned()),
    ]
    .iter()
    .fold(include_str!("new_route/test.rs.txt").to_owned(), |text, (blank, value)| {
        text.replace(blank, value)
    })
}

fn event(plan: &Plan<'_>) -> String {
    let key = format!("{} {}", plan.method, plan.path);
    // A parameter has some value in what a client asks for.
    let asked = plan.path.replace(['{', '}'], "");
    let event = json!({
        "version": "2.0",
        "routeKey": key,
        "rawPath": asked,
        "rawQueryString": "",
        "headers": {
            "accept": "*/*",
            "authorization": "Bearer REPLACE_WITH_A_TOKEN",
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
                "path": asked,
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
    format!("{event:#}\n")
}

fn resource_of(plan: &Plan<'_>) -> String {
    let name = &plan.new.name.0;
    let (variable, statement) = if plan.new.checked {
        (
            "          USERS_TABLE: !Ref UsersTable\n",
            "              - Effect: Allow\n                Action: dynamodb:GetItem\n                \
             Resource: !GetAtt UsersTable.Arn\n                Condition:\n                  \
             ForAllValues:StringLike:\n                    dynamodb:LeadingKeys: [\"USER#*\"]\n",
        )
    } else {
        ("", "")
    };
    format!(
        r#"  {resource}:
    Type: AWS::Serverless::Function
    Metadata:
      BuildMethod: rust-cargolambda
    Properties:
      CodeUri: functions/{name}
      Role: !GetAtt {resource}Role.Arn
      Environment:
        Variables:
{variable}          KEYS_TABLE: !Ref KeysTable
          ISSUER: !Ref Issuer
          AUDIENCE: !Ref Audience
      Events:
        Route:
          Type: HttpApi
          Properties:
            ApiId: !Ref Api
            Method: {method}
            Path: {path}
            PayloadFormatVersion: "2.0"

  {resource}Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement: [{{Effect: Allow, Principal: {{Service: lambda.amazonaws.com}}, Action: sts:AssumeRole}}]
      ManagedPolicyArns: [!Ref FunctionsPolicy]
      Policies:
        - PolicyName: own
          PolicyDocument:
            Version: "2012-10-17"
            Statement:
{statement}              - Effect: Allow
                Action: dynamodb:GetItem
                Resource: !GetAtt KeysTable.Arn

"#,
        resource = resource(name),
        method = plan.method,
        path = quoted(&plan.path),
    )
}

/// A path with a parameter would begin a mapping in YAML.
fn quoted(path: &str) -> String {
    if path.contains('{') { format!("\"{path}\"") } else { path.to_owned() }
}

fn operation(plan: &Plan<'_>) -> String {
    let mut text = String::new();
    let tag = if plan.new.checked { "checked" } else { "by token" };
    let (first, rest) = plan.access.split_at(1);
    let described = format!("{}{rest}.", first.to_uppercase());
    let mut parameters = String::new();
    for parameter in plan.path.split('/').filter_map(|part| part.strip_prefix('{')) {
        let parameter = parameter.trim_end_matches('}');
        // Writing into a string does not fail.
        let _ = write!(
            parameters,
            "        - name: {parameter}\n          in: path\n          required: true\n          \
             schema: {{ type: string }}\n"
        );
    }
    if !parameters.is_empty() {
        parameters.insert_str(0, "      parameters:\n");
    }
    let forbidden = match plan.new.access {
        Access::SignedIn => "",
        _ => "        \"403\": { $ref: \"#/components/responses/InsufficientRole\" }\n",
    };
    let _ = write!(
        text,
        r##"  {path}:
    {method}:
      operationId: {name}
      tags: [{tag}]
      summary: Greets {users}
      description: {described}
{parameters}      responses:
        "200":
          description: A greeting.
          headers:
            X-Request-Id: {{ $ref: "#/components/headers/RequestId" }}
            Cache-Control: {{ $ref: "#/components/headers/NoStore" }}
          content:
            application/json:
              schema: {{ $ref: "#/components/schemas/Message" }}
        "401": {{ $ref: "#/components/responses/Unauthorized" }}
{forbidden}        "500": {{ $ref: "#/components/responses/Internal" }}
        "503": {{ $ref: "#/components/responses/Unavailable" }}

"##,
        path = plan.path,
        method = plan.method.to_lowercase(),
        name = plan.new.name.0,
        users = plan.new.access.users(),
    );
    text
}

/// The access matrix with the row that this route is meant to have: a test compares it with what it does.
fn access_matrix(project: &Project, plan: &Plan<'_>) -> anyhow::Result<String> {
    let old =
        fs::read_to_string(project.root().join(ACCESS_MATRIX)).context("the access matrix")?;
    let (head, body) = old.rsplit_once("---\n").context("the access matrix is not a snapshot")?;
    let mut matrix: BTreeMap<String, Value> =
        serde_json::from_str(body).context("the access matrix is not JSON")?;
    let says = |role: &str| match plan.new.access.role() {
        Some(asked) if asked != role => format!("{role}: 403 insufficient_role"),
        _ => format!("{role}: 200"),
    };
    let [user, admin, super_admin] = ["user", "admin", "super_admin"].map(says);
    let row = format!("no token: 401 missing_token | {user} | {admin} | {super_admin}");
    matrix.insert(format!("{} {}", plan.path, plan.method), row.into());
    Ok(format!("{head}---\n{}\n", serde_json::to_string_pretty(&matrix)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(name: &str, access: &str, checked: bool, path: Option<&str>) -> NewRoute {
        NewRoute {
            name: name.parse().unwrap(),
            access: access.parse().unwrap(),
            checked,
            path: path.map(|path| path.parse().unwrap()),
            method: "get".parse().unwrap(),
        }
    }

    /// What is written, by the end of its path.
    fn file(files: &BTreeMap<PathBuf, String>, end: &str) -> String {
        files.iter().find(|(path, _)| path.ends_with(end)).unwrap().1.clone()
    }

    #[test]
    fn names_paths_and_methods_are_what_the_tools_take() {
        for name in ["a", "monthly-report", "report2"] {
            assert!(name.parse::<Name>().is_ok(), "{name}");
        }
        for name in
            ["", "-a", "a-", "a--b", "A", "2a", "a_b", "ä", "../x", "match", "std", &"a".repeat(41)]
        {
            assert!(name.parse::<Name>().is_err(), "{name}");
        }
        for path in ["/a", "/api/things/{id}", "/a.b/c_d~e"] {
            assert!(path.parse::<RoutePath>().is_ok(), "{path}");
        }
        for path in ["", "/", "a", "/a/", "//a", "/a b", "/a?b", "/{a", "/{}", "/{proxy+}"] {
            assert!(path.parse::<RoutePath>().is_err(), "{path}");
        }
        assert!("patch".parse::<RouteMethod>().is_ok() && "TRACE".parse::<RouteMethod>().is_err());
    }

    #[test]
    fn the_template_of_before_and_the_new_route_are_read_together() {
        let project = Project::here();
        for (route, tables) in [
            (new("greet-all", "signed-in", false, None), vec!["KEYS_TABLE"]),
            (
                new("greet-all", "admin", true, Some("/greet/{who}")),
                vec!["KEYS_TABLE", "USERS_TABLE"],
            ),
        ] {
            let files = files(&project, &route).unwrap();
            let before = Template::read(&project.template()).unwrap();
            let after = Template::parse(&file(&files, "template.yaml")).unwrap();
            assert_eq!(after.functions.len(), before.functions.len() + 1);
            let function = after.function("greet-all").unwrap();
            assert_eq!(function.resource, "GreetAllFunction");
            let path = Plan::of(&route).path;
            assert_eq!(function.routes[0].key(), format!("GET {path}"));
            for table in ["KEYS_TABLE", "USERS_TABLE"] {
                let has = function.environment.contains_key(table);
                assert_eq!(has, tables.contains(&table), "{table}");
            }
            let api: Value = serde_saphyr::from_str(&file(&files, "openapi.yaml")).unwrap();
            assert_eq!(api["paths"][path.as_str()]["get"]["operationId"], "greet-all");
            let operation = &api["paths"][path.as_str()]["get"];
            let (summary, described) = if route.checked {
                ("Greets administrators", "Checked, role `admin`.")
            } else {
                ("Greets signed-in users", "By token.")
            };
            assert_eq!(operation["summary"], summary);
            assert_eq!(operation["description"], described);
            assert_eq!(operation["responses"]["200"]["description"], "A greeting.");
            let library = file(&files, "functions/greet-all/src/lib.rs");
            let first = format!("//! `GET {path}`: greets {}.", route.access.users());
            assert!(library.starts_with(&first), "{library}");
            let event: Value =
                serde_json::from_str(&file(&files, "events/greet-all.json")).unwrap();
            assert_eq!(event["requestContext"]["routeKey"], format!("GET {path}"));
            assert!(file(&files, "README.md").contains(&format!("| `GET {path}` |")));
            assert!(file(&files, "Cargo.toml").contains("function = \"greet-all\""));
            let rows = |text: &str| -> BTreeMap<String, Value> {
                serde_json::from_str(text.rsplit_once("---\n").unwrap().1).unwrap()
            };
            let matrix = fs::read_to_string(project.root().join(ACCESS_MATRIX)).unwrap();
            let mut rows_of_now = rows(&file(&files, ACCESS_MATRIX));
            let row = rows_of_now.remove(&format!("{path} GET")).unwrap();
            let admin_alone = "user: 403 insufficient_role | admin: 200 | super_admin: 403";
            assert_eq!(row.as_str().unwrap().contains(admin_alone), route.checked, "{row}");
            assert_eq!(rows_of_now, rows(&matrix));
            // All that was there is there, as it was.
            let kept = |file: &str, new: &str| {
                let old = fs::read_to_string(project.root().join(file)).unwrap();
                let mut new = new.lines();
                old.lines().all(|line| new.any(|other| other == line))
            };
            for path in ["template.yaml", "openapi.yaml", "README.md", "Cargo.toml"] {
                assert!(kept(path, &file(&files, path)), "{path}");
            }
        }
    }

    #[test]
    fn the_report_tells_new_files_from_changed_ones() {
        let project = Project::here();
        let files = files(&project, &new("greet", "admin", true, None)).unwrap();
        let report = report(&project, files.keys());
        for line in ["created functions/greet/src/lib.rs", "created events/greet.json"] {
            assert!(report.iter().any(|said| said == line), "{line}: {report:?}");
        }
        for path in ["README.md", "Cargo.toml", "template.yaml", "openapi.yaml"] {
            assert!(report.contains(&format!("changed {path}")), "{path}: {report:?}");
        }
    }

    #[test]
    fn what_is_there_already_is_not_written_over() {
        let project = Project::here();
        for (route, reason) in [
            (new("login", "user", false, None), "functions/login already exists"),
            (new("store", "user", false, None), "shared/store already exists"),
            (new("local", "user", false, None), "tools/local already exists"),
            (new("serde", "user", false, None), "a package serde already exists"),
            (
                new("greet", "user", false, Some("/auth/me")),
                "GET /auth/me already exists, in the function me",
            ),
        ] {
            assert_eq!(files(&project, &route).unwrap_err().to_string(), reason);
        }
    }
}
