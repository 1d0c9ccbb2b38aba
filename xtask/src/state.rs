//! `.local/dev.json`: where the running dev server is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::local_secrets::write_private;
use crate::process::is_alive;
use crate::project::Project;

/// What other commands need to know of the running dev server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevState {
    /// Its process.
    pub pid: i32,
    /// The URL of the API.
    pub url: String,
    /// The URL of the database.
    pub database: String,
    /// The users' table.
    pub users_table: String,
    /// The keys' table.
    pub keys_table: String,
    /// The variables of its functions. None is a secret.
    pub environment: BTreeMap<String, String>,
}

/// The file, which goes with this value, unless another server has put its own in place of it.
#[derive(Debug)]
pub struct Published {
    path: PathBuf,
    state: DevState,
}

fn path(project: &Project) -> PathBuf {
    project.local("dev.json")
}

impl DevState {
    /// Tells other commands.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn publish(&self, project: &Project) -> io::Result<Published> {
        let path = path(project);
        write_private(&path, serde_json::to_string(self)?.as_bytes())?;
        Ok(Published { path, state: self.clone() })
    }

    /// The running dev server. `None` when there is none, or what the file tells of is gone.
    #[must_use]
    pub fn of_running(project: &Project) -> Option<Self> {
        read(&path(project))
    }
}

fn read(path: &Path) -> Option<DevState> {
    let state: DevState = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Pid::from_raw(state.pid).is_some_and(is_alive).then_some(state)
}

impl Drop for Published {
    fn drop(&mut self) {
        if read(&self.path).as_ref() == Some(&self.state) {
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
    fn goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::here().with_local(folder.path().to_owned());
        let own = std::process::id().cast_signed();
        let (first, second) = (state(own, "first"), state(own, "second"));
        let published = first.publish(&project).unwrap();
        assert_eq!(DevState::of_running(&project), Some(first));
        let later = second.publish(&project).unwrap();
        drop(published);
        assert_eq!(DevState::of_running(&project), Some(second));
        drop(later);
        assert_eq!(DevState::of_running(&project), None);
    }

    #[test]
    fn of_a_process_that_is_gone_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.json");
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let own = std::process::id().cast_signed();
        for (pid, found) in [(own, true), (gone.id().cast_signed(), false), (0, false)] {
            let state = state(pid, "");
            write_private(&path, serde_json::to_string(&state).unwrap().as_bytes()).unwrap();
            assert_eq!(read(&path).is_some(), found, "{pid}");
        }
        fs::write(&path, "{").unwrap();
        assert_eq!(read(&path), None);
    }
}
