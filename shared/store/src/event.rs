//! Records security events and lists them.
//!
//! An event is stored in the partition of its account. It is written in the transaction of the action that it reports
//! ([`Table::transact_and_record`]), so neither happens without the other. Actions that end sessions are the exception:
//! if the transaction fails, the sessions end without an event ([`Table::end_session`]).

use std::time::Duration;

use aws_sdk_dynamodb::types::TransactWriteItem;
use dynamo::{Client, Operation};
use events::Event;
use identity::{EventId, Presented, SessionId, UserId};
use jiff::{SignedDuration, Timestamp};
use process::{Reader, Settings};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::expression::{absent, attribute, attribute_value, exists};
use crate::item::{Item, StoredItem, stored_items};
use crate::key::{EVENT, Key, KeyPrefix};
use crate::outbox::NewMail;
use crate::table::{Config, StoreError, Table, TransactError, log_owner_not_told};
use crate::write::Put;

/// The time for which events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention(SignedDuration);

impl Retention {
    /// The default, in days.
    const DEFAULT_DAYS: i64 = 90;
    /// The maximum, in days: ten years.
    const MAX_DAYS: i64 = 3_650;

    const fn of_days(days: i64) -> Self {
        Self(SignedDuration::from_hours(24 * days))
    }

    /// The start of the retention period at `now`. Earlier events have expired.
    fn begins(self, now: Timestamp) -> Timestamp {
        now.saturating_sub(self.0).unwrap_or(Timestamp::MIN)
    }

    /// When an event that happened at `at` expires.
    fn ends(self, at: Timestamp) -> Timestamp {
        at.saturating_add(self.0).unwrap_or(Timestamp::MAX)
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::of_days(Self::DEFAULT_DAYS)
    }
}

impl Settings for Retention {
    /// Reads `EVENT_RETENTION_DAYS`: from 1 to 3650, 90 by default.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let days = reader.optional("EVENT_RETENTION_DAYS", Self::DEFAULT_DAYS)?;
        if !(1..=Self::MAX_DAYS).contains(&days) {
            reader.fault("EVENT_RETENTION_DAYS", "must be from 1 to 3650");
            return None;
        }
        Some(Self::of_days(days))
    }
}

/// How long recording an event may delay a response that does not depend on it.
const NOTE_TIMEOUT: Duration = Duration::from_secs(1);

/// The stored form of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct EventItem {
    #[serde(flatten)]
    event: Event,
    /// The table's TTL attribute, in seconds since 1970.
    expires_at: i64,
}

/// How long the mark of an event that is recorded at most once a minute is kept.
const MARKED_FOR: SignedDuration = SignedDuration::from_mins(10);

/// The stored form of a mark, and of a decoy, which is written instead of an event and has already expired.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct ExpiringItem {
    /// The table's TTL attribute, in seconds since 1970.
    expires_at: i64,
}

stored_items!(EventItem, ExpiringItem);

