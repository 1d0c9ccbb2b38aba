//! Tests that whole accounts are created completely or not at all, and that every account is read exactly once.

use std::collections::BTreeSet;

use events::{Actor, Kind, Occasion};
use identity::{
    Account, Attributes, EmailStanding, Revision, Role, Roles, SessionEpoch, Standing, UserId,
};
use process::{Clock, FaultKind, SystemClock, SystemRandom};
use store::{
    Arrival, Events, PasswordEpoch, ScanPosition, StoreError, Transfers, WholeAccount,
    WholePassword,
};
use testkit::{ConcurrentEvent, Fault, Faults, NewUser, Stack};

use crate::{keys, new_account, registrations};

fn transfers(stack: &Stack) -> Transfers {
    Transfers::new(&stack.users(), stack.client())
}

/// Creates an account with the peppers of the stack, as an operator does.
async fn create(
    transfers: &Transfers,
    stack: &Stack,
    whole: &WholeAccount,
) -> Result<Arrival, StoreError> {
    let occasion = Occasion::of_operator(SystemClock.now(), &SystemRandom);
    transfers.create(whole, stack.peppers(), &occasion).await
}

/// An account as it might exist elsewhere, with values that a newly registered account does not have.
fn whole(username: &str, email: &str) -> WholeAccount {
    let now = SystemClock.now();
    let account = Account {
        id: UserId::new(now, &SystemRandom),
        username: username.parse().unwrap(),
        email: Some(email.parse().unwrap()),
        email_standing: EmailStanding::Verified,
        pending_email: Some("pending@example.com".parse().unwrap()),
        roles: Roles::from_iter([Role::User, Role::Admin]),
        created_at: now,
        standing: Standing::Disabled,
        epoch: SessionEpoch::new(9),
        attributes: Attributes::parse(r#"{"tenant":7}"#).unwrap(),
        revision: Revision::FIRST,
        last_login_at: Some(now),
    };
    let hash = identity::StoredHash::new("a hash");
    let set_in = PasswordEpoch::of(SessionEpoch::new(4));
    WholeAccount { account, password: Some(WholePassword { hash, set_in }) }
}

/// All accounts, read in pages of this many items.
async fn all(transfers: &Transfers, limit: i32) -> Vec<WholeAccount> {
    let (mut accounts, mut from) = (Vec::new(), None);
    loop {
        let page = transfers.page(from, limit).await.unwrap();
        accounts.extend(page.accounts);
        from = page.next;
        if from.is_none() {
            return accounts;
        }
    }
}

#[tokio::test]
async fn a_whole_account_is_read_as_it_was_created() {
    let stack = Stack::start().await;
    let transfers = transfers(&stack);
    let with_password = whole("rosa", "r@example.com");
    let without = WholeAccount { password: None, ..whole("ben", "b@example.com") };
    for whole in [&with_password, &without] {
        assert_eq!(create(&transfers, &stack, whole).await.unwrap(), Arrival::Created);
    }
    let mut expected = vec![with_password, without];
    expected.sort_by_key(|whole| whole.account.id);
    for limit in [1, 2, 1_000] {
        let mut found = all(&transfers, limit).await;
        found.sort_by_key(|whole| whole.account.id);
        assert_eq!(found, expected, "{limit}");
    }
}

#[tokio::test]
async fn a_whole_account_that_conflicts_is_not_created() {
    let stack = Stack::start().await;
    let transfers = transfers(&stack);
    let first = whole("rosa", "r@example.com");
    assert_eq!(create(&transfers, &stack, &first).await.unwrap(), Arrival::Created);
    let before = keys(&stack.client()).await;
    let same_name = whole("ROSA", "other@example.com");
    let same_address = whole("other", "R@example.com");
    let mut same_id = whole("third", "third@example.com");
    same_id.account.id = first.account.id;
    for (whole, expected) in [
        (&first, Arrival::IdTaken),
        (&same_id, Arrival::IdTaken),
        (&same_name, Arrival::UsernameTaken),
        (&same_address, Arrival::EmailTaken),
    ] {
        assert_eq!(create(&transfers, &stack, whole).await.unwrap(), expected);
        assert_eq!(keys(&stack.client()).await, before, "{expected:?}");
    }
    let accounts = [&first, &same_name, &same_address].map(|whole| &whole.account);
    let conflicts = transfers.conflicts(&accounts).await.unwrap();
    assert_eq!(conflicts[&first.account.id], Arrival::IdTaken);
    assert_eq!(conflicts[&same_name.account.id], Arrival::UsernameTaken);
    assert_eq!(conflicts[&same_address.account.id], Arrival::EmailTaken);
    let ids = [first.account.id, same_name.account.id];
    let existing = transfers.existing(&ids).await.unwrap();
    assert_eq!(existing.into_keys().collect::<Vec<_>>(), [first.account.id]);
}

/// Without the conditions, the second account gets the name of the first.
#[tokio::test]
async fn without_the_conditions_a_whole_account_takes_a_name() {
    let stack = Stack::start().await;
    let faults = Faults::always(Fault::Unconditional);
    let transfers = Transfers::new(&stack.users(), stack.faulty_client(&faults));
    for email in ["r@example.com", "other@example.com"] {
        let whole = whole("rosa", email);
        assert_eq!(create(&transfers, &stack, &whole).await.unwrap(), Arrival::Created);
    }
}

#[tokio::test]
async fn a_whole_account_is_created_despite_a_transient_fault() {
    let stack = Stack::start().await;
    for (n, fault) in [Fault::LostAnswer, Fault::Lost, Fault::Conflict].into_iter().enumerate() {
        let faults = Faults::script(&[fault]);
        let transfers = Transfers::new(&stack.users(), stack.faulty_client(&faults));
        let whole = whole(&format!("user{n}"), &format!("{n}@example.com"));
        assert_eq!(
            create(&transfers, &stack, &whole).await.unwrap(),
            Arrival::Created,
            "{fault:?}"
        );
    }
    let faults = Faults::always(Fault::Throttled);
    let transfers = Transfers::new(&stack.users(), stack.faulty_client(&faults));
    let error = create(&transfers, &stack, &whole("last", "l@example.com")).await.unwrap_err();
    assert_eq!(process::Fault::kind(&error), FaultKind::Unavailable);
}

#[tokio::test]
async fn every_account_is_on_exactly_one_page_among_other_items() {
    let stack = Stack::start().await;
    let mut ids = BTreeSet::new();
    for n in 0..20 {
        let new = new_account(&format!("user{n}"), Some(&format!("{n}@example.com")));
        let account = registrations(&stack).create(new).await.unwrap();
        stack.sign_in(&account).await;
        ids.insert(account.id);
    }
    let transfers = transfers(&stack);
    for limit in [1, 7, 1_000] {
        let found: Vec<_> =
            all(&transfers, limit).await.into_iter().map(|whole| whole.account.id).collect();
        assert_eq!(found.len(), ids.len(), "{limit}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), ids, "{limit}");
    }
    // A read can continue after any account.
    let order: Vec<_> = all(&transfers, 1_000).await.iter().map(|whole| whole.account.id).collect();
    let rest = transfers.page(Some(ScanPosition::after(order[4])), 1_000).await.unwrap();
    let rest: Vec<_> = rest.accounts.iter().map(|whole| whole.account.id).collect();
    assert_eq!(rest, order[5..]);
}

/// The account is read by one request and its password by another.
#[tokio::test]
async fn an_account_whose_password_changes_during_the_export_is_read_again() {
    let stack = Stack::start().await;
    let user = NewUser { username: "rosa", email: Some("r@example.com"), roles: &[] };
    let account = stack.user(user).await;
    let (change, _session) = ConcurrentEvent::Change.prepare(&stack, &account).await;
    let faults = Faults::held_at(1);
    let transfers = Transfers::new(&stack.users(), stack.faulty_client(&faults));
    let page = tokio::spawn(async move { transfers.page(None, 1_000).await });
    faults.held().await;
    change.await;
    faults.release();
    let page = page.await.unwrap().unwrap();
    let [whole] = &page.accounts[..] else { panic!("{page:?}") };
    assert_eq!(whole.account.epoch, account.epoch.next());
    let set_in = whole.password.as_ref().unwrap().set_in;
    assert_eq!(set_in, PasswordEpoch::of(account.epoch.next()));
}

/// DynamoDB refuses a request with more than a hundred keys, or with duplicate keys.
#[tokio::test]
async fn any_number_of_ids_can_be_looked_up() {
    let stack = Stack::start().await;
    let account = registrations(&stack).create(new_account("rosa", None)).await.unwrap();
    let unknown = || UserId::new(SystemClock.now(), &SystemRandom);
    let ids: Vec<_> = (0..250).map(|_| unknown()).chain([account.id, account.id]).collect();
    let existing = transfers(&stack).existing(&ids).await.unwrap();
    assert_eq!(existing.into_values().collect::<Vec<_>>(), [account]);
    assert!(transfers(&stack).existing(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_import_records_that_an_operator_registered_the_account() {
    let stack = Stack::start().await;
    let whole = whole("rosa", "r@example.com");
    let id = whole.account.id;
    let arrival = create(&transfers(&stack), &stack, &whole).await.unwrap();
    assert_eq!(arrival, Arrival::Created);
    // A second import records no registration.
    let again = create(&transfers(&stack), &stack, &whole).await.unwrap();
    assert_eq!(again, Arrival::IdTaken);
    let events = Events::new(&stack.users(), stack.client());
    let events = events.page(id, None, 100, SystemClock.now()).await.unwrap().events;
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!((&event.kind, event.by), (&Kind::Registered, Actor::Operator));
}

/// DynamoDB leaves keys out of a response when the table is throttled.
#[tokio::test]
async fn keys_that_the_database_leaves_out_are_requested_again_a_few_times() {
    let stack = Stack::start().await;
    let account = registrations(&stack).create(new_account("rosa", None)).await.unwrap();
    let id = account.id;
    let faults = Faults::script(&[Fault::Unprocessed; 7]);
    let transfers = Transfers::new(&stack.users(), stack.faulty_client(&faults));
    let existing = transfers.existing(&[id]).await.unwrap();
    assert_eq!(existing.into_values().collect::<Vec<_>>(), [account]);
    assert_eq!(faults.requests(), 8);
    let faults = Faults::always(Fault::Unprocessed);
    let transfers = Transfers::new(&stack.users(), stack.faulty_client(&faults));
    let existing = transfers.existing(&[id]).await;
    assert!(matches!(existing, Err(StoreError::Partial)), "{existing:?}");
    assert_eq!(faults.requests(), 8);
    assert_eq!(process::Fault::kind(&StoreError::Partial), FaultKind::Unavailable);
}
