//! A model of the stored sessions, with which the tests compare `store`. Both judge tokens with
//! [`store::Chain::judge`].

use identity::{Authentication, Method, SessionEpoch, SessionId};
use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;
use proptest_state_machine::ReferenceStateMachine;
use store::{Chain, Judgement, Refreshed, Session};
use testkit::Fault;

/// The grace period.
pub(crate) const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// How long a session lives without a refresh.
pub(crate) const IDLE: SignedDuration = SignedDuration::from_secs(30);

/// The maximum lifetime of a session.
pub(crate) const ABSOLUTE: SignedDuration = SignedDuration::from_secs(40);

/// The maximum number of valid sessions.
pub(crate) const SESSIONS: usize = 3;

/// The pepper of a new session.
pub(crate) const PEPPER: &str = "login";

/// An account and all its sessions.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) now: Timestamp,
    pub(crate) epoch: SessionEpoch,
    /// All sessions that have begun. A session that is no longer in the table is `None`.
    pub(crate) sessions: Vec<Option<Session>>,
    /// The answer to the last transition.
    pub(crate) answer: Answer,
}

/// The answer to a transition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// The transition has no result.
    Done,
    Begun(Box<Session>),
    Refreshed(Refreshed),
    /// Whether the session existed.
    Ended(bool),
}

/// A transition of the model and the implementation. Sessions are identified by number. `faults` apply to
/// consecutive requests, and are few enough for the SDK's retries to succeed. `Raise` raises the session
/// epoch, which invalidates all earlier sessions.
#[derive(Clone, Debug)]
pub(crate) enum Transition {
    Login { faults: Vec<Fault> },
    Refresh { session: usize, token: Token, pepper: &'static str, faults: Vec<Fault> },
    Logout { session: usize, faults: Vec<Fault> },
    Raise { faults: Vec<Fault> },
    Wait(SignedDuration),
}

/// The token to present.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token {
    /// This many rotations behind the current token, or the current token if 0.
    Behind(u64),
    /// This many rotations ahead of the current token.
    Ahead(u64),
}

impl Token {
    /// The counter of the token in a session whose counter is `current`.
    pub(crate) fn counter(self, current: u64) -> u64 {
        match self {
            Self::Behind(by) => current.saturating_sub(by),
            Self::Ahead(by) => current.saturating_add(by),
        }
    }
}

/// Derives the id of a session from its number, so that the model can predict the id.
pub(crate) fn session_id(number: usize) -> SessionId {
    SessionId::from_bytes((number as u128 + 1).to_be_bytes())
}

/// Performs an operation once for each attempt that reaches the table. Returns the result of the attempt whose
/// answer is not lost.
fn attempts<T>(faults: &mut impl Iterator<Item = Fault>, mut operation: impl FnMut() -> T) -> T {
    loop {
        match faults.next() {
            None | Some(Fault::None) => return operation(),
            Some(Fault::LostAnswer) => drop(operation()),
            Some(_) => {}
        }
    }
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap()
}

impl Model {
    /// The counter of a session, or 0 if the session is no longer in the table.
    pub(crate) fn counter(&self, session: usize) -> u64 {
        self.sessions[session].as_ref().map_or(0, |session| session.chain.counter)
    }

    /// Why a session has ended, or `None` if it is live.
    pub(crate) fn ending(&self, session: usize) -> Option<&'static str> {
        match &self.sessions[session] {
            None => Some("gone"),
            Some(session) if self.now < session.ends_at => None,
            Some(session) if session.ends_at < whole_second(session.created_at + ABSOLUTE) => {
                Some("idle")
            }
            Some(_) => Some("absolute"),
        }
    }

    /// The sessions in the table.
    pub(crate) fn stored(&self) -> Vec<Session> {
        self.sessions.iter().flatten().cloned().collect()
    }

    fn ends_at(&self, created_at: Timestamp) -> Timestamp {
        whole_second(self.now + IDLE).min(whole_second(created_at + ABSOLUTE))
    }

    /// Begins a session. Removes invalid sessions and, if there are too many valid ones, the oldest valid
    /// ones.
    fn login(&mut self) -> Session {
        let (epoch, now) = (self.epoch, self.now);
        for slot in &mut self.sessions {
            slot.take_if(|session| !session.is_valid(epoch, now));
        }
        while self.sessions.iter().flatten().count() >= SESSIONS {
            let age = |slot: &&mut Option<Session>| {
                slot.as_ref().map(|session| (session.created_at, session.id))
            };
            let stored = self.sessions.iter_mut().filter(|slot| slot.is_some());
            *stored.min_by_key(age).unwrap() = None;
        }
        let session = Session {
            id: session_id(self.sessions.len()),
            created_at: whole_millisecond(now),
            last_used_at: whole_millisecond(now),
            ends_at: self.ends_at(now),
            epoch,
            chain: Chain::NEW,
            pepper: PEPPER.to_owned(),
            authentication: Authentication {
                at: whole_second(now),
                methods: Method::Password.into(),
            },
            user_agent: None,
            network: None,
        };
        self.sessions.push(Some(session.clone()));
        session
    }

    /// Performs one attempt at a refresh.
    fn refresh(&mut self, session: usize, presented: u64, pepper: &str) -> Refreshed {
        let now = self.now;
        let Some(old) = self.sessions[session].as_ref().filter(|session| now < session.ends_at)
        else {
            return Refreshed::Ended;
        };
        match old.chain.judge(presented, now, GRACE) {
            judgement @ Judgement::Rotate => {
                let ms = whole_millisecond(now);
                let rotated = Session {
                    chain: old.chain.rotated(ms),
                    last_used_at: ms,
                    ends_at: self.ends_at(old.created_at),
                    pepper: pepper.to_owned(),
                    ..old.clone()
                };
                self.sessions[session] = Some(rotated.clone());
                Refreshed::Live(Box::new(rotated), judgement)
            }
            judgement @ (Judgement::Again | Judgement::Successor) => {
                Refreshed::Live(Box::new(old.clone()), judgement)
            }
            Judgement::Reuse => Refreshed::Reused,
            Judgement::Ahead => Refreshed::Ahead,
        }
    }
}

