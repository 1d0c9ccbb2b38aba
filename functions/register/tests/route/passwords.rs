//! Tests the rules for new passwords.

use std::fs;
use std::path::Path;

use passwords::FilterBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{body, readable, status};

use crate::{Bench, PASSWORD, refused, registered};

const COMMON: &str = include_str!("../../../../shared/passwords/data/common-passwords.txt");

fn with_password(username: &str, password: &str) -> Value {
    json!({"username": username, "password": password})
}

/// The minimum is in characters, and the maximum in bytes. No rule requires digits or capitals.
#[tokio::test]
async fn a_password_needs_a_certain_length_but_no_particular_characters() {
    let bench = Bench::start().await;
    let good = [
        "xq7vfk2p".to_owned(),
        "qmzpwlxkdjv".to_owned(),
        "83920174650".to_owned(),
        "zw ei wo rte".to_owned(),
        "        x".to_owned(),
        "контрасепшн".to_owned(),
        "🔑🔒🔓🗝🔏🔐🔑🔒".to_owned(),
        "nul\0 and \u{202e} more".to_owned(),
        "y".repeat(64),
        "y".repeat(65),
        "y".repeat(1_024),
    ];
    for (n, password) in good.iter().enumerate() {
        let outcome = bench.outcome(with_password(&format!("user-{n}"), password)).await;
        assert_eq!(outcome, registered(), "{password}");
    }
    for (bad, code) in [
        (String::new(), "password too_short"),
        ("xq7vfk2".to_owned(), "password too_short"),
        ("🔑🔒🔓🗝🔏🔐🔑".to_owned(), "password too_short"),
        ("y".repeat(1_025), "password too_long"),
        ("🔑".repeat(257), "password too_long"),
        ("y".repeat(10_000), "password too_long"),
    ] {
        let outcome = bench.outcome(with_password("testuser", &bad)).await;
        assert_eq!(outcome, refused(400, &[code]), "{} bytes", bad.len());
    }
    let huge = bench.outcome(with_password("testuser", &"y".repeat(60_000))).await;
    assert_eq!(huge, refused(413, &["too_large"]));
}

/// None of the 3,000 most common passwords is accepted.
#[tokio::test]
async fn common_passwords_are_refused() {
    let bench = Bench::start().await;
    assert_eq!(COMMON.lines().count(), 3_000);
    for password in COMMON.lines() {
        let outcome = bench.outcome(with_password("somebody-else", password)).await;
        assert_eq!(outcome, refused(400, &["password too_common"]), "{password}");
    }
    let outcome = bench.outcome(with_password("testuser", "PassWord")).await;
    assert_eq!(outcome, refused(400, &["password too_common"]));
    assert_eq!(bench.items().await, 0);
}

#[tokio::test]
async fn a_password_equal_to_the_users_name_or_address_is_refused() {
    let bench = Bench::start().await;
    let mine = |password: &str| json!({"username": "Wintergarten", "email": "rosa.luxemburg@example.com", "password": password});
    for (password, code) in [
        ("Wintergarten", "password matches_username"),
        ("WINTERGARTEN", "password matches_username"),
        ("rosa.luxemburg@example.com", "password matches_email"),
        ("Rosa.Luxemburg", "password matches_email"),
    ] {
        assert_eq!(bench.outcome(mine(password)).await, refused(400, &[code]), "{password}");
    }
}

#[tokio::test]
async fn the_minimum_length_can_be_raised() {
    let bench = Bench::start_with(&[("PASSWORD_MIN_CHARS", "15")]).await;
    let outcome = bench.outcome(with_password("testuser", "y1y2y3y4y5y6y7")).await;
    assert_eq!(outcome, refused(400, &["password too_short"]));
    let outcome = bench.outcome(with_password("testuser", "y1y2y3y4y5y6y7y")).await;
    assert_eq!(outcome, registered());
}

/// Hashing is slow, so only every tenth string that is long enough is hashed. The others come with a username that is
/// too short.
#[tokio::test]
async fn naughty_strings_cause_no_server_error() {
    let bench = Bench::start().await;
    let (long, short): (Vec<_>, Vec<_>) =
        testkit::naughty_strings().into_iter().partition(|text| text.chars().count() >= 8);
    for (n, text) in short.iter().enumerate() {
        let (status, _) = bench.outcome(with_password("testuser", text)).await;
        assert_eq!(status, 400, "short string {n}");
    }
    for (n, text) in long.iter().enumerate() {
        let name = if n % 10 == 0 { format!("user-{n}") } else { "a".to_owned() };
        let (status, _) = bench.outcome(with_password(&name, text)).await;
        assert!(matches!(status, 201 | 400), "long string {n}: {status}");
    }
}

fn write_filter(path: &Path, words: &[&str]) {
    let mut builder = FilterBuilder::new(0);
    words.iter().try_for_each(|word| builder.add(word.as_bytes())).unwrap();
    builder.build().unwrap().write(&mut fs::File::create(path).unwrap()).unwrap();
}

#[tokio::test]
async fn breached_passwords_are_refused() {
    let folder = TempDir::new().unwrap();
    let filter = folder.path().join("breached.filter");
    write_filter(&filter, &["a walk by the sea", "Cafe\u{301} am See"]);
    let variables = [("PASSWORD_BREACHED_FILTER", filter.to_str().unwrap())];
    let bench = Bench::start_with(&variables).await;
    for password in ["a walk by the sea", "Caf\u{e9} am See", "Cafe\u{301} am See"] {
        let outcome = bench.outcome(with_password("testuser", password)).await;
        assert_eq!(outcome, refused(400, &["password breached_password"]), "{password}");
    }
    assert_eq!(bench.items().await, 0);
    let answer = bench.ask(with_password("testuser", "a walk by the sea")).await;
    assert_eq!(
        body(&answer)["errors"][0]["detail"],
        "The password is in a list of passwords that have been breached."
    );
    let outcome = bench.outcome(with_password("testuser", "a walk by the river")).await;
    assert_eq!(outcome, registered());
}

#[tokio::test]
async fn passwords_in_an_additional_list_are_refused() {
    let folder = TempDir::new().unwrap();
    let list = folder.path().join("common.txt");
    fs::write(&list, "Sommerregen\n").unwrap();
    let bench = Bench::start_with(&[("PASSWORD_COMMON_FILE", list.to_str().unwrap())]).await;
    for password in ["sommerREGEN", "password1"] {
        let outcome = bench.outcome(with_password("testuser", password)).await;
        assert_eq!(outcome, refused(400, &["password too_common"]), "{password}");
    }
    let outcome = bench.outcome(with_password("testuser", "Sommerregen7")).await;
    assert_eq!(outcome, registered());
}

/// A check that cannot be carried out must not pass. The client does not learn the cause.
#[tokio::test]
async fn no_password_is_accepted_if_a_list_is_unreadable() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    for variable in ["PASSWORD_BREACHED_FILTER", "PASSWORD_COMMON_FILE"] {
        let bench = Bench::start_with(&[(variable, missing.to_str().unwrap())]).await;
        let answer = bench.ask(with_password("testuser", PASSWORD)).await;
        assert_eq!((status(&answer), &body(&answer)["code"]), (500, &json!("internal")));
        assert!(!readable(&answer).to_string().contains("PASSWORD_"), "{:?}", readable(&answer));
        assert_eq!(bench.items().await, 0);
    }
}
