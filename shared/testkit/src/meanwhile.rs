//! What ends all sessions of an account, to be let happen in the middle of a request.

use std::future::Future;

use auth::{Account, Clock, MailId, MailedFor, SessionId, SystemClock, SystemRandom};
use jiff::SignedDuration;
use store::{
    Administration, Changed, Code, Epochs, Hashes, Mail, Mailings, NewMail, NewSession, Notice,
    Passwords, Redeemed, Resets, Secret,
};
use tokio::sync::oneshot;

use crate::Stack;

/// What happens to an account while a request of it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// The password is reset by mail.
    Reset,
    /// The password is changed, and a new session begins.
    Change,
    /// All sessions are ended.
    LogoutAll,
    /// The account is disabled, and enabled again.
    Disabled,
}

impl Meanwhile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reset, Self::Change, Self::LogoutAll, Self::Disabled];

    /// Whether the password is another one afterwards.
    #[must_use]
    pub fn replaces_the_password(self) -> bool {
        matches!(self, Self::Reset | Self::Change)
    }

    /// Prepares it for `account`, as it is now. The action lets it happen, by the handles of the functions
    /// that do it; the receiver then gives the session that a change has begun.
    ///
    /// # Panics
    /// When it cannot be prepared; and the action, when it does not happen.
    pub async fn prepare(
        self,
        stack: &Stack,
        account: &Account,
    ) -> (impl Future<Output = ()> + Send + use<>, oneshot::Receiver<Option<SessionId>>) {
        let (users, client, limits) = (stack.users(), stack.client(), stack.limits());
        let now = SystemClock.now();
        let old = Hashes::new(&users, client.clone()).of(account).await;
        let old = old.expect("a table that can be read").expect("a password");
        // Of a password that nobody knows: one character of the hash is another.
        let mut new = old.expose().to_owned();
        let at = new.len() - 10;
        let other = if new[at..].starts_with('A') { "B" } else { "A" };
        new.replace_range(at..=at, other);
        let new = Secret::new(new);
        let session = NewSession { ver: account.ver + 1, ..stack.new_session(account.ver) };
        let notice = NewMail {
            id: MailId::new(now, &SystemRandom),
            mail: Mail::Notice {
                user_id: account.id,
                notice: Notice::PasswordChanged,
                address: None,
            },
            asked_at: now,
        };
        let code = account.email.clone().map(|address| Code {
            mail: MailId::new(now, &SystemRandom),
            purpose: MailedFor::PasswordReset,
            user: account.id,
            ver: account.ver,
            address,
            pepper: "p".to_owned(),
            expires_at: now + SignedDuration::from_mins(5),
        });
        if let Some(code) = &code {
            Mailings::new(&users, client.clone()).store(code).await.expect("a stored code");
        }
        let (tell, told) = oneshot::channel();
        let account = account.clone();
        let action = async move {
            let mut begun = None;
            match self {
                Self::Reset => {
                    let code = code.expect("an account with an address");
                    let resets = Resets::new(&users, client);
                    let reset = resets.reset(&code, &account, new, Some(&notice), now).await;
                    assert_eq!(reset.expect("a table that can be written"), Redeemed::Done);
                }
                Self::Change => {
                    begun = Some(session.id);
                    let passwords = Passwords::new(&users, client, limits);
                    let changed =
                        passwords.change(&account, &old, new, session, Some(&notice)).await;
                    let changed = changed.expect("a table that can be written");
                    assert!(matches!(changed, Changed::Done(_)), "{changed:?}");
                }
                Self::LogoutAll => {
                    Epochs::new(&users, client).raise(account.id).await.expect("an account");
                }
                Self::Disabled => {
                    let administration = Administration::new(&users, client);
                    administration.disable(account.id).await.expect("an account");
                    administration.enable(account.id).await.expect("an account");
                }
            }
            tell.send(begun).expect("a test that wants to know");
        };
        (action, told)
    }
}
