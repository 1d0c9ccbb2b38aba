//! Tests that no malformed input from a client or the gateway causes a 5xx.

use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::{bearer, event, header as with_header};
use web::{Event, answer};

use crate::routes::{ByToken, Echo, Finding};
use crate::{header, post, public_service};

/// The status of the answer, or `None` if the JSON does not parse as an event.
fn status_of(event_json: &Value) -> Option<i64> {
    let event: Event = serde_json::from_value(event_json.clone()).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let guarded =
            ByToken::new(&testkit::Forge::new(), &testkit::TestClock::default(), Finding::Nothing);
        assert_eq!(answer(&guarded, event.clone()).await.status_code, 401);
        let response = answer(&public_service(Echo), event).await;
        assert!(header(&response, "x-request-id").is_some());
        assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
        Some(response.status_code)
    })
}

#[test]
fn unusual_client_input_outside_the_body_is_accepted() {
    let base = || post(b"{}");
    let set = |pointer: &str, value: Value| {
        let mut event_json = base();
        *event_json.pointer_mut(pointer).unwrap() = value;
        event_json
    };
    for event_json in [
        set("/rawPath", json!("/auth/reg ister\u{e4}/%ff/../\u{0}")),
        set("/rawQueryString", json!("a=b c&%zz&=&&\u{e4}#?{}")),
        set("/requestContext/http/path", json!("//\\ \"<>")),
        set("/requestContext/http/method", json!("BREW")),
        set("/requestContext/http/protocol", json!("HTTP/9")),
        set("/requestContext/http/sourceIp", json!("not an address")),
        set("/requestContext/http/userAgent", json!("\u{1F600}\u{0}")),
        set("/requestContext/domainName", json!("")),
        set("/headers/host", json!("a b\\/:99999999")),
        set("/headers/host", json!("")),
        set("/headers/user-agent", json!("\u{e4}\u{1F600}")),
        set("/headers/content-length", json!("-1")),
        with_header(base(), "x-forwarded-for", "' OR 1=1 --, \u{202e}"),
        with_header(base(), "cookie", "\u{e4}=\u{1F600}; a"),
        with_header(base(), "expect", "100-continue"),
        with_header(base(), "transfer-encoding", "chunked, chunked"),
    ] {
        assert_eq!(status_of(&event_json), Some(200), "{event_json}");
    }
    let mut several = base();
    several["cookies"] = json!(["a=b", "\u{e4}"]);
    several["queryStringParameters"] = json!({"a": "b,c", "\u{e4}": ""});
    several["pathParameters"] = json!({"proxy": "a b"});
    several["stageVariables"] = json!(null);
    assert_eq!(status_of(&several), Some(200));
}

#[test]
fn parts_of_the_request_context_may_be_missing() {
    let parts =
        ["accountId", "apiId", "domainName", "domainPrefix", "requestId", "routeKey", "stage"];
    let mut bare = post(b"{}");
    for part in parts.into_iter().chain(["time", "timeEpoch"]) {
        let mut without = post(b"{}");
        for event_json in [&mut without, &mut bare] {
            event_json["requestContext"].as_object_mut().unwrap().remove(part);
        }
        assert_eq!(status_of(&without), Some(200), "{part}");
    }
    bare["requestContext"]["http"] = json!({"method": "POST"});
    assert_eq!(status_of(&bare), Some(200));
    let mut no_headers = post(b"{}");
    no_headers["headers"] = json!({});
    assert_eq!(status_of(&no_headers), Some(415));
    no_headers["headers"] = Value::Null;
    assert_eq!(status_of(&no_headers), Some(415));
}

/// Collects the JSON pointers of all members of the event.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    if let Value::Object(members) = value {
        for (name, member) in members {
            let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
            pointers(member, &at, found);
            found.push(at);
        }
    }
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        "[ -~\u{80}-\u{2ff}]{0,40}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({"a": "b"})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_event_values_cause_no_5xx(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), odd_value()), 1..4),
        (name, value) in ("[a-z-]{1,20}", ".{0,40}"),
    ) {
        let mut event_json = with_header(bearer(post(b"{}"), "a.b.c"), &name, &value);
        for (index, value) in changes {
            let mut found = Vec::new();
            pointers(&event_json, "", &mut found);
            *event_json.pointer_mut(index.get(&found[..]).as_str()).unwrap() = value;
        }
        if let Some(status) = status_of(&event_json) {
            prop_assert!(status < 500, "{status}: {event_json}");
        }
    }

    #[test]
    fn an_arbitrary_body_causes_no_5xx(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        is_base64 in any::<bool>(),
    ) {
        let mut event_json = post(&bytes);
        if is_base64 {
            event_json["isBase64Encoded"] = json!(true);
        }
        let status = status_of(&event_json).unwrap();
        prop_assert!(status < 500, "{status}");
    }

    #[test]
    fn arbitrary_headers_cause_no_5xx(
        content_type in "[\\x20-\\x7e\u{80}-\u{ff}]{0,40}",
        authorization in "[\\x20-\\x7e\u{80}-\u{ff}]{0,80}",
        encoding in "[\\x20-\\x7e]{0,20}",
    ) {
        let event_json = with_header(post(b"{}"), "content-type", &content_type);
        let event_json = with_header(event_json, "authorization", &authorization);
        let event_json = with_header(event_json, "content-encoding", &encoding);
        let status = status_of(&event_json).unwrap();
        prop_assert!(status < 500, "{status}");
    }
}

#[test]
fn a_valid_event_is_answered_with_200() {
    assert_eq!(status_of(&post(b"{}")), Some(200));
    let _ = event(post(b"{}"));
}
