//! Tests that folders, packages, binaries, template, events and OpenAPI agree, and that dependencies follow the rules.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use local::binaries;
use serde_json::Value;
use template::project::Project;
use template::{Template, resource};

fn metadata() -> Metadata {
    MetadataCommand::new().current_dir(Project::here().root()).no_deps().exec().unwrap()
}

fn template() -> Template {
    Template::read(&Project::here().template()).unwrap()
}

/// The names of the folders in `functions/`.
fn functions() -> BTreeSet<String> {
    let root = Project::here().root().join("functions");
    let folders = std::fs::read_dir(root).unwrap();
    folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect()
}

fn events() -> BTreeMap<String, Value> {
    let files = std::fs::read_dir(Project::here().root().join("events")).unwrap();
    files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let event = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            (name, event)
        })
        .collect()
}

#[test]
fn a_function_has_one_name_everywhere() {
    let functions = functions();
    let packages: BTreeMap<_, _> = metadata()
        .packages
        .into_iter()
        .filter(|package| {
            package.manifest_path.components().any(|part| part.as_str() == "functions")
        })
        .map(|package| (package.name.to_string(), package))
        .collect();
    assert_eq!(packages.keys().cloned().collect::<BTreeSet<_>>(), functions, "packages");
    for (name, package) in &packages {
        assert_eq!(package.manifest_path.parent().unwrap().file_name(), Some(name.as_str()));
        let bins: Vec<_> = package.targets.iter().filter(|target| target.is_bin()).collect();
        assert_eq!(bins.len(), 1, "{name} has one binary");
        assert_eq!(&bins[0].name, name, "the binary of {name}");
    }
    let template = template();
    let in_template: BTreeSet<_> = template.functions.iter().map(|f| f.name.clone()).collect();
    assert_eq!(in_template, functions, "functions of the template");
    for function in &template.functions {
        assert_eq!(function.resource, resource(&function.name));
    }
    let events = events();
    for name in &functions {
        assert!(events.contains_key(name), "events/{name}.json is missing");
    }
}

#[test]
fn every_event_matches_a_route_of_its_function() {
    let template = template();
    for (file, event) in events() {
        let belongs_to = |name: &str| {
            file == name || file.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
        };
        let function = template
            .functions
            .iter()
            .filter(|function| belongs_to(&function.name))
            .max_by_key(|function| function.name.len())
            .unwrap_or_else(|| panic!("events/{file}.json belongs to no function"));
        let routes: Vec<_> = function.routes.iter().map(template::Route::key).collect();
        // A function without routes is invoked by another service, whose events have a different format.
        if routes.is_empty() {
            continue;
        }
        let key = event["routeKey"].as_str().unwrap();
        assert!(routes.iter().any(|route| route == key), "events/{file}.json: {key}");
        let context = &event["requestContext"];
        assert_eq!(context["routeKey"], key, "events/{file}.json");
        let method = context["http"]["method"].as_str().unwrap();
        assert_eq!(key.split(' ').next(), Some(method), "events/{file}.json");
    }
}

#[tokio::test]
async fn every_binary_has_the_name_and_routes_of_the_template() {
    let project = Project::here();
    let binaries = binaries::build(&project, false).await.unwrap();
    for function in template().functions {
        let binary = binaries
            .get(&function.name)
            .unwrap_or_else(|| panic!("there is no binary {}", function.name));
        let description = binaries::describe(binary).await.unwrap();
        assert_eq!(description.name, function.name);
        let routes: BTreeSet<_> = function.routes.iter().map(template::Route::key).collect();
        let answered: BTreeSet<_> = description
            .endpoints
            .iter()
            .map(|endpoint| format!("{} {}", endpoint.method, endpoint.path))
            .collect();
        assert_eq!(routes, answered, "the routes of {}", function.name);
    }
}

/// The routes of the template with their functions.
fn routes() -> BTreeSet<(String, String)> {
    let functions = template().functions.into_iter();
    let routes = functions.flat_map(|function| {
        let name = function.name;
        function.routes.into_iter().map(move |route| (route.key(), name.clone()))
    });
    routes.collect()
}

