//! The breached-password filter: its file format, lookup and construction.
//!
//! A filter tells whether a password is in a list, without containing the list. It recognizes every listed password.
//! It also refuses one in 65,536 unlisted passwords, so a few users must choose another password needlessly.
//!
//! The file format, with numbers in little-endian order:
//!
//! | bytes | content |
//! |---|---|
//! | 0 to 8 | `LKBREACH` |
//! | 8 to 12 | the version, 1 |
//! | 12 to 20 | the number of entries |
//! | 20 to 40 | the descriptor of the binary fuse filter |
//! | 40 to 48 | the length of the fingerprints, in bytes |
//! | 48 to 80 | the SHA-256 digest of all other bytes |
//! | from 80 | the fingerprints, 16 bits each |
//!
//! An entry is the first eight bytes of a password's SHA-1 digest, because the lists of Have I Been Pwned contain
//! SHA-1 digests. SHA-1 protects nothing here: the lists are public.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::{fmt, str};

use aws_lc_rs::digest;
use xorf::{BinaryFuse16, BinaryFuse16Ref, DmaSerializable, Filter, FilterRef};

use crate::Password;
use crate::list::List;

const MAGIC: [u8; 8] = *b"LKBREACH";
const VERSION: u32 = 1;
const DESCRIPTOR_LEN: usize = BinaryFuse16::DESCRIPTOR_LEN;
/// The length of the header without its checksum.
const PREFIX_LEN: usize = MAGIC.len() + 4 + 8 + DESCRIPTOR_LEN + 8;
const HEADER_LEN: usize = PREFIX_LEN + digest::SHA256_OUTPUT_LEN;

/// One in this many unlisted passwords is refused too, because fingerprints have 16 bits.
pub const FALSE_POSITIVE_ONE_IN: u32 = 65_536;

/// The maximum number of entries. At 18 bits each, they fit into Lambda's 250 MB together with a function.
const MAX_ENTRIES: usize = 100_000_000;

// Fingerprints are used as they are in the file, without conversion.
const _: () = assert!(cfg!(target_endian = "little"), "the file is little-endian");

/// A filter that recognizes breached passwords, with rare false positives.
pub struct BreachedFilter {
    entries: u64,
    descriptor: [u8; DESCRIPTOR_LEN],
    fingerprints: Fingerprints,
}

/// Bytes at an even address, so that they can be read as 16-bit numbers in place.
struct Fingerprints {
    /// One byte longer than the content, which can therefore start at an even address even if the allocation does not.
    bytes: Vec<u8>,
    start: usize,
}

impl Fingerprints {
    /// Creates `len` zero bytes.
    fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len + 1];
        let start = bytes.as_ptr().addr() % 2;
        Self { bytes, start }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.start..][..self.bytes.len() - 1]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        let len = self.bytes.len() - 1;
        &mut self.bytes[self.start..][..len]
    }
}

impl BreachedFilter {
    /// Reads the file at `path`. Blocks the thread.
    ///
    /// # Errors
    /// When the file cannot be read or is not a complete filter written by [`BreachedFilter::write`].
    pub fn read(path: &Path) -> Result<Self, FilterError> {
        let mut file = File::open(path)?;
        let mut header = [0; HEADER_LEN];
        file.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => FilterError::Foreign,
            _ => FilterError::Unreadable(error),
        })?;
        let mut rest = &header[..];
        if take(&mut rest) != MAGIC {
            return Err(FilterError::Foreign);
        }
        let version = u32::from_le_bytes(take(&mut rest));
        if version != VERSION {
            return Err(FilterError::Version(version));
        }
        let entries = u64::from_le_bytes(take(&mut rest));
        let descriptor = take(&mut rest);
        let len = u64::from_le_bytes(take(&mut rest));
        // Check the length before allocating the memory.
        if file.metadata()?.len().checked_sub(HEADER_LEN as u64) != Some(len) {
            return Err(FilterError::Length);
        }
        let len = usize::try_from(len).map_err(|_| FilterError::Length)?;
        if !fits(&descriptor, len) {
            return Err(FilterError::Damaged);
        }
        let mut fingerprints = Fingerprints::zeroed(len);
        file.read_exact(fingerprints.get_mut())?;
        let filter = Self { entries, descriptor, fingerprints };
        if filter.header() == header { Ok(filter) } else { Err(FilterError::Damaged) }
    }

    /// Writes the filter in the format that [`BreachedFilter::read`] reads.
    ///
    /// # Errors
    /// When writing to `output` fails.
    pub fn write(&self, output: &mut dyn Write) -> io::Result<()> {
        output.write_all(&self.header())?;
        output.write_all(self.fingerprints.get())
    }

    /// Whether exactly this password, in NFC, is in the list. Also true for one in [`FALSE_POSITIVE_ONE_IN`] unlisted
    /// passwords.
    #[must_use]
    pub fn contains(&self, password: &Password) -> bool {
        self.has(key(password))
    }

    fn has(&self, key: u64) -> bool {
        BinaryFuse16Ref::from_dma(&self.descriptor, self.fingerprints.get()).contains(&key)
    }

    /// The number of distinct passwords in the filter.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The size of the written file, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        HEADER_LEN + self.fingerprints.get().len()
    }

    fn header(&self) -> Vec<u8> {
        let fingerprints = self.fingerprints.get();
        let mut header = Vec::with_capacity(HEADER_LEN);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(self.entries.to_le_bytes());
        header.extend(self.descriptor);
        header.extend((fingerprints.len() as u64).to_le_bytes());
        let mut checksum = digest::Context::new(&digest::SHA256);
        checksum.update(&header);
        checksum.update(fingerprints);
        header.extend(checksum.finish().as_ref());
        header
    }
}

