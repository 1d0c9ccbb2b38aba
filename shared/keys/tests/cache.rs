//! How long the public keys are kept, and when they are read again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use auth::{Env, Fault as _, FaultKind, KeyError, KeySource, PublicKeySet, SystemRandom};
use futures_util::future::join_all;
use issuer::SigningKeys;
use jiff::SignedDuration;
use keys::{Config, KeysError, TableKeys};
use testkit::{Fault, Faults, Stack, TestClock};

/// A fault that the SDK does not try again: one request for each read.
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

    /// From now on every read fails.
    fn fail(&self) {
        self.faults.then(&[FAULT; 100]);
    }

    fn recover(&self) {
        self.faults.then(&[]);
    }

    fn kid(&self) -> &str {
        self.stack.forge().kid()
    }

    async fn publish(&self, set: &PublicKeySet) {
        keys::publish(&self.stack.client(), "KeysTable", set).await.unwrap();
    }
}

fn config(table: &str) -> Config {
    Env::from_iter([("KEYS_TABLE", table)]).read(Config::read).unwrap()
}

async fn has(keys: &TableKeys, kid: &str) -> Result<bool, KeyError> {
    Ok(keys.key(kid).await?.is_some())
}

#[tokio::test]
async fn the_set_is_read_once_at_the_start_and_kept() {
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
async fn many_that_need_a_read_share_it() {
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
async fn invented_kids_cause_a_read_every_ten_seconds_at_most() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    for n in 0..10_000 {
        assert_eq!(has(&keys, &format!("invented-{n}")).await, Ok(false));
    }
    assert_eq!(bench.faults.requests(), 1, "the one of the start was just now");
    for second in 1..=100 {
        bench.wait(1);
        for n in 0..100 {
            assert_eq!(has(&keys, &format!("invented-{second}-{n}")).await, Ok(false));
        }
    }
    assert_eq!(bench.faults.requests(), 1 + 10);
}

#[tokio::test]
async fn a_new_key_counts_within_ten_seconds() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    let new = SigningKeys::generate(&SystemRandom);
    let kid = new.public().as_jwks().keys[0].common.key_id.clone().unwrap();
    bench.publish(new.public()).await;
    bench.wait(9);
    assert_eq!(has(&keys, &kid).await, Ok(false));
    bench.wait(1);
    assert_eq!(has(&keys, &kid).await, Ok(true));
    assert_eq!(has(&keys, bench.kid()).await, Ok(false), "what is no longer published is gone");
}

#[tokio::test]
async fn while_reads_fail_the_old_set_serves_for_ten_minutes() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    bench.fail();
    bench.wait(300);
    for second in 300..600 {
        assert_eq!(has(&keys, bench.kid()).await, Ok(true), "{second} s");
        bench.wait(1);
    }
    assert_eq!(bench.faults.requests(), 1 + 30, "one try every ten seconds");
    assert_eq!(has(&keys, bench.kid()).await, Err(KeyError));
    assert_eq!(keys.set().await.unwrap_err(), KeyError);
    assert_eq!(KeyError.kind(), FaultKind::Unavailable);
    bench.recover();
    bench.wait(10);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
    bench.fail();
    bench.wait(299);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true), "fresh again");
}

#[tokio::test]
async fn a_failed_read_for_an_unknown_kid_leaves_the_set_as_it_was() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    bench.fail();
    bench.wait(10);
    assert_eq!(has(&keys, "unknown").await, Ok(false));
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
    assert_eq!(bench.faults.requests(), 2);
}

#[tokio::test]
async fn a_function_starts_without_a_database_and_recovers() {
    let bench = Bench::start().await;
    bench.fail();
    let keys = bench.open().await;
    assert_eq!(has(&keys, bench.kid()).await, Err(KeyError));
    assert_eq!(keys.set().await.unwrap_err(), KeyError);
    assert_eq!(bench.faults.requests(), 1, "the next try is ten seconds later");
    bench.recover();
    bench.wait(10);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
}

#[tokio::test]
async fn a_clock_that_is_set_back_neither_keeps_a_set_nor_stops_the_reads() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    bench.wait(-3600);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true), "it still serves");
    bench.wait(10);
    assert_eq!(has(&keys, "unknown").await, Ok(false));
    assert_eq!(bench.faults.requests(), 2, "ten seconds later it is read for an unknown kid");
    bench.fail();
    bench.wait(-3600);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
    bench.wait(600);
    assert_eq!(has(&keys, bench.kid()).await, Err(KeyError), "and it does not serve for ever");
}

#[tokio::test]
async fn a_clock_that_leaps_ahead_makes_a_read_and_nothing_else() {
    let bench = Bench::start().await;
    let keys = bench.open().await;
    bench.wait(1_000_000_000);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true));
    assert_eq!(bench.faults.requests(), 2);
}

#[tokio::test]
async fn what_is_not_published_or_not_a_key_set_is_an_outage() {
    let bench = Bench::start().await;
    let client = bench.stack.client();
    let read = keys::read(&client, "NoSuchTable").await.unwrap_err();
    assert_eq!(read.kind(), FaultKind::Internal, "a wrong name is a defect");
    for (jwks, expected) in [
        (None, "no key set has been published"),
        (Some("not JSON"), "the published key set is not usable"),
        (
            Some(r#"{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}"#),
            "the published key set is not usable",
        ),
    ] {
        let mut put = client.put_item().table_name("KeysTable").item("pk", text("KEY_SET"));
        if let Some(jwks) = jwks {
            put = put.item("jwks", text(jwks));
        }
        put.send().await.unwrap();
        let error: KeysError = keys::read(&client, "KeysTable").await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.kind()), (expected, FaultKind::Unavailable));
        let keys = bench.open().await;
        assert_eq!(has(&keys, bench.kid()).await, Err(KeyError));
    }
    client.delete_item().table_name("KeysTable").key("pk", text("KEY_SET")).send().await.unwrap();
    assert!(matches!(keys::read(&client, "KeysTable").await, Err(KeysError::Unpublished)));
    let keys = bench.open().await;
    assert_eq!(has(&keys, bench.kid()).await, Err(KeyError));
    bench.publish(bench.stack.forge().keys().public()).await;
    bench.wait(10);
    assert_eq!(has(&keys, bench.kid()).await, Ok(true), "published meanwhile");
}

fn text(text: &str) -> aws_sdk_dynamodb::types::AttributeValue {
    aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned())
}

#[tokio::test]
async fn a_published_set_is_public_alone_and_reads_back() {
    let bench = Bench::start().await;
    let read = keys::read(&bench.stack.client(), "KeysTable").await.unwrap();
    assert_eq!(read.as_jwks(), bench.stack.forge().keys().public().as_jwks());
    let items = bench.stack.client().scan().table_name("KeysTable").send().await.unwrap();
    assert_eq!(items.count(), 1);
    assert!(!format!("{items:?}").contains(r#"\"d\""#));
}