#[test]
fn openapi_has_every_route_and_no_other() {
    let text = std::fs::read_to_string(Project::here().root().join("openapi.yaml")).unwrap();
    let api: Value = serde_saphyr::from_str(&text).unwrap();
    let mut documented = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            // Operation ids are unique, so a function with several operations is named in `x-function`.
            let function = &operation["x-function"];
            if let Some(id) = function.as_str().or(operation["operationId"].as_str()) {
                documented.insert((format!("{} {path}", method.to_uppercase()), id.to_owned()));
            }
        }
    }
    assert_eq!(documented, routes());
}

/// `shared/identity/src/role.rs` defines the roles, and other files repeat their names.
#[test]
fn every_file_has_the_roles_of_identity() {
    let outdated: Vec<_> =
        develop::roles::outdated(&Project::here()).unwrap().into_keys().collect();
    assert!(
        outdated.is_empty(),
        "the roles in {outdated:?} differ from shared/identity/src/role.rs: run `cargo xtask roles`"
    );
}

/// `cargo lambda watch` reads its router from `Cargo.toml`.
#[test]
fn the_watch_router_has_the_routes_of_the_template() {
    let router = metadata().workspace_metadata["lambda"]["watch"]["router"].clone();
    let mut watched = BTreeSet::new();
    for (path, routes) in router.as_object().unwrap() {
        for route in routes.as_array().unwrap() {
            let (method, function) = (route["method"].as_str(), route["function"].as_str());
            watched.insert((format!("{} {path}", method.unwrap()), function.unwrap().to_owned()));
        }
    }
    assert_eq!(watched, routes());
}

#[test]
fn readme_has_every_route() {
    let readme = std::fs::read_to_string(Project::here().root().join("README.md")).unwrap();
    for function in template().functions {
        for route in function.routes {
            let key = route.key();
            assert!(readme.contains(&format!("`{key}`")), "README.md does not name {key}");
        }
    }
}

/// The text of every source file in a folder and its subfolders.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
    text
}

/// A test that is renamed must be renamed in `docs/invariants.md` too.
#[test]
fn every_test_named_in_the_invariants_exists() {
    let root = Project::here().root().to_owned();
    let page = std::fs::read_to_string(root.join("docs/invariants.md")).unwrap();
    let code: String =
        ["functions", "shared", "tools"].map(|folder| sources(&root.join(folder))).concat();
    let is_test = |name: &&str| {
        name.matches('_').count() > 1
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let named: BTreeSet<_> = page.split('`').filter(is_test).collect();
    assert!(named.len() > 50, "{named:?}");
    let missing: Vec<_> =
        named.iter().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "docs/invariants.md names tests that do not exist: {missing:#?}");
}

/// A gate decides which callers a route admits. Its traits are public, because the guards, which are separate crates,
/// implement them. A gate in any other crate could admit anyone.
#[test]
fn only_listed_crates_name_the_parts_of_a_gate() {
    let parts = ["TokenGate", "AccountGate", "KeySource", "AccountCheck", "Verifier"];
    let names_one = |code: String| {
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| parts.contains(&word))
    };
    let root = Project::here().root().to_owned();
    let crates = ["functions", "shared"].into_iter().flat_map(|folder| {
        let crates = std::fs::read_dir(root.join(folder)).unwrap();
        crates.map(|entry| entry.unwrap().path())
    });
    let naming: BTreeSet<_> = crates
        .filter(|path| names_one(sources(&path.join("src"))))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    // `signin` is in this list because it reads the global epoch from the key source.
    let expected = ["account-guard", "auth", "keys", "signin", "store", "token-guard", "web"]
        .map(str::to_owned);
    assert_eq!(naming, BTreeSet::from(expected));
}

