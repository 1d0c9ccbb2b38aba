//! Secrets Manager, as `ministack` stands for it: a process of its own on the loopback.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_secretsmanager::{Client, Config};
use tempfile::TempDir;
use xtask::project::Project;
use xtask::tools::{ToolSet, Tools};

use crate::Faults;

/// What runs `ministack`: by itself it would take a port that must be free, and write down its process
/// id.
const PROGRAM: &str = include_str!("secrets_manager.py");

/// A Secrets Manager of its own, on a loopback port of its own. It keeps all in memory, and ends with
/// this value, or with the process when that is killed.
#[derive(Debug)]
pub struct SecretsManager {
    url: String,
    process: Child,
    // What it prints after the first line goes nowhere, and it does not fail by that.
    _output: BufReader<ChildStdout>,
    _folder: TempDir,
}

impl SecretsManager {
    /// Starts one, and waits until it answers.
    ///
    /// # Panics
    /// When `ministack` is not installed and cannot be, or does not start.
    pub async fn start() -> Self {
        let tools = Tools::install(&Project::here(), ToolSet::Test).await.unwrap_or_else(|error| {
            panic!("ministack is missing, and `cargo xtask tools` cannot install it: {error:#}")
        });
        let folder = tempfile::tempdir().expect("a folder");
        // There is none: ministack would tidy up containers.
        let docker = format!("unix://{}", folder.path().join("docker.sock").display());
        let mut process = Command::new(tools.program("python"))
            .args(["-c", PROGRAM])
            // Nothing of ours, such as real credentials or a proxy.
            .env_clear()
            .env("BIND_HOST", "127.0.0.1")
            .env("SERVICES", "secretsmanager")
            .env("IOT_MTLS_ENABLED", "0")
            .env("SFTP_ENABLED", "0")
            .env("DOCKER_HOST", docker)
            .env("LOG_LEVEL", "ERROR")
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tools have a Python");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut port = String::new();
        output.read_line(&mut port).expect("a line or the end");
        let port: u16 = port.trim().parse().expect(
            "ministack does not start: its reason is above, and `cargo xtask tools` mends it",
        );
        let url = format!("http://127.0.0.1:{port}");
        let started = Self { url, process, _output: output, _folder: folder };
        started.client().list_secrets().send().await.expect("it answers");
        started
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client.
    #[must_use]
    pub fn client(&self) -> Client {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "testkit"))
            .endpoint_url(&self.url)
            .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)));
        Client::from_conf(config.build())
    }

    /// A client that meets faults.
    #[must_use]
    pub fn faulty_client(&self, faults: &Faults) -> Client {
        let config = self.client().config().to_builder().http_client(faults.http_client());
        Client::from_conf(config.build())
    }

    /// Makes a secret and gives its ARN. `value` is that of its first version, which is in use;
    /// without one there is no version.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn create(&self, name: &str, value: Option<&str>) -> String {
        let create = self.client().create_secret().name(name);
        let created = create.set_secret_string(value.map(str::to_owned)).send().await;
        created.expect("a new secret").arn.expect("a secret has an ARN")
    }

    /// The variables by which a function reads its secrets here, by their ARNs: for
    /// [`Stack::env_with`](crate::Stack::env_with).
    #[must_use]
    pub fn variables<'a>(
        &'a self,
        signing_keys: &'a str,
        peppers: &'a str,
    ) -> [(&'static str, &'a str); 3] {
        [
            ("SIGNING_KEYS_SECRET", signing_keys),
            ("PEPPERS_SECRET", peppers),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.url),
        ]
    }
}

impl Drop for SecretsManager {
    fn drop(&mut self) {
        // It has nothing to save. An error says that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
