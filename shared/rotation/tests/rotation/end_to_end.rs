//! Tests rotation against an emulated Secrets Manager, including its version labels and every write.

use std::sync::Arc;

use auth::{TokenRules, Verifier};
use identity::{Authentication, Method, Role, SessionId};
use issuer::{Issuer, SessionGrant};
use keys::TableKeys;
use process::{Clock, SystemRandom, World};
use rotation::{PepperRotation, Plan};
use secrets::{CachedConfig, Secret, SecretError, Version, Versions};
use testkit::{AUDIENCE, Fault, Faults, ISSUER, NewUser, PASSWORD, SecretsManager};

use crate::bench::{Bench, LEAD, STEPS, active, seconds, token};
use crate::kill::{ContinuedBy, kill_after, operations, writes};
use crate::race::{overtake_a_revocation_at_every_request, overtake_at_every_request};

/// The value of the signing keys' secret before the first rotation.
const NO_KEYS: &str = r#"{"keys":[]}"#;

/// All labels, sorted, each with the id of its version.
async fn labels(bench: &Bench) -> Vec<(String, String)> {
    let (manager, arn) = bench.manager();
    let described = manager.client().describe_secret().secret_id(arn).send().await.unwrap();
    let versions = described.version_ids_to_stages.unwrap();
    let mut labels: Vec<_> = versions
        .into_iter()
        .flat_map(|(id, labels)| labels.into_iter().map(move |label| (label, id.clone())))
        .collect();
    labels.sort();
    labels
}

