//! Tests `protected-route-admin` against an embedded DynamoDB, from the gateway's event to the answer.

use identity::Role;
use protected_route_admin::ProtectedRouteAdmin;
use testkit::{Stack, event, events_of, readable, signed_in};

#[tokio::test]
async fn the_guard_refuses_every_bad_token() {
    testkit::guarded_by_token::<ProtectedRouteAdmin>().await;
}

#[tokio::test]
async fn every_event_file_gets_its_recorded_answer() {
    let stack = Stack::start().await;
    let service = stack.open::<ProtectedRouteAdmin>().await.unwrap();
    let token = stack.token_without_account(&[Role::Admin]);
    for (name, event_json) in events_of("protected-route-admin") {
        let answer = service.answer(event(signed_in(event_json, &token))).await;
        insta::assert_json_snapshot!(name, readable(&answer));
    }
}
