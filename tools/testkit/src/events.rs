//! Loads events of an HTTP API from the folder `events`, and changes them.

use std::path::PathBuf;

use serde_json::{Value, json};
use template::project::Project;
use web::Event;

/// The root folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    Project::here().root().to_owned()
}

/// Loads `events/<name>.json`.
///
/// # Panics
/// When the event does not exist.
#[must_use]
pub fn load(name: &str) -> Value {
    let path = workspace().join("events").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The events of a function, `events/<function>.json` and `events/<function>-<case>.json`, by name.
///
/// # Panics
/// When the function has no event.
#[must_use]
pub fn events_of(function: &str) -> Vec<(String, Value)> {
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(workspace().join(folder)).expect("a folder");
        let name = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
        entries.map(|entry| name(entry.expect("a folder that can be read").path())).collect()
    };
    let functions = names("functions");
    // The name of one function may be a prefix of another's: the longest match owns the event.
    let owner = |event: &str| {
        let own = |name: &&String| event == **name || event.starts_with(&format!("{name}-"));
        functions.iter().filter(own).max_by_key(|name| name.len()).cloned()
    };
    let mut events: Vec<_> = names("events")
        .into_iter()
        .filter(|name| owner(name).as_deref() == Some(function))
        .collect();
    assert!(!events.is_empty(), "{function} has no event");
    events.sort();
    events.into_iter().map(|name| (name.clone(), load(&name))).collect()
}

/// Adds a header, or replaces it.
///
/// # Panics
/// When the value is not an event.
#[must_use]
pub fn header(mut event: Value, name: &str, value: &str) -> Value {
    let headers = event["headers"].as_object_mut().expect("an event has headers");
    headers.insert(name.to_lowercase(), json!(value));
    event
}

/// Changes the method to HEAD.
///
/// # Panics
/// When the value is not an event.
#[must_use]
pub fn head(mut event: Value) -> Value {
    let path = event["rawPath"].as_str().expect("an event has a path").to_owned();
    let key = json!(format!("HEAD {path}"));
    event["requestContext"]["http"]["method"] = json!("HEAD");
    event["requestContext"]["routeKey"] = key.clone();
    event["routeKey"] = key;
    event
}

/// Adds a bearer token, or replaces it.
#[must_use]
pub fn bearer(event: Value, token: &str) -> Value {
    header(event, "authorization", &format!("Bearer {token}"))
}

/// Replaces the placeholder for a bearer token in an event from `events/`, if the event has one.
#[must_use]
pub fn signed_in(event: Value, token: &str) -> Value {
    if event["headers"]["authorization"].is_string() { bearer(event, token) } else { event }
}

/// Changes the client's IP address.
#[must_use]
pub fn from_network(mut event: Value, address: &str) -> Value {
    event["requestContext"]["http"]["sourceIp"] = json!(address);
    event
}

/// Removes the bearer token.
///
/// # Panics
/// When the value is not an event.
#[must_use]
pub fn without_token(mut event: Value) -> Value {
    event["headers"].as_object_mut().expect("an event has headers").remove("authorization");
    event
}

/// Replaces the body with JSON.
#[must_use]
pub fn json_body(mut event: Value, body: &Value) -> Value {
    event["body"] = json!(body.to_string());
    event["isBase64Encoded"] = json!(false);
    event
}

/// Loads `events/<name>.json` and replaces its body with JSON.
#[must_use]
pub fn json_request(name: &str, body: &Value) -> Event {
    event(json_body(load(name), body))
}

/// Parses an event as a function receives it.
///
/// # Panics
/// When the value is not an event.
#[must_use]
pub fn event(event: Value) -> Event {
    serde_json::from_value(event).expect("an event of an HTTP API")
}
