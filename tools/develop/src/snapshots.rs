//! Finds snapshots that no test uses.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The snapshot files under `root` that the file `used` does not list. `insta` writes this file when
/// `INSTA_SNAPSHOT_REFERENCES_FILE` names it.
///
/// # Errors
/// When a file or folder cannot be read.
pub fn unused(root: &Path, used: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let used = fs::read_to_string(used).context("cannot read the list of used snapshots")?;
    // insta writes paths as the compiler saw them, so the path of a file may have several spellings.
    let used: BTreeSet<_> = used.lines().filter_map(|path| fs::canonicalize(path).ok()).collect();
    let mut unused = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                // Skip build output, npm packages and hidden folders.
                let is_foreign = ["node_modules", "target"].contains(&name.as_str());
                if !path.is_symlink() && !name.starts_with('.') && !is_foreign {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "snap")
                && !used.contains(&fs::canonicalize(&path)?)
            {
                unused.push(path);
            }
        }
    }
    unused.sort();
    Ok(unused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_snapshots_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["a/snapshots", "b/node_modules", "target/a", ".hidden"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        let file = |path: &str| {
            let path = root.join(path);
            fs::write(&path, "").unwrap();
            path
        };
        let (used, left) = (file("a/snapshots/used.snap"), file("a/snapshots/left.snap"));
        for other in [
            "a/other.txt",
            "b/node_modules/package.snap",
            "target/a/built.snap",
            ".hidden/hidden.snap",
        ] {
            file(other);
        }
        let list = root.join("list");
        let spelled = root.join("a/../a/snapshots/used.snap");
        fs::write(&list, format!("{}\n{}\n", spelled.display(), used.display())).unwrap();
        assert_eq!(unused(root, &list).unwrap(), [left]);
    }
}
