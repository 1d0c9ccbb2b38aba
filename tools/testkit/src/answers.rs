//! Reads the answers of functions.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use web::EventResponse;

/// The answer for a snapshot, with placeholders for ids, times, tokens and other varying values.
#[must_use]
pub fn readable(answer: &EventResponse) -> Value {
    let headers: BTreeMap<_, _> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("(not text)")))
        .collect();
    let mut body = body(answer);
    redact(&mut body);
    json!({"status": answer.status_code, "headers": headers, "body": body})
}

/// The HTTP status code.
#[must_use]
pub fn status(answer: &EventResponse) -> i64 {
    answer.status_code
}

/// The body as JSON; `null` if the answer has none.
///
/// # Panics
/// When the body is not JSON.
#[must_use]
pub fn body(answer: &EventResponse) -> Value {
    let Some(body) = &answer.body else { return Value::Null };
    serde_json::from_slice(body).expect("the body is JSON")
}

/// The claims of an access token, unverified.
///
/// # Panics
/// When the text is not a token.
#[must_use]
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a token has three parts");
    serde_json::from_slice(&crate::decode(payload)).expect("claims are JSON")
}

/// The header of a token, unverified.
///
/// # Panics
/// When the text is not a token.
#[must_use]
pub fn token_header(token: &str) -> Value {
    let header = token.split('.').next().expect("a token has parts");
    serde_json::from_slice(&crate::decode(header)).expect("a header is JSON")
}

/// Replaces values that differ from run to run.
fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "id" | "sid" => *member = json!("(id)"),
                    "created_at" | "expires_at" | "last_used_at" => *member = json!("(time)"),
                    "last_login_at" if !member.is_null() => *member = json!("(time)"),
                    "access_token" | "refresh_token" => *member = json!("(token)"),
                    "invite_code" => *member = json!("(code)"),
                    "refresh_expires_in" => *member = json!("(seconds)"),
                    "kid" | "x" | "y" => *member = json!("(key)"),
                    _ => redact(member),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(redact),
        _ => {}
    }
}
