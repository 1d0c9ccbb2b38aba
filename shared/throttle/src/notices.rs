//! Limits the number of notices to an address.

use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use identity::CanonicalName;
use jiff::SignedDuration;
use peppers::{Peppers, Purpose};
use process::{Clock, Random};
use secrets::Cached;
use store::{Beyond, CounterKey, Counters, Limit, Receipt, Reserved};

use crate::{ThrottleError, log_counters_not_told, tag};

/// The limit on notices to one address per day. The day begins with the first notice. The limit is not configurable,
/// because a higher one would only help attackers who flood an address.
const PER_DAY: Limit = per_day(10);

/// The limit on the notices that anyone can trigger. It is low, so that strangers cannot use up the day's notices
/// and thereby suppress the notice of an attack.
const BY_ANYONE: Limit = per_day(3);

const fn per_day(free: u32) -> Limit {
    Limit { free, beyond: Beyond::WindowEnd, window: SignedDuration::from_hours(24) }
}

/// Who can trigger a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CausedBy {
    /// Only people who know the account's password or have one of its tokens.
    Insiders,
    /// Anyone who knows the address.
    Anyone,
}

/// Limits the notices that an address gets. The keys of its counters are MACs of addresses.
pub struct NoticeBudget {
    counters: Counters,
    peppers: Arc<Cached<Peppers>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for NoticeBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoticeBudget").finish_non_exhaustive()
    }
}

/// A reserved notice. It counts unless it is given back.
#[derive(Debug)]
#[must_use = "give back a notice that is not sent, or it counts toward the budget"]
pub struct NoticeReceipt<'a> {
    budget: &'a NoticeBudget,
    receipts: Vec<Receipt>,
}

impl NoticeBudget {
    /// Creates a budget that counts notices with `counters`.
    #[must_use]
    pub fn new(
        counters: Counters,
        peppers: Arc<Cached<Peppers>>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self { counters, peppers, clock, random }
    }

    /// Reserves a notice to `address`. `None` if a limit on the notices to the address has been reached.
    ///
    /// # Errors
    /// When the counters cannot be reached. In that case the notice is not counted.
    pub async fn reserve(
        &self,
        address: &CanonicalName,
        by: CausedBy,
    ) -> Result<Option<NoticeReceipt<'_>>, ThrottleError> {
        let now = self.clock.now();
        let key = self.peppers.get().await?.current(Purpose::Throttle, now);
        let tag = tag(&key, "notice", address.as_str());
        let of_anyone = (by == CausedBy::Anyone).then_some(("NOTICE_ANYONE", BY_ANYONE));
        let mut granted = NoticeReceipt { budget: self, receipts: Vec::new() };
        for (kind, limit) in of_anyone.into_iter().chain([("NOTICE_DAY", PER_DAY)]) {
            let key = CounterKey::new(kind, tag.clone());
            match self.counters.reserve(key, limit, now, &*self.random).await {
                Ok(Reserved::Granted(receipt)) => granted.receipts.push(receipt),
                Ok(Reserved::Refused(_)) => {
                    granted.give_back().await?;
                    return Ok(None);
                }
                Err(error) => {
                    if let Err(error) = granted.give_back().await {
                        log_counters_not_told(error);
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(Some(granted))
    }
}

impl NoticeReceipt<'_> {
    /// Gives the reservation back, so that the notice is not counted.
    ///
    /// # Errors
    /// When a counter cannot be reached. The reservation is still given back on all other counters.
    pub async fn give_back(self) -> Result<(), ThrottleError> {
        let counters = &self.budget.counters;
        let given_back = self.receipts.iter().map(|it| counters.give_back(it));
        join_all(given_back).await.into_iter().collect::<Result<(), _>>()?;
        Ok(())
    }
}
