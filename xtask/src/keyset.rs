//! The development key set: made at the first run, kept for the owner's eyes.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use auth::Random;
use issuer::{SigningKeyError, SigningKeys};
use tempfile::NamedTempFile;

/// The key set cannot be used. In one line, and nothing of the keys in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("the key file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: io::Error,
    },
    /// It holds no usable keys.
    #[error("the key file {path} is not usable ({reason}): delete it, and a new one is made")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        reason: SigningKeyError,
    },
}

/// The key set of the file at `path`, which is made when it is not there.
///
/// # Errors
/// When the file cannot be read or made, or holds no usable keys.
pub fn load_or_make(path: &Path, random: &dyn Random) -> Result<SigningKeys, KeyFileError> {
    let fault = |reason| KeyFileError::File { path: path.display().to_string(), reason };
    match fs::read_to_string(path) {
        Ok(json) => {
            // It may have been copied here with the mode of the copier.
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fault)?;
            json.parse().map_err(|reason| KeyFileError::Unusable {
                path: path.display().to_string(),
                reason,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let keys = SigningKeys::generate(random);
            write_private(path, keys.to_json().as_bytes()).map_err(fault)?;
            Ok(keys)
        }
        Err(error) => Err(fault(error)),
    }
}

/// Writes a file whole or not at all, with mode 0600 from its first byte on.
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
    use auth::SystemRandom;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn is_made_once_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let made = load_or_make(&path, &SystemRandom).unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let again = load_or_make(&path, &SystemRandom).unwrap();
        assert_eq!(made.to_json(), again.to_json());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn says_in_one_line_that_it_is_not_usable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        for content in ["", "{", r#"{"keys":[]}"#, "{\n\n}"] {
            fs::write(&path, content).unwrap();
            let error = load_or_make(&path, &SystemRandom).unwrap_err();
            assert!(matches!(error, KeyFileError::Unusable { .. }), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content, "nothing is overwritten");
        }
        fs::write(&path, b"\xff").unwrap();
        assert!(matches!(load_or_make(&path, &SystemRandom), Err(KeyFileError::File { .. })));
    }
}
