//! Counters of attempts, and the networks that an account is known to sign in from.
//!
//! A counter is one item. While attempts are free, one update reserves an attempt by adding to the counter.
//! Beyond that, a reservation compares the stored state and writes only if it is unchanged. So of a
//! concurrent burst, no more attempts are granted than allowed. Expiry is compared here; TTL only cleans
//! up.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Put, ReturnValue, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem,
};
use dynamo::Client;
use futures_util::future::join_all;
use identity::{Account, EmailStanding};
use jiff::{SignedDuration, Timestamp};
use process::Random;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::item;
use crate::key::Key;
use crate::resets::Unchanged;
use crate::table::{Config, StoreError, Table};

/// How often a reservation is tried again after a concurrent one. A caller that loses this often is part of
/// a burst, and has to wait.
const TRIES: usize = 16;

/// How many networks are read to find one that is known.
const KNOWN_LOOKED_AT: i32 = 100;

/// How many attempts are free, and how long to wait beyond that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many attempts are free.
    pub free: u32,
    /// What follows.
    pub beyond: Beyond,
    /// After how long without an attempt it is forgotten ([`Beyond::Doubling`]), or how long a window
    /// is.
    pub window: SignedDuration,
}

/// What follows once the free attempts are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// A wait after each, twice as long as the last.
    Doubling {
        /// The first wait.
        base: SignedDuration,
        /// The longest.
        most: SignedDuration,
    },
    /// A wait until the window ends.
    WindowEnd,
}

/// The key of a counter. It reveals nothing about whom the counter concerns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CounterKey {
    kind: &'static str,
    tag: String,
}

impl CounterKey {
    /// The counter of this kind for what has this tag.
    #[must_use]
    pub fn new(kind: &'static str, tag: String) -> Self {
        Self { kind, tag }
    }

    fn key(&self) -> Key {
        Key::counter(self.kind, &self.tag)
    }
}

/// A counter as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    count: u32,
    /// No attempt before this millisecond since 1970; 0 when one may be made at once.
    next_at: i64,
    /// When it expires, in seconds since 1970: the table's TTL attribute.
    expires_at: i64,
    /// The last reservation, by which a retry recognizes its own write.
    last: String,
}

/// What is to become of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    Write(Counter),
    Wait(SignedDuration),
}

impl Limit {
    /// The wait after the attempt that raises the count to `count`.
    fn wait_after(&self, count: u32) -> SignedDuration {
        match self.beyond {
            Beyond::Doubling { base, most } if count >= self.free => {
                let doublings = (count - self.free).min(62);
                base.checked_mul(1_i32.checked_shl(doublings.min(30)).unwrap_or(i32::MAX))
                    .unwrap_or(SignedDuration::MAX)
                    .min(most)
            }
            _ => SignedDuration::ZERO,
        }
    }

    /// What an attempt at the time `now` makes of the counter `old`, or how long it has to wait.
    fn decide(&self, old: Option<&Counter>, now: Timestamp, nonce: &str) -> Decision {
        let second = now.as_second();
        let old = old.filter(|old| old.expires_at > second);
        let count = old.map_or(0, |old| old.count);
        if let Some(old) = old {
            let wait =
                SignedDuration::from_millis(old.next_at.saturating_sub(now.as_millisecond()));
            if wait > SignedDuration::ZERO {
                return Decision::Wait(wait);
            }
            if self.beyond == Beyond::WindowEnd && count >= self.free {
                return Decision::Wait(SignedDuration::from_secs(old.expires_at - second));
            }
        }
        let count = count.saturating_add(1);
        let wait = self.wait_after(count);
        let next_at = if wait.is_zero() { 0 } else { millis(now, wait) };
        let ends = second.saturating_add(self.window.as_secs()).saturating_add(1);
        let expires_at = match (self.beyond, old) {
            (Beyond::WindowEnd, Some(old)) => old.expires_at,
            // Never forgotten before the wait is over.
            _ => ends.max(next_at / 1000 + 1),
        };
        Decision::Write(Counter { count, next_at, expires_at, last: nonce.to_owned() })
    }

    /// Below this count no wait follows an attempt, so the count need not be compared.
    fn surely_free(&self) -> u32 {
        match self.beyond {
            Beyond::Doubling { .. } => self.free.saturating_sub(1),
            Beyond::WindowEnd => self.free,
        }
    }
}

