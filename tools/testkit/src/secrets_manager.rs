//! Secrets Manager, emulated by `ministack` in a separate process on the loopback interface.

use std::time::Duration;

use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_secretsmanager::{Client, Config};

use crate::Faults;
use crate::ministack::Ministack;

/// An emulated Secrets Manager on its own loopback port, which keeps its state in memory.
///
/// The emulator ends when this value is dropped, or when the test process is killed.
#[derive(Debug)]
pub struct SecretsManager(Ministack);

impl SecretsManager {
    /// Starts an emulator and waits until it answers.
    ///
    /// # Panics
    /// When `ministack` cannot be installed, or does not start.
    pub async fn start() -> Self {
        let started = Self(Ministack::start("secretsmanager").await);
        started.client().list_secrets().send().await.expect("it answers");
        started
    }

    /// The endpoint for a client.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// A client for the emulator, with quick retries.
    #[must_use]
    pub fn client(&self) -> Client {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "testkit"))
            .endpoint_url(self.url())
            .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)));
        Client::from_conf(config.build())
    }

    /// A client for the emulator. Injects `faults` into the client's calls.
    #[must_use]
    pub fn faulty_client(&self, faults: &Faults) -> Client {
        let config = self.client().config().to_builder().http_client(faults.http_client());
        Client::from_conf(config.build())
    }

    /// Creates a secret and returns its ARN. `value` becomes the current version; without a value, the secret
    /// has no version.
    ///
    /// # Panics
    /// When the secret cannot be created.
    pub async fn create(&self, name: &str, value: Option<&str>) -> String {
        let create = self.client().create_secret().name(name);
        let created = create.set_secret_string(value.map(str::to_owned)).send().await;
        created.expect("a new secret").arn.expect("a secret has an ARN")
    }

    /// The changes for [`Stack::env_with`](crate::Stack::env_with) that make a function read these secrets, by
    /// ARN, from the emulator.
    #[must_use]
    pub fn variables<'a>(
        &'a self,
        signing_keys: &'a str,
        peppers: &'a str,
    ) -> [(&'static str, &'a str); 3] {
        [
            ("SIGNING_KEYS_SECRET", signing_keys),
            ("PEPPERS_SECRET", peppers),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.url()),
        ]
    }
}
