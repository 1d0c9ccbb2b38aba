//! Starts programs that must end when the tool ends.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// How long a program may keep running after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// How often to check whether a program has ended.
const POLL: Duration = Duration::from_millis(20);

/// A command without the variables that `cargo run` has set for this process. If a `cargo` command inherited them, it
/// would rerun every build script that depends on them.
#[must_use]
pub fn command(program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_")
            || name_text.starts_with("CARGO_MANIFEST_")
            || matches!(&*name_text, "CARGO_CRATE_NAME" | "CARGO_BIN_NAME" | "OUT_DIR")
        {
            command.env_remove(name);
        }
    }
    command.stdin(std::process::Stdio::null());
    command
}

/// The `cargo` that started this process, or else the `cargo` on the path.
#[must_use]
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Waits for Ctrl-C, SIGTERM or SIGHUP. After the first call, these signals no longer end this process.
///
/// # Errors
/// When the signals cannot be handled.
pub async fn interrupted() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// A program in its own process group. Dropping this value ends the program and all its descendants with SIGTERM,
/// and after a grace period with SIGKILL.
///
/// A terminal's Ctrl-C does not reach the group, so the tool decides in which order its programs end.
#[derive(Debug)]
pub struct Group {
    child: Child,
    pid: Option<Pid>,
}

impl Group {
    /// Starts a program in a new group.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { child, pid })
    }

    /// The child process, for access to its streams.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until the program exits.
    ///
    /// # Errors
    /// When its status cannot be read.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(pid) = self.pid else { return };
        // List the descendants first: one in another group cannot be found once its parent has ended.
        let descendants = descendants(pid);
        if !self.ended() {
            let _ = kill_process_group(pid, Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline
            && (!self.ended() || descendants.iter().copied().any(is_alive))
        {
            std::thread::sleep(POLL);
        }
        if !self.ended() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
        for descendant in descendants {
            let _ = kill_process(descendant, Signal::KILL);
        }
    }
}

/// Whether there is a process with this id.
#[must_use]
pub fn is_alive(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

/// All descendants of the process `root`. Empty on a system without `/proc`.
fn descendants(root: Pid) -> Vec<Pid> {
    let mut children = BTreeMap::<i32, Vec<i32>>::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // "pid (name) state parent …", where the name may contain any character (proc_pid_stat(5)).
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut ahead = vec![root.as_raw_nonzero().get()];
    while let Some(parent) = ahead.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            ahead.push(child);
            found.extend(Pid::from_raw(child));
        }
    }
    found
}
