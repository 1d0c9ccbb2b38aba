//! Rotates, lists and ends sessions, and replays tokens.

use reqwest::Method;

use super::{Api, PASSWORD, RunningApi, Tokens};

pub(crate) async fn status(server: &Api, tokens: &Tokens) -> u16 {
    server.get("/auth/protected", Some(&tokens.access)).await.status
}

/// Refreshes until the session rotates. Until the grace period is over, each refresh returns the same token.
pub(crate) async fn rotate(server: &Api, token: &str) -> String {
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(2);
    loop {
        let next = Tokens::of(&server.refresh(token).await).refresh;
        if next != token {
            return next;
        }
        assert!(std::time::Instant::now() < deadline, "the session does not rotate");
    }
}

/// Waits for the end of a grace period, so the server must have a short one.
pub(crate) async fn a_late_replay_ends_only_its_session(server: &impl RunningApi) {
    assert_eq!(server.register("victim").await.status, 201);
    let (stolen, other) = (server.sign_in("victim").await, server.sign_in("victim").await);
    let owner = Tokens::of(&server.refresh(&stolen.refresh).await);
    // The second rotation proves that the grace period of the first is over.
    let newest = rotate(server, &owner.refresh).await;
    let replay = server.refresh(&stolen.refresh).await;
    assert_eq!(replay.short(), "401 invalid_token");
    // The session has ended for both the thief and the owner: it cannot be refreshed, and routes that check the
    // session refuse its tokens.
    assert_eq!(server.refresh(&newest).await.short(), "401 invalid_token");
    assert_eq!(status(server, &owner).await, 401);
    // Routes that check only the token accept it until it expires.
    assert_eq!(server.get("/api/protected_route", Some(&owner.access)).await.status, 200);
    assert_eq!(status(server, &other).await, 200, "the other session stays live");
    assert_eq!(server.refresh(&other.refresh).await.status, 200);
}

pub(crate) async fn sessions_are_listed_and_ended_immediately(server: &impl RunningApi) {
    for name in ["lister", "other-lister"] {
        assert_eq!(server.register(name).await.status, 201);
    }
    let (one, two) = (server.sign_in("lister").await, server.sign_in("lister").await);
    let stranger = server.sign_in("other-lister").await;
    let list = server.get("/auth/sessions", Some(&one.access)).await.json();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    let current: Vec<_> = sessions.iter().filter(|session| session["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["sid"], testkit::claims(&one.access)["sid"]);
    assert_eq!(current[0]["network"], "127.0.0.1");

    let path = |tokens: &Tokens| {
        format!("/auth/sessions/{}", testkit::claims(&tokens.access)["sid"].as_str().unwrap())
    };
    let end = async |path: &str| server.call(Method::DELETE, path, &one.access).await.short();
    assert_eq!(end(&path(&stranger)).await, "404 not_found");
    assert_eq!(end(&path(&two)).await, "204");
    assert_eq!(end(&path(&two)).await, "404 not_found");
    assert_eq!(server.refresh(&two.refresh).await.status, 401);
    assert_eq!(status(server, &two).await, 401);
    assert_eq!(status(server, &stranger).await, 200);

    let answer = server.call(Method::POST, "/auth/logout-all", &one.access).await;
    assert_eq!(answer.status, 204);
    assert_eq!(server.refresh(&one.refresh).await.status, 401);
    assert_eq!(status(server, &one).await, 401);
    assert_eq!(status(server, &stranger).await, 200);
    assert_eq!(status(server, &server.sign_in("lister").await).await, 200);
}

pub(crate) async fn access_and_refresh_tokens_are_not_interchangeable(server: &impl RunningApi) {
    assert_eq!(server.register("mixer").await.status, 201);
    let tokens = server.sign_in("mixer").await;
    for path in ["/auth/protected", "/api/protected_route"] {
        let answer = server.get(path, Some(&tokens.refresh)).await;
        assert_eq!(answer.short(), "401 invalid_token", "{path}");
    }
    assert_eq!(server.refresh(&tokens.access).await.short(), "401 invalid_token");
    assert_eq!(server.refresh(&tokens.refresh).await.status, 200);
}

pub(crate) async fn disabling_and_enabling_by_command_take_effect_immediately(
    server: &impl RunningApi,
) {
    assert_eq!(server.register("suspect").await.status, 201);
    let tokens = server.sign_in("suspect").await;
    server.administer(&["disable", "suspect"]);
    assert_eq!(status(server, &tokens).await, 401);
    assert_eq!(server.refresh(&tokens.refresh).await.status, 401);
    let body = serde_json::json!({"username": "suspect", "password": PASSWORD});
    assert_eq!(server.post("/auth/login", &body).await.short(), "401 invalid_credentials");
    server.administer(&["enable", "suspect"]);
    assert_eq!(server.refresh(&tokens.refresh).await.status, 401, "ended sessions stay ended");
    assert_eq!(status(server, &tokens).await, 401);
    assert_eq!(status(server, &server.sign_in("suspect").await).await, 200);
}
