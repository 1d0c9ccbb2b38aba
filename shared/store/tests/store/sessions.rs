//! Tests that concurrency and faults never give a session two chains of tokens, and that session limits are enforced.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use events::Occasion;
use futures_util::future::join_all;
use identity::{Account, Authentication, MailId, Method, Methods, SessionId};
use jiff::SignedDuration;
use process::{Clock, Env, SystemClock, SystemRandom};
use store::{
    Endings, Grace, Judgement, Logins, Refreshed, Rotation, Rotations, Session, SessionLimits,
    Sessions, StepUps,
};
use testkit::{Fault, Faults, Stack};
use tokio::sync::Barrier;

use crate::{new_account, registrations};

struct Bench {
    stack: Stack,
    account: Account,
}

/// The occasion that all refreshes share.
static OCCASION: LazyLock<Occasion> = LazyLock::new(|| testkit::occasion(SystemClock.now()));

fn grace() -> Grace {
    Env::default().settings::<Grace>().unwrap()
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let account = registrations(&stack).create(new_account("testuser", None)).await.unwrap();
        Self { stack, account }
    }

    async fn begin(&self) -> SessionId {
        let session = self.stack.new_session(self.account.epoch);
        self.stack.logins().begin(self.account.id, session, &[]).await.unwrap().id
    }

    fn rotations(&self) -> Rotations {
        Rotations::new(&self.stack.users(), self.stack.client(), self.stack.limits(), grace())
    }

    fn faulty_rotations(&self, faults: &Faults) -> Rotations {
        let client = self.stack.faulty_client(faults);
        Rotations::new(&self.stack.users(), client, self.stack.limits(), grace())
    }

    fn rotation(&self, session: SessionId, counter: u64) -> Rotation<'static> {
        let notice = MailId::new(SystemClock.now(), &SystemRandom);
        let occasion = &*OCCASION;
        Rotation { user: self.account.id, session, counter, pepper: "p", notice, occasion }
    }

    async fn stored(&self, id: SessionId) -> Option<Session> {
        let sessions = Sessions::new(&self.stack.users(), self.stack.client());
        let sessions = sessions.of(self.account.id).await.unwrap();
        sessions.into_iter().find(|session| session.id == id)
    }

    /// Sends concurrent refreshes with the same token, each through a separate client. Returns the results.
    async fn race(&self, session: SessionId, racers: usize, fault: Fault) -> Vec<Refreshed> {
        let faults = Faults::together(racers, fault);
        let now = SystemClock.now();
        let tasks = (0..racers).map(|_| {
            let rotations = self.faulty_rotations(&faults);
            let rotation = self.rotation(session, 0);
            tokio::spawn(async move { rotations.refresh(rotation, now).await.unwrap() })
        });
        let results = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(faults.most_at_once(), racers, "the requests did not race");
        results
    }
}

/// The number of refreshes that rotated the session.
fn rotated(results: &[Refreshed]) -> usize {
    let rotated = |result: &&Refreshed| matches!(result, Refreshed::Live(_, Judgement::Rotate));
    results.iter().filter(rotated).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_one_of_twenty_concurrent_refreshes_rotates_and_all_get_the_successor() {
    let bench = Bench::start().await;
    let session = bench.begin().await;
    let results = bench.race(session, 20, Fault::None).await;
    assert_eq!(rotated(&results), 1);
    for result in &results {
        let Refreshed::Live(session, _) = result else { panic!("{result:?}") };
        assert_eq!(session.chain.counter, 1);
    }
    assert_eq!(bench.stored(session).await.unwrap().chain.counter, 1);
}

/// Runs the same race with unconditional writes, to show that the condition lets only one refresh rotate.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_the_condition_all_concurrent_refreshes_rotate() {
    let bench = Bench::start().await;
    let session = bench.begin().await;
    let results = bench.race(session, 20, Fault::Unconditional).await;
    assert_eq!(rotated(&results), 20);
}

/// No session survives a logout, whether the logout or a refresh comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_logout_that_races_refreshes_ends_the_session() {
    let bench = Bench::start().await;
    for round in 0..50 {
        let session = bench.begin().await;
        let faults = Faults::together(4, Fault::None);
        let now = SystemClock.now();
        let refreshes = (0..3).map(|_| {
            let rotations = bench.faulty_rotations(&faults);
            let rotation = bench.rotation(session, 0);
            tokio::spawn(async move { drop(rotations.refresh(rotation, now).await.unwrap()) })
        });
        let endings = Endings::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
        let user = bench.account.id;
        let logout = tokio::spawn(async move {
            assert!(endings.end(user, session, &testkit::occasion(now)).await.unwrap());
        });
        for task in refreshes.collect::<Vec<_>>().into_iter().chain([logout]) {
            task.await.unwrap();
        }
        assert_eq!(faults.most_at_once(), 4, "the requests did not race in round {round}");
        assert_eq!(bench.stored(session).await, None, "round {round}");
        for counter in 0..2 {
            let late = bench.rotations().refresh(bench.rotation(session, counter), now).await;
            assert_eq!(late.unwrap(), Refreshed::Ended, "round {round}");
        }
    }
}

