//! Sessions: what is known of one, and the handles that refresh, list and end them.

use auth::LiveSession;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, Delete, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use dynamo::Client;
use identity::{Account, MailId, SessionId, UserId};
use jiff::{SignedDuration, Timestamp};
use process::{Reader, Settings};

use crate::chain::{Chain, Judgement};
use crate::item::{self, AccountItem, SessionItem};
use crate::key::{Key, SESSIONS};
use crate::outbox::{Mail, NewMail, Notice};
use crate::table::{Config, StoreError, Table, not_told};

/// How long sessions live, and how many an account may have.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    idle: SignedDuration,
    absolute: SignedDuration,
    per_account: usize,
}

/// A day, in seconds.
const DAY: i64 = 24 * 60 * 60;

impl SessionLimits {
    /// The maximum time for which anything made for a session is valid.
    #[must_use]
    pub fn absolute(&self) -> SignedDuration {
        self.absolute
    }

    /// How many sessions an account may have.
    pub(crate) fn per_account(&self) -> usize {
        self.per_account
    }

    /// When a session that is used `now` ends if it is not used again.
    pub(crate) fn idle_end(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.idle).unwrap_or(Timestamp::MAX)
    }

    /// When a session that begins `now` ends in any case.
    pub(crate) fn absolute_end(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.absolute).unwrap_or(Timestamp::MAX)
    }
}

impl Settings for SessionLimits {
    /// From `SESSION_IDLE_SECONDS` (30 days), `SESSION_ABSOLUTE_SECONDS` (90 days, not below the idle
    /// lifetime) and `SESSIONS_PER_ACCOUNT` (50).
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

/// How long after a rotation the token before it still gets its successor.
#[derive(Clone, Copy, Debug)]
pub struct Grace(SignedDuration);

impl Grace {
    /// The grace as a length of time.
    #[must_use]
    pub fn duration(self) -> SignedDuration {
        self.0
    }

    /// The maximum time of a database operation, retries included. It is shorter than the grace, so that no
    /// retry arrives after the grace and looks like a thief.
    #[must_use]
    pub fn operation_deadline(self) -> std::time::Duration {
        self.0.unsigned_abs() * 3 / 5
    }
}

impl Settings for Grace {
    /// From `REFRESH_GRACE_SECONDS`: 1 to 60, 10 by default.
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
    /// Its id.
    pub id: SessionId,
    /// When the user signed in.
    pub created_at: Timestamp,
    /// When it was last refreshed, or begun.
    pub last_used_at: Timestamp,
    /// When it ends by itself, idle or absolute, whichever is earlier.
    pub ends_at: Timestamp,
    /// The account's epoch at the time of login.
    pub ver: u64,
    /// Its rotations.
    pub chain: Chain,
    /// The id of the pepper that its current refresh token is made with.
    pub pepper: String,
    /// What the client said of itself at login.
    pub user_agent: Option<String>,
    /// Where it was begun.
    pub network: Option<String>,
}

impl Session {
    /// Whether it is valid: it has not ended, and has the epoch `ver`.
    #[must_use]
    pub fn counts(&self, ver: u64, now: Timestamp) -> bool {
        now < self.ends_at && self.ver == ver
    }

    pub(crate) fn of(id: SessionId, item: SessionItem) -> Result<Self, StoreError> {
        let LiveSession { ver, expires_at } = LiveSession::try_from(&item)?;
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
            created_at: item.created_at,
            last_used_at: item.last_used_at,
            ends_at: expires_at,
            ver,
            chain,
            pepper: item.pepper,
            user_agent: item.user_agent,
            network: item.network,
        })
    }
}

/// Times are kept in whole milliseconds, in which they are compared and shown.
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

/// What became of a session whose refresh token was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It goes on: with a new token ([`Judgement::Rotate`]) or with the one that is current.
    Live(Box<Session>, Judgement),
    /// The token had been superseded for longer than the grace: the session has been ended.
    Reused,
    /// The token is ahead of the session.
    Ahead,
    /// The session does not exist or has ended.
    Ended,
}

