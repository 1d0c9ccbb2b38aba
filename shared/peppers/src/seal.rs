//! Texts that clients keep for the service and can neither read nor create.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use process::Random;

use crate::{Pepper, Peppers};

/// The label of the subkey (`info` in RFC 5869).
const LABEL: &[u8] = b"latchkey/v1/cursor";

/// The maximum length of a sealed text, in characters.
const MAX_CHARS: usize = 1_024;

impl Pepper {
    fn seal_key(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &*self.subkey(LABEL));
        LessSafeKey::new(key.expect("a key of 256 bits"))
    }
}

impl Peppers {
    /// Encrypts `text` with AES-256-GCM: `<pepper id>.<nonce and ciphertext in base64url>`. The result can be opened
    /// only with the same `context`, which it does not contain.
    ///
    /// The nonce is random. Its 96 bits suffice for 2³² texts per pepper (NIST SP 800-38D §8.3).
    #[must_use]
    pub fn seal(&self, context: &[u8], text: &[u8], now: Timestamp, random: &dyn Random) -> String {
        let pepper = self.in_use(now);
        let nonce = random.bytes::<NONCE_LEN>();
        let mut sealed = text.to_vec();
        pepper
            .seal_key()
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut sealed,
            )
            .expect("the text is shorter than the limit of AES-GCM");
        format!("{}.{}", pepper.id, URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// Decrypts a text. Returns `None` if [`Self::seal`] did not create it with the same `context`.
    #[must_use]
    pub fn open(&self, context: &[u8], sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > MAX_CHARS {
            return None;
        }
        let (id, sealed) = sealed.split_once('.')?;
        let pepper = self.all().find(|pepper| pepper.id == id)?;
        let mut sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = pepper.seal_key().open_in_place(nonce, Aad::from(context), sealed).ok()?;
        Some(opened.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use process::{Clock, SystemClock, SystemRandom};

    use super::*;

    fn peppers(version: &str) -> Peppers {
        Peppers::generate(version, &SystemRandom)
    }

    fn sealed(peppers: &Peppers, context: &str, text: &str) -> String {
        peppers.seal(context.as_bytes(), text.as_bytes(), SystemClock.now(), &SystemRandom)
    }

    #[test]
    fn only_the_same_context_and_pepper_open_a_text() {
        let (one, other) = (peppers("a"), peppers("b"));
        let text = sealed(&one, "list", "position");
        assert_eq!(one.open(b"list", &text).as_deref(), Some(b"position".as_slice()));
        assert_eq!(one.open(b"lisu", &text), None);
        assert_eq!(one.open(b"", &text), None);
        assert_eq!(other.open(b"list", &text), None);
        // The text reveals nothing: equal positions give different texts.
        assert_ne!(text, sealed(&one, "list", "position"));
    }

    #[test]
    fn a_text_altered_anywhere_is_refused() {
        let peppers = peppers("a");
        let text = sealed(&peppers, "list", "position");
        for at in 0..text.len() {
            for other in ['A', 'B', '-', '.', '=', ' '] {
                let mut altered: Vec<_> = text.chars().collect();
                if altered[at] == other {
                    continue;
                }
                altered[at] = other;
                let altered: String = altered.into_iter().collect();
                assert_eq!(peppers.open(b"list", &altered), None, "{altered}");
            }
            assert_eq!(peppers.open(b"list", &text[..at]), None);
        }
        let id = peppers.ids().next().unwrap();
        for other in [format!("{text}A"), format!("{text}="), format!("{id}."), String::new()] {
            assert_eq!(peppers.open(b"list", &other), None, "{other}");
        }
        assert_eq!(peppers.open(b"list", &format!("{id}.{}", "A".repeat(10_000))), None);
    }

    #[test]
    fn a_replaced_pepper_still_opens_its_texts() {
        let now = SystemClock.now();
        let old = peppers("a");
        let text = sealed(&old, "list", "position");
        let kept = SignedDuration::from_hours(1);
        let both = old.with_new("b", now, kept, &SystemRandom).unwrap();
        assert!(both.open(b"list", &text).is_some());
        let later = now + SignedDuration::from_hours(1);
        let newer = both.seal(b"list", b"position", later, &SystemRandom);
        assert_eq!(old.open(b"list", &newer), None);
        assert!(both.open(b"list", &newer).is_some());
    }
}
