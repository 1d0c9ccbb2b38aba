//! Amazon SES, emulated by `ministack`.

use aws_sdk_sesv2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sesv2::{Client, Config};

use crate::ministack::Ministack;

/// An emulated SES that keeps every sent message. Dropping this value stops it.
#[derive(Debug)]
pub struct EmailService(Ministack);

impl EmailService {
    /// Starts a service that accepts emails from `identity`, and waits until it answers.
    ///
    /// # Panics
    /// When `ministack` cannot be installed, or does not start.
    pub async fn start(identity: &str) -> Self {
        let started = Self(Ministack::start("ses").await);
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "testkit"))
            .endpoint_url(started.url());
        let client = Client::from_conf(config.build());
        let created = client.create_email_identity().email_identity(identity).send().await;
        created.expect("a new identity");
        started
    }

    /// The endpoint for an SES client.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// The URL that returns all sent messages.
    #[must_use]
    pub fn messages(&self) -> String {
        format!("{}/_ministack/ses/messages", self.url())
    }
}
