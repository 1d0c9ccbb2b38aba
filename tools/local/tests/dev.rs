//! Tests that `cargo xtask dev` refuses invalid options before it builds anything.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Stdio};

/// Runs the command, which must refuse the variable, and returns its one-line error.
fn refused(variable: &str) -> String {
    let local = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_local"))
        .args(["dev", "--db", "memory", "--port", "0", "--env", variable, "--local"])
        .arg(local.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn a_variable_that_no_function_reads_is_refused_at_the_start() {
    let error = refused("REGISTRATON=closed");
    assert!(
        error.contains("REGISTRATON") && error.contains("did you mean REGISTRATION?"),
        "{error}"
    );
}

#[test]
fn a_value_out_of_bounds_is_refused_at_the_start() {
    for (name, value, bounds) in [
        ("PASSWORD_MIN_CHARS", "2", "from 8 to 64"),
        ("ACCESS_TOKEN_SECONDS", "0", "from 1 to 3600"),
        ("REFRESH_GRACE_SECONDS", "61", "from 1 to 60"),
        ("FRESH_SECONDS", "86401", "from 1 to 86400"),
        ("SESSIONS_PER_ACCOUNT", "501", "from 1 to 500"),
        ("SESSION_IDLE_SECONDS", "9000000", "below SESSION_IDLE_SECONDS"),
        ("KEYS_CACHE_SECONDS", "many", "is invalid"),
        ("SIGNING_ALGORITHM", "HS256", "is invalid"),
        ("EVENT_RETENTION_DAYS", "0", "from 1 to 3650"),
        ("NAME_QUARANTINE_DAYS", "-1", "from 0 to 3650"),
        ("ATTRIBUTES_CLAIM", "sub", "ATTRIBUTES_CLAIM"),
        ("THROTTLE_PAIR_FREE", "0", "from 1 to 1000000"),
    ] {
        let error = refused(&format!("{name}={value}"));
        assert!(error.contains(name) && error.contains(bounds), "{name}={value}: {error}");
    }
}
