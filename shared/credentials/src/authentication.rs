//! Checks passwords at login.

use std::error::Error;
use std::fmt;

use events::{Event, Kind, Occasion, Origin};
use identity::{Account, EventId, Presented, Standing, StoredHash, UserId};
use passwords::{Hasher, Password, Verdict};
use process::World;
use store::{Credential, Logins, Outbox, PasswordEpoch, Session, StoreError};
use throttle::{Attempt, Throttle, ThrottleError};

use crate::refused::Refused;
use crate::{CredentialError, parse, succeed};

/// Checks the passwords of users who sign in.
pub struct Authentication {
    logins: Logins,
    outbox: Outbox,
    throttle: Throttle,
    hasher: Hasher,
    refused: Refused,
    world: World,
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication").finish_non_exhaustive()
    }
}

/// A user who presented the correct password.
#[derive(Debug)]
pub struct Authenticated<'a> {
    /// The account, which is active.
    pub account: Account,
    /// The sessions of the account, including those that have ended.
    pub sessions: Vec<Session>,
    /// The success, which the caller must record.
    pub success: Success<'a>,
}

/// A successful attempt. If this is dropped, the attempt counts as a failure.
#[derive(Debug)]
#[must_use = "record the success, or the attempt counts as a failure"]
pub struct Success<'a> {
    by: &'a Authentication,
    attempt: Attempt<'a>,
    /// The stored hash, if its format or its costs are outdated.
    outdated: Option<StoredHash>,
}

impl Authentication {
    /// Checks passwords against the accounts of `logins`, and requests notices through `outbox`.
    #[must_use]
    pub fn new(
        logins: Logins,
        outbox: Outbox,
        throttle: Throttle,
        hasher: Hasher,
        world: &World,
    ) -> Self {
        Self { logins, outbox, throttle, hasher, refused: Refused::default(), world: world.clone() }
    }

