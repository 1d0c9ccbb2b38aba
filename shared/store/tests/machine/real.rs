//! The system under test: the handles of `store` on an embedded DynamoDB.

use std::iter;
use std::marker::PhantomData;
use std::time::Duration;

use dynamo::Client;
use identity::{EventId, MailId, Method, Presented, Role, Roles, StoredHash, UserId, Username};
use process::{Clock, Env, SystemClock, SystemRandom};
use proptest_state_machine::StateMachineTest;
use store::{
    Endings, Epochs, Grace, Logins, NewAccount, NewSession, Registrations, Rotation, Rotations,
    SessionLimits, Sessions,
};
use testkit::{Fault, Faults, Stack};
use tokio::runtime::Runtime;

use crate::model::{
    ABSOLUTE, Answer, GRACE, IDLE, Model, PEPPER, SESSIONS, Transition, session_id,
};

/// More requests than any transition makes.
const MANY: usize = 100;

/// A variant of `store`, unmodified or defective.
pub(crate) trait Implementation {
    /// The number of seconds by which the grace period exceeds the model's.
    const EXTRA_GRACE_SECONDS: i64 = 0;
    /// The fault that replaces every [`Fault::None`].
    const DEFAULT_FAULT: Fault = Fault::None;
}

/// `store` without changes.
pub(crate) struct Unmodified;
impl Implementation for Unmodified {}

/// `store` without the conditions on its writes.
pub(crate) struct WithoutConditions;
impl Implementation for WithoutConditions {
    const DEFAULT_FAULT: Fault = Fault::Unconditional;
}

/// `store` with a grace period that is one second longer.
pub(crate) struct LongerGrace;
impl Implementation for LongerGrace {
    const EXTRA_GRACE_SECONDS: i64 = 1;
}

/// Compares an implementation with the model.
pub(crate) struct Machine<I>(PhantomData<I>);

/// The handles under test, and the stack that they use.
pub(crate) struct Real {
    runtime: Runtime,
    user: UserId,
    faults: Faults,
    logins: Logins,
    rotations: Rotations,
    endings: Endings,
    epochs: Epochs,
    /// Reads the table without faults.
    sessions: Sessions,
    /// The model before the transition.
    before: Model,
    _stack: Stack,
}

impl<I: Implementation> StateMachineTest for Machine<I> {
    type SystemUnderTest = Real;
    type Reference = Model;

    fn init_test(model: &Model) -> Real {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (stack, user) = runtime.block_on(async {
            let stack = Stack::start().await;
            let user = register(&stack, model).await;
            (stack, user)
        });
        let (users, faults) = (stack.users(), Faults::script(&[]));
        let client = with_short_backoff(&stack.faulty_client(&faults));
        let env = Env::from_iter(
            [
                ("REFRESH_GRACE_SECONDS", GRACE.as_secs() + I::EXTRA_GRACE_SECONDS),
                ("SESSION_IDLE_SECONDS", IDLE.as_secs()),
                ("SESSION_ABSOLUTE_SECONDS", ABSOLUTE.as_secs()),
                ("SESSIONS_PER_ACCOUNT", i64::try_from(SESSIONS).unwrap()),
            ]
            .map(|(name, value)| (name, value.to_string())),
        );
        let limits = env.settings::<SessionLimits>().unwrap();
        let grace = env.settings::<Grace>().unwrap();
        Real {
            runtime,
            user,
            faults,
            logins: Logins::new(&users, client.clone(), limits),
            rotations: Rotations::new(&users, client.clone(), limits, grace),
            endings: Endings::new(&users, client.clone()),
            epochs: Epochs::new(&users, client),
            sessions: Sessions::new(&users, stack.client()),
            before: model.clone(),
            _stack: stack,
        }
    }

