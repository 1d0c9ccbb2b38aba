//! Serving a route.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use futures_util::FutureExt;
use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use identity::UserId;
use lambda_http::aws_lambda_events::encodings::Body;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::service_fn;
use process::{Deadline, Env, SystemClock};
use tracing::level_filters::LevelFilter;

use crate::event::{EventHandler, handle_within};
use crate::metrics;
use crate::request::Request;
use crate::response::Response;
use crate::telemetry::{self, Record};
use crate::work::{self, Invocations, Unfinished};
use crate::{
    Access, Admits, Description, Edge, Event, EventResponse, Input, Output, Problem, Route,
};

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
/// The runtime has one thread: a Lambda instance handles one request at a time, and a multi-threaded
/// runtime costs several times the processor time.
fn start<F: AsyncFnOnce(&Env, Invocations) -> Result<(), lambda_runtime::Error>>(
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
        let invocations = Invocations::read(reader);
        Some((level?, metrics?, invocations?))
    });
    let (level, metrics) = match &config {
        Ok((level, metrics, _)) => (*level, metrics.clone()),
        Err(_) => (LevelFilter::INFO, metrics::Config::default()),
    };
    telemetry::start(level, metrics);
    let invocations = match config {
        Ok((_, _, invocations)) => invocations,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
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
    match runtime.block_on(run(&env, invocations)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = error.as_ref(), "cannot start");
            ExitCode::FAILURE
        }
    }
}

async fn run<R: Route>(env: &Env, invocations: Invocations) -> Result<(), lambda_runtime::Error> {
    let edge = &env.read(Edge::read)?;
    // Boxed, like the futures that handle requests.
    let route = work::start(R::cold_start(env).boxed()).await?;
    let route = &route;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Event>| async move {
        let deadline = invocations.deadline(event.context.deadline, &SystemClock);
        Ok::<_, lambda_runtime::Error>(respond(edge, Some(deadline), route, event.payload).await)
    }))
    .await
}

async fn run_handler<H: EventHandler>(
    env: &Env,
    invocations: Invocations,
) -> Result<(), lambda_runtime::Error> {
    let handler = work::start(H::cold_start(env).boxed()).await?;
    let handler = &handler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<H::Event>| async move {
        let deadline = invocations.deadline(event.context.deadline, &SystemClock);
        handle_within(deadline, handler, event.payload, &event.context.request_id).await
    }))
    .await
}

/// Answers one event of an HTTP API without a deadline: for tests.
pub async fn answer<R: Route>(route: &R, event: Event) -> EventResponse {
    respond(&Edge::default(), None, route, event).await
}

/// Answers one event of an HTTP API before the deadline. It always answers: with 500 after a panic, and with
/// 503 if the work has not ended by the deadline.
pub async fn answer_within<R: Route>(deadline: Deadline, route: &R, event: Event) -> EventResponse {
    respond(&Edge::default(), Some(deadline), route, event).await
}

/// Answers one event of an HTTP API behind `edge`, without a deadline: for tests.
pub async fn answer_behind<R: Route>(edge: &Edge, route: &R, event: Event) -> EventResponse {
    respond(edge, None, route, event).await
}

/// Uses the event as it is. `lambda_http`'s conversion to an `http::Request` builds a URI from what the
/// client sent, and panics if that is not a valid one.
async fn respond<R: Route>(
    edge: &Edge,
    deadline: Option<Deadline>,
    route: &R,
    event: Event,
) -> EventResponse {
    let started = Instant::now();
    let (request, arrival) = Request::new(event, edge);
    let mut user_id = None;
    // Boxed: the SDK's futures are nested so deeply that the compiler gives up on larger ones.
    let attempt = attempt(route, &request, arrival, &mut user_id).boxed();
    let result = match work::finish(deadline, attempt).await {
        Ok(result) => result,
        Err(error @ Unfinished::Panic) => Err(Problem::internal().because(error)),
        Err(error @ Unfinished::Deadline(_)) => Err(Problem::unavailable().because(error)),
    };
    // The gateway's request ids are printable ASCII without spaces. Anything else is not echoed.
    let request_id =
        request.request_id().filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()));
    let request_id = request_id.unwrap_or("unknown");
    let (mut response, problem) = match result {
        Ok(response) => (response, None),
        Err(problem) => (problem_response(&problem, request_id), Some(problem)),
    };
    // RFC 9110 §9.3.2: the headers of GET, without content.
    if request.method() == Method::HEAD {
        response.body = None;
    }
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
    arrival: Result<(), Problem>,
    user_id: &mut Option<UserId>,
) -> Result<Response, Problem> {
    // Before anything else: behind an edge, a request that bypassed it must not cause any costlier work.
    arrival?;
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

/// Adds the headers that every answer has.
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