impl List for BreachedFilter {
    type Error = FilterError;

    fn read(path: &Path) -> Result<Self, FilterError> {
        Self::read(path)
    }
}

impl fmt::Debug for BreachedFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BreachedFilter({} entries)", self.entries)
    }
}

/// Takes the next `N` bytes of a header.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (taken, after) = rest.split_first_chunk().expect("a header has all of its parts");
    *rest = after;
    *taken
}

/// Whether `len` bytes of fingerprints match the descriptor. A lookup trusts the descriptor and would otherwise read
/// beyond the end of the fingerprints.
fn fits(mut descriptor: &[u8], len: usize) -> bool {
    let _seed: [u8; 8] = take(&mut descriptor);
    let [segment, mask, segments] =
        std::array::from_fn(|_| u64::from(u32::from_le_bytes(take(&mut descriptor))));
    // A lookup reads one fingerprint in each of three consecutive segments. The first of them begins within the first
    // `segments` fingerprints.
    segment.is_power_of_two()
        && mask == segment - 1
        && segments.is_multiple_of(segment)
        && segments > 0
        && len as u64 == 2 * (segments + 2 * segment)
}

/// The key that represents a password in the filter.
fn key(password: &Password) -> u64 {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password.text().as_bytes());
    u64::from_be_bytes(take(&mut hash.as_ref()))
}

/// The reason why a file is not a valid filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[from] io::Error),
    /// The file does not begin with the header of a filter.
    #[error(
        "it is not a filter of breached passwords: build one with `cargo xtask passwords filter`"
    )]
    Foreign,
    /// This build does not support the version of the file.
    #[error("it has version {0}, but this build reads only version {VERSION}: rebuild the filter")]
    Version(u32),
    /// The length of the file differs from the one in its header.
    #[error("it has the wrong length: data was cut off or added")]
    Length,
    /// The checksum does not match the content.
    #[error("it is damaged: its checksum does not match")]
    Damaged,
}

/// Collects passwords for a [`BreachedFilter`].
pub struct FilterBuilder {
    keys: Vec<u64>,
    min_count: u64,
    limit: usize,
    hashes: u64,
    words: u64,
}

impl FilterBuilder {
    /// Creates an empty builder that ignores hashes with a count below `min_count`.
    #[must_use]
    pub fn new(min_count: u64) -> Self {
        Self { keys: Vec::new(), min_count, limit: MAX_ENTRIES, hashes: 0, words: 0 }
    }

