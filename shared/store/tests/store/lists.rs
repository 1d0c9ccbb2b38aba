//! Tests the lists of accounts.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use identity::{Account, Email, MailId, MailedFor, Role, Roles, Standing};
use jiff::SignedDuration;
use process::{Clock, SystemClock, SystemRandom};
use store::{
    AccountFilter, Administration, CODE_VALID_FOR, ChangeError, CodeRecord, Deletion, Deletions,
    Listings, Mailings, Position, Redeemed, Reindexing, Remains, StoreError, Stored, Unindexed,
    Verifications,
};
use testkit::{Fault, Faults, Stack};

use crate::{keys, new_account, registrations};

/// Creates accounts with these roles.
async fn create(stack: &Stack, prefix: &str, count: usize, roles: &[Role]) -> Vec<Account> {
    let mut accounts = Vec::new();
    for n in 0..count {
        let mut new = new_account(&format!("{prefix}-{n}"), None);
        new.roles = roles.iter().copied().collect();
        accounts.push(registrations(stack).create(new).await.unwrap());
    }
    accounts
}

fn listings(stack: &Stack) -> Listings {
    Listings::new(&stack.users(), stack.client())
}

/// The usernames on all pages. Fails if a username is repeated, or if a page is longer than `limit`.
async fn walk(listings: &Listings, filter: AccountFilter, limit: usize) -> BTreeSet<String> {
    let (mut names, mut position) = (BTreeSet::new(), Some(Position::default()));
    while let Some(from) = position {
        let page = listings.page(filter, from, limit).await.unwrap();
        assert!(page.accounts.len() <= limit);
        for account in page.accounts {
            assert!(
                names.insert(account.username.as_str().to_owned()),
                "{}",
                account.username.as_str()
            );
        }
        // A position can be serialized and parsed again.
        let written = page.next.map(|next| serde_json::to_string(&next).unwrap());
        position = written.map(|written| serde_json::from_str(&written).unwrap());
    }
    names
}

fn names(prefix: &str, count: usize) -> impl Iterator<Item = String> + use<> {
    let prefix = prefix.to_owned();
    (0..count).map(move |n| format!("{prefix}-{n}"))
}

#[tokio::test]
async fn a_walk_returns_each_account_exactly_once() {
    let stack = Stack::start().await;
    create(&stack, "user", 150, &[Role::User]).await;
    create(&stack, "both", 30, &[Role::User, Role::Admin]).await;
    let off = create(&stack, "off", 20, &[Role::User]).await;
    let administration = Administration::new(&stack.users(), stack.client());
    for account in &off {
        administration.disable(account.id, testkit::occasion_now).await.unwrap();
    }
    let listings = listings(&stack);
    let (active, disabled) = (Some(Standing::Active), Some(Standing::Disabled));
    for (role, standing, expected) in [
        (None, None, &[("user", 150), ("both", 30), ("off", 20)][..]),
        (Some(Role::User), None, &[("user", 150), ("both", 30), ("off", 20)]),
        (Some(Role::Admin), None, &[("both", 30)]),
        (Some(Role::SuperAdmin), None, &[]),
        (None, disabled, &[("off", 20)]),
        (None, active, &[("user", 150), ("both", 30)]),
        (Some(Role::Admin), active, &[("both", 30)]),
        (Some(Role::Admin), disabled, &[]),
        (Some(Role::User), disabled, &[("off", 20)]),
    ] {
        let filter = AccountFilter { role, standing };
        let expected: BTreeSet<_> =
            expected.iter().flat_map(|(prefix, count)| names(prefix, *count)).collect();
        for limit in [1, 7, 100] {
            assert_eq!(walk(&listings, filter, limit).await, expected, "{filter:?} {limit}");
        }
        assert_eq!(listings.count(filter).await.unwrap(), expected.len(), "{filter:?}");
    }
}

#[tokio::test]
async fn a_page_needs_a_bounded_number_of_strongly_consistent_reads() {
    let stack = Stack::start().await;
    for (total, added) in [(0, 0), (20, 20), (300, 280)] {
        create(&stack, &format!("to-{total}"), added, &[Role::User]).await;
        for (filter, limit) in [
            (AccountFilter::default(), 50),
            (AccountFilter { role: Some(Role::Admin), standing: None }, 50),
            (AccountFilter { role: Some(Role::User), standing: Some(Standing::Disabled) }, 1),
        ] {
            let faults = Faults::script(&[]);
            let listings = Listings::new(&stack.users(), stack.faulty_client(&faults));
            listings.page(filter, Position::default(), limit).await.unwrap();
            let operations = faults.operations();
            let count = |operation: &str| operations.iter().filter(|it| *it == operation).count();
            assert!(count("Query") <= 16 && count("BatchGetItem") <= 1, "{total}: {operations:?}");
            assert_eq!(count("Query") + count("BatchGetItem"), operations.len());
            for body in faults.bodies() {
                let read = body.get("RequestItems").map_or(&body, |items| &items["UsersTable"]);
                assert_eq!(read["ConsistentRead"], true, "{body}");
            }
        }
    }
}

