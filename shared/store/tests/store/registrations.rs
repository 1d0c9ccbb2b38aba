//! Tests that an account is created completely or not at all, and that all spellings of a name are the same name.

use std::collections::BTreeSet;

use identity::{EmailStanding, SessionEpoch, Standing, Username};
use store::{Administration, RegisterError};
use testkit::Stack;

use crate::{keys, new_account, registrations};

/// A claim is the item that reserves a name or an address for an account.
#[tokio::test]
async fn a_registration_stores_the_account_its_claims_and_its_password() {
    let stack = Stack::start().await;
    let new = new_account("Straße", Some("S@Example.com"));
    let id = new.id;
    let account = registrations(&stack).create(new).await.unwrap();
    assert_eq!(account.username.as_str(), "Straße", "the given spelling is kept");
    assert_eq!(account.standing, Standing::Active);
    assert_eq!(account.email_standing, EmailStanding::Unverified);
    assert_eq!(account.epoch, SessionEpoch::FIRST);
    let expected = BTreeSet::from([
        format!("USER#{id} ACCOUNT"),
        format!("LIST#ALL#{} {id}", id.to_string().chars().last().unwrap()),
        "USERNAME#strasse CLAIM".to_owned(),
        "USERNAME#strasse PASSWORD".to_owned(),
        "EMAIL#s@example.com CLAIM".to_owned(),
    ]);
    assert_eq!(keys(&stack.client()).await, expected);
    let stored = Administration::new(&stack.users(), stack.client())
        .account_by_name(Username::parse("STRASSE").unwrap().canonical())
        .await
        .unwrap();
    assert_eq!(stored, Some(account), "the stored account equals the returned one");
}

#[tokio::test]
async fn a_registration_with_a_taken_address_claims_no_name() {
    let stack = Stack::start().await;
    let registrations = registrations(&stack);
    registrations.create(new_account("first", Some("a@example.com"))).await.unwrap();
    let before = keys(&stack.client()).await;
    let refused = registrations.create(new_account("second", Some("A@EXAMPLE.com"))).await;
    assert!(matches!(refused, Err(RegisterError::EmailTaken)), "{refused:?}");
    assert_eq!(keys(&stack.client()).await, before);
    registrations.create(new_account("second", Some("b@example.com"))).await.unwrap();
}

#[tokio::test]
async fn a_registration_with_a_taken_name_claims_no_address() {
    let stack = Stack::start().await;
    let registrations = registrations(&stack);
    registrations.create(new_account("first", None)).await.unwrap();
    let before = keys(&stack.client()).await;
    let refused = registrations.create(new_account("First", Some("a@example.com"))).await;
    assert!(matches!(refused, Err(RegisterError::UsernameTaken)), "{refused:?}");
    assert_eq!(keys(&stack.client()).await, before);
    registrations.create(new_account("second", Some("a@example.com"))).await.unwrap();
}

#[tokio::test]
async fn if_both_name_and_address_are_taken_the_name_is_reported() {
    let stack = Stack::start().await;
    let registrations = registrations(&stack);
    registrations.create(new_account("first", Some("a@example.com"))).await.unwrap();
    let refused = registrations.create(new_account("first", Some("a@example.com"))).await;
    assert!(matches!(refused, Err(RegisterError::UsernameTaken)), "{refused:?}");
}

#[tokio::test]
async fn all_spellings_of_a_name_are_the_same_name() {
    let stack = Stack::start().await;
    let registrations = registrations(&stack);
    for (first, second) in [
        ("testuser", "TESTUSER"),
        ("caf\u{e9}", "cafe\u{301}"),
        ("Straße", "STRASSE"),
        ("\u{ff57}\u{ff49}\u{ff44}\u{ff45}", "wide"),
        ("ΟΔΟΣ", "οδος"),
    ] {
        registrations.create(new_account(first, None)).await.unwrap();
        for again in [first, second] {
            let refused = registrations.create(new_account(again, None)).await;
            assert!(matches!(refused, Err(RegisterError::UsernameTaken)), "{first} {again}");
        }
    }
}

#[tokio::test]
async fn all_spellings_of_an_address_are_the_same_address() {
    let stack = Stack::start().await;
    let registrations = registrations(&stack);
    for (n, (first, second)) in [
        ("a@example.com", "A@Example.COM"),
        ("caf\u{e9}@example.com", "cafe\u{301}@example.com"),
        ("straße@example.com", "strasse@example.com"),
    ]
    .into_iter()
    .enumerate()
    {
        registrations.create(new_account(&format!("user{n}"), Some(first))).await.unwrap();
        let refused = registrations.create(new_account(&format!("other{n}"), Some(second))).await;
        assert!(matches!(refused, Err(RegisterError::EmailTaken)), "{first} {second}");
    }
}

#[tokio::test]
async fn names_and_addresses_do_not_conflict() {
    let stack = Stack::start().await;
    let registrations = registrations(&stack);
    registrations.create(new_account("example.com", Some("a@example.com"))).await.unwrap();
    registrations.create(new_account("a-example.com", Some("b@example.com"))).await.unwrap();
    assert_eq!(keys(&stack.client()).await.len(), 10);
}
