//! Attributes of an account, which only administrators set.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The maximum length of the attributes as JSON text.
const MAX_BYTES: usize = 1_024;

/// The maximum nesting depth. Token parsers in other languages accept this depth.
const MAX_DEPTH: usize = 16;

/// Facts about an account that applications need in every request, such as its tenant: a JSON object of at most 1,024
/// bytes. Tokens contain the attributes, so they must not contain secrets. They must not grant access either: only
/// roles do.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Attributes(Map<String, Value>);

/// The reason why an object cannot be the attributes of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributesError {
    /// The text is not JSON, or not an object.
    #[error("must be a JSON object")]
    NoObject,
    /// The object is too long.
    #[error("must have at most 1024 bytes when written as JSON")]
    TooLong,
    /// The object is nested too deeply.
    #[error("must be nested at most 16 levels deep")]
    TooDeep,
}

impl process::Fault for AttributesError {
    fn kind(&self) -> process::FaultKind {
        process::FaultKind::Invalid
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoObject => "invalid_object",
            Self::TooLong => "too_long",
            Self::TooDeep => "too_deep",
        }
    }
}

impl Attributes {
    /// Parses JSON text.
    ///
    /// # Errors
    /// When the text is not a JSON object, or the object is too long or nested too deeply.
    pub fn parse(json: &str) -> Result<Self, AttributesError> {
        let value: Value = serde_json::from_str(json).map_err(|_| AttributesError::NoObject)?;
        value.try_into()
    }

    /// Whether there are no attributes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of an attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The attributes as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("an object is JSON")
    }
}

/// Shows only the number of attributes, because the values may be personal data.
impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({})", self.0.len())
    }
}

impl TryFrom<Value> for Attributes {
    type Error = AttributesError;

    fn try_from(value: Value) -> Result<Self, AttributesError> {
        if depth(&value) > MAX_DEPTH {
            return Err(AttributesError::TooDeep);
        }
        let Value::Object(object) = value else { return Err(AttributesError::NoObject) };
        let attributes = Self(object);
        if attributes.to_json().len() > MAX_BYTES {
            return Err(AttributesError::TooLong);
        }
        Ok(attributes)
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::try_from(value).map_err(serde::de::Error::custom)
    }
}

/// The nesting depth of arrays and objects. The JSON parser limits this depth, so the recursion cannot overflow the
/// stack.
fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(elements) => elements.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + deepest.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_short_and_shallow_objects_are_attributes() {
        let nested =
            |levels: usize| format!("{}{}", "{\"a\":".repeat(levels - 1) + "{", "}".repeat(levels));
        let long = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        for (json, expected) in [
            ("{}".to_owned(), Ok(())),
            (nested(16), Ok(())),
            (nested(17), Err(AttributesError::TooDeep)),
            (nested(400), Err(AttributesError::NoObject)),
            (long(1_024), Ok(())),
            (long(1_025), Err(AttributesError::TooLong)),
            ("[]".to_owned(), Err(AttributesError::NoObject)),
            ("null".to_owned(), Err(AttributesError::NoObject)),
            ("{".to_owned(), Err(AttributesError::NoObject)),
        ] {
            assert_eq!(Attributes::parse(&json).map(drop), expected, "{json}");
        }
        // The length is that of the canonical form, without white space.
        assert!(Attributes::parse(&format!("{{ {} }}", " ".repeat(2_000))).is_ok());
    }

    #[test]
    fn debug_shows_only_the_number_of_attributes() {
        let attributes = Attributes::parse(r#"{"tenant":"secret-tenant"}"#).unwrap();
        assert_eq!(format!("{attributes:?}"), "Attributes(1)");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,80}") {
            let _ = Attributes::parse(&text);
        }

        #[test]
        fn attributes_round_trip(members in proptest::collection::btree_map(".{0,20}", any::<i64>(), 0..8)) {
            let value: Map<_, _> = members.into_iter().map(|(name, number)| (name, number.into())).collect();
            if let Ok(attributes) = Attributes::try_from(Value::Object(value)) {
                prop_assert_eq!(Attributes::parse(&attributes.to_json()), Ok(attributes));
            }
        }
    }
}
