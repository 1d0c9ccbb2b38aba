//! Begins and refreshes sessions, records step-ups, and issues tokens. No other crate that a route links can do this.
//!
//! A route must authenticate the user before it begins a session. It must obtain [`Ready`] before it checks a password
//! or writes anything, so that a request has no effect if the keys cannot be loaded.

mod refresh;

use std::fmt;
use std::sync::Arc;

use auth::{CheckedCaller, KeyError};
pub use events::Origin;
use identity::{
    Account, Authentication, EventId, Method, Methods, SessionEpoch, SessionId, StoredHash,
};
pub use issuer::{Config, Tokens};
use issuer::{IssueError, Issuer, RefreshTokenError, SessionGrant};
use peppers::Peppers;
use process::{Fault, FaultKind, World};
use secrets::Cached;
use store::{
    Changed, Logins, NewMail, NewSession, Notice, Passwords, Session, StepUps, StoreError,
};

/// Begins and refreshes sessions.
#[derive(Debug)]
pub struct SignIn {
    issuer: Issuer,
    world: World,
}

/// The loaded keys with which tokens are issued.
pub struct Ready<'a> {
    issuer: issuer::Ready<'a>,
    world: &'a World,
}

impl fmt::Debug for Ready<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}

impl SignIn {
    /// Reads the keys. If that fails, every request tries again.
    pub async fn open(config: Config, peppers: Arc<Cached<Peppers>>, world: &World) -> Self {
        Self { issuer: Issuer::open(config, peppers, world).await, world: world.clone() }
    }

    /// Loads all keys that are needed to issue tokens.
    ///
    /// # Errors
    /// When a secret cannot be read, or no signing key exists yet.
    pub async fn ready(&self) -> Result<Ready<'_>, SignInError> {
        Ok(Ready { issuer: self.issuer.ready().await?, world: &self.world })
    }
}

impl Ready<'_> {
    /// Begins a session for `account`, whose user has presented the right password, and issues its tokens. `before`
    /// lists the sessions that the account already has. If there are too many, the oldest ones end.
    ///
    /// # Errors
    /// [`SignInError::Raced`] when the account has been deleted, disabled or logged out everywhere concurrently; another
    /// error when the session cannot be written.
    #[expect(clippy::disallowed_methods, reason = "only this crate begins sessions")]
    pub async fn begin(
        &self,
        logins: &Logins,
        account: &Account,
        before: &[Session],
        origin: Origin,
    ) -> Result<Tokens, SignInError> {
        let session = self.new_session(account.epoch, Method::Password.into(), origin);
        let session = match logins.begin(account.id, session, before).await {
            Err(StoreError::Raced) => return Err(SignInError::Raced),
            session => session?,
        };
        self.tokens(account, &session)
    }

    /// Replaces the password hash `old` of `account` with `new`, notifies the owner, ends all sessions, and begins a
    /// new one, all in one transaction. `methods` are those of the session that made the change; the new session
    /// keeps them.
    ///
    /// # Errors
    /// [`SignInError::Refused`] when the account or its password has changed concurrently; another error when
    /// the table cannot be written.
    #[expect(clippy::disallowed_methods, reason = "only this crate begins sessions")]
    pub async fn begin_with_password(
        &self,
        passwords: &Passwords,
        account: &Account,
        old: &StoredHash,
        new: StoredHash,
        methods: Methods,
        origin: Origin,
    ) -> Result<Tokens, SignInError> {
        // The next epoch ends all earlier sessions.
        let session = self.new_session(account.epoch.next(), methods, origin);
        let (now, random) = (session.created_at, &*self.world.random);
        let notice = NewMail::notice(account, Notice::PasswordChanged, now, random);
        match passwords.change(account, old, new, session, notice.as_ref()).await? {
            Changed::Done(session) => self.tokens(account, &session),
            Changed::Conflict => Err(SignInError::Refused("the account changed concurrently")),
        }
    }

    /// Records that the caller has authenticated again by `method`, and issues tokens for the caller's session. The
    /// session's refresh token does not change.
    ///
    /// # Errors
    /// [`SignInError::Refused`] when the session has ended concurrently; another error when the table cannot be
    /// written.
    #[expect(clippy::disallowed_methods, reason = "only this crate records step-ups")]
    pub async fn step_up<R>(
        &self,
        step_ups: &StepUps,
        caller: &CheckedCaller<R>,
        method: Method,
    ) -> Result<Tokens, SignInError> {
        let account = caller.account();
        let methods = caller.authentication().methods.clone().and(method);
        let authentication = Authentication { at: self.world.clock.now(), methods };
        let recorded =
            step_ups.record(account.id, caller.session_id(), account.epoch, &authentication);
        let session = recorded.await?.ok_or(SignInError::Refused("the session has ended"))?;
        self.tokens(account, &session)
    }

    fn new_session(&self, epoch: SessionEpoch, methods: Methods, origin: Origin) -> NewSession {
        let (now, random) = (self.world.clock.now(), &*self.world.random);
        NewSession {
            id: SessionId::new(random),
            epoch,
            created_at: now,
            methods,
            pepper: self.issuer.pepper().to_owned(),
            user_agent: origin.user_agent,
            network: origin.network,
            event: EventId::new(now, random),
        }
    }

    fn tokens(&self, account: &Account, session: &Session) -> Result<Tokens, SignInError> {
        Ok(self.issuer.issue(SessionGrant {
            account,
            session: session.id,
            epoch: session.epoch,
            authentication: &session.authentication,
            counter: session.chain.counter,
            pepper: &session.pepper,
            ends_at: session.ends_at,
        })?)
    }
}

/// The reason why no tokens were issued.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The session has ended, or the account has changed. The reason is only for the log.
    #[error("{0}")]
    Refused(&'static str),
    /// The account was deleted, disabled or logged out everywhere during the login.
    #[error("the account was deleted, disabled or logged out during the login")]
    Raced,
    /// This service did not issue the refresh token.
    #[error(transparent)]
    RefreshToken(#[from] RefreshTokenError),
    /// The tokens cannot be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The global epoch cannot be read.
    #[error(transparent)]
    Epoch(#[from] KeyError),
    /// The table cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fault for SignInError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Refused(_) | Self::Raced => FaultKind::Unauthenticated,
            Self::RefreshToken(error) => error.kind(),
            Self::Issue(error) => error.kind(),
            Self::Epoch(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => self.kind().code(),
            Self::Raced => "invalid_credentials",
            Self::RefreshToken(error) => error.code(),
            Self::Issue(error) => error.code(),
            Self::Epoch(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }
}
