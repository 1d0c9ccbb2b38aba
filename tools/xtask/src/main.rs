//! `cargo xtask`: builds the tool for a command and replaces itself with it.
//!
//! The tools take minutes to build on a fresh clone. This program depends only on the standard library, so it starts
//! within seconds and announces the build. It replaces itself with `cargo run` (`exec`), which replaces itself with
//! the tool. There is only one process, so exit codes, signals and standard streams need no forwarding.

use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;
use std::{env, fs};

/// A command, the tool that implements it, and the first line of the command's help.
struct Entry {
    command: &'static str,
    tool: &'static str,
    about: &'static str,
}

const fn entry(tool: &'static str, command: &'static str, about: &'static str) -> Entry {
    Entry { command, tool, about }
}

/// All commands. A test compares them with the commands of the tools.
const ENTRIES: [Entry; 17] = [
    entry(
        "local",
        "dev",
        "Run the API on this machine: the compiled functions, an embedded DynamoDB and a local gateway",
    ),
    entry(
        "operate",
        "admin",
        "Create and administer accounts in a local database or a deployed stack",
    ),
    entry("operate", "users", "List, find, delete, import and export accounts"),
    entry("operate", "keys", "List, rotate and revoke signing keys, and add peppers"),
    entry("operate", "sessions", "End the sessions of all accounts"),
    entry("operate", "passwords", "Build and query the breached-password filter"),
    entry("estimate", "argon2", "Measure the cost of password hashing"),
    entry("estimate", "cost", "Estimate the monthly cost on AWS"),
    entry("estimate", "scale", "Simulate the load on the most requested items of the tables"),
    entry(
        "develop",
        "new-route",
        "Create a route: its package, template resource, event and API description",
    ),
    entry(
        "develop",
        "roles",
        "Write the roles of shared/identity/src/role.rs into the files that repeat them",
    ),
    entry("develop", "bench", "Measure binary sizes and login times"),
    entry("develop", "clients", "Generate the clients in TypeScript and Python from openapi.yaml"),
    entry(
        "develop",
        "tools",
        "Install the tools for development, tests and deployment into .tools",
    ),
    entry(
        "develop",
        "deploy-test",
        "Follow docs/deploy.md against an AWS emulator, and test the deployed stack",
    ),
    entry(
        "develop",
        "screenshots",
        "Test the pages in Chromium and write screenshots into docs/images",
    ),
    entry("develop", "test", "Run all tests and checks"),
];

/// The user's request.
enum Request {
    Run(&'static Entry),
    Help,
    NoCommand,
    Unknown(String),
}

impl Request {
    fn of(arguments: &[OsString]) -> Self {
        let mut words = arguments.iter().map(|word| word.to_string_lossy());
        let mut help = false;
        while let Some(word) = words.next() {
            match &*word {
                "--local" => drop(words.next()),
                "help" | "--help" | "-h" => help = true,
                word if word.starts_with("--local=") => {}
                word => {
                    let entry = ENTRIES.iter().find(|entry| entry.command == word);
                    return entry.map_or_else(|| Self::Unknown(word.to_owned()), Self::Run);
                }
            }
        }
        if help { Self::Help } else { Self::NoCommand }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match Request::of(&arguments) {
        Request::Run(entry) => {
            note(&format!("error: {}", run(entry, &arguments)));
            ExitCode::FAILURE
        }
        Request::Help => {
            drop(writeln!(stdout(), "{}", help()));
            ExitCode::SUCCESS
        }
        Request::NoCommand => {
            note(&help());
            ExitCode::from(2)
        }
        Request::Unknown(word) => {
            note(&format!("error: unknown command {word}: cargo xtask --help lists the commands"));
            ExitCode::from(2)
        }
    }
}

fn note(text: &str) {
    drop(writeln!(stderr(), "{text}"));
}

fn help() -> String {
    let row = |Entry { command, about, .. }: &Entry| format!("  {command:11}  {about}");
    let commands = ENTRIES.iter().map(row).collect::<Vec<_>>().join("\n");
    format!(
        "Run, test, administer and deploy Latchkey

Usage: cargo xtask [OPTIONS] <COMMAND>

Commands:
{commands}

Options:
      --local <PATH>  Use this folder for the local database, keys and emails [default: .local]
  -h, --help          Print help (after a command: the help of that command)"
    )
}

/// Replaces this process with the tool for the command. If that fails, returns the reason.
fn run(entry: &Entry, arguments: &[OsString]) -> String {
    let Some(root) = root() else {
        return "the current directory is not in a checkout of Latchkey: change to a checkout"
            .to_owned();
    };
    let Entry { command, tool, .. } = entry;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` has set these variables for this program. If cargo inherited them, every build script that reads them
    // would run again.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|it| text.starts_with(it)) {
            cargo.env_remove(&name);
        }
    }
    cargo.arg("run");
    if is_built(&root, tool) {
        cargo.arg("--quiet");
    } else {
        note(&format!(
            "cargo xtask {command}: building the tool \"{tool}\", which takes minutes the first time"
        ));
    }
    // `--package` is absent so that cargo uses the features of the whole workspace and builds nothing twice.
    cargo.arg("--manifest-path").arg(root.join("Cargo.toml")).args(["--bin", tool, "--"]);
    format!("cannot run cargo: {}", cargo.args(arguments).exec())
}

/// Finds the checkout that contains the current directory or, otherwise, the manifest passed to `cargo run`.
fn root() -> Option<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    [env::current_dir().ok(), manifest].into_iter().flatten().find_map(|start| {
        let is_root = |folder: &&Path| folder.join("tools/xtask/Cargo.toml").is_file();
        start.ancestors().find(is_root).map(Path::to_owned)
    })
}

/// Whether the tool is probably up to date. If it is, cargo need not show its progress. If the guess is wrong, cargo
/// still builds the tool.
fn is_built(root: &Path, tool: &str) -> bool {
    let Some(folder) = env::current_exe().ok().and_then(|xtask| Some(xtask.parent()?.to_owned()))
    else {
        return false;
    };
    let binary = folder.join(tool);
    let Some(built) = changed(&binary) else { return false };
    // Cargo lists the sources of a binary in a `.d` file next to it, in the syntax of make.
    let list = fs::read_to_string(folder.join(format!("{tool}.d"))).unwrap_or_default();
    let Some(sources) = list.trim_end().strip_prefix(&format!("{}: ", binary.display())) else {
        return false;
    };
    let sources = sources.replace("\\ ", "\n");
    let is_older = |source: &str| {
        changed(Path::new(&source.replace('\n', " "))).is_some_and(|changed| changed <= built)
    };
    if !sources.split(' ').all(is_older) {
        return false;
    }
    // A change to `Cargo.toml` or `Cargo.lock` often does not affect the tool. So announce a build once per change.
    let stamp = folder.join(format!("{tool}.announced"));
    let announced = changed(&stamp).map_or(built, |stamp| stamp.max(built));
    let manifests = ["Cargo.toml", "Cargo.lock"].map(|file| changed(&root.join(file)));
    let known = manifests.iter().all(|manifest| *manifest <= Some(announced));
    if !known {
        drop(fs::write(stamp, ""));
    }
    known
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}
