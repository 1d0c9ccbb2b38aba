//! Tests how long the public keys are cached, and when they are read again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use auth::{Algorithm, GlobalEpoch, KeyError, KeySource};
use events::Event;
use futures_util::future::join_all;
use issuer::SigningKeys;
use jiff::SignedDuration;
use keys::{Config, KeysError, KeysTable, PublishedKey, TableKeys};
use process::{Clock, Env, Fault as _, FaultKind, SystemClock, SystemRandom};
use testkit::{Fault, Faults, Stack, TestClock};

/// A fault that the SDK does not retry, so that each read makes one request.
const FAULT: Fault = Fault::AccessDenied;

struct Bench {
    stack: Stack,
    faults: Faults,
    clock: TestClock,
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        Self { stack, faults: Faults::script(&[]), clock: TestClock::default() }
    }

    async fn open(&self) -> TableKeys {
        let client = self.stack.faulty_client(&self.faults);
        TableKeys::open(&config("KeysTable"), client, Arc::new(self.clock.clone())).await
    }

    fn wait(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    /// Makes every later read fail.
    fn fail(&self) {
        self.faults.then(&[FAULT; 100]);
    }

    fn recover(&self) {
        self.faults.then(&[]);
    }

    fn kid(&self) -> &str {
        self.stack.forge().kid()
    }

    async fn publish(&self, keys: &SigningKeys) {
        let published_at = self.clock.now();
        let keys: Vec<_> = keys
            .public()
            .map(|(jwk, state)| PublishedKey { jwk, state, published_at, not_after: None })
            .collect();
        let table = self.stack.keys_table();
        let seen = table.record().await.unwrap();
        table.publish(&seen, &keys, "a version", None).await.unwrap();
    }
}

fn config(table: &str) -> Config {
    Env::from_iter([("KEYS_TABLE", table)]).settings::<Config>().unwrap()
}

async fn has(keys: &TableKeys, kid: &str) -> Result<bool, KeyError> {
    Ok(keys.key(kid).await?.is_some())
}

#[tokio::test]
async fn the_key_set_is_read_once_at_startup_and_cached() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    assert_eq!(bench.faults.requests(), 1);
    assert_eq!(bench.faults.bodies()[0]["ConsistentRead"], true);
    for _ in 0..299 {
        bench.wait(1);
        assert_eq!(has(&keys, bench.kid()).await, Ok(true));
        assert!(!keys.set().await.unwrap().is_empty());
    }
    assert_eq!(bench.faults.requests(), 1);
    bench.wait(1);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
    assert_eq!(bench.faults.requests(), 2);
}

#[tokio::test]
async fn concurrent_requests_share_a_read() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    bench.wait(300);
    let all = join_all((0..20).map(|_| has(&keys, bench.kid()))).await;
    assert!(all.iter().all(|found| *found == Ok(true)));
    let all = join_all((0..20).map(|_| has(&keys, "unknown"))).await;
    assert!(all.iter().all(|found| *found == Ok(false)));
    assert_eq!(bench.faults.requests(), 2);
}

#[tokio::test]
async fn unknown_kids_cause_at_most_one_read_every_ten_seconds() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    for n in 0..10_000 {
        assert_eq!(has(&keys, &format!("invented-{n}")).await, Ok(false));
    }
    assert_eq!(bench.faults.requests(), 1, "the read at startup was less than ten seconds ago");
    for second in 1..=100 {
        bench.wait(1);
        for n in 0..100 {
            assert_eq!(has(&keys, &format!("invented-{second}-{n}")).await, Ok(false));
        }
    }
    assert_eq!(bench.faults.requests(), 1 + 10);
}

#[tokio::test]
async fn a_new_key_is_known_within_ten_seconds() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    let new = SigningKeys::generate(Algorithm::EdDsa, "new", &SystemRandom);
    let kid = new.active().unwrap().kid().to_owned();
    bench.publish(&new).await;
    bench.wait(9);
    assert_eq!(has(&keys, &kid).await, Ok(false));
    bench.wait(1);
    assert_eq!(has(&keys, &kid).await, Ok(true));
    assert_eq!(
        has(&keys, bench.kid()).await,
        Ok(false),
        "a key that is no longer published is unknown"
    );
}