impl Table {
    /// Builds the write that records an event of the account `user`.
    ///
    /// The write has no condition: the id is new, and a retry after a lost answer must not fail because of the first
    /// attempt's write.
    pub(crate) fn event(&self, user: UserId, event: &Event) -> Result<Put<'_>, StoreError> {
        let expires_at = self.retention.ends(event.at).as_second();
        self.put(Key::event(user, event.id), &EventItem { event: event.clone(), expires_at })
    }

    /// Carries out `change` and records `event` of the account `user` in one transaction, and requests `mail`, if any,
    /// as [`Self::transact_with_mail`] does. Returns the positions in `change` of the items whose conditions failed.
    pub(crate) async fn transact_and_record(
        &self,
        mut change: Vec<TransactWriteItem>,
        user: UserId,
        event: &Event,
        mail: Option<&NewMail>,
    ) -> Result<Vec<usize>, StoreError> {
        change.push(self.event(user, event)?.into());
        let failed = self.transact_with_mail(change, user, mail).await?;
        if failed.is_empty() {
            event.log(Some(user));
        }
        Ok(failed)
    }

    /// Ends a session, records `event` and requests `mail`, if any, in one transaction. Returns whether the session
    /// existed. If it did not, nothing is written.
    ///
    /// If the account has been deleted, the session is ended without the event and the email. If the transaction fails
    /// for any other reason, the session is ended without the event, because nothing may keep the session alive, and the
    /// email is requested afterwards. If it is unknown whether the transaction was carried out, the session is reported
    /// as ended.
    pub(crate) async fn end_session(
        &self,
        user: UserId,
        session: SessionId,
        event: &Event,
        mail: Option<&NewMail>,
    ) -> Result<bool, StoreError> {
        let key = || Key::session(user, session);
        // Check the account: a session may still exist while the remains of its deleted account are being deleted, and
        // an event recorded then would stay behind.
        let mut items = vec![
            self.delete_when(key(), exists()),
            self.check(Key::account(user), exists()),
            self.event(user, event)?.into(),
        ];
        if let Some(mail) = mail {
            items.push(self.mail(mail)?.into());
        }
        let error = match self.send(items).await {
            Ok(failed) => {
                return match failed.first() {
                    None => {
                        event.log(Some(user));
                        Ok(true)
                    }
                    Some(0) => Ok(false),
                    Some(_) => self.delete(key()).await,
                };
            }
            Err(error) => error,
        };
        let existed = self.delete(key()).await?;
        let may_have_ended = matches!(error, TransactError::Unknown(_));
        let error = StoreError::from(error);
        if existed {
            event.log(Some(user));
            log_not_recorded(user, event, &error);
            // Nobody can make this write conflict, because the email's id is new.
            if let Some(mail) = mail
                && let Err(error) = self.mail(mail)?.send().await
            {
                log_owner_not_told(user, &error);
            }
        }
        Ok(existed || may_have_ended)
    }

    /// Records an event that belongs to no change, such as a failed login, unless an event with its id exists or the
    /// account no longer has the `presented` name. `user` is `None` if no account has that name. The function then takes
    /// the same time: it writes a decoy, an item that has already expired, in a separate partition.
    ///
    /// The transaction checks the claim to the name, which is deleted with the account, and not the account itself.
    /// Otherwise, concurrent attempts at the username and the address of one account would conflict, and the response
    /// times would reveal that they belong together.
    ///
    /// A failure is only logged, because it must not change the response.
    pub(crate) async fn note(&self, user: Option<UserId>, presented: &Presented, event: &Event) {
        let claim = match presented {
            Presented::Username(name) => Key::username(name),
            Presented::Email(address) => Key::email(address),
            // An item that does not exist.
            Presented::Impossible(_) => Key::account(UserId::from_bytes(event.id.to_bytes())),
        };
        let noted = async {
            let (is_claimed, put) = if let Some(user) = user {
                (attribute("user_id").is(user), self.event(user, event)?)
            } else {
                let item = ExpiringItem { expires_at: event.at.as_second() };
                // This condition always holds.
                (absent().or(exists()), self.put(Key::decoy(event.id), &item)?)
            };
            let check = self.check(claim, is_claimed);
            self.transact(vec![check, put.when(absent()).into()]).await
        };
        let noted = timeout(NOTE_TIMEOUT, noted).await;
        let Some(user) = user else { return };
        match noted {
            Ok(Ok(failed)) if failed.is_empty() => event.log(Some(user)),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => log_not_recorded(user, event, &error),
            Err(error) => log_not_recorded(user, event, &error),
        }
    }
}

/// Logs that an event could not be recorded, although the action that it reports happened.
pub(crate) fn log_not_recorded(
    user: UserId,
    event: &Event,
    error: &(dyn std::error::Error + 'static),
) {
    let (user_id, kind) = (user.to_string(), event.kind.name());
    tracing::warn!(event = "event_not_recorded", user_id, kind, error, "security");
}

/// Records events that report no change, and lists the events of accounts.
#[derive(Clone, Debug)]
pub struct Events(Table);

/// The key of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKey {
    /// The account.
    pub user: UserId,
    id: EventId,
}

