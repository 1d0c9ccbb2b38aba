//! Functions that do not serve HTTP: an AWS service invokes them with its own events.

use std::future::Future;
use std::process::ExitCode;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use process::{BootError, Deadline, Env, Metric, Settings, World};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Description, Error, Function, log, metrics, reason, run, work};

/// Handles the events of one AWS service.
pub trait EventHandler: Sized + Send + Sync + 'static {
    /// The name that the function shares with its folder, its package and its event file.
    const NAME: &'static str;

    /// The service that invokes the function, in words: for example, `Secrets Manager`.
    const INVOKED_BY: &'static str;

    /// The event that invokes the function.
    type Event: DeserializeOwned + Send + 'static;

    /// The answer that the invoker gets.
    type Answer: Serialize + Send + 'static;

    /// The reason why an event was not handled. It is logged and returned to the invoker, so it must not contain a
    /// secret.
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
    // Boxed for the same reason as in `handle_within`.
    H::open(env.settings()?, world).boxed().await
}

/// Runs `H` as a Lambda function. With `--describe` it prints a [`Description`] instead.
#[must_use]
pub fn serve<H: EventHandler>() -> ExitCode {
    let describe = || {
        let access = format!("invoked by {}", H::INVOKED_BY);
        Description::<()> { name: H::NAME, endpoints: Vec::new(), access }
    };
    run(describe, |env, world| {
        async { Ok(Box::new(Handler(open_handler::<H>(env, world).await?)) as Box<_>) }.boxed()
    })
}

struct Handler<H>(H);

impl<H: EventHandler> Function<H::Event, H::Answer> for Handler<H> {
    fn invoke<'a>(
        &'a self,
        deadline: Deadline,
        event: H::Event,
        request_id: &'a str,
    ) -> BoxFuture<'a, Result<H::Answer, Error>> {
        handle_within(deadline, &self.0, event, request_id).boxed()
    }
}

/// Handles one event before the deadline, and logs one line. Unlike a route, a handler may fail: the invoker gets the
/// error and decides whether to try again.
///
/// # Errors
/// When the handler fails, panics, or does not finish by the deadline.
pub async fn handle_within<H: EventHandler>(
    deadline: Deadline,
    handler: &H,
    event: H::Event,
    request_id: &str,
) -> Result<H::Answer, Error> {
    let started = Instant::now();
    // Boxed: otherwise the SDK's deeply nested futures exceed the compiler's limits.
    let result = match work::finish(Some(deadline), handler.handle(event).boxed()).await {
        Ok(result) => result.map_err(|error| reason(&error)),
        Err(error) => Err(error.to_string()),
    };
    let duration_ms = log::milliseconds(started.elapsed());
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
