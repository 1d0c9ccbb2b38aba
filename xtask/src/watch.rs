//! `cargo lambda watch`: the functions themselves, each in several processes.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::Notify;

use crate::process::{Group, command};
use crate::project::Project;
use crate::tools::Tools;
use crate::ui;

/// How long the emulator may take to listen.
const START: Duration = Duration::from_secs(30);

/// How to run the functions.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// The release profile.
    pub release: bool,
    /// Instances of each function. All are started by its first request, each by a cargo of its own.
    pub concurrency: NonZeroU16,
    /// The environment of all functions.
    pub environment: BTreeMap<String, String>,
}

/// The running emulator. Dropping it ends it and all functions.
#[derive(Debug)]
pub struct Watch {
    group: Group,
    address: SocketAddr,
    crashes: Arc<Notify>,
    ending: Arc<AtomicBool>,
    /// Removed after `group` has ended.
    _sources: TempDir,
}

/// Whether a variable belongs to a developer's own account, which is nobody's business here. How the library
/// AWS-LC is built does not: without it cargo would build that again, and all that is linked with it.
fn is_of_an_account(name: &str) -> bool {
    name.starts_with("AWS_") && !name.starts_with("AWS_LC_")
}

impl Watch {
    /// Starts `cargo lambda watch` on a free port and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(
        project: &Project,
        tools: &Tools,
        options: &WatchOptions,
    ) -> anyhow::Result<Self> {
        let address = free_address().await.context("no free port")?;
        let sources = sources(project).context("cannot write to the folder of local state")?;
        let mut watch = ending_with_us(tools.program("cargo-lambda")).await;
        watch
            .args(["lambda", "watch", "--disable-cors", "--color", "never"])
            .args(["--concurrency", &options.concurrency.to_string()])
            .args(["--invoke-address", &address.ip().to_string()])
            .args(["--invoke-port", &address.port().to_string()])
            .arg("--manifest-path")
            .arg(project.root().join("Cargo.toml"))
            .current_dir(sources.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if options.release {
            watch.arg("--release");
        }
        for (name, _) in std::env::vars_os() {
            if is_of_an_account(&name.to_string_lossy()) {
                watch.env_remove(name);
            }
        }
        // Values may be secrets: they go by the environment, since `ps` shows arguments to all.
        watch.envs(&options.environment);
        let mut group = Group::spawn(&mut watch).context("cannot run cargo-lambda")?;
        let (crashes, ending) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        if let Some(stdout) = group.child().stdout.take() {
            tokio::spawn(relay(stdout, Arc::clone(&crashes), Arc::clone(&ending)));
        }
        if let Some(stderr) = group.child().stderr.take() {
            tokio::spawn(relay(stderr, Arc::clone(&crashes), Arc::clone(&ending)));
        }
        let mut watch = Self { group, address, crashes, ending, _sources: sources };
        tokio::select! {
            status = watch.ended() => bail!("cargo lambda watch ended ({})", status?),
            listens = tokio::time::timeout(START, listens(address)) => {
                listens.context("cargo lambda watch does not listen")?;
            }
        }
        Ok(watch)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it has ended by itself. Says how.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn ended(&mut self) -> anyhow::Result<String> {
        Ok(self.group.wait().await.context("cannot wait for cargo lambda watch")?.to_string())
    }

    /// Waits until a function's process ends by itself, or cannot be built.
    pub fn crashes(&self) -> Arc<Notify> {
        Arc::clone(&self.crashes)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Functions complain when the emulator goes away under them.
        self.ending.store(true, Ordering::Relaxed);
    }
}

/// A command for `program` that the kernel ends when we are killed and cannot end it ourselves, where
/// util-linux is there to ask for that.
async fn ending_with_us(program: PathBuf) -> Command {
    let asks = command("setpriv").args(["--pdeathsig", "TERM", "true"]).output().await;
    if !asks.is_ok_and(|asked| asked.status.success()) {
        return command(program);
    }
    let mut with = command("setpriv");
    with.args(["--pdeathsig", "TERM", "--"]).arg(program);
    with
}

async fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()
}

async fn listens(address: SocketAddr) {
    while TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A folder that holds nothing but the sources, and how to build them, by links.
///
/// Each of the instances watches the whole folder that it is started in. In the repository's own
/// that would be `target` and `.tools` too, thousands of folders times the instances, and more than
/// Linux lets a user watch. Cargo is started in it too, and looks for its configuration from there.
fn sources(project: &Project) -> std::io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("sources-").tempdir_in(project.local(""))?;
    for name in ["functions", "shared", ".cargo"] {
        symlink(project.root().join(name), folder.path().join(name))?;
    }
    // What editors write beside a file is no change of it.
    let ignored = "*.swp\n*.swx\n*~\n.#*\n#*#\n4913\n";
    fs::write(folder.path().join(".cargolambdaignore"), ignored)?;
    Ok(folder)
}

/// Hands on what the emulator, cargo and the functions write, but for chatter.
async fn relay(stream: impl AsyncRead + Unpin, crashes: Arc<Notify>, ending: Arc<AtomicBool>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.contains("command exited") || line.contains("failed to obtain the watchexec task") {
            crashes.notify_waiters();
        }
        if !is_chatter(&line) && !ending.load(Ordering::Relaxed) {
            ui::note(line);
        }
    }
}

/// The emulator's own log, and what the Lambda runtime and cargo say at each start of each of the
/// instances.
fn is_chatter(line: &str) -> bool {
    let start = line.trim_start();
    ["INFO ", "Finished `", "Running `"].iter().any(|chatter| start.starts_with(chatter))
        || line.contains("AWS_LAMBDA_MAX_CONCURRENCY is set to")
        // Many write it at once, into each other's lines.
        || line.contains("waiting for file lock on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_kept_out_and_how_libraries_are_built_is_not() {
        for name in ["AWS_PROFILE", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_LAMBDA_RUNTIME_API"]
        {
            assert!(is_of_an_account(name), "{name}");
        }
        for name in ["AWS_LC_SYS_CFLAGS", "PATH", "USERS_TABLE"] {
            assert!(!is_of_an_account(name), "{name}");
        }
    }

    /// Otherwise cargo builds AWS-LC again, and all that is linked with it.
    #[test]
    fn functions_are_built_as_the_project_says_wherever_local_state_is() {
        let local = tempfile::tempdir().unwrap();
        let project = Project::here().with_local(local.path().to_owned());
        let sources = sources(&project).unwrap();
        let of = |folder: &std::path::Path| fs::read(folder.join(".cargo/config.toml")).unwrap();
        assert_eq!(of(sources.path()), of(project.root()));
    }
}