/// The function's retry is judged like a client's retry, so the session survives a lost answer.
#[tokio::test]
async fn a_retry_after_a_lost_answer_gets_the_successor() {
    let bench = Bench::start().await;
    for lost in 1..=3 {
        let session = bench.begin().await;
        let faults = Faults::script(&vec![Fault::LostAnswer; lost]);
        let now = SystemClock.now();
        let refreshed =
            bench.faulty_rotations(&faults).refresh(bench.rotation(session, 0), now).await;
        let Refreshed::Live(live, judgement) = refreshed.unwrap() else { panic!("lost {lost}") };
        assert_eq!((live.chain.counter, judgement), (1, Judgement::Successor));
        assert_eq!(faults.requests(), lost + 1);
    }
}

#[tokio::test]
async fn an_outage_changes_nothing_and_is_reported() {
    let bench = Bench::start().await;
    let session = bench.begin().await;
    let before = bench.stored(session).await;
    for fault in [Fault::Throttled, Fault::ServerError, Fault::Lost] {
        let faults = Faults::always(fault);
        let now = SystemClock.now();
        let refreshed =
            bench.faulty_rotations(&faults).refresh(bench.rotation(session, 0), now).await;
        assert!(refreshed.is_err(), "{fault:?}");
        assert_eq!(bench.stored(session).await, before, "{fault:?}");
    }
}

#[tokio::test]
async fn a_session_ends_when_idle_and_after_its_absolute_lifetime() {
    let bench = Bench::start().await;
    let day = SignedDuration::from_hours(24);
    let started = SystemClock.now();
    let session = bench.begin().await;
    let at = |days: i32| started + day * days;
    let refresh = async |counter, days| {
        bench.rotations().refresh(bench.rotation(session, counter), at(days)).await.unwrap()
    };
    let ends = |refreshed: Refreshed| match refreshed {
        Refreshed::Live(session, _) => session.ends_at.as_second(),
        other => panic!("{other:?}"),
    };
    for (counter, days) in [(0, 29), (1, 58), (2, 87)] {
        // 30 days after the refresh, but at most 90 days after the login.
        let expected = at((days + 30).min(90)).as_second();
        assert_eq!(ends(refresh(counter, days).await), expected, "day {days}");
    }
    assert_eq!(refresh(3, 91).await, Refreshed::Ended);
    // This session has not been used for 31 days.
    let unused = bench.begin().await;
    let late = bench.rotations().refresh(bench.rotation(unused, 0), at(31)).await.unwrap();
    assert_eq!(late, Refreshed::Ended);
}

