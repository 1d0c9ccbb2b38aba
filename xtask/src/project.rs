//! Where things are in the repository.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The repository.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
    local: PathBuf,
}

impl Project {
    /// The repository that this program was built in.
    #[must_use]
    pub fn here() -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = package.parent().unwrap_or(package).to_owned();
        Self { local: root.join(".local"), root }
    }

    /// The same with another folder of local state.
    #[must_use]
    pub fn with_local(self, local: PathBuf) -> Self {
        Self { local, ..self }
    }

    /// The top folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `template.yaml`.
    #[must_use]
    pub fn template(&self) -> PathBuf {
        self.root.join("template.yaml")
    }

    /// The folder of tools that were installed for this repository alone.
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.root.join(".tools")
    }

    /// A file in the folder of local state: database, development keys, the running server.
    #[must_use]
    pub fn local(&self, name: &str) -> PathBuf {
        self.local.join(name)
    }

    /// Makes the folder of local state, for its owner alone: passwords' hashes and keys are in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_local(&self) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.local)
    }
}
