//! The most common passwords, and whether a text is one of them.

use std::cmp::Ordering;

/// The first 3,000 passwords of at least 8 characters of a list by frequency (`data/README.md`),
/// lower-case ASCII, one a line, sorted.
const LIST: &str = include_str!("../data/common-passwords.txt");

/// Whether `text`, which the caller has lower-cased, is in the list.
///
/// Searches the text of the file by halves, so that there is nothing to build at the start and no
/// table beside it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_as_the_search_needs_it() {
        let lines: Vec<&str> = LIST.lines().collect();
        assert_eq!(lines.len(), 3_000);
        assert!(lines.is_sorted_by(|a, b| a < b), "sorted, and none is there twice");
        assert!(LIST.is_ascii(), "so that any byte may be the middle");
        assert!(LIST.ends_with('\n') && !LIST.contains('\r'));
        for line in lines {
            assert!(line.len() >= 8, "{line}");
            assert_eq!(line, line.to_lowercase());
        }
    }

    #[test]
    fn finds_every_line_and_nothing_else() {
        for line in LIST.lines() {
            assert!(contains(line), "{line}");
            assert!(!contains(&line[1..]) || LIST.lines().any(|other| other == &line[1..]));
            assert!(!contains(&format!("{line}\n")));
            assert!(!contains(&format!("{line}~")));
        }
        for text in ["", "\n", "a", "~~~~~~~~~", "!", "é", "zzzzzzzzzzzzzzzzz", "password\n"] {
            assert!(!contains(text), "{text:?}");
        }
        // Known to be frequent, so that the list cannot be another one.
        for text in ["password", "12345678", "qwertyuiop", "trustno1", "password123"] {
            assert!(contains(text), "{text}");
        }
    }
}
