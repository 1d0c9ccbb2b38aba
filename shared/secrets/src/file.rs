//! A secret in a file, which replaces Secrets Manager on a laptop.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::{SecretError, Version};

/// The id of the first version, whose value does not contain an id.
const FIRST: &str = "first";

/// A secret in a file. The file at `path` contains only the value in use. Its member `version` is the id of the
/// version in use. The pending version is in a separate file in the same folder.
#[derive(Clone, Debug)]
pub(crate) struct FileSecret {
    path: PathBuf,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    version: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Pending {
    id: String,
    value: Zeroizing<String>,
}

impl FileSecret {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(crate) fn current(&self) -> Result<Option<Version>, SecretError> {
        let Some(value) = read(&self.path)? else { return Ok(None) };
        let named: Named =
            serde_json::from_str(&value).map_err(|_| SecretError::Unusable("not JSON".into()))?;
        Ok(Some(Version { id: named.version.unwrap_or_else(|| FIRST.to_owned()), value }))
    }

    pub(crate) fn pending(&self) -> Result<Option<Version>, SecretError> {
        let Some(text) = read(&self.sibling("pending"))? else { return Ok(None) };
        let pending: Pending = serde_json::from_str(&text)
            .map_err(|_| SecretError::Unusable("not a pending version".into()))?;
        Ok(Some(Version { id: pending.id, value: pending.value }))
    }

    pub(crate) fn put_pending(&self, version: &Version) -> Result<(), SecretError> {
        let _lock = self.lock()?;
        let pending = Pending { id: version.id.clone(), value: version.value.clone() };
        let json = Zeroizing::new(serde_json::to_string(&pending).expect("two strings are JSON"));
        write(&self.sibling("pending"), json.as_bytes())
    }

    pub(crate) fn promote(&self, id: &str, replaced: &str) -> Result<(), SecretError> {
        let _lock = self.lock()?;
        let current = self.current()?;
        let current = current.as_ref().map(|version| version.id.as_str());
        if current == Some(id) {
            return Ok(());
        }
        let pending = self.pending()?.filter(|pending| pending.id == id);
        let (Some(pending), true) = (pending, current.is_none_or(|current| current == replaced))
        else {
            return Err(SecretError::Moved);
        };
        // This puts the version into use. If the process ends before the next line, the version is both pending
        // and in use, which may also happen in Secrets Manager.
        write(&self.path, pending.value.as_bytes())?;
        fs::remove_file(self.sibling("pending")).map_err(unavailable)
    }

    fn sibling(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }

    /// Locks the secret for one writer. Closing the file releases the lock, as does the end of the process.
    fn lock(&self) -> Result<File, SecretError> {
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(self.sibling("lock")).map_err(unavailable)?;
        lock.lock().map_err(unavailable)?;
        Ok(lock)
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, SecretError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable(error)),
    };
    // The file may have been copied here with a different mode. Its mode is changed through the open file, because
    // the path may already lead to another file.
    let mode = file.metadata().map_err(unavailable)?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(unavailable)?;
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(unavailable)?;
    Ok(Some(text))
}

/// Writes the file completely or not at all, with mode 0600 from the first byte.
fn write(path: &Path, content: &[u8]) -> Result<(), SecretError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(unavailable)?;
    file.write_all(content).map_err(unavailable)?;
    file.as_file().sync_all().map_err(unavailable)?;
    file.persist(path).map_err(|error| unavailable(error.error))?;
    Ok(())
}

fn unavailable(error: io::Error) -> SecretError {
    SecretError::Unavailable(Arc::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(id: &str) -> Version {
        Version { id: id.to_owned(), value: format!(r#"{{"version":"{id}"}}"#).into() }
    }

    fn id(version: Option<Version>) -> Option<String> {
        version.map(|version| version.id)
    }

    #[test]
    fn a_pending_version_is_put_into_use() {
        let folder = tempfile::tempdir().unwrap();
        let secret = FileSecret::new(&folder.path().join("secret.json"));
        assert_eq!((secret.current().unwrap(), secret.pending().unwrap()), (None, None));
        secret.put_pending(&version("a")).unwrap();
        assert_eq!(id(secret.current().unwrap()), None);
        secret.promote("a", FIRST).unwrap();
        assert_eq!(secret.current().unwrap(), Some(version("a")));
        assert_eq!(secret.pending().unwrap(), None);
        secret.promote("a", FIRST).unwrap();
        let mode = fs::metadata(&secret.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn only_the_pending_version_replaces_the_version_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let secret = FileSecret::new(&folder.path().join("secret.json"));
        fs::write(&secret.path, "{}").unwrap();
        assert_eq!(id(secret.current().unwrap()).as_deref(), Some(FIRST));
        for (pending, id, replaced) in [("a", "a", "z"), ("a", "b", FIRST)] {
            secret.put_pending(&version(pending)).unwrap();
            assert!(matches!(secret.promote(id, replaced), Err(SecretError::Moved)));
        }
        secret.promote("a", FIRST).unwrap();
    }

    #[test]
    fn a_file_readable_by_others_is_restricted() {
        let folder = tempfile::tempdir().unwrap();
        let secret = FileSecret::new(&folder.path().join("secret.json"));
        fs::write(&secret.path, "{}").unwrap();
        fs::set_permissions(&secret.path, fs::Permissions::from_mode(0o644)).unwrap();
        secret.current().unwrap();
        let mode = fs::metadata(&secret.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_not_json_is_refused_without_quoting_it() {
        let folder = tempfile::tempdir().unwrap();
        let secret = FileSecret::new(&folder.path().join("secret.json"));
        fs::write(&secret.path, "hush").unwrap();
        let error = secret.current().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"));
    }
}
