//! Sessions, and the handles that refresh, list and end them.

use auth::LiveSession;
use dynamo::Client;
use events::{Kind, Occasion};
use identity::{Account, Authentication, MailId, Network, SessionEpoch, SessionId, UserId};
use jiff::{SignedDuration, Timestamp};
use process::{Reader, Settings};

use crate::chain::{Chain, Judgement};
use crate::event::log_not_recorded;
use crate::expression::{attribute, exists};
use crate::item::{Item, SessionItem, StoredItem};
use crate::key::{Key, KeyPrefix};
use crate::outbox::{Mail, NewMail, Notice};
use crate::table::{Config, StoreError, Table};
use crate::write::Written;

/// The lifetimes of sessions, and the maximum number of sessions per account.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    idle: SignedDuration,
    absolute: SignedDuration,
    per_account: usize,
}

/// A day, in seconds.
const DAY: i64 = 24 * 60 * 60;

impl SessionLimits {
    /// The maximum lifetime of a session.
    #[must_use]
    pub fn absolute(&self) -> SignedDuration {
        self.absolute
    }

    /// The maximum number of sessions per account.
    pub(crate) fn per_account(&self) -> usize {
        self.per_account
    }

    /// When a session ends if it is used at `now` and never again.
    pub(crate) fn idle_end(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.idle).unwrap_or(Timestamp::MAX)
    }

    /// When a session that begins at `now` ends, however often it is used.
    pub(crate) fn absolute_end(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.absolute).unwrap_or(Timestamp::MAX)
    }
}

impl Settings for SessionLimits {
    /// Reads `SESSION_IDLE_SECONDS` (30 days by default), `SESSION_ABSOLUTE_SECONDS` (90 days by default, and
    /// at least the idle lifetime) and `SESSIONS_PER_ACCOUNT` (50 by default).
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let within = |name, default, most| {
            let value: i64 = reader.optional(name, default)?;
            if !(1..=most).contains(&value) {
                reader.fault(name, format_args!("must be from 1 to {most}"));
            }
            Some(value)
        };
        let idle = within("SESSION_IDLE_SECONDS", 30 * DAY, 400 * DAY);
        let absolute = within("SESSION_ABSOLUTE_SECONDS", 90 * DAY, 400 * DAY);
        let per_account = within("SESSIONS_PER_ACCOUNT", 50, 500);
        let (idle, absolute) = (idle?, absolute?);
        if absolute < idle {
            reader.fault("SESSION_ABSOLUTE_SECONDS", "must not be below SESSION_IDLE_SECONDS");
        }
        Some(Self {
            idle: SignedDuration::from_secs(idle),
            absolute: SignedDuration::from_secs(absolute),
            per_account: usize::try_from(per_account?).unwrap_or(usize::MAX),
        })
    }
}

/// The time after a rotation during which the superseded token still gets its successor.
#[derive(Clone, Copy, Debug)]
pub struct Grace(SignedDuration);

impl Grace {
    /// The length of the grace period.
    #[must_use]
    pub fn duration(self) -> SignedDuration {
        self.0
    }

    /// The maximum duration of a database operation, retries included. It is shorter than the grace period, so
    /// that no retry arrives after the grace period and looks like the reuse of a stolen token.
    #[must_use]
    pub fn operation_deadline(self) -> std::time::Duration {
        self.0.unsigned_abs() * 3 / 5
    }
}

impl Settings for Grace {
    /// Reads `REFRESH_GRACE_SECONDS`: from 1 to 60, 10 by default.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let seconds = reader.optional("REFRESH_GRACE_SECONDS", 10)?;
        if !(1..=60).contains(&seconds) {
            reader.fault("REFRESH_GRACE_SECONDS", "must be from 1 to 60");
        }
        Some(Self(SignedDuration::from_secs(seconds)))
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The session's id, which its refresh tokens contain.
    pub id: SessionId,
    /// When the user signed in.
    pub created_at: Timestamp,
    /// When the session was last refreshed or, if it never was, when it began.
    pub last_used_at: Timestamp,
    /// When the session ends if it is not refreshed: the earlier of its idle and its absolute end.
    pub ends_at: Timestamp,
    /// The account's epoch at the time of login.
    pub epoch: SessionEpoch,
    /// The number and the times of the rotations.
    pub chain: Chain,
    /// The id of the pepper from which the current refresh token is derived.
    pub pepper: String,
    /// When and how the user last authenticated.
    pub authentication: Authentication,
    /// The client's description of itself at login.
    pub user_agent: Option<String>,
    /// The network that the login came from.
    pub network: Option<Network>,
}

