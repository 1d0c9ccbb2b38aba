//! What a route reads from a request.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use crate::Problem;
use crate::json::Strict;
use crate::media_type::is_json_in_utf8;
use crate::request::{Client, Request};
use crate::shape::bind;

/// The longest body that a route reads, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Something that a route reads from a request, after the caller has been admitted.
pub trait Input: Sized + Send {
    /// Reads it.
    ///
    /// # Errors
    /// The problem that answers a request without it.
    fn read(request: &Request) -> Result<Self, Problem>;
}

/// Nothing. A body is ignored.
#[derive(Clone, Copy, Debug)]
pub struct NoBody;

impl Input for NoBody {
    fn read(_: &Request) -> Result<Self, Problem> {
        Ok(Self)
    }
}

/// A JSON object (RFC 8259) in UTF-8. Members that `T` does not name are ignored; a duplicate member name
/// is an error at any depth.
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
        // An array would do for a derived `Deserialize`, member by member.
        let Value::Object(object) = parse(&body)? else {
            return Err(Problem::invalid_request("The body must be a JSON object."));
        };
        bind(object).map(Self).map_err(Problem::wrong_members)
    }
}

/// The JSON value in `body`. The answer says what is wrong and quotes nothing.
fn parse(body: &[u8]) -> Result<Value, Problem> {
    // RFC 8259 §8.1 lets a receiver ignore the mark.
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    if is_utf_16_or_32(body) || str::from_utf8(body).is_err() {
        return Err(Problem::invalid_request("The body must be encoded in UTF-8."));
    }
    serde_json::from_slice(body).map(|Strict(value)| value).map_err(|error| {
        Problem::invalid_request(match error.classify() {
            // The only rule that the parser itself does not know.
            Category::Data => "The body contains an object with duplicate member names.",
            Category::Io | Category::Syntax | Category::Eof => {
                "The body is not valid JSON, or its nesting is too deep."
            }
        })
    })
}

/// Whether the text is in another encoding of Unicode. ASCII in UTF-16 is UTF-8 with NUL characters, which
/// JSON never starts with (RFC 4627 §3); other text starts with a byte order mark.
fn is_utf_16_or_32(body: &[u8]) -> bool {
    let start = &body[..body.len().min(4)];
    start.contains(&0) || start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff")
}

/// Whether the body says that it is JSON in UTF-8, without a content encoding.
fn is_plain_json(request: &Request) -> bool {
    let header = |name| {
        let mut values = request.headers().get_all(name).iter().map(HeaderValue::as_bytes);
        (values.next(), values.next().is_some())
    };
    let plain = match header(CONTENT_ENCODING) {
        (None, _) => true,
        (Some(encoding), more) => !more && encoding.trim_ascii().eq_ignore_ascii_case(b"identity"),
    };
    let json = match header(CONTENT_TYPE) {
        (Some(value), false) => is_json_in_utf8(value),
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
