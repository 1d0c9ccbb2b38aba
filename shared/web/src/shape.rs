//! Binds a JSON object to a type and names every member that does not fit.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value, json};

/// What is wrong with a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberError {
    /// The object lacks a required member.
    Missing,
    /// The value does not have the type of the member.
    WrongType,
}

impl MemberError {
    /// The stable code for programs.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
        }
    }

    /// The text for people.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::Missing => "The member is required.",
            Self::WrongType => "The member has the wrong type.",
        }
    }
}

/// Binds `object` to `T`. Members that `T` does not name are ignored.
///
/// # Errors
/// Every member that is missing or has the wrong type, by name. A name comes from `T`, never from the
/// request, because serde skips members that `T` does not name. An error inside a member is reported as an
/// error of that member. The map is empty when `T` rejects the object as a whole.
pub(crate) fn bind<T: DeserializeOwned>(
    mut object: Map<String, Value>,
) -> Result<T, BTreeMap<String, MemberError>> {
    let mut errors = BTreeMap::new();
    let mut placeholders = each_type();
    loop {
        let members = object.iter().map(|(name, value)| (name.as_str(), Member { name, value }));
        let (name, error) = match T::deserialize(MapDeserializer::new(members)) {
            Ok(bound) if errors.is_empty() => return Ok(bound),
            Ok(_) | Err(BindError::Whole) => return Err(errors),
            Err(BindError::Member(name, error)) => (name, error),
        };
        if !errors.contains_key(&name) {
            errors.insert(name.clone(), error);
            placeholders = each_type();
        }
        // serde stops at the first error. With a placeholder in its place, the next attempt reaches the
        // next error. What that attempt binds is dropped.
        let Some(placeholder) = placeholders.next() else { return Err(errors) };
        object.insert(name, placeholder);
    }
}

/// A value of each JSON type, because a missing member does not reveal the type that `T` expects.
fn each_type() -> impl Iterator<Item = Value> {
    [json!(null), json!(""), json!(0), json!(false), json!([]), json!({})].into_iter()
}

/// A member of the object being bound. It deserializes as its value does, and an error carries its name.
#[derive(Clone, Copy)]
struct Member<'a> {
    name: &'a str,
    value: &'a Value,
}

impl Member<'_> {
    fn named<T>(self, result: Result<T, serde_json::Error>) -> Result<T, BindError> {
        // serde_json's message may quote the value, so it is dropped.
        result.map_err(|_| BindError::Member(self.name.to_owned(), MemberError::WrongType))
    }
}

impl<'de> IntoDeserializer<'de, BindError> for Member<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Member<'de> {
    type Error = BindError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.named(self.value.deserialize_any(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BindError> {
        self.named(self.value.deserialize_option(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, BindError> {
        self.named(self.value.deserialize_newtype_struct(name, visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BindError> {
        self.named(self.value.deserialize_enum(name, variants, visitor))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Why an attempt to bind failed.
#[derive(Debug, PartialEq, Eq)]
enum BindError {
    Member(String, MemberError),
    Whole,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object does not match the expected shape")
    }
}

impl std::error::Error for BindError {}

impl Error for BindError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Whole
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Member(field.to_owned(), MemberError::Missing)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        id: String,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        name: String,
        password: String,
        email: Option<String>,
        #[serde(default)]
        count: u8,
        inner: Option<Inner>,
        #[serde(default)]
        tags: Vec<String>,
    }

    fn errors(value: Value) -> Vec<(String, MemberError)> {
        let Value::Object(object) = value else { panic!("{value}") };
        bind::<Outer>(object).unwrap_err().into_iter().collect()
    }

    #[test]
    fn every_member_that_does_not_fit_is_named() {
        use MemberError::{Missing, WrongType};
        for (body, expected) in [
            (json!({}), &[("name", Missing), ("password", Missing)][..]),
            (json!({"name": "a"}), &[("password", Missing)]),
            (json!({"name": null, "password": "b"}), &[("name", WrongType)]),
            (json!({"name": 1, "password": []}), &[("name", WrongType), ("password", WrongType)]),
            (
                json!({"name": {}, "email": 7}),
                &[("email", WrongType), ("name", WrongType), ("password", Missing)],
            ),
            (json!({"name": "a", "password": "b", "count": "7"}), &[("count", WrongType)]),
            (json!({"name": "a", "password": "b", "count": 256}), &[("count", WrongType)]),
            (json!({"name": "a", "password": "b", "inner": {}}), &[("inner", WrongType)]),
            (json!({"name": "a", "password": "b", "inner": {"id": 1}}), &[("inner", WrongType)]),
            (json!({"name": "a", "password": "b", "tags": ["x", 1]}), &[("tags", WrongType)]),
            (
                json!({"count": -1, "tags": 1, "inner": 1, "email": 1, "name": 1}),
                &[
                    ("count", WrongType),
                    ("email", WrongType),
                    ("inner", WrongType),
                    ("name", WrongType),
                    ("password", Missing),
                    ("tags", WrongType),
                ],
            ),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|&(name, error)| (name.to_owned(), error)).collect();
            assert_eq!(errors(body.clone()), expected, "{body}");
        }
    }

    proptest! {
        /// Names that nobody declared are neither bound nor repeated.
        #[test]
        fn only_declared_names_are_named(
            members in proptest::collection::hash_map("[a-z]{1,8}|name|count|inner", any::<i32>(), 0..6),
        ) {
            for (name, _) in errors(json!(members)) {
                let declared = ["name", "password", "email", "count", "inner", "tags"];
                prop_assert!(declared.contains(&name.as_str()), "{name}");
            }
        }

        #[test]
        fn binds_what_serde_json_binds(
            name in ".*", password in ".*", email in proptest::option::of(".*"), count in any::<u8>(),
            tags in proptest::collection::vec(".*", 0..3),
        ) {
            let body = json!({"name": name, "password": password, "email": email, "count": count,
                "tags": tags, "inner": {"id": name}, "other": [1]});
            let Value::Object(object) = body.clone() else { unreachable!() };
            prop_assert_eq!(bind::<Outer>(object).unwrap(), serde_json::from_value(body).unwrap());
        }
    }
}