/// A value like the one that CloudFormation's `GenerateSecretString` creates for the peppers.
fn pepper() -> String {
    format!(r#"{{"id":"1","secret":"{}"}}"#, "a1B2c3D4".repeat(8))
}

#[tokio::test]
async fn end_to_end_the_four_steps_move_the_labels_and_publish_the_keys() {
    let bench = Bench::with_manager(Some(NO_KEYS)).await;
    for n in 0..3 {
        let before = bench.version().await.id;
        for step in &STEPS[..3] {
            // A step may be repeated.
            for _ in 0..2 {
                bench.rotation().step(*step, &token(n)).await.unwrap();
                assert_eq!(bench.version().await.id, before);
                let labels = labels(&bench).await;
                assert!(labels.contains(&("AWSPENDING".to_owned(), token(n))), "{labels:?}");
            }
        }
        let old = bench.current().await;
        for _ in 0..2 {
            bench.rotation().step(STEPS[3], &token(n)).await.unwrap();
            bench.assert_settled().await;
            // The previous version no longer has a label.
            let expected = ["AWSCURRENT", "AWSPENDING"].map(|label| (label.to_owned(), token(n)));
            assert_eq!(labels(&bench).await, expected);
        }
        assert_eq!(bench.version().await.id, token(n));
        if !old.is_empty() {
            bench.assert_not_stored(&active(&old).1).await;
        }
        bench.wait(LEAD);
    }
}

/// A secret created without a value has no version. The first version that is added is in use immediately.
#[tokio::test]
async fn end_to_end_the_first_version_of_a_secret_is_published() {
    let bench = Bench::with_manager(None).await;
    assert!(!bench.rotation().has_keys().await.unwrap());
    for step in STEPS {
        bench.rotation().step(step, &token(1)).await.unwrap();
    }
    bench.assert_settled().await;
    // The same is true if an operator starts the rotation.
    let bench = Bench::with_manager(None).await;
    bench.rotate(&Plan::Rotate).await.unwrap();
    bench.assert_settled().await;
}

#[tokio::test]
async fn end_to_end_a_promotion_replaces_only_the_expected_version() {
    let bench = Bench::with_manager(Some(NO_KEYS)).await;
    let versions = bench.versions();
    let first = bench.version().await.id;
    let version = |n| Version { id: token(n), value: format!(r#"{{"n":{n}}}"#).into() };
    let in_use = async || versions.secret().current().await.unwrap().id;
    versions.put_pending(&version(1)).await.unwrap();
    assert_eq!(versions.pending().await.unwrap(), Some(version(1)));
    assert_eq!(in_use().await, first);
    versions.promote(&token(1), &first).await.unwrap();
    assert_eq!(versions.secret().current().await.unwrap(), version(1));
    // Repeat the call, as after a lost response.
    versions.promote(&token(1), &first).await.unwrap();
    versions.put_pending(&version(2)).await.unwrap();
    // Only the version in use can be replaced: no earlier version, and no version that was never in use.
    for replaced in [first, token(2)] {
        let moved = versions.promote(&token(2), &replaced).await;
        assert!(matches!(moved, Err(SecretError::Moved)), "{moved:?}");
        assert_eq!(in_use().await, token(1));
    }
    versions.promote(&token(2), &token(1)).await.unwrap();
    assert_eq!(in_use().await, token(2));
    assert!(labels(&bench).await.contains(&("AWSPREVIOUS".to_owned(), token(1))));
    for _ in 0..2 {
        versions.drop_previous().await.unwrap();
        assert!(labels(&bench).await.iter().all(|(label, _)| label != "AWSPREVIOUS"));
    }
}

#[tokio::test]
async fn end_to_end_a_missing_secret_is_reported_as_absent() {
    let bench = Bench::with_manager(None).await;
    let (manager, arn) = bench.manager();
    for id in [arn, "NoSuchSecret"] {
        let versions = Versions::of(Secret::with_client(id, manager.client()));
        let read = versions.secret().current().await;
        assert!(matches!(read, Err(SecretError::Absent)), "{read:?}");
        assert_eq!(versions.pending().await.unwrap(), None);
    }
}

#[tokio::test]
async fn end_to_end_a_rotation_killed_after_any_write_can_be_completed() {
    let bench = Bench::with_manager(Some(NO_KEYS)).await;
    bench.rotate(&Plan::Rotate).await.unwrap();
    let operations = operations(&bench).await;
    let writes = writes(&operations);
    println!("{writes:?} of {operations:?}");
    let names: Vec<_> = writes.iter().map(|(_, name)| *name).collect();
    assert_eq!(
        names,
        [
            // The new version.
            "PutSecretValue",
            // Its public keys.
            "TransactWriteItems",
            // The label that puts the version into use.
            "UpdateSecretVersionStage",
            // The removal of the old version's label.
            "UpdateSecretVersionStage",
            // The time at which the publication of the retired key ends.
            "TransactWriteItems",
        ]
    );
    for (request, _) in writes {
        for by in [ContinuedBy::SecretsManager, ContinuedBy::Operator] {
            kill_after(&bench, request, by).await;
        }
    }
}

/// Repeats each request, as if its response had been lost.
#[tokio::test]
async fn end_to_end_every_request_is_idempotent() {
    let bench = Bench::with_manager(Some(NO_KEYS)).await;
    bench.rotate(&Plan::Rotate).await.unwrap();
    let requests = operations(&bench).await.len();
    for request in 0..requests {
        bench.wait(LEAD);
        let mut script = vec![Fault::None; request];
        script.push(Fault::LostAnswer);
        let rotation = bench.rotation_with(&Faults::script(&script));
        let old = bench.current().await;
        let signed = bench.sign().await;
        rotation.perform(&Plan::Rotate).await.unwrap();
        bench.assert_settled().await;
        assert!(bench.accepts(&signed).await);
        bench.assert_not_stored(&active(&old).1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_a_rotation_overtaken_at_any_request_makes_no_second_active_key() {
    let bench = Bench::with_manager(Some(NO_KEYS)).await;
    bench.rotate(&Plan::Rotate).await.unwrap();
    bench.wait(LEAD);
    let requests = overtake_at_every_request(&bench, &Plan::Rotate, &Plan::RotateNow).await;
    assert!(requests >= 20, "{requests} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn end_to_end_a_revocation_that_races_a_rotation_removes_the_key() {
    let bench = Bench::with_manager(Some(NO_KEYS)).await;
    bench.rotate(&Plan::Rotate).await.unwrap();
    bench.wait(LEAD);
    for revocation_is_slow in [false, true] {
        overtake_a_revocation_at_every_request(&bench, revocation_is_slow).await;
    }
}

#[tokio::test]
async fn end_to_end_no_version_with_a_label_contains_a_revoked_key() {
    let bench = Bench::with_manager(Some(NO_KEYS)).await;
    bench.rotate(&Plan::Rotate).await.unwrap();
    for _ in 0..2 {
        let (leaked, private) = active(&bench.current().await);
        let signed = bench.sign().await;
        assert!(bench.accepts(&signed).await);
        bench.rotate(&Plan::Revoke(leaked)).await.unwrap();
        bench.assert_settled().await;
        assert!(!bench.accepts(&signed).await);
        bench.assert_not_stored(&private).await;
    }
    let old = bench.current().await;
    bench.rotate(&Plan::RevokeAll).await.unwrap();
    bench.assert_settled().await;
    for private in crate::bench::private_halves(&old).values() {
        bench.assert_not_stored(private).await;
    }
}

#[tokio::test]
async fn end_to_end_peppers_are_added_to_a_generated_or_an_empty_secret() {
    let bench = Bench::with_manager(None).await;
    let (manager, _) = bench.manager();
    let generated = pepper();
    // The first pepper may be generated by CloudFormation or added by a rotation.
    for (name, value, first) in [("generated", Some(&*generated), 1), ("added", None, 0)] {
        let arn = manager.create(name, value).await;
        let versions = Versions::of(Secret::with_client(arn, manager.client()));
        let (clock, random) = (Arc::new(bench.clock()), Arc::new(SystemRandom));
        let kept_for = seconds(3600);
        let rotation = PepperRotation::new(versions, kept_for, clock, random);
        for n in first..3 {
            let added = rotation.add().await.unwrap();
            assert_eq!(added.ids().count(), n + 1, "{name}");
            let current = rotation.current().await.unwrap().unwrap();
            assert_eq!(*current.to_json(), *added.to_json(), "{name}");
            bench.wait(seconds(peppers::ANNOUNCE_SECONDS));
        }
    }
}

/// The functions need only their environment variables to find both secrets.
#[tokio::test]
async fn end_to_end_functions_issue_valid_tokens_with_both_secrets() {
    let bench = Bench::with_manager(Some(NO_KEYS)).await;
    let (manager, signing_keys) = bench.manager();
    let peppers = manager.create("Peppers", Some(&pepper())).await;
    let env = bench.stack.env_with(&manager.variables(signing_keys, &peppers));
    let clock: Arc<dyn Clock> = Arc::new(bench.clock());
    let open = async || {
        let config = env.settings::<issuer::Config>().unwrap();
        let peppers = env.read(|reader| CachedConfig::read(reader, "PEPPERS_SECRET")).unwrap();
        let peppers = peppers.open(Arc::clone(&clock));
        let world = World { clock: Arc::clone(&clock), random: Arc::new(SystemRandom) };
        Issuer::open(config, peppers, &world).await
    };
    let new = NewUser { username: "testuser", email: None, roles: &[Role::User] };
    let account = bench.stack.user_with_password(new, PASSWORD).await;
    let issuer = open().await;
    let issue = async |issuer: &Issuer| {
        let ready = issuer.ready().await?;
        assert_eq!(ready.pepper(), "1");
        let grant = SessionGrant {
            account: &account,
            session: SessionId::new(&SystemRandom),
            epoch: account.epoch,
            authentication: &Authentication { at: bench.now(), methods: Method::Password.into() },
            counter: 0,
            pepper: ready.pepper(),
            ends_at: bench.now() + seconds(3600),
        };
        ready.issue(grant)
    };
    let none = issue(&issuer).await;
    assert!(matches!(none, Err(issuer::IssueError::NoKey)), "{none:?}");

    bench.rotate(&Plan::Rotate).await.unwrap();
    bench.wait(seconds(60));
    let keys = env.settings::<keys::Config>().unwrap();
    let keys = TableKeys::open(&keys, bench.stack.client(), Arc::clone(&clock)).await;
    let verifier = Verifier::new(TokenRules::new(ISSUER, AUDIENCE), keys, Arc::clone(&clock));
    let mut kids = Vec::new();
    // During three rotations, the issuer that was opened first and a newly opened one use the same keys.
    for _ in 0..3 {
        for issuer in [&issuer, &open().await] {
            let tokens = serde_json::to_value(issue(issuer).await.unwrap()).unwrap();
            let access = tokens["access_token"].as_str().unwrap();
            assert_eq!(verifier.verify(access).await.unwrap().sub, account.id);
            let refresh = tokens["refresh_token"].as_str().unwrap();
            assert_eq!(issuer.ready().await.unwrap().presented(refresh).unwrap().sub, account.id);
            let header: serde_json::Value =
                serde_json::from_slice(&testkit::decode(access.split('.').next().unwrap()))
                    .unwrap();
            kids.push(header["kid"].as_str().unwrap().to_owned());
        }
        bench.wait(LEAD);
        bench.rotate(&Plan::Rotate).await.unwrap();
        bench.wait(seconds(60));
    }
    assert_eq!((&kids[0], &kids[2], &kids[4]), (&kids[1], &kids[3], &kids[5]));
    kids.dedup();
    assert_eq!(kids.len(), 3);
}

#[tokio::test]
async fn end_to_end_an_emulator_ends_with_the_test_that_started_it() {
    let manager = SecretsManager::start().await;
    let address = manager.url().strip_prefix("http://").unwrap().to_owned();
    assert!(std::net::TcpStream::connect(&address).is_ok());
    drop(manager);
    assert!(std::net::TcpStream::connect(&address).is_err());
}
