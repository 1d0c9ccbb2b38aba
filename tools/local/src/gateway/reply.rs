//! Maps a function's result to a response.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::event::HOP_BY_HOP;

/// The result is not a valid response for an HTTP API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the function's result is not a response: {0}")]
pub struct MalformedReply(&'static str);

/// A result with `statusCode`. Its `multiValueHeaders` are ignored, because format 2.0 does not have them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Structured {
    status_code: u16,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(default)]
    cookies: Option<Vec<String>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// Converts the result of a function to a response.
///
/// An object with `statusCode` describes the response. Any other JSON value becomes the body of a 200 response (see
/// "Lambda function response for format 2.0" in the developer guide).
///
/// # Errors
/// When the result is not JSON, or not a valid response.
pub fn reply(result: &[u8]) -> Result<Response<Bytes>, MalformedReply> {
    let result: Value =
        serde_json::from_slice(result).map_err(|_| MalformedReply("it is not JSON"))?;
    if result.get("statusCode").is_none() {
        return Ok(bare(&result));
    }
    let result: Structured =
        serde_json::from_value(result).map_err(|_| MalformedReply("members have wrong types"))?;
    let status = StatusCode::from_u16(result.status_code)
        .ok()
        .filter(|status| !status.is_informational() && status.as_u16() < 600)
        .ok_or(MalformedReply("the status is invalid"))?;
    let body = match (result.body, result.is_base64_encoded) {
        (None, _) => Bytes::new(),
        (Some(body), false) => body.into(),
        (Some(body), true) => {
            STANDARD.decode(body).map_err(|_| MalformedReply("the body is not base64"))?.into()
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in result.headers.unwrap_or_default() {
        header(response.headers_mut(), &name, &value)?;
    }
    for cookie in result.cookies.unwrap_or_default() {
        let cookie =
            HeaderValue::try_from(cookie).map_err(|_| MalformedReply("a cookie is invalid"))?;
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

fn bare(result: &Value) -> Response<Bytes> {
    let body = match result {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn header(headers: &mut HeaderMap, name: &str, value: &Value) -> Result<(), MalformedReply> {
    let name =
        HeaderName::try_from(name).map_err(|_| MalformedReply("a header name is invalid"))?;
    let value = match value {
        Value::String(value) => value.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Err(MalformedReply("a header is not a string"));
        }
    };
    let value =
        HeaderValue::try_from(value).map_err(|_| MalformedReply("a header value is invalid"))?;
    // The gateway sets the content length and the connection headers itself.
    if name != CONTENT_LENGTH && !HOP_BY_HOP.contains(&name) {
        headers.append(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(result: &Value) -> Result<Response<Bytes>, MalformedReply> {
        reply(result.to_string().as_bytes())
    }

    #[test]
    fn a_result_with_a_status_describes_the_response() {
        let response = of(&json!({
            "statusCode": 201,
            "headers": {"Content-Type": "text/plain", "X-N": 7, "Content-Length": "999"},
            "multiValueHeaders": {"X-Ignored": ["a"]},
            "cookies": ["a=1", "b=2"],
            "body": "aGk=",
            "isBase64Encoded": true,
        }))
        .unwrap();
        assert_eq!(response.status(), 201);
        assert_eq!(response.body(), "hi");
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/plain");
        assert_eq!(headers["x-n"], "7");
        assert_eq!(headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(headers.get("content-length"), None);
        assert_eq!(headers.get("x-ignored"), None);
    }

    #[test]
    fn optional_members_may_be_null() {
        let response = of(&json!({
            "statusCode": 204, "headers": null, "cookies": null, "body": null
        }))
        .unwrap();
        assert_eq!((response.status().as_u16(), response.body().len()), (204, 0));
    }

    #[test]
    fn any_other_result_becomes_the_body_of_a_200() {
        for (result, body) in [
            (json!({"a": 1}), r#"{"a":1}"#),
            (json!([1]), "[1]"),
            (json!("text"), "text"),
            (json!(null), "null"),
        ] {
            let response = of(&result).unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["content-type"], "application/json");
            assert_eq!(response.body(), body);
        }
    }

    #[test]
    fn an_invalid_response_is_refused() {
        assert!(reply(b"").is_err());
        assert!(reply(b"{").is_err());
        for result in [
            json!({"statusCode": "two hundred"}),
            json!({"statusCode": 20}),
            json!({"statusCode": 101}),
            json!({"statusCode": 999}),
            json!({"statusCode": null}),
            json!({"statusCode": 200, "body": {"a": 1}}),
            json!({"statusCode": 200, "body": "%", "isBase64Encoded": true}),
            json!({"statusCode": 200, "headers": {"a b": "c"}}),
            json!({"statusCode": 200, "headers": {"a": "b\nc"}}),
            json!({"statusCode": 200, "headers": {"a": ["b"]}}),
            json!({"statusCode": 200, "cookies": ["a\n"]}),
        ] {
            assert!(of(&result).is_err(), "{result}");
        }
    }
}
