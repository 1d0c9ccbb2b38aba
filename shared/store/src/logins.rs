//! Finds accounts by name and begins sessions.

use dynamo::Client;
use events::{Actor, Event, Kind, Occasion, Origin};
use futures_util::future::join_all;
use identity::{
    Account, CanonicalName, EventId, Methods, Network, Presented, SessionEpoch, SessionId,
    Standing, StoredHash, UserId,
};
use jiff::{SignedDuration, Timestamp};

use crate::expression::{attribute, exists};
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

/// The maximum number of sessions that one login removes, unless the account exceeds its limit by more than that.
const SWEPT: usize = 25;

/// The expected number of concurrent logins to one account. If an account is this close to its session limit,
/// a login checks the limit again after its own session has begun.
const CROWD: usize = 10;

/// The precision of an account's `last_login_at`. A login this soon after the stored time does not update it.
const LOGIN_TIME_PRECISION: SignedDuration = SignedDuration::from_secs(10);

/// The stored data for checking a password.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The account with the password.
    pub user_id: UserId,
    /// The hash of the password.
    pub secret: StoredHash,
    /// The epoch in which the password was set, to be passed to [`Logins::account`].
    pub set_in: PasswordEpoch,
}

/// A session to begin.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// A new, random id.
    pub id: SessionId,
    /// The account's epoch as the login read it.
    pub epoch: SessionEpoch,
    /// The time of login.
    pub created_at: Timestamp,
    /// The methods by which the user authenticated.
    pub methods: Methods,
    /// The id of the pepper from which the session's refresh token is derived.
    pub pepper: String,
    /// The client's description of itself.
    pub user_agent: Option<String>,
    /// The network that the login came from.
    pub network: Option<Network>,
    /// The id of the event that reports the session's beginning.
    pub event: EventId,
}

impl NewSession {
    /// The event that reports the beginning of this session in the account `user`.
    pub(crate) fn event(&self, user: UserId, kind: Kind) -> Event {
        let (network, user_agent) = (self.network, self.user_agent.clone());
        let origin = Origin { network, user_agent };
        let at = whole_millis(self.created_at);
        Occasion { id: self.event, at, by: Actor::Owner, origin }.event(user, kind)
    }

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
            auth_time: Some(now.as_second()),
            amr: self.methods,
            user_agent: self.user_agent,
            network: self.network,
        }
    }
}

