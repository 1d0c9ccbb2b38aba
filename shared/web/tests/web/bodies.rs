//! Tests which request bodies are accepted, and how the others are refused.

use serde_json::{Value, json};
use testkit::{event, header as with_header, json_body, load};
use web::{MAX_BODY_BYTES, answer};

use crate::routes::{Bodiless, Echo, Shaped};
use crate::{base64, outcome, post, public_service};

async fn echo(event_json: Value) -> (i64, String) {
    outcome(&answer(&public_service(Echo), event(event_json)).await)
}

fn ok() -> (i64, String) {
    (200, String::new())
}

fn refused(status: i64, code: &str) -> (i64, String) {
    (status, code.to_owned())
}

/// A request with this content type, or with none.
fn typed(content_type: Option<&str>) -> Value {
    let mut event = post(b"{}");
    if let Some(value) = content_type {
        return with_header(event, "content-type", value);
    }
    event["headers"].as_object_mut().unwrap().remove("content-type");
    event
}

#[tokio::test]
async fn the_content_type_must_be_json_in_utf_8() {
    for good in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json; anything=else",
        "Application/JSON",
        "application/json ; charset=\"utf-8\"",
        "application/json\t;\tCHARSET=Utf-8 ; ",
        "application/json;charset=\"\\u\\t\\f\\-\\8\"",
        "application/json; name=\"a; charset=latin1\"",
        "application/json; name=\"\u{e4}\"",
    ] {
        assert_eq!(echo(typed(Some(good))).await, ok(), "{good}");
    }
    for bad in [
        "",
        " ",
        "json",
        "text/json",
        "text/plain",
        "application/jsonp",
        "application/json+x",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
        "application/json, application/json",
        "application/json,text/plain",
        "text/plain; application/json",
        "application/*",
        "*/*",
        "application/json\u{e4}",
        "application/json; charset=utf-16",
        "application/json; charset=\"iso-8859-1\"",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; charset = utf-8",
        "application/json; charset=\"utf-8",
        "application/json charset=utf-8",
        ";",
        "/",
    ] {
        let expected = refused(415, "unsupported_media_type");
        assert_eq!(echo(typed(Some(bad))).await, expected, "{bad:?}");
    }
    assert_eq!(echo(typed(None)).await, refused(415, "unsupported_media_type"));
}

#[tokio::test]
async fn a_body_with_a_content_encoding_is_refused() {
    let encoded = |value| with_header(post(b"{}"), "content-encoding", value);
    assert_eq!(echo(encoded("identity")).await, ok());
    for bad in ["gzip", "br", "deflate", "zstd", "gzip, identity", "identity, gzip", "", "\u{e4}"] {
        let expected = refused(415, "unsupported_media_type");
        assert_eq!(echo(encoded(bad)).await, expected, "{bad:?}");
    }
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0];
    let mut event = with_header(base64(post(b"{}"), &gzip), "content-encoding", "gzip");
    assert_eq!(echo(event.clone()).await, refused(415, "unsupported_media_type"));
    event["headers"].as_object_mut().unwrap().remove("content-encoding");
    assert_eq!(echo(event).await, refused(400, "invalid_request"), "compressed bytes are not JSON");
}

