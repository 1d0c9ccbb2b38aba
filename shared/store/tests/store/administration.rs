//! Tests `Administration`, which finds and changes accounts.

use std::collections::BTreeSet;

use events::Kind;
use identity::{
    Account, Attributes, Email, EmailStanding, Revision, Role, Roles, SessionEpoch, SessionId,
    Standing, UserId, Username,
};
use process::{Clock, Fault as _, FaultKind, SystemClock};
use store::{Administration, Authority, ChangeError, Endings, Events, StoreError};
use testkit::{Fault, Faults, Stack};

use crate::{keys, new_account, registrations};

fn administration(stack: &Stack) -> Administration {
    Administration::new(&stack.users(), stack.client())
}

/// Creates an account with these roles.
async fn create(stack: &Stack, username: &str, roles: &[Role]) -> Account {
    let mut new = new_account(username, Some(&format!("{username}@example.com")));
    new.roles = roles.iter().copied().collect();
    registrations(stack).create(new).await.unwrap()
}

/// Changes an account from `before` to `after`, with the peppers of the stack.
async fn replace(stack: &Stack, before: &Account, after: Account) -> Result<Account, ChangeError> {
    let administration = administration(stack);
    administration.replace(before, after, None, testkit::occasion_now, stack.peppers()).await
}

/// The names of the lists that contain the account, without the shards.
async fn lists(stack: &Stack, id: UserId) -> BTreeSet<String> {
    let keys = keys(&stack.client()).await;
    let suffix = format!("#{} {id}", id.to_string().chars().last().unwrap());
    let of = |key: &String| key.strip_prefix("LIST#")?.strip_suffix(&suffix).map(str::to_owned);
    keys.iter().filter_map(of).collect()
}

