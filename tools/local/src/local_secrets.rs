//! The two secrets of a stack: signing keys and peppers.
//!
//! A deployed stack keeps them in Secrets Manager. A local stack keeps them in two files that only their owner can
//! read. The same code creates and rotates them in both places.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keys::KeysTable;
use process::{Clock, Env, SystemClock, SystemRandom};
use rotation::{PepperRotation, PepperRotationError, Plan, Rotation, RotationError};
use secrets::{Secret, SecretError, Versions};
use tempfile::NamedTempFile;
use template::project::Project;
use template::ui;

/// The files that contain the two secrets.
#[derive(Clone, Debug)]
pub struct LocalSecrets {
    signing_keys: PathBuf,
    peppers: PathBuf,
}

/// Why a secret is unusable. The message is one line and reveals nothing about the secret.
#[derive(Debug, thiserror::Error)]
pub enum LocalSecretError {
    /// A file cannot be read, so its content is unknown.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The path of the file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The file of the signing keys is damaged.
    #[error("the key file {path} is unusable ({reason}): delete it to create a new one")]
    SigningKeys {
        /// The path of the file.
        path: String,
        /// The reason.
        reason: RotationError,
    },
    /// The file of the peppers is damaged.
    #[error("the pepper file {path} is unusable ({reason}): delete it to create a new one")]
    Peppers {
        /// The path of the file.
        path: String,
        /// The reason.
        reason: PepperRotationError,
    },
    /// The keys cannot be created or published.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The peppers cannot be created.
    #[error(transparent)]
    PepperRotation(#[from] PepperRotationError),
}

impl LocalSecretError {
    fn unreadable(path: String, reason: &dyn std::error::Error) -> Self {
        Self::Unreadable { path, reason: ui::without_numbers(&reason.to_string()) }
    }
}

/// The secrets of a stack, either deployed or local.
#[derive(Clone)]
pub struct StackSecrets {
    /// The private signing keys.
    pub signing_keys: Versions,
    /// The peppers.
    pub peppers: Versions,
    /// The clock of the functions that use the secrets.
    pub clock: Arc<dyn Clock>,
}

impl StackSecrets {
    /// The rotation of the signing keys. It takes its settings from `env` and publishes to `table`.
    ///
    /// # Errors
    /// When a setting is invalid.
    pub fn rotation(&self, table: KeysTable, env: &Env) -> Result<Rotation, process::ConfigErrors> {
        let config = env.settings::<rotation::Config>()?;
        let (versions, clock) = (self.signing_keys.clone(), Arc::clone(&self.clock));
        Ok(Rotation::new(config, versions, table, clock, Arc::new(SystemRandom)))
    }

    /// The rotation of the peppers. It takes its settings from `env`.
    ///
    /// # Errors
    /// When a setting is invalid.
    pub fn pepper_rotation(&self, env: &Env) -> Result<PepperRotation, process::ConfigErrors> {
        let kept_for = env.read(rotation::peppers_kept_for)?;
        let (peppers, clock) = (self.peppers.clone(), Arc::clone(&self.clock));
        Ok(PepperRotation::new(peppers, kept_for, clock, Arc::new(SystemRandom)))
    }
}

/// The variable that contains the digests of the edge secrets, by which functions recognize requests from the edge.
pub const EDGE_DIGESTS: &str = "EDGE_SECRET_SHA256";

impl LocalSecrets {
    /// The secrets in `project`'s folder of local state.
    #[must_use]
    pub fn of(project: &Project) -> Self {
        // The paths must be absolute, because functions run in other folders.
        let local = |name| {
            let path = project.local(name);
            std::path::absolute(&path).unwrap_or(path)
        };
        Self { signing_keys: local("signing-keys.json"), peppers: local("peppers.json") }
    }

    /// The environment variables that tell functions where the secrets are.
    #[must_use]
    pub fn variables(&self) -> [(String, String); 2] {
        let file = |path: &Path| format!("file:{}", path.display());
        [
            ("SIGNING_KEYS_SECRET".to_owned(), file(&self.signing_keys)),
            ("PEPPERS_SECRET".to_owned(), file(&self.peppers)),
        ]
    }

    /// The versions of both secrets.
    #[must_use]
    pub fn versions(&self) -> StackSecrets {
        let versions = |path| Versions::of(Secret::new(&secrets::Config::file(path)));
        StackSecrets {
            signing_keys: versions(&self.signing_keys),
            peppers: versions(&self.peppers),
            clock: Arc::new(SystemClock),
        }
    }