/// The files contain tokens, which no commit may include.
#[test]
fn git_ignores_the_files_that_the_commands_in_the_readme_write() {
    let read = |name| std::fs::read_to_string(Project::here().root().join(name)).unwrap();
    let (readme, ignored) = (read("README.md"), read(".gitignore"));
    let commands = readme.lines().filter_map(|line| line.strip_prefix("$ "));
    let files: BTreeSet<_> = commands.filter_map(|line| line.split_once("| tee ")).collect();
    assert!(!files.is_empty());
    for (_, file) in files {
        assert!(ignored.lines().any(|line| line == format!("/{file}")), "{file}");
    }
}

/// The lines that `cargo tree` prints.
fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(Project::here().root())
        .args(["tree", "--offline", "--prefix", "none"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect()
}

/// All crates that a package links, including itself.
fn linked(package: &str) -> BTreeSet<String> {
    let lines = tree(&["--edges", "normal", "--format", "{p}", "--package", package]);
    lines.iter().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// If tests enabled additional features of a crate, cargo would build that crate and all its dependents twice: once for
/// tests and once for the dev server.
#[test]
fn features_are_the_same_with_and_without_tests() {
    let features = |edges| tree(&["--workspace", "--format", "{p} {f}", "--edges", edges]);
    let (without, with) = (features("normal,build"), features("normal,build,dev"));
    let differing: Vec<_> = without.difference(&with).collect();
    assert!(differing.is_empty(), "the features of these crates differ in tests: {differing:#?}");
}

/// `cargo xtask` must print its first line within seconds on a fresh clone. Cargo builds the package `xtask` alone, so
/// it might later build a dependency of `xtask` again, with the features that the other packages need.
#[test]
fn cargo_xtask_depends_on_the_standard_library_alone() {
    let crates = tree(&["--package", "xtask", "--edges", "normal,build"]);
    assert_eq!(crates.len(), 1, "{crates:?}");
}

/// `cargo xtask cost` must not wait minutes for builds that it does not need.
#[test]
fn estimates_link_no_aws_client_and_no_database() {
    let linked = linked("estimate");
    assert!(linked.contains("passwords"), "{linked:?}");
    for heavy in ["aws-sdk-", "aws-smithy-", "dynoxide", "libsqlite3"] {
        assert!(!linked.iter().any(|name| name.starts_with(heavy)), "estimate links {heavy}");
    }
}

/// `cargo xtask test` builds no test program for a `main.rs`, so tests in that file would never run.
#[test]
fn no_main_file_has_tests() {
    for package in metadata().packages {
        for target in package.targets.iter().filter(|target| target.is_bin()) {
            let source = std::fs::read_to_string(&target.src_path).unwrap();
            assert!(!source.contains("test]"), "move the tests of {} to lib.rs", target.src_path);
        }
    }
}

/// Most functions have all their tests in `tests/`, so their manifests disable the library's tests. A library that has
/// tests must not disable them.
#[test]
fn no_test_in_a_function_is_switched_off() {
    for package in metadata().packages {
        let folder = package.manifest_path.parent().unwrap();
        if folder.parent().and_then(|it| it.file_name()) != Some("functions") {
            continue;
        }
        let library = package.targets.iter().find(|target| target.is_lib()).unwrap();
        let has_tests = sources(folder.join("src").as_std_path()).contains("#[test]");
        assert_eq!(library.test, has_tests, "[lib] test in {}", package.manifest_path);
    }
}

/// If two functions used a crate with different features, `sam build`, which builds functions one by one, would compile
/// the crate twice.
#[test]
fn functions_share_the_features_of_their_crates() {
    let mut known = BTreeMap::new();
    for function in functions() {
        let edges = "normal,no-proc-macro";
        let lines = tree(&["--package", &function, "--edges", edges, "--format", "{p}|{f}"]);
        for line in lines {
            let (package, features) = line.split_once('|').unwrap();
            let features = features.to_owned();
            let first = known.entry(package.to_owned()).or_insert_with(|| features.clone());
            assert_eq!(*first, features, "{package} in {function}");
        }
    }
    assert!(known.keys().any(|package| package.starts_with("aws-sdk-")), "{known:?}");
}

#[test]
fn routes_guarded_by_token_link_no_secrets() {
    for function in functions().into_iter().filter(|name| name.starts_with("protected-route")) {
        let linked = linked(&function);
        assert!(linked.contains("token-guard"), "{function} links {linked:?}");
        for forbidden in [
            "account-guard",
            "argon2",
            "passwords",
            "issuer",
            "mail",
            "peppers",
            "secrets",
            "store",
            "throttle",
        ] {
            assert!(!linked.contains(forbidden), "{function} links {forbidden}");
        }
    }
}

/// The tools' code is for developers and operators, and must not reach production.
#[test]
fn functions_and_shared_crates_depend_on_no_tool() {
    let packages = metadata().packages;
    let root = Project::here().root().join("tools");
    let tools: BTreeSet<_> = packages
        .iter()
        .filter(|package| package.manifest_path.starts_with(&root))
        .map(|package| package.name.to_string())
        .collect();
    assert!(tools.contains("testkit") && tools.contains("xtask"), "{tools:?}");
    for package in packages.iter().filter(|package| !tools.contains(package.name.as_str())) {
        let links = |kind| kind != DependencyKind::Development;
        for dependency in package.dependencies.iter().filter(|it| links(it.kind)) {
            assert!(
                !tools.contains(&dependency.name),
                "{} depends on {}, which is a tool",
                package.name,
                dependency.name
            );
        }
    }
}

/// The table below lists the permitted dependencies of each shared crate. `deny.toml` lists those of functions.
#[test]
fn shared_crates_have_only_the_permitted_dependencies() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("process", &[] as &[&str]),
        ("identity", &["process"]),
        ("auth", &["identity", "process"]),
        ("aws", &["process"]),
        ("cache", &["process"]),
        ("credentials", &["events", "identity", "passwords", "process", "store", "throttle"]),
        ("deletion", &["events", "identity", "peppers", "store", "throttle"]),
        ("dynamo", &["aws", "process"]),
        ("events", &["identity", "process"]),
        ("issuer", &["auth", "identity", "keys", "peppers", "process", "secrets"]),
        ("keys", &["auth", "cache", "dynamo", "events", "process"]),
        ("lambda", &["identity", "process"]),
        ("mail", &["aws", "identity", "process"]),
        ("paging", &["peppers", "process", "secrets"]),
        ("passwords", &["identity", "process"]),
        ("peppers", &["identity", "process"]),
        ("codes", &["events", "identity", "peppers", "process", "secrets", "store", "throttle"]),
        ("rotation", &["auth", "events", "issuer", "keys", "peppers", "process", "secrets"]),
        ("secrets", &["aws", "cache", "process"]),
        (
            "signin",
            &["auth", "events", "identity", "issuer", "peppers", "process", "secrets", "store"],
        ),
        ("store", &["auth", "dynamo", "events", "identity", "process"]),
        ("throttle", &["dynamo", "identity", "peppers", "process", "secrets", "store"]),
        ("web", &["auth", "identity", "lambda", "process"]),
        ("token-guard", &["auth", "dynamo", "identity", "keys", "process", "web"]),
        ("account-guard", &["auth", "dynamo", "keys", "process", "store", "token-guard", "web"]),
    ]);
    let metadata = metadata();
    let members: BTreeSet<_> =
        metadata.packages.iter().map(|package| package.name.to_string()).collect();
    for package in &metadata.packages {
        let is_shared = package.manifest_path.components().any(|part| part.as_str() == "shared");
        let name = package.name.as_str();
        if !is_shared {
            continue;
        }
        let allowed = allowed.get(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        for dependency in &package.dependencies {
            let is_member =
                dependency.kind == DependencyKind::Normal && members.contains(&dependency.name);
            assert!(
                !is_member || allowed.contains(&dependency.name.as_str()),
                "{name} may not depend on {}",
                dependency.name
            );
        }
    }
}
