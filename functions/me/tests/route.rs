//! `me` over an embedded DynamoDB, from the gateway's event to its answer.

use auth::Role;
use me::MeRoute;
use testkit::{NewUser, Stack, bearer, event, load};
use web::{Route, answer};

#[tokio::test]
async fn answers_the_caller() {
    let stack = Stack::start().await;
    let user = NewUser { username: "testuser", email: Some("t@example.com"), roles: &[Role::User] };
    let account = stack.user(user).await;
    let token = stack.sign_in(&account).await;
    let route = MeRoute::cold_start(&stack.env()).await.unwrap();
    let answer = answer(&route, event(bearer(load("me"), &token))).await;
    insta::assert_json_snapshot!(testkit::readable(&answer));
}
