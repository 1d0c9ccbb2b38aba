//! Request bodies: JSON objects in UTF-8.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use crate::json::Strict;
use crate::media_type::is_json_in_utf8;
use crate::request::Request;
use crate::{Input, Part, Problem};

/// The maximum length of a request body, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A JSON object (RFC 8259) in UTF-8. Members that `T` does not declare are ignored. Duplicate member names are
/// refused at any depth.
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
        // A derived `Deserialize` would also accept an array, member by member.
        let Value::Object(object) = parse(&body)? else {
            return Err(Problem::invalid_request("The body must be a JSON object."));
        };
        request.bind(Part::Body, object.into_iter().collect()).map(Self)
    }
}

/// Parses `body` as JSON. The problem names the error but never quotes the body.
fn parse(body: &[u8]) -> Result<Value, Problem> {
    // A receiver may ignore the byte order mark (RFC 8259 §8.1).
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    if is_utf_16_or_32(body) || str::from_utf8(body).is_err() {
        return Err(Problem::invalid_request("The body must be encoded in UTF-8."));
    }
    serde_json::from_slice(body).map(|Strict(value)| value).map_err(|error| {
        Problem::invalid_request(match error.classify() {
            // `Strict` adds only this rule to those of the parser.
            Category::Data => "The body contains an object with duplicate member names.",
            Category::Io | Category::Syntax | Category::Eof => {
                "The body is not valid JSON, or its nesting is too deep."
            }
        })
    })
}

/// Whether the body is encoded in UTF-16 or UTF-32. JSON starts with ASCII characters, so a body in these encodings has
/// NUL bytes among its first four (RFC 4627 §3), unless it starts with a byte order mark.
fn is_utf_16_or_32(body: &[u8]) -> bool {
    let start = &body[..body.len().min(4)];
    start.contains(&0) || start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff")
}

/// Whether the headers declare JSON in UTF-8, without a content encoding.
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
