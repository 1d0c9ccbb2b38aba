//! Rotates the signing keys. This is the rotation function of the secret `SigningKeys`.
//!
//! Secrets Manager invokes the function for each of the four steps, in order, and repeats a step that fails.

use std::sync::Arc;

use lambda::{BootError, EventHandler, World};
use rotation::{Rotation, RotationError, Step};
use secrets::{Secret, SigningKeysSecret, Versions};
use serde::{Deserialize, Serialize};

/// Performs one step of a key rotation.
pub struct RotateKeys {
    rotation: Rotation,
}

/// The event that Secrets Manager sends. `SecretId` is ignored: the configuration names the secret, so the invoker
/// cannot choose another.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    client_request_token: String,
    step: Step,
}

/// An empty answer. Secrets Manager only checks whether the invocation succeeded.
#[derive(Debug, Serialize)]
pub struct Done {}

impl EventHandler for RotateKeys {
    const NAME: &'static str = "rotate-keys";
    const INVOKED_BY: &'static str = "Secrets Manager";
    type Settings = (dynamo::Config, keys::Config, SigningKeysSecret, rotation::Config);
    type Event = Event;
    type Answer = Done;
    type Error = RotationError;

    async fn open(
        (database, keys, secret, config): Self::Settings,
        world: &World,
    ) -> Result<Self, BootError> {
        let versions = Versions::of(Secret::new(secret.config()));
        let table = keys.table(dynamo::connect(&database));
        let (clock, random) = (Arc::clone(&world.clock), Arc::clone(&world.random));
        Ok(Self { rotation: Rotation::new(config, versions, table, clock, random) })
    }

    async fn handle(&self, event: Event) -> Result<Done, RotationError> {
        self.rotation.step(event.step, &event.client_request_token).await?;
        Ok(Done {})
    }
}