#[tokio::test]
async fn while_reads_fail_the_old_set_is_served_until_it_is_ten_minutes_old() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    bench.fail();
    bench.wait(300);
    for second in 300..600 {
        assert_eq!(has(&keys, bench.kid()).await, Ok(true), "{second} s");
        bench.wait(1);
    }
    assert_eq!(bench.faults.requests(), 1 + 30, "one attempt every ten seconds");
    assert_eq!(has(&keys, bench.kid()).await, Err(KeyError));
    assert_eq!(keys.set().await.unwrap_err(), KeyError);
    assert_eq!(KeyError.kind(), FaultKind::Unavailable);
    bench.recover();
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
    bench.fail();
    bench.wait(299);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true), "fresh again");
}

#[tokio::test]
async fn a_failed_read_for_an_unknown_kid_does_not_change_the_set() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    bench.fail();
    bench.wait(10);
    assert_eq!(has(&keys, "unknown").await, Ok(false));
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
    assert_eq!(bench.faults.requests(), 2);
}

/// A failed read fails only the requests that waited for it.
#[tokio::test]
async fn after_a_cold_start_with_one_failed_read_the_next_request_is_answered() {
    let bench = Bench::start().await;
    bench.faults.then(&[FAULT]);
    let keys = bench.open().await;
    assert_eq!(bench.faults.requests(), 1);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true), "without a pause");
    assert_eq!(keys.epoch().await, Ok(GlobalEpoch::NEVER_RAISED));
    assert!(!keys.set().await.unwrap().is_empty());
    assert_eq!(bench.faults.requests(), 2);
}

#[tokio::test]
async fn without_a_key_set_every_request_reads_until_one_succeeds() {
    let bench = Bench::start().await;
    bench.fail();
    let keys = bench.open().await;
    for requests in 2..=4 {
        assert_eq!(has(&keys, bench.kid()).await, Err(KeyError));
        assert_eq!(bench.faults.requests(), requests);
    }
    bench.recover();
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
}

#[tokio::test]
async fn setting_the_clock_back_neither_preserves_old_keys_nor_stops_reads() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    bench.wait(-3600);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true), "the old set is served");
    bench.wait(10);
    assert_eq!(has(&keys, "unknown").await, Ok(false));
    assert_eq!(bench.faults.requests(), 2, "ten seconds later, an unknown kid causes a read");
    bench.fail();
    bench.wait(-3600);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
    bench.wait(600);
    assert_eq!(has(&keys, bench.kid()).await, Err(KeyError), "the old set is not served forever");
}

#[tokio::test]
async fn setting_the_clock_far_ahead_causes_one_read() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    bench.wait(1_000_000_000);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
    assert_eq!(bench.faults.requests(), 2);
}

