//! Deserializes text from a query string, a path or headers into the expected types.

use serde::de::value::{Error, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// The values of one parameter or header, in the order of the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts(Vec<String>);

impl Texts {
    pub(crate) fn push(&mut self, value: String) {
        self.0.push(value);
    }

    pub(crate) fn values(&self) -> Values<'_> {
        Values(&self.0)
    }
}

impl From<&str> for Texts {
    fn from(value: &str) -> Self {
        Self(vec![value.to_owned()])
    }
}

/// Deserializes the values of one parameter or header. A sequence takes all values; every other type requires
/// exactly one.
#[derive(Clone, Copy)]
pub(crate) struct Values<'de>(&'de [String]);

impl<'de> Values<'de> {
    fn one(self) -> Result<&'de str, Error> {
        match self.0 {
            [value] => Ok(value),
            _ => Err(Error::custom("expected one value")),
        }
    }
}

impl<'de> IntoDeserializer<'de, Error> for Values<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parse {
    ($($method:ident $visit:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.one()?.parse().map_err(Error::custom)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Values<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.one()?)
    }

    parse! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8
        deserialize_i16 visit_i16
        deserialize_i32 visit_i32
        deserialize_i64 visit_i64
        deserialize_i128 visit_i128
        deserialize_u8 visit_u8
        deserialize_u16 visit_u16
        deserialize_u32 visit_u32
        deserialize_u64 visit_u64
        deserialize_u128 visit_u128
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let number = self.one()?.parse().ok().filter(|number: &f32| number.is_finite());
        visitor.visit_f32(number.ok_or_else(|| Error::custom("expected a finite number"))?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let number = self.one()?.parse().ok().filter(|number: &f64| number.is_finite());
        visitor.visit_f64(number.ok_or_else(|| Error::custom("expected a finite number"))?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let values = self.0.iter().map(|value| Self(std::slice::from_ref(value)));
        visitor.visit_seq(SeqDeserializer::new(values))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let value: serde::de::value::StrDeserializer<'_, Error> = self.one()?.into_deserializer();
        value.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}
