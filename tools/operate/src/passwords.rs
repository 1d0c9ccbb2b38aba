//! `cargo xtask passwords`: builds the filter of breached passwords from files, and queries it.

use std::fmt::Display;
use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader, BufWriter, IsTerminal, Read, Write, stdin};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use passwords::{
    BreachedFilter, FALSE_POSITIVE_ONE_IN, FilterBuilder, MAX_PASSWORD_BYTES, Password,
};
use tempfile::NamedTempFile;
use template::project::Project;
use template::ui;

/// Commands that build and query the breached-password filter.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum PasswordsCommand {
    /// Build a filter of breached passwords from text files
    Filter {
        /// Text files with one entry per line: a SHA-1 hash in hex, in the format of Have I Been Pwned
        /// (HASH or HASH:COUNT), or a plaintext password
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Write the filter to this file [default: .local/breached-passwords.filter]
        #[arg(long, value_name = "PATH")]
        out: Option<PathBuf>,
        /// Omit hashes whose count is smaller than this
        #[arg(long, value_name = "COUNT", default_value_t = 0)]
        min_count: u64,
    },
    /// Report whether a filter contains a password typed at a prompt, or each password on standard input
    Check {
        /// Filter file
        #[arg(value_name = "FILTER")]
        filter: PathBuf,
    },
}

/// Runs a command.
///
/// # Errors
/// When a file is missing or malformed. The message is one line.
pub fn run(project: &Project, command: PasswordsCommand) -> anyhow::Result<()> {
    match command {
        PasswordsCommand::Filter { files, out, min_count } => {
            let out = if let Some(out) = out {
                out
            } else {
                project.make_local()?;
                project.local("breached-passwords.filter")
            };
            build(&files, &out, min_count)
        }
        PasswordsCommand::Check { filter } => check(&filter),
    }
}

fn build(files: &[PathBuf], out: &Path, min_count: u64) -> anyhow::Result<()> {
    // Open all files first, so that a missing file is reported now and not after an hour of reading.
    let opened: Vec<_> = files
        .iter()
        .map(|path| Ok((path, File::open(path).with_context(|| cannot("read", path))?)))
        .collect::<anyhow::Result<_>>()?;
    let started = Instant::now();
    let mut builder = FilterBuilder::new(min_count);
    for (path, file) in opened {
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        add(&mut builder, path, size, &mut BufReader::with_capacity(1 << 20, file))?;
    }
    let (hashes, words) = (builder.hashes(), builder.words());
    ui::note(format_args!(
        "building the filter from {hashes} hashes and {words} plaintext passwords"
    ));
    let filter = builder.build().context("no filter was built")?;
    write(out, &filter).with_context(|| cannot("write", out))?;
    // Read the file as functions do.
    BreachedFilter::read(out).with_context(|| format!("{} is unusable", out.display()))?;

    let shown = out.canonicalize().unwrap_or_else(|_| out.to_owned());
    let shown = shown.display();
    ui::line(format_args!(
        "{shown}: {} entries, {} bytes, in {:.1} s",
        filter.entries(),
        filter.bytes(),
        started.elapsed().as_secs_f64()
    ));
    ui::line(format_args!(
        "from {hashes} hashes and {words} plaintext passwords, without duplicates"
    ));
    ui::line(format_args!(
        "one in {FALSE_POSITIVE_ONE_IN} unlisted passwords is refused too, as a false positive"
    ));
    ui::line("to use it here:");
    ui::line(format_args!("  cargo xtask dev --env PASSWORD_BREACHED_FILTER={shown}"));
    ui::line("to publish it as a layer (see docs/passwords.md):");
    ui::line(format_args!("  zip -j breached-passwords.zip {shown}"));
    ui::line(
        "  aws lambda publish-layer-version --layer-name breached-passwords --zip-file \
         fileb://breached-passwords.zip",
    );
    Ok(())
}

fn cannot(verb: &str, path: &Path) -> String {
    format!("cannot {verb} {}", path.display())
}