/// The ids in the set of super administrators.
async fn super_admins(stack: &Stack) -> BTreeSet<String> {
    let items = stack.items().await;
    let set = items.iter().find(|item| item["pk"].as_s().unwrap() == "SUPER_ADMINS");
    let ids = set.and_then(|set| set.get("ids"));
    ids.map(|ids| ids.as_ss().unwrap().iter().cloned().collect()).unwrap_or_default()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn setting_roles_changes_the_roles_the_revision_and_the_lists() {
    let stack = Stack::start().await;
    create(&stack, "keeper", &[Role::SuperAdmin]).await;
    let mut account = create(&stack, "testuser", &[Role::User]).await;
    assert_eq!(account.revision, Revision::FIRST);
    for (roles, listed) in [
        (vec![Role::Admin, Role::SuperAdmin], set(&["ALL", "ROLE#admin", "ROLE#super_admin"])),
        (vec![Role::User], set(&["ALL"])),
        (vec![], set(&["ALL"])),
        (vec![Role::User, Role::Admin], set(&["ALL", "ROLE#admin"])),
    ] {
        let roles = Roles::from_iter(roles);
        let changed = administration(&stack)
            .set_roles(account.id, &roles, testkit::occasion_now)
            .await
            .unwrap();
        account = Account { roles, revision: account.revision.next(), ..account };
        assert_eq!(changed, account);
        let name = account.username.canonical();
        let stored = administration(&stack).account_by_name(name).await.unwrap();
        assert_eq!(stored.as_ref(), Some(&account));
        assert_eq!(lists(&stack, account.id).await, listed);
        let is_super = account.roles.contains(Role::SuperAdmin);
        assert_eq!(super_admins(&stack).await.contains(&account.id.to_string()), is_super);
    }
}

#[tokio::test]
async fn changing_an_unknown_account_creates_no_item() {
    let stack = Stack::start().await;
    let administration = administration(&stack);
    let id = new_account("n-n", None).id;
    for result in [
        administration.set_roles(id, &Roles::default(), testkit::occasion_now).await,
        administration.disable(id, testkit::occasion_now).await,
        administration.enable(id, testkit::occasion_now).await,
    ] {
        assert!(matches!(result, Err(ChangeError::Store(StoreError::Absent))), "{result:?}");
    }
    assert!(keys(&stack.client()).await.is_empty());
    let nobody = Username::parse("nobody").unwrap();
    assert_eq!(administration.account_by_name(nobody.canonical()).await.unwrap(), None);
}

#[tokio::test]
async fn a_change_is_retried_after_a_lost_answer() {
    let stack = Stack::start().await;
    let account = create(&stack, "testuser", &[Role::User]).await;
    let roles = Roles::from_iter([Role::Admin]);
    for lost in [&[Fault::LostAnswer][..], &[Fault::None, Fault::LostAnswer, Fault::LostAnswer]] {
        let client = stack.faulty_client(&Faults::script(lost));
        let administration = Administration::new(&stack.users(), client);
        let changed =
            administration.set_roles(account.id, &roles, testkit::occasion_now).await.unwrap();
        assert_eq!((changed.roles, changed.revision), (roles.clone(), Revision::new(2)));
        administration.set_roles(account.id, &roles, testkit::occasion_now).await.unwrap();
    }
}

#[tokio::test]
async fn disabling_an_account_lists_it_as_disabled_and_raises_its_epoch() {
    let stack = Stack::start().await;
    let account = create(&stack, "testuser", &[Role::User]).await;
    let disabled = administration(&stack).disable(account.id, testkit::occasion_now).await.unwrap();
    assert_eq!((disabled.standing, disabled.epoch), (Standing::Disabled, account.epoch.next()));
    assert_eq!(lists(&stack, account.id).await, set(&["ALL", "DISABLED"]));
    let enabled = administration(&stack).enable(account.id, testkit::occasion_now).await.unwrap();
    assert_eq!((enabled.standing, enabled.epoch), (Standing::Active, account.epoch.next()));
    assert_eq!(lists(&stack, account.id).await, set(&["ALL"]));
}

/// Whether the change was refused because no active super administrator would remain.
fn is_last(result: Result<Account, ChangeError>) -> bool {
    match result {
        Ok(_) => false,
        Err(error) => {
            assert!(matches!(error, ChangeError::LastSuperAdmin), "{error:?}");
            assert_eq!((error.kind(), error.code()), (FaultKind::Conflict, "last_super_admin"));
            true
        }
    }
}

#[tokio::test]
async fn the_last_super_admin_can_be_neither_demoted_nor_disabled() {
    let stack = Stack::start().await;
    let one = create(&stack, "one", &[Role::SuperAdmin]).await.id;
    let administration = administration(&stack);
    let (admin, both) =
        (Roles::from_iter([Role::Admin]), Roles::from_iter([Role::Admin, Role::SuperAdmin]));
    let before = keys(&stack.client()).await;
    assert!(is_last(administration.set_roles(one, &admin, testkit::occasion_now).await));
    assert!(is_last(administration.disable(one, testkit::occasion_now).await));
    assert_eq!(keys(&stack.client()).await, before);
    assert!(administration.is_last_super_admin(one).await.unwrap());
    // Other changes are allowed.
    assert!(!is_last(administration.set_roles(one, &both, testkit::occasion_now).await));
    // A disabled super administrator is no replacement.
    let other = create(&stack, "other", &[Role::SuperAdmin]).await.id;
    assert!(!is_last(administration.disable(other, testkit::occasion_now).await));
    assert!(is_last(administration.disable(one, testkit::occasion_now).await));
    // Once it is enabled again, it is.
    assert!(!is_last(administration.enable(other, testkit::occasion_now).await));
    assert!(!is_last(administration.set_roles(one, &admin, testkit::occasion_now).await));
    assert!(is_last(administration.set_roles(other, &admin, testkit::occasion_now).await));
    assert_eq!(super_admins(&stack).await, BTreeSet::from([other.to_string()]));
}

/// Demotes two super administrators concurrently. Returns how many of the demotions succeeded.
async fn demote_both(stack: &Stack, fault: Fault, round: usize) -> usize {
    let (one, other) = (format!("one-{round}"), format!("other-{round}"));
    let (one, other) = (
        create(stack, &one, &[Role::SuperAdmin]).await,
        create(stack, &other, &[Role::SuperAdmin]).await,
    );
    // Neither transaction is carried out before both have been sent.
    let faults = Faults::together(2, fault);
    let administration = Administration::new(&stack.users(), stack.faulty_client(&faults));
    let demote = async |account: Account| {
        let demoted = Account { roles: Roles::from_iter([Role::Admin]), ..account.clone() };
        let replaced =
            administration.replace(&account, demoted, None, testkit::occasion_now, stack.peppers());
        !is_last(replaced.await)
    };
    let (first, second) = futures_util::join!(demote(one.clone()), demote(other.clone()));
    assert_eq!(faults.most_at_once(), 2, "the requests did not race");
    // The next round starts without super administrators.
    let left: Vec<_> =
        [(one, first), (other, second)].into_iter().filter(|(_, demoted)| !demoted).collect();
    for (account, _) in &left {
        stack
            .client()
            .delete_item()
            .table_name("UsersTable")
            .key("pk", aws_sdk_dynamodb::types::AttributeValue::S("SUPER_ADMINS".to_owned()))
            .key("sk", aws_sdk_dynamodb::types::AttributeValue::S("SUPER_ADMINS".to_owned()))
            .send()
            .await
            .unwrap();
        assert!(account.is_active_super_admin());
    }
    2 - left.len()
}

#[tokio::test]
async fn the_last_two_super_admins_cannot_both_be_demoted_concurrently() {
    let stack = Stack::start().await;
    for round in 0..50 {
        assert_eq!(demote_both(&stack, Fault::None, round).await, 1, "round {round}");
    }
}

#[tokio::test]
async fn without_the_condition_both_of_the_last_super_admins_are_demoted() {
    let stack = Stack::start().await;
    assert_eq!(demote_both(&stack, Fault::Unconditional, 0).await, 2);
}

/// How an administrator loses rights after a request has been admitted.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Demoted,
    Disabled,
    LoggedOut,
    SessionEnded,
}

