//! How functions are invoked.

use bytes::Bytes;

/// Invokes a function and waits for its result.
pub trait Invoker: Clone + Send + Sync + 'static {
    /// The result of `function` for `event`, both as JSON.
    fn invoke(
        &self,
        function: &str,
        event: Bytes,
    ) -> impl Future<Output = Result<Bytes, InvokeError>> + Send;
}

/// A function gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// There is none of this name.
    #[error("there is no such function")]
    Unknown,
    /// It answered with an error, which this is.
    #[error("the function failed")]
    Failed(Bytes),
    /// Its process ended before it answered.
    #[error("the function ended before it answered")]
    Ended,
    /// It did not answer within its timeout.
    #[error("the function did not answer within its timeout")]
    TimedOut,
    /// Its process exits, or does not poll for work, when it is started.
    #[error("the function does not start: see the terminal of the dev server")]
    DoesNotStart,
    /// Its source does not compile.
    #[error("the source of the function does not compile: see the terminal of the dev server")]
    DoesNotCompile,
}
