//! Rotation of signing keys and peppers, during which no request fails.
//!
//! A new signing key is `next`: public, but not signing yet. At the next rotation it becomes `active`, and the
//! previously active key becomes `retired`. The private half of a retired key is removed, and its public half stays
//! published until the last token that it may have signed has expired. So every verifier that caches the set for no
//! longer than permitted knows a key before it sees a token signed with that key.
//!
//! [`Rotation`] performs the four steps of Secrets Manager. Every step can be repeated, so repeating the steps
//! completes a rotation that was interrupted at any point. The label `AWSCURRENT` determines which key signs. A new
//! version names the version that it replaces, and the label moves only from that version, so only one of two
//! concurrent rotations can move the label. The published set is derived from the version in use and from the
//! previously published set. The new set is written only if no other rotation has written one in the meantime.

mod peppers;
mod published;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use auth::Algorithm;
use events::Event;
use issuer::{SigningKeyError, SigningKeys};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use keys::{KeysError, KeysTable, Record};
pub use peppers::{PepperRotation, PepperRotationError, peppers_kept_for};
use process::{Clock, Fault, FaultKind, Random, Reader, Settings};
use secrets::{SecretError, Version, Versions};
use serde::Deserialize;
use uuid::Uuid;

/// The maximum number of attempts to publish. An attempt fails if another rotation publishes concurrently.
const TRIES: usize = 8;

/// The id that the first version names in place of a predecessor.
const NONE: &str = "none";

/// The algorithm of new keys, and how long a key is published before it signs.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    algorithm: Algorithm,
    lead: SignedDuration,
}

impl Settings for Config {
    /// Reads `SIGNING_ALGORITHM` (default `ES256`) and the settings that determine the lead time:
    /// `JWKS_MAX_AGE_SECONDS` and `KEYS_CACHE_SECONDS`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let algorithm = reader.optional("SIGNING_ALGORITHM", Algorithm::default());
        let max_age = keys::MaxAgeSeconds::read(reader);
        let cache = keys::CacheSeconds::read(reader);
        Some(Self { algorithm: algorithm?, lead: lead(max_age?, cache?) })
    }
}

/// How long a key is published before it signs: the longest time for which a verifier may use a set from before
/// the key was published. The function that serves the set may serve an old one for some time (`cache`), and a client
/// that fetches the old set at the last moment caches it for up to `max_age`.
fn lead(max_age: keys::MaxAgeSeconds, cache: keys::CacheSeconds) -> SignedDuration {
    cache.longest() + max_age.duration()
}

/// A step of a rotation by Secrets Manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Creates the new version with the label `AWSPENDING`.
    CreateSecret,
    /// Publishes the public keys of the new version.
    SetSecret,
    /// Checks that verifiers would accept tokens of the new version.
    TestSecret,
    /// Moves the label `AWSCURRENT` to the new version.
    FinishSecret,
}

/// The change that a new version makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The next key signs, if it has been published for long enough.
    Rotate,
    /// The next key signs immediately. Verifiers that do not know this key yet refuse its tokens until they read the
    /// set again.
    RotateNow,
    /// This key is revoked: every token signed with it is refused.
    Revoke(String),
    /// All keys are revoked: every token is refused.
    RevokeAll,
}

/// Rotates the signing keys.
pub struct Rotation {
    versions: Versions,
    table: KeysTable,
    config: Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The version in use.
struct Current {
    id: String,
    keys: SigningKeys,
}

impl Rotation {
    /// Rotates the keys in `versions` and `table`.
    pub fn new(
        config: Config,
        versions: Versions,
        table: KeysTable,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self { versions, table, config, clock, random }
    }

    /// Uses another algorithm for new keys.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.config.algorithm = algorithm;
        self
    }

