//! Rotation of peppers.

use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;
use peppers::{AddError, NameQuarantine, PepperError, Peppers};
use process::{Clock, Random, Reader, Settings};
use secrets::{SecretError, Version, Versions};
use uuid::Uuid;

use crate::NONE;

/// How long a pepper is kept after it was replaced: the longer of `SESSION_ABSOLUTE_SECONDS` (default 90 days) and
/// `NAME_QUARANTINE_DAYS` (default 30). Nothing made with a pepper is valid for longer.
pub fn peppers_kept_for(reader: &Reader<'_>) -> Option<SignedDuration> {
    let session = reader.optional("SESSION_ABSOLUTE_SECONDS", 90 * 24 * 60 * 60);
    let quarantine = NameQuarantine::read(reader);
    let (session, quarantine): (u32, _) = (session?, quarantine?);
    Some(SignedDuration::from_secs(session.into()).max(quarantine.duration()))
}

/// Adds peppers to their secret.
pub struct PepperRotation {
    versions: Versions,
    kept_for: SignedDuration,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for PepperRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PepperRotation").field("kept_for", &self.kept_for).finish_non_exhaustive()
    }
}

impl PepperRotation {
    /// Adds peppers to the secret in `versions`. `kept_for` is the maximum time for which anything made with a pepper
    /// is valid.
    pub fn new(
        versions: Versions,
        kept_for: SignedDuration,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self { versions, kept_for, clock, random }
    }

    /// Reads the peppers. Returns `None` if there are none yet.
    ///
    /// # Errors
    /// When the peppers cannot be read or are invalid.
    pub async fn current(&self) -> Result<Option<Peppers>, PepperRotationError> {
        match self.versions.secret().current().await {
            Ok(version) => Ok(Some(version.value.parse()?)),
            Err(SecretError::Absent) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds a pepper, or creates the first one. An added pepper is not used until all functions know it.
    ///
    /// # Errors
    /// When the newest pepper is not in use yet, there are too many, or another one was added concurrently.
    pub async fn add(&self) -> Result<Peppers, PepperRotationError> {
        let id = Uuid::from_bytes(self.random.bytes()).to_string();
        let (replaced, peppers) = match self.versions.secret().current().await {
            Ok(version) => {
                let current: Peppers = version.value.parse()?;
                let now = self.clock.now();
                (version.id, current.with_new(&id, now, self.kept_for, &*self.random)?)
            }
            Err(SecretError::Absent) => (NONE.to_owned(), Peppers::generate(&id, &*self.random)),
            Err(error) => return Err(error.into()),
        };
        let version = Version { id: id.clone(), value: peppers.to_json() };
        self.versions.put_pending(&version).await?;
        self.versions.promote(&id, &replaced).await?;
        Ok(peppers)
    }
}

/// The reason why a pepper could not be added.
#[derive(Debug, thiserror::Error)]
pub enum PepperRotationError {
    /// The secret could not be read or written.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The content of the secret is invalid.
    #[error(transparent)]
    Peppers(#[from] PepperError),
    /// No pepper can be added now.
    #[error(transparent)]
    NotNow(#[from] AddError),
}