impl EventKey {
    /// Parses the primary key of an item. `None` if the item is not an event.
    #[must_use]
    pub fn parse(pk: &str, sk: &str) -> Option<Self> {
        let user = pk.strip_prefix("USER#")?.parse().ok()?;
        let id = sk.strip_prefix(EVENT)?.parse().ok()?;
        Some(Self { user, id })
    }
}

/// Some events of an account, latest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// The `before` of the next page. `None` if there are no earlier events.
    pub next: Option<EventId>,
}

impl Events {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Records an event that changes nothing, such as an export, unless an event with the same `once` has been recorded.
    /// In that case, the mark of that event is only read: the transaction checks the account, so repeated ones would make
    /// concurrent changes to the account fail.
    ///
    /// # Errors
    /// When the account does not exist, or the table cannot be written.
    pub async fn record(
        &self,
        user: UserId,
        event: &Event,
        once: EventId,
    ) -> Result<(), StoreError> {
        let Self(table) = self;
        if table.get::<ExpiringItem>(Key::once(user, once)).await?.is_some() {
            return Ok(());
        }
        let expires_at = event.at.saturating_add(MARKED_FOR).unwrap_or(Timestamp::MAX).as_second();
        let mark = table.put(Key::once(user, once), &ExpiringItem { expires_at })?.when(absent());
        let put = table.event(user, event)?;
        let check = table.check(Key::account(user), exists());
        let failed = table.transact(vec![check, mark.into(), put.into()]).await?;
        match failed.first() {
            None => {
                event.log(Some(user));
                Ok(())
            }
            Some(0) => Err(StoreError::Absent),
            Some(_) => Ok(()),
        }
    }

    /// Finds an event. `None` if it does not exist.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn find(&self, key: &EventKey) -> Result<Option<Event>, StoreError> {
        let item = self.0.get::<EventItem>(Key::event(key.user, key.id)).await?;
        Ok(item.map(|item| item.event))
    }

    /// Lists up to `limit` events of an account, latest first, with strong consistency: the latest ones or, with
    /// `before`, the latest ones whose ids are lower. Expired events are not read.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn page(
        &self,
        user: UserId,
        before: Option<EventId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<EventPage, StoreError> {
        let Self(table) = self;
        let prefix = KeyPrefix::events(user);
        // An id begins with the time of its event, or with the start of its hour (`EventId::hourly`).
        let earliest = EventId::earliest(table.retention.begins(now));
        if before.is_some_and(|before| before < earliest) {
            // All remaining events have expired, and DynamoDB refuses a start key outside the range.
            return Ok(EventPage { events: Vec::new(), next: None });
        }
        let from = Key::event(user, earliest);
        let to = Key::event(user, EventId::from_bytes([0xff; 16]));
        let start = before.map(|before| Key::event(user, before).attributes());
        // The additional item shows whether there is another page.
        let most = i32::try_from(limit.saturating_add(1)).unwrap_or(i32::MAX);
        let query = table
            .client
            .query()
            .table_name(&table.name)
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(most)
            .set_exclusive_start_key(start)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", attribute_value(&prefix.pk))
            .expression_attribute_values(":from", attribute_value(&from.sk))
            .expression_attribute_values(":to", attribute_value(&to.sk));
        let output = query.run().await?;
        // A page may also end because DynamoDB reads at most 1 MB per request.
        let is_cut = output.last_evaluated_key.is_some_and(|key| !key.is_empty());
        let mut items = output.items.unwrap_or_default();
        let is_last = items.len() <= limit && !is_cut;
        items.truncate(limit);
        let next = match items.last() {
            Some(last) if !is_last => {
                let id = prefix.rest(last).unwrap_or_default();
                Some(id.parse().map_err(StoreError::unusable)?)
            }
            _ => None,
        };
        Ok(EventPage { events: items.into_iter().filter_map(known).collect(), next })
    }
}

/// Parses an event. Skips an event of a kind that only a later version knows: during a deployment, versions overlap.
fn known(item: Item) -> Option<Event> {
    match EventItem::parse(item) {
        Ok(item) => Some(item.event),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(event = "event_not_read", error, "an event is unknown to this version");
            None
        }
    }
}
