//! The tables and secrets of a database that a command has opened.

use std::sync::Arc;

use dynamo::Client;
use keys::KeysTable;
use local::database::LocalDatabase;
use local::local_secrets::StackSecrets;
use process::{Clock, Env};

/// Tables, secrets and settings, wherever they are.
pub struct Tables {
    /// The client of the database.
    pub client: Client,
    /// The users' table.
    pub users: store::Config,
    /// The keys' table.
    pub keys: KeysTable,
    /// The secrets.
    pub secrets: StackSecrets,
    /// The settings of the functions: those of the running dev server or of the deployed stack. Without
    /// either, those of this process.
    pub env: Env,
    /// The clock of the functions. For a deployed stack it is that of AWS, because this machine's may be wrong.
    pub clock: Arc<dyn Clock>,
    /// The embedded database, if this process serves it. It stops when this value is dropped.
    pub(crate) _embedded: Option<LocalDatabase>,
}
