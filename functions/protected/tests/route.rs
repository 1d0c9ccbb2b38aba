//! Tests `protected` against an embedded DynamoDB, from the gateway's event to the answer.

use identity::{Account, Role};
use protected::ProtectedRoute;
use testkit::{NewUser, Stack, event, events_of, readable, signed_in};

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_account::<ProtectedRoute>().await;
}

async fn testuser(stack: &Stack) -> Account {
    let email = Some("testuser@example.com");
    stack.user(NewUser { username: "testuser", email, roles: &[Role::User] }).await
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let stack = Stack::start().await;
    let token = stack.sign_in(&testuser(&stack).await).await;
    let service = stack.open::<ProtectedRoute>().await.unwrap();
    for (name, event_json) in events_of("protected") {
        let answer = service.answer(event(signed_in(event_json, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}
