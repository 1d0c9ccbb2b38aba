//! Tests that no write leaves an item behind for a deleted account.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use events::{Event, Kind};
use identity::{Account, Authentication, MailId, Method, Presented, SessionEpoch, SessionId};
use jiff::SignedDuration;
use process::{Clock, Env, SystemClock, SystemRandom};
use serde_json::Value;
use store::{
    ChangeError, Deletion, Deletions, Endings, Epochs, Events, Grace, KnownNetworks, Logins,
    NewSession, Refreshed, Rotation, Rotations, StepUps, StoreError,
};
use testkit::{Fault, Faults, Interceptor, Stack, occasion_now};

use crate::{new_account, registrations};

struct Bench {
    stack: Stack,
    account: Account,
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let account = new_account("testuser", Some("testuser@example.com"));
        let account = registrations(&stack).create(account).await.unwrap();
        Self { stack, account }
    }

    /// Deletes the account. `faults` apply to the requests.
    async fn delete(&self, faults: &Faults) -> Result<(), ChangeError> {
        let deletions = Deletions::new(&self.stack.users(), self.stack.faulty_client(faults));
        let deletion = Deletion {
            occasion: &occasion_now(),
            tagger: self.stack.peppers(),
            quarantine: SignedDuration::from_hours(1),
            admin: None,
            known_under: &|_| vec!["name".to_owned()],
        };
        deletions.delete(self.account.id, &deletion, |_| Ok(())).await.map(drop)
    }

    /// A bench whose account has been deleted. Only the event that reports the deletion is left.
    async fn deleted() -> Self {
        let bench = Self::start().await;
        bench.delete(&Faults::script(&[])).await.unwrap();
        assert_eq!(bench.left().await, only_the_deletion());
        bench
    }

    /// The items of the account: the kinds of its events, and the sort keys of its other items.
    async fn left(&self) -> BTreeSet<String> {
        let id = self.account.id.to_string();
        let items = self.stack.items().await.into_iter();
        let left = items.filter(|item| {
            let pk = item["pk"].as_s().unwrap();
            pk.ends_with(&id) || pk.starts_with("KNOWN#")
        });
        let name = |item: HashMap<String, AttributeValue>| {
            item.get("kind").unwrap_or(&item["sk"]).as_s().unwrap().clone()
        };
        left.map(name).collect()
    }

    fn event(&self, kind: Kind) -> Event {
        occasion_now().event(self.account.id, kind)
    }

    fn logins(&self, faults: &Faults) -> Logins {
        let client = self.stack.faulty_client(faults);
        Logins::new(&self.stack.users(), client, self.stack.limits())
    }

    async fn begin(&self, faults: &Faults) -> Result<SessionId, StoreError> {
        let session = self.stack.new_session(self.account.epoch);
        let begun = self.logins(faults).begin(self.account.id, session, &[]).await;
        begun.map(|session| session.id)
    }

    /// Begins a session while `operation` fails on items whose sort key begins with `item`.
    async fn begin_with(
        &self,
        operation: &'static str,
        item: &'static str,
        fault: Fault,
    ) -> Result<SessionId, StoreError> {
        let interceptor = Interceptor::of(&self.stack).await;
        interceptor.fail_when(move |call| {
            let fails = call.operation == operation && call.sort_key().starts_with(item);
            if fails { fault } else { Fault::None }
        });
        let env = interceptor.env(&self.stack, &[]);
        let client = dynamo::connect(&env.settings::<dynamo::Config>().unwrap());
        let logins = Logins::new(&self.stack.users(), client, self.stack.limits());
        let session = self.stack.new_session(self.account.epoch);
        let begun = logins.begin(self.account.id, session, &[]).await;
        begun.map(|session| session.id)
    }

    async fn note_failure(&self, faults: &Faults) {
        self.note_failure_of(&presented(), faults).await;
    }

    /// Records a failed login to the account with this name.
    async fn note_failure_of(&self, presented: &Presented, faults: &Faults) {
        let failed = self.event(Kind::LoginFailed);
        self.logins(faults).note(Some(self.account.id), presented, &failed).await;
    }

    /// Waits until the request that reads the account is held, and then releases it. Returns what was left of the
    /// account before the read.
    async fn left_before_read(&self, faults: &Faults) -> BTreeSet<String> {
        faults.held().await;
        assert!(faults.operations().iter().any(|operation| operation == "GetItem"));
        let left = self.left().await;
        faults.release();
        left
    }

    async fn record_export(&self, fault: Fault) -> Result<(), StoreError> {
        // The first request reads the event.
        let client = self.stack.faulty_client(&Faults::script(&[Fault::None, fault]));
        let exported = self.event(Kind::Exported);
        Events::new(&self.stack.users(), client)
            .record(self.account.id, &exported, exported.id)
            .await
    }
}