/// If few accounts match, a page ends after it has examined a thousand accounts, and the next page continues.
#[tokio::test]
async fn a_page_examines_at_most_a_thousand_accounts() {
    let stack = Stack::start().await;
    create(&stack, "user", 1_100, &[Role::User]).await;
    let faults = Faults::script(&[]);
    let listings = Listings::new(&stack.users(), stack.faulty_client(&faults));
    let off = create(&stack, "off", 1, &[]).await.remove(0);
    let active = AccountFilter { role: None, standing: Some(Standing::Active) };
    let page = listings.page(active, Position::default(), 10_000).await.unwrap();
    assert_eq!((page.accounts.len(), page.next.is_some()), (1_000, true));
    let filter = AccountFilter { role: Some(Role::User), ..active };
    let administration = Administration::new(&stack.users(), stack.client());
    administration.disable(off.id, testkit::occasion_now).await.unwrap();
    assert_eq!(walk(&listings, filter, 100).await.len(), 1_100);
}

#[tokio::test]
async fn an_outage_is_reported_and_is_not_an_empty_page() {
    let stack = Stack::start().await;
    let throttled = Faults::always(Fault::Throttled);
    let listings = Listings::new(&stack.users(), stack.faulty_client(&throttled));
    let page = listings.page(AccountFilter::default(), Position::default(), 50).await;
    assert!(matches!(page, Err(StoreError::Dynamo(_))), "{page:?}");
}

