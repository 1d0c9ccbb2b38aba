//! Strict JSON: objects with duplicate member names are refused, as RFC 8259 permits.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON value without duplicate member names at any depth. If an object had duplicates, two parsers could read
/// different values from it.
///
/// `serde_json` limits the nesting to 128 levels.
pub(crate) struct Strict(pub(crate) Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate member names")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(value)) = elements.next_element()? {
            array.push(value);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let Strict(value) = members.next_value()?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member name"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strict(json: &str) -> Option<Value> {
        serde_json::from_str(json).ok().map(|Strict(value)| value)
    }

    #[test]
    fn a_duplicate_member_name_is_refused_at_any_depth() {
        assert!(strict(r#"{"a":1,"a":1}"#).is_none());
        assert!(strict(r#"{"a":[{"b":{"c":1,"c":2}}]}"#).is_none());
        assert!(strict(r#"{"a":1,"\u0061":2}"#).is_none(), "an escaped name is the same name");
        assert!(strict(r#"{"a":1,"A":2}"#).is_some(), "names are case-sensitive");
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(strict(&nested(100)).is_some());
        assert!(strict(&nested(1_000)).is_none());
        assert!(strict(&nested(100_000)).is_none());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = serde_json::from_slice::<Strict>(&bytes);
        }

        #[test]
        fn values_without_duplicates_parse_as_in_serde_json(a in any::<i64>(), b in any::<f64>(), c in ".*") {
            let value = serde_json::json!({"a": a, "b": [b, null, true], "c": {"d": c}});
            prop_assert_eq!(strict(&value.to_string()), serde_json::from_str(&value.to_string()).ok());
        }
    }
}
