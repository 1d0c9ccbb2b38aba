//! Rebuilds functions when their sources change.
//!
//! The sources are polled a few times a second. There are about two hundred files, so a poll takes about a millisecond.
//! Notifications from the kernel would use up one of the user's few inotify instances.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use template::project::Project;
use template::ui;

use crate::binaries;
use crate::lambda::{Lambda, Replaced};

/// How often the sources are polled. A build begins once two successive polls agree, because editors and version
/// control write many files one after another.
const PAUSE: Duration = Duration::from_millis(200);

/// The folders that contain sources.
const FOLDERS: [&str; 3] = ["functions", "shared", ".cargo"];

/// The files in the root folder that affect a build.
const FILES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];

/// Folders that no build reads.
const UNUSED: [&str; 3] = ["tests", "target", "node_modules"];

/// The template. A running server reports that it has changed, but does not apply the change.
const TEMPLATE: &str = "template.yaml";

/// The modification time and the size of each source.
type Scan = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// The sources of the functions, with their last known state.
#[derive(Debug)]
pub struct Sources {
    root: PathBuf,
    seen: Scan,
}

impl Sources {
    /// Records the current state of the sources, so that later changes are noticed.
    #[must_use]
    pub fn watch(project: &Project) -> Self {
        let root = project.root().to_owned();
        Self { seen: scan(&root), root }
    }

    /// Waits until sources have changed and two successive polls agree.
    pub async fn changed(&mut self) {
        loop {
            let mut now = self.scan_again().await;
            if now == self.seen {
                continue;
            }
            loop {
                let later = self.scan_again().await;
                if later == now {
                    break;
                }
                now = later;
            }
            let template = Path::new(TEMPLATE);
            if now.get(template) != self.seen.get(template) {
                ui::note("template.yaml has changed: restart the dev server to apply it");
                self.seen.remove(template);
                self.seen.extend(now.get_key_value(template).map(|(k, v)| (k.clone(), *v)));
            }
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    async fn scan_again(&self) -> Scan {
        tokio::time::sleep(PAUSE).await;
        let root = self.root.clone();
        // A panic in the scan is a bug, not a change to the sources.
        tokio::task::spawn_blocking(move || scan(&root)).await.unwrap_or_else(|_| self.seen.clone())
    }
}

/// Finds all sources. Skips unreadable files, which are noticed as soon as they become readable.
fn scan(root: &Path) -> Scan {
    let mut seen = Scan::new();
    let mut folders: Vec<_> = FOLDERS.iter().map(PathBuf::from).collect();
    let mut files: Vec<_> = FILES.iter().chain([&TEMPLATE]).map(PathBuf::from).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).into_iter().flatten().flatten() {
            let path = folder.join(entry.file_name());
            if !is_source(&path) {
                continue;
            }
            // A link to a file is treated as the file. A link to a folder is not followed.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                _ => files.push(path),
            }
        }
    }
    for path in files {
        if let Ok(file) = fs::metadata(root.join(&path)) {
            seen.insert(path, (file.modified().ok(), file.len()));
        }
    }
    seen
}

/// Whether a build may read the file or folder at `path`, relative to the root folder.
fn is_source(path: &Path) -> bool {
    let mut inner = path.components().skip(1);
    let ignored = |part: Component<'_>| {
        part.as_os_str().as_encoded_bytes().starts_with(b".")
            || UNUSED.iter().any(|unused| part.as_os_str() == *unused)
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !inner.any(ignored) && !is_temporary(&name)
}

/// Whether a file with this name is a temporary file that an editor or a snapshot test has written next to a source.
fn is_temporary(name: &str) -> bool {
    // Vim creates `4913` to find out whether it can write to a folder.
    name == "4913"
        || name.ends_with('~')
        || (name.starts_with('#') && name.ends_with('#'))
        || [".swp", ".swx", ".swo", ".tmp", ".bak", ".orig", ".rej", ".snap.new"]
            .iter()
            .any(|end| name.ends_with(end))
        || name.contains("___jb_")
}

/// Rebuilds functions whenever sources change. Never returns.
pub async fn rebuild(
    project: &Project,
    release: bool,
    functions: &[String],
    mut sources: Sources,
    lambda: &Lambda,
) {
    loop {
        sources.changed().await;
        lambda.build_begins();
        let built = binaries::build_functions(project, release, functions).await;
        let built = built.unwrap_or_else(|error| {
            ui::note(format_args!("error: {error:#}"));
            BTreeMap::new()
        });
        let Replaced { rebuilt, broken } = lambda.build_ends(&built);
        if !broken.is_empty() {
            ui::note(format_args!(
                "error: {} of {} functions do not compile: requests to them fail until they compile",
                broken.len(),
                functions.len(),
            ));
        }
        match rebuilt.as_slice() {
            [] => {}
            [one] => ui::note(format_args!("rebuilt {one}")),
            many => ui::note(format_args!("rebuilt {} functions", many.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_a_build_reads_are_sources() {
        for (path, expected) in [
            ("functions/login/src/lib.rs", true),
            ("functions/login/Cargo.toml", true),
            ("shared/passwords/data/common-passwords.txt", true),
            ("shared/mail/templates/new_network.txt", true),
            (".cargo/config.toml", true),
            ("functions/login/tests/route/main.rs", false),
            ("functions/login/src/.lib.rs.swp", false),
            ("functions/login/src/lib.rs~", false),
            ("functions/login/src/4913", false),
            ("functions/login/src/#lib.rs#", false),
            ("functions/login/src/.#lib.rs", false),
            ("functions/login/src/lib.rs___jb_tmp___", false),
            ("functions/login/target", false),
        ] {
            assert_eq!(is_source(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn only_changes_to_sources_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let source = root.join("functions/a/src/lib.rs");
        fs::create_dir_all(source.parent().unwrap()).unwrap();
        fs::write(&source, "1").unwrap();
        let mut last = scan(root);
        let mut is_seen = |what: &str, expected: bool| {
            let now = scan(root);
            assert_eq!(now != last, expected, "{what}");
            last = now;
        };
        is_seen("nothing", false);
        drop(fs::read(&source).unwrap());
        is_seen("a read", false);
        fs::write(&source, "12").unwrap();
        is_seen("an edit", true);
        fs::write(root.join("functions/a/src/new"), "21").unwrap();
        is_seen("a new file", true);
        fs::rename(root.join("functions/a/src/new"), &source).unwrap();
        is_seen("a replaced file, as by an editor", true);
        fs::create_dir_all(root.join("shared/b/src/deep")).unwrap();
        is_seen("an empty folder", false);
        fs::write(root.join("shared/b/src/deep/x.rs"), "").unwrap();
        is_seen("a file in a new folder", true);
        fs::write(root.join("Cargo.lock"), "").unwrap();
        is_seen("the lock file", true);
        fs::write(root.join("README.md"), "").unwrap();
        is_seen("a file that no build reads", false);
        fs::remove_file(&source).unwrap();
        is_seen("a removal", true);
    }
}
