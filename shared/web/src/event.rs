//! Functions that serve no HTTP: what Secrets Manager, API Gateway and the like invoke.

use std::future::Future;
use std::time::Instant;

use futures_util::FutureExt;
use lambda_http::lambda_runtime;
use process::{BootError, Deadline, Env, Metric, Settings, World};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::reason;
use crate::work;
use crate::{Description, metrics, telemetry};

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

    /// Why it could not be done. It is logged and returned to the invoker of the function, so it must not
    /// contain a secret.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The settings of the function.
    type Settings: Settings;

    /// Creates the handler when the function starts.
    fn open(
        settings: Self::Settings,
        world: &World,
    ) -> impl Future<Output = Result<Self, BootError>> + Send;

    /// Handles an event.
    fn handle(
        &self,
        event: Self::Event,
    ) -> impl Future<Output = Result<Self::Answer, Self::Error>> + Send;
}

/// Reads the settings of `H` and creates it.
///
/// # Errors
/// When a setting is missing or invalid, or the handler cannot be created.
pub async fn open_handler<H: EventHandler>(env: &Env, world: &World) -> Result<H, BootError> {
    // Boxed, like the futures that handle events.
    H::open(env.settings()?, world).boxed().await
}

impl Description {
    /// The description of `H`.
    #[must_use]
    pub fn of_handler<H: EventHandler>() -> Self {
        Self { name: H::NAME, endpoints: &[], access: format!("invoked by {}", H::INVOKED_BY) }
    }
}

/// Handles one event that is not HTTP before the deadline, and logs one line of it. A failure is the
/// function's, including a panic and a passed deadline: the invoker sees the failure and may
/// try again.
///
/// # Errors
/// When the handler fails, panics, or does not end by the deadline.
pub async fn handle_within<H: EventHandler>(
    deadline: Deadline,
    handler: &H,
    event: H::Event,
    request_id: &str,
) -> Result<H::Answer, lambda_runtime::Error> {
    let started = Instant::now();
    // Boxed: the SDK's futures are nested so deeply that the compiler gives up on larger ones.
    let result = match work::finish(Some(deadline), handler.handle(event).boxed()).await {
        Ok(result) => result.map_err(|error| reason(&error)),
        Err(error) => Err(error.to_string()),
    };
    let duration_ms = telemetry::milliseconds(started.elapsed());
    let route = H::NAME;
    Metric::Duration.add(duration_ms);
    if result.is_err() {
        Metric::ServerErrors.add(1.0);
    }
    metrics::handled(route);
    match result {
        Ok(answer) => {
            tracing::info!(route, request_id, duration_ms, "event");
            Ok(answer)
        }
        Err(reason) => {
            tracing::error!(route, request_id, duration_ms, reason, "event");
            Err(reason.into())
        }
    }
}
