//! Remembers which refused attempts have been recorded.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// The maximum number of remembered names.
const CAPACITY: usize = 1_024;

/// The names for which this instance has recorded a refused attempt in the current hour. A flood of refused attempts
/// therefore causes one write per name instead of one per attempt. Even if a name is missing here, the condition of
/// the write prevents a second event.
#[derive(Debug, Default)]
pub(crate) struct Refused(Mutex<Hour>);

/// An hour, numbered from 1970, and the names for which a refused attempt was recorded in it.
#[derive(Debug, Default)]
struct Hour {
    number: i64,
    names: HashSet<String>,
}

impl Refused {
    /// Whether the attempt at `now` is the first refused attempt for this name in the current hour.
    pub(crate) fn is_first(&self, name: &str, now: Timestamp) -> bool {
        let mut hour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now.as_second().div_euclid(3_600);
        if hour.number != number || hour.names.len() >= CAPACITY {
            *hour = Hour { number, names: HashSet::new() };
        }
        hour.names.insert(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_first_once_an_hour_and_the_memory_is_bounded() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let refused = Refused::default();
        assert!(refused.is_first("one", at(0)));
        assert!(!refused.is_first("one", at(3_599)));
        assert!(refused.is_first("other", at(3_599)));
        assert!(refused.is_first("one", at(3_600)));
        for n in 0..2 * CAPACITY {
            refused.is_first(&n.to_string(), at(3_600));
        }
        assert!(refused.0.lock().unwrap().names.len() <= CAPACITY);
    }
}
