//! Builds the DynamoDB client of a function and classifies its errors.
//!
//! A Lambda function has its region and credentials in the environment, so the client is built directly
//! from them. The SDK's default provider chain would find the same values, but it would add milliseconds and
//! megabytes to every cold start. Code that runs elsewhere (the command line) loads its configuration with
//! `aws-config` and passes the client in.

mod measured;
mod operation;
mod verdict;

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
pub use aws_sdk_dynamodb::types::AttributeValue as Value;
pub use operation::{Operation, Sent};
use process::{AwsEnvironment, Fault, FaultKind, Reader, Settings};
use verdict::Verdict;

/// The maximum duration of an operation, including retries. It is shorter than the grace period of a used refresh
/// token (10 s), so that no retry arrives after that period.
pub const OPERATION_DEADLINE: Duration = Duration::from_secs(6);

/// The maximum number of attempts at an operation. It is enough for many concurrent registrations of one
/// name, whose transactions conflict until the first of them completes.
const ATTEMPTS: u32 = 5;

/// The endpoint of DynamoDB, the credentials, and the deadline of an operation.
#[derive(Clone, Debug)]
pub struct Config {
    aws: AwsEnvironment,
    deadline: Duration,
}

impl Config {
    /// Limits each operation, including retries, to `deadline`, unless the current limit is shorter.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = self.deadline.min(deadline);
        self
    }
}

impl Settings for Config {
    /// Reads the variables that Lambda sets for every function: `AWS_REGION`, `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`. For an emulator, also reads `AWS_ENDPOINT_URL_DYNAMODB` or
    /// `AWS_ENDPOINT_URL`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let aws = AwsEnvironment::read(reader, "AWS_ENDPOINT_URL_DYNAMODB")?;
        Some(Self { aws, deadline: OPERATION_DEADLINE })
    }
}

/// Builds the client without sending anything.
#[must_use]
pub fn connect(config: &Config) -> Client {
    let mut builder = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(config.aws.region.clone()))
        .credentials_provider(Credentials::new(
            &config.aws.access_key_id,
            &config.aws.secret_access_key,
            config.aws.session_token.clone(),
            None,
            "environment",
        ));
    if let Some(endpoint) = &config.aws.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    let builder = deadlines(builder, config.deadline).http_client(aws::http_client());
    Client::from_conf(builder.interceptor(measured::Measured).build())
}

/// Sets the deadlines and the retries of a client. `operation` limits each operation, including retries.
#[must_use]
pub fn deadlines(
    builder: aws_sdk_dynamodb::config::Builder,
    operation: Duration,
) -> aws_sdk_dynamodb::config::Builder {
    builder
        .retry_classifier(verdict::TransientErrors)
        .retry_config(aws::retries(ATTEMPTS))
        .timeout_config(aws::timeouts(operation))
        .interceptor(aws::WithinDeadline)
}

/// The attributes of an item by name.
pub type Item = HashMap<String, Value>;

/// The reason why a DynamoDB operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DynamoError {
    /// DynamoDB throttled the request, failed, or could not be reached. The same request may succeed later.
    #[error("the database does not answer")]
    Unavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// DynamoDB refused the request: a permission or a table is missing, or the request is invalid.
    #[error("the database refused the request")]
    Refused(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl Fault for DynamoError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::Unavailable(_) => FaultKind::Unavailable,
            Self::Refused(_) => FaultKind::Internal,
        }
    }
}

impl<E, R> From<SdkError<E, R>> for DynamoError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    fn from(error: SdkError<E, R>) -> Self {
        let verdict = match &error {
            SdkError::ConstructionFailure(_) => Verdict::Final,
            SdkError::ServiceError(service) => {
                let response = (service.raw() as &dyn Any).downcast_ref::<HttpResponse>();
                response.map_or(Verdict::Transient, Verdict::of)
            }
            // No response arrived.
            _ => Verdict::Transient,
        };
        match verdict {
            Verdict::Transient => Self::Unavailable(Arc::new(error)),
            Verdict::Final => Self::Refused(Arc::new(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use process::Env;

    use super::*;

    fn env(extra: &[(&str, &str)]) -> Env {
        let base = [
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
        ];
        base.iter().chain(extra).copied().collect()
    }

    #[test]
    fn every_missing_variable_is_reported() {
        let error = Env::default().settings::<Config>().unwrap_err().to_string();
        for name in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn the_service_specific_endpoint_takes_precedence() {
        let both =
            env(&[("AWS_ENDPOINT_URL", "http://a"), ("AWS_ENDPOINT_URL_DYNAMODB", "http://b")]);
        assert_eq!(both.settings::<Config>().unwrap().aws.endpoint.as_deref(), Some("http://b"));
        let general = env(&[("AWS_ENDPOINT_URL", "http://a")]);
        assert_eq!(general.settings::<Config>().unwrap().aws.endpoint.as_deref(), Some("http://a"));
    }

    #[test]
    fn debug_shows_no_credentials() {
        let config = env(&[("AWS_SESSION_TOKEN", "hush")]).settings::<Config>().unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}
