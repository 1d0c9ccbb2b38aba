//! Rotates the signing keys: the rotation function of the secret `SigningKeys`.
//!
//! Secrets Manager invokes it once for each of four steps, in order, and again for a step that failed.

use std::sync::Arc;

use process::{BootError, Clock, Env, Random, SystemClock, SystemRandom};
use rotation::{Rotation, RotationError, Step};
use secrets::{Secret, Versions};
use serde::{Deserialize, Serialize};
use web::EventHandler;

/// The function.
pub struct RotateKeys {
    rotation: Rotation,
}

/// The event that Secrets Manager sends. `SecretId` is not read: configuration determines which secret is
/// rotated, so the invoker of the function cannot choose another.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    client_request_token: String,
    step: Step,
}

/// Nothing: Secrets Manager looks only for success.
#[derive(Debug, Serialize)]
pub struct Done {}

impl EventHandler for RotateKeys {
    const NAME: &'static str = "rotate-keys";
    const INVOKED_BY: &'static str = "Secrets Manager";
    type Event = Event;
    type Answer = Done;
    type Error = RotationError;

    async fn cold_start(env: &Env) -> Result<Self, BootError> {
        let (database, keys, secret, config) = env.read(|reader| {
            let database = dynamo::Config::read(reader);
            let keys = keys::Config::read(reader);
            let secret = secrets::Config::read(reader, "SIGNING_KEYS_SECRET");
            let config = rotation::Config::read(reader);
            Some((database?, keys?, secret?, config?))
        })?;
        let versions = Versions::of(Secret::new(&secret));
        let table = keys.table(dynamo::connect(&database));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        Ok(Self { rotation: Rotation::new(config, versions, table, clock, random) })
    }

    async fn handle(&self, event: Event) -> Result<Done, RotationError> {
        self.rotation.step(event.step, &event.client_request_token).await?;
        Ok(Done {})
    }
}
