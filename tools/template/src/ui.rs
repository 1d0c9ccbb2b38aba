//! Terminal output and confirmation.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdin};

use anyhow::bail;

/// Writes a line to standard output. A closed pipe is not an error.
pub fn line(text: impl Display) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Writes a line to standard error: progress, warnings, and the logs of functions.
pub fn note(text: impl Display) {
    drop(writeln!(stderr().lock(), "{text}"));
}

/// Describes an operating system error in words, without the number that Rust appends.
#[must_use]
pub fn reason(error: &std::io::Error) -> String {
    without_numbers(&error.to_string())
}

/// Removes the numbers of operating system errors from a chain of reasons, and the names of temporary files that
/// follow them.
#[must_use]
pub fn without_numbers(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        plain.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
        if let Some(path) = rest.strip_prefix(" at path \"") {
            rest = path.split_once('"').map_or("", |(_, after)| after);
        }
    }
    plain + rest
}

/// Parses an option whose value is an amount.
///
/// # Errors
/// When the value is not a finite number, or is negative.
pub fn amount(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(amount) if amount.is_finite() && amount >= 0.0 => Ok(amount),
        _ => Err("expected a non-negative number".to_owned()),
    }
}

/// Asks for confirmation.
///
/// # Errors
/// When the answer is not yes, or standard input is not a terminal.
pub fn confirm(question: &str) -> anyhow::Result<()> {
    if !stdin().is_terminal() {
        bail!("cannot ask for confirmation without a terminal: use --yes to confirm");
    }
    let mut stderr = stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        bail!("canceled: nothing was changed");
    }
}

/// Formats rows as columns, each as wide as its widest cell.
#[must_use]
pub fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_no_number() {
        let denied = std::io::Error::from_raw_os_error(13);
        assert_eq!(reason(&denied), "Permission denied");
        let text = format!("a: {denied}: b: {denied}");
        assert_eq!(without_numbers(&text), "a: Permission denied: b: Permission denied");
        let temporary = tempfile::tempfile_in("/missing").unwrap_err();
        assert_eq!(reason(&temporary), "No such file or directory");
        assert_eq!(without_numbers("no such thing (or is there?)"), "no such thing (or is there?)");
    }

    #[test]
    fn an_amount_is_finite_and_not_negative() {
        assert_eq!(amount("0"), Ok(0.0));
        assert_eq!(amount("0.5"), Ok(0.5));
        for text in ["-1", "nan", "inf", "1e999", "many", ""] {
            assert!(amount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a".into(), "bcd".into()], ["efg".into(), "h".into()]];
        assert_eq!(columns(&rows), ["a    bcd", "efg  h"]);
    }
}
