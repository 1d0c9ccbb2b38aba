//! Codes that are given to somebody and stored as MACs.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use process::Random;
use zeroize::Zeroizing;

use crate::{Peppers, Purpose};

/// How much of a code cannot be guessed, in bytes: 128 bits.
const CODE_BYTES: usize = 16;

/// The maximum length of a code, in characters. Latchkey's own codes are under 40.
const MAX_CODE_CHARS: usize = 64;

/// What a code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// Registering.
    Invite,
}

impl CodeKind {
    /// Its name in what is authenticated. Never changed.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "invite",
        }
    }
}

/// A code as it is given to somebody: `<pepper id>.<128 bits in base64url>`. It is a secret.
pub struct Code(Zeroizing<String>);

/// What is stored of a code, and looked for. A copy of the table does not lead back to the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeTag(String);

/// The code is not shown.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

impl Code {
    /// A new code, and what is to be stored of it.
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

    /// Hands it out, to whomever it is for.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl CodeTag {
    fn by(mac: &[u8]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(mac))
    }

    /// The stored form of `code`, if it has the form of a code.
    #[must_use]
    pub fn of(kind: CodeKind, code: &str, peppers: &Peppers) -> Option<Self> {
        if code.len() > MAX_CODE_CHARS {
            return None;
        }
        let (pepper, _) = code.split_once('.')?;
        let key = peppers.by_id(pepper, Purpose::Code)?;
        Some(Self::by(&key.mac(message(kind, code).as_bytes())))
    }

    /// As a part of a key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A code of one kind is none of another.
fn message(kind: CodeKind, code: &str) -> String {
    format!("{}\0{code}", kind.as_str())
}

#[cfg(test)]
mod tests {
    use process::{Clock, SystemClock, SystemRandom};

    use super::*;

    #[test]
    fn a_code_leads_to_its_tag_and_nothing_else_does() {
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
        // By another's peppers it is another.
        let others = Peppers::generate("b", &SystemRandom);
        assert_eq!(CodeTag::of(CodeKind::Invite, code.expose(), &others), None);
    }
}
