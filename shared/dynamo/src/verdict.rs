//! Classifies DynamoDB's errors by their codes, independently of the operation.

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::config::interceptors::InterceptorContext;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction};
use serde::Deserialize;

/// The codes of transient errors. An operation that fails with one is retried.
///
/// Sources: "Error handling with DynamoDB", "Amazon DynamoDB Transactions: How it works", and the errors
/// of each operation in the API reference.
const TRANSIENT: [&str; 14] = [
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    // A plain read or write of an item that a transaction is changing.
    "TransactionConflictException",
    // A transaction with the same request token is still in progress.
    "TransactionInProgressException",
];

/// The code of a canceled transaction. The error lists the reasons separately.
const CANCELED: &str = "TransactionCanceledException";

/// Transient reasons for a canceled transaction.
const TRANSIENT_REASONS: [&str; 4] = [
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "ThrottlingError",
    "TransactionConflict",
];

/// Whether an error is transient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The error is transient: the same request may succeed later.
    Transient,
    /// The same request would fail again: a condition failed, a permission is missing, or the request
    /// is invalid.
    Final,
}

/// The body of an error response.
#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    #[serde(rename = "__type", default)]
    kind: String,
    #[serde(rename = "CancellationReasons", default)]
    reasons: Vec<Reason>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    #[serde(rename = "Code", default)]
    code: Option<String>,
}

impl Verdict {
    /// Judges a response, independently of the operation. A response with an unknown code is judged by its status.
    pub(crate) fn of(response: &HttpResponse) -> Self {
        let body = response.body().bytes().unwrap_or_default();
        let error: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
        // `com.amazonaws.dynamodb.v20120810#ThrottlingException`
        let code = error.kind.rsplit('#').next().unwrap_or_default();
        let is_transient = if code == CANCELED {
            let reasons = error.reasons.iter().filter_map(|reason| reason.code.as_deref());
            let mut reasons = reasons.filter(|code| *code != "None").peekable();
            // A failed condition is final, even if other reasons are transient.
            reasons.peek().is_some() && reasons.all(|code| TRANSIENT_REASONS.contains(&code))
        } else {
            TRANSIENT.contains(&code) || response.status().is_server_error()
        };
        if is_transient { Self::Transient } else { Self::Final }
    }
}

/// Retries every operation that failed with a transient error, even if the SDK alone would not retry it.
#[derive(Debug)]
pub(crate) struct TransientErrors;

impl ClassifyRetry for TransientErrors {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let failed = context.output_or_error().is_some_and(|output| output.is_err());
        match context.response() {
            Some(response) if failed && Verdict::of(response) == Verdict::Transient => {
                RetryAction::transient_error()
            }
            _ => RetryAction::NoActionIndicated,
        }
    }

    /// Takes no action if the SDK retries the error anyway, so that the SDK's backoff applies.
    fn classify_retry_v2(&self, context: &InterceptorContext, sdk: &RetryAction) -> RetryAction {
        match sdk {
            RetryAction::NoActionIndicated => self.classify_retry(context),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "transient errors of DynamoDB"
    }
}
