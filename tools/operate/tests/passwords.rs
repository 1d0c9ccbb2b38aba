//! Tests `cargo xtask passwords` as a person or a script uses it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The SHA-1 of "password", and another hash, in the format of Have I Been Pwned.
const HASHES: &str = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:10434004\r\n\
                      EA77C2CE1CBAFA6DB6E3B57D8A9C8D2E6E8F3B7C:2\r\n";

fn passwords(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_operate"))
        .arg("passwords")
        .args(arguments)
        .arg("--local")
        .arg(folder.join("local"))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Writing fails if the arguments are invalid, because the command then exits without reading its input.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

/// The standard output of a command that must succeed.
fn success(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The last line on standard error, which is the refusal.
fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let message = String::from_utf8(output.stderr.clone()).unwrap();
    message.lines().last().unwrap().to_owned()
}

#[test]
fn a_filter_is_built_from_several_files_and_queried() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("hashes.txt"), HASHES).unwrap();
    // The file contains a byte order mark, a duplicate password, and a password with a decomposed character.
    fs::write(at("words.txt"), "\u{feff}hunter22\nhunter22\n\npassword\ncafe\u{301} am see")
        .unwrap();
    let files = ["filter", "hashes.txt", "words.txt"];
    let output = success(&passwords(folder.path(), &files, ""));
    for part in
        ["breached-passwords.filter: 4 entries, ", "2 hashes and 4 plaintext passwords", "65536"]
    {
        assert!(output.contains(part), "{part}: {output}");
    }
    let filter = at("local").join("breached-passwords.filter");
    let metadata = fs::metadata(&filter).unwrap();
    assert!(output.contains(&format!(" {} bytes", metadata.len())), "{output}");
    // On Lambda, the user that runs a function does not own the filter, so every user must be able to read it.
    assert_eq!(metadata.permissions().mode() & 0o777, 0o644);

    let input = "password\nhunter22\nhunter23\ncaf\u{e9} am see\nPassword\n";
    let check = ["check", filter.to_str().unwrap()];
    assert_eq!(success(&passwords(folder.path(), &check, input)), "yes\nyes\nno\nyes\nno\n");

    // Build another filter without rare passwords.
    let files = ["filter", "hashes.txt", "--min-count", "3", "--out", "other.filter"];
    let output = success(&passwords(folder.path(), &files, ""));
    assert!(output.contains("other.filter: 1 entries"), "{output}");
    assert!(at("other.filter").exists());
    // No temporary file is left.
    assert_eq!(fs::read_dir(at("local")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn a_refusal_is_one_line_and_writes_nothing() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, content) in [
        ("valid.txt", &b"hunter22\n"[..]),
        ("empty.txt", b"\n\n"),
        ("latin.txt", b"one\ntwo\ncaf\xe9\n"),
        ("ntlm.txt", b"8846F7EAEE8FB117AD06BDD830B7586C:3\n"),
    ] {
        fs::write(at(name), content).unwrap();
    }
    fs::create_dir(at("folder")).unwrap();
    for (arguments, reason) in [
        (
            &["filter", "valid.txt", "missing.txt"][..],
            "error: cannot read missing.txt: No such file",
        ),
        (&["filter", "folder"], "error: cannot read folder: "),
        (&["filter", "empty.txt"], "error: no filter was built: the list contains no password"),
        (&["filter", "valid.txt", "latin.txt"], "error: latin.txt, line 3: not UTF-8"),
        (&["filter", "ntlm.txt"], "error: ntlm.txt, line 1: a hash, but not SHA-1"),
        // This line never ends, so the command must stop reading it at the length limit.
        (&["filter", "/dev/zero"], "error: /dev/zero, line 1: longer than 1024 bytes"),
        (&["filter", "valid.txt", "--out", "no/where"], "error: cannot write no/where: "),
        (&["check", "missing.filter"], "error: missing.filter is unusable: it cannot be read: No"),
        (&["check", "valid.txt"], "error: valid.txt is unusable: it is not a filter"),
    ] {
        let message = refusal(&passwords(folder.path(), arguments, "hunter22\n"));
        assert!(message.starts_with(reason), "{arguments:?}: {message}");
        assert!(!at("local/breached-passwords.filter").exists(), "{arguments:?}");
    }
    success(&passwords(folder.path(), &["filter", "valid.txt"], ""));
    let check = ["check", "local/breached-passwords.filter"];
    let message = refusal(&passwords(folder.path(), &check, ""));
    assert!(message.contains("no password to look up"), "{message}");
}

/// A process that has the old file open can still read all of it.
#[test]
fn an_old_filter_stays_until_the_new_one_is_complete() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("old.txt"), "hunter22").unwrap();
    fs::write(at("bad.txt"), b"hunter23\n\xff\n").unwrap();
    fs::write(at("new.txt"), "hunter23").unwrap();
    let answers = || {
        let check = ["check", "a.filter"];
        success(&passwords(folder.path(), &check, "hunter22\nhunter23\n"))
    };
    success(&passwords(folder.path(), &["filter", "old.txt", "--out", "a.filter"], ""));
    refusal(&passwords(folder.path(), &["filter", "bad.txt", "--out", "a.filter"], ""));
    assert_eq!(answers(), "yes\nno\n");
    let old = fs::read(at("a.filter")).unwrap();
    let mut reading = fs::File::open(at("a.filter")).unwrap();
    success(&passwords(folder.path(), &["filter", "new.txt", "--out", "a.filter"], ""));
    assert_eq!(answers(), "no\nyes\n");
    let mut read = Vec::new();
    reading.read_to_end(&mut read).unwrap();
    assert!(read == old, "the open file has changed");
}
