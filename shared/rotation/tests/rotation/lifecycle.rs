//! The life of a key from rotation to rotation.

use std::sync::Arc;

use issuer::MAX_ACCESS_TOKEN_SECONDS;
use jiff::SignedDuration;
use keys::{KeyState, TableKeys};
use rotation::Plan;
use testkit::{Fault, Faults};

use crate::bench::{Bench, LEAD, STEPS, active, seconds, sign, token};

/// How long a signer may use an old version of the secret: while its copy is fresh (60 s), and then while reads
/// fail (300 s).
const OLD_SECRET_USE: SignedDuration = SignedDuration::from_secs(60 + 300);

/// How long a key stays public after its retirement: the time in which it may still sign (60 s + 300 s), the maximum
/// lifetime of a token, and the tolerance for clocks that differ.
const PUBLIC_WHILE_RETIRED: SignedDuration = SignedDuration::from_secs(60 + 300 + 3600 + 30);

#[tokio::test]
async fn the_first_rotation_publishes_an_active_and_a_next_key() {
    let bench = Bench::new().await;
    assert!(!bench.rotation().has_keys().await.unwrap());
    bench.rotation().reconcile().await.unwrap();
    assert!(bench.record().await.keys.is_empty(), "nothing is published yet");
    bench.rotate(&Plan::Rotate).await.unwrap();
    assert!(bench.rotation().has_keys().await.unwrap());
    bench.assert_settled().await;
    let record = bench.record().await;
    let states: Vec<_> = record.keys.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Active, KeyState::Next]);
    assert!(record.keys.iter().all(|key| key.published_at == bench.now()));
}

#[tokio::test]
async fn a_next_key_does_not_sign_before_every_verifier_knows_it() {
    let bench = Bench::new().await;
    let start = bench.now();
    bench.rotate(&Plan::Rotate).await.unwrap();
    let first = (bench.version().await, bench.record().await);
    for waited in [seconds(0), LEAD - seconds(1)] {
        bench.wait(waited);
        assert_eq!(bench.refused_until().await, start + LEAD);
        assert_eq!((bench.version().await, bench.record().await), first, "nothing has changed");
    }
    bench.wait(seconds(1));
    let next = first.0.value.parse::<issuer::SigningKeys>().unwrap();
    bench.rotate(&Plan::Rotate).await.unwrap();
    bench.assert_settled().await;
    assert_eq!(Some(bench.current().await.active().unwrap().kid()), next.next_kid());
}

/// Tests the verifier that learns of a new key last. The function `jwks`, which cannot read the table, still serves a
/// key set that lacks the new key. An external verifier caches the last of these responses.
#[tokio::test]
async fn every_cached_key_set_contains_the_key_that_signs() {
    let bench = Bench::new().await;
    bench.rotate(&Plan::RotateNow).await.unwrap();
    let faults = Faults::script(&[]);
    let env = bench.stack.env();
    let (config, max_age) = env.settings::<(keys::Config, keys::MaxAgeSeconds)>().unwrap();
    let clock = Arc::new(bench.clock());
    let jwks = TableKeys::open(&config, bench.stack.faulty_client(&faults), clock).await;
    bench.wait(LEAD);
    // `jwks` reads the table right before the next key is published. Every later read fails.
    assert!(!jwks.set().await.unwrap().is_empty());
    faults.then(&[Fault::AccessDenied; 100]);
    bench.rotate(&Plan::Rotate).await.unwrap();
    let (published_at, next) = (bench.now(), bench.current().await.next_kid().unwrap().to_owned());
    while let Ok(set) = jwks.set().await {
        assert!(set.get(&next).is_none());
        bench.wait(seconds(1));
    }
    let last_answer = bench.now() - seconds(1);
    bench.wait(max_age.duration() - seconds(1));
    assert_eq!(
        bench.refused_until().await,
        published_at + LEAD,
        "clients may still cache the answer"
    );
    assert!(published_at + LEAD >= last_answer + max_age.duration());
    bench.wait(seconds(1));
    bench.rotate(&Plan::Rotate).await.unwrap();
    assert_eq!(bench.current().await.active().unwrap().kid(), next);
}

#[tokio::test]
async fn an_immediate_rotation_does_not_wait() {
    let bench = Bench::new().await;
    bench.rotate(&Plan::Rotate).await.unwrap();
    for _ in 0..3 {
        let before = bench.current().await;
        let signed = bench.sign().await;
        bench.rotate(&Plan::RotateNow).await.unwrap();
        bench.assert_settled().await;
        assert_eq!(Some(bench.current().await.active().unwrap().kid()), before.next_kid());
        assert!(bench.accepts(&signed).await);
    }
}