fn millis(now: Timestamp, later: SignedDuration) -> i64 {
    let later = i64::try_from(later.as_millis()).unwrap_or(i64::MAX);
    now.as_millisecond().saturating_add(later)
}

/// Counts attempts.
#[derive(Clone, Debug)]
pub struct Counters(Table);

/// What came of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The attempt may be made. It counts, unless it is given back.
    Granted(Receipt),
    /// It may not, before so long.
    Refused(SignedDuration),
}

/// A reservation, to be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    key: CounterKey,
    beyond: Beyond,
    nonce: String,
    before: Option<Counter>,
    expires_at: i64,
}

fn number(n: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(n.into().to_string())
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// The names of a counter's attributes: some of them are reserved words.
fn names(of: &[&str]) -> HashMap<String, String> {
    of.iter().map(|name| (format!("#{name}"), (*name).to_owned())).collect()
}

impl Counters {
    /// The counters in the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Reserves an attempt at the time `now`.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn reserve(
        &self,
        key: CounterKey,
        limit: Limit,
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<Reserved, StoreError> {
        let nonce = Uuid::from_bytes(random.bytes()).simple().to_string();
        let granted = |before: Option<Counter>, expires_at| {
            let (key, beyond, nonce) = (key.clone(), limit.beyond, nonce.clone());
            Reserved::Granted(Receipt { key, beyond, nonce, before, expires_at })
        };
        let Decision::Write(first) = limit.decide(None, now, &nonce) else {
            return Err(StoreError::Contradiction);
        };
        let mut old = match self.add(&key, limit, &first, now).await? {
            Ok((before, expires_at)) => return Ok(granted(before, expires_at)),
            Err(old) => old,
        };
        let mut before = None;
        for _ in 0..TRIES {
            if let Some(old) = &old
                && old.last == nonce
            {
                // An earlier attempt whose answer was lost.
                return Ok(granted(before, old.expires_at));
            }
            match limit.decide(old.as_ref(), now, &nonce) {
                Decision::Wait(wait) => return Ok(Reserved::Refused(wait)),
                Decision::Write(new) => match self.replace(&key, old.as_ref(), &new).await? {
                    Ok(()) => return Ok(granted(old, new.expires_at)),
                    Err(other) => before = std::mem::replace(&mut old, other),
                },
            }
        }
        Ok(Reserved::Refused(SignedDuration::from_secs(1)))
    }

    /// Adds one if that is certainly free, or creates the counter. Returns the former state or, if it is
    /// not free, the current one.
    async fn add(
        &self,
        key: &CounterKey,
        limit: Limit,
        first: &Counter,
        now: Timestamp,
    ) -> Result<Result<(Option<Counter>, i64), Option<Counter>>, StoreError> {
        let expires = match limit.beyond {
            Beyond::Doubling { .. } => ":expires_at",
            Beyond::WindowEnd => "if_not_exists(#expires_at, :expires_at)",
        };
        let updated = self
            .0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(key.key().attributes()))
            .condition_expression(
                "attribute_not_exists(pk) OR \
                 (#expires_at > :now AND #count < :free AND #last <> :last)",
            )
            .update_expression(format!(
                "SET #count = if_not_exists(#count, :zero) + :one, \
                 #next_at = if_not_exists(#next_at, :next_at), \
                 #expires_at = {expires}, #last = :last"
            ))
            .set_expression_attribute_names(Some(names(&[
                "count",
                "next_at",
                "expires_at",
                "last",
            ])))
            .expression_attribute_values(":now", number(now.as_second()))
            .expression_attribute_values(":free", number(limit.surely_free()))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":next_at", number(first.next_at))
            .expression_attribute_values(":expires_at", number(first.expires_at))
            .expression_attribute_values(":last", text(&first.last))
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match updated {
            Ok(output) => {
                // An emulator gives the key of an item that was not there.
                let before = output.attributes.filter(|there| there.contains_key("last"));
                let before: Option<Counter> = before.map(item::parse).transpose()?;
                let expires_at = match (limit.beyond, &before) {
                    (Beyond::WindowEnd, Some(before)) => before.expires_at,
                    _ => first.expires_at,
                };
                Ok(Ok((before, expires_at)))
            }
            Err(error) => Ok(Err(there(error)?)),
        }
    }

    /// Writes `new` if the stored state is still `old`. Otherwise returns the stored state.
    async fn replace(
        &self,
        key: &CounterKey,
        old: Option<&Counter>,
        new: &Counter,
    ) -> Result<Result<(), Option<Counter>>, StoreError> {
        let mut update = self
            .0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(key.key().attributes()))
            .update_expression(
                "SET #count = :count, #next_at = :next_at, #expires_at = :expires_at, #last = :last",
            )
            .set_expression_attribute_names(Some(names(&["count", "next_at", "expires_at", "last"])))
            .expression_attribute_values(":count", number(new.count))
            .expression_attribute_values(":next_at", number(new.next_at))
            .expression_attribute_values(":expires_at", number(new.expires_at))
            .expression_attribute_values(":last", text(&new.last))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        update = match old {
            None => update.condition_expression("attribute_not_exists(pk)"),
            // Each reservation has its own mark, and giving one back lowers the count.
            Some(old) => update
                .condition_expression("#last = :old_last AND #count = :old_count")
                .expression_attribute_values(":old_last", text(&old.last))
                .expression_attribute_values(":old_count", number(old.count)),
        };
        match update.send().await {
            Ok(_) => Ok(Ok(())),
            Err(error) => Ok(Err(there(error)?)),
        }
    }

    /// Gives a reservation back: the attempt uses up no limit and causes no wait. Giving it back
    /// again is harmless, so a retry after a lost answer gives back nothing that others reserved.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn give_back(&self, receipt: &Receipt) -> Result<(), StoreError> {
        // The former state is restored, if nothing has changed the counter since.
        if let (Beyond::Doubling { .. }, Some(before)) = (receipt.beyond, &receipt.before) {
            let mine = Counter { last: receipt.nonce.clone(), ..before.clone() };
            let mine = Counter { count: mine.count.saturating_add(1), ..mine };
            match self.replace(&receipt.key, Some(&mine), before).await? {
                Ok(()) => return Ok(()),
                // An earlier attempt succeeded and its answer was lost: only giving back leads to this state.
                Err(Some(there)) if there == *before => return Ok(()),
                Err(_) => {}
            }
        }
        let lowered = self
            .0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(receipt.key.key().attributes()))
            .condition_expression(
                "#count > :zero AND #expires_at >= :expires_at \
                 AND (attribute_not_exists(#returned) OR #returned <> :mine)",
            )
            .update_expression("SET #count = #count - :one, #returned = :mine")
            .set_expression_attribute_names(Some(names(&["count", "expires_at", "returned"])))
            .expression_attribute_values(":mine", text(&receipt.nonce))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":expires_at", number(receipt.expires_at))
            .send()
            .await;
        match lowered {
            Ok(_) => Ok(()),
            Err(error) => there(error).map(drop),
        }
    }

    /// Deletes a counter in any state: the caller has proven the secret that it protects.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn clear(&self, key: &CounterKey) -> Result<(), StoreError> {
        self.0.delete(key.key()).await.map(drop)
    }

    /// Until when a network is known to an account, if it is at the time `now`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn known_until(
        &self,
        who: &str,
        network: &str,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let known = self.0.get::<Known>(Key::known(who, network)).await?;
        let until = known.map(|known| Timestamp::from_second(known.expires_at)).transpose();
        Ok(until.map_err(StoreError::unusable)?.filter(|until| *until > now))
    }

    /// Whether any network is known to an account at the time `now`.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn knows_any(&self, who: &str, now: Timestamp) -> Result<bool, StoreError> {
        // What is over may not have been swept, so one item would not do; a page of them does.
        let output = self
            .0
            .client
            .query()
            .table_name(&self.0.name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(&Key::known(who, "").pk))
            .limit(KNOWN_LOOKED_AT)
            .send()
            .await?;
        let known = output.items.unwrap_or_default().into_iter().map(item::parse::<Known>);
        let known = known.collect::<Result<Vec<_>, _>>()?;
        Ok(known.iter().any(|known| known.expires_at > now.as_second()))
    }

    /// Forgets all networks that are known by a name.
    ///
    /// # Errors
    /// When the table cannot be read or written. Every network whose item can be deleted is forgotten
    /// nevertheless.
    pub async fn forget_networks(&self, who: &str) -> Result<(), StoreError> {
        let mut pages = self
            .0
            .client
            .query()
            .table_name(&self.0.name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(&Key::known(who, "").pk))
            .projection_expression("sk")
            .limit(KNOWN_LOOKED_AT)
            .into_paginator()
            .send();
        let mut outcome = Ok(());
        while let Some(page) = pages.next().await {
            let keys = page?.items.unwrap_or_default().into_iter();
            let networks = keys.filter_map(|item| Key::network_of(item.get("sk")?.as_s().ok()?));
            let networks: Vec<_> = networks.collect();
            let forgotten = networks.iter().map(|it| self.0.delete(Key::known(who, it)));
            let mut forgotten = join_all(forgotten).await.into_iter();
            outcome = outcome.and(forgotten.try_for_each(|deleted| deleted.map(drop)));
        }
        outcome
    }

    /// Records that a network is known to `account` by its names `whos`, if the account still has the epoch
    /// and the address that it was read with, and if a confirmed address is still confirmed. So a login
    /// whose password is replaced concurrently makes no network known. Returns whether the condition held.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn know(
        &self,
        account: &Account,
        whos: &[&str],
        network: &str,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let Self(table) = self;
        let mut unchanged = Unchanged::of(account);
        if account.email_standing == EmailStanding::Verified {
            unchanged.condition.push_str(" AND email_verified = :verified");
            unchanged.values.push((":verified", AttributeValue::Bool(true)));
        }
        let mut check = ConditionCheck::builder()
            .table_name(&table.name)
            .set_key(Some(Key::account(account.id).attributes()))
            .condition_expression(unchanged.condition)
            .set_expression_attribute_names(Some(Unchanged::names()));
        for (name, value) in unchanged.values {
            check = check.expression_attribute_values(name, value);
        }
        let check = check.build().expect("table, key and condition are set");
        let mut items = vec![TransactWriteItem::builder().condition_check(check).build()];
        let known = Known { expires_at: until.as_second() };
        for who in whos {
            // Each record replaces an earlier one, which says the same for an earlier time.
            let put = Put::builder()
                .table_name(&table.name)
                .set_item(Some(item::with_key(Key::known(who, network), &known)?))
                .build()
                .expect("table and item are set");
            items.push(TransactWriteItem::builder().put(put).build());
        }
        Ok(table.transact(items).await?.is_empty())
    }
}

