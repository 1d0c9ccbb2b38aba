//! A route: what one Lambda function answers.

use std::future::Future;

use auth::{BootError, Env};
use http::Method;
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

    /// Who may call. There is no default.
    type Access: Admits<Self>;

    /// What it takes in of a request.
    type Input: Input;

    /// What it answers.
    type Output: Output;

    /// Reads the configuration and makes clients. The one moment at which a function may fail.
    fn cold_start(env: &Env) -> impl Future<Output = Result<Self, BootError>> + Send;

    /// Answers a caller who has been let in.
    fn handle(
        &self,
        caller: <Self::Access as Access>::Caller,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, Problem>> + Send;
}

/// What a function binary says of itself when started with `--describe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// [`Route::NAME`].
    pub name: &'static str,
    /// [`Route::METHOD`].
    pub method: String,
    /// [`Route::PATH`].
    pub path: &'static str,
    /// [`Route::Access`] in words.
    pub access: String,
}

impl Description {
    /// The description of `R`.
    #[must_use]
    pub fn of<R: Route>() -> Self {
        Self {
            name: R::NAME,
            method: R::METHOD.to_string(),
            path: R::PATH,
            access: R::Access::describe(),
        }
    }
}