    /// Reads the published record, for display.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub async fn record(&self) -> Result<Record, RotationError> {
        Ok(self.table.record().await?)
    }

    /// Whether there are any keys.
    ///
    /// # Errors
    /// When the secret cannot be read.
    pub async fn has_keys(&self) -> Result<bool, RotationError> {
        Ok(!self.current().await?.keys.is_empty())
    }

    /// Completes any interrupted rotation, and then performs the four steps of a new one according to `plan`.
    ///
    /// # Errors
    /// When the rotation is impossible or too early.
    pub async fn perform(&self, plan: &Plan) -> Result<(), RotationError> {
        self.resume().await?;
        // The id of a version must have 32 to 64 characters.
        let token = Uuid::from_bytes(self.random.bytes()).to_string();
        self.create(&token, plan).await?;
        self.complete(&token).await
    }

    /// Completes an interrupted rotation. Returns whether there was one.
    ///
    /// # Errors
    /// When the interrupted rotation cannot be completed.
    pub async fn resume(&self) -> Result<bool, RotationError> {
        let Some(pending) = self.versions.pending().await? else { return Ok(false) };
        let current = self.current().await?;
        // A version that does not replace the version in use can never be put into use.
        if pending.id == current.id || !replaces(&parse(&pending)?, &current) {
            return Ok(false);
        }
        self.complete(&pending.id).await?;
        Ok(true)
    }

    /// Publishes the keys of the version in use, as the last step of a rotation does. Writes nothing if they are
    /// already published.
    ///
    /// # Errors
    /// When the secret cannot be read, or the keys cannot be published.
    pub async fn reconcile(&self) -> Result<(), RotationError> {
        let current = self.current().await?;
        if current.keys.is_empty() { Ok(()) } else { self.settle(&current.id).await }
    }

    async fn complete(&self, token: &str) -> Result<(), RotationError> {
        for step in [Step::SetSecret, Step::TestSecret, Step::FinishSecret] {
            self.step(step, token).await?;
        }
        Ok(())
    }

    /// Performs one step of the rotation that creates the version `token`.
    ///
    /// # Errors
    /// When the step is impossible or too early.
    pub async fn step(&self, step: Step, token: &str) -> Result<(), RotationError> {
        match step {
            Step::CreateSecret => self.create(token, &Plan::Rotate).await,
            Step::SetSecret => self.set(token).await,
            Step::TestSecret => self.test(token).await,
            Step::FinishSecret => self.finish(token).await,
        }
    }

    async fn create(&self, token: &str, plan: &Plan) -> Result<(), RotationError> {
        let current = self.current().await?;
        if current.id == token {
            return Ok(());
        }
        if let Some(pending) = self.versions.pending().await? {
            if pending.id == token {
                return Ok(());
            }
            if pending.id != current.id && replaces(&parse(&pending)?, &current) {
                return Err(RotationError::InProgress(pending.id));
            }
        }
        if !current.keys.is_empty() {
            // The version in use might be unpublished: a process may have stopped right after putting it into use,
            // or the table may have been lost or restored. While the version is unpublished, its next key can never
            // become old enough to sign.
            self.settle(&current.id).await?;
        }
        let keys = self.planned(plan, &current, token).await?.replacing(&current.id);
        let version = Version { id: token.to_owned(), value: keys.to_json() };
        Ok(self.versions.put_pending(&version).await?)
    }

    async fn planned(
        &self,
        plan: &Plan,
        current: &Current,
        token: &str,
    ) -> Result<SigningKeys, RotationError> {
        let (algorithm, random) = (self.config.algorithm, &*self.random);
        let record = self.table.record().await?;
        let known = || {
            let published = record.keys.iter().map(|key| key.kid().to_owned());
            current.keys.kids().map(str::to_owned).chain(published).collect::<BTreeSet<_>>()
        };
        let revoked = match plan {
            Plan::Rotate | Plan::RotateNow => {
                if current.keys.is_empty() {
                    return Ok(SigningKeys::generate(algorithm, token, random));
                }
                if *plan == Plan::Rotate {
                    self.may_sign(&current.keys, &record)?;
                }
                return Ok(current.keys.rotated(algorithm, token, random)?);
            }
            Plan::Revoke(kid) => {
                if !known().contains(kid) {
                    return Err(RotationError::UnknownKey(kid.clone()));
                }
                BTreeSet::from([kid.clone()])
            }
            Plan::RevokeAll => known(),
        };
        Ok(current.keys.without(revoked, algorithm, token, random))
    }

    /// Checks that the next key has been published for long enough to sign.
    fn may_sign(&self, keys: &SigningKeys, record: &Record) -> Result<(), RotationError> {
        let next = keys.next_kid().ok_or(SigningKeyError::NoNext)?;
        let published = record.key(next).map(|key| key.published_at);
        let now = self.clock.now();
        let at = published.unwrap_or(now) + self.config.lead;
        if at > now { Err(RotationError::TooEarly { at }) } else { Ok(()) }
    }

    async fn set(&self, token: &str) -> Result<(), RotationError> {
        for _ in 0..TRIES {
            // Read the record before the labels: if another rotation continues after this read, it publishes its
            // keys, and the publication below fails.
            let record = self.table.record().await?;
            let current = self.current().await?;
            if current.id == token {
                // The first version of a secret is in use as soon as it is created, but not published yet.
                return self.settle(token).await;
            }
            let keys = self.pending(token, &current).await?;
            let published = published::merge(&record, &keys, self.clock.now(), None);
            if published == record.keys && record.version == token {
                return Ok(());
            }
            let event = self.event(&record, &keys, token);
            match self.table.publish(&record, &published, token, event.as_ref()).await {
                Err(KeysError::Conflict) => {}
                result => return Ok(result?),
            }
        }
        Err(RotationError::Keys(KeysError::Conflict))
    }

    /// The event that reports the publication of the version `token`. `None` if that version is already published.
    fn event(&self, record: &Record, keys: &SigningKeys, token: &str) -> Option<Event> {
        let key = keys.active().filter(|_| record.version != token)?;
        Some(Event::of_keys(self.clock.now(), &*self.random, key.kid()))
    }

    async fn test(&self, token: &str) -> Result<(), RotationError> {
        let current = self.current().await?;
        let keys =
            if current.id == token { current.keys } else { self.pending(token, &current).await? };
        let published = self.table.published(self.clock.now()).await?;
        if let Some(missing) = keys.kids().find(|kid| published.set.get(kid).is_none()) {
            return Err(RotationError::NotPublished(missing.to_owned()));
        }
        let active = keys.active().ok_or(SigningKeyError::States)?;
        let public = published.set.get(active.kid()).ok_or(SigningKeyError::States)?;
        Ok(active.signs_for(public)?)
    }

    async fn finish(&self, token: &str) -> Result<(), RotationError> {
        let current = self.current().await?;
        if current.id != token {
            self.pending(token, &current).await?;
            match self.versions.promote(token, &current.id).await {
                Err(SecretError::Moved) => return Err(RotationError::Superseded),
                result => result?,
            }
        }
        self.settle(token).await
    }

    /// Cleans up after the version `token` has been put into use.
    async fn settle(&self, token: &str) -> Result<(), RotationError> {
        // No version with a label may still contain the private half of the key that signed until now.
        self.versions.drop_previous().await?;
        self.publish_current(token).await
    }

    /// Publishes the keys of the version `token`, which is in use, and records how long retired keys stay public.
    async fn publish_current(&self, token: &str) -> Result<(), RotationError> {
        for _ in 0..TRIES {
            let record = self.table.record().await?;
            let current = self.current().await?;
            if current.id != token {
                // A later rotation has replaced this version and publishes its own keys.
                return Ok(());
            }
            let now = self.clock.now();
            let until = now + published::retired_for();
            let published = published::merge(&record, &current.keys, now, Some(until));
            if published == record.keys && record.version == token {
                return Ok(());
            }
            let event = self.event(&record, &current.keys, token);
            match self.table.publish(&record, &published, token, event.as_ref()).await {
                Err(KeysError::Conflict) => {}
                result => return Ok(result?),
            }
        }
        Err(RotationError::Keys(KeysError::Conflict))
    }

    /// Reads the version in use, which is an empty set before the first rotation.
    async fn current(&self) -> Result<Current, RotationError> {
        match self.versions.secret().current().await {
            Ok(version) => Ok(Current { keys: parse(&version)?, id: version.id }),
            Err(SecretError::Absent) => {
                Ok(Current { id: NONE.to_owned(), keys: SigningKeys::default() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the version `token` if it may replace the one in use.
    async fn pending(&self, token: &str, current: &Current) -> Result<SigningKeys, RotationError> {
        let pending = self.versions.pending().await?.filter(|pending| pending.id == token);
        let keys = parse(&pending.ok_or(RotationError::Superseded)?)?;
        if replaces(&keys, current) { Ok(keys) } else { Err(RotationError::Superseded) }
    }
}

fn parse(version: &Version) -> Result<SigningKeys, RotationError> {
    Ok(version.value.parse()?)
}

/// Rounds `at` up to a whole second, for display.
fn whole_second(at: Timestamp) -> Timestamp {
    let up = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
    at.round(up).unwrap_or(at)
}

fn replaces(keys: &SigningKeys, current: &Current) -> bool {
    keys.replaces() == Some(&current.id)
}

/// The reason why a rotation could not continue.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The next key has not been published for long enough.
    #[error(
        "the next key must not sign before {}: until then, some verifiers may not know it",
        whole_second(*at)
    )]
    TooEarly {
        /// When the key may sign.
        at: Timestamp,
    },
    /// Another rotation has begun and is not complete.
    #[error("the rotation {0} has begun but is not complete")]
    InProgress(String),
    /// Another rotation has already replaced the version that this one would replace.
    #[error("another rotation was completed concurrently")]
    Superseded,
    /// The key does not exist.
    #[error("unknown key {0}")]
    UnknownKey(String),
    /// A key is not published.
    #[error("the key {0} is not published")]
    NotPublished(String),
    /// The secret could not be read or written.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The content of the secret is invalid.
    #[error(transparent)]
    SigningKeys(#[from] SigningKeyError),
    /// The table of public keys could not be read or written.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

impl Fault for RotationError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::TooEarly { .. } | Self::InProgress(_) | Self::Superseded => FaultKind::Conflict,
            Self::UnknownKey(_) => FaultKind::Absent,
            Self::NotPublished(_) | Self::SigningKeys(_) => FaultKind::Internal,
            Self::Secret(error) => error.kind(),
            Self::Keys(error) => error.kind(),
        }
    }
}
