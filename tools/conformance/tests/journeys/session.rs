//! New users register, sign in and call routes.

use identity::Role;
use reqwest::Method;
use serde_json::json;

use super::{PASSWORD, RunningApi, Tokens};

pub(crate) async fn a_new_user_signs_in_and_becomes_an_admin(server: &impl RunningApi) {
    let registration = json!({"username": "ada", "password": PASSWORD});
    let registered = server.post("/auth/register", &registration).await;
    assert_eq!(registered.status, 201, "{}", registered.text);
    assert_eq!(registered.json()["message"], "User registered successfully");
    assert_eq!(registered.json()["user"]["roles"], json!(["user"]));
    assert_eq!(server.register("ada").await.short(), "409 already_exists");
    assert_eq!(server.register("ADA").await.short(), "409 already_exists");

    let login = server.post("/auth/login", &registration).await;
    assert_eq!(login.status, 200, "{}", login.text);
    assert_eq!(login.json()["token_type"], "Bearer");
    assert_eq!(login.json()["expires_in"], 900);
    let token = login.json()["access_token"].as_str().unwrap().to_owned();

    let hello = server.get("/auth/protected", Some(&token)).await;
    assert_eq!((hello.status, hello.json()), (200, json!({"message": "Hello, ada!"})));
    let nobody = server.get("/auth/protected", None).await;
    assert_eq!(nobody.short(), "401 missing_token");
    assert_eq!(nobody.header("www-authenticate"), Some(r#"Bearer realm="latchkey""#));
    let (at, changed) = (token.len() / 2, token.as_bytes()[token.len() / 2]);
    let mut other = token.clone();
    other.replace_range(at..=at, if changed == b'a' { "b" } else { "a" });
    let altered = server.get("/auth/protected", Some(&other)).await;
    assert_eq!(altered.short(), "401 invalid_token");
    let challenge = r#"Bearer realm="latchkey", error="invalid_token""#;
    assert_eq!(altered.header("www-authenticate"), Some(challenge));

    assert_eq!(server.get("/auth/admin", Some(&token)).await.short(), "403 insufficient_role");
    server.set_roles("ada", &[Role::Admin, Role::User]);
    let admin = server.get("/auth/admin", Some(&token)).await;
    assert_eq!((admin.status, admin.json()), (200, json!({"message": "Welcome, Admin!"})));
    let by_token = "/api/protected_route_admin";
    assert_eq!(server.get(by_token, Some(&token)).await.short(), "403 insufficient_role");
    let token = server.login("ada").await;
    assert_eq!(server.get(by_token, Some(&token)).await.status, 200);
}

pub(crate) async fn a_user_signs_in_by_address_and_sees_the_account(server: &impl RunningApi) {
    let body = json!({"username": "grace", "password": PASSWORD, "email": "Grace@Example.com"});
    assert_eq!(server.post("/auth/register", &body).await.status, 201);
    let body = json!({"email": "grace@EXAMPLE.com", "password": PASSWORD});
    let login = server.post("/auth/login", &body).await;
    assert_eq!(login.status, 200, "{}", login.text);
    let token = login.json()["access_token"].as_str().unwrap().to_owned();
    let me = server.get("/auth/me", Some(&token)).await.json();
    assert_eq!(me["username"], "grace");
    assert_eq!(me["email"], "Grace@Example.com");
    assert_eq!(me["email_verified"], false);
    assert_eq!(me["disabled"], false);
    let times = [me["created_at"].as_str().unwrap()];
    assert!(
        times.iter().all(|time| time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok())
    );
}

pub(crate) async fn stepping_up_needs_the_password_and_keeps_the_session(server: &impl RunningApi) {
    assert_eq!(server.register("stepper").await.status, 201);
    let tokens = server.sign_in("stepper").await;
    let step_up = async |password: &str| {
        let request = server.request(Method::POST, "/auth/step-up");
        let request = request.header("authorization", format!("Bearer {}", tokens.access));
        let body = json!({"password": password}).to_string();
        server.send(request.header("content-type", "application/json").body(body)).await
    };
    assert_eq!(step_up("a walk by another river").await.short(), "403 wrong_password");
    let stepped_up = Tokens::of(&step_up(PASSWORD).await);
    assert_eq!(stepped_up.refresh, tokens.refresh, "the session does not rotate");
    let [before, after] = [&tokens, &stepped_up].map(|tokens| testkit::claims(&tokens.access));
    assert_eq!(before["sid"], after["sid"]);
    assert_eq!((&after["acr"], &after["amr"]), (&json!("1"), &json!(["pwd"])));
    let refreshed = Tokens::of(&server.refresh(&tokens.refresh).await);
    assert_eq!(testkit::claims(&refreshed.access)["auth_time"], after["auth_time"]);
}
