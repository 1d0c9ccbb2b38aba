//! Coming back from a backup: what of before must not count again, as `docs/operate.md` says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;

use auth::GlobalEpoch;
use aws_sdk_dynamodb::types::AttributeValue;
use identity::Role;
use login::LoginRoute;
use process::{Clock, SystemClock};
use refresh::RefreshRoute;
use serde_json::{Value, json};
use testkit::{NewUser, PASSWORD, Stack, body, json_request, status};
use web::{EventResponse, Service, World, answer};

async fn login(stack: &Stack, password: &str) -> EventResponse {
    let route = Service::<LoginRoute>::open(&stack.env(), &World::system()).await.unwrap();
    let credentials = json!({"username": "testuser", "password": password});
    answer(&route, json_request("login", &credentials)).await
}

/// By an instance that has just started, and knows nothing of before.
async fn refresh(stack: &Stack, token: &Value) -> i64 {
    let route = Service::<RefreshRoute>::open(&stack.env(), &World::system()).await.unwrap();
    status(&answer(&route, json_request("refresh", &json!({"refresh_token": token}))).await)
}

/// Puts the users' table back to what it was.
async fn restore(stack: &Stack, backup: Vec<HashMap<String, AttributeValue>>) {
    let client = stack.client();
    for item in stack.items().await {
        let delete = client.delete_item().table_name("UsersTable");
        let delete = delete.key("pk", item["pk"].clone()).key("sk", item["sk"].clone());
        delete.send().await.unwrap();
    }
    for item in backup {
        client.put_item().table_name("UsersTable").set_item(Some(item)).send().await.unwrap();
    }
}

#[tokio::test]
async fn sessions_that_had_ended_come_back_and_are_ended_by_the_epoch() {
    let stack = Stack::start().await;
    let user = NewUser { username: "testuser", email: None, roles: &[Role::User] };
    let account = stack.user(user).await;
    let token = body(&login(&stack, PASSWORD).await)["refresh_token"].clone();
    let backup = stack.items().await;

    stack.disable(account.id).await;
    assert_eq!(refresh(&stack, &token).await, 401);
    assert_eq!(status(&login(&stack, PASSWORD).await), 401);

    // What was disabled is enabled again, and what had ended lives.
    restore(&stack, backup).await;
    assert_eq!(refresh(&stack, &token).await, 200);

    // `cargo xtask sessions end-all`
    let epoch = GlobalEpoch::after(SystemClock.now());
    stack.keys_table().raise_epoch(epoch).await.unwrap();
    assert_eq!(refresh(&stack, &token).await, 401);

    // A user who signs in from the second that the command names on has a valid session.
    while SystemClock.now().as_second() < epoch.second() {
        tokio::task::yield_now().await;
    }
    let answered = login(&stack, PASSWORD).await;
    assert_eq!(status(&answered), 200);
    assert_eq!(refresh(&stack, &body(&answered)["refresh_token"]).await, 200);
}
