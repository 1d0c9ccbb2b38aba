//! Tests the properties that all answers share.

use serde_json::{Value, json};
use testkit::event;
use web::{EventResponse, answer};

use crate::routes::{Bodiless, Echo, Moody};
use crate::{header, outcome, post, public_service};

const REQUEST_ID: &str = "JKJaXmPLvHcESH01=";

async fn moody(mood: &str) -> EventResponse {
    let body = json!({"do": mood}).to_string();
    answer(&public_service(Moody), event(post(body.as_bytes()))).await
}

#[tokio::test]
async fn every_answer_has_the_headers_of_the_contract_and_no_others() {
    let answers = [
        answer(&public_service(Echo), event(post(b"{}"))).await,
        answer(&public_service(Echo), event(post(b"{"))).await,
        moody("nothing").await,
        moody("fail").await,
        moody("panic").await,
        moody("unavailable").await,
        moody("throttle").await,
    ];
    for response in answers {
        assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
        assert_eq!(header(&response, "x-request-id"), Some(REQUEST_ID));
        let expected = match response.status_code {
            204 => None,
            200 => Some("application/json"),
            _ => Some("application/problem+json"),
        };
        assert_eq!(header(&response, "content-type"), expected);
        assert_eq!(response.body.is_none(), response.status_code == 204);
        assert!(!response.is_base64_encoded);
        assert!(response.cookies.is_empty());
        let known = [
            "cache-control",
            "content-type",
            "retry-after",
            "x-content-type-options",
            "x-request-id",
        ];
        for name in response.headers.keys() {
            assert!(known.contains(&name.as_str()), "{name}");
        }
    }
}

#[tokio::test]
async fn a_public_document_may_be_cached() {
    let response = answer(&public_service(Bodiless), event(post(b""))).await;
    assert_eq!(header(&response, "cache-control"), Some("public, max-age=60"));
    assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn a_problem_follows_rfc_9457() {
    for (mood, status, code) in [
        ("fail", 500, "internal"),
        ("unavailable", 503, "unavailable"),
        ("throttle", 429, "too_many_attempts"),
    ] {
        let response = moody(mood).await;
        assert_eq!(outcome(&response), (status, code.to_owned()));
        let body = testkit::body(&response);
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], "about:blank");
        assert_eq!(body["request_id"], REQUEST_ID);
        assert!(body["title"].is_string() && body["detail"].is_string());
        assert_eq!(body.as_object().unwrap().len(), 6, "{body}");
        assert!(!body.to_string().contains("internal cause"));
    }
    assert_eq!(header(&moody("throttle").await, "retry-after"), Some("7"));
    assert_eq!(header(&moody("unavailable").await, "retry-after"), Some("2"));
    assert_eq!(header(&moody("fail").await, "retry-after"), None);
}

#[tokio::test]
async fn a_panic_causes_a_500_and_the_function_survives() {
    for _ in 0..3 {
        let response = moody("panic").await;
        assert_eq!(outcome(&response), (500, "internal".to_owned()));
        assert!(
            !format!("{response:?}").contains("hush"),
            "the answer does not contain the panic message"
        );
        assert_eq!(moody("nothing").await.status_code, 204);
    }
}

#[tokio::test]
async fn the_request_id_comes_from_the_gateway() {
    let with_id = async |id: Value| {
        let mut event_json = post(b"{");
        event_json["requestContext"]["requestId"] = id;
        let response = answer(&public_service(Echo), event(event_json)).await;
        let id = testkit::body(&response)["request_id"].as_str().unwrap().to_owned();
        assert_eq!(header(&response, "x-request-id"), Some(id.as_str()), "header and body agree");
        id
    };
    assert_eq!(with_id(json!("abc=")).await, "abc=");
    for invalid in [json!(null), json!("a\r\nset-cookie: b"), json!("a\u{0}"), json!("\u{7f}")] {
        assert_eq!(with_id(invalid).await, "unknown");
    }
    // A client cannot choose the id.
    let event_json = testkit::header(post(b"{}"), "x-request-id", "mine");
    let response = answer(&public_service(Echo), event(event_json)).await;
    assert_eq!(header(&response, "x-request-id"), Some(REQUEST_ID));
}
