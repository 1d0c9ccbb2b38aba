//! Tests that a change and its event are one transaction, and that sessions end even if the event cannot be recorded.

use std::collections::BTreeMap;

use dynamo::Client;
use events::{Actor, Event, Kind, Occasion};
use identity::{Account, Email, MailId, MailedFor, SessionId, StoredHash};
use jiff::SignedDuration;
use process::{Clock, Env, SystemClock, SystemRandom};
use store::{
    Changed, CodeRecord, Endings, Epochs, Events, Grace, Mailings, NewSession, Passwords, Redeemed,
    Refreshed, Registrations, Resets, Rotation, Rotations, Sessions, Stored, Verifications,
};
use testkit::{Fault, Faults, Interceptor, Stack, occasion};

use crate::{new_account, registrations};

struct Bench {
    stack: Stack,
    account: Account,
}

impl Bench {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let account = new_account("testuser", Some("testuser@example.com"));
        let account = registrations(&stack).create(account).await.unwrap();
        Self { stack, account }
    }

    /// The events of the account, latest first.
    async fn events(&self) -> Vec<Event> {
        let events = Events::new(&self.stack.users(), self.stack.client());
        events.page(self.account.id, None, 100, SystemClock.now()).await.unwrap().events
    }

    async fn kinds(&self) -> Vec<&'static str> {
        self.events().await.iter().map(|event| event.kind.name()).collect()
    }

    async fn begin(&self) -> SessionId {
        let session = self.stack.new_session(self.account.epoch);
        self.stack.logins().begin(self.account.id, session, &[]).await.unwrap().id
    }

    async fn sessions(&self) -> usize {
        let sessions = Sessions::new(&self.stack.users(), self.stack.client());
        sessions.of(self.account.id).await.unwrap().len()
    }

    /// Stores a code for the account, and returns it.
    async fn code(&self, purpose: MailedFor, address: &str) -> CodeRecord {
        let now = SystemClock.now();
        let code = CodeRecord {
            mail: MailId::new(now, &SystemRandom),
            purpose,
            user: self.account.id,
            epoch: self.account.epoch,
            address: Email::parse(address).unwrap(),
            pepper: "p".to_owned(),
            expires_at: now + SignedDuration::from_mins(5),
        };
        let mailings = Mailings::new(&self.stack.users(), self.stack.client());
        assert_eq!(mailings.store(&code).await.unwrap(), Stored::Done);
        code
    }

    async fn change(&self, client: Client, old: &str) -> Result<Changed, store::StoreError> {
        let passwords = Passwords::new(&self.stack.users(), client, self.stack.limits());
        let session = NewSession {
            epoch: self.account.epoch.next(),
            ..self.stack.new_session(self.account.epoch)
        };
        let (old, new) = (StoredHash::new(old), StoredHash::new("a new hash"));
        passwords.change(&self.account, &old, new, session, None).await
    }

    /// Rotates a session, and presents its superseded token again after the grace period.
    async fn reuse(&self, client: Client, session: SessionId) -> Refreshed {
        let grace = Env::default().settings::<Grace>().unwrap();
        let rotations =
            |client| Rotations::new(&self.stack.users(), client, self.stack.limits(), grace);
        let now = SystemClock.now();
        let occasion = occasion(now);
        let rotation = |counter| Rotation {
            user: self.account.id,
            session,
            counter,
            pepper: "p",
            notice: MailId::new(now, &SystemRandom),
            occasion: &occasion,
        };
        let own = rotations(self.stack.client());
        own.refresh(rotation(0), now).await.unwrap();
        let later = now + SignedDuration::from_mins(1);
        rotations(client).refresh(rotation(0), later).await.unwrap()
    }
}

/// A client for which every request that contains an event fails.
async fn without_events(stack: &Stack) -> (Client, Interceptor) {
    let interceptor = Interceptor::of(stack).await;
    interceptor.fail_when(|call| {
        let is_event = call.body.to_string().contains("EVENT#");
        if is_event { Fault::AccessDenied } else { Fault::None }
    });
    let env = interceptor.env(stack, &[]);
    (dynamo::connect(&env.settings::<dynamo::Config>().unwrap()), interceptor)
}

/// All items except events, by key.
async fn state(stack: &Stack) -> BTreeMap<String, String> {
    let items = stack.items().await.into_iter();
    let items = items.map(|item| {
        let key = format!("{} {}", item["pk"].as_s().unwrap(), item["sk"].as_s().unwrap());
        let item: BTreeMap<_, _> = item.into_iter().collect();
        (key, format!("{item:?}"))
    });
    items.filter(|(key, _)| !key.contains("EVENT#")).collect()
}

