//! Routes: which requests a Lambda function answers, and how.

use std::future::Future;

use lambda::Description;
use process::{BootError, Settings, World};
use serde::Serialize;

use crate::{Access, Input, Inputs, Output, Problem, Request};

/// A route that one Lambda function serves.
pub trait Route: Sized + Send + Sync + 'static {
    /// The name shared by the function, its folder, its package and its event file.
    const NAME: &'static str;

    /// The methods and paths, as in the template.
    ///
    /// One function may serve several endpoints of one resource if they need the same access and the same
    /// permissions. `Input` then distinguishes them by [`Request::method`](crate::Request::method). HEAD must be
    /// listed separately, because an HTTP API does not route HEAD requests to a GET route. Answers to HEAD are sent
    /// without a body.
    const ENDPOINTS: &'static [Endpoint];

    /// The rule that decides who may call the route. There is no default.
    type Access: Access;

    /// The route's settings. They are read together with the gate's, so that one error reports all faults.
    type Settings: Settings;

    /// The parts of a request that the handler receives.
    type Input: Input;

    /// The successful answer.
    type Output: Output;

    /// Creates the route when the function starts. An error prevents the start; later errors fail only the current
    /// request.
    fn open(
        settings: Self::Settings,
        gate: &<Self::Access as Access>::Gate,
        world: &World,
    ) -> impl Future<Output = Result<Self, BootError>> + Send;

    /// Answers an admitted caller.
    fn handle(
        &self,
        caller: <Self::Access as Access>::Caller,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, Problem>> + Send;
}

/// A method and a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// The HTTP method.
    pub method: &'static str,
    /// The path, as in the template.
    pub path: &'static str,
}

impl Endpoint {
    /// `GET path`.
    #[must_use]
    pub const fn get(path: &'static str) -> Self {
        Self { method: "GET", path }
    }

    /// `HEAD path`.
    #[must_use]
    pub const fn head(path: &'static str) -> Self {
        Self { method: "HEAD", path }
    }

    /// `POST path`.
    #[must_use]
    pub const fn post(path: &'static str) -> Self {
        Self { method: "POST", path }
    }

    /// `PUT path`.
    #[must_use]
    pub const fn put(path: &'static str) -> Self {
        Self { method: "PUT", path }
    }

    /// `PATCH path`.
    #[must_use]
    pub const fn patch(path: &'static str) -> Self {
        Self { method: "PATCH", path }
    }

    /// `DELETE path`.
    #[must_use]
    pub const fn delete(path: &'static str) -> Self {
        Self { method: "DELETE", path }
    }
}

/// An endpoint, and the values that it reads from a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DescribedEndpoint {
    /// The method and the path.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// The names of the values. A test compares them with `openapi.yaml`.
    pub inputs: Inputs,
}

/// The description of `R` that its binary prints when started with `--describe`.
#[must_use]
pub fn describe<R: Route>() -> Description<DescribedEndpoint> {
    let endpoints = R::ENDPOINTS.iter().map(|endpoint| {
        let inputs = Request::inputs::<R::Input>(endpoint, R::ENDPOINTS);
        DescribedEndpoint { endpoint: endpoint.clone(), inputs }
    });
    Description { name: R::NAME, endpoints: endpoints.collect(), access: R::Access::describe() }
}
