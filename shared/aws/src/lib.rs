//! Settings shared by the clients of all AWS services: connections, deadlines, retries.
//!
//! Each SDK has its own configuration type, so this crate provides the parts ([`http_client`], [`timeouts`],
//! [`retries`], [`WithinDeadline`]), and the crate that owns a client assembles them.

use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeSerializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use process::Deadline;

/// The maximum time to open a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The maximum time of one attempt, including opening the connection.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2_500);

/// How long an idle connection is kept. Lambda freezes an instance between requests, and the server may close the
/// connection in the meantime. A request on a closed connection wastes an attempt.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The HTTP client of a function: the SDK's default client, but with [`IDLE_TIMEOUT`].
#[must_use]
pub fn http_client() -> SharedHttpClient {
    http_client_with(IDLE_TIMEOUT)
}

fn http_client_with(idle_timeout: Duration) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = ConnectorBuilder::default()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .proxy_config(ProxyConfig::from_env())
            .pool_idle_timeout(idle_timeout);
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.build()
    })
}

/// The timeouts of a client whose operations may take up to `operation`, including retries.
#[must_use]
pub fn timeouts(operation: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(operation)
        .build()
}

/// Allows up to `attempts` attempts. The pauses between them are short, because a caller is waiting for the result.
#[must_use]
pub fn retries(attempts: u32) -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(attempts)
        .with_initial_backoff(Duration::from_millis(50))
        .with_max_backoff(Duration::from_millis(500))
}

/// Ends each operation of a client before the invocation's [`Deadline`], so that the handler still has time to react to
/// the error.
#[derive(Debug)]
pub struct WithinDeadline;

impl Intercept for WithinDeadline {
    fn name(&self) -> &'static str {
        "WithinDeadline"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(left) = Deadline::left_for_a_call() else { return Ok(()) };
        let configured = state.load::<TimeoutConfig>().and_then(TimeoutConfig::operation_timeout);
        let operation = configured.map_or(left, |configured| configured.min(left));
        // The client's own configuration supplies every timeout that is not set here.
        let timeouts = TimeoutConfig::builder().operation_timeout(operation).build();
        state.interceptor_state().store_put(timeouts);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
    use aws_sdk_dynamodb::{Client, Config};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

    /// Answers every request with an empty object. Assumes that each request arrives in one piece.
    async fn answer(mut connection: TcpStream) {
        let mut request = [0; 8192];
        while connection.read(&mut request).await.is_ok_and(|read| read > 0) {
            if connection.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }

    /// A server that counts its connections.
    async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(connection));
            }
        });
        (address, connections)
    }

    /// Counts the connections that two requests use if the second is sent at least 3 ms after the first response.
    async fn connections(idle_timeout: Duration) -> usize {
        let (address, connections) = server().await;
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("id", "key", None, None, "test"))
            .endpoint_url(format!("http://{address}"))
            .http_client(http_client_with(idle_timeout))
            .timeout_config(timeouts(Duration::from_secs(6)))
            .retry_config(retries(1));
        let client = Client::from_conf(config.build());
        client.list_tables().send().await.unwrap();
        let idle = Instant::now();
        while idle.elapsed() < Duration::from_millis(3) {
            tokio::task::yield_now().await;
        }
        client.list_tables().send().await.unwrap();
        connections.load(Ordering::SeqCst)
    }

    #[test]
    fn every_timeout_leaves_time_for_another_try() {
        assert!(CONNECT_TIMEOUT * 2 < ATTEMPT_TIMEOUT);
        let operation = Duration::from_secs(6);
        assert!(ATTEMPT_TIMEOUT * 2 < operation);
        let timeouts = timeouts(operation);
        assert_eq!(timeouts.connect_timeout(), Some(CONNECT_TIMEOUT));
        assert_eq!(timeouts.operation_attempt_timeout(), Some(ATTEMPT_TIMEOUT));
        assert_eq!(timeouts.operation_timeout(), Some(operation));
    }

    #[tokio::test]
    async fn a_connection_idle_for_too_long_is_not_reused() {
        assert_eq!(IDLE_TIMEOUT, Duration::from_secs(20));
        assert_eq!(connections(Duration::from_millis(1)).await, 2);
        assert_eq!(connections(Duration::from_hours(1)).await, 1);
    }
}
