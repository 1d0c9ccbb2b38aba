//! Tests the members of the request and response bodies.

use serde_json::{Value, json};
use testkit::{body, status};

use crate::{Bench, PASSWORD, refused, registered};

/// Only a JSON object with the documented members and types is accepted.
#[tokio::test]
async fn missing_and_mistyped_members_are_named() {
    let bench = Bench::start().await;
    let whole = json!({"username": "testuser", "password": PASSWORD, "email": "t@example.com"});
    for name in ["username", "password", "email"] {
        for odd in
            [json!(1), json!(1.5), json!(true), json!([]), json!(["a"]), json!({}), json!({"a": 1})]
        {
            let mut body = whole.clone();
            body[name] = odd;
            let outcome = bench.outcome(body.clone()).await;
            assert_eq!(outcome, refused(400, &[&format!("{name} wrong_type")]), "{body}");
        }
    }
    for name in ["username", "password"] {
        let mut body = whole.clone();
        body[name] = Value::Null;
        let expected = refused(400, &[&format!("{name} wrong_type")]);
        assert_eq!(bench.outcome(body.clone()).await, expected, "{body}");
        body.as_object_mut().unwrap().remove(name);
        let expected = refused(400, &[&format!("{name} missing")]);
        assert_eq!(bench.outcome(body.clone()).await, expected, "{body}");
    }
    let outcome = bench.outcome(json!({"email": 1})).await;
    let all = ["email wrong_type", "password missing", "username missing"];
    assert_eq!(outcome, refused(400, &all));
    for body in [json!([]), json!(["testuser", PASSWORD]), json!("testuser"), json!(null)] {
        assert_eq!(bench.outcome(body.clone()).await, refused(400, &["invalid_request"]), "{body}");
    }
    assert_eq!(bench.items().await, 0);
    // The address is optional.
    let mut body = whole;
    body["email"] = Value::Null;
    assert_eq!(bench.outcome(body).await, registered());
    assert_eq!(bench.items().await, 4);
}

#[tokio::test]
async fn all_errors_are_reported_together_and_quote_no_input() {
    let bench = Bench::start().await;
    let bad = json!({"username": "hush hush", "password": "hush".repeat(300), "email": "hush"});
    let answer = bench.ask(bad).await;
    insta::assert_json_snapshot!(testkit::readable(&answer));
    assert!(!body(&answer).to_string().contains("hush"));
}

/// A client cannot set the roles, the id or any other attribute of the account.
#[tokio::test]
async fn unknown_members_are_ignored() {
    let bench = Bench::start().await;
    let id = "01890000-0000-7000-8000-000000000000";
    let answer = bench
        .ask(json!({
            "username": "testuser",
            "password": PASSWORD,
            "id": id,
            "roles": ["admin", "super_admin"],
            "role": "admin",
            "is_admin": true,
            "email_verified": true,
            "disabled": true,
            "ver": 99,
            "created_at": "1970-01-01T00:00:00Z",
            "pk": "USER#1",
            "__proto__": {"roles": ["admin"]},
        }))
        .await;
    assert_eq!(status(&answer), 201);
    let user = &body(&answer)["user"];
    assert_eq!(user["roles"], json!(["user"]));
    assert_eq!((&user["email_verified"], &user["disabled"]), (&json!(false), &json!(false)));
    assert_eq!(user["email"], Value::Null);
    assert_ne!(user["id"], id);
    assert!(!user["created_at"].as_str().unwrap().starts_with("1970"));
    assert_eq!(user.as_object().unwrap().len(), 7, "{user}");
    assert!(!body(&answer).to_string().contains(PASSWORD));
}

/// Times are in the RFC 3339 format, in UTC with a `Z`. The id is a UUIDv7.
#[tokio::test]
async fn times_and_ids_have_the_documented_formats() {
    let bench = Bench::start().await;
    let answer = bench.ask(json!({"username": "testuser", "password": PASSWORD})).await;
    let user = body(&answer)["user"].clone();
    let text = user["created_at"].as_str().unwrap();
    assert!(text.ends_with('Z'), "{text}");
    let id = user["id"].as_str().unwrap();
    assert!(id.parse::<identity::UserId>().is_ok(), "{id}");
    assert_eq!(&id[14..15], "7", "{id}");
}