/// A JSON object of this many bytes.
fn sized(bytes: usize) -> Vec<u8> {
    format!(r#"{{"a":"{}"}}"#, "a".repeat(bytes - 8)).into_bytes()
}

#[tokio::test]
async fn a_body_of_more_than_16_kib_is_refused() {
    assert_eq!(MAX_BODY_BYTES, 16_384);
    assert_eq!(sized(MAX_BODY_BYTES).len(), 16_384);
    assert_eq!(echo(post(&sized(16_384))).await, ok());
    assert_eq!(
        echo(base64(post(b""), &sized(16_384))).await,
        ok(),
        "the limit applies to the decoded bytes"
    );
    assert_eq!(echo(post(&sized(16_385))).await, refused(413, "too_large"));
    assert_eq!(echo(base64(post(b""), &sized(16_385))).await, refused(413, "too_large"));
    assert_eq!(echo(post(&sized(1_000_000))).await, refused(413, "too_large"));
    let wide = format!(r#"{{"a":"{}"}}"#, "ä".repeat(8_189));
    assert_eq!(
        echo(post(wide.as_bytes())).await,
        refused(413, "too_large"),
        "the limit is in bytes, not in characters"
    );
}

#[tokio::test]
async fn a_body_must_be_a_json_object() {
    for good in [
        "{}",
        " {} ",
        "\r\n\t{}",
        "\u{feff}{}",
        "\u{feff} {}",
        r#"{"a":null}"#,
        r#"{"a":{"b":[1,"c"]},"d":1e3}"#,
    ] {
        assert_eq!(echo(post(good.as_bytes())).await, ok(), "{good}");
    }
    for bad in [
        "",
        " ",
        "null",
        "true",
        "1",
        "\"a\"",
        "[]",
        "[{}]",
        r#"["name"]"#,
        "{",
        "}",
        "{}{}",
        "{},",
        "{}a",
        "{'a':1}",
        "{a:1}",
        r#"{"a":1,}"#,
        r#"{"a":NaN}"#,
        r#"{"a":1e400}"#,
        r#"{"a":01}"#,
        "{}//",
        "/**/{}",
        "\u{feff}",
        "\u{feff}\u{feff}{}",
        " \u{feff}{}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\u{0}\"}",
        "a=1&b=2",
    ] {
        assert_eq!(echo(post(bad.as_bytes())).await, refused(400, "invalid_request"), "{bad}");
    }
    let mut none = post(b"");
    none["body"] = Value::Null;
    assert_eq!(echo(none.clone()).await, refused(400, "invalid_request"));
    none.as_object_mut().unwrap().remove("body");
    assert_eq!(echo(none).await, refused(400, "invalid_request"));
}

#[tokio::test]
async fn a_duplicate_member_name_is_refused() {
    for bad in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"a":3}"#,
        r#"{"a":{"b":1,"b":2}}"#,
        r#"{"a":[{"b":1,"b":2}]}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"":1,"":2}"#,
    ] {
        assert_eq!(echo(post(bad.as_bytes())).await, refused(400, "invalid_request"), "{bad}");
    }
    assert_eq!(echo(post(br#"{"a":{"a":1},"A":2}"#)).await, ok());
}

#[tokio::test]
async fn deep_nesting_is_refused() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!(r#"{{"a":{}1{}}}"#, open.repeat(depth), close.repeat(depth))
    };
    assert_eq!(echo(post(nested("[", "]", 100).as_bytes())).await, ok());
    for depth in [1_000, 5_000] {
        for bad in [nested("[", "]", depth), nested(r#"{"a":"#, "}", depth / 4), "[".repeat(depth)]
        {
            assert_eq!(echo(post(bad.as_bytes())).await, refused(400, "invalid_request"));
        }
    }
    let deep = nested("[", "]", 100_000);
    assert_eq!(echo(post(deep.as_bytes())).await, refused(413, "too_large"));
    assert_eq!(echo(post(b"{}")).await, ok(), "the function has survived");
}

#[tokio::test]
async fn a_body_may_be_sent_in_base64() {
    let event_json = base64(post(b""), br#"{"a":"b"}"#);
    let response = answer(&public_service(Echo), event(event_json)).await;
    assert_eq!(testkit::body(&response), json!({"a": "b"}));
    for bad in ["{}", "e30", "e30==", "e 30=", "e30=\n", "====", "e3\u{e4}=", "-_-_"] {
        let mut event = post(b"");
        event["isBase64Encoded"] = json!(true);
        event["body"] = json!(bad);
        assert_eq!(echo(event).await, refused(400, "invalid_request"), "{bad:?}");
    }
}

#[tokio::test]
async fn a_body_must_be_utf_8() {
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    for bad in [
        b"{\"a\":\"\xff\"}".to_vec(),
        b"{\"a\":\"\xc3\"}".to_vec(),
        b"{\"a\":\"\xed\xa0\x80\"}".to_vec(),
        b"{\"a\":\"\xc0\xaf\"}".to_vec(),
        b"{\"\xff\":1}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
        utf16("{}"),
        utf16("\u{feff}{}"),
        utf16(r#"{"a":"b"}"#),
        utf16(r#"{"a":"ä"}"#),
        b"\xfe\xff\0{\0}".to_vec(),
        b"\0{\0}".to_vec(),
        b"{\0\0\0}\0\0\0".to_vec(),
        b"\0\0\xfe\xff\0\0\0{\0\0\0}".to_vec(),
        b"\xff\xfe\0\0{\0\0\0}\0\0\0".to_vec(),
        b"\xef\xbb\xbf\xff".to_vec(),
    ] {
        let response = answer(&public_service(Echo), event(base64(post(b""), &bad))).await;
        assert_eq!(outcome(&response), refused(400, "invalid_request"), "{bad:?}");
        let detail = &testkit::body(&response)["detail"];
        assert_eq!(detail, "The body must be encoded in UTF-8.", "{bad:?}");
    }
    let marked = base64(post(b""), b"\xef\xbb\xbf{\"a\":\"b\"}");
    assert_eq!(
        testkit::body(&answer(&public_service(Echo), event(marked)).await),
        json!({"a": "b"})
    );
}

#[tokio::test]
async fn the_answer_states_why_a_body_is_refused() {
    for (bad, reason) in [
        (r#"{"a":1"#, "The body is not valid JSON, or its nesting is too deep."),
        ("", "The body is not valid JSON, or its nesting is too deep."),
        (r#"{"a":1,"a":2}"#, "The body contains an object with duplicate member names."),
        ("[]", "The body must be a JSON object."),
        ("{\"a\":\"\0\"}", "The body is not valid JSON, or its nesting is too deep."),
    ] {
        let response = answer(&public_service(Echo), event(post(bad.as_bytes()))).await;
        assert_eq!(outcome(&response), refused(400, "invalid_request"), "{bad:?}");
        assert_eq!(testkit::body(&response)["detail"], reason, "{bad:?}");
    }
}

#[tokio::test]
async fn an_unpaired_surrogate_is_refused() {
    for bad in [r"\ud800", r"\udc00", r"\ud800a", r"\ud800\u0061", r"\udc00\ud800", r"\uD83D"] {
        for body in [format!(r#"{{"a":"{bad}"}}"#), format!(r#"{{"{bad}":1}}"#)] {
            assert_eq!(
                echo(post(body.as_bytes())).await,
                refused(400, "invalid_request"),
                "{body}"
            );
        }
    }
    let response = answer(&public_service(Echo), event(post(br#"{"a":"\ud83d\ude00"}"#))).await;
    assert_eq!(testkit::body(&response), json!({"a": "😀"}));
}

#[tokio::test]
async fn json_test_suite_gets_the_specified_answers() {
    let mut files = 0;
    for (name, bytes) in testkit::json_test_suite() {
        for event_json in [post(&bytes), base64(post(b""), &bytes)] {
            let (status, code) = echo(event_json).await;
            match name.as_bytes()[0] {
                _ if bytes.len() > MAX_BODY_BYTES => assert_eq!(status, 413, "{name}"),
                b'n' => assert_eq!((status, code.as_str()), (400, "invalid_request"), "{name}"),
                // Valid JSON is accepted if it is an object without duplicate names.
                b'y' => {
                    let object = bytes.trim_ascii().starts_with(b"{");
                    let has_duplicate = name.starts_with("y_object_duplicated_key");
                    let expected = if object && !has_duplicate { 200 } else { 400 };
                    assert_eq!(status, expected, "{name}");
                }
                _ => assert!(status == 200 || status == 400, "{name}: {status}"),
            }
        }
        files += 1;
    }
    assert_eq!(files, 318);
}

#[tokio::test]
async fn members_must_have_the_declared_types_and_unknown_members_are_ignored() {
    let shaped = async |body: Value| {
        answer(&public_service(Shaped), event(json_body(post(b""), &body))).await
    };
    let message = async |body: Value| testkit::body(&shaped(body).await)["message"].clone();
    assert_eq!(message(json!({"name": "a"})).await, "a None");
    assert_eq!(message(json!({"name": "a", "number": null})).await, "a None");
    assert_eq!(message(json!({"name": "a", "number": 7, "other": [1]})).await, "a Some(7)");
    for bad in [
        json!({}),
        json!({"Name": "hush"}),
        json!({"hush": "hush"}),
        json!({"name": null}),
        json!({"name": 1}),
        json!({"name": ["hush"]}),
        json!({"name": {"hush": "hush"}}),
        json!({"name": "hush", "number": "7"}),
        json!({"name": "hush", "number": 256}),
        json!({"name": "hush", "number": -1}),
        json!({"name": "hush", "number": 1.5}),
        // A derived `Deserialize` would accept these arrays as structs.
        json!(["hush"]),
        json!(["hush", 7]),
    ] {
        let response = shaped(bad.clone()).await;
        assert_eq!(outcome(&response), refused(400, "invalid_request"), "{bad}");
        assert!(
            !testkit::body(&response).to_string().contains("hush"),
            "the answer does not quote the request"
        );
    }
}

#[tokio::test]
async fn a_member_that_is_missing_or_has_the_wrong_type_is_named() {
    for (body, named) in [
        (json!({}), &["name missing"][..]),
        (json!({"Name": "a"}), &["name missing"]),
        (json!({"name": null}), &["name wrong_type"]),
        (json!({"name": ["a"]}), &["name wrong_type"]),
        (json!({"name": "a", "number": "7"}), &["number wrong_type"]),
        (json!({"name": "a", "number": 256}), &["number wrong_type"]),
        (json!({"number": {}}), &["name missing", "number wrong_type"]),
        (json!({"number": -1, "name": 1}), &["name wrong_type", "number wrong_type"]),
    ] {
        let response = answer(&public_service(Shaped), event(json_body(post(b""), &body))).await;
        assert_eq!(outcome(&response), refused(400, "invalid_request"), "{body}");
        let response = testkit::body(&response);
        let errors = response["errors"].as_array().unwrap().iter();
        let found: Vec<_> = errors
            .inspect(|error| assert!(error["detail"].is_string()))
            .map(|error| format!("{} {}", error["field"], error["code"]).replace('"', ""))
            .collect();
        assert_eq!(found, named, "{body}");
    }
}

#[tokio::test]
async fn a_route_that_reads_no_body_accepts_any_body() {
    for body in [b"".to_vec(), b"{".to_vec(), b"\xff".to_vec(), sized(1_000_000)] {
        let mut event_json = post(&body);
        event_json["headers"] = load("jwks")["headers"].clone();
        assert_eq!(outcome(&answer(&public_service(Bodiless), event(event_json)).await), ok());
    }
}
