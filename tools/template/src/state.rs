//! `.local/dev.json`: how other commands find the running dev server.
//!
//! The server locks the file for as long as it runs, and the operating system releases the lock however the
//! server ends. An unlocked file therefore belongs to a server that has ended, even if another process now has
//! the server's process id.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::project::Project;
use crate::ui;

/// The addresses and settings of the running dev server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevState {
    /// The process id of the server.
    pub pid: i32,
    /// The URL of the API.
    pub url: String,
    /// The URL of the database.
    pub database: String,
    /// The name of the users' table.
    pub users_table: String,
    /// The name of the keys' table.
    pub keys_table: String,
    /// The environment of the functions, which contains no secret.
    pub environment: BTreeMap<String, String>,
}

/// The file with the published state. Dropping this value deletes the file, unless another server has replaced it.
#[derive(Debug)]
pub struct Published {
    path: PathBuf,
    /// Keeps the lock until this value is dropped.
    file: File,
}

/// The file cannot be read, so it is unknown whether a dev server is running. The message is one line.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {reason}. Make it readable, or choose another folder with --local")]
pub struct StateError {
    path: String,
    reason: String,
}

fn path(project: &Project) -> PathBuf {
    project.local("dev.json")
}

impl DevState {
    /// Publishes the state for other commands.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn publish(&self, project: &Project) -> io::Result<Published> {
        let path = path(project);
        // Only the owner can read this file. Lock it before it becomes visible to other commands.
        let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(serde_json::to_string(self)?.as_bytes())?;
        file.as_file().lock()?;
        let file = file.persist(&path)?;
        Ok(Published { path, file })
    }

    /// The state of the running dev server; `None` if no server is running.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_running(project: &Project) -> Result<Option<Self>, StateError> {
        let path = path(project);
        read(&path).map_err(|error| StateError {
            path: path.display().to_string(),
            reason: ui::reason(&error),
        })
    }
}

/// The content of the file at `path`; `None` unless the server that wrote it is still running.
fn read(path: &Path) -> io::Result<Option<DevState>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
        Ok(()) => return Ok(None),
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text).ok())
}

impl Drop for Published {
    fn drop(&mut self) {
        let inode = |file: io::Result<fs::Metadata>| file.ok().map(|file| file.ino());
        if inode(fs::metadata(&self.path)) == inode(self.file.metadata()) {
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(pid: i32, url: &str) -> DevState {
        DevState {
            pid,
            url: url.to_owned(),
            database: String::new(),
            users_table: String::new(),
            keys_table: String::new(),
            environment: BTreeMap::new(),
        }
    }

    #[test]
    fn the_file_is_deleted_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::here().with_local(folder.path().to_owned());
        let own = std::process::id().cast_signed();
        let (first, second) = (state(own, "first"), state(own, "second"));
        let published = first.publish(&project).unwrap();
        assert_eq!(DevState::of_running(&project).unwrap(), Some(first));
        let later = second.publish(&project).unwrap();
        drop(published);
        assert_eq!(DevState::of_running(&project).unwrap(), Some(second));
        drop(later);
        assert_eq!(DevState::of_running(&project).unwrap(), None);
    }

    /// The process id proves nothing: another process, even this one, may have the same id by now.
    #[test]
    fn a_file_without_a_lock_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::here().with_local(folder.path().to_owned());
        let own = state(std::process::id().cast_signed(), "http://127.0.0.1:1");
        let published = own.publish(&project).unwrap();
        let path = folder.path().join("dev.json");
        // The file of a server that was killed.
        let left = fs::read(&path).unwrap();
        assert_eq!(read(&path).unwrap(), Some(own));
        drop(published);
        fs::write(&path, left).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        fs::write(&path, "{").unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn only_its_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let project = Project::here().with_local(folder.path().to_owned());
        let _published = state(1, "").publish(&project).unwrap();
        let mode = fs::metadata(folder.path().join("dev.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
