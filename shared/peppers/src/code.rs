//! Codes that are handed out, such as invitations. Only their MACs are stored.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use process::Random;
use zeroize::Zeroizing;

use crate::{Peppers, Purpose};

/// The random part of a code, in bytes: 128 bits.
const CODE_BYTES: usize = 16;

/// The maximum length of a code, in characters. Latchkey's own codes have fewer than 40.
const MAX_CODE_CHARS: usize = 64;

/// The purpose of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// An invitation to register.
    Invite,
}

impl CodeKind {
    /// The name in the MAC. It must never change.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "invite",
        }
    }
}

/// A code in the form that is handed out: `<pepper id>.<128 bits in base64url>`. It is a secret.
pub struct Code(Zeroizing<String>);

/// The stored form of a code, which is used to look the code up. A copy of the table does not reveal the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeTag(String);

/// Does not show the code.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

impl Code {
    /// Creates a code, together with its stored form.
    #[must_use]
    pub fn generate(
        kind: CodeKind,
        peppers: &Peppers,
        now: Timestamp,
        random: &dyn Random,
    ) -> (Self, CodeTag) {
        let key = peppers.current(Purpose::Code, now);
        let secret = Zeroizing::new(random.bytes::<CODE_BYTES>());
        let code = format!("{}.{}", key.id(), URL_SAFE_NO_PAD.encode(*secret));
        let tag = CodeTag::by(&key.mac(message(kind, &code).as_bytes()));
        (Self(Zeroizing::new(code)), tag)
    }

    /// Exposes the code, to hand it out.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl CodeTag {
    fn by(mac: &[u8]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(mac))
    }

    /// The stored form of `code`, or `None` if it does not have the form of a code or names an unknown pepper.
    #[must_use]
    pub fn of(kind: CodeKind, code: &str, peppers: &Peppers) -> Option<Self> {
        if code.len() > MAX_CODE_CHARS {
            return None;
        }
        let (pepper, _) = code.split_once('.')?;
        let key = peppers.by_id(pepper, Purpose::Code)?;
        Some(Self::by(&key.mac(message(kind, code).as_bytes())))
    }

    /// The text as a part of a database key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text that the MAC covers. It contains the kind, so that a code of one kind is invalid for every other.
fn message(kind: CodeKind, code: &str) -> String {
    format!("{}\0{code}", kind.as_str())
}

#[cfg(test)]
mod tests {
    use process::{Clock, SystemClock, SystemRandom};

    use super::*;

    #[test]
    fn only_the_exact_code_yields_its_tag() {
        let peppers = Peppers::generate("a", &SystemRandom);
        let now = SystemClock.now();
        let (code, tag) = Code::generate(CodeKind::Invite, &peppers, now, &SystemRandom);
        let of = |code: &str| CodeTag::of(CodeKind::Invite, code, &peppers);
        assert_eq!(of(code.expose()), Some(tag.clone()));
        for other in [
            format!("{}A", code.expose()),
            code.expose().to_lowercase(),
            code.expose().replacen('.', "..", 1),
        ] {
            assert_ne!(of(&other), Some(tag.clone()), "{other}");
        }
        assert_eq!(of(""), None);
        assert_eq!(of(&"x.".repeat(100)), None);
        assert!(!format!("{code:?} {tag:?}").contains(code.expose()));
        // Other peppers do not recognize the code.
        let others = Peppers::generate("b", &SystemRandom);
        assert_eq!(CodeTag::of(CodeKind::Invite, code.expose(), &others), None);
    }
}
