//! The database that a command has opened.

use std::sync::Arc;

use dynamo::Client;
use keys::KeysTable;
use local::database::LocalDatabase;
use local::local_secrets::StackSecrets;
use peppers::Peppers;
use process::{Clock, Env};

/// The tables and secrets of an opened database, and the settings of its functions.
pub struct Tables {
    /// A client connected to the database.
    pub client: Client,
    /// The configuration of the users' table.
    pub users: store::Config,
    /// The table of published keys.
    pub keys: KeysTable,
    /// The signing keys and peppers.
    pub secrets: StackSecrets,
    /// The settings of the functions. They come from the deployed stack or the running dev server, or, without
    /// either, from the environment of this process.
    pub env: Env,
    /// The clock of the functions. A deployed stack uses AWS's clock, because this machine's clock may be wrong.
    pub clock: Arc<dyn Clock>,
    /// The embedded database, if this process serves it. Dropping this value stops it.
    pub(crate) _embedded: Option<LocalDatabase>,
}

impl Tables {
    /// The peppers. Creates the first one for a local database that no dev server has used yet.
    ///
    /// # Errors
    /// When the peppers cannot be read or created.
    pub(crate) async fn peppers(&self) -> anyhow::Result<Peppers> {
        let rotation = self.secrets.pepper_rotation(&self.env)?;
        match rotation.current().await? {
            Some(peppers) => Ok(peppers),
            None => Ok(rotation.add().await?),
        }
    }
}
