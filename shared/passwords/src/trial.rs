//! How long a hash takes with other costs than the current ones, for choosing them.

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::HashError;
use crate::hasher::{LANES, MEMORY_KIB, OUTPUT_OCTETS, PASSES, SALT_OCTETS};

/// Costs of argon2id (RFC 9106 §3.1), with one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// How often it is passed over.
    pub passes: u32,
}

impl Costs {
    /// Those of the hashes that we make.
    pub const OURS: Self = Self { memory_kib: MEMORY_KIB, passes: PASSES };
}

/// Hashes with some costs, in memory that is kept, as [`Hasher`](crate::Hasher) does.
pub struct Trial {
    argon2: Argon2<'static>,
    memory: Vec<Block>,
}

impl Trial {
    /// Prepares the memory.
    ///
    /// # Errors
    /// When argon2 does not allow such costs.
    pub fn new(costs: Costs) -> Result<Self, HashError> {
        let params = Params::new(costs.memory_kib, costs.passes, LANES, Some(OUTPUT_OCTETS));
        let params = params.map_err(|_| HashError::Failed)?;
        let memory = vec![Block::new(); params.block_count()];
        Ok(Self { argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params), memory })
    }

    /// How long one hash takes.
    ///
    /// # Errors
    /// Never, with costs that are allowed.
    pub fn hash(&mut self) -> Result<Duration, HashError> {
        let (salt, mut output) = ([0; SALT_OCTETS], [0; OUTPUT_OCTETS]);
        let begun = Instant::now();
        self.argon2
            .hash_password_into_with_memory(b"a password", &salt, &mut output, &mut self.memory)
            .map_err(|_| HashError::Failed)?;
        Ok(begun.elapsed())
    }
}
