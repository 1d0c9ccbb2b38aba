//! Tests `cargo xtask admin` as a person or a script uses it, without a running dev server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs `admin` on the default database in a folder of local state.
fn admin(local: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_operate"))
        .arg("admin")
        .args(arguments)
        .arg("--local")
        .arg(local)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The standard output of a command that must succeed.
fn success(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The single line that a failing command must print to standard error.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn an_account_is_created_shown_and_given_roles() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path();
    let create = ["create", "Root", "--email", "root@example.com", "--password-stdin"];
    let created = success(&admin(database, &create, "a long passphrase\n"));
    assert!(created.contains("Root"), "{created}");

    let again = refusal(&admin(database, &create, "a long passphrase\n"));
    assert!(again.contains("the username is taken"), "{again}");

    // Another spelling names the same account.
    let shown = success(&admin(database, &["show", "ROOT"], ""));
    for part in ["Root", "root@example.com (not verified)", "active", "ago)"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.contains("roles       user\n"), "{shown}");

    let raise = ["set-roles", "root", "--roles", "admin,super_admin"];
    let unconfirmed = refusal_after_showing(&admin(database, &raise, "y\n"));
    assert!(unconfirmed.contains("--yes"), "{unconfirmed}");
    let shown = success(&admin(database, &["show", "root"], ""));
    assert!(shown.contains("roles       user\n"), "{shown}");

    success(&admin(database, &[&raise[..], &["--yes"]].concat(), ""));
    let shown = success(&admin(database, &["show", "root"], ""));
    assert!(shown.contains("roles       admin,super_admin\n"), "{shown}");
}

/// The refusal of a command that must show the account first, even without a terminal for the confirmation.
fn refusal_after_showing(output: &Output) -> String {
    assert!(String::from_utf8_lossy(&output.stdout).contains("Root"), "{output:?}");
    refusal(output)
}

#[test]
fn an_imported_hash_is_accepted_if_it_is_cheap_to_verify() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path();
    // A hash in Werkzeug's format, once with few iterations, and once with so many that every login would amount to a
    // denial of service.
    let hash = |iterations: u32| {
        let digest = "5f4dcc3b5aa765d61d8327deb882cf995f4dcc3b5aa765d61d8327deb882cf99";
        format!("pbkdf2:sha256:{iterations}$c29tZXNhbHQ${digest}\n")
    };
    let create = ["create", "mover", "--hash-stdin"];
    let costly = refusal(&admin(database, &create, &hash(100_000_000)));
    assert!(costly.contains("the password hash is too expensive to verify: "), "{costly}");
    let broken = refusal(&admin(database, &create, "md5$abc\n"));
    for format in ["argon2id", "bcrypt", "pbkdf2:sha256:", "scrypt:", "pbkdf2_sha256$"] {
        assert!(broken.contains(format), "{format}: {broken}");
    }
    success(&admin(database, &create, &hash(1_000)));
    assert!(success(&admin(database, &["show", "mover"], "")).contains("mover"));
}

#[test]
fn every_refusal_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path();
    success(&admin(database, &["create", "other", "--password-stdin"], "a long passphrase\n"));
    for (arguments, input, reason) in [
        (&["create", "someone", "--password-stdin"][..], "short\n", "the password must have"),
        (&["create", "someone", "--password-stdin"], "password1\n", "most common"),
        (&["create", "someone"], "", "--password-stdin"),
        (&["create", "a@b", "--password-stdin"], "a long passphrase\n", "the username"),
        (&["create", "someone", "--email", "x", "--password-stdin"], "", "the email address"),
        (&["show", "nobody"], "", "there is no account nobody"),
        (&["set-roles", "nobody", "--roles", "admin", "--yes"], "", "there is no account nobody"),
    ] {
        let message = refusal(&admin(database, arguments, input));
        assert!(message.contains(reason), "{arguments:?}: {message}");
    }
    let broken = folder.path().join("broken.db");
    std::fs::write(&broken, "x".repeat(5_000)).unwrap();
    let named = ["show", "nobody", "--db", broken.to_str().unwrap()];
    let message = refusal(&admin(database, &named, ""));
    assert!(message.contains("is damaged"), "{message}");
}

/// Only `create` may create a database, and only at the default path, because another path may be misspelled.
#[test]
fn no_command_creates_a_database_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path();
    let path = local.join("latchky.db");
    let typed = path.to_str().unwrap();
    for (arguments, input) in [
        (&["create", "someone", "--password-stdin"][..], "a long passphrase\n"),
        (&["set-roles", "someone", "--roles", "admin", "--yes"], ""),
        (&["disable", "someone"], ""),
        (&["enable", "someone"], ""),
        (&["show", "someone"], ""),
    ] {
        let message = refusal(&admin(local, &[arguments, &["--db", typed]].concat(), input));
        assert!(message.contains(&format!("there is no database {typed}")), "{message}");
        if arguments[0] != "create" {
            let message = refusal(&admin(local, arguments, input));
            assert!(message.contains("there is no database"), "{message}");
        }
    }
    assert_eq!(std::fs::read_dir(local).unwrap().count(), 0, "nothing was created");
    let create = ["create", "someone", "--password-stdin"];
    success(&admin(local, &create, "a long passphrase\n"));
    assert!(local.join("latchkey.db").exists());
}

#[test]
fn an_unusable_folder_of_local_state_is_refused_with_advice() {
    let create = ["create", "someone", "--password-stdin"];
    for local in ["/proc", "/dev/null/local"] {
        let message = refusal(&admin(Path::new(local), &create, "a long passphrase\n"));
        assert!(message.contains(local) && message.contains("--local"), "{message}");
        assert!(!message.contains("os error"), "{message}");
    }
}
