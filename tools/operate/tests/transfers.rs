//! Tests `cargo xtask users import` and `export` as a person or a script uses them, without a running dev server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const HASH: &str =
    "pbkdf2:sha256:1$s$55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";

/// Runs `users` on the default database in a folder of local state.
fn users(local: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_operate"))
        .arg("users")
        .args(arguments)
        .arg("--local")
        .arg(local)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The standard output of a command that must succeed.
fn success(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The standard output of a command that must fail, and the last line of standard error.
fn failure(output: &Output) -> (String, String) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let errors = text(&output.stderr);
    (text(&output.stdout), errors.lines().last().unwrap().to_owned())
}

/// A line of Latchkey's own format.
fn line(n: u8, username: &str, email: &str) -> String {
    format!(r#"{{"format":"latchkey-account/1","id":"0190a0f0-7c3a-7abc-8def-0123456789{n:02x}","#)
        + &format!(r#""username":"{username}","email":"{email}","email_verified":true,"#)
        + r#""roles":["user"],"created_at":"2024-05-01T12:00:00Z","disabled":false,"ver":3,"#
        + &format!(r#""attributes":{{"tenant":{n}}},"password":{{"hash":"{HASH}","ver":2}}}}"#)
}

fn file(folder: &Path, name: &str, lines: &[String]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

fn sorted(path: &Path) -> Vec<String> {
    let mut lines: Vec<_> = fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn an_export_is_the_file_that_was_imported() {
    let folder = tempfile::tempdir().unwrap();
    let (local, lines) =
        (folder.path(), [line(1, "Rosa", "R@example.com"), line(2, "ben", "b@example.com")]);
    let path = file(local, "in.jsonl", &lines);
    let import = ["import", path.to_str().unwrap()];
    assert_eq!(success(&users(local, &import)), "2 imported, 0 already present, 0 refused\n");
    assert_eq!(success(&users(local, &import)), "0 imported, 2 already present, 0 refused\n");
    let out = local.join("out.jsonl");
    let export = ["export", out.to_str().unwrap()];
    success(&users(local, &export));
    assert_eq!(sorted(&out), lines);
    let mode = fs::metadata(&out).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the file contains hashes");
    let (_, error) = failure(&users(local, &export));
    assert!(error.contains("out.jsonl exists"), "{error}");
}

/// Each refused line is printed with its reason, but without a name, an address or a hash.
#[test]
fn refused_lines_are_listed_with_their_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path();
    let lines = [
        line(1, "rosa", "rosa@example.com"),
        line(2, "ROSA", "other@example.com"),
        "no json".to_owned(),
        line(3, "ben", "Rosa@example.com"),
        line(4, "x", "x@example.com"),
        line(1, "rosa", "rosa@example.com"),
        line(1, "renamed", "renamed@example.com"),
        line(5, "costly", "c@example.com").replace("sha256:1$", "sha256:100000000$"),
        line(6, "last", "last@example.com"),
    ];
    let path = file(local, "in.jsonl", &lines);
    let expected = [
        ("line 3:", "the line is not a JSON object"),
        ("line 5:", "the username is too short"),
        ("line 8:", "the password hash is too expensive"),
        ("line 2:", "the username is taken"),
        ("line 4:", "another account uses the email address"),
        ("line 7:", "an account with this id has another username"),
    ];
    let check = |printed: &str, summary: &str| {
        let mut printed: Vec<_> = printed.lines().collect();
        assert_eq!(printed.pop(), Some(summary));
        assert_eq!(printed.len(), expected.len(), "{printed:?}");
        for (line, reason) in expected {
            let found = printed.iter().find(|printed| printed.starts_with(line));
            assert!(found.is_some_and(|it| it.contains(reason)), "{line} {reason}: {printed:?}");
        }
        let all = printed.join("\n");
        assert!(!["rosa", "example.com", "55ac04"].iter().any(|it| all.contains(it)), "{all}");
    };
    let dry = ["import", path.to_str().unwrap(), "--dry-run"];
    let (printed, error) = failure(&users(local, &dry));
    check(&printed, "2 can be imported, 1 already present, 6 refused");
    assert!(error.contains("6 lines were refused"), "{error}");
    let import = ["import", path.to_str().unwrap()];
    let (printed, _) = failure(&users(local, &import));
    check(&printed, "2 imported, 1 already present, 6 refused");
    let (printed, _) = failure(&users(local, &import));
    check(&printed, "0 imported, 3 already present, 6 refused");
}

#[test]
fn an_export_continues_after_its_last_complete_line() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path();
    let lines: Vec<_> =
        (0..9).map(|n| line(n, &format!("user{n}"), &format!("{n}@example.com"))).collect();
    let path = file(local, "in.jsonl", &lines);
    success(&users(local, &["import", path.to_str().unwrap()]));
    let (whole, out) = (local.join("whole.jsonl"), local.join("out.jsonl"));
    success(&users(local, &["export", whole.to_str().unwrap()]));
    let whole = fs::read_to_string(whole).unwrap();
    let third = whole.match_indices('\n').nth(2).unwrap().0 + 1;
    for cut in [0, 10, third, third + 1, whole.len() - 1, whole.len()] {
        let partial = local.join("out.jsonl.partial");
        fs::write(&partial, &whole[..cut]).unwrap();
        success(&users(local, &["export", out.to_str().unwrap()]));
        assert!(fs::read_to_string(&out).unwrap() == whole, "{cut}");
        assert!(!partial.exists());
        fs::remove_file(&out).unwrap();
    }
    // An export of another table is not continued.
    let partial = local.join("out.jsonl.partial");
    fs::write(&partial, format!("{}\n", line(77, "stranger", "s@example.com"))).unwrap();
    let (_, error) = failure(&users(local, &["export", out.to_str().unwrap()]));
    assert!(error.contains("does not exist in this table"), "{error}");
}

#[test]
fn an_import_that_cannot_begin_prints_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let local = folder.path();
    let text = file(local, "users.txt", &["x".repeat(2_000)]);
    let text = text.to_str().unwrap();
    let missing = local.join("missing.jsonl");
    for (arguments, reason) in [
        (&["import", missing.to_str().unwrap()][..], "cannot read"),
        (&["import", "--from-flask", text], "file is not a database"),
        // Without the column, all roles would be lost silently.
        (
            &["import", "--from-flask", text, "--role", "a=admin"],
            "name the column with --role-column",
        ),
        (&["import", "--from-cognito", text], "there is no column cognito:username"),
    ] {
        let (printed, error) = failure(&users(local, arguments));
        assert!(printed.is_empty() && error.contains(reason), "{error}");
    }
    for arguments in [
        &["import"][..],
        &["import", text, "--from-django", text],
        &["import", text, "--role", "a=user"],
        &["import", "--from-flask", text, "--role", "a=owner"],
        &["import", "--from-django", text, "--table", "users"],
        &["import", text, "--rate", "0"],
    ] {
        assert_eq!(users(local, arguments).status.code(), Some(2), "{arguments:?}");
    }
}
