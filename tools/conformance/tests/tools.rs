//! Tests all tools together, as `cargo xtask` runs them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use local::binaries;
use template::project::Project;

/// The binaries of the workspace, by name.
fn binaries() -> &'static BTreeMap<String, PathBuf> {
    static BINARIES: LazyLock<BTreeMap<String, PathBuf>> = LazyLock::new(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(binaries::build(&Project::here(), false)).unwrap()
    });
    &BINARIES
}

/// The output of a successful command.
fn printed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands in a help text.
fn listed(help: &str) -> Vec<String> {
    let (_, commands) = help.split_once("\nCommands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    // A long description continues on a line that begins with more spaces.
    let rows = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let names = rows.filter(|row| !row.starts_with(' ')).map(|row| row.split(' ').next().unwrap());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn cargo_xtask_lists_every_command_with_its_description() {
    let xtask = printed(Command::new(&binaries()["xtask"]).arg("--help"));
    let mut commands = Vec::new();
    for tool in ["local", "operate", "estimate", "develop"] {
        let tool = &binaries()[tool];
        for command in listed(&printed(Command::new(tool).arg("--help"))) {
            let help = printed(Command::new(tool).args([&command, "--help"]));
            assert!(help.contains(&format!("Usage: cargo xtask {command} ")), "{help}");
            let about = words(help.split("\n\n").next().unwrap());
            assert!(words(&xtask).contains(&format!(" {command} {about} ")), "{command}: {about}");
            commands.push(command);
        }
    }
    assert_eq!(listed(&xtask), commands);
}

/// Runs cargo with the alias in `.cargo/config.toml`.
#[test]
fn cargo_xtask_works_in_every_folder_and_is_named_in_the_usage() {
    // Build first, so that cargo does not build during the commands below.
    binaries();
    for (folder, usage) in [
        ("", "cargo xtask [OPTIONS] <COMMAND>"),
        ("functions/admin", "cargo xtask admin show [OPTIONS] <USERNAME>"),
        ("shared/auth/src", "cargo xtask dev [OPTIONS]"),
        ("docs", "cargo xtask [OPTIONS] <COMMAND>"),
    ] {
        let words = usage.split(' ').skip(1).take_while(|word| !word.starts_with(['[', '<']));
        let mut xtask = template::process::cargo().into_std();
        xtask.current_dir(Project::here().root().join(folder)).args(words).arg("--help");
        let help = printed(&mut xtask);
        assert!(help.contains(&format!("Usage: {usage}")), "{folder}: {help}");
    }
}

/// Runs a command without root's privilege to read every file.
fn without_privilege(tool: &str, local: &Path, arguments: &[&str]) -> Output {
    let tool = &binaries()[tool];
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-dac_override,-dac_read_search", "--"]).arg(tool);
        command
    } else {
        Command::new(tool)
    };
    command.args(arguments).arg("--local").arg(local).stdin(Stdio::null()).output().unwrap()
}

/// The single line that a failing command must print to standard error.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// The error must not claim that the database is missing, nor suggest `cargo xtask dev`, which would fail too.
#[test]
fn local_state_that_cannot_be_read_is_reported_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (closed, looping) = (folder.path().join("closed"), folder.path().join("looping"));
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
    std::os::unix::fs::symlink(&looping, &looping).unwrap();
    for (local, reason) in [
        (&closed, "Permission denied"),
        (&looping, "Too many levels of symbolic links"),
        (&folder.path().join("looping/local"), "Too many levels of symbolic links"),
    ] {
        for (tool, arguments) in [
            ("operate", &["admin", "show", "someone"][..]),
            ("operate", &["admin", "disable", "someone"]),
            ("operate", &["keys", "list"]),
            ("operate", &["sessions", "end-all", "--yes"]),
            ("develop", &["bench", "login-timing"]),
        ] {
            let message = refusal(&without_privilege(tool, local, arguments));
            assert!(message.contains(reason), "{arguments:?}: {message}");
            assert!(message.contains(local.to_str().unwrap()), "{arguments:?}: {message}");
            assert!(!message.contains("there is no") && !message.contains("os error"), "{message}");
        }
    }
    let database = closed.join("latchkey.db");
    let with_db = ["admin", "show", "someone", "--db", database.to_str().unwrap()];
    for (tool, local, arguments) in
        [("operate", folder.path(), &with_db[..]), ("local", &closed, &["dev", "--port", "0"])]
    {
        let message = refusal(&without_privilege(tool, local, arguments));
        assert!(message.contains("Permission denied"), "{message}");
        assert!(message.contains(closed.to_str().unwrap()), "{message}");
    }
    // Restore the permissions, so that the folder can be removed.
    std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
}