impl Session {
    /// Whether the session is valid at `now`: it has not ended, and its epoch equals the account's `epoch`.
    #[must_use]
    pub fn is_valid(&self, epoch: SessionEpoch, now: Timestamp) -> bool {
        now < self.ends_at && self.epoch == epoch
    }

    pub(crate) fn of(id: SessionId, item: SessionItem) -> Result<Self, StoreError> {
        let LiveSession { created_at, epoch, expires_at, authentication } =
            LiveSession::try_from(&item)?;
        let time = |ms| match ms {
            0 => Ok(None),
            ms => Timestamp::from_millisecond(ms).map(Some).map_err(StoreError::unusable),
        };
        let chain = Chain {
            counter: item.counter,
            rotated_at: time(item.rotated_at)?,
            rotated_before: time(item.rotated_before)?,
        };
        Ok(Self {
            id,
            created_at,
            last_used_at: item.last_used_at,
            ends_at: expires_at,
            epoch,
            chain,
            pepper: item.pepper,
            authentication,
            user_agent: item.user_agent,
            network: item.network,
        })
    }
}

/// Truncates a time to whole milliseconds, the precision at which times are stored and compared.
pub(crate) fn whole_millis(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

/// Refreshes sessions.
#[derive(Clone, Debug)]
pub struct Rotations {
    table: Table,
    limits: SessionLimits,
    grace: Grace,
}

/// The outcome of presenting a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The session continues, with a new token ([`Judgement::Rotate`]) or with the current one.
    Live(Box<Session>, Judgement),
    /// The token was superseded at least a grace period ago, and the session has been ended.
    Reused,
    /// The token is ahead of the session ([`Judgement::Ahead`]).
    Ahead,
    /// The session does not exist or has ended.
    Ended,
}

/// A refresh to perform.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// The owner of the session.
    pub user: UserId,
    /// The session that the token belongs to.
    pub session: SessionId,
    /// The counter of the token.
    pub counter: u64,
    /// The id of the pepper from which a new token is to be derived.
    pub pepper: &'a str,
    /// The id of the email that notifies the owner if the token was reused.
    pub notice: MailId,
    /// The request, for the event that reports a reused token.
    pub occasion: &'a Occasion,
}

impl Rotations {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client, limits: SessionLimits, grace: Grace) -> Self {
        Self { table: Table::new(config, client), limits, grace }
    }

    /// Reads an account. `None` if it does not exist.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        self.table.account(id).await
    }

    /// Refreshes a session with a token that has been verified.
    ///
    /// This is one conditional update. If its condition fails, the database returns the item as it was at
    /// that moment, and that item decides the outcome. A separate read could see a later state. If the
    /// answer is lost, a retry gets the successor, whether the SDK or the client retries.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn refresh(
        &self,
        rotation: Rotation<'_>,
        now: Timestamp,
    ) -> Result<Refreshed, StoreError> {
        let Rotation { user, session, counter, pepper, .. } = rotation;
        let now = whole_millis(now);
        let cutoff = now.saturating_sub(self.grace.0).unwrap_or(Timestamp::MIN);
        let may_rotate = attribute("counter")
            .is(counter)
            .and(attribute("rotated_at").at_most(cutoff.as_millisecond()))
            .and(attribute("expires_at").above(now.as_second()))
            .and(attribute("absolute_expires_at").above(now.as_second()));
        let update = self
            .table
            .update(Key::session(user, session))
            .when(may_rotate)
            .set("counter", counter.saturating_add(1))
            .copy("rotated_before", "rotated_at")
            .set("rotated_at", now.as_millisecond())
            .set("last_used_at", now)
            .set("expires_at", self.limits.idle_end(now).as_second())
            .set("pepper", pepper);
        let old: Option<SessionItem> = match update.returning_new().await? {
            Written::Done(Some(item)) => {
                let session = Box::new(Session::of(session, item)?);
                return Ok(Refreshed::Live(session, Judgement::Rotate));
            }
            Written::Done(None) => return Err(StoreError::Contradiction),
            Written::Refused(old) => old,
        };
        let Some(old) = old else { return Ok(Refreshed::Ended) };
        let old = Session::of(session, old)?;
        self.judge(rotation, old, now).await
    }

    /// Decides the outcome from the session as it was when the condition failed.
    async fn judge(
        &self,
        rotation: Rotation<'_>,
        old: Session,
        now: Timestamp,
    ) -> Result<Refreshed, StoreError> {
        if old.ends_at <= now {
            return Ok(Refreshed::Ended);
        }
        match old.chain.judge(rotation.counter, now, self.grace.0) {
            judgement @ (Judgement::Again | Judgement::Successor) => {
                Ok(Refreshed::Live(Box::new(old), judgement))
            }
            Judgement::Reuse => {
                self.end_reused(rotation, now).await?;
                Ok(Refreshed::Reused)
            }
            Judgement::Ahead => Ok(Refreshed::Ahead),
            // The condition of the update holds in exactly this case, so it cannot have failed.
            Judgement::Rotate => Err(StoreError::Contradiction),
        }
    }

    /// Ends a session whose token was reused, and requests the email that notifies its owner. If the session no longer
    /// exists, there is nothing to end or to report. The session ends even if the email or the event cannot be written,
    /// because a thief may be using it.
    async fn end_reused(&self, rotation: Rotation<'_>, now: Timestamp) -> Result<(), StoreError> {
        let Rotation { user, session, notice, occasion, .. } = rotation;
        let mail = Mail::Notice { user_id: user, notice: Notice::SessionReused, address: None };
        let mail = NewMail { id: notice, mail, asked_at: now };
        let event = occasion.event(user, Kind::RefreshReuse { session_id: session });
        self.table.end_session(user, session, &event, Some(&mail)).await.map(drop)
    }
}

