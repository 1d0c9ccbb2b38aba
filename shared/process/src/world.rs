//! Time and randomness, passed in together.

use std::fmt;
use std::sync::Arc;

use crate::{Clock, Random, SystemClock, SystemRandom};

/// The sources of time and randomness. A function uses those of the system, and a test passes its own.
#[derive(Clone)]
pub struct World {
    /// The source of the current time.
    pub clock: Arc<dyn Clock>,
    /// The source of random bytes.
    pub random: Arc<dyn Random>,
}

impl World {
    /// Uses the system's clock and random number generator.
    #[must_use]
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), random: Arc::new(SystemRandom) }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}
