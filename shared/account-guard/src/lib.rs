//! The gate of checked routes: the verifier, and the accounts.
//!
//! A checked route names [`Checked`] as its access. After the token has been verified, account and session are
//! read with strongly consistent reads, concurrently. The account's current roles decide.

use auth::Verifier;
use dynamo::Client;
use keys::TableKeys;
use process::World;
use store::Accounts;
use token_guard::TokenGuard;
use web::{AccountGate, Gate, TokenGate};

pub use auth::CheckedCaller;

/// Every holder of a valid access token whose account is active and has the role that `R` requires, and whose
/// session has not ended.
pub type Checked<R> = web::CheckedBy<AccountGuard, R>;

/// A verifier of access tokens, and the accounts and sessions of the users' table.
#[derive(Debug)]
pub struct AccountGuard {
    tokens: TokenGuard,
    accounts: Accounts,
    table: store::Config,
}

impl AccountGuard {
    /// The database client, for the route's own tables: a process has one connection pool.
    #[must_use]
    pub fn database(&self) -> &Client {
        self.tokens.database()
    }

    /// The users' table.
    #[must_use]
    pub fn users(&self) -> &store::Config {
        &self.table
    }
}

impl Gate for AccountGuard {
    type Settings = (<TokenGuard as Gate>::Settings, store::Config);

    async fn open((tokens, table): Self::Settings, world: &World) -> Self {
        let tokens = TokenGuard::open(tokens, world).await;
        let accounts = Accounts::new(&table, tokens.database().clone());
        Self { tokens, accounts, table }
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
}
