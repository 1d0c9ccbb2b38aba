//! Inputs: the parts of a request that a route reads, as types.

use std::collections::BTreeMap;

use http::header::AUTHORIZATION;
use serde::de::DeserializeOwned;

use crate::body::MAX_BODY_BYTES;
use crate::request::{Client, Request};
use crate::text::Texts;
use crate::{EDGE_SECRET_HEADER, Part, Problem};

/// A part of a request that a route reads after the caller has been admitted. A tuple of inputs is also an input.
pub trait Input: Sized + Send {
    /// Reads the input.
    ///
    /// # Errors
    /// When the input is missing or invalid. The problem's status is 4xx.
    fn read(request: &Request) -> Result<Self, Problem>;
}

/// The empty input. A body in the request is ignored.
#[derive(Clone, Copy, Debug)]
pub struct NoBody;

impl Input for NoBody {
    fn read(_: &Request) -> Result<Self, Problem> {
        Ok(Self)
    }
}

/// The parameters of the query string, bound to the fields of `T`.
///
/// A `Vec` field takes every value of a repeated parameter; any other field refuses a repeated parameter. The parameter
/// of an `Option` field, or of a field with `#[serde(default)]`, may be missing. Parameters that `T` does not declare
/// are ignored. If a parameter is missing or has the wrong type, the answer is a 400 that names it.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send> Input for Query<T> {
    fn read(request: &Request) -> Result<Self, Problem> {
        let mut values = BTreeMap::<String, Texts>::new();
        for (name, value) in form_urlencoded::parse(request.raw_query().as_bytes()) {
            values.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        request.bind(Part::Query, values).map(Self)
    }
}

/// The parameters of the path, bound to the fields of `T`: `{id}` to the field `id`.
///
/// If a parameter does not have its field's type, no resource can have this path, so the answer is 404.
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> Input for Path<T> {
    fn read(request: &Request) -> Result<Self, Problem> {
        let parameters = request.path_parameters()?;
        let values: BTreeMap<_, _> = parameters
            .iter()
            .map(|(name, value)| (name.clone(), Texts::from(value.as_str())))
            .collect();
        request.bind(Part::Path, values).map(Self)
    }
}

/// Headers, bound to the fields of `T`. Names are in lower case: `#[serde(rename_all = "kebab-case")]` binds the
/// header `x-signature` to the field `x_signature`.
///
/// If a header is missing or has the wrong type, the answer is a 400 that names it. The gateway joins the values of a
/// repeated header with commas. `authorization` and the header with the edge secret are left out, so that no handler
/// can read them.
#[derive(Clone, Debug)]
pub struct Headers<T>(pub T);

impl<T: DeserializeOwned + Send> Input for Headers<T> {
    fn read(request: &Request) -> Result<Self, Problem> {
        let mut values = BTreeMap::<String, Texts>::new();
        for (name, value) in request.headers() {
            // Only the gate and the edge check may read these.
            if name == AUTHORIZATION || name == EDGE_SECRET_HEADER {
                continue;
            }
            // A value that is not UTF-8 is dropped. A header without any value has the wrong type for every field
            // except a `Vec`.
            let values = values.entry(name.as_str().to_owned()).or_default();
            if let Ok(value) = str::from_utf8(value.as_bytes()) {
                values.push(value.to_owned());
            }
        }
        request.bind(Part::Headers, values).map(Self)
    }
}

/// The raw body, of any content type and at most 16 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Input for Bytes {
    fn read(request: &Request) -> Result<Self, Problem> {
        let body = request.body()?;
        if body.len() > MAX_BODY_BYTES {
            return Err(Problem::too_large());
        }
        Ok(Self(body.into_owned()))
    }
}

impl Input for Client {
    fn read(request: &Request) -> Result<Self, Problem> {
        Ok(request.client())
    }
}

macro_rules! inputs_of_tuples {
    ($(($($name:ident)*))*) => {$(
        impl<$($name: Input),*> Input for ($($name,)*) {
            fn read(request: &Request) -> Result<Self, Problem> {
                Ok(($($name::read(request)?,)*))
            }
        }
    )*};
}

inputs_of_tuples! { (A B) (A B C) (A B C D) }
