//! Reads a file line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::Reason;

/// The maximum length of a line. An account takes at most a few kilobytes, but another system may also export profiles.
const MAX_BYTES: usize = 1024 * 1024;

const BUFFER: usize = 64 * 1024;

/// A line with its number, or the reason why it cannot be read.
type NumberedLine = (u64, Result<Vec<u8>, Reason>);

/// The nonempty lines of a file, with their numbers.
#[derive(Debug)]
pub struct Lines<R = File> {
    reader: BufReader<R>,
    number: u64,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::of(File::open(path)?))
    }
}

impl<R: Read> Lines<R> {
    fn of(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(BUFFER, reader), number: 0 }
    }

    fn read(&mut self) -> io::Result<Option<NumberedLine>> {
        loop {
            let mut line = Vec::new();
            let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
            if self.reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if line.len() == MAX_BYTES && !line.ends_with(b"\n") {
                self.reader.skip_until(b'\n')?;
                return Ok(Some((self.number, Err(Reason::LineTooLong))));
            }
            let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.number == 1);
            let text = text.unwrap_or(&line).trim_ascii();
            if !text.is_empty() {
                return Ok(Some((self.number, Ok(text.to_vec()))));
            }
        }
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = io::Result<NumberedLine>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Counts the lines of a file.
///
/// # Errors
/// When the file cannot be read.
pub fn count_lines(path: &Path) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(BUFFER, File::open(path)?);
    let (mut count, mut in_line) = (0, false);
    loop {
        let buffer = reader.fill_buf()?;
        let Some(last) = buffer.last() else { return Ok(count + u64::from(in_line)) };
        in_line = *last != b'\n';
        for byte in buffer {
            count += u64::from(*byte == b'\n');
        }
        let length = buffer.len();
        reader.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<(u64, Result<String, Reason>)> {
        let lines = Lines::of(text).map(Result::unwrap);
        lines.map(|(at, line)| (at, line.map(|line| String::from_utf8(line).unwrap()))).collect()
    }

    #[test]
    fn lines_are_numbered_and_empty_ones_are_skipped() {
        let text = b"\xef\xbb\xbfa\r\n\n  \nb\n\xef\xbb\xbfc";
        let line = |text: &str| Ok(text.to_owned());
        assert_eq!(lines(text), [(1, line("a")), (4, line("b")), (5, line("\u{feff}c"))]);
        assert_eq!(lines(b""), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_and_the_next_one_is_read() {
        let text = [&vec![b'x'; MAX_BYTES * 3][..], b"\nshort\n"].concat();
        assert_eq!(lines(&text), [(1, Err(Reason::LineTooLong)), (2, Ok("short".to_owned()))]);
        let longest = [&vec![b'x'; MAX_BYTES - 1][..], b"\nshort\n"].concat();
        assert_eq!(lines(&longest).len(), 2);
        assert!(lines(&longest)[0].1.is_ok());
    }
}
