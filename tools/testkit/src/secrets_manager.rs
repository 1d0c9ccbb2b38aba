//! Secrets Manager, emulated by `ministack` in its own process on the loopback interface.

use std::time::Duration;

use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_secretsmanager::{Client, Config};

use crate::Faults;
use crate::ministack::Ministack;

/// A Secrets Manager of its own, on a loopback port of its own. It keeps all in memory, and ends with
/// this value, or with the process when that is killed.
#[derive(Debug)]
pub struct SecretsManager(Ministack);

impl SecretsManager {
    /// Starts one, and waits until it answers.
    ///
    /// # Panics
    /// When `ministack` is not installed and cannot be, or does not start.
    pub async fn start() -> Self {
        let started = Self(Ministack::start("secretsmanager").await);
        started.client().list_secrets().send().await.expect("it answers");
        started
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// A client.
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
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.url()),
        ]
    }
}
