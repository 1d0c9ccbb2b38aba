//! Sessions over HTTP, with several instances of each function.

use std::collections::BTreeSet;

use reqwest::Method;
use rustix::process::Signal;

use super::server::{INSTANCES, Server, Tokens, at_once, shared};

/// A server with the shortest grace, so that a test can wait until it is over.
const SHORT_GRACE: &str = "REFRESH_GRACE_SECONDS=1";

/// As many instances of `refresh` as the emulator has.
async fn crowd(server: &Server, username: &str) {
    for _ in 0..4 {
        let token = server.sign_in(username).await.refresh;
        let answers = at_once((0..16).map(|_| server.refresh(&token))).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
    }
    let instances = server.instances("refresh").len();
    assert!(instances >= INSTANCES, "{instances} instances of refresh run");
}

async fn status(server: &Server, tokens: &Tokens) -> u16 {
    server.get("/auth/protected", Some(&tokens.access)).await.status
}

/// Refreshes until the session has rotated, which it does once the grace is over: what comes before
/// is the same token again.
async fn rotate(server: &Server, token: &str) -> String {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let next = Tokens::of(&server.refresh(token).await).refresh;
        if next != token {
            return next;
        }
        assert!(std::time::Instant::now() < deadline, "it does not rotate");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_refreshes_of_one_token_are_one_chain() {
    let server = shared();
    assert_eq!(server.register("tabs").await.status, 201);
    crowd(server, "tabs").await;
    let first = server.sign_in("tabs").await;
    let answers = at_once((0..20).map(|_| server.refresh(&first.refresh))).await;
    let successors: BTreeSet<_> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 200, "{}", answer.text);
            Tokens::of(answer).refresh
        })
        .collect();
    assert_eq!(successors.len(), 1);
    let [successor] = &successors.into_iter().collect::<Vec<_>>()[..] else { panic!() };
    assert_ne!(*successor, first.refresh);
    // That one, and no other, goes on; and it is the same for whoever is late by less than the grace.
    assert_eq!(Tokens::of(&server.refresh(successor).await).refresh, *successor);
    assert_eq!(Tokens::of(&server.refresh(&first.refresh).await).refresh, *successor);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_after_the_grace_ends_that_session_alone() {
    let server = Server::start(&["--db", "memory", "--env", SHORT_GRACE]);
    assert_eq!(server.register("victim").await.status, 201);
    let (stolen, other) = (server.sign_in("victim").await, server.sign_in("victim").await);
    let owner = Tokens::of(&server.refresh(&stolen.refresh).await);
    // Once the session has rotated a second time, the grace of the first is over for certain.
    let newest = rotate(&server, &owner.refresh).await;
    let replay = server.refresh(&stolen.refresh).await;
    assert_eq!(replay.short(), "401 invalid_token");
    // R43: dead for the thief and the owner, on refresh and on checked routes.
    assert_eq!(server.refresh(&newest).await.short(), "401 invalid_token");
    assert_eq!(status(&server, &owner).await, 401);
    // By token it counts until it expires.
    assert_eq!(server.get("/api/protected_route", Some(&owner.access)).await.status, 200);
    assert_eq!(status(&server, &other).await, 200, "the other session lives");
    assert_eq!(server.refresh(&other.refresh).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_races_refreshes_leaves_nothing_alive() {
    let server = shared();
    assert_eq!(server.register("leaver").await.status, 201);
    crowd(server, "leaver").await;
    for round in 0..50 {
        let tokens = server.sign_in("leaver").await;
        let requests = (0..8).map(|n| {
            let tokens = &tokens;
            async move {
                // Somewhere among the refreshes.
                if n == round % 8 {
                    server.call(Method::POST, "/auth/logout", &tokens.access).await
                } else {
                    server.refresh(&tokens.refresh).await
                }
            }
        });
        let answers = at_once(requests).await;
        assert_eq!(answers[round % 8].status, 204);
        for answer in answers {
            assert!([200, 204, 401].contains(&answer.status), "{}", answer.text);
            if answer.status == 200 {
                let late = Tokens::of(&answer);
                assert_eq!(server.refresh(&late.refresh).await.status, 401, "round {round}");
                assert_eq!(status(server, &late).await, 401, "round {round}");
            }
        }
        assert_eq!(server.refresh(&tokens.refresh).await.status, 401, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_at_once() {
    let server = shared();
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

/// R33.
#[tokio::test(flavor = "multi_thread")]
async fn access_and_refresh_tokens_are_not_interchangeable() {
    let server = shared();
    assert_eq!(server.register("mixer").await.status, 201);
    let tokens = server.sign_in("mixer").await;
    for path in ["/auth/protected", "/api/protected_route"] {
        let answer = server.get(path, Some(&tokens.refresh)).await;
        assert_eq!(answer.short(), "401 invalid_token", "{path}");
    }
    assert_eq!(server.refresh(&tokens.access).await.short(), "401 invalid_token");
    assert_eq!(server.refresh(&tokens.refresh).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn disabling_and_enabling_by_command_counts_at_once() {
    let server = shared();
    assert_eq!(server.register("suspect").await.status, 201);
    let tokens = server.sign_in("suspect").await;
    let admin = |what: &str| {
        let output = server.xtask(&["admin", what, "suspect"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    admin("disable");
    assert_eq!(status(server, &tokens).await, 401);
    assert_eq!(server.refresh(&tokens.refresh).await.status, 401);
    let body = serde_json::json!({"username": "suspect", "password": super::server::PASSWORD});
    assert_eq!(server.post("/auth/login", &body).await.short(), "401 invalid_credentials");
    admin("enable");
    assert_eq!(server.refresh(&tokens.refresh).await.status, 401, "what has ended stays so");
    assert_eq!(status(server, &tokens).await, 401);
    assert_eq!(status(server, &server.sign_in("suspect").await).await, 200);
}

/// The database's process is killed between two refreshes: the chain goes on, and there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_makes_no_second_chain() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("users.db");
    let arguments = ["--db", database.to_str().unwrap(), "--env", SHORT_GRACE];
    let server = Server::start(&arguments);
    assert_eq!(server.register("phoenix").await.status, 201);
    let zero = server.sign_in("phoenix").await.refresh;
    let one = rotate(&server, &zero).await;
    let two = rotate(&server, &one).await;
    let family = super::dev::descendants(server.pid().as_raw_nonzero().get().unsigned_abs());
    let (_, local) = server.end(Signal::KILL);
    // What the killed process had started ends by itself; the next one needs its files.
    super::dev::wait_until_ended(&family);

    let server = Server::start_in(local, &arguments);
    let three = rotate(&server, &two).await;
    assert_eq!(Tokens::of(&server.refresh(&three).await).refresh, three);
    // What was superseded before is so after: there is no second chain.
    assert_eq!(server.refresh(&zero).await.status, 401);
    assert_eq!(server.refresh(&three).await.status, 401, "it was a replay");
}
