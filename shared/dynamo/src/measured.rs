//! Measures the duration and the retries of operations.

use std::time::Instant;

use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use process::Metric;

/// Measures every operation of a client.
#[derive(Debug)]
pub(crate) struct Measured;

#[derive(Debug)]
struct StartedAt(Instant);

impl Storable for StartedAt {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Measured {
    fn name(&self) -> &'static str {
        "Measured"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        state.interceptor_state().store_put(StartedAt(Instant::now()));
        Ok(())
    }

    /// Runs after failed operations too.
    fn read_after_execution(
        &self,
        _: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        state: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(StartedAt(started_at)) = state.load::<StartedAt>() {
            Metric::DatabaseTime.add(started_at.elapsed().as_secs_f64() * 1e3);
        }
        let attempts = state.load::<RequestAttempts>().map_or(0, RequestAttempts::attempts);
        if attempts > 1 {
            Metric::DatabaseRetries.add(f64::from(attempts - 1));
        }
        Ok(())
    }
}
