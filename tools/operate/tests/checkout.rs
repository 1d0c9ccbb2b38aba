//! A command works on the checkout that it is run in.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use template::project::Project;

/// Creates another checkout: the landmarks, and the template of this one.
fn checkout(folder: &Path) {
    for package in ["tools/xtask", "functions/a"] {
        fs::create_dir_all(folder.join(package)).unwrap();
    }
    fs::copy(Project::here().template(), folder.join("template.yaml")).unwrap();
    for file in ["Cargo.toml", "tools/xtask/Cargo.toml", "functions/a/Cargo.toml"] {
        fs::write(folder.join(file), "").unwrap();
    }
}

/// Runs `admin show`. Without a database it fails, and names the database that it needs.
fn show(folder: &Path, manifest: Option<&Path>) -> String {
    let mut operate = Command::new(env!("CARGO_BIN_EXE_operate"));
    operate.current_dir(folder).args(["admin", "show", "nobody"]).env_remove("CARGO_MANIFEST_DIR");
    operate.envs(manifest.map(|path| ("CARGO_MANIFEST_DIR", path)));
    said(&operate.output().unwrap())
}

fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A copied checkout contains a program that was compiled in the original.
#[test]
fn a_command_works_on_the_checkout_that_it_is_run_in() {
    let folder = tempfile::tempdir().unwrap();
    // Resolve links, because the working directory is reported without them.
    let folder = folder.path().canonicalize().unwrap();
    checkout(&folder);
    let expected = folder.join(".local/latchkey.db").display().to_string();
    let compiled_in = Project::here().root().join("tools/operate");
    for start in ["", "functions/a", "tools/xtask"] {
        for manifest in [None, Some(compiled_in.as_path())] {
            let said = show(&folder.join(start), manifest);
            assert!(said.contains(&expected), "{start}: {said}");
        }
    }
    // `cargo run --manifest-path` sets the variable.
    let said = show(Path::new("/"), Some(&folder.join("tools/xtask")));
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn a_command_outside_of_a_checkout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let said = show(folder.path(), None);
    assert!(said.contains("not in a checkout of Latchkey"), "{said}");
}
