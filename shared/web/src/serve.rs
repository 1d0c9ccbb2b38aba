//! Serves a route as a Lambda function.

use std::process::ExitCode;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Method;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use identity::UserId;
use lambda::{Description, Function, Open, Record, Unfinished};
use lambda_http::aws_lambda_events::encodings::Body;
use process::{BootError, Deadline, Env, World};

use crate::request::Request;
use crate::response::Response;
use crate::{
    Access, DescribedEndpoint, Edge, Event, EventResponse, Gate, Input, Output, Problem, Route,
    describe,
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Runs `R` as a Lambda function or, with `--describe`, prints a [`Description`].
#[must_use]
pub fn serve<R: Route>() -> ExitCode {
    run(describe::<R>, |env, world| {
        async { Ok(Box::new(Service::<R>::open(env, world).await?) as Box<_>) }.boxed()
    })
}

/// Not generic, so that the code for the runtime and for the gateway's events is generated once, in this crate, and not
/// again in every program.
fn run(
    describe: fn() -> Description<DescribedEndpoint>,
    open: Open<Event, EventResponse>,
) -> ExitCode {
    lambda::run(describe, open)
}

/// A route with its gate, as a Lambda function serves it.
pub struct Service<R: Route> {
    edge: Edge,
    gate: <R::Access as Access>::Gate,
    route: R,
}

impl<R: Route> Service<R> {
    /// Reads the settings of the edge, the gate and the route in one pass, and creates the gate and the route.
    ///
    /// # Errors
    /// When settings are missing or invalid (one error lists all of them), or the route cannot be created.
    pub async fn open(env: &Env, world: &World) -> Result<Self, BootError> {
        let (edge, gate, route) =
            env.settings::<(Edge, <<R::Access as Access>::Gate as Gate>::Settings, R::Settings)>()?;
        let gate = <R::Access as Access>::Gate::new(gate, world);
        // Boxed for the same reason as in `respond`.
        let (route, ()) =
            futures_util::join!(R::open(route, &gate, world).boxed(), gate.warm().boxed());
        Ok(Self { edge, gate, route: route? })
    }

    /// Puts a route behind a gate without an edge, for tests.
    pub fn new(gate: <R::Access as Access>::Gate, route: R) -> Self {
        Self { edge: Edge::default(), gate, route }
    }

    /// Puts the service behind an edge, for tests.
    #[must_use]
    pub fn behind(self, edge: Edge) -> Self {
        Self { edge, ..self }
    }

    /// The route behind the gate.
    pub fn route(&self) -> &R {
        &self.route
    }

    /// Answers one event of an HTTP API without a deadline, for tests.
    pub async fn answer(&self, event: Event) -> EventResponse {
        self.respond(None, event).await
    }

    /// Answers one event of an HTTP API before the deadline. The answer is 500 after a panic, and 503 if the work has
    /// not ended by the deadline.
    pub async fn answer_within(&self, deadline: Deadline, event: Event) -> EventResponse {
        self.respond(Some(deadline), event).await
    }

    /// Answers the event without converting it to an `http::Request`: `lambda_http`'s conversion builds a URI from
    /// the client's input, and panics if the URI is invalid.
    async fn respond(&self, deadline: Option<Deadline>, event: Event) -> EventResponse {
        let started = Instant::now();
        let (request, arrival) = Request::new(event, &self.edge, R::ENDPOINTS);
        let mut user_id = None;
        // Boxed: otherwise the SDK's deeply nested futures exceed the compiler's limits.
        let attempt = self.attempt(&request, arrival, &mut user_id).boxed();
        let result = match lambda::finish(deadline, attempt).await {
            Ok(result) => result,
            Err(error @ Unfinished::Panic) => Err(Problem::internal().because(error)),
            Err(error @ Unfinished::Deadline(_)) => Err(Problem::unavailable().because(error)),
        };
        // The gateway's request ids are printable ASCII without spaces. Other ids are not echoed.
        let request_id =
            request.request_id().filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()));
        let request_id = request_id.unwrap_or("unknown");
        let (mut response, problem) = match result {
            Ok(response) => (response, None),
            Err(problem) => (problem_response(&problem, request_id), Some(problem)),
        };
        // The answer to HEAD has the headers of GET but no content (RFC 9110 §9.3.2).
        if request.method() == Method::HEAD {
            response.body = None;
        }
        Record {
            route: R::NAME,
            request_id,
            user_id,
            status: response.status.as_u16(),
            duration: started.elapsed(),
            code: problem.as_ref().map(Problem::code),
            reason: problem.as_ref().and_then(Problem::reason),
        }
        .write();
        finish(response, request_id)
    }

    async fn attempt(
        &self,
        request: &Request,
        arrival: Result<(), Problem>,
        user_id: &mut Option<UserId>,
    ) -> Result<Response, Problem> {
        // Checked first, so that a request that bypassed the edge causes no further work.
        arrival?;
        let caller = R::Access::admit(&self.gate, request.headers()).await?;
        *user_id = R::Access::user_id(&caller);
        let input = R::Input::read(request)?;
        self.route.handle(caller, input).await?.into_response().checked()
    }
}

impl<R: Route> Function<Event, EventResponse> for Service<R> {
    fn invoke<'a>(
        &'a self,
        deadline: Deadline,
        event: Event,
        _: &'a str,
    ) -> BoxFuture<'a, Result<EventResponse, lambda::Error>> {
        self.answer_within(deadline, event).map(Ok).boxed()
    }
}

/// Answers one event of an HTTP API without a deadline, for tests.
pub async fn answer<R: Route>(service: &Service<R>, event: Event) -> EventResponse {
    service.answer(event).await
}

fn problem_response(problem: &Problem, request_id: &str) -> Response {
    let mut headers = http::HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    problem.add_headers(&mut headers);
    Response { status: problem.status(), headers, body: Some(Body::Text(problem.body(request_id))) }
}

/// Adds the headers that all answers have in common.
fn finish(response: Response, request_id: &str) -> EventResponse {
    let Response { status, mut headers, body } = response;
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(X_REQUEST_ID, value);
    }
    let mut answer = EventResponse::default();
    answer.status_code = status.as_u16().into();
    // The gateway accepts one value per header name. Cookies cannot be joined, so they have a separate member.
    for name in headers.keys() {
        let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        if name == SET_COOKIE {
            answer.cookies = values.map(|value| String::from_utf8_lossy(value).into()).collect();
        } else {
            let joined = HeaderValue::from_bytes(&values.collect::<Vec<_>>().join(&b", "[..]));
            answer.headers.insert(name, joined.expect("joined values are valid"));
        }
    }
    answer.is_base64_encoded = matches!(body, Some(Body::Binary(_)));
    answer.body = body;
    answer
}
