//! Amazon SES, emulated by `ministack`.

use aws_sdk_sesv2::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sesv2::{Client, Config};

use crate::ministack::Ministack;

/// An SES of its own, which keeps what is sent by it.
#[derive(Debug)]
pub struct EmailService(Ministack);

impl EmailService {
    /// Starts one that takes mails from `identity`, and waits until it answers.
    ///
    /// # Panics
    /// When `ministack` is not installed and cannot be, or does not start.
    pub async fn start(identity: &str) -> Self {
        let started = Self(Ministack::start("ses").await);
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "testkit"))
            .endpoint_url(started.url());
        let client = Client::from_conf(config.build());
        let made = client.create_email_identity().email_identity(identity).send().await;
        made.expect("a new identity");
        started
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// Where what has been sent can be read.
    #[must_use]
    pub fn messages(&self) -> String {
        format!("{}/_ministack/ses/messages", self.url())
    }
}
