//! The lists of common passwords.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::Path;
use std::{fs, io, str};

use crate::Password;
use crate::list::List;

/// The 3,000 most frequent passwords of at least 8 characters (`data/README.md`): lower-case ASCII, one per line,
/// sorted.
const LIST: &str = include_str!("../data/common-passwords.txt");

/// Whether the list contains `text`, which must be in lower case.
///
/// Searches the file's text directly, so that a cold start does not have to build a table.
pub(crate) fn contains(text: &str) -> bool {
    let mut rest = LIST;
    while !rest.is_empty() {
        let middle = rest.len() / 2;
        let start = rest[..middle].rfind('\n').map_or(0, |end| end + 1);
        let (before, from) = rest.split_at(start);
        let (line, after) = from.split_once('\n').unwrap_or((from, ""));
        rest = match line.cmp(text) {
            Ordering::Equal => return true,
            Ordering::Less => after,
            Ordering::Greater => before,
        };
    }
    false
}

/// An additional list from a file, in UTF-8, with one password per line.
pub(crate) struct CommonList(HashSet<Box<str>>);

impl CommonList {
    /// Whether the list contains `text`, which must be in lower case. The case of the list's lines is ignored.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.0.contains(text)
    }
}

impl List for CommonList {
    type Error = CommonListError;

    fn read(path: &Path) -> Result<Self, CommonListError> {
        let bytes = fs::read(path)?;
        let text = str::from_utf8(&bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            CommonListError::NotUtf8(before.split(|byte| *byte == b'\n').count())
        })?;
        let list: HashSet<_> = text
            .lines()
            .filter(|line| !line.is_empty())
            // Lines that are too long for a password are ignored.
            .filter_map(|line| Password::parse(line.to_owned()).ok())
            .map(|password| password.text().to_lowercase().into_boxed_str())
            .collect();
        if list.is_empty() { Err(CommonListError::Empty) } else { Ok(Self(list)) }
    }
}

/// The reason why a file is not a list of common passwords.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommonListError {
    #[error("it cannot be read")]
    Unreadable(#[from] io::Error),
    #[error("line {0} is not UTF-8")]
    NotUtf8(usize),
    #[error("it contains no password")]
    Empty,
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_list_is_sorted_unique_and_ascii() {
        let lines: Vec<&str> = LIST.lines().collect();
        assert_eq!(lines.len(), 3_000);
        assert!(lines.is_sorted_by(|a, b| a < b), "sorted, without duplicates");
        assert!(LIST.is_ascii(), "a binary search may land on any byte");
        assert!(LIST.ends_with('\n') && !LIST.contains('\r'));
        for line in lines {
            assert!(line.len() >= 8, "{line}");
            assert_eq!(line, line.to_lowercase());
        }
    }

    #[test]
    fn exactly_the_listed_passwords_are_found() {
        for line in LIST.lines() {
            assert!(contains(line), "{line}");
            assert!(!contains(&line[1..]) || LIST.lines().any(|other| other == &line[1..]));
            assert!(!contains(&format!("{line}\n")));
            assert!(!contains(&format!("{line}~")));
        }
        for text in ["", "\n", "a", "~~~~~~~~~", "!", "é", "zzzzzzzzzzzzzzzzz", "password\n"] {
            assert!(!contains(text), "{text:?}");
        }
        // Well-known frequent passwords, to show that this is the right list.
        for text in ["password", "12345678", "qwertyuiop", "trustno1", "password123"] {
            assert!(contains(text), "{text}");
        }
    }

    #[test]
    fn an_additional_list_is_normalized_to_nfc_and_lower_case() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("list");
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            CommonList::read(&path)
        };
        let long = "x".repeat(1_025);
        let text = format!("Sommerregen\r\n\ncafe\u{301} am see\n{long}\n mit Rand ");
        let list = read(text.as_bytes()).unwrap();
        for text in ["sommerregen", "caf\u{e9} am see", " mit rand "] {
            assert!(list.contains(text), "{text}");
        }
        for text in ["", "\n", "Sommerregen", "sommerregen\r", "mit rand", &long] {
            assert!(!list.contains(text), "{text:?}");
        }
        let error = |bytes| read(bytes).err().unwrap().to_string();
        assert_eq!(error(b"one\ntwo\ncaf\xe9\n"), "line 3 is not UTF-8");
        assert_eq!(error(b"\n\n"), "it contains no password");
        fs::remove_file(&path).unwrap();
        assert!(matches!(CommonList::read(&path), Err(CommonListError::Unreadable(_))));
    }
}
