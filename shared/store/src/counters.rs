//! Counters of attempts.
//!
//! Each counter is one item. While attempts are free, a reservation is one update that increments the counter.
//! After that, a reservation computes the new state and writes it only if the stored state is unchanged. Either
//! way, a concurrent burst is granted no more attempts than the limit allows. The code checks expiry times
//! itself. The table's TTL only cleans up.

use dynamo::Client;
use jiff::{SignedDuration, Timestamp};
use process::Random;
use uuid::Uuid;

use crate::expression::{absent, attribute};
use crate::item::stored_items;
use crate::key::Key;
use crate::limit::{Beyond, Counter, Decision, Limit};
use crate::table::{Config, StoreError, Table};
use crate::write::Written;

stored_items!(Counter);

/// The maximum number of attempts to write a reservation that conflicts with concurrent ones. A caller that loses this
/// many times is part of a burst and must wait.
const TRIES: usize = 16;

/// The key of a counter. It does not reveal whose attempts are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CounterKey {
    kind: &'static str,
    tag: String,
}

impl CounterKey {
    /// The key of the counter with this kind and this tag.
    #[must_use]
    pub fn new(kind: &'static str, tag: String) -> Self {
        Self { kind, tag }
    }

    fn key(&self) -> Key {
        Key::counter(self.kind, &self.tag)
    }
}

/// Counts attempts.
#[derive(Clone, Debug)]
pub struct Counters(Table);

/// The outcome of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The attempt may be made. It counts toward the limit unless it is given back.
    Granted(Receipt),
    /// The attempt must wait this long.
    Refused(SignedDuration),
}

/// A granted reservation, which can be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    key: CounterKey,
    beyond: Beyond,
    mark: String,
    before: Option<Counter>,
    expires_at: i64,
}

/// The outcome of the update that assumes a free attempt.
enum Added {
    /// The attempt is reserved.
    Free { before: Option<Counter>, expires_at: i64 },
    /// It is not certain that the attempt is free. Contains the counter, if there is one.
    Unsure(Option<Counter>),
}

impl Counters {
    /// Creates a handle to the table that `config` names.
    #[must_use]
    pub fn new(config: &Config, client: Client) -> Self {
        Self(Table::new(config, client))
    }

    /// Reserves an attempt at `now`.
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
        let mark = Uuid::from_bytes(random.bytes()).simple().to_string();
        let granted = |before: Option<Counter>, expires_at| {
            let (key, beyond, mark) = (key.clone(), limit.beyond, mark.clone());
            Reserved::Granted(Receipt { key, beyond, mark, before, expires_at })
        };
        let first = limit.first(now, &mark);
        let mut old = match self.add(&key, limit, &first, now).await? {
            Added::Free { before, expires_at } => return Ok(granted(before, expires_at)),
            Added::Unsure(old) => old,
        };
        let mut before = None;
        for _ in 0..TRIES {
            if let Some(old) = &old
                && old.last == mark
            {
                // An earlier try of this write succeeded, but its answer was lost.
                return Ok(granted(before, old.expires_at));
            }
            let decision = old.as_ref().map(|old| limit.decide(old, now, &mark));
            let new = match decision {
                Some(Decision::Wait(wait)) => return Ok(Reserved::Refused(wait)),
                Some(Decision::Grant(new)) => new,
                None => first.clone(),
            };
            match self.replace(&key, old.as_ref(), &new).await? {
                Written::Done(_) => return Ok(granted(old, new.expires_at)),
                Written::Refused(other) => before = std::mem::replace(&mut old, other),
            }
        }
        Ok(Reserved::Refused(SignedDuration::from_secs(1)))
    }

    /// Increments the counter if the attempt is certainly free. Creates the counter if it does not exist.
    async fn add(
        &self,
        key: &CounterKey,
        limit: Limit,
        first: &Counter,
        now: Timestamp,
    ) -> Result<Added, StoreError> {
        let is_free = attribute("expires_at")
            .above(now.as_second())
            .and(attribute("count").below(limit.free_below()))
            .and(attribute("last").is_not(&first.last));
        let update = self
            .0
            .update(key.key())
            .when(absent().or(is_free))
            .add("count", 1)
            .set_if_absent("next_at", first.next_at)
            .set("last", &first.last);
        let update = match limit.beyond {
            Beyond::Doubling { .. } => update.set("expires_at", first.expires_at),
            Beyond::WindowEnd => update.set_if_absent("expires_at", first.expires_at),
        };
        match update.returning_old::<Counter>().await? {
            Written::Done(before) => {
                let expires_at = match (limit.beyond, &before) {
                    (Beyond::WindowEnd, Some(before)) => before.expires_at,
                    _ => first.expires_at,
                };
                Ok(Added::Free { before, expires_at })
            }
            Written::Refused(old) => Ok(Added::Unsure(old)),
        }
    }

    /// Writes `new` if the stored state is still `old`.
    async fn replace(
        &self,
        key: &CounterKey,
        old: Option<&Counter>,
        new: &Counter,
    ) -> Result<Written<Option<Counter>>, StoreError> {
        let is_unchanged = match old {
            None => absent(),
            // These two attributes identify the state: each reservation has its own mark, and giving one back lowers
            // the count.
            Some(old) => attribute("last").is(&old.last).and(attribute("count").is(old.count)),
        };
        let update = self.0.update(key.key()).when(is_unchanged);
        update
            .set("count", new.count)
            .set("next_at", new.next_at)
            .set("expires_at", new.expires_at)
            .set("last", &new.last)
            .returning_old()
            .await
    }

    /// Gives a reservation back, so that the attempt neither counts nor causes a wait. This is idempotent: a
    /// retry after a lost answer does not give back another caller's reservation.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn give_back(&self, receipt: &Receipt) -> Result<(), StoreError> {
        // Restore the previous state if nothing has changed the counter since.
        if let (Beyond::Doubling { .. }, Some(before)) = (receipt.beyond, &receipt.before) {
            let count = before.count.saturating_add(1);
            let mine = Counter { count, last: receipt.mark.clone(), ..before.clone() };
            match self.replace(&receipt.key, Some(&mine), before).await? {
                Written::Done(_) => return Ok(()),
                // Only giving back leads to this state, so an earlier try succeeded and its answer was lost.
                Written::Refused(Some(stored)) if stored == *before => return Ok(()),
                Written::Refused(_) => {}
            }
        }
        let is_returnable = attribute("count")
            .above(0)
            .and(attribute("expires_at").at_least(receipt.expires_at))
            .and(attribute("returned").is_absent().or(attribute("returned").is_not(&receipt.mark)));
        let update = self.0.update(receipt.key.key()).when(is_returnable);
        update.add("count", -1).set("returned", &receipt.mark).send().await.map(drop)
    }

    /// Deletes a counter, whatever its state, after a caller has presented the secret that the counter protects.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub async fn clear(&self, key: &CounterKey) -> Result<(), StoreError> {
        self.0.delete(key.key()).await.map(drop)
    }
}