#[tokio::test]
async fn a_missing_or_invalid_key_set_is_an_outage() {
    let bench = Bench::start().await;
    let client = bench.stack.client();
    let published = async |table: &str| {
        KeysTable::new(table, bench.stack.client()).published(SystemClock.now()).await
    };
    let read = published("NoSuchTable").await.unwrap_err();
    assert_eq!(read.kind(), FaultKind::Internal, "a wrong table name is a defect");
    let entry = |jwk: &str| {
        format!(r#"[{{"jwk":{jwk},"state":"active","published_at":"2026-01-01T00:00:00Z"}}]"#)
    };
    for (jwks, expected) in [
        (None, "no key set has been published"),
        (Some("not JSON".to_owned()), "the published key set is malformed"),
        (Some(entry(r#"{"kty":"oct","k":"AAAA","kid":"a"}"#)), "the published key set is invalid"),
    ] {
        let mut put = client.put_item().table_name("KeysTable").item("pk", text("KEY_SET"));
        if let Some(jwks) = jwks {
            put = put.item("jwks", text(&jwks));
        }
        put.send().await.unwrap();
        let error: KeysError = published("KeysTable").await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind()), (expected, FaultKind::Unavailable));
        let keys = bench.open().await;
        assert_eq!(has(&keys, bench.kid()).await, Err(KeyError));
    }
    client.delete_item().table_name("KeysTable").key("pk", text("KEY_SET")).send().await.unwrap();
    assert!(matches!(published("KeysTable").await, Err(KeysError::Unpublished)));
    let keys = bench.open().await;
    assert_eq!(has(&keys, bench.kid()).await, Err(KeyError));
    bench.publish(bench.stack.forge().keys()).await;
    assert_eq!(has(&keys, bench.kid()).await, Ok(true), "published in the meantime");
}

fn text(text: &str) -> aws_sdk_dynamodb::types::AttributeValue {
    aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned())
}

#[tokio::test]
async fn a_published_set_round_trips_without_private_members() {
    let bench = Bench::start().await;
    let read = bench.stack.keys_table().published(SystemClock.now()).await.unwrap();
    assert_eq!(read.set.as_jwks(), bench.stack.forge().public().as_jwks());
    let items = bench.stack.client().scan().table_name("KeysTable").send().await.unwrap();
    let is_set = |item: &&std::collections::HashMap<_, _>| item["pk"] == text("KEY_SET");
    assert_eq!(items.items().iter().filter(is_set).count(), 1);
    assert!(!format!("{items:?}").contains(r#"\"d\""#));
}

/// If two writers have read the same set, only one of them can publish. The other must read again.
#[tokio::test]
async fn only_the_key_set_that_was_read_can_be_replaced() {
    let bench = Bench::start().await;
    let table = bench.stack.keys_table();
    let seen = table.record().await.unwrap();
    table.publish(&seen, &seen.keys, "one", None).await.unwrap();
    let late = table.publish(&seen, &[], "two", None).await;
    assert!(matches!(late, Err(KeysError::Conflict)), "{late:?}");
    assert_eq!(table.record().await.unwrap().version, "one");
    // The event of a refused publication is not recorded either.
    let event = Event::of_keys(SystemClock.now(), &SystemRandom, "a-key");
    let items = async || {
        let scan = bench.stack.client().scan().table_name("KeysTable").consistent_read(true);
        scan.send().await.unwrap().count()
    };
    let before = items().await;
    let late = table.publish(&seen, &[], "two", Some(&event)).await;
    assert!(matches!(late, Err(KeysError::Conflict)), "{late:?}");
    assert_eq!(items().await, before);
    let now = table.record().await.unwrap();
    table.publish(&now, &now.keys, "four", Some(&event)).await.unwrap();
    assert_eq!(items().await, before + 1);
    // The same is true if both writers have read an empty table.
    let nothing = keys::Record::default();
    let late = table.publish(&nothing, &[], "three", None).await;
    assert!(matches!(late, Err(KeysError::Conflict)), "{late:?}");
}

#[tokio::test]
async fn the_epoch_is_read_with_the_keys_and_never_lowered() {
    let bench = Bench::start().await;
    let table = bench.stack.keys_table();
    let keys = bench.open().await;
    assert_eq!(keys.epoch().await, Ok(GlobalEpoch::NEVER_RAISED));
    let raised = GlobalEpoch::at(1_000);
    table.raise_epoch(raised).await.unwrap();
    assert_eq!(keys.epoch().await, Ok(GlobalEpoch::NEVER_RAISED), "still cached");
    bench.wait(300);
    assert_eq!(keys.epoch().await, Ok(raised));
    table.raise_epoch(GlobalEpoch::at(999)).await.unwrap();
    assert_eq!(table.record().await.unwrap().epoch, raised);
    // Publishing keys does not change the epoch.
    bench.publish(bench.stack.forge().keys()).await;
    assert_eq!(table.record().await.unwrap().epoch, raised);
}

#[tokio::test]
async fn an_expired_key_is_unknown() {
    let bench = Bench::start().await;
    let table = bench.stack.keys_table();
    let mut record = table.record().await.unwrap();
    record.keys[0].not_after = Some(bench.clock.now());
    table.publish(&record, &record.keys, "a version", None).await.unwrap();
    let keys = bench.open().await;
    assert_eq!(has(&keys, bench.kid()).await, Ok(false));
}

#[tokio::test]
async fn a_shorter_cache_time_causes_more_frequent_reads() {
    let bench = Bench::start().await;
    let env = [("KEYS_TABLE", "KeysTable"), ("KEYS_CACHE_SECONDS", "1")];
    let config = Env::from_iter(env).settings::<Config>().unwrap();
    let client = bench.stack.faulty_client(&bench.faults);
    let keys = TableKeys::open(&config, client, Arc::new(bench.clock.clone())).await;
    for _ in 0..5 {
        bench.wait(1);
        assert_eq!(has(&keys, bench.kid()).await, Ok(true));
        assert_eq!(has(&keys, bench.kid()).await, Ok(true));
    }
    assert_eq!(bench.faults.requests(), 1 + 5);
    // While reads fail, the set is served for one more second.
    bench.fail();
    bench.wait(1);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
    bench.wait(1);
    assert_eq!(has(&keys, bench.kid()).await, Err(KeyError));
    for bad in ["0", "301", "-1", "x"] {
        let env = [("KEYS_TABLE", "KeysTable"), ("KEYS_CACHE_SECONDS", bad)];
        assert!(Env::from_iter(env).settings::<Config>().is_err(), "{bad}");
    }
}
