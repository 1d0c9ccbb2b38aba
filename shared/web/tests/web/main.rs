//! Tests the steps that all routes share, before and after the handler, with small example routes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod answers;
mod bodies;
mod deadlines;
mod edge;
mod inputs;
mod log;
mod malformed;
mod routes;

use serde_json::{Value, json};
use web::{Access, EventResponse, Route, Service};

/// Builds the service of a public route, as a Lambda function would.
fn public_service<R: Route<Access: Access<Gate = ()>>>(route: R) -> Service<R> {
    Service::new((), route)
}

/// A POST event with content type JSON and this body, which need not be JSON or even text.
fn post(body: &[u8]) -> Value {
    log::start();
    let mut event = testkit::load("register");
    match std::str::from_utf8(body) {
        Ok(text) => event["body"] = json!(text),
        // The gateway encodes bodies that are not text.
        Err(_) => event = base64(event, body),
    }
    event
}

/// Sets the body of the event, encoded in Base64.
fn base64(mut event: Value, body: &[u8]) -> Value {
    use base64::Engine;
    event["body"] = json!(base64::engine::general_purpose::STANDARD.encode(body));
    event["isBase64Encoded"] = json!(true);
    event
}

/// The status and code of an answer.
fn outcome(answer: &EventResponse) -> (i64, String) {
    let code = testkit::body(answer)["code"].as_str().unwrap_or_default().to_owned();
    (answer.status_code, code)
}

fn header<'a>(answer: &'a EventResponse, name: &str) -> Option<&'a str> {
    let mut values = answer.headers.get_all(name).iter();
    let value = values.next()?.to_str().unwrap();
    assert_eq!(values.next(), None, "{name} must occur only once");
    Some(value)
}
