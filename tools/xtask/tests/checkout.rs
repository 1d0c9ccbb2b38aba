//! Where `cargo xtask` works: on the checkout that it is run in, in every folder of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use xtask::process::command;
use xtask::project::Project;

/// Another checkout: this one's template and what makes a folder a checkout.
fn checkout(folder: &Path) {
    for package in ["tools/xtask", "functions/a"] {
        fs::create_dir_all(folder.join(package)).unwrap();
    }
    fs::copy(Project::here().template(), folder.join("template.yaml")).unwrap();
    for file in ["Cargo.toml", "tools/xtask/Cargo.toml", "functions/a/Cargo.toml"] {
        fs::write(folder.join(file), "").unwrap();
    }
}

/// Asks for an account, which has to name the database that it looks in.
fn show(folder: &Path, manifest: Option<&Path>) -> String {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.current_dir(folder).args(["admin", "show", "nobody"]).env_remove("CARGO_MANIFEST_DIR");
    xtask.envs(manifest.map(|path| ("CARGO_MANIFEST_DIR", path)));
    said(&xtask.output().unwrap())
}

fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A copy brings the program along that was compiled in the other folder.
#[test]
fn a_command_works_on_the_checkout_that_it_is_run_in() {
    let folder = tempfile::tempdir().unwrap();
    // Without links, as the working directory is given.
    let folder = folder.path().canonicalize().unwrap();
    checkout(&folder);
    let expected = folder.join(".local/latchkey.db").display().to_string();
    let compiled_in = Project::here().root().join("tools/xtask");
    for start in ["", "functions/a", "tools/xtask"] {
        for manifest in [None, Some(compiled_in.as_path())] {
            let said = show(&folder.join(start), manifest);
            assert!(said.contains(&expected), "{start}: {said}");
        }
    }
    // As `cargo run --manifest-path` does it.
    let said = show(Path::new("/"), Some(&folder.join("tools/xtask")));
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn outside_of_a_checkout_a_command_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let said = show(folder.path(), None);
    assert!(said.contains("not in a checkout of Latchkey"), "{said}");
}

#[test]
fn cargo_xtask_works_in_every_folder_and_is_named_in_its_usage() {
    for (folder, usage) in [
        ("", "cargo xtask [OPTIONS] <COMMAND>"),
        ("functions/admin", "cargo xtask admin show [OPTIONS] <USERNAME>"),
        ("shared/auth/src", "cargo xtask dev [OPTIONS]"),
        ("docs", "cargo xtask [OPTIONS] <COMMAND>"),
    ] {
        let words = usage.split(' ').skip(1).take_while(|word| !word.starts_with(['[', '<']));
        let mut xtask = command(std::env::var_os("CARGO").unwrap()).into_std();
        xtask.current_dir(Project::here().root().join(folder));
        xtask.args(words).arg("--help");
        let output = xtask.output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(help.contains(&format!("Usage: {usage}")), "{folder}: {help}{said}");
    }
}
