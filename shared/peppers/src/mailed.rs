//! Emailed codes: a link token, and eight digits that are valid only together with an address.
//!
//! Neither is stored. Both are MACs over the id of the email, so the email can be created again with the same
//! content. Without the pepper, the id in the tables reveals neither. A link token also contains the ids of the pepper
//! and the email, so its MAC can be checked, and a forged token refused, before anything is read. Eight digits can be
//! guessed, so the table counts the attempts.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{MailId, MailedFor};
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::{MacKey, Peppers, Purpose};

/// The secret part of a link token, in bytes: 128 bits.
const TOKEN_BYTES: usize = 16;

/// The maximum length of a link token, in characters. Latchkey's own tokens have at most 61.
const MAX_TOKEN_CHARS: usize = 64;

/// An emailed code in both forms. Both are secrets, which only the email may contain.
pub struct MailedCode {
    token: Zeroizing<String>,
    digits: Zeroizing<String>,
    pepper: String,
}

/// Shows only the pepper's id.
impl fmt::Debug for MailedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailedCode").field("pepper", &self.pepper).finish_non_exhaustive()
    }
}

impl MailedCode {
    /// Derives the code of the email `id`, which was requested at `asked_at`. The derivation is deterministic.
    #[must_use]
    pub fn derive(purpose: MailedFor, id: MailId, peppers: &Peppers, asked_at: Timestamp) -> Self {
        let key = peppers.current(Purpose::MailLink, asked_at);
        let pepper = key.id().to_owned();
        let id_text = URL_SAFE_NO_PAD.encode(id.to_bytes());
        let mac = URL_SAFE_NO_PAD.encode(token_mac(&key, purpose, id));
        let token = Zeroizing::new(format!("{pepper}.{id_text}.{mac}"));
        let digits = digits(&peppers.current(Purpose::MailDigits, asked_at), purpose, id);
        Self { token, digits, pepper }
    }

    /// The link token: `<pepper id>.<mail id>.<128 bits>`, the last two in base64url.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The eight digits.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// The id of the code's pepper, which must be stored to verify the digits later.
    #[must_use]
    pub fn pepper(&self) -> &str {
        &self.pepper
    }
}

impl Peppers {
    /// Returns the id of the email to which a link token belongs, or `None` if this service did not make the token
    /// for this purpose. Compares the MAC in constant time.
    #[must_use]
    pub fn mail_of_token(&self, purpose: MailedFor, token: &str) -> Option<MailId> {
        if token.len() > MAX_TOKEN_CHARS {
            return None;
        }
        let mut parts = token.split('.');
        let (pepper, id, mac) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let id = MailId::from_bytes(decode(id)?);
        let mac: [u8; TOKEN_BYTES] = decode(mac)?;
        let key = self.by_id(pepper, Purpose::MailLink)?;
        verify_slices_are_equal(&token_mac(&key, purpose, id), &mac).ok()?;
        Some(id)
    }

    /// Whether `presented` equals the digits of the email `id`, derived with the given pepper. Takes constant time for
    /// any eight characters.
    #[must_use]
    pub fn are_digits_of(
        &self,
        purpose: MailedFor,
        id: MailId,
        pepper: &str,
        presented: &str,
    ) -> bool {
        let Some(key) = self.by_id(pepper, Purpose::MailDigits) else { return false };
        let expected = digits(&key, purpose, id);
        verify_slices_are_equal(expected.as_bytes(), presented.as_bytes()).is_ok()
    }
}

/// Decodes base64url to exactly `N` bytes. Refuses nonzero trailing bits.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn message(purpose: MailedFor, id: MailId) -> String {
    format!("{}\0{id}", purpose.as_str())
}

fn token_mac(key: &MacKey, purpose: MailedFor, id: MailId) -> [u8; TOKEN_BYTES] {
    let mac = key.mac(message(purpose, id).as_bytes());
    let (half, _) = mac.split_first_chunk().expect("a MAC has more than 16 bytes");
    *half
}