impl Loss {
    const ALL: [Self; 4] = [Self::Demoted, Self::Disabled, Self::LoggedOut, Self::SessionEnded];

    async fn happen(self, stack: &Stack, admin: &Account, session: SessionId) {
        let after = match self {
            Self::Demoted => Account { roles: Roles::from_iter([Role::Admin]), ..admin.clone() },
            Self::Disabled => Account { standing: Standing::Disabled, ..admin.clone() },
            Self::LoggedOut => Account { epoch: admin.epoch.next(), ..admin.clone() },
            Self::SessionEnded => {
                let endings = Endings::new(&stack.users(), stack.client());
                assert!(endings.end(admin.id, session, &testkit::occasion_now()).await.unwrap());
                return;
            }
        };
        replace(stack, admin, after).await.unwrap();
    }

    fn expected(self) -> (FaultKind, &'static str) {
        match self {
            Self::Demoted => (FaultKind::Forbidden, "insufficient_role"),
            Self::Disabled | Self::LoggedOut | Self::SessionEnded => {
                (FaultKind::Unauthenticated, "invalid_token")
            }
        }
    }
}

/// Creates two super administrators, and begins a session of the second one.
async fn admin(stack: &Stack) -> (Account, SessionId) {
    create(stack, "keeper", &[Role::SuperAdmin]).await;
    let admin = create(stack, "admin", &[Role::Admin, Role::SuperAdmin]).await;
    let session = stack.new_session(admin.epoch);
    let id = session.id;
    stack.logins().begin(admin.id, session, &[]).await.unwrap();
    let administration = administration(stack);
    (administration.account(admin.id).await.unwrap().unwrap(), id)
}

