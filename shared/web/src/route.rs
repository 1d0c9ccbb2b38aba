//! A route: the requests that one Lambda function answers, and how.

use std::future::Future;

use lambda::Description;
use process::{BootError, Settings, World};
use serde::Serialize;

use crate::{Access, Input, Output, Problem};

/// One route, served by one function.
pub trait Route: Sized + Send + Sync + 'static {
    /// The name of function, folder, package and event.
    const NAME: &'static str;

    /// The methods and paths, as in the template. One function may serve several: those of one resource, with
    /// the same access and the same grants. `Input` then distinguishes them by
    /// [`Request::method`](crate::Request::method). HEAD is listed separately, because an HTTP API does not
    /// route HEAD to a GET route; its answer is sent without a body.
    const ENDPOINTS: &'static [Endpoint];

    /// The rule that decides who may call. There is no default.
    type Access: Access;

    /// The settings of the route. Those of the gate are read in the same pass.
    type Settings: Settings;

    /// The parts of a request that the handler receives.
    type Input: Input;

    /// The successful answer.
    type Output: Output;

    /// Creates the route when the function starts: the only moment at which a function may fail.
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
    /// The method.
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

/// The description of `R` that its binary prints when started with `--describe`.
#[must_use]
pub fn describe<R: Route>() -> Description<Endpoint> {
    Description { name: R::NAME, endpoints: R::ENDPOINTS, access: R::Access::describe() }
}
