//! Tests the rules for usernames and addresses.

use serde_json::{Value, json};
use testkit::{body, status};

use crate::{Bench, PASSWORD, refused, registered};

fn with_username(username: &str) -> Value {
    json!({"username": username, "password": PASSWORD})
}

fn with_email(username: &str, email: &str) -> Value {
    json!({"username": username, "password": PASSWORD, "email": email})
}

/// Names are compared in their canonical form.
#[tokio::test]
async fn a_name_can_be_registered_in_only_one_spelling() {
    let bench = Bench::start().await;
    for (first, others) in [
        (
            "testuser",
            &[
                "TESTUSER",
                "TestUser",
                "\u{ff54}\u{ff45}\u{ff53}\u{ff54}user",
                "\u{1d42d}estuser",
                "testuse\u{24e1}",
            ][..],
        ),
        ("col·lecció", &["COL·LECCIÓ", "coŀleccio\u{301}"]),
        ("Stra\u{df}e", &["strasse", "STRASSE", "stra\u{1e9e}e"]),
        ("caf\u{e9}", &["cafe\u{301}", "CAF\u{c9}", "CAFE\u{301}"]),
    ] {
        assert_eq!(bench.outcome(with_username(first)).await, registered(), "{first}");
        for other in others {
            let outcome = bench.outcome(with_username(other)).await;
            assert_eq!(outcome, refused(409, &["already_exists"]), "{other}");
        }
    }
    // A username must not contain invisible characters.
    for other in ["test\u{200b}user", "test\u{ad}user"] {
        let outcome = bench.outcome(with_username(other)).await;
        assert_eq!(outcome, refused(400, &["username invalid_characters"]), "{other}");
    }
}

#[tokio::test]
async fn an_address_can_be_registered_in_only_one_spelling() {
    let bench = Bench::start().await;
    assert_eq!(bench.outcome(with_email("user-0", "caf\u{e9}@example.com")).await, registered());
    for (n, other) in ["CAF\u{c9}@EXAMPLE.COM", "cafe\u{301}@example.com", "Caf\u{e9}@Example.com"]
        .iter()
        .enumerate()
    {
        let outcome = bench.outcome(with_email(&format!("other-{n}"), other)).await;
        assert_eq!(outcome, refused(409, &["already_exists"]), "{other}");
    }
}

/// A domain may be written in Unicode (U-labels) or in ASCII (A-labels, such as `xn--bcher-kva`).
#[tokio::test]
async fn both_forms_of_a_domain_are_the_same_address() {
    let bench = Bench::start().await;
    for (n, (address, expected)) in [
        ("user@b\u{fc}cher.example", registered()),
        ("user@xn--bcher-kva.example", refused(409, &["already_exists"])),
        ("USER@B\u{dc}CHER.example", refused(409, &["already_exists"])),
        ("user@stra\u{df}e.example", registered()),
        ("user@strasse.example", registered()),
        ("info@\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}.\u{92d}\u{93e}\u{930}\u{924}", registered()),
        ("\u{e1c}\u{e39}\u{e49}\u{e43}\u{e0a}\u{e49}@\u{e15}\u{e31}\u{e27}.\u{e44}\u{e17}\u{e22}", registered()),
        ("\u{130}x@example.com", registered()),
    ]
    .into_iter()
    .enumerate()
    {
        let outcome = bench.outcome(with_email(&format!("user-{n}"), address)).await;
        assert_eq!(outcome, expected, "{address}");
    }
}

