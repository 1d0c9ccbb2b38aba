//! Tests that no ended session is valid after the users' table has been restored from a backup as `docs/operate.md`
//! describes.

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

/// Refreshes with a new instance, which has cached nothing.
async fn refresh(stack: &Stack, token: &Value) -> i64 {
    let route = Service::<RefreshRoute>::open(&stack.env(), &World::system()).await.unwrap();
    status(&answer(&route, json_request("refresh", &json!({"refresh_token": token}))).await)
}

/// Replaces all items of the users' table with the backup.
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
async fn the_global_epoch_ends_sessions_that_a_backup_revives() {
    let stack = Stack::start().await;
    let user = NewUser { username: "testuser", email: None, roles: &[Role::User] };
    let account = stack.user(user).await;
    let token = body(&login(&stack, PASSWORD).await)["refresh_token"].clone();
    let backup = stack.items().await;

    stack.disable(account.id).await;
    assert_eq!(refresh(&stack, &token).await, 401);
    assert_eq!(status(&login(&stack, PASSWORD).await), 401);

    // The backup enables the account again and revives its session.
    restore(&stack, backup).await;
    assert_eq!(refresh(&stack, &token).await, 200);

    // End all sessions, as `cargo xtask sessions end-all` does.
    let epoch = GlobalEpoch::after(SystemClock.now());
    stack.keys_table().raise_epoch(epoch).await.unwrap();
    assert_eq!(refresh(&stack, &token).await, 401);

    // Only a session that begins at or after the epoch is valid. The command prints the time of the
    // epoch.
    while SystemClock.now().as_second() < epoch.second() {
        tokio::task::yield_now().await;
    }
    let answered = login(&stack, PASSWORD).await;
    assert_eq!(status(&answered), 200);
    assert_eq!(refresh(&stack, &body(&answered)["refresh_token"]).await, 200);
}
