//! Tests `cargo xtask` up to the point where it replaces itself with cargo. A script takes the place of cargo.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A checkout that contains `xtask`, but none of the tools that it runs.
struct Checkout(TempDir);

impl Checkout {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = folder.path();
        for path in ["tools/xtask", "target/debug", "functions/a"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        for file in ["tools/xtask/Cargo.toml", "Cargo.toml", "Cargo.lock"] {
            fs::write(root.join(file), "").unwrap();
        }
        let xtask = root.join("target/debug/xtask");
        fs::hard_link(env!("CARGO_BIN_EXE_xtask"), xtask).unwrap();
        Self(folder)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(file)
    }

    /// Writes a file and sets its modification time to `seconds` ago.
    fn write(&self, file: &str, content: &str, seconds: u64) {
        let path = self.path(file);
        fs::write(&path, content).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        let now = file.metadata().unwrap().modified().unwrap();
        file.set_modified(now - Duration::from_secs(seconds)).unwrap();
    }

    /// Runs `xtask` with a shell in place of cargo. `xtask` passes `run` as the first argument, so the shell runs the
    /// file `run`, which contains `script`.
    fn xtask(&self, arguments: &[&str], script: &str) -> (u32, Output) {
        let folder = self.path("functions/a");
        fs::write(folder.join("run"), script).unwrap();
        let mut child = Command::new(self.path("target/debug/xtask"))
            .args(arguments)
            .current_dir(folder)
            .env("CARGO", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Writing may fail, because `xtask` exits without reading if it gets no command.
        let _ = child.stdin.take().unwrap().write_all(b"a password");
        (child.id(), child.wait_with_output().unwrap())
    }

    /// Returns the lines on standard error. The last one contains cargo's arguments.
    fn error_lines(&self, arguments: &[&str]) -> Vec<String> {
        let (_, output) = self.xtask(arguments, "echo $* >&2");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect()
    }

    /// Whether cargo runs with `--quiet`. Checks that without `--quiet`, exactly one line precedes cargo's output.
    fn is_silent(&self) -> bool {
        let lines = self.error_lines(&["dev"]);
        let quiet = lines.last().unwrap().contains("--quiet");
        assert_eq!(lines.len(), if quiet { 1 } else { 2 }, "{lines:?}");
        quiet
    }
}

#[test]
fn xtask_reports_what_it_builds_before_cargo_runs() {
    let checkout = Checkout::new();
    let lines = checkout.error_lines(&["--local", "x y", "dev", "--port", "0"]);
    let building =
        "cargo xtask dev: building the tool \"local\", which takes minutes the first time";
    let manifest = checkout.path("Cargo.toml");
    let cargo =
        format!("--manifest-path {} --bin local -- --local x y dev --port 0", manifest.display());
    assert_eq!(lines, [building, &cargo]);
}

/// Signals reach the tool, because it runs in the process of `xtask`.
#[test]
fn cargo_replaces_xtask_and_gets_its_streams() {
    let checkout = Checkout::new();
    let script = "echo $$ ${CARGO_PKG_NAME-none} ${CARGO_MANIFEST_DIR-none}; cat; exit 7";
    let (pid, output) = checkout.xtask(&["admin", "create", "someone"], script);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, format!("{pid} none none\na password"));
}

#[test]
fn progress_is_shown_if_anything_may_need_building() {
    let checkout = Checkout::new();
    for file in ["Cargo.toml", "Cargo.lock"] {
        checkout.write(file, "", 300);
    }
    let (binary, source) = (checkout.path("target/debug/local"), checkout.path("a source.rs"));
    let list = |binary: &str| {
        let source = source.display().to_string().replace(' ', "\\ ");
        format!("{binary}: {source} {}\n", checkout.path("Cargo.toml").display())
    };
    assert!(!checkout.is_silent(), "there is no tool");
    checkout.write("target/debug/local", "", 100);
    assert!(!checkout.is_silent(), "its sources are unknown");
    checkout.write("target/debug/local.d", &list("/elsewhere/local"), 100);
    assert!(!checkout.is_silent(), "the target folder was copied");
    checkout.write("target/debug/local.d", &list(&binary.display().to_string()), 100);
    assert!(!checkout.is_silent(), "a source is missing");
    checkout.write("a source.rs", "", 200);
    assert!(checkout.is_silent());
    checkout.write("a source.rs", "", 50);
    for _ in 0..2 {
        assert!(!checkout.is_silent(), "a source has changed");
    }
    checkout.write("target/debug/local", "", 40);
    checkout.write("Cargo.lock", "", 30);
    assert!(!checkout.is_silent(), "dependencies may have changed");
    assert!(checkout.is_silent(), "cargo had nothing to build");
}

#[test]
fn the_tool_depends_on_the_command() {
    let checkout = Checkout::new();
    for (arguments, tool) in [
        (&["--local=x", "cost"][..], "estimate"),
        (&["help", "keys", "rotate"], "operate"),
        (&["new-route", "--help"], "develop"),
    ] {
        let lines = checkout.error_lines(arguments);
        let expected = format!("--bin {tool} -- {}", arguments.join(" "));
        assert!(lines.last().unwrap().ends_with(&expected), "{lines:?}");
    }
}

#[test]
fn nothing_is_built_without_a_known_command() {
    let checkout = Checkout::new();
    for (arguments, code, stdout, stderr) in [
        (&["--help"][..], 0, "Usage: cargo xtask [OPTIONS] <COMMAND>", ""),
        (&["-h"], 0, "  new-route    Create a route", ""),
        (&["help"], 0, "--local <PATH>", ""),
        (&[], 2, "", "Usage: cargo xtask"),
        (&["--local", "dev"], 2, "", "Usage: cargo xtask"),
        (&["deve"], 2, "", "unknown command deve: cargo xtask --help lists"),
        (&["--port", "dev"], 2, "", "unknown command --port"),
    ] {
        let (_, output) = checkout.xtask(arguments, "echo cargo; exit 1");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        for (part, shown) in [(stdout, output.stdout), (stderr, output.stderr)] {
            let shown = String::from_utf8(shown).unwrap();
            assert_eq!(part.is_empty(), shown.is_empty(), "{arguments:?}: {shown}");
            assert!(shown.contains(part), "{arguments:?}: {shown}");
        }
    }
}

#[test]
fn nothing_is_built_outside_a_checkout() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("dev")
        .current_dir(folder.path())
        .env_remove("CARGO_MANIFEST_DIR")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("not in a checkout of Latchkey"), "{message}");
}
