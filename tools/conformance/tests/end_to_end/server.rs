//! Starts dev servers for the end-to-end tests.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;

use issuer::SigningKeys;
use tempfile::TempDir;
use template::project::Project;
use testkit::{Forge, Received, mails_in};

use crate::journeys::{Api, RunningApi};

/// Options that allow eight instances of each function, for tests of concurrent requests.
pub(super) const MANY_INSTANCES: [&str; 2] = ["--concurrency", "8"];

/// The maximum number of rounds of requests that [`Server::fill`] sends. One round may not be enough, because another
/// instance starts only when requests overlap.
const MAX_ROUNDS: usize = 50;

/// The server that most tests share. When this process ends, the server's standard input closes, and the server ends.
pub(super) fn shared() -> &'static Server {
    // All tests send their requests from one network, and together they exceed the default limits. With the long
    // grace period, even a slow machine repeats its refreshes in time.
    const FREE: [&str; 8] = [
        "--env",
        "THROTTLE_REGISTER_FREE=100000",
        "--env",
        "THROTTLE_NETWORK_FREE=100000",
        "--env",
        "THROTTLE_MAIL_FREE=100000",
        "--env",
        "REFRESH_GRACE_SECONDS=60",
    ];
    static SHARED: LazyLock<Server> = LazyLock::new(|| {
        Server::start(&[&["--db", "memory"], &MANY_INSTANCES, &FREE[..]].concat())
    });
    &SHARED
}

/// A running dev server with its own folder of local state.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    api: Api,
    binaries: PathBuf,
    local: TempDir,
}

impl Server {
    /// Starts a server on a free port and waits until it is ready.
    pub(super) fn start(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    /// Starts a server on existing local state.
    pub(super) fn start_in(local: TempDir, arguments: &[&str]) -> Self {
        let project = Project::here();
        let binaries = build();
        let mut child = Command::new(binaries.join("local"))
            .current_dir(project.root())
            .arg("--local")
            .arg(local.path())
            .args(["dev", "--port", "0", "--until-stdin-closes", "--start-seconds", "120"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("the dev server ended before it was ready").unwrap();
            if let Some(url) = line.strip_prefix("ready ") {
                break url.to_owned();
            }
        };
        // Keep the pipe open, because the functions write their log lines to it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, api: Api::new(url), binaries, local }
    }

    pub(super) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Ends the server as a user would, and waits for it.
    pub(super) fn terminate(self) -> ExitStatus {
        self.end(rustix::process::Signal::TERM).0
    }

    /// Ends the server with a signal, waits for it, and returns its local state.
    pub(super) fn end(mut self, signal: rustix::process::Signal) -> (ExitStatus, TempDir) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
        (self.child.wait().unwrap(), self.local)
    }

    /// The folder of local state.
    pub(super) fn local(&self) -> &Path {
        self.local.path()
    }

    /// Calls `round` until at least this many instances of the function `name` run.
    pub(super) async fn fill(
        &self,
        name: &str,
        instances: usize,
        mut round: impl AsyncFnMut(usize),
    ) {
        for number in 0.. {
            let running = self.instances(name).len();
            if running >= instances {
                return;
            }
            assert!(number < MAX_ROUNDS, "only {running} instances of {name} are running");
            round(number).await;
        }
    }

    /// The ids of this server's processes that run the function `name`.
    pub(super) fn instances(&self, name: &str) -> BTreeSet<u32> {
        let binary = self.binaries.join(name);
        let runs = |pid: &u32| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary)
        };
        let processes = super::dev::descendants(self.pid().as_raw_nonzero().get().unsigned_abs());
        processes.into_iter().filter(runs).collect()
    }

    pub(super) fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// Runs a command of `operate` on this server: `admin …`, `keys …`, `sessions …`.
    pub(super) fn operate(&self, arguments: &[&str]) -> std::process::Output {
        self.run("operate", arguments)
    }

    /// Runs a command of a tool on this server's local state.
    pub(super) fn run(&self, tool: &str, arguments: &[&str]) -> std::process::Output {
        Command::new(self.binaries.join(tool))
            .current_dir(Project::here().root())
            .arg("--local")
            .arg(self.local.path())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

impl Deref for Server {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl RunningApi for Server {
    fn administer(&self, arguments: &[&str]) {
        let output = self.operate(&[&["admin"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn forge(&self) -> Forge {
        let path = self.local.path().join("signing-keys.json");
        let keys: SigningKeys = std::fs::read_to_string(path).unwrap().parse().unwrap();
        Forge::of(keys).with_rules(self.url(), "latchkey")
    }

    async fn mails(&self) -> Vec<Received> {
        mails_in(&self.local().join("outbox"))
    }

    fn address(&self) -> &str {
        self.url()
    }

    fn sender(&self) -> &'static str {
        "no-reply@latchkey.example"
    }
}

/// Builds all binaries, unless `cargo xtask test` has already built them, and returns their folder.
fn build() -> PathBuf {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // The caller may be within a runtime, so build on another thread.
        let built = std::thread::spawn(move || {
            runtime.block_on(local::binaries::build(&Project::here(), false)).unwrap()
        });
        built.join().unwrap()["local"].parent().unwrap().to_owned()
    });
    FOLDER.clone()
}

/// The socket address of the server, for raw requests.
pub(super) fn address(server: &Server) -> SocketAddr {
    server.url().strip_prefix("http://").unwrap().parse().unwrap()
}
