//! How many notices an address gets.

use std::fmt;
use std::sync::Arc;

use auth::{CanonicalName, Clock, Random};
use jiff::SignedDuration;
use peppers::{Peppers, Purpose};
use secrets::Cached;
use store::{Beyond, CounterKey, Counters, Limit, Receipt, Reserved};

use crate::{ThrottleError, tag};

/// Notices for one address in a day, which begins with the first of them. A constant, since a larger
/// number would only help those who flood an address.
const PER_DAY: Limit =
    Limit { free: 10, beyond: Beyond::WindowEnd, window: SignedDuration::from_hours(24) };

/// Counts the notices that an address gets. The counters are keyed by MACs of addresses.
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

/// A notice that may be sent, and counts unless it is given back.
#[derive(Debug)]
#[must_use = "a notice that is not sent is to be given back, or it counts"]
pub struct NoticeReceipt<'a> {
    budget: &'a NoticeBudget,
    receipt: Receipt,
}

impl NoticeBudget {
    /// On `counters`.
    #[must_use]
    pub fn new(
        counters: Counters,
        peppers: Arc<Cached<Peppers>>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self { counters, peppers, clock, random }
    }

    /// Reserves a notice to `address`; `None` if the address has had as many as it may get in a day.
    ///
    /// # Errors
    /// When the counters are out of reach.
    pub async fn reserve(
        &self,
        address: &CanonicalName,
    ) -> Result<Option<NoticeReceipt<'_>>, ThrottleError> {
        let now = self.clock.now();
        let key = self.peppers.get().await?.current(Purpose::Throttle, now);
        let key = CounterKey::new("NOTICE_DAY", tag(&key, "notice", address.as_str()));
        let reserved = self.counters.reserve(key, PER_DAY, now, &*self.random).await?;
        Ok(match reserved {
            Reserved::Granted(receipt) => Some(NoticeReceipt { budget: self, receipt }),
            Reserved::Refused(_) => None,
        })
    }
}

impl NoticeReceipt<'_> {
    /// The notice has not been sent: it does not count.
    ///
    /// # Errors
    /// When the counters are out of reach.
    pub async fn give_back(self) -> Result<(), ThrottleError> {
        Ok(self.budget.counters.give_back(&self.receipt).await?)
    }
}