/// Records that users have authenticated again in their sessions.
#[derive(Clone, Debug)]
pub struct StepUps(Table);

impl StepUps {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Records `authentication` in a session that belongs to `epoch` and has not ended, and returns the session.
    /// `None` if there is no such session. The session keeps the methods that it already has.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn record(
        &self,
        user: UserId,
        session: SessionId,
        epoch: SessionEpoch,
        authentication: &Authentication,
    ) -> Result<Option<Session>, StoreError> {
        let now = authentication.at.as_second();
        let is_valid = attribute("ver")
            .is(epoch)
            .and(attribute("expires_at").above(now))
            .and(attribute("absolute_expires_at").above(now));
        let update = self.0.update(Key::session(user, session)).when(is_valid);
        let update = update.set("auth_time", now).add_to_set("amr", &authentication.methods);
        match update.returning_new::<SessionItem>().await? {
            Written::Done(Some(item)) => Session::of(session, item).map(Some),
            Written::Done(None) => Err(StoreError::Contradiction),
            Written::Refused(_) => Ok(None),
        }
    }
}

/// Ends sessions.
#[derive(Clone, Debug)]
pub struct Endings(Table);

impl Endings {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Ends a session, records the event, and returns whether the session existed. The session ends even if the event
    /// cannot be recorded.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn end(
        &self,
        user: UserId,
        session: SessionId,
        occasion: &Occasion,
    ) -> Result<bool, StoreError> {
        let event = occasion.event(user, Kind::Logout { session_id: Some(session) });
        self.0.end_session(user, session, &event, None).await
    }
}

/// Ends all sessions of an account at once.
#[derive(Clone, Debug)]
pub struct Epochs(Table);

impl Epochs {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Raises the account's epoch. This ends all earlier sessions: checked routes and refreshes refuse their tokens.
    /// The sessions end even if the event cannot be recorded.
    ///
    /// # Errors
    /// When the account does not exist, or the table cannot be written.
    pub async fn raise(&self, user: UserId, occasion: &Occasion) -> Result<(), StoreError> {
        let Self(table) = self;
        let raised = || table.update_account(user).when(exists()).add("ver", 1);
        let event = occasion.event(user, Kind::Logout { session_id: None });
        match table.transact(vec![raised().into(), table.event(user, &event)?.into()]).await {
            Ok(failed) if failed.is_empty() => event.log(Some(user)),
            Ok(_) => return Err(StoreError::Absent),
            Err(error) => {
                // If the transaction was carried out after all, the epoch is raised twice, which is harmless.
                raised().send().await?.or_absent()?;
                event.log(Some(user));
                log_not_recorded(user, &event, &error);
            }
        }
        Ok(())
    }
}

/// Lists sessions.
#[derive(Clone, Debug)]
pub struct Sessions(Table);

impl Sessions {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Lists an account's sessions, including invalid ones, with strong consistency.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn of(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        self.0.sessions(user).await
    }
}

impl Table {
    /// Lists an account's sessions, including invalid ones, with strong consistency.
    pub(crate) async fn sessions(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        let prefix = KeyPrefix::sessions(user);
        let items: Vec<Item> = self.query(&prefix).items().send().try_collect().await?;
        let session = |item: Item| {
            let id =
                prefix.rest(&item).unwrap_or_default().parse().map_err(StoreError::unusable)?;
            Session::of(id, SessionItem::parse(item)?)
        };
        items.into_iter().map(session).collect()
    }
}
