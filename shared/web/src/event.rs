//! Functions that serve no HTTP: what Secrets Manager, API Gateway and the like invoke.

use std::future::Future;

use auth::{BootError, Env};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Description;

/// What one Lambda function does with the events of one service.
pub trait EventHandler: Sized + Send + Sync + 'static {
    /// The name of function, folder, package and event.
    const NAME: &'static str;

    /// Who invokes it, in words: `Secrets Manager`.
    const INVOKED_BY: &'static str;

    /// The event.
    type Event: DeserializeOwned + Send + 'static;

    /// What is answered.
    type Answer: Serialize + Send + 'static;

    /// Why it could not be done. It is logged, and whoever invoked the function is told: it must not
    /// hold a secret.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Reads the configuration and makes clients.
    fn cold_start(env: &Env) -> impl Future<Output = Result<Self, BootError>> + Send;

    /// Handles an event.
    fn handle(
        &self,
        event: Self::Event,
    ) -> impl Future<Output = Result<Self::Answer, Self::Error>> + Send;
}

impl Description {
    /// The description of `H`.
    #[must_use]
    pub fn of_handler<H: EventHandler>() -> Self {
        Self {
            name: H::NAME,
            method: None,
            path: None,
            further: &[],
            access: format!("invoked by {}", H::INVOKED_BY),
        }
    }
}
