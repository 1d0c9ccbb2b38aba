//! Tests that nobody can claim the names of a deleted account during their quarantine.

use identity::{
    Account, CanonicalName, Email, MailId, MailedFor, NameTagger, Role, UniqueName, Username,
};
use jiff::{SignedDuration, Timestamp};
use peppers::{ANNOUNCE_SECONDS, Peppers};
use process::{Clock, SystemClock, SystemRandom};
use store::{
    Administration, Arrival, CODE_VALID_FOR, ChangeError, CodeRecord, Mailings, NewAccount,
    NewEmail, Redeemed, RegisterError, Registrations, Stored, Transfers, Verifications,
    WholeAccount,
};
use testkit::Stack;

use crate::{keys, new_account, registrations};

/// A tagger that finds no tombstone, as if the code did not check for tombstones.
struct Forgetful;

impl NameTagger for Forgetful {
    fn tag(&self, _: UniqueName<'_>, _: Timestamp) -> String {
        "forgotten".to_owned()
    }

    fn tags(&self, _: UniqueName<'_>) -> Vec<String> {
        Vec::new()
    }
}

fn username(name: &str) -> CanonicalName {
    Username::parse(name).unwrap().canonical().clone()
}

fn address(address: &str) -> CanonicalName {
    Email::parse(address).unwrap().canonical().clone()
}

/// A stack where the account `Straße` with the address `Rosa@example.com` has been deleted.
async fn quarantined(until: Timestamp) -> Stack {
    let stack = Stack::start().await;
    stack.bury(UniqueName::Username(&username("Straße")), until).await;
    stack.bury(UniqueName::Email(&address("Rosa@example.com")), until).await;
    stack
}

