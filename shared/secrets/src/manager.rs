//! A secret in AWS Secrets Manager.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::{
    GetSecretValueError, GetSecretValueOutput,
};
use aws_sdk_secretsmanager::operation::update_secret_version_stage::UpdateSecretVersionStageError;
use aws_sdk_secretsmanager::{Client, Config};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use process::AwsEnvironment;
use zeroize::Zeroizing;

use crate::{SecretError, Version};

/// The maximum time for one operation, including retries.
const OPERATION_DEADLINE: Duration = Duration::from_secs(6);

/// The maximum number of attempts per operation.
const ATTEMPTS: u32 = 4;

/// A staging label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// The version in use.
    Current,
    /// The version to be put into use next.
    Pending,
    /// The version that was in use before.
    Previous,
}

impl Label {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Pending => "AWSPENDING",
            Self::Previous => "AWSPREVIOUS",
        }
    }
}

#[derive(Clone)]
pub(crate) struct ManagedSecret {
    id: String,
    client: Client,
}

impl fmt::Debug for ManagedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManagedSecret").field(&self.id).finish()
    }
}

impl ManagedSecret {
    pub(crate) fn new(id: String, client: Client) -> Self {
        Self { id, client }
    }

    /// Creates a client from the environment. Sends nothing yet.
    pub(crate) fn connect(id: &str, aws: &AwsEnvironment) -> Self {
        let mut builder = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(aws.region.clone()))
            .credentials_provider(Credentials::new(
                &aws.access_key_id,
                &aws.secret_access_key,
                aws.session_token.clone(),
                None,
                "environment",
            ));
        if let Some(endpoint) = &aws.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Self::new(id.to_owned(), Client::from_conf(deadlines(builder).build()))
    }

    /// Requests the version with this label.
    ///
    /// Erases the type of the SDK's future, for the reason given at `dynamo::Operation`.
    fn get(
        &self,
        label: Label,
    ) -> BoxFuture<'static, Result<GetSecretValueOutput, SdkError<GetSecretValueError>>> {
        let get = self.client.get_secret_value().secret_id(&self.id);
        get.version_stage(label.as_str()).send().boxed()
    }

    /// Reads the version with this label, if there is one.
    pub(crate) async fn labeled(&self, label: Label) -> Result<Option<Version>, SecretError> {
        let read = match self.get(label).await {
            Ok(read) => read,
            // The error also occurs if a version has the label but no value yet, as at the start of a rotation.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        match (read.version_id, read.secret_string) {
            (Some(id), Some(value)) => Ok(Some(Version { id, value: Zeroizing::new(value) })),
            _ => Err(SecretError::Unusable("not text".to_owned())),
        }
    }

    pub(crate) async fn put_pending(&self, version: &Version) -> Result<(), SecretError> {
        self.client
            .put_secret_value()
            .secret_id(&self.id)
            .client_request_token(&version.id)
            .secret_string(version.value.as_str())
            .version_stages(Label::Pending.as_str())
            .send()
            .await?;
        Ok(())
    }

    pub(crate) async fn promote(&self, id: &str, replaced: &str) -> Result<(), SecretError> {
        // The first version of a secret is in use as soon as it is created, so it need not be promoted.
        if self.labeled(Label::Current).await?.is_some_and(|current| current.id == id) {
            return Ok(());
        }
        let moved = self
            .client
            .update_secret_version_stage()
            .secret_id(&self.id)
            .version_stage(Label::Current.as_str())
            .move_to_version_id(id)
            .remove_from_version_id(replaced)
            .send()
            .await;
        match moved {
            Ok(_) => Ok(()),
            // A version other than `replaced` is in use. It may be `id` itself, if an earlier response was lost.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateSecretVersionStageError::is_invalid_parameter_exception) =>
            {
                match self.labeled(Label::Current).await? {
                    Some(current) if current.id == id => Ok(()),
                    _ => Err(SecretError::Moved),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn drop_previous(&self) -> Result<(), SecretError> {
        let described = self.client.describe_secret().secret_id(&self.id).send().await?;
        let versions = described.version_ids_to_stages.unwrap_or_default();
        let label = Label::Previous.as_str();
        let previous = versions.iter().find(|(_, labels)| labels.iter().any(|it| it == label));
        let Some((previous, _)) = previous else { return Ok(()) };
        let removed = self
            .client
            .update_secret_version_stage()
            .secret_id(&self.id)
            .version_stage(label)
            .remove_from_version_id(previous)
            .send()
            .await;
        match removed {
            Ok(_) => Ok(()),
            // The version no longer has the label.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(UpdateSecretVersionStageError::is_invalid_parameter_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn deadlines(builder: Builder) -> Builder {
    builder
        .http_client(aws::http_client())
        .retry_config(aws::retries(ATTEMPTS))
        .timeout_config(aws::timeouts(OPERATION_DEADLINE))
        .interceptor(aws::WithinDeadline)
}

/// The error codes with which Secrets Manager refuses the request itself.
const REFUSALS: [&str; 6] = [
    "AccessDeniedException",
    "DecryptionFailure",
    "InvalidRequestException",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
    "ValidationException",
];

impl<E, R> From<SdkError<E, R>> for SecretError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    fn from(error: SdkError<E, R>) -> Self {
        let refused = match &error {
            SdkError::ConstructionFailure(_) => true,
            SdkError::ServiceError(service) => {
                service.err().code().is_some_and(|code| REFUSALS.contains(&code))
            }
            _ => false,
        };
        if refused { Self::Refused(Arc::new(error)) } else { Self::Unavailable(Arc::new(error)) }
    }
}