    /// Adds a line: a password, or a SHA-1 hash in 40 hex digits, optionally followed by a colon and a count of its
    /// occurrences. A line break at the end and empty lines are ignored.
    ///
    /// # Errors
    /// When the line is neither a hash nor a possible password, in which case it is not added, or when the filter is
    /// full.
    pub fn add(&mut self, line: &[u8]) -> Result<(), BuildError> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(());
        }
        let text = str::from_utf8(line).map_err(|_| BuildError::NotUtf8)?;
        let (hash, count) = match text.split_once(':') {
            Some((hash, count)) if is_number(count) => (hash, Some(count)),
            _ => (text, None),
        };
        let is_hex = hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let key = match (hash.len(), count) {
            (40, count) if is_hex => {
                // A count that overflows is above every minimum.
                if count.is_some_and(|count| count.parse().unwrap_or(u64::MAX) < self.min_count) {
                    return Ok(());
                }
                self.hashes += 1;
                u64::from_str_radix(&hash[..16], 16).map_err(|_| BuildError::OtherHash)?
            }
            // This is an NTLM hash, or a suffix from the range API of Have I Been Pwned. Adding it as a password would
            // be useless, and nobody would notice.
            (32.., Some(_)) if is_hex => return Err(BuildError::OtherHash),
            _ => {
                let word = Password::parse(text.to_owned()).map_err(|_| BuildError::TooLong)?;
                self.words += 1;
                key(&word)
            }
        };
        self.keys.push(key);
        // Sorting also removes duplicates. Afterwards at least half of the space is free, so sorts remain rare.
        if self.keys.len() > 2 * self.limit {
            self.sort()?;
        }
        Ok(())
    }

    /// The number of hashes added.
    #[must_use]
    pub fn hashes(&self) -> u64 {
        self.hashes
    }

    /// The number of plain passwords added.
    #[must_use]
    pub fn words(&self) -> u64 {
        self.words
    }

    /// Builds the filter.
    ///
    /// # Errors
    /// When there are no passwords or too many, or when the construction fails.
    pub fn build(mut self) -> Result<BreachedFilter, BuildError> {
        self.sort()?;
        if self.keys.is_empty() {
            return Err(BuildError::Empty);
        }
        let filter = BinaryFuse16::try_from(&*self.keys).map_err(|_| BuildError::Failed)?;
        let mut descriptor = [0; DESCRIPTOR_LEN];
        filter.dma_copy_descriptor_to(&mut descriptor);
        let mut fingerprints = Fingerprints::zeroed(filter.dma_fingerprints().len());
        fingerprints.get_mut().copy_from_slice(filter.dma_fingerprints());
        Ok(BreachedFilter { entries: self.keys.len() as u64, descriptor, fingerprints })
    }

    /// Sorts the entries and removes duplicates.
    fn sort(&mut self) -> Result<(), BuildError> {
        self.keys.sort_unstable();
        self.keys.dedup();
        if self.keys.len() > self.limit { Err(BuildError::TooMany) } else { Ok(()) }
    }
}