/// A refresh to be made.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The user.
    pub user: UserId,
    /// The session.
    pub session: SessionId,
    /// The counter of the token.
    pub counter: u64,
    /// The id of the pepper that a new token is made with.
    pub pepper: &'a str,
    /// The id of the mail that notifies the owner if the session has to be ended.
    pub notice: MailId,
}

impl Rotations {
    /// The sessions of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client, limits: SessionLimits, grace: Grace) -> Self {
        Self { table: Table::new(config, client), limits, grace }
    }

    /// The account, or `None` when it is gone.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn account(&self, id: UserId) -> Result<Option<Account>, StoreError> {
        Ok(self.table.get::<AccountItem>(Key::account(id)).await?.map(Account::from))
    }

    /// Refreshes a session by a token that has been verified.
    ///
    /// This is one conditional update. If its condition fails, the failure contains the item as it was at
    /// that moment, and that item decides. So nothing is read that could have changed in between. A retry
    /// after a lost answer has the same outcome as a client's retry: it gets the successor.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn refresh(
        &self,
        presented: Presented<'_>,
        now: Timestamp,
    ) -> Result<Refreshed, StoreError> {
        let Presented { user, session, counter, pepper, notice } = presented;
        let now = whole_millis(now);
        let number = |n: i64| AttributeValue::N(n.to_string());
        let rested = now.saturating_sub(self.grace.0).unwrap_or(Timestamp::MIN);
        let updated = self
            .table
            .client
            .update_item()
            .table_name(&self.table.name)
            .set_key(Some(Key::session(user, session).attributes()))
            .condition_expression(
                "#counter = :presented AND #rotated_at <= :rested \
                 AND #expires_at > :now AND #absolute_expires_at > :now",
            )
            .update_expression(
                "SET #counter = :next, #rotated_before = #rotated_at, #rotated_at = :rotated_at, \
                 #last_used_at = :last_used_at, #expires_at = :expires_at, #pepper = :pepper",
            )
            .expression_attribute_names("#counter", "counter")
            .expression_attribute_names("#rotated_at", "rotated_at")
            .expression_attribute_names("#rotated_before", "rotated_before")
            .expression_attribute_names("#last_used_at", "last_used_at")
            .expression_attribute_names("#expires_at", "expires_at")
            .expression_attribute_names("#absolute_expires_at", "absolute_expires_at")
            .expression_attribute_names("#pepper", "pepper")
            .expression_attribute_values(":presented", AttributeValue::N(counter.to_string()))
            .expression_attribute_values(
                ":next",
                AttributeValue::N(counter.saturating_add(1).to_string()),
            )
            .expression_attribute_values(":rested", number(rested.as_millisecond()))
            .expression_attribute_values(":rotated_at", number(now.as_millisecond()))
            .expression_attribute_values(":now", number(now.as_second()))
            .expression_attribute_values(":last_used_at", AttributeValue::S(now.to_string()))
            .expression_attribute_values(
                ":expires_at",
                number(self.limits.idle_end(now).as_second()),
            )
            .expression_attribute_values(":pepper", AttributeValue::S(pepper.to_owned()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match updated {
            Ok(output) => {
                let item = item::parse(output.attributes.unwrap_or_default())?;
                let session = Box::new(Session::of(session, item)?);
                return Ok(Refreshed::Live(session, Judgement::Rotate));
            }
            Err(error) => error,
        };
        let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
            error.as_service_error()
        else {
            return Err(error.into());
        };
        let Some(item) = failed.item() else { return Ok(Refreshed::Ended) };
        let old = Session::of(session, item::parse(item.clone())?)?;
        self.judge(user, old, counter, notice, now).await
    }

    /// What follows from the session as it was when the condition failed.
    async fn judge(
        &self,
        user: UserId,
        old: Session,
        presented: u64,
        notice: MailId,
        now: Timestamp,
    ) -> Result<Refreshed, StoreError> {
        if old.ends_at <= now {
            return Ok(Refreshed::Ended);
        }
        match old.chain.judge(presented, now, self.grace.0) {
            judgement @ (Judgement::Again | Judgement::Successor) => {
                Ok(Refreshed::Live(Box::new(old), judgement))
            }
            Judgement::Reuse => {
                self.end_reused(user, old.id, notice, now).await?;
                Ok(Refreshed::Reused)
            }
            Judgement::Ahead => Ok(Refreshed::Ahead),
            // The condition is this judgement, so it would not have failed.
            Judgement::Rotate => Err(StoreError::Contradiction),
        }
    }

    /// Ends a session whose token was reused and requests the mail that notifies its owner, in one
    /// transaction. If the session no longer exists, the request that ended it has notified the owner. If
    /// the transaction fails for any other reason, the session is ended without the mail: a notice that
    /// cannot be written must not keep a thief's session alive.
    async fn end_reused(
        &self,
        user: UserId,
        session: SessionId,
        notice: MailId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mail = Mail::Notice { user_id: user, notice: Notice::SessionReused, address: None };
        let mail = self.table.mail(&NewMail { id: notice, mail, asked_at: now })?;
        let ended = Delete::builder()
            .table_name(&self.table.name)
            .set_key(Some(Key::session(user, session).attributes()))
            .condition_expression("attribute_exists(pk)")
            .build()
            .expect("table and key are set");
        let items = vec![TransactWriteItem::builder().delete(ended).build(), mail];
        if let Err(error) = self.table.transact(items).await
            && self.table.delete(Key::session(user, session)).await?
        {
            not_told(user, &error);
        }
        Ok(())
    }
}

/// Ends sessions.
#[derive(Clone, Debug)]
pub struct Endings(Table);

impl Endings {
    /// The sessions of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Ends a session. Whether it was there: again is harmless.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn end(&self, user: UserId, session: SessionId) -> Result<bool, StoreError> {
        self.0.delete(Key::session(user, session)).await
    }
}

