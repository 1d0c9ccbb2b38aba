//! A route: what one Lambda function answers.

use std::future::Future;

use http::Method;
use process::{BootError, Env};
use serde::Serialize;

use crate::{Access, Admits, Input, Output, Problem};

/// One route, served by one function.
pub trait Route: Sized + Send + Sync + 'static {
    /// The name of function, folder, package and event.
    const NAME: &'static str;

    /// The method, as in the template.
    const METHOD: Method;

    /// The path, as in the template.
    const PATH: &'static str;

    /// Its other methods and paths: those of the same resource, with the same access and the same grants.
    /// `Input` distinguishes them by [`Request::method`](crate::Request::method). HEAD is a method of its
    /// own, because an HTTP API does not route HEAD to a GET route; its answer is sent without a body.
    const FURTHER: &'static [Endpoint] = &[];

    /// Who may call. There is no default.
    type Access: Admits<Self>;

    /// What it takes in of a request.
    type Input: Input;

    /// What it answers.
    type Output: Output;

    /// Reads the configuration and makes clients. The one moment at which a function may fail.
    fn cold_start(env: &Env) -> impl Future<Output = Result<Self, BootError>> + Send;

    /// Answers a caller who has been admitted.
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

/// What a function binary says of itself when started with `--describe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// [`Route::NAME`].
    pub name: &'static str,
    /// [`Route::METHOD`]. A function that serves no HTTP has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// [`Route::PATH`]. A function that serves no HTTP has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'static str>,
    /// [`Route::FURTHER`].
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub further: &'static [Endpoint],
    /// [`Route::Access`] in words, or who invokes it.
    pub access: String,
}

impl Description {
    /// The description of `R`.
    #[must_use]
    pub fn of<R: Route>() -> Self {
        Self {
            name: R::NAME,
            method: Some(R::METHOD.to_string()),
            path: Some(R::PATH),
            further: R::FURTHER,
            access: R::Access::describe(),
        }
    }
}
