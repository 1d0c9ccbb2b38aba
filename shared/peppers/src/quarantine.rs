//! Tags and quarantine for the names of deleted accounts.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{NameTagger, UniqueName};
use jiff::{SignedDuration, Timestamp};
use process::{Reader, Settings};

use crate::{MacKey, Peppers, Purpose};

/// How long the names of a deleted account cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameQuarantine(SignedDuration);

impl NameQuarantine {
    /// The length of the quarantine. Tombstones are valid for this time.
    #[must_use]
    pub fn duration(self) -> SignedDuration {
        self.0
    }
}

impl Settings for NameQuarantine {
    /// Reads `NAME_QUARANTINE_DAYS`: from 0 to 3650, 30 by default.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let days: i64 = reader.optional("NAME_QUARANTINE_DAYS", 30)?;
        if !(0..=3650).contains(&days) {
            reader.fault("NAME_QUARANTINE_DAYS", "must be from 0 to 3650");
            return None;
        }
        Some(Self(SignedDuration::from_hours(24 * days)))
    }
}

impl NameTagger for Peppers {
    fn tag(&self, name: UniqueName<'_>, now: Timestamp) -> String {
        tag(&self.current(Purpose::Tombstone, now), name)
    }

    fn tags(&self, name: UniqueName<'_>) -> Vec<String> {
        self.all().map(|pepper| tag(&pepper.key(Purpose::Tombstone), name)).collect()
    }
}

/// The MAC covers the kind of the name, so that a username and an address never have the same tag.
fn tag(key: &MacKey, name: UniqueName<'_>) -> String {
    let (kind, name) = match name {
        UniqueName::Username(name) => ("username", name),
        UniqueName::Email(name) => ("email", name),
    };
    URL_SAFE_NO_PAD.encode(key.mac(format!("{kind}\0{}", name.as_str()).as_bytes()))
}

#[cfg(test)]
mod tests {
    use identity::CanonicalName;
    use process::{Clock, Env, SystemClock, SystemRandom};

    use super::*;

    #[test]
    fn a_tag_depends_on_kind_name_and_pepper() {
        let (peppers, now) = (Peppers::generate("a", &SystemRandom), SystemClock.now());
        let [rosa, ben] = ["rosa", "ben"].map(CanonicalName::of_unchecked);
        let tag = peppers.tag(UniqueName::Username(&rosa), now);
        assert_eq!(peppers.tag(UniqueName::Username(&rosa), now), tag);
        assert_ne!(peppers.tag(UniqueName::Email(&rosa), now), tag);
        assert_ne!(peppers.tag(UniqueName::Username(&ben), now), tag);
        let others = Peppers::generate("a", &SystemRandom);
        assert_ne!(others.tag(UniqueName::Username(&rosa), now), tag);
    }

    #[test]
    fn all_tags_of_a_name_include_the_one_in_use_and_those_of_earlier_peppers() {
        let now = SystemClock.now();
        let before = Peppers::generate("a", &SystemRandom);
        let kept = SignedDuration::from_hours(1);
        let after = before.with_new("b", now, kept, &SystemRandom).unwrap();
        let later = now + SignedDuration::from_secs(crate::ANNOUNCE_SECONDS);
        let rosa = CanonicalName::of_unchecked("rosa");
        let name = UniqueName::Username(&rosa);
        assert_eq!(after.tag(name, now), before.tag(name, now));
        assert_ne!(after.tag(name, later), before.tag(name, now));
        assert_eq!(after.tags(name), [before.tag(name, now), after.tag(name, later)]);
    }

    #[test]
    fn the_quarantine_is_bounded() {
        let read = |days| Env::from_iter([("NAME_QUARANTINE_DAYS", days)]).settings();
        let days = |days: i64| Ok(NameQuarantine(SignedDuration::from_hours(24 * days)));
        assert_eq!(Env::default().settings(), days(30));
        assert_eq!(read("0"), days(0));
        assert_eq!(read("3650"), days(3650));
        for bad in ["-1", "3651", "9223372036854775807", "a month"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