/// Lets an administrator, whose request has already been admitted, lose rights. Then the request promotes an account.
/// `fault` applies to the promotion's transaction.
async fn promote_late(loss: Option<Loss>, fault: Fault) -> Result<(), ChangeError> {
    let stack = Stack::start().await;
    let (admin, session) = admin(&stack).await;
    let account = create(&stack, "testuser", &[Role::User]).await;
    if let Some(loss) = loss {
        loss.happen(&stack, &admin, session).await;
    }
    // The first request reads the account.
    let faults = Faults::script(&[Fault::None, fault]);
    let requested = Administration::new(&stack.users(), stack.faulty_client(&faults));
    let requested = requested.on_behalf_of(Authority::of(&admin, session));
    let roles = Roles::from_iter([Role::Admin]);
    let promoted = requested.set_roles(account.id, &roles, testkit::occasion_now).await;
    let stored = administration(&stack).account(account.id).await.unwrap().unwrap();
    assert_eq!(stored.roles == roles, promoted.is_ok());
    promoted.map(drop)
}

#[tokio::test]
async fn an_administrator_who_has_lost_a_role_or_is_disabled_or_logged_out_changes_no_account() {
    for loss in Loss::ALL {
        let refused = promote_late(Some(loss), Fault::None).await.unwrap_err();
        assert_eq!((refused.kind(), refused.code()), loss.expected(), "{loss:?}: {refused:?}");
    }
    promote_late(None, Fault::None).await.unwrap();
}

#[tokio::test]
async fn without_the_condition_an_administrator_who_has_lost_a_role_changes_an_account() {
    for loss in Loss::ALL {
        promote_late(Some(loss), Fault::Unconditional).await.unwrap();
    }
}