    /// Finds the active account with this name and password.
    ///
    /// Every wrong name or password returns the same error after the same work: even an unknown name costs a hash.
    ///
    /// # Errors
    /// [`CredentialError::WrongCredentials`] when no active account has this name and password;
    /// [`CredentialError::Throttle`] when there have been too many attempts. Other errors when the password cannot be
    /// checked, in which case no attempt is counted.
    pub async fn authenticate(
        &self,
        presented: &Presented,
        password: &Password,
        origin: &Origin,
    ) -> Result<Authenticated<'_>, CredentialError> {
        // `join!` instead of `try_join!`: after a failed read, `try_join!` would drop the pending reservation, which
        // could then not be released. `check` returns the error of the read.
        let (credential, attempt) = futures_util::join!(
            self.logins.credential(presented),
            self.throttle.attempt(presented, origin.network),
        );
        let user = credential.as_ref().ok().and_then(Option::as_ref).map(|it| it.user_id);
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(error) => {
                if matches!(error, ThrottleError::TooMany { .. }) {
                    self.record_refusal(presented, user, origin).await;
                }
                return Err(error.into());
            }
        };
        let checked = attempt.carry_out(self.check(credential, password)).await;
        if matches!(checked, Err(CredentialError::WrongCredentials)) {
            self.record_failure(presented, user, origin).await;
        }
        let ((account, sessions, outdated), attempt) = checked?;
        let success = Success { by: self, attempt, outdated };
        Ok(Authenticated { account, sessions, success })
    }

    /// Records a failed login. `user` is `None` if no account has the presented name. The caller must record the failure
    /// if the password was right but no session has begun because of a change to the account; all other failures are
    /// recorded by [`Self::authenticate`].
    pub async fn record_failure(
        &self,
        presented: &Presented,
        user: Option<UserId>,
        origin: &Origin,
    ) {
        let occasion = self.occasion(origin);
        let failed = occasion.event(user.unwrap_or_else(|| self.nobody()), Kind::LoginFailed);
        self.logins.note(user, presented, &failed).await;
    }

    fn occasion(&self, origin: &Origin) -> Occasion {
        Occasion::new(self.world.clock.now(), &*self.world.random, origin.clone())
    }

    /// A new id that no account has.
    fn nobody(&self) -> UserId {
        UserId::new(self.world.clock.now(), &*self.world.random)
    }

    /// Records, at most once an hour per name, that the throttle refused an attempt.
    async fn record_refusal(&self, presented: &Presented, user: Option<UserId>, origin: &Origin) {
        let now = self.world.clock.now();
        if self.refused.is_first(presented.as_str(), now) {
            let user_or_nobody = user.unwrap_or_else(|| self.nobody());
            let event = refusal(user_or_nobody, presented, self.occasion(origin));
            self.logins.note(user, presented, &event).await;
        }
    }

    async fn check(
        &self,
        credential: Result<Option<Credential>, StoreError>,
        password: &Password,
    ) -> Result<(Account, Vec<Session>, Option<StoredHash>), CredentialError> {
        let credential = credential?;
        let hash = parse(credential.as_ref().map(|credential| &credential.secret))?;
        // The account and its sessions are read while the password is hashed. For an unknown name, a nonexistent
        // account is read: on a small machine, the reads delay the hash, so without them the response for an unknown
        // name would be measurably faster.
        let (user, set_in) = match &credential {
            Some(credential) => (credential.user_id, credential.set_in),
            None => (self.nobody(), PasswordEpoch::default()),
        };
        let account = async { Ok(self.logins.account(user, set_in).await?) };
        let sessions = async { Ok(self.logins.sessions(user).await?) };
        let verdict = async { Ok(self.hasher.verify(password, hash.as_ref()).await?) };
        let checked = futures_util::try_join!(account, sessions, verdict);
        let (account, sessions, verdict) = checked.map_err(|error: CredentialError| error)?;
        match (account, verdict) {
            (Some(account), Verdict::Right) if account.standing == Standing::Active => {
                let is_outdated = hash.is_some_and(|hash| !hash.is_current());
                let outdated = credential.filter(|_| is_outdated).map(|it| it.secret);
                Ok((account, sessions, outdated))
            }
            _ => Err(CredentialError::WrongCredentials),
        }
    }

    /// Replaces a hash whose format or costs are outdated. This happens at login, because a new hash requires the
    /// password. If the replacement fails, the login still succeeds, and the next login tries again.
    async fn renew(&self, account: &Account, old: &StoredHash, password: &Password) {
        let renewed: Result<(), Box<dyn Error + Send + Sync>> = async {
            let new = self.hasher.hash(password, &*self.world.random).await?;
            let new = new.into_stored();
            // If the password has changed concurrently, the stored hash is kept, because `new` is a hash of the old
            // password.
            self.logins.rehash(account.username.canonical(), old, &new).await?;
            Ok(())
        }
        .await;
        if let Err(error) = renewed {
            let (user_id, error) = (account.id.to_string(), &*error as &dyn Error);
            tracing::warn!(
                event = "hash_not_renewed",
                user_id,
                error,
                "an outdated hash was not replaced"
            );
        }
    }
}

/// The event that reports the refused attempts to sign in as `user` with the `presented` name in the current hour.
pub(crate) fn refusal(user: UserId, presented: &Presented, occasion: Occasion) -> Event {
    let id = EventId::hourly(occasion.at, user, presented);
    Occasion { id, ..occasion }.event(user, Kind::Throttled)
}

impl Success<'_> {
    /// Records the success: releases the reservations, replaces an outdated hash, and notifies the user if the
    /// network is new. Failures are only logged.
    pub async fn record(self, account: &Account, password: &Password) {
        let Self { by, attempt, outdated } = self;
        let renewal = async {
            if let Some(old) = &outdated {
                by.renew(account, old, password).await;
            }
        };
        futures_util::join!(succeed(attempt, account, &by.outbox, &by.world), renewal);
    }
}
