//! Files that list refused passwords. They are read when the first password is set.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use process::{Fault, FaultKind};

/// A list that can be read from a file.
pub(crate) trait List: Sized {
    /// The reason why a file is not such a list.
    type Error: Error + Send + Sync + 'static;

    /// Reads the file. Blocks.
    fn read(path: &Path) -> Result<Self, Self::Error>;
}

/// A file with a list. It is not read until the list is needed.
pub(crate) struct ListFile<L> {
    /// The variable that names the file.
    variable: &'static str,
    path: PathBuf,
    list: OnceLock<L>,
}

impl<L: List> ListFile<L> {
    pub(crate) fn new(variable: &'static str, path: PathBuf) -> Self {
        Self { variable, path, list: OnceLock::new() }
    }

    /// Returns the list. The first call reads the file. If that fails, the next call tries again.
    ///
    /// The first call blocks its thread: about thirty milliseconds for ten million breached passwords. An
    /// instance handles one request at a time, so no other request waits.
    pub(crate) fn get(&self) -> Result<&L, ListError> {
        if let Some(list) = self.list.get() {
            return Ok(list);
        }
        let list = L::read(&self.path)
            .map_err(|reason| ListError { variable: self.variable, reason: reason.into() })?;
        // If two calls read the file concurrently, one of the two equal results is kept.
        Ok(self.list.get_or_init(|| list))
    }
}

impl<L> fmt::Debug for ListFile<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListFile({})", self.path.display())
    }
}

/// A configured list cannot be read. Until it can be read, no new password is accepted, because none can be checked.
#[derive(Debug, thiserror::Error)]
#[error("the file named by {variable} is unusable")]
pub struct ListError {
    variable: &'static str,
    #[source]
    reason: Box<dyn Error + Send + Sync>,
}

impl Fault for ListError {
    fn kind(&self) -> FaultKind {
        FaultKind::Internal
    }
}
