//! The gate for routes that check only the access token: a verifier with the public key set.
//!
//! Such a route declares [`Has`] or [`SignedIn`] as its access. The token's signature and claims alone decide whether a
//! caller is admitted: neither the account nor the session is read. The route links no code for accounts, secrets or
//! private keys.
//!
//! ```
//! # use identity::{Admin, User};
//! # use token_guard::*;
//! # use web::*;
//! # struct Greeting;
//! impl Route for Greeting {
//!     # const NAME: &'static str = "greeting";
//!     # const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/greeting")];
//!     type Access = Has<Admin>;
//!     # type Settings = ();
//!     # type Input = NoBody;
//!     # type Output = Json<Message>;
//!     #
//!     # async fn open((): (), _: &TokenGuard, _: &World) -> Result<Self, BootError> {
//!     #     Ok(Self)
//!     # }
//!     // …
//!     async fn handle(&self, _: Caller<Admin>, _: NoBody) -> Result<Self::Output, Problem> {
//!         Ok(Json(Message::new("Hello!")))
//!     }
//! }
//! ```
//!
//! If the handler's caller does not match the route's access, the route does not compile:
//!
//! ```compile_fail,E0053
//! # use identity::{Admin, User};
//! # use token_guard::*;
//! # use web::*;
//! # struct Greeting;
//! impl Route for Greeting {
//!     # const NAME: &'static str = "greeting";
//!     # const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/greeting")];
//!     type Access = Has<Admin>;
//!     # type Settings = ();
//!     # type Input = NoBody;
//!     # type Output = Json<Message>;
//!     #
//!     # async fn open((): (), _: &TokenGuard, _: &World) -> Result<Self, BootError> {
//!     #     Ok(Self)
//!     # }
//!     // …
//!     async fn handle(&self, _: Caller<User>, _: NoBody) -> Result<Self::Output, Problem> {
//!         Ok(Json(Message::new("Hello!")))
//!     }
//! }
//! ```
//!
//! Only a verifier creates a [`Caller`]. Other code can pass it on:
//!
//! ```
//! # use identity::Admin;
//! # use token_guard::Caller;
//! fn pass_on(caller: Caller<Admin>) -> Caller<Admin> {
//!     caller
//! }
//! ```
//!
//! Other code cannot create a [`Caller`]:
//!
//! ```compile_fail,E0451
//! # use identity::{Admin, User};
//! # use token_guard::Caller;
//! fn promote(caller: Caller<User>) -> Caller<Admin> {
//!     Caller { claims: caller.claims().clone(), requirement: std::marker::PhantomData }
//! }
//! ```

use std::fmt;
use std::sync::Arc;

use auth::{GlobalEpoch, KeyError, KeySource, TokenRules, Verifier};
use dynamo::Client;
use keys::TableKeys;
use process::World;
use web::{Gate, TokenGate};

pub use auth::Caller;

/// Access for any holder of a valid access token with the role that `R` requires.
pub type Has<R> = web::ByToken<TokenGuard, R>;

/// Access for any holder of a valid access token.
pub type SignedIn = Has<identity::Anyone>;

/// Verifies access tokens with the public key set in the `KeysTable`.
#[derive(Clone)]
pub struct TokenGuard {
    verifier: Arc<Verifier<TableKeys>>,
    database: Client,
}

impl TokenGuard {
    /// The database client. Routes use it for their own tables, so that a process has one connection pool.
    #[must_use]
    pub fn database(&self) -> &Client {
        &self.database
    }

    /// The global epoch, which is read with the key set.
    ///
    /// # Errors
    /// When the key set cannot be read and the cached one is too old.
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