/// Ends all sessions of an account at once.
#[derive(Clone, Debug)]
pub struct Epochs(Table);

impl Epochs {
    /// The accounts of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Raises the account's epoch: all earlier sessions and tokens become invalid on checked routes and on
    /// refresh.
    ///
    /// # Errors
    /// When there is no such account, or the table cannot be written.
    pub async fn raise(&self, user: UserId) -> Result<(), StoreError> {
        self.0
            .update_account(
                user,
                "SET #ver = #ver + :one",
                &[("#ver", "ver")],
                [(":one", AttributeValue::N("1".to_owned()))],
            )
            .await
    }
}

/// Lists and ends sessions.
#[derive(Clone, Debug)]
pub struct Sessions(Table);

impl Sessions {
    /// The sessions of the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// All sessions in the table, including those that are no longer valid. Strongly consistent.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn of(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        self.0.sessions(user).await
    }

    /// Ends a session. Returns whether it existed. A retry after a lost answer also returns true.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn end(&self, user: UserId, session: SessionId) -> Result<bool, StoreError> {
        self.0.delete(Key::session(user, session)).await
    }
}

impl Table {
    /// All sessions of an account, strongly consistent.
    pub(crate) async fn sessions(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND begins_with(sk, :sessions)")
            .expression_attribute_values(":pk", AttributeValue::S(Key::account(user).pk))
            .expression_attribute_values(":sessions", AttributeValue::S(SESSIONS.to_owned()))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut sessions = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item?;
            let id = item.get("sk").and_then(|sk| sk.as_s().ok());
            let id = id.and_then(|sk| sk.strip_prefix(SESSIONS)).unwrap_or_default();
            let id = id.parse().map_err(StoreError::unusable)?;
            sessions.push(Session::of(id, item::parse(item)?)?);
        }
        Ok(sessions)
    }
}