/// That a network is known.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Known {
    expires_at: i64,
}

/// The stored item, after a condition failed.
fn there<R>(
    error: aws_sdk_dynamodb::error::SdkError<UpdateItemError, R>,
) -> Result<Option<Counter>, StoreError>
where
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
            failed.item().cloned().map(item::parse).transpose()
        }
        _ => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn seconds(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    /// The pair of a name and a network, as the contract has it.
    const PAIR: Limit = Limit {
        free: 3,
        beyond: Beyond::Doubling {
            base: SignedDuration::from_secs(1),
            most: SignedDuration::from_secs(900),
        },
        window: SignedDuration::from_secs(86_400),
    };

    const NETWORK: Limit =
        Limit { free: 5, beyond: Beyond::WindowEnd, window: SignedDuration::from_secs(600) };

    /// Attempts as soon as each may be made: the waits between them.
    fn waits(limit: Limit, attempts: usize) -> Vec<i64> {
        let (mut now, mut counter, mut waits) = (at(0), None, Vec::new());
        for _ in 0..attempts {
            let mut waited = 0;
            loop {
                match limit.decide(counter.as_ref(), now, "n") {
                    Decision::Write(new) => {
                        counter = Some(new);
                        break;
                    }
                    Decision::Wait(wait) => {
                        waited += wait.as_secs();
                        now += wait;
                    }
                }
            }
            waits.push(waited);
        }
        waits
    }

    #[test]
    fn three_are_free_and_then_the_wait_doubles_up_to_its_most() {
        let expected = [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900];
        assert_eq!(waits(PAIR, expected.len()), expected);
        assert_eq!(PAIR.wait_after(u32::MAX), seconds(900));
    }

    #[test]
    fn a_window_has_so_many_and_then_begins_anew() {
        assert_eq!(waits(NETWORK, 11), [0, 0, 0, 0, 0, 601, 0, 0, 0, 0, 601]);
    }

    #[test]
    fn it_is_forgotten_after_its_window() {
        let old =
            Counter { count: 10, next_at: 0, expires_at: at(5).as_second(), last: "o".into() };
        let Decision::Write(before) = PAIR.decide(Some(&old), at(4), "n") else { panic!() };
        let Decision::Write(after) = PAIR.decide(Some(&old), at(5), "n") else { panic!() };
        assert_eq!((before.count, after.count), (11, 1));
    }
}
