//! Derives the keys to publish from the version in use and the keys published before.

use issuer::{MAX_ACCESS_TOKEN_SECONDS, SigningKeys};
use jiff::{SignedDuration, Timestamp};
use keys::{KeyState, PublishedKey, Record};

/// How long a key stays public after it has been retired. A function may keep signing with its cached copy of the
/// secret for some time. The last token signed this way must be accepted until it expires, including the leeway.
pub(crate) fn retired_for() -> SignedDuration {
    let signing = secrets::CacheSeconds::MAX + secrets::STALE_SECONDS;
    let lifetime =
        i64::try_from(MAX_ACCESS_TOKEN_SECONDS).expect("an hour in seconds fits into an i64");
    SignedDuration::from_secs(signing + lifetime + auth::LEEWAY_SECONDS)
}

/// Returns the keys to publish. Those in `keys` keep the time of their first publication. Other published keys are
/// retired, unless they are revoked or have expired. `until` is the time until which newly retired keys stay public,
/// or `None` if they may still sign.
pub(crate) fn merge(
    record: &Record,
    keys: &SigningKeys,
    now: Timestamp,
    until: Option<Timestamp>,
) -> Vec<PublishedKey> {
    let mut published: Vec<_> = keys
        .public()
        .map(|(jwk, state)| {
            let kid = jwk.common.key_id.as_deref().unwrap_or_default();
            // A key whose publication has already ended is published anew.
            let known = record.key(kid).filter(|key| key.is_public(now));
            let published_at = known.map_or(now, |key| key.published_at);
            PublishedKey { jwk, state, published_at, not_after: None }
        })
        .collect();
    for old in &record.keys {
        let kid = old.kid();
        let replaced = published.iter().any(|key| key.kid() == kid);
        if replaced || keys.revoked().contains(kid) || !old.is_public(now) {
            continue;
        }
        published.push(PublishedKey {
            state: KeyState::Retired,
            not_after: old.not_after.or(until),
            ..old.clone()
        });
    }
    published
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use auth::Algorithm;
    use process::{Clock, SystemClock, SystemRandom};

    use super::*;

    fn record(keys: Vec<PublishedKey>) -> Record {
        let mut record = Record::default();
        record.keys = keys;
        record
    }

    fn states(keys: &[PublishedKey]) -> Vec<KeyState> {
        keys.iter().map(|key| key.state).collect()
    }

    #[test]
    fn a_key_is_next_then_active_then_retired_then_gone() {
        let now = SystemClock.now();
        let later = now + SignedDuration::from_secs(1);
        let one = SigningKeys::generate(Algorithm::EdDsa, "v1", &SystemRandom);
        let first = merge(&record(vec![]), &one, now, None);
        assert_eq!(states(&first), [KeyState::Active, KeyState::Next]);
        let two = one.rotated(Algorithm::EdDsa, "v2", &SystemRandom).unwrap();
        // While the key may still sign, the end of its publication is unknown.
        let second = merge(&record(first.clone()), &two, later, None);
        assert_eq!(states(&second), [KeyState::Active, KeyState::Next, KeyState::Retired]);
        assert_eq!(second[0].published_at, now, "the time of the first publication is kept");
        assert_eq!(second[1].published_at, later);
        assert_eq!((second[2].kid(), second[2].not_after), (first[0].kid(), None));
        // Once the end is known, it does not change.
        let until = later + retired_for();
        let third = merge(&record(second), &two, later, Some(until));
        assert_eq!(third[2].not_after, Some(until));
        let again = merge(&record(third.clone()), &two, later, Some(until + retired_for()));
        assert_eq!(again, third);
        assert_eq!(merge(&record(third.clone()), &two, until, None).len(), 2);
    }

    #[test]
    fn a_revoked_key_is_removed_immediately() {
        let now = SystemClock.now();
        let one = SigningKeys::generate(Algorithm::EdDsa, "v1", &SystemRandom);
        let first = merge(&record(vec![]), &one, now, None);
        let leaked = first[0].kid().to_owned();
        let revoked = BTreeSet::from([leaked.clone()]);
        let two = one.without(revoked, Algorithm::EdDsa, "v2", &SystemRandom);
        let second = merge(&record(first), &two, now, None);
        assert!(second.iter().all(|key| key.kid() != leaked));
        assert_eq!(states(&second), [KeyState::Active, KeyState::Next]);
    }
}
