//! Which tables and secrets a command works on: those of the running dev server, of a database that
//! rests, or of a deployed stack.

use anyhow::Context;
use auth::Env;
use dynamo::Client;
use keys::KeysTable;

use crate::database::{LocalDatabase, Storage};
use crate::dev;
use crate::local_secrets::{LocalSecrets, StackSecrets};
use crate::project::Project;
use crate::stack::StackArguments;
use crate::state::DevState;
use crate::template::Template;

/// Which database.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// File of a database that no dev server has open; by default that of the running dev server,
    /// or the one that it would open
    #[arg(long, value_name = "PATH", conflicts_with = "stack")]
    db: Option<Storage>,

    #[command(flatten)]
    stack: StackArguments,
}

/// The tables, opened.
pub struct Tables {
    /// What speaks to the database.
    pub client: Client,
    /// The users' table.
    pub users: store::Config,
    /// The keys' table.
    pub keys: KeysTable,
    /// The secrets.
    pub secrets: StackSecrets,
    /// The settings: those of the running dev server, of the deployed stack, or of this process.
    pub env: Env,
    /// Ours when no dev server is running; it ends with this value.
    pub(crate) _resting: Option<LocalDatabase>,
}

impl Target {
    /// Opens the tables.
    ///
    /// # Errors
    /// When there is no usable database. In one line.
    pub async fn open(&self, project: &Project) -> anyhow::Result<Tables> {
        if let Some(stack) = self.stack.find().await? {
            return stack.tables();
        }
        let secrets = LocalSecrets::of(project).versions();
        let running = match self.db {
            None => DevState::of_running(project),
            Some(_) => None,
        };
        if let Some(state) = running {
            let client = dev::client(&dev::local_aws(&state.database))?;
            return Ok(Tables {
                keys: KeysTable::new(state.keys_table, client.clone()),
                users: store::Config::new(state.users_table),
                client,
                secrets,
                env: Env::from_iter(state.environment),
                _resting: None,
            });
        }
        let template = Template::read(&project.template()).context("template.yaml")?;
        let table = |variable| {
            template.table_of(variable).with_context(|| format!("template.yaml sets no {variable}"))
        };
        let (users, keys) = (table("USERS_TABLE")?, table("KEYS_TABLE")?);
        project.make_local().context("cannot make the folder of local state")?;
        let storage = match &self.db {
            Some(storage) => storage.clone(),
            None => Storage::File(project.local(dev::DATABASE)),
        };
        let database = LocalDatabase::start(&storage, &template.tables).await?;
        let client = dev::client(&dev::local_aws(&database.endpoint()))?;
        Ok(Tables {
            keys: KeysTable::new(keys, client.clone()),
            users: store::Config::new(users),
            client,
            secrets,
            env: Env::of_process(),
            _resting: Some(database),
        })
    }
}
