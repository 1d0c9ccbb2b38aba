//! Events in payload format 2.0.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_TYPE, COOKIE, HOST, HeaderMap, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    USER_AGENT,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Version};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Matched;

/// Data that an event contains in addition to the request itself.
#[derive(Clone, Copy, Debug)]
pub struct EventContext<'a> {
    /// The address of the client.
    pub peer: SocketAddr,
    /// The time of arrival.
    pub time: Timestamp,
    /// The id that the gateway gave the request.
    pub request_id: &'a str,
}

/// Headers that concern only one connection. The gateway does not forward them (RFC 9110 §7.6.1).
pub(super) const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The path as an HTTP API matches and forwards it: percent-decoded, and cut at a `?` that results from decoding.
/// Bytes that are not UTF-8 become U+FFFD.
pub(super) fn decoded_path(path: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    decoded.split('?').next().unwrap_or_default().to_owned()
}

/// The event for a request that matched a route.
///
/// It follows "Payload format version 2.0" in the developer guide:
/// - Header names are in lower case, and the values of a repeated header are joined by commas.
/// - Cookies are separate from the headers.
/// - Query parameters are decoded, and the values of a repeated parameter are joined by commas.
/// - The body is text if its content type is textual, and base64 otherwise. Text that is not UTF-8 is base64 too,
///   because JSON cannot contain it.
#[must_use]
pub fn event(parts: &Parts, body: &[u8], matched: &Matched, context: EventContext<'_>) -> Value {
    let query = parts.uri.query().unwrap_or_default();
    let path = decoded_path(parts.uri.path());
    let host = text(&parts.headers, &HOST);
    let mut event = json!({
        "version": "2.0",
        "routeKey": matched.key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers(parts, context.peer),
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": host,
            "domainPrefix": host.split(['.', ':']).next().unwrap_or_default(),
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": protocol(parts.version),
                "sourceIp": context.peer.ip().to_canonical().to_string(),
                "userAgent": text(&parts.headers, &USER_AGENT),
            },
            "requestId": context.request_id,
            "routeKey": matched.key,
            "stage": "$default",
            "time": context.time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": context.time.as_millisecond(),
        },
        "isBase64Encoded": false,
    });
    let cookies = cookies(&parts.headers);
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !query.is_empty() {
        event["queryStringParameters"] = json!(parameters(query));
    }
    if !matched.parameters.is_empty() {
        event["pathParameters"] = json!(matched.parameters);
    }
    if !body.is_empty() {
        match str::from_utf8(body) {
            Ok(body) if is_text(&parts.headers) => event["body"] = json!(body),
            _ => {
                event["body"] = json!(STANDARD.encode(body));
                event["isBase64Encoded"] = json!(true);
            }
        }
    }
    event
}

fn protocol(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    headers.get(name).map_or(Cow::Borrowed(""), readable)
}

/// Converts a header to text for JSON. Decodes it as UTF-8 or, if that is impossible, as ISO 8859-1, the historical
/// encoding of headers (RFC 9110 §5.5).
fn readable(value: &HeaderValue) -> Cow<'_, str> {
    match str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
    }
}

