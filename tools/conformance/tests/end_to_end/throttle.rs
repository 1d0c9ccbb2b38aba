//! Tests throttling over HTTP. Each loopback address stands for a separate network.

use std::net::Ipv4Addr;

use reqwest::Method;
use serde_json::json;

use super::server::{MANY_INSTANCES, Server};
use crate::journeys::{Answer, PASSWORD, concurrently};

async fn login(server: &Server, from: Ipv4Addr, username: &str, password: &str) -> Answer {
    let body = json!({"username": username, "password": password}).to_string();
    let request = server.request_from(from, Method::POST, "/auth/login");
    server.send(request.header("content-type", "application/json").body(body)).await
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_throttled_and_other_requests_are_not() {
    // The waits must outlast the test.
    let waits = ["PAIR_BASE", "PAIR_MAX", "NAME_BASE", "NAME_MAX"];
    let waits = waits.map(|wait| format!("THROTTLE_{wait}_SECONDS=900"));
    let mut arguments = vec!["--db", "memory"];
    arguments.extend(waits.iter().flat_map(|wait| ["--env", wait]));
    arguments.extend(MANY_INSTANCES);
    let server = Server::start(&arguments);
    let home = Ipv4Addr::new(127, 0, 0, 2);
    let attacker = Ipv4Addr::new(127, 0, 0, 3);
    for name in ["target", "bystander"] {
        assert_eq!(server.register(name).await.status, 201);
    }
    assert_eq!(login(&server, home, "target", PASSWORD).await.status, 200);
    let session = server.sign_in("bystander").await;

    // Send a burst from one network. Checked attempts get the status 401, and throttled attempts get 429.
    let burst =
        concurrently((0..100).map(|_| login(&server, attacker, "target", "a wrong password")));
    let burst = burst.await;
    let checked = count(&burst, 401);
    assert!(checked <= 3, "{checked} were checked");
    assert_eq!(checked + count(&burst, 429), 100);
    for throttled in burst.iter().filter(|answer| answer.status == 429) {
        assert!(throttled.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
        assert_eq!(throttled.short(), "429 too_many_attempts");
    }
    // The right password is throttled from the attacker's network, but not from the owner's known network.
    assert_eq!(login(&server, attacker, "target", PASSWORD).await.status, 429);
    for n in 10..40 {
        let stranger = Ipv4Addr::new(127, 0, 1, n);
        login(&server, stranger, "target", "a wrong password").await;
    }
    let new = Ipv4Addr::new(127, 0, 2, 1);
    assert_eq!(
        login(&server, new, "target", PASSWORD).await.status,
        429,
        "the username is throttled"
    );
    assert_eq!(login(&server, home, "target", PASSWORD).await.status, 200);
    // Other users and live sessions are not affected.
    assert_eq!(login(&server, attacker, "bystander", PASSWORD).await.status, 200);
    assert_eq!(server.refresh(&session.refresh).await.status, 200);
    assert_eq!(server.get("/auth/protected", Some(&session.access)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn trying_one_password_on_many_names_is_throttled_by_network() {
    let free = "THROTTLE_REGISTER_FREE=100000";
    let server = Server::start(&["--db", "memory", "--env", free]);
    let sprayer = Ipv4Addr::new(127, 0, 0, 3);
    let mut statuses = Vec::new();
    for n in 0..130 {
        statuses.push(login(&server, sprayer, &format!("name-{n}"), "Winter2026!").await.status);
    }
    assert!(statuses[..100].iter().all(|status| *status == 401));
    assert!(statuses[100..].iter().all(|status| *status == 429));

    // Two hundred people share one address, and each enters the right password.
    let office = Ipv4Addr::new(127, 0, 0, 4);
    let people: Vec<_> = (0..200).map(|n| format!("colleague-{n}")).collect();
    for crowd in people.chunks(20) {
        let registered = futures_util::future::join_all(crowd.iter().map(|it| server.register(it)));
        assert!(registered.await.iter().all(|answer| answer.status == 201));
    }
    for crowd in people.chunks(20) {
        let logins = crowd.iter().map(|name| login(&server, office, name, PASSWORD));
        let answers = futures_util::future::join_all(logins).await;
        assert_eq!(count(&answers, 200), crowd.len());
    }
}
