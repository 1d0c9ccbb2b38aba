//! Tests `Logins`, which finds accounts by name and begins sessions.

use auth::AccountCheck;
use identity::{
    Account, CanonicalName, Email, Presented, SessionEpoch, Standing, StoredHash, Username,
};
use process::{Clock, Fault as _, FaultKind, SystemClock};
use store::{Accounts, Administration, Events, Logins, PasswordEpoch, StoreError};
use testkit::{Fault, Faults, Stack};

use crate::{keys, new_account, registrations};

fn name(name: &str) -> CanonicalName {
    Username::parse(name).unwrap().canonical().clone()
}

fn address(address: &str) -> CanonicalName {
    Email::parse(address).unwrap().canonical().clone()
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> FaultKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn a_credential_is_found_by_name_and_by_address() {
    let stack = Stack::start().await;
    let account = new_account("Straße", Some("s@example.com"));
    let account = registrations(&stack).create(account).await.unwrap();
    let logins = stack.logins();
    for by in [
        Presented::Username(name("STRASSE")),
        Presented::Username(name("straße")),
        Presented::Email(address("S@EXAMPLE.COM")),
    ] {
        let credential = logins.credential(&by).await.unwrap().unwrap();
        assert_eq!(credential.user_id, account.id);
        assert_eq!(credential.secret.expose(), "the hash of Straße");
        assert!(!format!("{credential:?}").contains("the hash"), "`Debug` shows no secret");
    }
    let set_in = logins.credential(&Presented::Username(name("strasse"))).await.unwrap();
    let set_in = set_in.unwrap().set_in;
    assert_eq!(logins.account(account.id, set_in).await.unwrap(), Some(account));
}

#[tokio::test]
async fn an_unknown_name_has_no_credential() {
    let stack = Stack::start().await;
    let logins = stack.logins();
    for by in [Presented::Username(name("nobody")), Presented::Email(address("n@example.com"))] {
        assert!(logins.credential(&by).await.unwrap().is_none());
    }
}

/// A login with the previous password must not overwrite a password that was set concurrently.
#[tokio::test]
async fn a_hash_is_replaced_unless_it_has_changed_concurrently() {
    let stack = Stack::start().await;
    registrations(&stack).create(new_account("testuser", None)).await.unwrap();
    let (logins, user) = (stack.logins(), name("testuser"));
    let secret = |text: &str| StoredHash::new(text);
    let before = secret("the hash of testuser");
    assert!(logins.rehash(&user, &before, &secret("by argon2id")).await.unwrap());
    assert!(!logins.rehash(&user, &before, &secret("too late")).await.unwrap());
    // No password is stored for an unknown name.
    assert!(!logins.rehash(&name("nobody"), &before, &secret("of nobody")).await.unwrap());
    let stored = logins.credential(&Presented::Username(user)).await.unwrap().unwrap();
    assert_eq!(stored.secret.expose(), "by argon2id");
}

/// The number of round trips must not reveal whether a name exists.
#[tokio::test]
async fn a_username_takes_one_round_trip_and_an_address_two_even_if_unknown() {
    let stack = Stack::start().await;
    let account = new_account("testuser", Some("t@example.com"));
    registrations(&stack).create(account).await.unwrap();
    for (by, at_once) in [
        (Presented::Username(name("testuser")), 2),
        (Presented::Username(name("nobody")), 2),
        (Presented::Email(address("t@example.com")), 1),
        (Presented::Email(address("n@example.com")), 1),
    ] {
        let faults = Faults::script(&[]);
        let logins = Logins::new(&stack.users(), stack.faulty_client(&faults), stack.limits());
        logins.credential(&by).await.unwrap();
        assert_eq!((faults.requests(), faults.most_at_once()), (2, at_once), "{by:?}");
        assert!(faults.bodies().iter().all(|body| body["ConsistentRead"] == true));
    }
}

#[tokio::test]
async fn an_outage_is_not_reported_as_an_unknown_name() {
    let stack = Stack::start().await;
    for (fault, expected) in [
        (Fault::Throttled, FaultKind::Unavailable),
        (Fault::ServerError, FaultKind::Unavailable),
        (Fault::Lost, FaultKind::Unavailable),
        (Fault::LostAnswer, FaultKind::Unavailable),
        (Fault::AccessDenied, FaultKind::Internal),
    ] {
        let client = stack.faulty_client(&Faults::always(fault));
        let logins = Logins::new(&stack.users(), client, stack.limits());
        let by = Presented::Username(name("testuser"));
        assert_eq!(kind(logins.credential(&by).await), expected, "{fault:?}");
        let account = new_account("testuser", None);
        assert_eq!(
            kind(logins.account(account.id, PasswordEpoch::default()).await),
            expected,
            "{fault:?}"
        );
        assert_eq!(
            kind(logins.begin(account.id, stack.new_session(SessionEpoch::FIRST), &[]).await),
            expected,
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_session_begins_despite_transient_faults() {
    let stack = Stack::start().await;
    let account = registrations(&stack).create(new_account("testuser", None)).await.unwrap();
    for fault in [Fault::LostAnswer, Fault::Lost, Fault::Throttled, Fault::ServerError] {
        let before = keys(&stack.client()).await.len();
        let faults = Faults::script(&[fault; 2]);
        let session = stack.new_session(account.epoch);
        let id = session.id;
        let logins = Logins::new(&stack.users(), stack.faulty_client(&faults), stack.limits());
        let stored = logins.begin(account.id, session, &[]).await.unwrap();
        // The transaction three times, then a read and a write of the account.
        assert_eq!(faults.requests(), 5, "{fault:?}");
        assert_eq!(keys(&stack.client()).await.len(), before + 1, "{fault:?}");
        let accounts = Accounts::new(&stack.users(), stack.client());
        let live = accounts.find(account.id, id).await.unwrap().session.unwrap();
        assert_eq!(live.epoch, account.epoch);
        assert_eq!(live.expires_at, stored.ends_at);
    }
}

/// The account changes after the login has read it.
#[tokio::test]
async fn a_login_during_which_the_account_is_disabled_or_logged_out_begins_no_session() {
    let disable: fn(Account) -> Account =
        |account| Account { standing: Standing::Disabled, ..account };
    let log_out = |account: Account| Account { epoch: account.epoch.next(), ..account };
    for change in [disable, log_out] {
        let stack = Stack::start().await;
        let account = registrations(&stack).create(new_account("testuser", None)).await.unwrap();
        let administration = Administration::new(&stack.users(), stack.client());
        let changed = change(account.clone());
        administration
            .replace(&account, changed, None, testkit::occasion_now, stack.peppers())
            .await
            .unwrap();
        let before = keys(&stack.client()).await;
        let begun = stack.logins().begin(account.id, stack.new_session(account.epoch), &[]).await;
        assert!(matches!(begun, Err(StoreError::Raced)), "{begun:?}");
        assert_eq!(keys(&stack.client()).await, before);
        let events = Events::new(&stack.users(), stack.client());
        let page = events.page(account.id, None, 100, SystemClock.now()).await.unwrap();
        assert!(page.events.iter().all(|event| event.kind.name() != "login"), "{page:?}");
    }
}