/// Two names must not differ only in invisible characters.
#[tokio::test]
async fn control_and_invisible_characters_are_refused() {
    let bench = Bench::start().await;
    for odd in [
        '\0',
        '\t',
        '\n',
        '\r',
        '\u{1b}',
        '\u{7f}',
        '\u{85}',
        ' ',
        '\u{a0}',
        '\u{ad}',
        '\u{200b}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{202a}',
        '\u{202e}',
        '\u{2028}',
        '\u{2029}',
        '\u{2060}',
        '\u{2066}',
        '\u{3164}',
        '\u{feff}',
        '\u{e0001}',
        '\u{fffe}',
        '@',
    ] {
        for name in [format!("test{odd}user"), format!("testuser{odd}"), format!("{odd}testuser")] {
            let (status, codes) = bench.outcome(with_username(&name)).await;
            assert_eq!(status, 400, "{name:?}");
            assert!(codes[0].starts_with("username "), "{name:?} {codes:?}");
        }
    }
    for odd in ['\0', '\n', '\r', ' ', '\u{200b}', '\u{202e}', '\u{feff}'] {
        let (status, codes) =
            bench.outcome(with_email("testuser", &format!("a{odd}@example.com"))).await;
        assert_eq!(status, 400, "{odd:?}");
        assert!(codes[0].starts_with("email "), "{odd:?} {codes:?}");
    }
    assert_eq!(bench.items().await, 0);
}

#[tokio::test]
async fn usernames_and_addresses_have_length_limits() {
    let bench = Bench::start().await;
    for (name, expected) in [
        ("ab".to_owned(), refused(400, &["username too_short"])),
        (String::new(), refused(400, &["username too_short"])),
        ("abc".to_owned(), registered()),
        ("a".repeat(80), registered()),
        ("a".repeat(81), refused(400, &["username too_long"])),
        ("a".repeat(15_000), refused(400, &["username too_long"])),
    ] {
        assert_eq!(bench.outcome(with_username(&name)).await, expected, "{}", name.len());
    }
    let address = |octets: usize| {
        let labels = format!("{0}.{0}.{0}", "d".repeat(60));
        let local = octets - labels.len() - 1;
        format!("{}@{labels}", "l".repeat(local))
    };
    assert_eq!(bench.outcome(with_email("user-1", &address(246))).await, registered());
    assert_eq!(
        bench.outcome(with_email("user-2", &address(255))).await,
        refused(400, &["email too_long"])
    );
}

/// The canonical form of a short name may be long, but an item's key has a maximum length.
#[tokio::test]
async fn names_with_a_longer_canonical_form_cause_no_server_error() {
    let bench = Bench::start().await;
    for (n, expanding) in
        ['\u{fdfa}', '\u{1e9e}', '\u{df}', '\u{390}', '\u{ff21}'].iter().enumerate()
    {
        let name = expanding.to_string().repeat(80);
        let (status, _) = bench.outcome(with_username(&name)).await;
        assert!(status < 500, "{expanding:?}");
        for times in [20, 60, 80, 110] {
            let address = format!("{}@example.com", expanding.to_string().repeat(times));
            let (status, codes) =
                bench.outcome(with_email(&format!("user-{n}-{times}"), &address)).await;
            assert!(status < 500, "{expanding:?} {times} {codes:?}");
        }
    }
}

#[tokio::test]
async fn reserved_names_are_refused() {
    let bench = Bench::start().await;
    for name in ["root", "Admin", "SYSTEM", "\u{ff52}oot"] {
        let outcome = bench.outcome(with_username(name)).await;
        assert_eq!(outcome, refused(400, &["username reserved"]), "{name}");
    }
    let bench = Bench::start_with(&[("RESERVED_USERNAMES", "boss")]).await;
    assert_eq!(bench.outcome(with_username("Boss")).await, refused(400, &["username reserved"]));
    assert_eq!(bench.outcome(with_username("root")).await, registered());
}

/// Each string is sent as a name and as an address. Hashing is slow, so four out of five names come with a password
/// that is refused after the name has been checked.
#[tokio::test]
async fn naughty_strings_cause_no_server_error() {
    let bench = Bench::start().await;
    for (n, text) in testkit::naughty_strings().into_iter().enumerate() {
        let password = if n % 5 == 0 { PASSWORD } else { "password" };
        let answer = bench.ask(json!({"username": text, "password": password})).await;
        match status(&answer) {
            201 => assert_eq!(body(&answer)["user"]["username"], json!(text)),
            status => assert!(matches!(status, 400 | 409), "string {n}: {status}"),
        }
        // The name is too short, so only the address is tested and nothing is hashed.
        for email in [text.clone(), format!("{text}@example.com"), format!("a@{text}")] {
            let (status, _) = bench.outcome(with_email("a", &email)).await;
            assert_eq!(status, 400, "string {n}");
        }
    }
}