    /// Creates missing secrets, and publishes the public keys if the table does not contain them.
    ///
    /// # Errors
    /// When an existing secret is unusable, or a secret or the public keys cannot be written.
    pub async fn make(
        &self,
        rotation: &Rotation,
        peppers: &PepperRotation,
    ) -> Result<(), LocalSecretError> {
        let unusable = |reason: RotationError| {
            let path = self.signing_keys.display().to_string();
            match reason {
                RotationError::Secret(SecretError::Unavailable(reason)) => {
                    LocalSecretError::unreadable(path, &*reason)
                }
                RotationError::SigningKeys(_) | RotationError::Secret(SecretError::Unusable(_)) => {
                    LocalSecretError::SigningKeys { path, reason }
                }
                other => other.into(),
            }
        };
        if rotation.has_keys().await.map_err(unusable)? {
            // Complete an interrupted rotation: it may be a revocation, and the revoked key must not become valid
            // again.
            rotation.resume().await?;
            rotation.reconcile().await?;
        } else {
            rotation.perform(&Plan::Rotate).await?;
        }
        let unusable = |reason: PepperRotationError| {
            let path = self.peppers.display().to_string();
            match reason {
                PepperRotationError::Secret(SecretError::Unavailable(reason)) => {
                    LocalSecretError::unreadable(path, &*reason)
                }
                reason => LocalSecretError::Peppers { path, reason },
            }
        };
        if peppers.current().await.map_err(unusable)?.is_none() {
            peppers.add().await?;
        }
        Ok(())
    }
}

/// Writes a file atomically. Its mode is 0600 before it contains any data.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::database::{LocalDatabase, Storage};
    use template::Template;

    struct Bench {
        _folder: tempfile::TempDir,
        _database: LocalDatabase,
        secrets: LocalSecrets,
        rotation: Rotation,
        peppers: PepperRotation,
    }

    async fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::here().with_local(folder.path().to_owned());
        let template = Template::read(&project.template()).unwrap();
        let database = LocalDatabase::start(&Storage::Memory, &template.tables).await.unwrap();
        let client = crate::database::connect(&database.endpoint()).unwrap();
        let secrets = LocalSecrets::of(&project);
        let env = Env::default();
        let stack_secrets = secrets.versions();
        let rotation = stack_secrets.rotation(KeysTable::new("KeysTable", client), &env).unwrap();
        let peppers = stack_secrets.pepper_rotation(&env).unwrap();
        Bench { _folder: folder, _database: database, secrets, rotation, peppers }
    }

    impl Bench {
        async fn make(&self) -> Result<(), LocalSecretError> {
            self.secrets.make(&self.rotation, &self.peppers).await
        }
    }

    #[tokio::test]
    async fn secrets_are_created_once_and_only_their_owner_can_read_them() {
        let bench = bench().await;
        bench.make().await.unwrap();
        let files = [&bench.secrets.signing_keys, &bench.secrets.peppers];
        let read = || files.map(|path| fs::read_to_string(path).unwrap());
        let made = read();
        for path in files {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        bench.make().await.unwrap();
        assert_eq!(read(), made);
        for path in files {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(bench.rotation.record().await.unwrap().keys.len(), 2);
    }

    /// The file may be intact, so the error must not advise deleting it.
    #[tokio::test]
    async fn an_unreadable_file_is_not_reported_as_damaged() {
        for which in ["signing-keys.json", "peppers.json"] {
            let bench = bench().await;
            bench.make().await.unwrap();
            let path = bench.secrets.signing_keys.with_file_name(which);
            fs::remove_file(&path).unwrap();
            // A symbolic link to itself: not even root can read it.
            std::os::unix::fs::symlink(&path, &path).unwrap();
            let error = bench.make().await.unwrap_err().to_string();
            let expected =
                format!("cannot read {}: Too many levels of symbolic links", path.display());
            assert!(error.starts_with(&expected), "{error}");
            assert!(!error.contains("delete it") && !error.contains("os error"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_damaged_secret_is_reported_in_one_line() {
        for content in ["", "{", r#"{"keys":[{"kty":"OKP"}]}"#, "{\n\n}", "[]"] {
            for which in ["signing-keys.json", "peppers.json"] {
                let bench = bench().await;
                bench.make().await.unwrap();
                let path = bench.secrets.signing_keys.with_file_name(which);
                fs::write(&path, content).unwrap();
                let error = bench.make().await.unwrap_err().to_string();
                assert!(error.contains("delete it") && error.contains(which), "{content}: {error}");
                assert!(!error.contains('\n'), "{error}");
                assert_eq!(fs::read_to_string(&path).unwrap(), content, "nothing is overwritten");
            }
        }
    }
}
