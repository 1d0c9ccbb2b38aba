//! Tests the worked examples in `docs/add-a-route.md`: the code on the page compiles and answers as the page says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    unreachable_pub,
    reason = "on the page, these items are public items of a separate library"
)]

use aws_lc_rs::hmac;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use identity::Role;
use notes::NotesRoute;
use payment_webhook::PaymentWebhookRoute;
use reports::ReportsRoute;
use serde_json::{Value, json};
use testkit::{Stack, bearer, body, event, header, json_body, load, status};
use web::{EventResponse, Route, Service};

mod reports {
    include!(concat!(env!("OUT_DIR"), "/reports.rs"));
}

mod notes {
    include!(concat!(env!("OUT_DIR"), "/notes.rs"));
}

mod payment_webhook {
    include!(concat!(env!("OUT_DIR"), "/payment-webhook.rs"));
}

async fn open<R: Route>(stack: &Stack, variables: &[(&str, &str)]) -> Service<R> {
    Service::open(&stack.env_with(variables), &stack.world()).await.unwrap()
}

/// The status, and the problem's code or null.
fn outcome(answer: &EventResponse) -> (i64, Value) {
    (status(answer), body(answer)["code"].take())
}

#[tokio::test]
async fn a_list_is_filtered_and_limited() {
    let stack = Stack::start().await;
    let service = open::<ReportsRoute>(&stack, &[]).await;
    let ask = async |query: &str, roles: &[Role]| {
        let mut request = bearer(load("protected-route-user"), &stack.token_without_account(roles));
        request["rawQueryString"] = json!(query);
        service.answer(event(request)).await
    };
    let titles = async |query| {
        let answer = body(&ask(query, &[Role::User]).await);
        let reports = answer.as_array().unwrap().clone();
        reports.into_iter().map(|report| report["title"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(titles("").await, ["March", "April", "2026"]);
    assert_eq!(titles("limit=1&tag=monthly").await, ["March"]);
    assert_eq!(titles("tag=monthly&tag=draft").await, ["April"]);
    let refused = ask("", &[Role::Admin]).await;
    assert_eq!(outcome(&refused), (403, json!("insufficient_role")));
    let wrong = ask("limit=many", &[Role::User]).await;
    assert_eq!(outcome(&wrong), (400, json!("invalid_request")));
    assert_eq!(body(&wrong)["errors"][0]["field"], "limit");
    assert_eq!(outcome(&ask("limit=101", &[Role::User]).await), (400, json!("invalid_input")));
}

/// A table like the `NotesTable` that `new-route --table notes` adds, under another name, because the template may
/// already contain a `NotesTable`.
const NOTES_TABLE: &str = "NotesTableOfTheExample";

async fn create_notes_table(stack: &Stack) {
    let mut create = stack.client().create_table().table_name(NOTES_TABLE);
    for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        let key = KeySchemaElement::builder().attribute_name(name).key_type(kind);
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S);
        create = create
            .key_schema(key.build().unwrap())
            .attribute_definitions(attribute.build().unwrap());
    }
    create.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
}

#[tokio::test]
async fn a_note_is_stored_once_for_its_owner() {
    let stack = Stack::start().await;
    create_notes_table(&stack).await;
    let service = open::<NotesRoute>(&stack, &[("NOTES_TABLE", NOTES_TABLE)]).await;
    let store = async |name: &str, token: &str| {
        let note = json!({"name": name, "text": "Hello!"});
        let request = json_body(bearer(load("password-change"), token), &note);
        service.answer(event(request)).await
    };
    let (alice, bob) =
        (stack.token_without_account(&[Role::User]), stack.token_without_account(&[Role::User]));
    let stored = store("first", &alice).await;
    assert_eq!((status(&stored), body(&stored)), (201, json!({"name": "first", "text": "Hello!"})));
    assert_eq!(outcome(&store("first", &alice).await), (409, json!("note_exists")));
    assert_eq!(status(&store("first", &bob).await), 201, "each user has separate notes");
    assert_eq!(outcome(&store("", &alice).await), (400, json!("invalid_note_name")));
    let missing = service.answer(event(load("password-change"))).await;
    assert_eq!(outcome(&missing).0, 401);
}

#[tokio::test]
async fn a_webhook_accepts_only_bodies_that_were_signed_recently() {
    let key = "a shared key of 32 random characters";
    let stack = Stack::start().await;
    let service = open::<PaymentWebhookRoute>(&stack, &[("WEBHOOK_KEY", key)]).await;
    let now = stack.world().clock.now().as_second();
    let sign = |key: &str, sent_at: i64, body: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        hex::encode(hmac::sign(&key, format!("{sent_at}.{body}").as_bytes()))
    };
    let send = async |sent_at: i64, text: &str, signature: Option<String>| {
        let mut request = header(load("register"), "x-timestamp", &sent_at.to_string());
        request["body"] = json!(text);
        if let Some(signature) = signature {
            request = header(request, "x-signature", &signature);
        }
        service.answer(event(request)).await
    };
    let paid = r#"{"paid": 7}"#;
    let wrong = (403, json!("wrong_signature"));
    for sent_at in [now - 290, now, now + 290] {
        assert_eq!(status(&send(sent_at, paid, Some(sign(key, sent_at, paid))).await), 204);
    }
    for sent_at in [i64::MIN, now - 310, now + 310] {
        let answer = send(sent_at, paid, Some(sign(key, sent_at, paid))).await;
        assert_eq!(outcome(&answer), wrong, "{sent_at}");
    }
    let signature = Some(sign(key, now, paid));
    assert_eq!(outcome(&send(now + 1, paid, signature.clone()).await), wrong);
    assert_eq!(outcome(&send(now, r#"{"paid": 8}"#, signature).await), wrong);
    assert_eq!(outcome(&send(now, paid, Some(sign("another key", now, paid))).await), wrong);
    assert_eq!(outcome(&send(now, paid, Some("not hexadecimal".to_owned())).await), wrong);
    let unsigned = send(now, paid, None).await;
    assert_eq!(outcome(&unsigned), (400, json!("invalid_request")));
    assert_eq!(body(&unsigned)["errors"][0]["field"], "x-signature");
}