/// Derives eight digits. Reducing a 128-bit number makes all values equally likely to within 2^-100.
fn digits(key: &MacKey, purpose: MailedFor, id: MailId) -> Zeroizing<String> {
    let mac = key.mac(message(purpose, id).as_bytes());
    let (half, _) = mac.split_first_chunk().expect("a MAC has more than 16 bytes");
    Zeroizing::new(format!("{:08}", u128::from_be_bytes(*half) % 100_000_000))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use process::{Clock, SystemClock, SystemRandom};

    use super::*;

    const RESET: MailedFor = MailedFor::PasswordReset;

    fn mail() -> MailId {
        MailId::new(SystemClock.now(), &SystemRandom)
    }

    #[test]
    fn a_code_depends_on_its_mail_and_is_reproducible() {
        let (peppers, now) = (Peppers::generate("a", &SystemRandom), SystemClock.now());
        let (one, other) = (mail(), mail());
        let code = MailedCode::derive(RESET, one, &peppers, now);
        let again = MailedCode::derive(RESET, one, &peppers, now);
        assert_eq!((code.token(), code.digits()), (again.token(), again.digits()));
        assert_eq!(peppers.mail_of_token(RESET, code.token()), Some(one));
        assert!(peppers.are_digits_of(RESET, one, code.pepper(), code.digits()));
        assert!(code.digits().len() == 8 && code.digits().bytes().all(|b| b.is_ascii_digit()));

        // The code is invalid for another email, for another purpose, and with other peppers.
        let of_other = MailedCode::derive(RESET, other, &peppers, now);
        assert_ne!(code.token(), of_other.token());
        assert!(!peppers.are_digits_of(RESET, other, code.pepper(), code.digits()));
        let purpose = MailedFor::EmailVerification;
        assert_eq!(peppers.mail_of_token(purpose, code.token()), None);
        assert!(!peppers.are_digits_of(purpose, one, code.pepper(), code.digits()));
        let others = Peppers::generate("a", &SystemRandom);
        assert_eq!(others.mail_of_token(RESET, code.token()), None);
        assert!(!others.are_digits_of(RESET, one, code.pepper(), code.digits()));
        let shown = format!("{code:?}");
        assert!(!shown.contains(code.token()) && !shown.contains(code.digits()));
    }

    #[test]
    fn a_token_altered_in_any_character_is_refused() {
        let (peppers, now) = (Peppers::generate("a", &SystemRandom), SystemClock.now());
        let code = MailedCode::derive(RESET, mail(), &peppers, now);
        for at in 0..code.token().len() {
            let mut changed = code.token().to_owned().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(peppers.mail_of_token(RESET, &changed), None, "{at}");
        }
        for bad in [
            String::new(),
            ".".repeat(3),
            format!("{}.", code.token()),
            format!("{}=", code.token()),
            code.token().rsplit_once('.').unwrap().0.to_owned(),
            "x".repeat(1_000),
        ] {
            assert_eq!(peppers.mail_of_token(RESET, &bad), None, "{bad}");
        }
        for bad in ["", "1234567", "123456789", "١٢٣٤", " 1234567"] {
            assert!(!peppers.are_digits_of(RESET, mail(), code.pepper(), bad));
        }
    }

    #[test]
    fn a_new_pepper_does_not_change_codes_requested_earlier() {
        let now = SystemClock.now();
        let before = Peppers::generate("a", &SystemRandom);
        let after =
            before.with_new("b", now, SignedDuration::from_hours(1), &SystemRandom).unwrap();
        let id = mail();
        let (old, new) = (
            MailedCode::derive(RESET, id, &before, now),
            MailedCode::derive(RESET, id, &after, now),
        );
        assert_eq!((old.token(), old.digits()), (new.token(), new.digits()));
        let later = now + SignedDuration::from_secs(crate::ANNOUNCE_SECONDS);
        let later = MailedCode::derive(RESET, id, &after, later);
        assert_ne!(later.pepper(), old.pepper());
        assert_eq!(after.mail_of_token(RESET, later.token()), Some(id));
        assert!(after.are_digits_of(RESET, id, later.pepper(), later.digits()));
        assert!(after.are_digits_of(RESET, id, old.pepper(), old.digits()));
    }
}