fn presented() -> Presented {
    Presented::parse("testuser").unwrap()
}

fn only_the_deletion() -> BTreeSet<String> {
    BTreeSet::from(["deleted".to_owned()])
}

/// The session is stored first. Then the login reads the account, and deletes the session if there is no account.
#[tokio::test]
async fn a_login_that_races_a_deletion_leaves_no_session() {
    let bench = Bench::deleted().await;
    let faults = Faults::held_at(2);
    let (begun, before) =
        futures_util::join!(bench.begin(&faults), bench.left_before_read(&faults));
    let is_session = |key: &String| key.starts_with("SESSION#");
    assert!(before.iter().any(is_session) && before.contains("login"), "{before:?}");
    assert!(matches!(begun, Err(StoreError::Raced)), "{begun:?}");
    assert_eq!(bench.left().await, only_the_deletion());
}

/// The deletion of the account may be over, so nothing else would delete what the login has written.
#[tokio::test]
async fn a_login_that_fails_leaves_nothing_even_if_the_account_has_been_deleted() {
    for (operation, fault) in
        [("GetItem", Fault::AccessDenied), ("TransactWriteItems", Fault::LostAnswer)]
    {
        for bench in [Bench::start().await, Bench::deleted().await] {
            let before = bench.left().await;
            let begun = bench.begin_with(operation, "", fault).await;
            assert!(matches!(begun, Err(StoreError::Dynamo(_))), "{operation}: {begun:?}");
            assert_eq!(bench.left().await, before, "{operation}");
        }
    }
    // If the session cannot be deleted, the event still is, and the other way round.
    for (item, left) in [("SESSION#", "login"), ("EVENT#", "SESSION#")] {
        let bench = Bench::deleted().await;
        let begun = bench.begin_with("DeleteItem", item, Fault::AccessDenied).await;
        assert!(matches!(begun, Err(StoreError::Raced)), "{item}: {begun:?}");
        let all = bench.left().await;
        assert!(all.len() == 2 && !all.iter().any(|key| key.starts_with(left)), "{all:?}");
    }
}

/// A login must not make a concurrent change by an administrator fail, and frequent logins must not write the account
/// each time.
#[tokio::test]
async fn logins_update_the_account_at_most_every_ten_seconds_and_keep_its_revision() {
    let bench = Bench::start().await;
    let administration = store::Administration::new(&bench.stack.users(), bench.stack.client());
    let first = bench.stack.new_session(bench.account.epoch).created_at;
    let first = jiff::Timestamp::from_millisecond(first.as_millisecond()).unwrap();
    for (after, expected) in [(0, 0), (9, 0), (10, 10)] {
        let created_at = first + SignedDuration::from_secs(after);
        let session = NewSession { created_at, ..bench.stack.new_session(bench.account.epoch) };
        bench.stack.logins().begin(bench.account.id, session, &[]).await.unwrap();
        let stored = administration.account(bench.account.id).await.unwrap().unwrap();
        let last_login_at = Some(first + SignedDuration::from_secs(expected));
        assert_eq!(stored, Account { last_login_at, ..bench.account.clone() }, "{after} s");
    }
}

#[tokio::test]
async fn a_failed_login_leaves_no_event_of_a_deleted_account() {
    let bench = Bench::deleted().await;
    bench.note_failure(&Faults::script(&[])).await;
    assert_eq!(bench.left().await, only_the_deletion());
    let bench = Bench::start().await;
    bench.note_failure(&Faults::script(&[])).await;
    assert!(bench.left().await.contains("login_failed"));
}

