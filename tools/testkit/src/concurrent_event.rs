//! Events that end all sessions of an account. A test triggers them in the middle of a request.

use std::future::Future;

use identity::{Account, MailId, MailedFor, SessionId, StoredHash};
use jiff::SignedDuration;
use process::{Clock, SystemClock, SystemRandom};
use store::{
    Administration, Changed, CodeRecord, Epochs, Hashes, Mail, Mailings, NewMail, NewSession,
    Notice, Passwords, Redeemed, Resets, Stored,
};
use tokio::sync::oneshot;

use crate::Stack;

/// An event that ends all sessions of an account while one of its requests is in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcurrentEvent {
    /// The password is reset with an emailed code.
    Reset,
    /// The password is changed, and a new session begins.
    Change,
    /// All sessions are ended.
    LogoutAll,
    /// The account is disabled and enabled again.
    Disabled,
}

impl ConcurrentEvent {
    /// All events.
    pub const ALL: [Self; 4] = [Self::Reset, Self::Change, Self::LogoutAll, Self::Disabled];

    /// Whether the event changes the password.
    #[must_use]
    pub fn replaces_the_password(self) -> bool {
        matches!(self, Self::Reset | Self::Change)
    }

    /// Prepares the event for the current state of `account`. Returns an action that triggers the event through the
    /// store, as functions do, and a receiver for the id of the session that a password change begins.
    ///
    /// # Panics
    /// When the event cannot be prepared. The action panics when the event fails.
    pub async fn prepare(
        self,
        stack: &Stack,
        account: &Account,
    ) -> (impl Future<Output = ()> + Send + use<>, oneshot::Receiver<Option<SessionId>>) {
        let (users, client, limits) = (stack.users(), stack.client(), stack.limits());
        let now = SystemClock.now();
        let old = Hashes::new(&users, client.clone()).of(account).await;
        let old = old.expect("a table that can be read").expect("a password");
        // The hash of an unknown password: the current hash with one character changed.
        let mut new = old.expose().to_owned();
        let at = new.len() - 10;
        let other = if new[at..].starts_with('A') { "B" } else { "A" };
        new.replace_range(at..=at, other);
        let new = StoredHash::new(new);
        let session =
            NewSession { epoch: account.epoch.next(), ..stack.new_session(account.epoch) };
        let notice = NewMail {
            id: MailId::new(now, &SystemRandom),
            mail: Mail::Notice {
                user_id: account.id,
                notice: Notice::PasswordChanged,
                address: None,
            },
            asked_at: now,
        };
        let code = account.email.clone().map(|address| CodeRecord {
            mail: MailId::new(now, &SystemRandom),
            purpose: MailedFor::PasswordReset,
            user: account.id,
            epoch: account.epoch,
            address,
            pepper: "p".to_owned(),
            expires_at: now + SignedDuration::from_mins(5),
        });
        if let Some(code) = &code {
            let stored = Mailings::new(&users, client.clone()).store(code).await;
            assert_eq!(stored.expect("a table that can be written"), Stored::Done);
        }
        let (sender, receiver) = oneshot::channel();
        let account = account.clone();
        let occasion = crate::occasion(now);
        let action = async move {
            let mut new_session = None;
            match self {
                Self::Reset => {
                    let code = code.expect("an account with an address");
                    let resets = Resets::new(&users, client);
                    let reset = resets.reset(&code, &account, new, Some(&notice), &occasion).await;
                    assert_eq!(reset.expect("a table that can be written"), Redeemed::Done);
                }
                Self::Change => {
                    new_session = Some(session.id);
                    let passwords = Passwords::new(&users, client, limits);
                    let changed =
                        passwords.change(&account, &old, new, session, Some(&notice)).await;
                    let changed = changed.expect("a table that can be written");
                    assert!(matches!(changed, Changed::Done(_)), "{changed:?}");
                }
                Self::LogoutAll => {
                    let epochs = Epochs::new(&users, client);
                    epochs.raise(account.id, &occasion).await.expect("an account");
                }
                Self::Disabled => {
                    let administration = Administration::new(&users, client);
                    administration
                        .disable(account.id, crate::occasion_now)
                        .await
                        .expect("an account");
                    administration
                        .enable(account.id, crate::occasion_now)
                        .await
                        .expect("an account");
                }
            }
            sender.send(new_session).expect("a test that still runs");
        };
        (action, receiver)
    }
}
