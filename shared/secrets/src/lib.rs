//! Secrets that are in no table: in AWS Secrets Manager, or, on a laptop, in files.
//!
//! A [`Secret`] reads the version in use, a [`Versions`] makes the next one and puts it into use. Both
//! are the same for either place but for where the bytes are; which one it is, is said by the value of
//! one variable: the ARN of a secret, or `file:` and a path.
//!
//! Versions and their labels are those of Secrets Manager: `AWSCURRENT` is in use, `AWSPENDING` is
//! about to be. Putting a version into use is conditional on which version it replaces, so that of two
//! who do it at the same time one fails.

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
    /// Its id: the `ClientRequestToken` that it was made with.
    pub id: String,
    /// The secret itself.
    pub value: Zeroizing<String>,
}

/// The id alone.
impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Where a secret is.
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

/// Where a secret is, and as whom to read it.
#[derive(Clone, Debug)]
pub struct Config(Place);

#[derive(Clone, Debug)]
enum Place {
    Manager(String, AwsEnvironment),
    File(PathBuf),
}

impl Config {
    /// From the variable `name`: the ARN of a secret, or `file:` and a path.
    pub fn read(reader: &Reader<'_>, name: &'static str) -> Option<Self> {
        Some(Self(match reader.required::<Location>(name)? {
            Location::Manager(id) => Place::Manager(
                id,
                AwsEnvironment::read(reader, "AWS_ENDPOINT_URL_SECRETS_MANAGER")?,
            ),
            Location::File(path) => Place::File(path),
        }))
    }

    /// The file at `path`.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Place::File(path.into()))
    }
}

/// A secret, to be read.
#[derive(Clone, Debug)]
pub struct Secret(Backend);

#[derive(Clone, Debug)]
enum Backend {
    Manager(ManagedSecret),
    File(FileSecret),
}

impl Secret {
    /// The secret that `config` names. Nothing is read yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self(match &config.0 {
            Place::Manager(id, aws) => Backend::Manager(ManagedSecret::connect(id, aws)),
            Place::File(path) => Backend::File(FileSecret::new(path)),
        })
    }

    /// The secret `id` of Secrets Manager by a client of one's own.
    pub fn with_client(id: impl Into<String>, client: Client) -> Self {
        Self(Backend::Manager(ManagedSecret::new(id.into(), client)))
    }

    /// The version in use (`AWSCURRENT`).
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn current(&self) -> Result<Version, SecretError> {
        match &self.0 {
            Backend::Manager(secret) => secret.labelled(manager::Label::Current).await?,
            Backend::File(secret) => secret.current()?,
        }
        .ok_or(SecretError::Absent)
    }
}

/// A secret of which versions can be made.
#[derive(Clone, Debug)]
pub struct Versions(Secret);

impl Versions {
    /// The versions of `secret`.
    #[must_use]
    pub fn of(secret: Secret) -> Self {
        Self(secret)
    }

    /// The secret itself.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// The version that is about to be put into use (`AWSPENDING`), or `None`.
    ///
    /// # Errors
    /// When that cannot be read.
    pub async fn pending(&self) -> Result<Option<Version>, SecretError> {
        match &self.0.0 {
            Backend::Manager(secret) => secret.labelled(manager::Label::Pending).await,
            Backend::File(secret) => secret.pending(),
        }
    }

    /// Makes a version that is about to be put into use.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn put_pending(&self, version: &Version) -> Result<(), SecretError> {
        match &self.0.0 {
            Backend::Manager(secret) => secret.put_pending(version).await,
            Backend::File(secret) => secret.put_pending(version),
        }
    }

    /// Puts the version `id` into use in place of the version `replaced`.
    ///
    /// # Errors
    /// [`SecretError::Moved`] when another than `replaced` is in use; or when it cannot be written.
    pub async fn promote(&self, id: &str, replaced: &str) -> Result<(), SecretError> {
        match &self.0.0 {
            Backend::Manager(secret) => secret.promote(id, replaced).await,
            Backend::File(secret) => secret.promote(id, replaced),
        }
    }

    /// Removes the label from the version that was in use before (`AWSPREVIOUS`): a version without a label
    /// is deprecated, and Secrets Manager deletes it at some time. Idempotent.
    ///
    /// # Errors
    /// When that cannot be done.
    pub async fn drop_previous(&self) -> Result<(), SecretError> {
        match &self.0.0 {
            Backend::Manager(secret) => secret.drop_previous().await,
            // A file has no version before.
            Backend::File(_) => Ok(()),
        }
    }
}

/// A secret could not be read or written. Reveals nothing of its value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no such secret, or no version of it in use.
    #[error("there is no such secret")]
    Absent,
    /// Another version was activated concurrently.
    #[error("another version of the secret was activated concurrently")]
    Moved,
    /// It cannot be reached at the moment.
    #[error("the secret cannot be read")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The request is refused: a missing permission, a secret about to be deleted.
    #[error("access to the secret was refused")]
    Refused(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// Its value is not what it should be.
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
