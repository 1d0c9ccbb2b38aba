//! Measures how long hashing takes with given costs, to help choose the costs.

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::cost::{LANES, OUTPUT_OCTETS, SALT_OCTETS};
use crate::{Costs, HashError};

/// Hashes with given costs, reusing its memory as [`Hasher`](crate::Hasher) does.
pub struct Trial {
    argon2: Argon2<'static>,
    memory: Vec<Block>,
}

impl Trial {
    /// Allocates the memory.
    ///
    /// # Errors
    /// When Argon2 does not allow these costs.
    pub fn new(costs: Costs) -> Result<Self, HashError> {
        let params = Params::new(costs.memory_kib, costs.passes, LANES, Some(OUTPUT_OCTETS));
        let params = params.map_err(|_| HashError::Failed)?;
        let memory = vec![Block::new(); params.block_count()];
        Ok(Self { argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params), memory })
    }

    /// Hashes once, and returns the time that it took.
    ///
    /// # Errors
    /// Never, because [`Trial::new`] has checked the costs.
    pub fn hash(&mut self) -> Result<Duration, HashError> {
        let (salt, mut output) = ([0; SALT_OCTETS], [0; OUTPUT_OCTETS]);
        let started = Instant::now();
        self.argon2
            .hash_password_into_with_memory(b"a password", &salt, &mut output, &mut self.memory)
            .map_err(|_| HashError::Failed)?;
        Ok(started.elapsed())
    }
}
