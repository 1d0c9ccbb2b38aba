//! Reads and rotates secrets, in AWS Secrets Manager or, on a laptop, in files.
//!
//! [`Secret`] reads the version in use. [`Versions`] creates the next one and puts it into use. Both work the same
//! way in Secrets Manager and in files. An environment variable locates a secret: its value is an ARN, or `file:`
//! followed by a path.
//!
//! Versions carry the labels of Secrets Manager: `AWSCURRENT` marks the version in use, and `AWSPENDING` the one to be
//! put into use next. A version is put into use only if the version that it is to replace is still in use, so only one
//! of two concurrent attempts succeeds.

mod cached;
mod file;
mod manager;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

pub use aws_sdk_secretsmanager::Client;
pub use cached::{
    CacheSeconds, Cached, CachedConfig, PeppersSecret, STALE_SECONDS, SigningKeysSecret,
};
use file::FileSecret;
use manager::ManagedSecret;
use process::{AwsEnvironment, Fault, FaultKind, Reader};
use zeroize::Zeroizing;

/// A version of a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Version {
    /// The id: the `ClientRequestToken` with which the version was created.
    pub id: String,
    /// The content of the secret.
    pub value: Zeroizing<String>,
}

/// Shows only the id.
impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The location of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In Secrets Manager, by ARN or name.
    Manager(String),
    /// In a file, on a laptop.
    File(PathBuf),
}

impl FromStr for Location {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix("file:") {
            Some(path) => Self::File(path.into()),
            None => Self::Manager(text.to_owned()),
        })
    }
}

/// The location of a secret, and the credentials for reading it.
#[derive(Clone, Debug)]
pub struct Config(Place);

#[derive(Clone, Debug)]
enum Place {
    Manager(String, AwsEnvironment),
    File(PathBuf),
}

impl Config {
    /// Reads the variable `name`: the ARN of a secret, or `file:` followed by a path.
    pub fn read(reader: &Reader<'_>, name: &'static str) -> Option<Self> {
        Some(Self(match reader.required::<Location>(name)? {
            Location::Manager(id) => Place::Manager(
                id,
                AwsEnvironment::read(reader, "AWS_ENDPOINT_URL_SECRETS_MANAGER")?,
            ),
            Location::File(path) => Place::File(path),
        }))
    }

    /// Uses the file at `path`.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }
}

/// A secret that can be read.
#[derive(Clone, Debug)]
pub struct Secret(Backend);

#[derive(Clone, Debug)]
enum Backend {
    Manager(ManagedSecret),
    File(FileSecret),
}

impl Secret {
    /// Creates a reader for the secret that `config` names. Reads nothing yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self(match &config.0 {
            Place::Manager(id, aws) => Backend::Manager(ManagedSecret::connect(id, aws)),
            Place::File(path) => Backend::File(FileSecret::new(path)),
        })
    }

    /// Creates a reader that uses `client` for the secret `id` in Secrets Manager.
    pub fn with_client(id: impl Into<String>, client: Client) -> Self {
        Self(Backend::Manager(ManagedSecret::new(id.into(), client)))
    }

    /// Reads the version in use (`AWSCURRENT`).
    ///
    /// # Errors
    /// When no version is in use, or it cannot be read.
    pub async fn current(&self) -> Result<Version, SecretError> {
        match &self.0 {
            Backend::Manager(secret) => secret.labeled(manager::Label::Current).await?,
            Backend::File(secret) => secret.current()?,
        }
        .ok_or(SecretError::Absent)
    }
}

/// A secret whose versions can be created and put into use.
#[derive(Clone, Debug)]
pub struct Versions(Secret);

impl Versions {
    /// Manages the versions of `secret`.
    #[must_use]
    pub fn of(secret: Secret) -> Self {
        Self(secret)
    }

    /// The secret itself.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// Reads the version that is to be put into use next (`AWSPENDING`), if there is one.
    ///
    /// # Errors
    /// When the secret cannot be read.
    pub async fn pending(&self) -> Result<Option<Version>, SecretError> {
        match &self.0.0 {
            Backend::Manager(secret) => secret.labeled(manager::Label::Pending).await,
            Backend::File(secret) => secret.pending(),
        }
    }

    /// Creates a version with the label `AWSPENDING`.
    ///
    /// # Errors
    /// When the version cannot be written.
    pub async fn put_pending(&self, version: &Version) -> Result<(), SecretError> {
        match &self.0.0 {
            Backend::Manager(secret) => secret.put_pending(version).await,
            Backend::File(secret) => secret.put_pending(version),
        }
    }

    /// Puts the version `id` into use instead of the version `replaced`.
    ///
    /// # Errors
    /// [`SecretError::Moved`] when the version in use is neither `replaced` nor `id`. Other errors when the secret
    /// cannot be written.
    pub async fn promote(&self, id: &str, replaced: &str) -> Result<(), SecretError> {
        match &self.0.0 {
            Backend::Manager(secret) => secret.promote(id, replaced).await,
            Backend::File(secret) => secret.promote(id, replaced),
        }
    }

    /// Removes the label `AWSPREVIOUS` from the version that was in use before. A version without a label is
    /// deprecated, and Secrets Manager eventually deletes it. This is idempotent.
    ///
    /// # Errors
    /// When the label cannot be removed.
    pub async fn drop_previous(&self) -> Result<(), SecretError> {
        match &self.0.0 {
            Backend::Manager(secret) => secret.drop_previous().await,
            // A file keeps no previous version.
            Backend::File(_) => Ok(()),
        }
    }
}

/// The reason why a secret could not be read or written. It never reveals the value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretError {
    /// The secret does not exist, or no version of it is in use.
    #[error("there is no such secret")]
    Absent,
    /// Another version was activated concurrently.
    #[error("another version of the secret was activated concurrently")]
    Moved,
    /// The secret is temporarily unreachable.
    #[error("the secret cannot be read")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The request was refused, for example because a permission is missing or the secret is scheduled for deletion.
    #[error("access to the secret was refused")]
    Refused(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The value of the secret is invalid.
    #[error("the secret is invalid: {0}")]
    Unusable(String),
}

impl Fault for SecretError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Absent | Self::Unavailable(_) | Self::Unusable(_) => FaultKind::Unavailable,
            Self::Moved => FaultKind::Conflict,
            Self::Refused(_) => FaultKind::Internal,
        }
    }
}
