//! The folders and files of a checkout.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::ui;

/// The files that identify the top folder of a checkout.
const LANDMARKS: [&str; 3] = ["Cargo.toml", "template.yaml", "tools/xtask/Cargo.toml"];

/// A checkout of Latchkey with its folder of local state.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
    local: PathBuf,
}

/// The current directory is not in a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the current directory is not in a checkout of Latchkey: change to a checkout")]
pub struct NotInProject;

/// The folder of local state cannot be written to. The message is one line.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write to {folder}: {reason}. Make the folder writable, or choose another with --local"
)]
pub struct LocalFolderError {
    folder: String,
    reason: String,
}

impl Project {
    /// Finds the checkout of the current directory, or else the one that `cargo run --manifest-path` names.
    ///
    /// The folder in which this program was compiled must not matter, because a copied checkout contains programs
    /// that were compiled in the original.
    ///
    /// # Errors
    /// When neither exists.
    pub fn find() -> Result<Self, NotInProject> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let starts = [std::env::current_dir().ok(), manifest];
        let root = starts.into_iter().flatten().find_map(|start| Self::root_of(&start));
        root.map(Self::at).ok_or(NotInProject)
    }

    /// The checkout whose top folder is `root`.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { local: root.join(".local"), root }
    }

    /// The checkout of a test. Cargo runs a test in the folder of its package.
    ///
    /// # Panics
    /// When the current directory is not in a checkout.
    #[must_use]
    pub fn here() -> Self {
        Self::find().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The first folder with all landmarks, from `start` upwards.
    fn root_of(start: &Path) -> Option<PathBuf> {
        let is_root = |folder: &&Path| LANDMARKS.iter().all(|file| folder.join(file).is_file());
        start.ancestors().find(is_root).map(Path::to_owned)
    }

    /// The same checkout with another folder of local state.
    #[must_use]
    pub fn with_local(self, local: PathBuf) -> Self {
        Self { local, ..self }
    }

    /// The top folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of `template.yaml`.
    #[must_use]
    pub fn template(&self) -> PathBuf {
        self.root.join("template.yaml")
    }

    /// The folder for tools that are installed only for this checkout.
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.root.join(".tools")
    }

    /// The path of a file in the folder of local state. The folder contains the database, development keys and emails.
    #[must_use]
    pub fn local(&self, name: &str) -> PathBuf {
        self.local.join(name)
    }

    /// Creates the folder of local state. Only its owner may access it, because it contains password hashes and keys.
    ///
    /// # Errors
    /// When it cannot be created or written to.
    pub fn make_local(&self) -> Result<(), LocalFolderError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.local)
            .and_then(|()| tempfile::tempfile_in(&self.local).map(drop))
            .map_err(|error| LocalFolderError {
                folder: self.local.display().to_string(),
                reason: ui::reason(&error),
            })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with the landmarks and a package.
    fn checkout() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for package in ["tools/xtask", "functions/a/src"] {
            fs::create_dir_all(folder.path().join(package)).unwrap();
        }
        for file in LANDMARKS.into_iter().chain(["functions/a/Cargo.toml"]) {
            fs::write(folder.path().join(file), "").unwrap();
        }
        folder
    }

    #[test]
    fn the_root_is_found_from_every_folder_of_the_checkout() {
        let checkout = checkout();
        for start in ["", "tools/xtask", "functions", "functions/a/src"] {
            let found = Project::root_of(&checkout.path().join(start));
            assert_eq!(found.as_deref(), Some(checkout.path()), "{start}");
        }
        assert_eq!(Project::root_of(tempfile::tempdir().unwrap().path()), None);
    }

    #[test]
    fn an_unusable_local_folder_is_reported_with_advice() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let project = Project::here();
        for local in [file.clone(), file.join("below"), PathBuf::from("/proc")] {
            let error = project.clone().with_local(local.clone()).make_local().unwrap_err();
            let error = error.to_string();
            assert!(error.contains(&local.display().to_string()), "{error}");
            assert!(error.contains("--local") && !error.contains("os error"), "{error}");
        }
    }
}
