//! The gate of routes by token: a verifier over the public key set.
//!
//! A route by token names [`Has`] or [`SignedIn`] as its access. The token's signature and claims decide, and
//! nothing about the caller is read. Such a route links no accounts, no secrets and no private keys.

use std::fmt;
use std::sync::Arc;

use auth::{GlobalEpoch, KeyError, KeySource, TokenRules, Verifier};
use dynamo::Client;
use keys::TableKeys;
use process::World;
use web::{Gate, TokenGate};

pub use auth::Caller;

/// Every holder of a valid access token with the role that `R` requires.
pub type Has<R> = web::ByToken<TokenGuard, R>;

/// Every holder of a valid access token.
pub type SignedIn = Has<identity::Anyone>;

/// A verifier of access tokens over the public key set in the `KeysTable`.
#[derive(Clone)]
pub struct TokenGuard {
    verifier: Arc<Verifier<TableKeys>>,
    database: Client,
}

impl TokenGuard {
    /// The database client, for the route's own tables: a process has one connection pool.
    #[must_use]
    pub fn database(&self) -> &Client {
        &self.database
    }

    /// The global epoch, which is read with the key set.
    ///
    /// # Errors
    /// When the key set cannot be read and the previous one is too old.
    pub async fn epoch(&self) -> Result<GlobalEpoch, KeyError> {
        self.verifier.keys().epoch().await
    }
}

impl fmt::Debug for TokenGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenGuard").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl Gate for TokenGuard {
    type Settings = (dynamo::Config, keys::Config, TokenRules);

    fn new((database, keys, rules): Self::Settings, world: &World) -> Self {
        let database = dynamo::connect(&database);
        let clock = Arc::clone(&world.clock);
        let keys = TableKeys::new(&keys, database.clone(), Arc::clone(&clock));
        Self { verifier: Arc::new(Verifier::new(rules, keys, clock)), database }
    }

    async fn warm(&self) {
        self.verifier.keys().warm().await;
    }
}

impl TokenGate for TokenGuard {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        &self.verifier
    }
}