/// The request was admitted before the administrator lost rights. It restores the account to the state in which it was
/// admitted, with another attribute.
#[tokio::test]
async fn no_administrator_undoes_the_loss_of_its_own_rights() {
    for loss in Loss::ALL {
        let stack = Stack::start().await;
        let (admin, session) = admin(&stack).await;
        loss.happen(&stack, &admin, session).await;
        let now = administration(&stack).account(admin.id).await.unwrap();
        let requested = administration(&stack).on_behalf_of(Authority::of(&admin, session));
        let restore = |now: &Account| {
            let attributes = Attributes::parse(r#"{"restored":true}"#).unwrap();
            let Account { roles, standing, .. } = admin.clone();
            Ok((Account { roles, standing, attributes, ..now.clone() }, None))
        };
        let restored: Result<_, ChangeError> =
            requested.edit(admin.id, testkit::occasion_now, stack.peppers(), restore).await;
        let refused = restored.unwrap_err();
        assert_eq!((refused.kind(), refused.code()), loss.expected(), "{loss:?}: {refused:?}");
        assert_eq!(administration(&stack).account(admin.id).await.unwrap(), now);
    }
}

#[tokio::test]
async fn administrators_may_change_their_own_accounts() {
    let stack = Stack::start().await;
    let (admin, session) = admin(&stack).await;
    let roles = Roles::from_iter([Role::User]);
    let requested = administration(&stack).on_behalf_of(Authority::of(&admin, session));
    let changed = requested.set_roles(admin.id, &roles, testkit::occasion_now).await.unwrap();
    assert_eq!(changed.roles, roles);
}

/// Increments an attribute `racers` times concurrently. Returns the final number.
async fn count_concurrently(racers: usize, fault: Fault) -> u64 {
    let stack = Stack::start().await;
    let account = create(&stack, "testuser", &[Role::User]).await;
    // All racers read before any of them writes.
    let faults = Faults::together(racers, fault);
    let administration = Administration::new(&stack.users(), stack.faulty_client(&faults));
    let increment = async || {
        let edit = |account: &Account| {
            let count = account.attributes.get("count").and_then(serde_json::Value::as_u64);
            let next = format!(r#"{{"count":{}}}"#, count.unwrap_or_default() + 1);
            let attributes = Attributes::parse(&next).unwrap();
            Ok::<_, ChangeError>((Account { attributes, ..account.clone() }, None))
        };
        administration
            .edit(account.id, testkit::occasion_now, stack.peppers(), edit)
            .await
            .unwrap();
    };
    futures_util::future::join_all((0..racers).map(|_| increment())).await;
    let stored = administration.account(account.id).await.unwrap().unwrap();
    stored.attributes.get("count").and_then(serde_json::Value::as_u64).unwrap()
}

#[tokio::test]
async fn no_concurrent_change_is_lost() {
    assert_eq!(count_concurrently(3, Fault::None).await, 3);
}

#[tokio::test]
async fn without_the_condition_concurrent_changes_are_lost() {
    assert!(count_concurrently(3, Fault::Unconditional).await < 3);
}

#[tokio::test]
async fn a_change_of_address_claims_the_new_one_and_releases_the_old_one() {
    let stack = Stack::start().await;
    let account = create(&stack, "testuser", &[Role::User]).await;
    create(&stack, "other", &[Role::User]).await;
    let administration = administration(&stack);
    let email = |address: &str| Some(Email::parse(address).unwrap());
    let with = |account: &Account, email: Option<Email>| Account {
        email,
        email_standing: EmailStanding::Verified,
        ..account.clone()
    };
    let taken = with(&account, email("OTHER@example.com"));
    let taken = replace(&stack, &account, taken).await;
    assert!(matches!(taken, Err(ChangeError::EmailTaken)), "{taken:?}");
    let after = with(&account, email("new@example.com"));
    let account = replace(&stack, &account, after).await.unwrap();
    for (address, expected) in [("testuser@example.com", None), ("new@example.com", Some(&account))]
    {
        let address = email(address).unwrap();
        let found = administration.account_by_email(address.canonical()).await.unwrap();
        assert_eq!(found.as_ref(), expected);
    }
    let without = Account { email_standing: EmailStanding::Unverified, ..with(&account, None) };
    let account = replace(&stack, &account, without).await.unwrap();
    assert!(!keys(&stack.client()).await.contains("EMAIL#new@example.com CLAIM"));
    assert_eq!(administration.account(account.id).await.unwrap(), Some(account));
}

#[tokio::test]
async fn every_write_to_an_account_raises_its_revision() {
    let stack = Stack::start().await;
    let account = create(&stack, "testuser", &[Role::User]).await;
    let epochs = store::Epochs::new(&stack.users(), stack.client());
    epochs.raise(account.id, &testkit::occasion_now()).await.unwrap();
    let raised = administration(&stack).account(account.id).await.unwrap().unwrap();
    assert_eq!((raised.revision, raised.epoch), (Revision::new(2), SessionEpoch::new(2)));
    // A change that is based on the earlier state is refused.
    let changed = Account { standing: Standing::Disabled, ..account.clone() };
    let raced = replace(&stack, &account, changed).await;
    assert!(matches!(raced, Err(ChangeError::Raced)), "{raced:?}");
    // An edit that changes nothing is not written.
    let same = |account: &Account| Ok::<_, ChangeError>((account.clone(), None));
    let edited =
        administration(&stack).edit(account.id, testkit::occasion_now, stack.peppers(), same).await;
    assert_eq!(edited.unwrap().after, raised);
}

#[tokio::test]
async fn ending_the_sessions_of_an_account_is_recorded_even_if_it_is_disabled() {
    let stack = Stack::start().await;
    let mut account = create(&stack, "testuser", &[Role::User]).await;
    let mut expected = vec![Kind::Registered];
    for standing in [Standing::Active, Standing::Disabled] {
        if account.standing != standing {
            let disabled = Account { standing, ..account.clone() };
            account = replace(&stack, &account, disabled).await.unwrap();
            expected.push(Kind::Disabled);
        }
        let logged_out = Account { epoch: account.epoch.next(), ..account.clone() };
        account = replace(&stack, &account, logged_out).await.unwrap();
        expected.push(Kind::Logout { session_id: None });
    }
    let events = Events::new(&stack.users(), stack.client());
    let page = events.page(account.id, None, 100, SystemClock.now()).await.unwrap();
    let kinds: Vec<_> = page.events.into_iter().rev().map(|event| event.kind).collect();
    assert_eq!(kinds, expected);
}
