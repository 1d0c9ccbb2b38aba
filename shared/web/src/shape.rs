//! Binds named values (members of a body, parameters, headers) to a type, and reports every value that is missing or
//! has the wrong type. Also lists the names that a type declares.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Value, json};

use crate::text::Texts;

/// Why a value cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberError {
    /// A required value is missing.
    Missing,
    /// The value does not have the expected type.
    WrongType,
}

impl MemberError {
    /// The stable code, for programs.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
        }
    }
}

/// The number of errors at which binding stops. Each error costs a few passes over all values, and if the type is a
/// map, the request determines how many errors there are.
const MAX_ERRORS: usize = 32;

/// The error of each value, by name. The map is empty if the type rejects the values as a whole.
pub(crate) type MemberErrors = BTreeMap<String, MemberError>;

/// A value that can be bound.
pub(crate) trait Bindable: Sized {
    /// Values of different types, to be tried in place of a faulty value, because the error does not reveal the
    /// expected type.
    fn placeholders() -> impl Iterator<Item = Self>;

    fn deserializer(&self) -> impl Deserializer<'_>;
}

impl Bindable for Value {
    fn placeholders() -> impl Iterator<Item = Self> {
        [json!(null), json!(""), json!(0), json!(false), json!([]), json!({})].into_iter()
    }

    fn deserializer(&self) -> impl Deserializer<'_> {
        self
    }
}

impl Bindable for Texts {
    fn placeholders() -> impl Iterator<Item = Self> {
        ["", "0", "false"].into_iter().map(Self::from)
    }

    fn deserializer(&self) -> impl Deserializer<'_> {
        self.values()
    }
}

/// Binds `values` to `T`. Values that `T` does not declare are ignored.
///
/// # Errors
/// When values are missing or have the wrong type. The error names the first [`MAX_ERRORS`] of them. The names are
/// declared by `T`, or come from the request if `T` is a map. An error inside a value is reported as an error of that
/// value.
pub(crate) fn bind<T: DeserializeOwned, V: Bindable>(
    values: BTreeMap<String, V>,
) -> Result<T, MemberErrors> {
    match bind_with_placeholders(values) {
        (Some(bound), errors) if errors.is_empty() => Ok(bound),
        (_, errors) => Err(errors),
    }
}

/// Binds `values` to `T`, with placeholders for faulty values. Stops after [`MAX_ERRORS`] errors. Returns no value if
/// it stops, or if no placeholder has the right type.
pub(crate) fn bind_with_placeholders<T: DeserializeOwned, V: Bindable>(
    mut values: BTreeMap<String, V>,
) -> (Option<T>, MemberErrors) {
    let mut errors = BTreeMap::new();
    let mut placeholders = V::placeholders();
    loop {
        let members = values.iter().map(|(name, value)| (name.as_str(), Member { name, value }));
        let (name, error) = match T::deserialize(MapDeserializer::new(members)) {
            Ok(bound) => return (Some(bound), errors),
            Err(BindError::Whole) => return (None, errors),
            Err(BindError::Member(name, error)) => (name, error),
        };
        if !errors.contains_key(&name) {
            errors.insert(name.clone(), error);
            if errors.len() == MAX_ERRORS {
                return (None, errors);
            }
            placeholders = V::placeholders();
        }
        // serde stops at the first error. With a placeholder for the faulty value, the next attempt reaches
        // the next error.
        let Some(placeholder) = placeholders.next() else { return (None, errors) };
        values.insert(name, placeholder);
    }
}

/// The names that `T` declares. Empty if `T` is not a struct, or has fields with `#[serde(flatten)]`.
pub(crate) fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names = &[][..];
    // Always fails, because there are no values.
    drop(T::deserialize(Names(&mut names)));
    names
}

/// A deserializer without values, which stores the names of the requested struct's fields.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = BindError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, BindError> {
        Err(BindError::Whole)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, BindError> {
        *self.0 = names;
        Err(BindError::Whole)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A value that deserializes as usual, but whose errors contain its name.
struct Member<'a, V> {
    name: &'a str,
    value: &'a V,
}

impl<V> Member<'_, V> {
    fn named<T, E>(&self, result: Result<T, E>) -> Result<T, BindError> {
        // The original error is dropped, because it may quote the value.
        result.map_err(|_| BindError::Member(self.name.to_owned(), MemberError::WrongType))
    }
}

impl<'de, V: Bindable> IntoDeserializer<'de, BindError> for Member<'de, V> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Forwards each method to the value's deserializer. The method determines the type into which a text is parsed.
macro_rules! forward_to_value {
    ($($method:ident)*) => {$(
        fn $method<W: Visitor<'de>>(self, visitor: W) -> Result<W::Value, BindError> {
            self.named(self.value.deserializer().$method(visitor))
        }
    )*};
}

impl<'de, V: Bindable> Deserializer<'de> for Member<'de, V> {
    type Error = BindError;

    forward_to_value! {
        deserialize_any deserialize_option deserialize_bool deserialize_seq
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    fn deserialize_newtype_struct<W: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: W,
    ) -> Result<W::Value, BindError> {
        self.named(self.value.deserializer().deserialize_newtype_struct(name, visitor))
    }

    fn deserialize_enum<W: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: W,
    ) -> Result<W::Value, BindError> {
        self.named(self.value.deserializer().deserialize_enum(name, variants, visitor))
    }

    forward_to_deserialize_any! {
        <W: Visitor<'de>>
        char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
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
        f.write_str("the values do not match the expected type")
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
        bind::<Outer, _>(object.into_iter().collect()).unwrap_err().into_iter().collect()
    }

    #[test]
    fn every_member_that_is_missing_or_has_the_wrong_type_is_named() {
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

    #[test]
    fn a_type_declares_the_names_of_its_fields() {
        assert_eq!(names::<Outer>(), ["name", "password", "email", "count", "inner", "tags"]);
        assert_eq!(names::<BTreeMap<String, u8>>(), [""; 0]);
    }

    #[test]
    fn the_number_of_errors_is_bounded() {
        let values: BTreeMap<_, _> = (0..1_000).map(|n| (n.to_string(), json!("a"))).collect();
        let errors = bind::<BTreeMap<String, u8>, _>(values).unwrap_err();
        assert_eq!(errors.len(), MAX_ERRORS);
    }

    proptest! {
        #[test]
        fn errors_contain_only_declared_names(
            members in proptest::collection::hash_map("[a-z]{1,8}|name|count|inner", any::<i32>(), 0..6),
        ) {
            for (name, _) in errors(json!(members)) {
                let declared = ["name", "password", "email", "count", "inner", "tags"];
                prop_assert!(declared.contains(&name.as_str()), "{name}");
            }
        }

        #[test]
        fn binding_agrees_with_serde_json(
            name in ".*", password in ".*", email in proptest::option::of(".*"), count in any::<u8>(),
            tags in proptest::collection::vec(".*", 0..3),
        ) {
            let body = json!({"name": name, "password": password, "email": email, "count": count,
                "tags": tags, "inner": {"id": name}, "other": [1]});
            let Value::Object(object) = body.clone() else { unreachable!() };
            let bound = bind::<Outer, _>(object.into_iter().collect());
            prop_assert_eq!(bound.unwrap(), serde_json::from_value(body).unwrap());
        }
    }
}
