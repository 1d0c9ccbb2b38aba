//! Tests that a command works on the checkout in which it is run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use template::project::Project;

/// Creates another checkout: the files that identify a checkout, and a copy of this checkout's template.
fn create_checkout(folder: &Path) {
    for package in ["tools/xtask", "functions/a"] {
        fs::create_dir_all(folder.join(package)).unwrap();
    }
    fs::copy(Project::here().template(), folder.join("template.yaml")).unwrap();
    for file in ["Cargo.toml", "tools/xtask/Cargo.toml", "functions/a/Cargo.toml"] {
        fs::write(folder.join(file), "").unwrap();
    }
}

/// Runs `admin show`, which must fail because there is no database, and returns its error.
fn show(folder: &Path, manifest: Option<&Path>) -> String {
    let mut operate = Command::new(env!("CARGO_BIN_EXE_operate"));
    operate.current_dir(folder).args(["admin", "show", "nobody"]).env_remove("CARGO_MANIFEST_DIR");
    operate.envs(manifest.map(|path| ("CARGO_MANIFEST_DIR", path)));
    refusal(&operate.output().unwrap())
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A copied checkout contains programs that were compiled in the original, so the paths compiled into them must not
/// matter.
#[test]
fn a_command_works_on_the_checkout_that_it_is_run_in() {
    let folder = tempfile::tempdir().unwrap();
    // Resolve symbolic links, because the reported working directory contains none.
    let folder = folder.path().canonicalize().unwrap();
    create_checkout(&folder);
    let expected = folder.join(".local/latchkey.db").display().to_string();
    let compiled_in = Project::here().root().join("tools/operate");
    for start in ["", "functions/a", "tools/xtask"] {
        for manifest in [None, Some(compiled_in.as_path())] {
            let message = show(&folder.join(start), manifest);
            assert!(message.contains(&expected), "{start}: {message}");
        }
    }
    // `cargo run --manifest-path` sets `CARGO_MANIFEST_DIR`.
    let message = show(Path::new("/"), Some(&folder.join("tools/xtask")));
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn a_command_outside_of_a_checkout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let message = show(folder.path(), None);
    assert!(message.contains("not in a checkout of Latchkey"), "{message}");
}
