//! Starts a function and passes it events.

use std::io::{self, Write};
use std::process::ExitCode;

use futures_util::future::BoxFuture;
use lambda_runtime::{LambdaEvent, service_fn};
use process::{BootError, Deadline, Env, Settings, World};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::level_filters::LevelFilter;

use crate::work::{self, Invocations};
use crate::{log, metrics};

/// An error that Lambda reports to the invoker.
pub type Error = lambda_runtime::Error;

/// A Lambda function: opened once per instance, invoked once per event of type `E`.
pub trait Function<E, A>: Send + Sync {
    /// Handles one event before the deadline.
    fn invoke<'a>(
        &'a self,
        deadline: Deadline,
        event: E,
        request_id: &'a str,
    ) -> BoxFuture<'a, Result<A, Error>>;
}

/// Opens a function when an instance starts.
pub type Open<E, A> =
    for<'a> fn(&'a Env, &'a World) -> BoxFuture<'a, Result<Box<dyn Function<E, A>>, BootError>>;

/// The description that a function's binary prints when started with `--describe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description<E> {
    /// The name that the function shares with its folder, its package and its event file.
    pub name: &'static str,
    /// The endpoints. A function that serves no HTTP has none.
    pub endpoints: Vec<E>,
    /// Who may call the function, in words.
    pub access: String,
}

/// Runs the function that `open` opens. With `--describe`, prints the description instead.
///
/// The runtime has one thread: a Lambda instance handles one request at a time, and a multi-threaded runtime would
/// cost several times as much processor time.
#[must_use]
pub fn run<E, A, D>(describe: fn() -> Description<D>, open: Open<E, A>) -> ExitCode
where
    D: Serialize,
    E: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
{
    if std::env::args().skip(1).any(|argument| argument == "--describe") {
        let line = serde_json::to_string(&describe()).expect("a description is JSON");
        return match writeln!(io::stdout(), "{line}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    match start(open) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = error.as_ref(), "cannot start");
            ExitCode::FAILURE
        }
    }
}

fn start<E, A>(open: Open<E, A>) -> Result<(), Error>
where
    E: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
{
    let env = Env::of_process();
    let settings = env.read(|reader| {
        let (level, metrics) = (log::level(reader), metrics::Config::read(reader));
        let invocations = Invocations::read(reader);
        Some((level?, metrics?, invocations?))
    });
    let (level, metrics) = match &settings {
        Ok((level, metrics, _)) => (*level, metrics.clone()),
        Err(_) => (LevelFilter::INFO, metrics::Config::default()),
    };
    log::start(level, metrics);
    let (_, _, invocations) = settings?;
    if env.read(|reader| reader.required::<String>("AWS_LAMBDA_RUNTIME_API")).is_err() {
        return Err("this is a Lambda function; run it locally with `cargo xtask dev`".into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let world = &World::system();
        let function = &work::start(open(&env, world)).await?;
        lambda_runtime::run(service_fn(move |event: LambdaEvent<E>| async move {
            let LambdaEvent { payload, context, .. } = event;
            let deadline = invocations.deadline(context.deadline, &*world.clock);
            function.invoke(deadline, payload, &context.request_id).await
        }))
        .await
    })
}