fn headers(parts: &Parts, peer: SocketAddr) -> Map<String, Value> {
    let joined = |name: &HeaderName| {
        let values: Vec<_> = parts.headers.get_all(name).iter().map(readable).collect();
        values.join(",")
    };
    let mut headers: Map<String, Value> = parts
        .headers
        .keys()
        .filter(|name| **name != COOKIE && !HOP_BY_HOP.contains(name))
        .map(|name| (name.to_string(), json!(joined(name))))
        .collect();
    // The gateway appends the client's address to the value that the client sent.
    let forwarded = match headers.get("x-forwarded-for").and_then(Value::as_str) {
        Some(claimed) => format!("{claimed}, {}", peer.ip().to_canonical()),
        None => peer.ip().to_canonical().to_string(),
    };
    headers.insert("x-forwarded-for".to_owned(), json!(forwarded));
    headers.insert("x-forwarded-proto".to_owned(), json!("http"));
    headers
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|value| {
            let value = readable(value);
            let cookies = value.split(';').map(|cookie| cookie.trim().to_owned());
            cookies.collect::<Vec<_>>()
        })
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::<String, String>::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        parameters
            .entry(name.into_owned())
            .and_modify(|joined| {
                joined.push(',');
                joined.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    parameters
}

/// Whether an HTTP API passes on a body of this content type as text.
fn is_text(headers: &HeaderMap) -> bool {
    let content_type = text(headers, &CONTENT_TYPE).to_ascii_lowercase();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.starts_with("text/")
        || matches!(essence, "application/json" | "application/javascript" | "application/xml")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn event_for(request: http::request::Builder, body: &[u8], key: &str) -> Value {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let matched =
            Matched { key: key.to_owned(), function: "f".to_owned(), parameters: BTreeMap::new() };
        let context = EventContext {
            peer: "127.0.0.2:5000".parse().unwrap(),
            time: "2026-11-22T10:00:00.123Z".parse().unwrap(),
            request_id: "id-1",
        };
        event(&parts, body, &matched, context)
    }

    #[test]
    fn an_event_has_the_members_of_format_2() {
        let request = Request::post("/auth/login?a=1&a=2&b=x%20y+z&c")
            .header("Host", "127.0.0.1:9000")
            .header("Content-Type", "application/json")
            .header("User-Agent", "test/1")
            .header("Cookie", "a=1; b=2")
            .header("Cookie", "c=3")
            .header("Connection", "close")
            .header("X-Twice", "1")
            .header("X-Twice", "2")
            .header("X-Forwarded-For", "9.9.9.9");
        assert_eq!(
            event_for(request, br#"{"a":1}"#, "POST /auth/login"),
            json!({
                "version": "2.0",
                "routeKey": "POST /auth/login",
                "rawPath": "/auth/login",
                "rawQueryString": "a=1&a=2&b=x%20y+z&c",
                "cookies": ["a=1", "b=2", "c=3"],
                "headers": {
                    "host": "127.0.0.1:9000",
                    "content-type": "application/json",
                    "user-agent": "test/1",
                    "x-twice": "1,2",
                    "x-forwarded-for": "9.9.9.9, 127.0.0.2",
                    "x-forwarded-proto": "http",
                },
                "queryStringParameters": {"a": "1,2", "b": "x y z", "c": ""},
                "requestContext": {
                    "accountId": "000000000000",
                    "apiId": "local",
                    "domainName": "127.0.0.1:9000",
                    "domainPrefix": "127",
                    "http": {
                        "method": "POST",
                        "path": "/auth/login",
                        "protocol": "HTTP/1.1",
                        "sourceIp": "127.0.0.2",
                        "userAgent": "test/1",
                    },
                    "requestId": "id-1",
                    "routeKey": "POST /auth/login",
                    "stage": "$default",
                    "time": "22/Nov/2026:10:00:00 +0000",
                    "timeEpoch": 1_795_341_600_123_i64,
                },
                "body": "{\"a\":1}",
                "isBase64Encoded": false,
            })
        );
    }

    #[test]
    fn absent_members_are_omitted() {
        let event = event_for(Request::get("/auth/me"), b"", "GET /auth/me");
        for absent in ["body", "cookies", "queryStringParameters", "pathParameters"] {
            assert_eq!(event.get(absent), None, "{absent}");
        }
        assert_eq!(event["rawQueryString"], "");
    }

    #[test]
    fn a_body_is_base64_unless_it_is_text() {
        for (content_type, body, encoded) in [
            (Some("application/json"), &b"{}"[..], false),
            (Some("Application/JSON; charset=utf-8"), b"{}", false),
            (Some("text/plain"), b"a", false),
            (Some("application/xml"), b"<a/>", false),
            (Some("application/json"), b"\xff\xfe", true),
            (Some("application/jsonx"), b"{}", true),
            (Some("application/x-www-form-urlencoded"), b"a=1", true),
            (Some("application/octet-stream"), b"a", true),
            (None, b"a", true),
        ] {
            let mut request = Request::post("/");
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let event = event_for(request, body, "POST /");
            assert_eq!(event["isBase64Encoded"], encoded, "{content_type:?}");
            let sent = event["body"].as_str().unwrap();
            let received =
                if encoded { STANDARD.decode(sent).unwrap() } else { sent.as_bytes().to_vec() };
            assert_eq!(received, body, "{content_type:?}");
        }
    }

    #[test]
    fn a_header_is_decoded_as_utf_8_or_iso_8859_1() {
        for bytes in ["Br\u{f6}wser/1".as_bytes(), b"Br\xf6wser/1"] {
            let value = HeaderValue::from_bytes(bytes).unwrap();
            let event = event_for(Request::get("/").header("user-agent", value), b"", "GET /");
            assert_eq!(event["headers"]["user-agent"], "Br\u{f6}wser/1");
            assert_eq!(event["requestContext"]["http"]["userAgent"], "Br\u{f6}wser/1");
        }
    }

    #[test]
    fn paths_are_percent_decoded() {
        for (path, decoded) in [
            ("/auth/me", "/auth/me"),
            ("/auth/%6De", "/auth/me"),
            ("/a%2Fb", "/a/b"),
            ("/a%3Fb", "/a"),
            ("/a%zz", "/a%zz"),
            ("/a%ff", "/a\u{fffd}"),
            ("/a+b", "/a+b"),
        ] {
            assert_eq!(decoded_path(path), decoded, "{path}");
        }
    }

    #[test]
    fn a_mapped_ipv4_address_is_reported_as_ipv4() {
        let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let matched =
            Matched { key: "GET /".into(), function: "f".into(), parameters: BTreeMap::new() };
        let context = EventContext {
            peer: "[::ffff:10.0.0.1]:1".parse().unwrap(),
            time: Timestamp::UNIX_EPOCH,
            request_id: "id",
        };
        let event = event(&parts, b"", &matched, context);
        assert_eq!(event["requestContext"]["http"]["sourceIp"], "10.0.0.1");
    }
}