impl fmt::Debug for FilterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilterBuilder({} hashes, {} words)", self.hashes, self.words)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The reason why a filter cannot be built from the input. It never quotes the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A line is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A line is longer than any password.
    #[error("longer than {} bytes, the maximum for a password", crate::MAX_PASSWORD_BYTES)]
    TooLong,
    /// A line is a hash of another kind.
    #[error("a hash, but not SHA-1 in 40 hex digits")]
    OtherHash,
    /// The input contains no password.
    #[error("the list contains no password")]
    Empty,
    /// There are more passwords than fit into a Lambda layer.
    #[error("there are more than {MAX_ENTRIES} passwords, which do not fit into a Lambda layer")]
    TooMany,
    /// A thousand attempts to build the filter failed.
    #[error("the filter could not be built")]
    Failed,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// SHA-1 of "password", as Have I Been Pwned writes it.
    const PASSWORD: &str = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8";

    fn password(text: &str) -> Password {
        Password::parse(text.to_owned()).unwrap()
    }

    fn build<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<BreachedFilter, BuildError> {
        let mut builder = FilterBuilder::new(0);
        for line in lines {
            builder.add(line.as_bytes())?;
        }
        builder.build()
    }

    fn file(filter: &BreachedFilter) -> Vec<u8> {
        let mut bytes = Vec::new();
        filter.write(&mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<BreachedFilter, FilterError> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("filter");
        fs::write(&path, bytes).unwrap();
        BreachedFilter::read(&path)
    }

    /// An endless iterator over distinct texts.
    fn texts(prefix: &str) -> impl Iterator<Item = String> {
        (0..).map(move |n| format!("{prefix}{n}"))
    }

    #[test]
    fn a_line_is_a_hash_or_a_password() {
        for line in [
            PASSWORD,
            &PASSWORD.to_lowercase(),
            &format!("{PASSWORD}:1"),
            &format!("{PASSWORD}:10434004\r\n"),
            &format!("{PASSWORD}:99999999999999999999999"),
            "password",
            "password\n",
            "password\r\n",
        ] {
            let filter = build([line]).unwrap();
            assert_eq!(filter.entries(), 1, "{line:?}");
            assert!(filter.contains(&password("password")), "{line:?}");
        }
        // A line that is almost a hash, or contains a colon, is a password.
        for line in [
            &PASSWORD[..39],
            &format!("{PASSWORD}0"),
            &format!("{PASSWORD}:"),
            &format!("{PASSWORD}:x"),
            &format!("{PASSWORD} :1"),
            "password:1",
            "deadbeef:12",
            " password ",
            "8846F7EAEE8FB117AD06BDD830B7586C",
        ] {
            let filter = build([line]).unwrap();
            assert!(filter.contains(&password(line)), "{line:?}");
            assert!(!filter.contains(&password("password")), "{line:?}");
        }
    }

    #[test]
    fn passwords_match_exactly_in_nfc() {
        let filter = build(["cafe\u{301} am see"]).unwrap();
        for given in ["cafe\u{301} am see", "caf\u{e9} am see"] {
            assert!(filter.contains(&password(given)));
        }
        for given in ["Caf\u{e9} am see", "caf\u{e9} am see ", "cafe am see"] {
            assert!(!filter.contains(&password(given)), "{given}");
        }
    }

    #[test]
    fn duplicates_are_one_entry() {
        let line = format!("{PASSWORD}:3");
        let filter = build(["password", "other", &line, "", "password\n", "\r\n"]).unwrap();
        assert_eq!(filter.entries(), 2);
    }

    #[test]
    fn hashes_below_the_minimum_count_are_left_out() {
        let mut builder = FilterBuilder::new(5);
        let hash = |text: &str| {
            hex::encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
        };
        for line in ["often:5", "always:99999999999999999999999", "rarely:4", "uncounted"] {
            let (text, count) = line.split_once(':').unwrap_or((line, ""));
            let colon = if count.is_empty() { "" } else { ":" };
            builder.add(format!("{}{colon}{count}", hash(text)).as_bytes()).unwrap();
        }
        builder.add(b"plaintext").unwrap();
        assert_eq!((builder.hashes(), builder.words()), (3, 1));
        let filter = builder.build().unwrap();
        let found = ["often", "always", "rarely", "uncounted", "plaintext"]
            .map(|text| filter.contains(&password(text)));
        assert_eq!(found, [true, true, false, true, true]);
    }

    #[test]
    fn invalid_input_is_refused() {
        let mut builder = FilterBuilder::new(0);
        assert_eq!(builder.add(b"caf\xe9"), Err(BuildError::NotUtf8));
        assert_eq!(builder.add(&[b'x'; 1_025]), Err(BuildError::TooLong));
        // An NTLM hash, and a suffix from the range API of Have I Been Pwned.
        for hash in ["8846F7EAEE8FB117AD06BDD830B7586C:3", &format!("{}:3", &PASSWORD[5..])] {
            assert_eq!(builder.add(hash.as_bytes()), Err(BuildError::OtherHash));
        }
        assert!(matches!(builder.build(), Err(BuildError::Empty)));
        assert!(matches!(build(["", "\n"]), Err(BuildError::Empty)));
    }

    #[test]
    fn the_number_of_distinct_passwords_is_limited() {
        let limited = || FilterBuilder { limit: 10, ..FilterBuilder::new(0) };
        let mut builder = limited();
        for n in 0..1_000 {
            builder.add(format!("word{}", n % 10).as_bytes()).unwrap();
            assert!(builder.keys.len() <= 20);
        }
        assert_eq!(builder.build().unwrap().entries(), 10);
        let mut builder = limited();
        assert_eq!(
            texts("word").take(21).try_for_each(|word| builder.add(word.as_bytes())),
            Err(BuildError::TooMany)
        );
        let mut builder = limited();
        texts("word").take(11).try_for_each(|word| builder.add(word.as_bytes())).unwrap();
        assert!(matches!(builder.build(), Err(BuildError::TooMany)));
    }

    #[test]
    fn every_listed_password_is_found_and_hardly_any_other() {
        let listed: Vec<_> = texts("listed").take(100_000).collect();
        let filter = build(listed.iter().map(String::as_str)).unwrap();
        let filter = read(&file(&filter)).unwrap();
        assert_eq!(filter.entries(), 100_000);
        assert!(listed.iter().all(|text| filter.contains(&password(text))));
        let others = texts("other").take(100_000);
        let wrong = others.filter(|text| filter.contains(&password(text))).count();
        // One or two are expected. The texts never change, so neither does the number.
        assert!(wrong < 10, "{wrong} of 100,000");
    }

    #[test]
    fn an_incomplete_file_is_refused() {
        let good = file(&build(["password", "other", "third"]).unwrap());
        assert!(read(&good).is_ok());
        for len in [0, 1, 79] {
            assert!(matches!(read(&good[..len]), Err(FilterError::Foreign)), "{len}");
        }
        for len in 80..good.len() {
            assert!(matches!(read(&good[..len]), Err(FilterError::Length)), "{len}");
        }
        assert!(matches!(read(&[&good[..], b"\0"].concat()), Err(FilterError::Length)));
        assert!(matches!(read(&[b'x'; 4_096]), Err(FilterError::Foreign)));
        assert!(matches!(read(&[0; 4_096]), Err(FilterError::Foreign)));
        let missing = BreachedFilter::read(Path::new("/nowhere/at/all"));
        assert!(matches!(missing, Err(FilterError::Unreadable(_))));
        let mut newer = good.clone();
        newer[8] = 2;
        let error = read(&newer).unwrap_err();
        assert!(error.to_string().contains("has version 2"), "{error}");
    }

    #[test]
    fn changing_any_bit_of_a_file_is_detected() {
        let good = file(&build(["password", "other", "third"]).unwrap());
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad).is_err(), "bit {bit}");
        }
    }

    /// The checksums are correct, so only the check of the descriptor keeps a lookup within the file.
    #[test]
    fn a_descriptor_that_does_not_match_the_length_is_refused() {
        let filter = |descriptor: [u32; 3], len: usize| BreachedFilter {
            entries: 3,
            descriptor: {
                let numbers = descriptor.map(u32::to_le_bytes).concat();
                [&[7; 8], &numbers[..]].concat().try_into().unwrap()
            },
            fingerprints: Fingerprints::zeroed(len),
        };
        let good = read(&file(&filter([4, 3, 8], 32))).unwrap();
        for n in 0..10_000_u64 {
            good.has(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        for (descriptor, len) in [
            ([4, 3, 8], 30),
            ([4, 3, 8], 34),
            ([4, 3, 12], 32),
            ([4, 7, 8], 32),
            ([8, 7, 8], 32),
            ([3, 2, 9], 30),
            ([4, 3, 6], 28),
            ([4, 3, 0], 16),
            ([0, u32::MAX, 8], 16),
            ([u32::MAX, u32::MAX - 1, u32::MAX], 0),
            ([1 << 31, (1 << 31) - 1, 1 << 31], 0),
        ] {
            let bytes = file(&filter(descriptor, len));
            assert!(matches!(read(&bytes), Err(FilterError::Damaged)), "{descriptor:?}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let mut builder = FilterBuilder::new(0);
        builder.add(b"hunter22").unwrap();
        assert_eq!(format!("{builder:?}"), "FilterBuilder(0 hashes, 1 words)");
        assert_eq!(format!("{:?}", builder.build().unwrap()), "BreachedFilter(1 entries)");
    }

    proptest! {
        /// Small and large filters differ in layout.
        #[test]
        fn every_entry_is_found_at_any_size(keys in proptest::collection::btree_set(any::<u64>(), 1..3_000)) {
            let lines: BTreeSet<_> = keys.iter().map(|key| format!("{key:016x}{:024x}:1", 0)).collect();
            let filter = build(lines.iter().map(String::as_str)).unwrap();
            let filter = read(&file(&filter)).unwrap();
            prop_assert_eq!(filter.entries(), keys.len() as u64);
            prop_assert!(keys.iter().all(|key| filter.has(*key)));
        }

        #[test]
        fn lines_never_panic(line in any::<Vec<u8>>()) {
            let _ = FilterBuilder::new(0).add(&line);
        }
    }
}
