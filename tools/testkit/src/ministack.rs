//! Services of AWS, emulated by `ministack` in its own process on the loopback interface.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use develop::tools::{ToolSet, Tools};
use tempfile::TempDir;
use template::project::Project;

/// What runs `ministack`: by itself it would take a port that must be free, and write down its process
/// id.
const PROGRAM: &str = include_str!("ministack.py");

/// Where the program takes what else ministack is to do.
const PATCHES: &str = "# PATCHES";

/// An emulator of its own, on a loopback port of its own. It keeps all in memory, and ends with this value,
/// or with the process when that is killed.
#[derive(Debug)]
pub(crate) struct Ministack {
    url: String,
    process: Child,
    // What it prints after the first line goes nowhere, and it does not fail by that.
    _output: BufReader<ChildStdout>,
    folder: TempDir,
}

impl Ministack {
    /// Starts one with these services, by the names that it knows.
    ///
    /// # Panics
    /// When `ministack` is not installed and cannot be, or does not start.
    pub(crate) async fn start(services: &str) -> Self {
        Self::start_with(services, "", &[]).await
    }

    /// The same, with `patches` applied to the emulator and with additional variables.
    ///
    /// # Panics
    /// As [`Ministack::start`].
    pub(crate) async fn start_with(
        services: &str,
        patches: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let tools = Tools::install(&Project::here(), ToolSet::Test).await.unwrap_or_else(|error| {
            panic!("ministack is missing, and `cargo xtask tools` cannot install it: {error:#}")
        });
        let folder = tempfile::tempdir().expect("a folder");
        // There is none: ministack would tidy up containers.
        let docker = format!("unix://{}", folder.path().join("docker.sock").display());
        let mut process = Command::new(tools.program("python"))
            .args(["-c", &PROGRAM.replace(PATCHES, patches)])
            // Nothing from this process, such as real credentials or a proxy.
            .env_clear()
            .env("BIND_HOST", "127.0.0.1")
            .env("SERVICES", services)
            .env("IOT_MTLS_ENABLED", "0")
            .env("SFTP_ENABLED", "0")
            .env("DOCKER_HOST", docker)
            .env("LOG_LEVEL", "ERROR")
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .envs(variables.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tools have a Python");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut ports = String::new();
        output.read_line(&mut ports).expect("a line or the end");
        let port = ports.split_whitespace().next().expect(
            "ministack does not start: see its output above; `cargo xtask tools` repairs it",
        );
        let url = format!("http://127.0.0.1:{port}");
        Self { url, process, _output: output, folder }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A folder that goes with it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        // It has nothing to save. An error says that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
