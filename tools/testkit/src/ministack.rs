//! AWS services, emulated by `ministack` in a separate process on the loopback interface.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use develop::tools::{ToolSet, Tools};
use tempfile::TempDir;
use template::project::Project;

/// Starts `ministack` on a free port. Ministack's own command would require a fixed port and write a file with its
/// process id.
const PROGRAM: &str = include_str!("ministack.py");

/// The line of [`PROGRAM`] that patches replace.
const PATCHES: &str = "# PATCHES";

/// An emulator on its own loopback port, which keeps its state in memory.
///
/// It ends when this value is dropped, or when the test process is killed.
#[derive(Debug)]
pub(crate) struct Ministack {
    url: String,
    process: Child,
    // Keeps the pipe open, because the emulator would fail if it printed to a closed pipe.
    _output: BufReader<ChildStdout>,
    folder: TempDir,
}

impl Ministack {
    /// Starts an emulator. `services` lists the services by ministack's names, separated by commas.
    ///
    /// # Panics
    /// When `ministack` cannot be installed, or does not start.
    pub(crate) async fn start(services: &str) -> Self {
        Self::start_with(services, "", &[]).await
    }

    /// Starts an emulator with `patches` and additional environment variables.
    ///
    /// # Panics
    /// See [`Ministack::start`].
    pub(crate) async fn start_with(
        services: &str,
        patches: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let tools = Tools::install(&Project::here(), ToolSet::Test).await.unwrap_or_else(|error| {
            panic!("ministack is missing, and `cargo xtask tools` cannot install it: {error:#}")
        });
        let folder = tempfile::tempdir().expect("a folder");
        // Name a socket that does not exist, so that ministack cannot remove Docker containers.
        let docker = format!("unix://{}", folder.path().join("docker.sock").display());
        let mut process = Command::new(tools.program("python"))
            .args(["-c", &PROGRAM.replace(PATCHES, patches)])
            // Inherit no variables: they could provide real credentials or a proxy.
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
            .expect("the tools include Python");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut ports = String::new();
        output.read_line(&mut ports).expect("a line or the end");
        let port = ports
            .split_whitespace()
            .next()
            .expect("ministack did not start: see its output above, and try `cargo xtask tools`");
        let url = format!("http://127.0.0.1:{port}");
        Self { url, process, _output: output, folder }
    }

    /// The base URL of all services.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The emulator's working folder, which is deleted with it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Ministack {
    fn drop(&mut self) {
        // The emulator has nothing to save. An error means that it has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
