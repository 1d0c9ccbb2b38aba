//! What a route takes in of a request.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Problem;
use crate::json::Strict;
use crate::request::{Client, Request};

/// The longest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// Something that a route takes in. Read after the caller has been let in.
pub trait Input: Sized + Send {
    /// Reads it from the request.
    ///
    /// # Errors
    /// The problem that answers a request of which it cannot be read.
    fn read(request: &Request) -> Result<Self, Problem>;
}

/// Nothing: a body is not looked at.
#[derive(Clone, Copy, Debug)]
pub struct NoBody;

impl Input for NoBody {
    fn read(_: &Request) -> Result<Self, Problem> {
        Ok(Self)
    }
}

/// A JSON object. Members that `T` does not name are ignored; a member name that stands twice is an
/// error at any depth.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + Send> Input for Body<T> {
    fn read(request: &Request) -> Result<Self, Problem> {
        let body = request.body()?;
        if body.len() > MAX_BODY_BYTES {
            return Err(Problem::too_large());
        }
        if !is_plain_json(request) {
            return Err(Problem::unsupported_media_type());
        }
        let Ok(Strict(value)) = serde_json::from_slice(&body) else {
            return Err(Problem::invalid_request(
                "The body must be JSON in UTF-8, without duplicate members or deep nesting.",
            ));
        };
        // An array would do for a derived `Deserialize`, member by member.
        if !value.is_object() {
            return Err(Problem::invalid_request("The body must be a JSON object."));
        }
        shape(value).map(Self)
    }
}

fn shape<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    // serde's message may quote what was sent, so none of it is passed on.
    serde_json::from_value(value).map_err(|_| {
        Problem::invalid_request("A member of the body is missing or of the wrong type.")
    })
}

/// Whether the body says that it is `application/json`, in no further encoding.
fn is_plain_json(request: &Request) -> bool {
    let header = |name| {
        let mut values = request.headers().get_all(name).iter();
        (values.next().and_then(|value| value.to_str().ok()), values.next().is_some())
    };
    let plain = match header(CONTENT_ENCODING) {
        (None, _) => !request.headers().contains_key(CONTENT_ENCODING),
        (Some(encoding), more) => !more && encoding.trim().eq_ignore_ascii_case("identity"),
    };
    let json = match header(CONTENT_TYPE) {
        (Some(value), false) => value
            .parse::<mime::Mime>()
            .is_ok_and(|mime| mime.essence_str() == mime::APPLICATION_JSON.essence_str()),
        _ => false,
    };
    plain && json
}

impl Input for Client {
    fn read(request: &Request) -> Result<Self, Problem> {
        Ok(request.client())
    }
}

impl<A: Input, B: Input> Input for (A, B) {
    fn read(request: &Request) -> Result<Self, Problem> {
        Ok((A::read(request)?, B::read(request)?))
    }
}