#[tokio::test]
async fn a_user_cannot_refresh_the_session_of_another_user() {
    let bench = Bench::start().await;
    let session = bench.begin().await;
    let other = registrations(&bench.stack).create(new_account("other", None)).await.unwrap();
    let rotation = Rotation { user: other.id, ..bench.rotation(session, 0) };
    let refreshed = bench.rotations().refresh(rotation, SystemClock.now()).await.unwrap();
    assert_eq!(refreshed, Refreshed::Ended);
    assert_eq!(bench.stored(session).await.unwrap().chain.counter, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_logins_respect_the_session_limit() {
    let bench = Bench::start().await;
    let limits =
        Env::from_iter([("SESSIONS_PER_ACCOUNT", "5")]).settings::<SessionLimits>().unwrap();
    let (users, user) = (bench.stack.users(), bench.account.id);
    let faults = Faults::script(&[]);
    let all_have_listed = Arc::new(Barrier::new(16));
    let tasks = (0..16).map(|_| {
        let logins = Logins::new(&users, bench.stack.faulty_client(&faults), limits);
        let session = bench.stack.new_session(bench.account.epoch);
        let all_have_listed = Arc::clone(&all_have_listed);
        tokio::spawn(async move {
            // All logins list the sessions before any of them begins one.
            let before = logins.sessions(user).await.unwrap();
            assert!(before.is_empty());
            all_have_listed.wait().await;
            logins.begin(user, session, &before).await.unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert!(faults.most_at_once() > 8, "the requests did not race");
    let sessions = Sessions::new(&users, bench.stack.client());
    assert_eq!(sessions.of(user).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_login_removes_invalid_sessions() {
    let bench = Bench::start().await;
    let (user, logins) = (bench.account.id, bench.stack.logins());
    for _ in 0..3 {
        bench.begin().await;
    }
    store::Epochs::new(&bench.stack.users(), bench.stack.client())
        .raise(user, &testkit::occasion(SystemClock.now()))
        .await
        .unwrap();
    let kept = bench.stack.new_session(bench.account.epoch.next());
    let before = logins.sessions(user).await.unwrap();
    let kept = logins.begin(user, kept, &before).await.unwrap().id;
    let sessions = Sessions::new(&bench.stack.users(), bench.stack.client());
    let left: Vec<_> = sessions.of(user).await.unwrap().iter().map(|it| it.id).collect();
    assert_eq!(left, [kept]);
}

#[test]
fn a_database_operation_ends_within_the_grace_period() {
    for seconds in [1, 2, 10, 60] {
        let env = Env::from_iter([("REFRESH_GRACE_SECONDS", seconds.to_string())]);
        let grace = env.settings::<Grace>().unwrap();
        assert!(grace.operation_deadline() < Duration::from_secs(seconds));
    }
    assert!(dynamo::OPERATION_DEADLINE < grace().duration().unsigned_abs());
}

/// Records a step-up in sessions that must not be stepped up. Returns how many of them changed.
async fn wrongly_stepped_up(fault: Fault) -> usize {
    let bench = Bench::start().await;
    let now = SystemClock.now();
    let (user, epoch) = (bench.account.id, bench.account.epoch);
    // The step-up changes `auth_time`, which is initially the time of the login, in whole seconds. A difference of a
    // minute makes the change visible, however long the logins below take.
    let at = now + SignedDuration::from_mins(1);
    let authentication = Authentication { at, methods: Method::Password.into() };
    let ended = SessionId::new(&SystemRandom);
    let past = AttributeValue::N(now.as_second().to_string());
    let mut sessions = vec![ended];
    for attribute in ["expires_at", "absolute_expires_at", "ver"] {
        let session = bench.begin().await;
        sessions.push(session);
        bench
            .stack
            .client()
            .update_item()
            .table_name("UsersTable")
            .key("pk", AttributeValue::S(format!("USER#{user}")))
            .key("sk", AttributeValue::S(format!("SESSION#{session}")))
            .update_expression("SET #name = :value")
            .expression_attribute_names("#name", attribute)
            .expression_attribute_values(":value", past.clone())
            .send()
            .await
            .unwrap();
    }
    let mut changed = 0;
    for session in sessions {
        let client = bench.stack.faulty_client(&Faults::script(&[fault]));
        let before = bench.stack.items().await;
        let step_ups = StepUps::new(&bench.stack.users(), client);
        let recorded = step_ups.record(user, session, epoch, &authentication).await;
        let is_changed = bench.stack.items().await != before;
        assert!(is_changed || matches!(recorded, Ok(None)), "{recorded:?}");
        changed += usize::from(is_changed);
    }
    changed
}

#[tokio::test]
async fn a_step_up_changes_no_session_that_has_ended() {
    assert_eq!(wrongly_stepped_up(Fault::None).await, 0);
}

/// Without the condition, even a session that does not exist would be written.
#[tokio::test]
async fn without_the_condition_a_step_up_changes_ended_sessions() {
    assert_eq!(wrongly_stepped_up(Fault::Unconditional).await, 4);
}

/// Both step-ups were admitted before either was recorded.
#[tokio::test]
async fn concurrent_step_ups_keep_each_others_methods() {
    let bench = Bench::start().await;
    let begun = bench.begin().await;
    let step_ups = StepUps::new(&bench.stack.users(), bench.stack.client());
    for (seconds, method) in [(60, Method::Otp), (61, Method::Possession)] {
        let at = SystemClock.now() + SignedDuration::from_secs(seconds);
        let methods = Methods::from(Method::Password).and(method);
        let authentication = Authentication { at, methods };
        let (user, epoch) = (bench.account.id, bench.account.epoch);
        let session = step_ups.record(user, begun, epoch, &authentication).await.unwrap().unwrap();
        assert_eq!(session.authentication.at.as_second(), at.as_second());
        assert_eq!(bench.stored(begun).await.unwrap(), session);
    }
    let methods = Methods::from(Method::Password).and(Method::Otp).and(Method::Possession);
    assert_eq!(bench.stored(begun).await.unwrap().authentication.methods, methods);
}