    fn apply(real: Real, model: &Model, transition: Transition) -> Real {
        let answer = real.runtime.block_on(real.perform::<I>(model, &transition));
        assert_eq!(answer, model.answer, "the answer to {transition:?}");
        Real { before: model.clone(), ..real }
    }

    fn check_invariants(real: &Real, model: &Model) {
        real.runtime.block_on(async {
            let stored = real.sessions.of(real.user).await.unwrap();
            assert_eq!(stored, model.stored(), "the stored sessions");
            let account = real.rotations.account(real.user).await.unwrap().unwrap();
            assert_eq!(account.epoch, model.epoch, "the account's epoch");
        });
    }
}

impl Real {
    /// Performs the transition that led to `model`.
    async fn perform<I: Implementation>(&self, model: &Model, transition: &Transition) -> Answer {
        let user = self.user;
        let inject = |faults: &[Fault]| {
            let no_faults = iter::repeat_n(Fault::None, MANY);
            let faults = faults.iter().copied().chain(no_faults);
            let faults =
                faults.map(|fault| if fault == Fault::None { I::DEFAULT_FAULT } else { fault });
            self.faults.then(&faults.collect::<Vec<_>>());
        };
        let answer = match transition {
            Transition::Login { faults } => {
                let name = Username::parse("testuser").unwrap().canonical().clone();
                let credential = self.logins.credential(&Presented::Username(name)).await;
                let set_in = credential.unwrap().unwrap().set_in;
                let account = self.logins.account(user, set_in).await.unwrap().unwrap();
                let before = self.logins.sessions(user).await.unwrap();
                let session = NewSession {
                    id: session_id(self.before.sessions.len()),
                    epoch: account.epoch,
                    created_at: model.now,
                    methods: Method::Password.into(),
                    pepper: PEPPER.to_owned(),
                    user_agent: None,
                    network: None,
                    event: EventId::new(model.now, &SystemRandom),
                };
                inject(faults);
                let begun = self.logins.begin(user, session, &before).await.unwrap();
                Answer::Begun(Box::new(begun))
            }
            Transition::Refresh { session, token, pepper, faults } => {
                let counter = token.counter(self.before.counter(*session));
                let session = session_id(*session);
                let notice = MailId::new(SystemClock.now(), &SystemRandom);
                let occasion = &testkit::occasion(model.now);
                let rotation = Rotation { user, session, counter, pepper, notice, occasion };
                inject(faults);
                Answer::Refreshed(self.rotations.refresh(rotation, model.now).await.unwrap())
            }
            Transition::Logout { session, faults } => {
                inject(faults);
                Answer::Ended(
                    self.endings
                        .end(user, session_id(*session), &testkit::occasion(model.now))
                        .await
                        .unwrap(),
                )
            }
            Transition::Raise { faults } => {
                inject(faults);
                self.epochs.raise(user, &testkit::occasion(model.now)).await.unwrap();
                Answer::Done
            }
            Transition::Wait(_) => Answer::Done,
        };
        self.faults.then(&[]);
        answer
    }
}

/// Registers the account of the model.
async fn register(stack: &Stack, model: &Model) -> UserId {
    let account = NewAccount {
        id: UserId::new(model.now, &SystemRandom),
        username: Username::parse("testuser").unwrap(),
        email: None,
        roles: Roles::from_iter([Role::User]),
        password: StoredHash::new("a hash"),
        created_at: model.now,
        invite: None,
        occasion: testkit::occasion(model.now),
    };
    let registrations = Registrations::new(&stack.users(), stack.client());
    let account = registrations.create(account, stack.peppers()).await.unwrap();
    assert_eq!(account.epoch, model.epoch);
    account.id
}

/// Copies a client. The copy makes shorter pauses before retries.
fn with_short_backoff(client: &Client) -> Client {
    let retries = client.config().retry_config().unwrap().clone();
    let retries = retries.with_initial_backoff(Duration::from_millis(1));
    Client::from_conf(client.config().to_builder().retry_config(retries).build())
}