/// Truncates to milliseconds, the precision of the table.
fn whole_millisecond(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap()
}

/// Faults for at most three requests. The SDK attempts each request up to five times.
fn faults() -> impl Strategy<Value = Vec<Fault>> {
    use Fault::{Lost, LostAnswer, None, ServerError, Throttled};
    prop_oneof![
        3 => Just(vec![]),
        2 => vec(select(vec![None, Lost, LostAnswer, LostAnswer, ServerError, Throttled]), 1..=3),
    ]
}

fn token() -> impl Strategy<Value = Token> {
    prop_oneof![
        12 => Just(Token::Behind(0)),
        5 => Just(Token::Behind(1)),
        2 => (2_u64..5).prop_map(Token::Behind),
        1 => select(vec![1, 2, u64::MAX]).prop_map(Token::Ahead),
    ]
}

/// Waits that end before, at and after the end of the grace period and of the lifetimes. Some are negative, because
/// the clocks of two machines may differ.
fn wait() -> impl Strategy<Value = SignedDuration> {
    let ms = SignedDuration::from_millis(1);
    let short = [SignedDuration::from_micros(300), ms, GRACE / 2, -3 * ms, -GRACE / 3];
    let grace = [GRACE - ms, GRACE, GRACE, GRACE + ms];
    let lifetimes = [2 * GRACE, IDLE - SignedDuration::from_secs(1), IDLE];
    prop_oneof![6 => select(short.to_vec()), 6 => select(grace.to_vec()), 3 => select(lifetimes.to_vec())]
}

/// The number of a session: usually a live one, sometimes an ended one that is still in the table, and rarely an
/// arbitrary one.
fn session(model: &Model) -> impl Strategy<Value = usize> + use<> {
    let all = 0..model.sessions.len();
    let (live, ended): (Vec<_>, Vec<_>) = all
        .clone()
        .filter(|number| model.sessions[*number].is_some())
        .partition(|number| model.ending(*number).is_none());
    let weighted = [(8, live), (3, ended), (1, all.collect())];
    let nonempty = weighted.into_iter().filter(|(_, numbers)| !numbers.is_empty());
    Union::new_weighted(nonempty.map(|(weight, numbers)| (weight, select(numbers))).collect())
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        // The table stores some times in seconds and some in milliseconds, so the start times differ in
        // precision.
        select(vec![0, 123_000_000, 123_456_789, 999_999_999])
            .prop_map(|nanosecond| Self {
                now: Timestamp::new(1_767_225_600, nanosecond).unwrap(),
                epoch: SessionEpoch::new(1),
                sessions: vec![],
                answer: Answer::Done,
            })
            .boxed()
    }

    fn transitions(model: &Self) -> BoxedStrategy<Transition> {
        let login = faults().prop_map(|faults| Transition::Login { faults });
        if model.sessions.is_empty() {
            return login.boxed();
        }
        let refresh = (session(model), token(), select(vec!["one", "two"]), faults());
        // Logins are more frequent if no session is live, because a refresh would then have no effect.
        let live = (0..model.sessions.len()).any(|number| model.ending(number).is_none());
        prop_oneof![
            if live { 2 } else { 8 } => login,
            12 => refresh.prop_map(|(session, token, pepper, faults)| {
                Transition::Refresh { session, token, pepper, faults }
            }),
            1 => (session(model), faults())
                .prop_map(|(session, faults)| Transition::Logout { session, faults }),
            1 => faults().prop_map(|faults| Transition::Raise { faults }),
            8 => wait().prop_map(Transition::Wait),
        ]
        .boxed()
    }

    fn preconditions(model: &Self, transition: &Transition) -> bool {
        match transition {
            Transition::Refresh { session, .. } | Transition::Logout { session, .. } => {
                *session < model.sessions.len()
            }
            Transition::Login { .. } | Transition::Raise { .. } | Transition::Wait(_) => true,
        }
    }

    fn apply(mut model: Self, transition: &Transition) -> Self {
        model.answer = match transition {
            // Every attempt at a login writes and removes the same sessions, so faults have no effect.
            Transition::Login { .. } => Answer::Begun(Box::new(model.login())),
            Transition::Refresh { session, token, pepper, faults } => {
                let mut faults = faults.iter().copied();
                let presented = token.counter(model.counter(*session));
                let refreshed =
                    attempts(&mut faults, || model.refresh(*session, presented, pepper));
                if refreshed == Refreshed::Reused {
                    attempts(&mut faults, || model.sessions[*session] = None);
                }
                Answer::Refreshed(refreshed)
            }
            // A logout or a raise is a transaction. All attempts at it have the same request token, so it is carried
            // out only once.
            Transition::Logout { session, .. } => {
                Answer::Ended(model.sessions[*session].take().is_some())
            }
            Transition::Raise { .. } => {
                model.epoch = model.epoch.next();
                Answer::Done
            }
            Transition::Wait(time) => {
                model.now += *time;
                Answer::Done
            }
        };
        model
    }
}