#[tokio::test]
async fn a_key_is_next_then_active_then_retired_then_gone() {
    let bench = Bench::rotated().await;
    let mut earlier = vec![bench.current().await.active().unwrap().kid().to_owned()];
    for _ in 0..3 {
        let next = bench.current().await.next_kid().unwrap().to_owned();
        assert_eq!(bench.states().await[&next], KeyState::Next);
        bench.rotate(&Plan::Rotate).await.unwrap();
        bench.assert_settled().await;
        let now = bench.now();
        let (record, states) = (bench.record().await, bench.states().await);
        assert_eq!(states[&next], KeyState::Active);
        // Even a verifier that read the set right before this key was added, and cached it for as long as
        // permitted, knows the key now.
        assert!(record.key(&next).unwrap().published_at + LEAD <= now);
        for retired in &earlier {
            assert_eq!(states[retired], KeyState::Retired);
        }
        let last = record.key(earlier.last().unwrap()).unwrap();
        assert_eq!(
            last.not_after,
            Some(now + PUBLIC_WHILE_RETIRED),
            "the key has just been retired"
        );
        earlier.push(next);
        bench.wait(LEAD);
    }
    // Later rotations do not extend the publication of the first key.
    let ends = bench.record().await.key(&earlier[0]).unwrap().not_after.unwrap();
    bench.wait(ends.duration_since(bench.now()) - seconds(1));
    assert!(bench.states().await.contains_key(&earlier[0]));
    bench.wait(seconds(1));
    assert!(!bench.states().await.contains_key(&earlier[0]));
    // The next rotation removes the key from the table.
    bench.rotate(&Plan::Rotate).await.unwrap();
    assert!(bench.record().await.key(&earlier[0]).is_none());
    assert!(bench.record().await.key(&earlier[1]).is_some());
}

/// The last signer with an old key is a function that read the secret right before it was replaced and has not
/// been able to read it since. Its tokens have the maximum lifetime.
#[tokio::test]
async fn a_token_is_accepted_across_rotations_until_it_expires() {
    let bench = Bench::rotated().await;
    let old = bench.current().await;
    let early = bench.sign().await;
    bench.rotate(&Plan::Rotate).await.unwrap();
    assert!(bench.accepts(&early).await);
    bench.wait(OLD_SECRET_USE);
    // Tokens in these tests live for 900 s. The token signed below expires at the same time as a token with the maximum
    // lifetime that was signed at the end of `OLD_SECRET_USE`.
    let lifetime = i64::try_from(MAX_ACCESS_TOKEN_SECONDS).unwrap();
    bench.wait(seconds(lifetime - 900));
    let late = sign(&old, bench.now());
    bench.rotate(&Plan::Rotate).await.unwrap();
    bench.wait(seconds(900 + auth::LEEWAY_SECONDS) - seconds(1));
    assert!(bench.accepts(&late).await);
    bench.wait(seconds(1));
    assert!(!bench.accepts(&late).await);
    let (kid, _) = active(&old);
    assert!(!bench.states().await.contains_key(&kid), "the key is no longer published");
}

#[tokio::test]
async fn the_private_half_of_a_retired_key_is_in_no_file() {
    let bench = Bench::rotated().await;
    for _ in 0..3 {
        let (_, private) = active(&bench.current().await);
        let stored = bench.stored().await;
        assert!(
            stored.values().any(|text| text.contains(&private)),
            "before the rotation, a file contains it"
        );
        bench.rotate(&Plan::Rotate).await.unwrap();
        bench.assert_not_stored(&private).await;
        bench.wait(LEAD);
    }
}

/// Simulates a table that was lost or restored from an older backup.
#[tokio::test]
async fn an_unpublished_next_key_is_published_and_waits_before_it_signs() {
    let bench = Bench::rotated().await;
    bench.forget_table().await;
    let now = bench.now();
    assert_eq!(bench.refused_until().await, now + LEAD);
    bench.assert_settled().await;
    bench.wait(LEAD);
    bench.rotate(&Plan::Rotate).await.unwrap();
    bench.assert_settled().await;
}

/// A rotation is abandoned after it has published its keys, and their publication ends. When the rotation is completed
/// after all, no verifier knows these keys.
#[tokio::test]
async fn a_key_whose_publication_ended_waits_again_before_it_signs() {
    let bench = Bench::rotated().await;
    for step in [STEPS[0], STEPS[1]] {
        bench.rotation().step(step, &token(1)).await.unwrap();
    }
    bench.rotation().reconcile().await.unwrap();
    bench.wait(PUBLIC_WHILE_RETIRED);
    for step in STEPS {
        bench.rotation().step(step, &token(1)).await.unwrap();
    }
    bench.assert_settled().await;
    assert_eq!(bench.refused_until().await, bench.now() + LEAD);
}

#[tokio::test]
async fn the_published_set_follows_the_version_in_use() {
    let bench = Bench::rotated().await;
    let record = bench.record().await;
    bench.rotation().reconcile().await.unwrap();
    assert_eq!(bench.record().await, record, "an unchanged set is not written again");
    bench.forget_table().await;
    bench.rotation().reconcile().await.unwrap();
    bench.assert_settled().await;
}