/// New accounts that claim names of the deleted account, each with the reason why it is refused.
fn heirs() -> [(NewAccount, &'static str); 3] {
    [
        (new_account("STRASSE", None), "the username is taken"),
        (new_account("rosa", Some("rosa@EXAMPLE.com")), "another account uses the email address"),
        (new_account("strasse", Some("rosa@example.com")), "the username is taken"),
    ]
}

#[tokio::test]
async fn the_names_of_a_deleted_account_are_taken_until_their_quarantine_ends() {
    let now = SystemClock.now();
    let stack = quarantined(now + SignedDuration::from_secs(1)).await;
    let before = keys(&stack.client()).await;
    let create = async |new, now| {
        let registrations = Registrations::new(&stack.users(), stack.client());
        let new = NewAccount { occasion: testkit::occasion(now), ..new };
        registrations.create(new, stack.peppers()).await
    };
    for (new, reason) in heirs() {
        let refused = create(new, now).await.unwrap_err();
        assert_eq!(refused.to_string(), reason);
    }
    assert_eq!(keys(&stack.client()).await, before);
    // A username and an address with the same spelling do not conflict.
    create(new_account("rosa", Some("strasse@example.com")), now).await.unwrap();
    // The quarantine ends on time, even though the tombstones have not been deleted yet.
    let later = now + SignedDuration::from_secs(1);
    create(new_account("straße", Some("rosa@example.com")), later).await.unwrap();
}

#[tokio::test]
async fn without_the_check_the_names_of_a_deleted_account_are_claimed() {
    for (new, _) in heirs() {
        let stack = quarantined(SystemClock.now() + SignedDuration::from_hours(1)).await;
        let registrations = Registrations::new(&stack.users(), stack.client());
        registrations.create(new, &Forgetful).await.unwrap();
    }
}

#[tokio::test]
async fn a_new_pepper_ends_no_quarantine() {
    let now = SystemClock.now();
    let stack = quarantined(now + SignedDuration::from_hours(1)).await;
    let kept = SignedDuration::from_hours(24);
    let peppers = stack.peppers().with_new("b", now, kept, &SystemRandom).unwrap();
    let later = now + SignedDuration::from_secs(ANNOUNCE_SECONDS + 1);
    let name = username("Straße");
    let name = UniqueName::Username(&name);
    assert_ne!(peppers.tag(name, later), stack.peppers().tag(name, now));
    let registrations = Registrations::new(&stack.users(), stack.client());
    let new = || NewAccount { occasion: testkit::occasion(later), ..new_account("strasse", None) };
    let refused = registrations.create(new(), &peppers).await;
    assert!(matches!(refused, Err(RegisterError::UsernameTaken)), "{refused:?}");
    // Another deployment's peppers find no tombstone here.
    let others = Peppers::generate("a", &SystemRandom);
    registrations.create(new(), &others).await.unwrap();
}

/// A transaction has at most 100 items, and checks each name under each pepper.
#[tokio::test]
async fn the_names_of_an_account_can_be_claimed_with_the_maximum_number_of_peppers() {
    let stack = Stack::start().await;
    let (mut peppers, mut now) = (stack.peppers().clone(), SystemClock.now());
    let kept = SignedDuration::from_hours(24);
    while let Ok(more) = peppers.with_new("b", now, kept, &SystemRandom) {
        peppers = more;
        now += SignedDuration::from_secs(ANNOUNCE_SECONDS);
    }
    let roles = Role::ALL.into_iter().collect();
    let new = NewAccount { roles, ..new_account("rosa", Some("rosa@example.com")) };
    let registrations = Registrations::new(&stack.users(), stack.client());
    registrations.create(new, &peppers).await.unwrap();
}

/// A code with which `account` can confirm the address of the deleted account.
fn code(account: &Account, now: Timestamp) -> CodeRecord {
    CodeRecord {
        mail: MailId::new(now, &SystemRandom),
        purpose: MailedFor::EmailVerification,
        user: account.id,
        epoch: account.epoch,
        address: Email::parse("rosa@example.com").unwrap(),
        pepper: "p".to_owned(),
        expires_at: now + CODE_VALID_FOR,
    }
}

#[tokio::test]
async fn a_code_claims_no_address_of_a_deleted_account() {
    let now = SystemClock.now();
    let stack = quarantined(now + SignedDuration::from_secs(60)).await;
    let account = registrations(&stack).create(new_account("heir", None)).await.unwrap();
    let code = code(&account, now);
    let mailings = Mailings::new(&stack.users(), stack.client());
    assert_eq!(mailings.store(&code).await.unwrap(), Stored::Done);
    let verifications = Verifications::new(&stack.users(), stack.client());
    let peppers = stack.peppers();
    let address = code.address.canonical();
    let verify = async |now| {
        let occasion = testkit::occasion(now);
        verifications.verify(&code, &account, peppers, None, &occasion).await.unwrap()
    };
    assert!(mailings.is_quarantined(address, peppers, now).await.unwrap());
    assert_eq!(verify(now).await, Redeemed::Taken);
    let later = now + SignedDuration::from_secs(60);
    assert!(!mailings.is_quarantined(address, peppers, later).await.unwrap());
    assert_eq!(verify(later).await, Redeemed::Done);
}

#[tokio::test]
async fn without_the_check_a_code_claims_the_address_of_a_deleted_account() {
    let now = SystemClock.now();
    let stack = quarantined(now + SignedDuration::from_secs(60)).await;
    let account = registrations(&stack).create(new_account("heir", None)).await.unwrap();
    let code = code(&account, now);
    let mailings = Mailings::new(&stack.users(), stack.client());
    assert_eq!(mailings.store(&code).await.unwrap(), Stored::Done);
    let verifications = Verifications::new(&stack.users(), stack.client());
    let occasion = testkit::occasion(now);
    let redeemed =
        verifications.verify(&code, &account, &Forgetful, None, &occasion).await.unwrap();
    assert_eq!(redeemed, Redeemed::Done);
}

/// The account `heir`, and the same account with the address of the deleted account.
async fn with_address_of_deleted(stack: &Stack) -> (Account, Account) {
    let account = registrations(stack).create(new_account("heir", None)).await.unwrap();
    let email = Some(Email::parse("rosa@example.com").unwrap());
    (account.clone(), Account { email, ..account })
}

#[tokio::test]
async fn an_administrator_cannot_assign_the_address_of_a_deleted_account() {
    let now = SystemClock.now();
    let stack = quarantined(now + SignedDuration::from_secs(60)).await;
    let (before, after) = with_address_of_deleted(&stack).await;
    let stored = keys(&stack.client()).await;
    let administration = Administration::new(&stack.users(), stack.client());
    let replace = async |now| {
        let occasion = || testkit::occasion(now);
        administration.replace(&before, after.clone(), None, occasion, stack.peppers()).await
    };
    let refused = replace(now).await;
    assert!(matches!(refused, Err(ChangeError::EmailTaken)), "{refused:?}");
    assert_eq!(keys(&stack.client()).await, stored);
    let changed = replace(now + SignedDuration::from_secs(60)).await.unwrap();
    assert_eq!(changed.email, after.email);
}

#[tokio::test]
async fn without_the_check_an_administrator_assigns_the_address_of_a_deleted_account() {
    let stack = quarantined(SystemClock.now() + SignedDuration::from_secs(60)).await;
    let (before, after) = with_address_of_deleted(&stack).await;
    let administration = Administration::new(&stack.users(), stack.client());
    let changed = administration
        .replace(&before, after.clone(), None, testkit::occasion_now, &Forgetful)
        .await;
    assert_eq!(changed.unwrap().email, after.email);
}

/// Imports each heir of the deleted account.
async fn arrivals(tagger: impl Fn(&Stack) -> Box<dyn NameTagger>) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for (new, _) in heirs() {
        let stack = quarantined(SystemClock.now() + SignedDuration::from_hours(1)).await;
        let email = new.email.map(|email| match email {
            NewEmail::Claimed(address) | NewEmail::Pending { address, .. } => address,
        });
        // The account was created in another stack.
        let elsewhere = Stack::start().await;
        let account = registrations(&elsewhere).create(new_account("heir", None)).await.unwrap();
        let account = Account { username: new.username, email, ..account };
        let transfers = Transfers::new(&stack.users(), stack.client());
        let whole = WholeAccount { account, password: None };
        let tagger = tagger(&stack);
        arrivals.push(transfers.create(&whole, &*tagger, &testkit::occasion_now()).await.unwrap());
    }
    arrivals
}

#[tokio::test]
async fn an_import_creates_no_account_with_the_names_of_a_deleted_one() {
    let arrivals = arrivals(|stack| Box::new(stack.peppers().clone())).await;
    assert_eq!(arrivals, [Arrival::UsernameTaken, Arrival::EmailTaken, Arrival::UsernameTaken]);
}

#[tokio::test]
async fn without_the_check_an_import_creates_accounts_with_the_names_of_a_deleted_one() {
    assert_eq!(arrivals(|_| Box::new(Forgetful)).await, [Arrival::Created; 3]);
}
