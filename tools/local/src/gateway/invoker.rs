//! The interface through which the gateway invokes functions.

use bytes::Bytes;

/// Invokes a function and waits for its result.
pub trait Invoker: Clone + Send + Sync + 'static {
    /// Returns the result of `function` for `event`. The event and the result are JSON.
    fn invoke(
        &self,
        function: &str,
        event: Bytes,
    ) -> impl Future<Output = Result<Bytes, InvokeError>> + Send;
}

/// Why a function returned no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// There is no function with this name.
    #[error("there is no such function")]
    Unknown,
    /// The function returned this error.
    #[error("the function failed")]
    Failed(Bytes),
    /// The function's process exited before it returned a result.
    #[error("the function ended before it answered")]
    Ended,
    /// The function returned no result within its timeout.
    #[error("the function did not answer within its timeout")]
    TimedOut,
    /// The function's process exits at startup, or never polls for work.
    #[error("the function does not start: see the dev server's terminal")]
    DoesNotStart,
    /// The function's source does not compile.
    #[error("the function's source does not compile: see the dev server's terminal")]
    DoesNotCompile,
}
