//! The counters that have recently refused an attempt.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use store::CounterKey;

/// The maximum number of remembered counters.
const CAPACITY: usize = 1_024;

/// Remembers the counters that have refused an attempt, each until its wait is over.
///
/// Each instance of a function remembers its own refusals. They only determine on which counters an attempt is reserved
/// first, so they may be incomplete, or outdated after a counter has been cleared.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<CounterKey, Timestamp>>);

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, HashMap<CounterKey, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one of these counters is expected to refuse an attempt at `now`.
    pub(crate) fn expected(&self, counters: &[CounterKey], now: Timestamp) -> bool {
        let refusals = self.lock();
        counters.iter().any(|counter| refusals.get(counter).is_some_and(|until| now < *until))
    }

    /// Remembers that a counter refuses attempts until `until`.
    pub(crate) fn remember(&self, counter: CounterKey, until: Timestamp, now: Timestamp) {
        let mut refusals = self.lock();
        if refusals.len() >= CAPACITY {
            refusals.retain(|_, until| now < *until);
        }
        if refusals.len() >= CAPACITY {
            refusals.clear();
        }
        refusals.insert(counter, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_expected_until_its_wait_ends_and_the_memory_is_bounded() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let counter = |n: usize| CounterKey::new("PAIR", n.to_string());
        let refusals = Refusals::default();
        refusals.remember(counter(0), at(10), at(0));
        assert!(refusals.expected(&[counter(1), counter(0)], at(9)));
        assert!(!refusals.expected(&[counter(1)], at(9)));
        assert!(!refusals.expected(&[counter(0)], at(10)));
        for n in 1..2 * CAPACITY {
            refusals.remember(counter(n), at(20), at(9));
            assert!(refusals.lock().len() <= CAPACITY);
            assert!(refusals.expected(&[counter(n)], at(19)));
        }
    }
}
