//! Amazon Cognito, emulated by `ministack`.

use crate::ministack::Ministack;

/// An emulator of Cognito's user pools. Dropping this value stops it.
#[derive(Debug)]
pub struct Cognito(Ministack);

impl Cognito {
    /// Starts an emulator without pools.
    ///
    /// # Panics
    /// When `ministack` cannot be installed, or does not start.
    pub async fn start() -> Self {
        Self(Ministack::start("cognito-idp").await)
    }

    /// The base URL of the service.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }
}