/// Makes an account look as if an earlier version had created it: it is on no list, has no revision, and is not in the
/// set of super administrators.
async fn make_old(stack: &Stack, account: &Account) {
    for item in stack.items().await {
        let pk = item["pk"].as_s().unwrap();
        let is_entry = item["sk"].as_s().unwrap() == &account.id.to_string();
        if !is_entry && pk != "SUPER_ADMINS" {
            continue;
        }
        let delete = stack.client().delete_item().table_name("UsersTable");
        delete.key("pk", item["pk"].clone()).key("sk", item["sk"].clone()).send().await.unwrap();
    }
    stack
        .client()
        .update_item()
        .table_name("UsersTable")
        .key("pk", AttributeValue::S(format!("USER#{}", account.id)))
        .key("sk", AttributeValue::S("ACCOUNT".to_owned()))
        .update_expression("REMOVE revision")
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn accounts_of_earlier_versions_are_listed_after_reindexing() {
    let stack = Stack::start().await;
    let one = create(&stack, "one", 1, &[Role::SuperAdmin]).await.remove(0);
    let other = create(&stack, "other", 1, &[Role::User, Role::SuperAdmin]).await.remove(0);
    let complete = keys(&stack.client()).await;
    for account in [&one, &other] {
        make_old(&stack, account).await;
    }
    let administration = Administration::new(&stack.users(), stack.client());
    let demoted = Roles::from_iter([Role::User]);
    // The set is incomplete, so this account could be the last super administrator.
    let early = administration.set_roles(one.id, &demoted, testkit::occasion_now).await;
    assert!(matches!(early, Err(ChangeError::LastSuperAdmin)), "{early:?}");
    let reindexing = Reindexing::new(&stack.users(), stack.client());
    for _ in 0..2 {
        assert_eq!(reindex(&reindexing).await, 2);
        assert_eq!(keys(&stack.client()).await, complete);
    }
    let stale = administration.account(one.id).await.unwrap().unwrap();
    administration.set_roles(one.id, &demoted, testkit::occasion_now).await.unwrap();
    let late = administration.set_roles(other.id, &demoted, testkit::occasion_now).await;
    assert!(matches!(late, Err(ChangeError::LastSuperAdmin)), "{late:?}");
    // An account that has changed since it was read is not indexed with its old roles.
    assert!(!reindexing.index(&stale, &BTreeSet::new()).await.unwrap());
}

/// Reindexes a small table, as the command does. Returns the number of accounts.
async fn reindex(reindexing: &Reindexing) -> usize {
    let super_admins = reindexing.super_admins().await.unwrap();
    let Unindexed { accounts, codes, deleted, unreadable, next } =
        reindexing.scan(None).await.unwrap();
    assert_eq!((deleted, unreadable, next.is_none()), (Vec::new(), 0, true));
    for account in &accounts {
        assert!(reindexing.index(account, &super_admins).await.unwrap());
    }
    for code in codes {
        reindexing.link(code).await.unwrap();
    }
    reindexing.forget_deleted().await.unwrap();
    accounts.len()
}

/// Gives an account the role `user` instead of its roles, as a version that maintains no lists does.
async fn demote(stack: &Stack, account: &Account) {
    let key = |name: &str| AttributeValue::S(name.to_owned());
    stack
        .client()
        .update_item()
        .table_name("UsersTable")
        .key("pk", key(&format!("USER#{}", account.id)))
        .key("sk", key("ACCOUNT"))
        .update_expression("SET #roles = :roles")
        .expression_attribute_names("#roles", "roles")
        .expression_attribute_values(":roles", AttributeValue::L(vec![key("user")]))
        .send()
        .await
        .unwrap();
}

async fn delete(stack: &Stack, account: &Account) {
    let deletion = Deletion {
        occasion: &testkit::occasion_now(),
        tagger: stack.peppers(),
        quarantine: SignedDuration::from_hours(1),
        admin: None,
        known_under: &|_| Vec::new(),
    };
    let deletions = Deletions::new(&stack.users(), stack.client());
    let deleted = deletions.delete::<ChangeError>(account.id, &deletion, |_| Ok(())).await;
    deleted.unwrap();
}

/// Concurrent writes to one item conflict, so the set must not be part of every transaction.
#[tokio::test]
async fn reindexing_an_ordinary_account_does_not_write_the_set_of_super_administrators() {
    let stack = Stack::start().await;
    let ordinary = create(&stack, "user", 1, &[Role::User]).await.remove(0);
    let super_admin = create(&stack, "super", 1, &[Role::SuperAdmin]).await.remove(0);
    for (account, expected) in [(&ordinary, false), (&super_admin, true)] {
        let faults = Faults::script(&[]);
        let reindexing = Reindexing::new(&stack.users(), stack.faulty_client(&faults));
        let super_admins = BTreeSet::from([super_admin.id]);
        assert!(reindexing.index(account, &super_admins).await.unwrap());
        let transaction = faults.bodies().remove(0).to_string();
        assert_eq!(transaction.contains("SUPER_ADMINS"), expected, "{transaction}");
    }
}

/// Nothing else would find these entries once the account is gone.
#[tokio::test]
async fn a_deletion_removes_the_account_from_lists_of_roles_that_it_no_longer_has() {
    let stack = Stack::start().await;
    let one = create(&stack, "one", 1, &[Role::SuperAdmin]).await.remove(0);
    let other = create(&stack, "other", 1, &[Role::Admin, Role::SuperAdmin]).await.remove(0);
    demote(&stack, &other).await;
    delete(&stack, &other).await;
    let keys = keys(&stack.client()).await;
    let id = other.id.to_string();
    assert!(!keys.iter().any(|key| key.contains("LIST#") && key.contains(&id)), "{keys:?}");
    // The set still contains the id, so it must not count as another super administrator.
    let reindexing = Reindexing::new(&stack.users(), stack.client());
    assert_eq!(reindexing.super_admins().await.unwrap(), BTreeSet::from([one.id, other.id]));
    reindex(&reindexing).await;
    assert_eq!(reindexing.super_admins().await.unwrap(), BTreeSet::from([one.id]));
    let administration = Administration::new(&stack.users(), stack.client());
    let demoted = Roles::from_iter([Role::User]);
    let last = administration.set_roles(one.id, &demoted, testkit::occasion_now).await;
    assert!(matches!(last, Err(ChangeError::LastSuperAdmin)), "{last:?}");
}

/// Confirms an address as a version that wrote no pointers did. Returns the key of the code.
async fn confirm_without_pointer(stack: &Stack, account: &Account) -> String {
    let now = SystemClock.now();
    let code = CodeRecord {
        mail: MailId::new(now, &SystemRandom),
        purpose: MailedFor::EmailVerification,
        user: account.id,
        epoch: account.epoch,
        address: Email::parse("owner@example.com").unwrap(),
        pepper: "p".to_owned(),
        expires_at: now + CODE_VALID_FOR,
    };
    let (users, client) = (stack.users(), stack.client());
    let stored = Mailings::new(&users, client.clone()).store(&code).await.unwrap();
    assert_eq!(stored, Stored::Done);
    let verifications = Verifications::new(&users, client.clone());
    let occasion = testkit::occasion(now);
    let used = verifications.verify(&code, account, stack.peppers(), None, &occasion).await;
    assert_eq!(used.unwrap(), Redeemed::Done);
    let delete = client.delete_item().table_name("UsersTable");
    let delete = delete.key("pk", AttributeValue::S(format!("CODES#{}", account.id)));
    delete.key("sk", AttributeValue::S(format!("CODE#{}", code.mail))).send().await.unwrap();
    format!("CODE#{} CODE", code.mail)
}

/// Such a code contains the address and never expires.
#[tokio::test]
async fn a_used_code_of_an_earlier_version_is_deleted_with_its_account_after_reindexing() {
    for is_reindexed in [true, false] {
        let stack = Stack::start().await;
        let account = registrations(&stack).create(new_account("owner", None)).await.unwrap();
        let code = confirm_without_pointer(&stack, &account).await;
        let reindexing = Reindexing::new(&stack.users(), stack.client());
        if is_reindexed {
            reindex(&reindexing).await;
            assert!(keys(&stack.client()).await.contains(&code));
        }
        let current = Administration::new(&stack.users(), stack.client());
        let current = current.account(account.id).await.unwrap().unwrap();
        delete(&stack, &current).await;
        assert_eq!(keys(&stack.client()).await.contains(&code), !is_reindexed);
        // If the account no longer exists, reindexing deletes the code.
        reindex(&reindexing).await;
        assert!(!keys(&stack.client()).await.contains(&code));
    }
}

/// A mailer of an earlier version does not postpone deletions, so no later record of the stream names their remains.
#[tokio::test]
async fn reindexing_finds_the_remains_of_deleted_accounts() {
    let stack = Stack::start().await;
    let account = create(&stack, "user", 1, &[Role::User]).await.remove(0);
    let deletions = Deletions::new(&stack.users(), stack.client());
    deletions.postpone(&Remains::of(account.id)).await.unwrap();
    let reindexing = Reindexing::new(&stack.users(), stack.client());
    assert_eq!(reindexing.scan(None).await.unwrap().deleted, [account.id]);
}

#[tokio::test]
async fn an_item_that_cannot_be_read_does_not_prevent_reindexing_the_others() {
    let stack = Stack::start().await;
    let accounts = create(&stack, "user", 2, &[Role::User]).await;
    confirm_without_pointer(&stack, &accounts[0]).await;
    let reindexing = Reindexing::new(&stack.users(), stack.client());
    let part = |value: String| AttributeValue::S(value);
    for (pk, sk) in [
        (format!("USER#{}", accounts[1].id), "ACCOUNT"),
        (format!("CODE#{}", MailId::new(SystemClock.now(), &SystemRandom)), "CODE"),
    ] {
        let put = stack.client().put_item().table_name("UsersTable");
        let put = put.item("pk", part(pk)).item("sk", part(sk.to_owned()));
        put.item("purpose", part("of a newer version".to_owned())).send().await.unwrap();
    }
    let Unindexed { accounts: found, codes, unreadable, .. } = reindexing.scan(None).await.unwrap();
    let ids: Vec<_> = found.iter().map(|account| account.id).collect();
    assert_eq!((ids, codes.len(), unreadable), (vec![accounts[0].id], 1, 2));
}

/// The account was demoted by a version that maintains no lists.
#[tokio::test]
async fn reindexing_removes_an_account_from_lists_of_roles_that_it_no_longer_has() {
    let stack = Stack::start().await;
    let one = create(&stack, "one", 1, &[Role::SuperAdmin]).await.remove(0);
    let other = create(&stack, "other", 1, &[Role::SuperAdmin]).await.remove(0);
    let user = create(&stack, "user", 1, &[Role::User]).await.remove(0);
    demote(&stack, &other).await;
    reindex(&Reindexing::new(&stack.users(), stack.client())).await;
    let keys = keys(&stack.client()).await;
    let lists = |account: &Account| {
        let id = account.id.to_string();
        keys.iter().filter(|key| key.starts_with("LIST#") && key.ends_with(&id)).count()
    };
    assert_eq!((lists(&one), lists(&other), lists(&user)), (2, 1, 1));
    let administration = Administration::new(&stack.users(), stack.client());
    let demoted = Roles::from_iter([Role::User]);
    let last = administration.set_roles(one.id, &demoted, testkit::occasion_now).await;
    assert!(matches!(last, Err(ChangeError::LastSuperAdmin)), "{last:?}");
}
