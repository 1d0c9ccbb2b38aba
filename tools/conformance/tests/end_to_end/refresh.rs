//! Tests sessions over HTTP, with several instances of each function.

use std::collections::BTreeSet;

use reqwest::Method;
use rustix::process::Signal;

use super::server::{Server, shared};
use crate::journeys::refresh::{a_late_replay_ends_only_its_session, rotate, status};
use crate::journeys::{INSTANCES, Tokens, concurrently};

/// A grace period that is short enough to wait for. Database calls must finish within three fifths of this time, even
/// on a busy machine.
const SHORT_GRACE: &str = "REFRESH_GRACE_SECONDS=4";

/// Sends refreshes until [`INSTANCES`] instances of `refresh` are running.
async fn start_instances(server: &Server, username: &str) {
    let round = async |_| {
        let token = server.sign_in(username).await.refresh;
        let answers = concurrently((0..16).map(|_| server.refresh(&token))).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
    };
    server.fill("refresh", INSTANCES, round).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_refreshes_of_one_token_continue_one_chain() {
    let server = shared();
    assert_eq!(server.register("tabs").await.status, 201);
    start_instances(server, "tabs").await;
    let first = server.sign_in("tabs").await;
    let answers = concurrently((0..20).map(|_| server.refresh(&first.refresh))).await;
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
    // Within the grace period, refreshing with either token returns the new one.
    assert_eq!(Tokens::of(&server.refresh(successor).await).refresh, *successor);
    assert_eq!(Tokens::of(&server.refresh(&first.refresh).await).refresh, *successor);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_ends_the_session_after_a_short_grace_period() {
    let server = Server::start(&["--db", "memory", "--env", SHORT_GRACE]);
    a_late_replay_ends_only_its_session(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_races_refreshes_leaves_no_live_session() {
    let server = shared();
    assert_eq!(server.register("leaver").await.status, 201);
    start_instances(server, "leaver").await;
    for round in 0..50 {
        let tokens = server.sign_in("leaver").await;
        let requests = (0..8).map(|n| {
            let tokens = &tokens;
            async move {
                // The position of the logout among the refreshes varies.
                if n == round % 8 {
                    server.call(Method::POST, "/auth/logout", &tokens.access).await
                } else {
                    server.refresh(&tokens.refresh).await
                }
            }
        });
        let answers = concurrently(requests).await;
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

/// The dev server is killed, together with its database, between two refreshes. Afterwards, the same chain of refresh
/// tokens must continue.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_continues_one_chain_after_the_database_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("users.db");
    let arguments = ["--db", database.to_str().unwrap(), "--env", SHORT_GRACE];
    let server = Server::start(&arguments);
    assert_eq!(server.register("phoenix").await.status, 201);
    let zero = server.sign_in("phoenix").await.refresh;
    let one = rotate(&server, &zero).await;
    let two = rotate(&server, &one).await;
    let processes = super::dev::descendants(server.pid().as_raw_nonzero().get().unsigned_abs());
    let (_, local) = server.end(Signal::KILL);
    // Wait for the child processes to end by themselves, because the next server uses the same files.
    super::dev::wait_until_ended(&processes);

    let server = Server::start_in(local, &arguments);
    let three = rotate(&server, &two).await;
    let four = rotate(&server, &three).await;
    // A replaced token is still refused and ends the session, so there is no second chain.
    assert_eq!(server.refresh(&zero).await.status, 401);
    assert_eq!(server.refresh(&four).await.status, 401, "the replay has not ended the session");
}
