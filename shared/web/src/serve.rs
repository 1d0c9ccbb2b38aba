//! Serving a route.

use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use auth::{Env, Metric, UserId};
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use lambda_http::aws_lambda_events::encodings::Body;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::service_fn;
use tracing::level_filters::LevelFilter;

use crate::event::EventHandler;
use crate::metrics;
use crate::problem::reason;
use crate::request::Request;
use crate::response::Response;
use crate::telemetry::{self, Record};
use crate::{Access, Admits, Description, Event, EventResponse, Input, Output, Problem, Route};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Runs `R` as a Lambda function. With `--describe` it prints a [`Description`] instead.
#[must_use]
pub fn serve<R: Route>() -> ExitCode {
    start(&Description::of::<R>(), run::<R>)
}

/// Runs `H` as a Lambda function that serves no HTTP. With `--describe` it prints a [`Description`]
/// instead.
#[must_use]
pub fn serve_event<H: EventHandler>() -> ExitCode {
    start(&Description::of_handler::<H>(), run_handler::<H>)
}

/// Starts a function.
///
/// One thread: a Lambda instance has one request at a time, and a runtime of many threads costs a
/// multiple of the processor time.
fn start<F: AsyncFnOnce(&Env) -> Result<(), lambda_runtime::Error>>(
    description: &Description,
    run: F,
) -> ExitCode {
    if std::env::args().skip(1).any(|argument| argument == "--describe") {
        let line = serde_json::to_string(description).expect("a description is JSON");
        return match writeln!(io::stdout(), "{line}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let env = Env::of_process();
    let config = env.read(|reader| {
        let (level, metrics) = (telemetry::level(reader), metrics::Config::read(reader));
        Some((level?, metrics?))
    });
    let (level, metrics) = match &config {
        Ok((level, metrics)) => (*level, metrics.clone()),
        Err(_) => (LevelFilter::INFO, metrics::Config::default()),
    };
    telemetry::start(level, metrics);
    if let Err(error) = config {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot start");
        return ExitCode::FAILURE;
    }
    if env.read(|reader| reader.required::<String>("AWS_LAMBDA_RUNTIME_API")).is_err() {
        tracing::error!("this is a Lambda function; `cargo xtask dev` runs it on a laptop");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(&env)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = error.as_ref(), "cannot start");
            ExitCode::FAILURE
        }
    }
}

async fn run<R: Route>(env: &Env) -> Result<(), lambda_runtime::Error> {
    let route = R::cold_start(env).await?;
    let route = &route;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Event>| async move {
        Ok::<_, lambda_runtime::Error>(answer(route, event.payload).await)
    }))
    .await
}

async fn run_handler<H: EventHandler>(env: &Env) -> Result<(), lambda_runtime::Error> {
    let handler = H::cold_start(env).await?;
    let handler = &handler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<H::Event>| async move {
        handle(handler, event.payload, &event.context.request_id).await
    }))
    .await
}

/// Handles one event that is not HTTP, and logs one line of it. A failure is the function's: whoever
/// invoked it sees it and may try again.
async fn handle<H: EventHandler>(
    handler: &H,
    event: H::Event,
    request_id: &str,
) -> Result<H::Answer, lambda_runtime::Error> {
    let started = Instant::now();
    // Boxed: the SDK's futures are so deeply nested that the compiler gives up on larger ones.
    let result = handler.handle(event).boxed().await;
    let duration_ms = started.elapsed().as_secs_f64() * 1e3;
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
        Err(error) => {
            let reason = reason(&error);
            tracing::error!(route, request_id, duration_ms, reason, "event");
            Err(reason.into())
        }
    }
}

/// Answers one event of an HTTP API. It always answers: a panic is a 500.
///
/// The event is taken as it comes, not through `lambda_http`'s conversion to an `http::Request`,
/// which builds a URI of what a client sent and panics when it is not one.
pub async fn answer<R: Route>(route: &R, event: Event) -> EventResponse {
    let started = Instant::now();
    let request = Request::new(event);
    let mut user_id = None;
    // Boxed: the SDK's futures are so deeply nested that the compiler gives up on larger ones.
    let attempt = attempt(route, &request, &mut user_id).boxed();
    let attempt = AssertUnwindSafe(attempt).catch_unwind().await;
    let result = attempt.unwrap_or_else(|_| Err(Problem::internal().because("a panic")));
    // What the gateway gives is a token of its own; anything else is not echoed.
    let request_id =
        request.request_id().filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()));
    let request_id = request_id.unwrap_or("unknown");
    let (response, problem) = match result {
        Ok(response) => (response, None),
        Err(problem) => (problem_response(&problem, request_id), Some(problem)),
    };
    Record {
        route: R::NAME,
        request_id,
        user_id,
        status: response.status.as_u16(),
        duration: started.elapsed(),
        problem: problem.as_ref(),
    }
    .write();
    finish(response, request_id)
}

async fn attempt<R: Route>(
    route: &R,
    request: &Request,
    user_id: &mut Option<UserId>,
) -> Result<Response, Problem> {
    let caller = R::Access::admit(route, request.headers()).await?;
    *user_id = R::Access::user_id(&caller);
    let input = R::Input::read(request)?;
    Ok(route.handle(caller, input).await?.into_response())
}

fn problem_response(problem: &Problem, request_id: &str) -> Response {
    let mut headers = http::HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    problem.add_headers(&mut headers);
    Response { status: problem.status(), headers, body: Some(problem.body(request_id)) }
}

/// Adds what every answer has.
fn finish(response: Response, request_id: &str) -> EventResponse {
    let Response { status, mut headers, body } = response;
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, value);
    }
    let mut answer = EventResponse::default();
    answer.status_code = status.as_u16().into();
    answer.headers = headers;
    answer.body = body.map(Body::Text);
    answer
}