#[tokio::test]
async fn without_the_condition_a_failed_login_leaves_an_event_of_a_deleted_account() {
    let bench = Bench::deleted().await;
    bench.note_failure(&Faults::script(&[Fault::Unconditional])).await;
    assert!(bench.left().await.contains("login_failed"));
}

/// Each part of each transaction: its operation and its body.
fn parts(faults: &Faults) -> Vec<(String, Value)> {
    let request = |body: Value| {
        let parts = body["TransactItems"].as_array().unwrap().clone();
        parts.into_iter().flat_map(|it| it.as_object().unwrap().clone()).collect::<Vec<_>>()
    };
    faults.bodies().into_iter().flat_map(request).collect()
}

/// The primary key of the item that a part of a transaction concerns.
fn key(part: &Value) -> (String, String) {
    let key = part.get("Key").unwrap_or(&part["Item"]);
    let of = |name: &str| key[name]["S"].as_str().unwrap().to_owned();
    (of("pk"), of("sk"))
}

/// Each part of each request: its operation, the length and the prefix of its key, and whether it has a condition.
fn shape(faults: &Faults) -> Vec<String> {
    let shape = |(operation, part): (String, Value)| {
        let (pk, _) = key(&part);
        let has_condition = part.get("ConditionExpression").is_some();
        format!("{operation} {} {} {has_condition}", pk.split('#').next().unwrap(), pk.len())
    };
    parts(faults).into_iter().map(shape).collect()
}

/// Two concurrent transactions that concern the same item conflict, and the conflict delays the responses.
#[tokio::test]
async fn concurrent_failures_do_not_reveal_which_names_belong_to_one_account() {
    let bench = Bench::start().await;
    let faults = Faults::script(&[]);
    for name in ["testuser", "testuser@example.com"] {
        bench.note_failure_of(&Presented::parse(name).unwrap(), &faults).await;
    }
    let parts = parts(&faults);
    let keys: BTreeSet<_> = parts.iter().map(|(_, part)| key(part)).collect();
    assert_eq!((keys.len(), parts.len()), (4, 4), "{keys:?}");
}

/// If the requests differed, the response time could reveal which names have an account.
#[tokio::test]
async fn a_failed_login_makes_the_same_requests_with_and_without_an_account() {
    let bench = Bench::start().await;
    for name in ["testuser", "testuser@example.com"] {
        let presented = Presented::parse(name).unwrap();
        let [with, without] = [Faults::script(&[]), Faults::script(&[])];
        bench.note_failure_of(&presented, &with).await;
        bench.logins(&without).note(None, &presented, &bench.event(Kind::LoginFailed)).await;
        assert_eq!((shape(&with).len(), shape(&with)), (2, shape(&without)));
    }
    // Without an account, the item contains only its key and an expiry time that has passed.
    let decoys = async || {
        let items = bench.stack.items().await.into_iter();
        items.filter(|item| item["sk"].as_s().unwrap() == "DECOY").collect::<Vec<_>>()
    };
    let decoy = decoys().await.remove(0);
    let members: BTreeSet<_> = decoy.keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["expires_at", "pk", "sk"]));
    bench.stack.remove_expired().await;
    assert!(decoys().await.is_empty());
}

#[tokio::test]
async fn no_event_of_a_deleted_account_is_recorded() {
    let bench = Bench::deleted().await;
    let recorded = bench.record_export(Fault::None).await;
    assert!(matches!(recorded, Err(StoreError::Absent)), "{recorded:?}");
    assert_eq!(bench.left().await, only_the_deletion());
    Bench::start().await.record_export(Fault::None).await.unwrap();
}

#[tokio::test]
async fn without_the_condition_an_event_of_a_deleted_account_is_recorded() {
    let bench = Bench::deleted().await;
    bench.record_export(Fault::Unconditional).await.unwrap();
    assert!(bench.left().await.contains("exported"));
}