#[tokio::test]
async fn every_change_records_its_event() {
    let bench = Bench::start().await;
    let (users, client) = (bench.stack.users(), bench.stack.client());
    let first = bench.begin().await;
    let endings = Endings::new(&users, client.clone());
    assert!(endings.end(bench.account.id, first, &occasion(SystemClock.now())).await.unwrap());
    let second = bench.begin().await;
    assert_eq!(bench.reuse(client.clone(), second).await, Refreshed::Reused);
    let code = bench.code(MailedFor::EmailVerification, "testuser@example.com").await;
    let verifications = Verifications::new(&users, client.clone());
    let now = occasion(SystemClock.now());
    let verified = verifications
        .verify(&code, &bench.account, bench.stack.peppers(), None, &now)
        .await
        .unwrap();
    assert_eq!(verified, Redeemed::Done);
    let code = bench.code(MailedFor::PasswordReset, "testuser@example.com").await;
    let resets = Resets::new(&users, client.clone());
    let now = occasion(SystemClock.now());
    let new = StoredHash::new("hash");
    assert_eq!(resets.reset(&code, &bench.account, new, None, &now).await.unwrap(), Redeemed::Done);
    let epoch = bench.account.epoch.next();
    let bench = Bench { account: Account { epoch, ..bench.account }, ..bench };
    assert!(matches!(bench.change(client.clone(), "hash").await, Ok(Changed::Done(_))));
    let admin = identity::UserId::new(SystemClock.now(), &SystemRandom);
    let by_admin = occasion(SystemClock.now()).by(admin);
    Epochs::new(&users, client).raise(bench.account.id, &by_admin).await.unwrap();
    let events = bench.events().await;
    let kinds: Vec<_> = events.iter().rev().map(|event| event.kind.name()).collect();
    let expected = [
        "registered",
        "login",
        "logout",
        "login",
        "refresh_reuse",
        "email_changed",
        "password_reset",
        "password_changed",
        "logout",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(events[0].kind, Kind::Logout { session_id: None });
    assert_eq!(events[0].by, Actor::User(admin));
    assert_eq!(events[6].kind, Kind::Logout { session_id: Some(first) });
    assert_eq!(events[4].kind, Kind::RefreshReuse { session_id: second });
    assert!(events[1..].iter().all(|event| event.by == Actor::Owner));
}

/// An intruder who can prevent events from being written must not be able to make a change without leaving a trace.
#[tokio::test]
async fn a_change_whose_event_cannot_be_recorded_does_not_happen() {
    let bench = Bench::start().await;
    let (client, _interceptor) = without_events(&bench.stack).await;
    let users = bench.stack.users();
    let verification = bench.code(MailedFor::EmailVerification, "new@example.com").await;
    let reset = bench.code(MailedFor::PasswordReset, "testuser@example.com").await;
    let before = state(&bench.stack).await;
    let registrations = Registrations::new(&users, client.clone());
    assert!(registrations.create(new_account("other", None), bench.stack.peppers()).await.is_err());
    let logins = store::Logins::new(&users, client.clone(), bench.stack.limits());
    let session = bench.stack.new_session(bench.account.epoch);
    assert!(logins.begin(bench.account.id, session, &[]).await.is_err());
    assert!(bench.change(client.clone(), "the hash of testuser").await.is_err());
    let now = occasion(SystemClock.now());
    let verifications = Verifications::new(&users, client.clone());
    assert!(
        verifications
            .verify(&verification, &bench.account, bench.stack.peppers(), None, &now)
            .await
            .is_err()
    );
    let resets = Resets::new(&users, client);
    let new = StoredHash::new("hash");
    assert!(resets.reset(&reset, &bench.account, new, None, &now).await.is_err());
    assert_eq!(state(&bench.stack).await, before);
    assert_eq!(bench.kinds().await, ["registered"]);
}

#[tokio::test]
async fn a_session_ends_even_if_its_event_cannot_be_recorded() {
    let bench = Bench::start().await;
    let (one, two) = (bench.begin().await, bench.begin().await);
    let (client, _interceptor) = without_events(&bench.stack).await;
    let now = occasion(SystemClock.now());
    let endings = Endings::new(&bench.stack.users(), client.clone());
    assert!(endings.end(bench.account.id, one, &now).await.unwrap());
    assert!(!endings.end(bench.account.id, one, &now).await.unwrap(), "it has already ended");
    assert_eq!(bench.reuse(client.clone(), two).await, Refreshed::Reused);
    assert_eq!(bench.sessions().await, 0);
    let epochs = Epochs::new(&bench.stack.users(), client);
    epochs.raise(bench.account.id, &now).await.unwrap();
    let accounts = store::Administration::new(&bench.stack.users(), bench.stack.client());
    let account = accounts.account_by_name(bench.account.username.canonical()).await.unwrap();
    assert_eq!(account.unwrap().epoch, bench.account.epoch.next());
    assert_eq!(bench.kinds().await, ["login", "login", "registered"]);
    // Raising the epoch of a nonexistent account does not create it.
    let nobody = identity::UserId::new(SystemClock.now(), &SystemRandom);
    assert!(matches!(epochs.raise(nobody, &now).await, Err(store::StoreError::Absent)));
}

/// Otherwise, a thief who causes conflicts, or a load that throttles writes, could use a stolen token without a notice to
/// the owner.
#[tokio::test]
async fn the_reuse_of_a_token_is_notified_even_if_the_transaction_fails() {
    for fault in [Fault::Conflict, Fault::Throttled, Fault::Lost] {
        let bench = Bench::start().await;
        let session = bench.begin().await;
        // The first request is the refresh, and the others are the tries of the transaction.
        let faults = Faults::script(&[Fault::None, fault, fault, fault, fault, fault]);
        let reused = bench.reuse(bench.stack.faulty_client(&faults), session).await;
        assert_eq!((reused, bench.sessions().await), (Refreshed::Reused, 0), "{fault:?}");
        let items = bench.stack.items().await;
        let notices = items.iter().filter(|item| item["sk"].as_s().unwrap() == "MAIL").count();
        assert_eq!(notices, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_change_that_does_not_happen_records_no_event() {
    let bench = Bench::start().await;
    let client = bench.stack.client();
    let now = occasion(SystemClock.now());
    assert!(registrations(&bench.stack).create(new_account("testuser", None)).await.is_err());
    assert!(matches!(bench.change(client.clone(), "another hash").await, Ok(Changed::Conflict)));
    let endings = Endings::new(&bench.stack.users(), client.clone());
    let unknown = SessionId::new(&SystemRandom);
    assert!(!endings.end(bench.account.id, unknown, &now).await.unwrap());
    let epochs = Epochs::new(&bench.stack.users(), client.clone());
    let nobody = identity::UserId::new(SystemClock.now(), &SystemRandom);
    assert!(matches!(epochs.raise(nobody, &now).await, Err(store::StoreError::Absent)));
    let code = bench.code(MailedFor::PasswordReset, "testuser@example.com").await;
    let raised = Account { epoch: bench.account.epoch.next(), ..bench.account.clone() };
    let resets = Resets::new(&bench.stack.users(), client);
    let reset = resets.reset(&code, &raised, StoredHash::new("hash"), None, &now).await.unwrap();
    assert_eq!(reset, Redeemed::Conflict);
    assert_eq!(bench.kinds().await, ["registered"]);
    let items = bench.stack.items().await;
    assert_eq!(items.iter().filter(|item| item.contains_key("kind")).count(), 1);
}

#[tokio::test]
async fn an_event_is_recorded_once_despite_lost_answers() {
    let bench = Bench::start().await;
    for lost in 1..=3 {
        let session = bench.begin().await;
        let faults = Faults::script(&vec![Fault::LostAnswer; lost]);
        let endings = Endings::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
        let now = occasion(SystemClock.now());
        assert!(endings.end(bench.account.id, session, &now).await.unwrap());
        assert_eq!(faults.requests(), lost + 1);
    }
    let logouts = bench.kinds().await.into_iter().filter(|kind| *kind == "logout").count();
    assert_eq!(logouts, 3);
    // Even if no answer ever arrives, the session has ended.
    let session = bench.begin().await;
    let faults = Faults::killed_after(1);
    let endings = Endings::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
    let now = occasion(SystemClock.now());
    assert!(endings.end(bench.account.id, session, &now).await.is_err());
    assert_eq!(bench.sessions().await, 0);
}

/// Eight requests end the same session concurrently.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_one_of_many_concurrent_endings_records_an_event() {
    let bench = Bench::start().await;
    let session = bench.begin().await;
    let faults = Faults::together(8, Fault::None);
    let endings = (0..8).map(|_| {
        let endings = Endings::new(&bench.stack.users(), bench.stack.faulty_client(&faults));
        let (user, now) = (bench.account.id, occasion(SystemClock.now()));
        tokio::spawn(async move { endings.end(user, session, &now).await.unwrap() })
    });
    let ended = futures_util::future::join_all(endings.collect::<Vec<_>>()).await;
    assert_eq!(ended.into_iter().filter(|ended| *ended.as_ref().unwrap()).count(), 1);
    assert_eq!(bench.kinds().await, ["logout", "login", "registered"]);
}

#[tokio::test]
async fn an_operator_is_named_as_the_actor() {
    let stack = Stack::start().await;
    let mut new = new_account("testuser", None);
    new.occasion = Occasion::of_operator(SystemClock.now(), &SystemRandom);
    let account = registrations(&stack).create(new).await.unwrap();
    let bench = Bench { stack, account };
    assert_eq!(bench.events().await[0].by, Actor::Operator);
}

/// DynamoDB reads at most 1 MB per request, so a page can contain fewer events than its limit.
#[tokio::test]
async fn a_page_that_the_database_cuts_short_loses_no_event() {
    const RECORDED: usize = 300;
    let bench = Bench::start().await;
    let events = Events::new(&bench.stack.users(), bench.stack.client());
    for _ in 0..RECORDED {
        let mut exported = occasion(SystemClock.now()).event(bench.account.id, Kind::Exported);
        exported.origin.user_agent = Some("x".repeat(5_000));
        events.record(bench.account.id, &exported, exported.id).await.unwrap();
    }
    let (mut found, mut pages, mut before) = (0, 0, None);
    loop {
        let page = events.page(bench.account.id, before, 1_000, SystemClock.now()).await.unwrap();
        found += page.events.len();
        pages += 1;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    // One more event records the registration.
    assert_eq!(found, RECORDED + 1);
    assert!(pages > 1);
}
