//! The gate of checked and fresh routes: a verifier of access tokens, and a reader of accounts and sessions.
//!
//! A checked route declares [`Checked`] as its access. After the token has been verified, the account and the session
//! are read concurrently, with strongly consistent reads. Access depends on the account's current roles, not on
//! those in the token. A fresh route declares [`Fresh`]: the user must also have authenticated recently.
//!
//! ```
//! # use account_guard::*;
//! # use identity::Admin;
//! # use web::*;
//! struct Greeting;
//!
//! impl Route for Greeting {
//!     const NAME: &'static str = "greeting";
//!     const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/greeting")];
//!     type Access = Checked<Admin>;
//!     type Settings = ();
//!     type Input = NoBody;
//!     type Output = Json<Message>;
//!
//!     async fn open((): (), _: &AccountGuard, _: &World) -> Result<Self, BootError> {
//!         Ok(Self)
//!     }
//!
//!     async fn handle(&self, _: CheckedCaller<Admin>, _: NoBody) -> Result<Self::Output, Problem> {
//!         Ok(Json(Message::new("Hello!")))
//!     }
//! }
//! ```
//!
//! A handler whose caller does not match its access does not compile:
//!
//! ```compile_fail,E0053
//! # use account_guard::*;
//! # use identity::{Admin, Anyone};
//! # use web::*;
//! # struct Greeting;
//! impl Route for Greeting {
//!     # const NAME: &'static str = "greeting";
//!     # const ENDPOINTS: &'static [Endpoint] = &[Endpoint::get("/greeting")];
//!     type Access = Checked<Anyone>;
//!     # type Settings = ();
//!     # type Input = NoBody;
//!     # type Output = Json<Message>;
//!     #
//!     # async fn open((): (), _: &AccountGuard, _: &World) -> Result<Self, BootError> {
//!     #     Ok(Self)
//!     # }
//!     // …
//!     async fn handle(&self, _: CheckedCaller<Admin>, _: NoBody) -> Result<Self::Output, Problem> {
//!         Ok(Json(Message::new("Hello!")))
//!     }
//! }
//! ```

use auth::{GlobalEpoch, KeyError, MaxAge, Verifier};
use dynamo::Client;
use keys::TableKeys;
use process::World;
use store::Accounts;
use token_guard::TokenGuard;
use web::{AccountGate, Gate, TokenGate};

pub use auth::{CheckedCaller, FreshCaller};

/// Access for any holder of a valid access token, if the account is active and has the role that `R` requires, and the
/// session has not ended.
pub type Checked<R> = web::CheckedBy<AccountGuard, R>;

/// Access for callers whom [`Checked`] admits, if they authenticated, by a login or a step-up, within the last
/// `FRESH_SECONDS` seconds.
pub type Fresh<R> = web::FreshBy<AccountGuard, R>;

/// A verifier of access tokens and a reader of the accounts and sessions in the users' table.
#[derive(Clone, Debug)]
pub struct AccountGuard {
    tokens: TokenGuard,
    accounts: Accounts,
    table: store::Config,
    max_age: MaxAge,
}

impl AccountGuard {
    /// The database client. Routes use it for their own tables, so that a process has one connection pool.
    #[must_use]
    pub fn database(&self) -> &Client {
        self.tokens.database()
    }

    /// The global epoch, which is read with the key set.
    ///
    /// # Errors
    /// When the key set cannot be read and the cached one is too old.
    pub async fn epoch(&self) -> Result<GlobalEpoch, KeyError> {
        self.tokens.epoch().await
    }

    /// The configuration of the users' table.
    #[must_use]
    pub fn users(&self) -> &store::Config {
        &self.table
    }
}

impl Gate for AccountGuard {
    type Settings = (<TokenGuard as Gate>::Settings, store::Config, MaxAge);

    fn new((tokens, table, max_age): Self::Settings, world: &World) -> Self {
        let tokens = TokenGuard::new(tokens, world);
        let accounts = Accounts::new(&table, tokens.database().clone());
        Self { tokens, accounts, table, max_age }
    }

    async fn warm(&self) {
        self.tokens.warm().await;
    }
}

impl TokenGate for AccountGuard {
    type Keys = TableKeys;

    fn verifier(&self) -> &Verifier<TableKeys> {
        self.tokens.verifier()
    }
}

impl AccountGate for AccountGuard {
    type Accounts = Accounts;

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    fn max_age(&self) -> MaxAge {
        self.max_age
    }
}
