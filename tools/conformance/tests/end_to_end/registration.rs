//! Tests concurrent registrations of one username.

use super::server::shared;
use crate::journeys::{INSTANCES, concurrently};

#[tokio::test(flavor = "multi_thread")]
async fn only_one_of_fifty_registrations_gets_the_username() {
    let server = shared();
    // Send more concurrent requests than there can be instances, so that all instances start.
    let round = async |round| {
        let many = (0..16).map(|n| format!("crowd-{round}-{n}")).collect::<Vec<_>>();
        let answers = many.iter().map(|name| server.register(name));
        for answer in futures_util::future::join_all(answers).await {
            assert_eq!(answer.status, 201, "{}", answer.text);
        }
    };
    server.fill("register", INSTANCES, round).await;

    let attempts = concurrently((0..50).map(|_| server.register("wanted"))).await;
    let mut statuses: Vec<_> = attempts.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    let mut expected = vec![201];
    expected.extend([409; 49]);
    assert_eq!(statuses, expected);
    assert_eq!(server.get("/auth/me", Some(&server.login("wanted").await)).await.status, 200);
}