/// How a session ends while its account is being deleted.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Logout,
    Reuse,
}

/// Ends a session while its account is being deleted: after the deletion has listed the items to delete, but before it
/// deletes the session. Returns what is left of the account.
async fn end_during_deletion(ending: Ending, fault: Fault) -> BTreeSet<String> {
    let bench = Bench::start().await;
    let (user, users, limits) = (bench.account.id, bench.stack.users(), bench.stack.limits());
    let session = bench.begin(&Faults::script(&[])).await.unwrap();
    let (now, occasion) = (SystemClock.now(), occasion_now());
    let grace = Env::default().settings::<Grace>().unwrap();
    let notice = MailId::new(now, &SystemRandom);
    let rotation = Rotation { user, session, counter: 0, pepper: "p", notice, occasion: &occasion };
    let rotations = Rotations::new(&users, bench.stack.client(), limits, grace);
    rotations.refresh(rotation, now).await.unwrap();
    // The deletion reads the account, and then sends three queries and the transaction. Then it reads the account again,
    // lists the items in its partition, and deletes them: two events and the session.
    let deletion = Faults::held_at(9);
    let delete = bench.delete(&deletion);
    let end = async {
        deletion.held().await;
        let operations = deletion.operations();
        assert_eq!((&*operations[4], &*operations[9]), ("TransactWriteItems", "DeleteItem"));
        let held = deletion.bodies()[9]["Key"]["sk"]["S"].as_str().unwrap().to_owned();
        assert_eq!(held, format!("SESSION#{session}"));
        match ending {
            Ending::Logout => {
                let client = bench.stack.faulty_client(&Faults::script(&[fault]));
                assert!(Endings::new(&users, client).end(user, session, &occasion).await.unwrap());
            }
            Ending::Reuse => {
                let client = bench.stack.faulty_client(&Faults::script(&[Fault::None, fault]));
                let rotations = Rotations::new(&users, client, limits, grace);
                let later = now + SignedDuration::from_mins(1);
                let refreshed = rotations.refresh(rotation, later).await.unwrap();
                assert_eq!(refreshed, Refreshed::Reused);
            }
        }
        deletion.release();
    };
    let (deleted, ()) = futures_util::join!(delete, end);
    deleted.unwrap();
    bench.left().await
}

#[tokio::test]
async fn a_session_that_ends_while_its_account_is_deleted_leaves_no_event() {
    for ending in [Ending::Logout, Ending::Reuse] {
        let left = end_during_deletion(ending, Fault::None).await;
        assert_eq!(left, only_the_deletion(), "{ending:?}");
    }
}

#[tokio::test]
async fn without_the_condition_a_session_that_ends_while_its_account_is_deleted_leaves_an_event() {
    for (ending, event) in [(Ending::Logout, "logout"), (Ending::Reuse, "refresh_reuse")] {
        let left = end_during_deletion(ending, Fault::Unconditional).await;
        assert!(left.contains(event), "{ending:?}: {left:?}");
    }
}

#[tokio::test]
async fn no_other_write_to_a_deleted_account_leaves_an_item() {
    let bench = Bench::deleted().await;
    let (users, client, user) = (bench.stack.users(), bench.stack.client(), bench.account.id);
    let (now, occasion) = (SystemClock.now(), occasion_now());
    let session = SessionId::new(&SystemRandom);
    let raised = Epochs::new(&users, client.clone()).raise(user, &occasion).await;
    assert!(matches!(raised, Err(StoreError::Absent)), "{raised:?}");
    let networks = KnownNetworks::new(&users, client.clone());
    assert!(!networks.record(&bench.account, &["name"], "network", now).await.unwrap());
    let authentication = Authentication { at: now, methods: Method::Password.into() };
    let step_ups = StepUps::new(&users, client.clone());
    let recorded = step_ups.record(user, session, SessionEpoch::FIRST, &authentication).await;
    assert_eq!(recorded.unwrap(), None);
    assert!(!Endings::new(&users, client).end(user, session, &occasion).await.unwrap());
    assert_eq!(bench.left().await, only_the_deletion());
}
