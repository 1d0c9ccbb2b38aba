//! Revocation of signing keys.

use std::collections::BTreeSet;

use keys::KeyState;
use rotation::{Plan, RotationError, Step};

use crate::bench::{Bench, LEAD, STEPS, active, private_halves, sign, token};

/// A bench with an active, a next and a retired key, and the ids of these keys in that order.
async fn three_keys() -> (Bench, [String; 3]) {
    let bench = Bench::rotated().await;
    let (retired, _) = active(&bench.current().await);
    bench.rotate(&Plan::Rotate).await.unwrap();
    let keys = bench.current().await;
    let kids = [active(&keys).0, keys.next_kid().unwrap().to_owned(), retired];
    (bench, kids)
}

#[tokio::test]
async fn a_revoked_active_key_is_gone_and_the_next_one_signs() {
    let (bench, [active_kid, next, retired]) = three_keys().await;
    let before = bench.current().await;
    let signed = bench.sign().await;
    assert!(bench.accepts(&signed).await);
    bench.rotate(&Plan::Revoke(active_kid.clone())).await.unwrap();
    bench.assert_settled().await;
    assert!(!bench.accepts(&signed).await);
    bench.assert_not_stored(&private_halves(&before)[&active_kid]).await;
    let states = bench.states().await;
    assert!(!states.contains_key(&active_kid));
    assert_eq!((states[&next], states[&retired]), (KeyState::Active, KeyState::Retired));
}

#[tokio::test]
async fn a_revoked_next_key_is_gone_and_another_one_is_next() {
    let (bench, [active_kid, next, retired]) = three_keys().await;
    let before = bench.current().await;
    let signed = bench.sign().await;
    bench.rotate(&Plan::Revoke(next.clone())).await.unwrap();
    bench.assert_settled().await;
    assert!(bench.accepts(&signed).await);
    bench.assert_not_stored(&private_halves(&before)[&next]).await;
    let states = bench.states().await;
    assert!(!states.contains_key(&next));
    assert_eq!((states[&active_kid], states[&retired]), (KeyState::Active, KeyState::Retired));
    assert_eq!(bench.refused_until().await, bench.now() + LEAD, "the next key is new");
}

#[tokio::test]
async fn a_revoked_retired_key_is_gone_and_the_others_stay() {
    let (bench, [active_kid, next, retired]) = three_keys().await;
    let before = private_halves(&bench.current().await);
    bench.rotate(&Plan::Revoke(retired.clone())).await.unwrap();
    bench.assert_settled().await;
    let kids: BTreeSet<_> = bench.states().await.into_keys().collect();
    assert_eq!(kids, BTreeSet::from([active_kid, next]));
    assert_eq!(private_halves(&bench.current().await), before);
    // The revoked key does not come back.
    bench.wait(LEAD);
    bench.rotate(&Plan::Rotate).await.unwrap();
    assert!(!bench.states().await.contains_key(&retired));
}

#[tokio::test]
async fn all_keys_can_be_revoked_together() {
    let (bench, before) = three_keys().await;
    let old = bench.current().await;
    let signed = bench.sign().await;
    bench.rotate(&Plan::RevokeAll).await.unwrap();
    bench.assert_settled().await;
    assert!(!bench.accepts(&signed).await);
    let states = bench.states().await;
    assert_eq!(states.len(), 2);
    assert!(before.iter().all(|kid| !states.contains_key(kid)));
    for private in private_halves(&old).values() {
        bench.assert_not_stored(private).await;
    }
}

#[tokio::test]
async fn an_unknown_key_cannot_be_revoked() {
    let (bench, _) = three_keys().await;
    let before = (bench.stored().await, bench.record().await);
    let revoked = bench.rotate(&Plan::Revoke("unknown".to_owned())).await;
    let Err(RotationError::UnknownKey(kid)) = revoked else { panic!("{revoked:?}") };
    assert_eq!(kid, "unknown");
    assert_eq!((bench.stored().await, bench.record().await), before);
}

/// A revocation first completes an interrupted rotation, whichever step it had reached. Repeating the steps of that
/// rotation does not restore the revoked key.
#[tokio::test]
async fn an_interrupted_rotation_does_not_restore_a_revoked_key() {
    for completed in 1..STEPS.len() {
        let bench = Bench::rotated().await;
        let old = bench.current().await;
        for step in &STEPS[..completed] {
            bench.rotation().step(*step, &token(1)).await.unwrap();
        }
        // The key that will sign next, and the key that signs now.
        let upcoming = old.next_kid().unwrap().to_owned();
        for leaked in [upcoming, active(&old).0] {
            bench.rotate(&Plan::Revoke(leaked.clone())).await.unwrap();
            for step in &STEPS[1..] {
                let late = bench.rotation().step(*step, &token(1)).await;
                assert!(matches!(late, Err(RotationError::Superseded)), "{step:?}: {late:?}");
            }
            assert!(!bench.states().await.contains_key(&leaked));
            bench.assert_not_stored(&private_halves(&old)[&leaked]).await;
            bench.assert_settled().await;
        }
        assert!(!bench.accepts(&sign(&old, bench.now())).await);
    }
}

#[tokio::test]
async fn the_next_rotation_first_completes_an_interrupted_revocation() {
    let bench = Bench::rotated().await;
    let (leaked, _) = active(&bench.current().await);
    let before = bench.record().await;
    bench.rotate(&Plan::Revoke(leaked.clone())).await.unwrap();
    // Restore the table, as if the process had been stopped before publishing.
    bench.forget_table().await;
    let empty = bench.record().await;
    bench.table().publish(&empty, &before.keys, &before.version, None).await.unwrap();
    assert!(bench.states().await.contains_key(&leaked));
    let later = bench.rotation().step(Step::CreateSecret, &token(1)).await;
    assert!(matches!(later, Err(RotationError::TooEarly { .. })), "{later:?}");
    assert!(!bench.states().await.contains_key(&leaked));
    bench.assert_settled().await;
}