/// Adds a file to the filter, line by line.
fn add(
    builder: &mut FilterBuilder,
    path: &Path,
    size: u64,
    input: &mut dyn BufRead,
) -> anyhow::Result<()> {
    // The longest password is longer than a hash with its count. The limit allows for one byte more than the longest
    // password has, so that the length check can refuse a longer password, and for the two bytes of a line break.
    let limit = u64::try_from(MAX_PASSWORD_BYTES).unwrap_or(u64::MAX).saturating_add(3);
    let at = |line: u64, what: &dyn Display| format!("{}, line {line}: {what}", path.display());
    let mut progress = Progress::new(path, size);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = Read::take(&mut *input, limit).read_until(b'\n', &mut line);
        let read = read.with_context(|| cannot("read", path))?;
        if read == 0 {
            break;
        }
        // Editors on Windows write a byte order mark.
        let text = match number {
            1 => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line),
            _ => &line,
        };
        builder.add(text).map_err(|error| anyhow::anyhow!(at(number, &error)))?;
        progress.read(number, read);
    }
    Ok(())
}

/// Reports the progress of reading a file every few seconds.
struct Progress<'a> {
    path: &'a Path,
    size: u64,
    done: u64,
    reported: Instant,
}

impl<'a> Progress<'a> {
    /// The time between two reports.
    const EVERY: Duration = Duration::from_secs(3);
    /// The number of lines between two checks of the clock.
    const LINES: u64 = 100_000;

    fn new(path: &'a Path, size: u64) -> Self {
        Self { path, size, done: 0, reported: Instant::now() }
    }

    fn read(&mut self, line: u64, bytes: usize) {
        self.done += u64::try_from(bytes).unwrap_or_default();
        if !line.is_multiple_of(Self::LINES) || self.reported.elapsed() < Self::EVERY {
            return;
        }
        self.reported = Instant::now();
        // A pipe has no size.
        let percent = (self.done * 100).checked_div(self.size);
        let percent = percent.map_or(String::new(), |percent| format!(", {percent} %"));
        ui::note(format_args!("{}: {line} lines{percent}", self.path.display()));
    }
}

/// Writes the filter atomically. All users may read it: its content is public, and Lambda runs a function as a user
/// who does not own the layer.
fn write(path: &Path, filter: &BreachedFilter) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    let mut output = BufWriter::new(&file);
    filter.write(&mut output)?;
    output.flush()?;
    drop(output);
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn check(path: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let filter =
        BreachedFilter::read(path).with_context(|| format!("{} is unusable", path.display()))?;
    let loaded = started.elapsed();
    let mut lookups = Lookups { filter: &filter, count: 0, took: Duration::ZERO };
    if stdin().is_terminal() {
        let given = rpassword::prompt_password("Password: ").context("cannot read a password")?;
        lookups.look_up(given)?;
    } else {
        for line in stdin().lock().lines() {
            lookups.look_up(line.context("cannot read standard input")?)?;
        }
    }
    if lookups.count == 0 {
        bail!("there is no password to look up");
    }
    ui::note(format_args!(
        "read {} entries in {:.1} ms; looked up {} in {:.2} µs each",
        filter.entries(),
        loaded.as_secs_f64() * 1e3,
        lookups.count,
        lookups.took.as_secs_f64() * 1e6 / f64::from(lookups.count)
    ));
    Ok(())
}

/// A filter, with the number and total duration of the lookups so far.
struct Lookups<'a> {
    filter: &'a BreachedFilter,
    count: u32,
    took: Duration,
}

impl Lookups<'_> {
    /// Prints `yes` if the filter contains the password, otherwise `no`. Never prints the password.
    fn look_up(&mut self, given: String) -> anyhow::Result<()> {
        let password =
            Password::parse(given).map_err(|error| anyhow::anyhow!("the password {error}"))?;
        let started = Instant::now();
        let listed = self.filter.contains(&password);
        self.took += started.elapsed();
        self.count += 1;
        ui::line(if listed { "yes" } else { "no" });
        Ok(())
    }
}
