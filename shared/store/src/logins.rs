//! Finds an account by its name and begins a session.

use dynamo::Client;
use futures_util::future::join_all;
use identity::{
    Account, CanonicalName, Network, Presented, SessionEpoch, SessionId, StoredHash, UserId,
};
use jiff::Timestamp;

use crate::expression::attribute;
use crate::item::{AccountItem, ClaimItem, PasswordEpoch, PasswordItem, SessionItem};
use crate::key::Key;
use crate::sessions::{Session, SessionLimits, whole_millis};
use crate::table::{Config, StoreError, Table};

/// Finds accounts by name and begins sessions.
#[derive(Clone, Debug)]
pub struct Logins {
    table: Table,
    limits: SessionLimits,
}

/// The maximum number of expired or excess sessions that one login removes.
const SWEPT: usize = 25;

/// The number of concurrent logins to one account that is expected. An account this close to its limit is
/// checked again after its new session has begun.
const CROWD: usize = 10;

/// The stored data with which a password is checked.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The account with the password.
    pub user_id: UserId,
    /// The hash of the password.
    pub secret: StoredHash,
    /// The epoch in which the password was set. The account must be read with the same one.
    pub set_in: PasswordEpoch,
}

/// A session to be begun.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// A new, random id.
    pub id: SessionId,
    /// The epoch of the account as read by the login.
    pub epoch: SessionEpoch,
    /// The time of login.
    pub created_at: Timestamp,
    /// The id of the pepper that makes the session's refresh token.
    pub pepper: String,
    /// The client's description of itself.
    pub user_agent: Option<String>,
    /// The network that the login came from.
    pub network: Option<Network>,
}

impl NewSession {
    /// The stored form of the session.
    pub(crate) fn item(self, limits: &SessionLimits) -> SessionItem {
        let now = whole_millis(self.created_at);
        SessionItem {
            created_at: now,
            last_used_at: now,
            expires_at: limits.idle_end(now).as_second(),
            absolute_expires_at: limits.absolute_end(now).as_second(),
            counter: 0,
            rotated_at: 0,
            rotated_before: 0,
            pepper: self.pepper,
            epoch: self.epoch,
            user_agent: self.user_agent,
            network: self.network,
        }
    }
}

impl Logins {
    /// The logins of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client, limits: SessionLimits) -> Self {
        Self { table: Table::new(config, client), limits }
    }

    /// Reads the credential of the account with this name, or `None` if no account has it.
    ///
    /// A username takes one round trip. An address takes two, even if no account has it, so that the time
    /// reveals nothing. Nothing is read for a name that no account can have.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn credential(&self, by: &Presented) -> Result<Option<Credential>, StoreError> {
        let (claim, password) = match by {
            Presented::Username(name) => tokio::try_join!(
                self.table.get::<ClaimItem>(Key::username(name)),
                self.table.get::<PasswordItem>(Key::password(name)),
            )?,
            Presented::Email(address) => {
                let claim = self.table.get::<ClaimItem>(Key::email(address)).await?;
                let name = claim.as_ref().map_or(address, |claim| claim.username.canonical());
                let password = self.table.get::<PasswordItem>(Key::password(name)).await?;
                (claim, password)
            }
            Presented::Impossible(_) => return Ok(None),
        };
        Ok(claim.zip(password).map(|(claim, password)| Credential {
            user_id: claim.user_id,
            secret: StoredHash::new(password.hash),
            set_in: password.epoch,
        }))
    }

    /// The account, if its password is still the one that was set in `set_in`, which comes from the
    /// [`Credential`] read before. `None` if the account is gone or its password has been replaced in
    /// between: a session of the epoch that this read shows would outlive the change.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn account(
        &self,
        id: UserId,
        set_in: PasswordEpoch,
    ) -> Result<Option<Account>, StoreError> {
        let account = self.table.get::<AccountItem>(Key::account(id)).await?;
        Ok(account.filter(|account| account.password_epoch() == set_in).map(Account::from))
    }

    /// Replaces the hash `old` by `new`, a hash of the same password. Returns whether `old` was still stored.
    /// If it was not, the password has been changed concurrently, and its hash is kept.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn rehash(
        &self,
        username: &CanonicalName,
        old: &StoredHash,
        new: &StoredHash,
    ) -> Result<bool, StoreError> {
        let update = self
            .table
            .update(Key::password(username))
            .when(attribute("hash").is(old.expose()))
            .set("hash", new.expose());
        Ok(update.send().await?.is_done())
    }

    /// The sessions of an account, including those that are no longer valid.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn sessions(&self, id: UserId) -> Result<Vec<Session>, StoreError> {
        self.table.sessions(id).await
    }

    /// Begins a session. `before` holds the sessions that the account had a moment ago. Those that are no
    /// longer valid are removed, and so are the oldest when there are too many. If removing them fails, the
    /// session has begun nevertheless, and the next login removes them.
    ///
    /// No transaction with a check of the account is necessary: a session that begins while the account is
    /// being disabled carries the previous epoch and so is never valid.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn begin(
        &self,
        user: UserId,
        session: NewSession,
        before: &[Session],
    ) -> Result<Session, StoreError> {
        let (epoch, now) = (session.epoch, session.created_at);
        let begun = self.put(user, session);
        let sweep = self.sweep(user, epoch, now, before, 1);
        let (begun, swept) = tokio::join!(begun, sweep);
        let begun = begun?;
        not_swept(user, swept);
        let valid = before.iter().filter(|session| session.is_valid(epoch, now)).count();
        if valid + CROWD >= self.limits.per_account() {
            // Each concurrent login looks only after its own session is stored, so the last one to look sees
            // all sessions. All of them remove the same sessions, even if one of those is the login's own.
            let again = async {
                let all = self.table.sessions(user).await?;
                self.sweep(user, epoch, now, &all, 0).await
            };
            not_swept(user, again.await);
        }
        Ok(begun)
    }

    async fn put(&self, user: UserId, session: NewSession) -> Result<Session, StoreError> {
        let id = session.id;
        let item = session.item(&self.limits);
        // Without a condition on purpose: the id is new and random, and a retry after a lost answer must not
        // fail because of the first attempt's write.
        self.table.put(Key::session(user, id), &item)?.send().await.map(drop)?;
        Session::of(id, item)
    }

    /// Removes invalid `sessions`, and the oldest valid ones, to make room for `more` others.
    async fn sweep(
        &self,
        user: UserId,
        epoch: SessionEpoch,
        now: Timestamp,
        sessions: &[Session],
        more: usize,
    ) -> Result<(), StoreError> {
        // Sessions of a later epoch began after the account was read, by a caller who knows the new password:
        // this login must not judge them.
        let (mut valid, over): (Vec<_>, Vec<_>) = sessions
            .iter()
            .filter(|session| session.epoch <= epoch)
            .partition(|session| session.is_valid(epoch, now));
        valid.sort_by_key(|session| (session.created_at, session.id));
        let too_many = (valid.len() + more).saturating_sub(self.limits.per_account());
        let ended = valid.into_iter().take(too_many).chain(over).take(too_many.max(SWEPT));
        let ended = ended.map(|session| self.table.delete(Key::session(user, session.id)));
        join_all(ended).await.into_iter().try_for_each(|deleted| deleted.map(drop))
    }
}

/// Logs a failure to remove sessions of an account.
fn not_swept(user: UserId, swept: Result<(), StoreError>) {
    if let Err(error) = swept {
        let (user_id, error) = (user.to_string(), &error as &dyn std::error::Error);
        tracing::warn!(event = "sessions_not_swept", user_id, error, "too many sessions are left");
    }
}