impl Logins {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client, limits: SessionLimits) -> Self {
        Self { table: Table::new(config, client), limits }
    }

    /// Reads the credential of the account with this name. Returns `None` if no account has the name.
    ///
    /// A username takes one round trip. An address takes two, even if no account has it, so that the response
    /// time reveals nothing. Nothing is read for a name that no account can have.
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

    /// Reads the account if its password is still the one that was set in `set_in`, the epoch in the
    /// [`Credential`]. Returns `None` if the account no longer exists or its password has since been replaced.
    /// Without this check, a login with the old password could begin a session that belongs to the new epoch and stays
    /// valid.
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

    /// Replaces the hash `old` with `new`, a hash of the same password. Returns whether `old` was still stored.
    /// If it was not, the password has been changed concurrently, and the stored hash is kept.
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

    /// Lists an account's sessions, including invalid ones.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn sessions(&self, id: UserId) -> Result<Vec<Session>, StoreError> {
        self.table.sessions(id).await
    }

    /// Begins a session. `before` lists the account's sessions, as returned by [`Self::sessions`]. Invalid ones are
    /// removed, and so are the oldest valid ones if there are too many. If a removal fails, the session begins
    /// anyway, and the next login tries again.
    ///
    /// The transaction that stores the session has no condition on the account: concurrent logins would conflict with
    /// each other and with an administrator who disables the account. Instead, the account is read afterwards, and the
    /// session is removed again if it cannot be used.
    ///
    /// # Errors
    /// [`StoreError::Raced`] when the account has been deleted or disabled or its epoch has been raised; another error
    /// when the table cannot be read or written. No session has begun.
    pub async fn begin(
        &self,
        user: UserId,
        session: NewSession,
        before: &[Session],
    ) -> Result<Session, StoreError> {
        let (epoch, now) = (session.epoch, session.created_at);
        let put = self.put(user, session);
        let sweep = self.sweep(user, epoch, now, before, 1);
        let (session, swept) = tokio::join!(put, sweep);
        let session = session?;
        log_not_swept(user, swept);
        let valid = before.iter().filter(|session| session.is_valid(epoch, now)).count();
        if valid + CROWD >= self.limits.per_account() {
            // Each concurrent login lists the sessions after storing its own, so the last login to do so sees
            // all of them. All logins choose the same sessions to remove, which may include their own.
            let again = async {
                let all = self.table.sessions(user).await?;
                self.sweep(user, epoch, now, &all, 0).await
            };
            log_not_swept(user, again.await);
        }
        Ok(session)
    }

    /// Records that an attempt to sign in failed or was refused, unless an event with this id exists. `user` is `None`
    /// if no account has the presented name; the call takes as long as for an existing account. A failure to record
    /// the event is only logged.
    pub async fn note(&self, user: Option<UserId>, presented: &Presented, event: &Event) {
        self.table.note(user, presented, event).await;
    }

    async fn put(&self, user: UserId, session: NewSession) -> Result<Session, StoreError> {
        let id = session.id;
        let event = session.event(user, Kind::Login { session_id: id });
        let item = session.item(&self.limits);
        let begun = async {
            // This write has no condition, because the id is new and random.
            let put = self.table.put(Key::session(user, id), &item)?.into();
            self.table.transact_and_record(vec![put], user, &event, None).await?;
            let account = self.table.account(user);
            let (account, ()) = tokio::join!(account, self.note_time(user, item.created_at));
            let is_current = |account: Account| {
                account.standing == Standing::Active && account.epoch == item.epoch
            };
            if account?.is_some_and(is_current) { Ok(()) } else { Err(StoreError::Raced) }
        };
        if let Err(error) = begun.await {
            // Neither deletion depends on the outcome of the other. The deletion of an account may already be over, so it
            // would not find these items.
            let keys = [Key::session(user, id), Key::event(user, event.id)];
            let deleted = join_all(keys.map(|key| self.table.delete(key))).await;
            let deleted = deleted.into_iter().try_for_each(|deleted| deleted.map(drop));
            log_not_swept(user, deleted);
            return Err(error);
        }
        Session::of(id, item)
    }

    /// Stores the time of the last login in the account, unless one was stored within [`LOGIN_TIME_PRECISION`]. This
    /// does not change the account's revision: a login must not make an administrator's concurrent change fail.
    async fn note_time(&self, user: UserId, now: Timestamp) {
        let is_due = exists().and(
            attribute("last_login_at")
                .is_absent()
                .or(attribute("last_login_at").at_most(now - LOGIN_TIME_PRECISION)),
        );
        let noted = self.table.update(Key::account(user)).when(is_due).set("last_login_at", now);
        if let Err(error) = noted.send().await {
            let (user_id, error) = (user.to_string(), &error as &dyn std::error::Error);
            tracing::warn!(event = "login_time_not_stored", user_id, error, "security");
        }
    }

    /// Removes the invalid `sessions`, and as many of the oldest valid ones as necessary to make room for `more` new
    /// ones.
    async fn sweep(
        &self,
        user: UserId,
        epoch: SessionEpoch,
        now: Timestamp,
        sessions: &[Session],
        more: usize,
    ) -> Result<(), StoreError> {
        // Sessions of a later epoch began after this login read the account. They may be valid, so this login
        // must not remove them.
        let (mut valid, invalid): (Vec<_>, Vec<_>) = sessions
            .iter()
            .filter(|session| session.epoch <= epoch)
            .partition(|session| session.is_valid(epoch, now));
        valid.sort_by_key(|session| (session.created_at, session.id));
        let too_many = (valid.len() + more).saturating_sub(self.limits.per_account());
        let ended = valid.into_iter().take(too_many).chain(invalid).take(too_many.max(SWEPT));
        let ended = ended.map(|session| self.table.delete(Key::session(user, session.id)));
        join_all(ended).await.into_iter().try_for_each(|deleted| deleted.map(drop))
    }
}

/// Logs a failure to remove sessions of an account.
fn log_not_swept(user: UserId, swept: Result<(), StoreError>) {
    if let Err(error) = swept {
        let (user_id, error) = (user.to_string(), &error as &dyn std::error::Error);
        tracing::warn!(event = "sessions_not_swept", user_id, error, "sessions were not removed");
    }
}
