//! Events of an HTTP API: those of the folder `events`, and changed ones.

use std::path::Path;

use serde_json::{Value, json};
use web::Event;

/// The folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// `events/<name>.json`.
///
/// # Panics
/// When there is no such event.
#[must_use]
pub fn load(name: &str) -> Value {
    let path = workspace().join("events").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The event with a header.
///
/// # Panics
/// When the value is no event.
#[must_use]
pub fn header(mut event: Value, name: &str, value: &str) -> Value {
    let headers = event["headers"].as_object_mut().expect("an event has headers");
    headers.insert(name.to_lowercase(), json!(value));
    event
}

/// The event with a bearer token.
#[must_use]
pub fn bearer(event: Value, token: &str) -> Value {
    header(event, "authorization", &format!("Bearer {token}"))
}

/// The event without a token.
///
/// # Panics
/// When the value is no event.
#[must_use]
pub fn without_token(mut event: Value) -> Value {
    event["headers"].as_object_mut().expect("an event has headers").remove("authorization");
    event
}

/// The event with another body.
#[must_use]
pub fn json_body(mut event: Value, body: &Value) -> Value {
    event["body"] = json!(body.to_string());
    event["isBase64Encoded"] = json!(false);
    event
}

/// `events/<name>.json` with another body.
#[must_use]
pub fn json_request(name: &str, body: &Value) -> Event {
    event(json_body(load(name), body))
}

/// The event as a function gets it.
///
/// # Panics
/// When the value is no event.
#[must_use]
pub fn event(event: Value) -> Event {
    serde_json::from_value(event).expect("an event of an HTTP API")
}
