//! Which tables and secrets a command works on: those of the running dev server, of a database file that no
//! server has open, or of a deployed stack.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use dynamo::Client;
use keys::KeysTable;
use process::{Clock, Env};

use crate::database::{LocalDatabase, Storage};
use crate::dev;
use crate::local_secrets::{LocalSecrets, StackSecrets};
use crate::project::Project;
use crate::stack::{DeployedStack, StackArguments};
use crate::state::DevState;
use crate::template::Template;
use crate::ui;

/// The database that a command works on.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// Use this database file, which must not be open in a dev server [default: the database of the
    /// running dev server, or .local/latchkey.db]
    #[arg(long, value_name = "PATH", conflicts_with = "stack")]
    db: Option<PathBuf>,

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
    /// The settings of the functions: those of the running dev server or of the deployed stack. Without
    /// either, those of this process.
    pub env: Env,
    /// The clock of the functions: for a deployed stack that of AWS, since this machine's may be wrong.
    pub clock: Arc<dyn Clock>,
    /// The database that this process runs because no dev server does; it ends with this value.
    pub(crate) _resting: Option<LocalDatabase>,
}

/// What to do if there is no database file yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    /// Refuse.
    Refuse,
    /// Create it where the dev server would. A path that the user typed may be misspelled, so that file must
    /// exist.
    CreateDefault,
}

/// Where the tables are.
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub(crate) enum Place {
    /// In a deployed stack.
    Deployed(DeployedStack),
    /// In the database of the running dev server.
    Running(DevState),
    /// In a file that this process is to open.
    Resting(PathBuf),
}

impl Target {
    /// Opens the tables of an existing database.
    ///
    /// # Errors
    /// When there is no usable database. In one line.
    pub async fn open(&self, project: &Project) -> anyhow::Result<Tables> {
        self.find(project, IfMissing::Refuse).await?.open(project).await
    }

    /// Finds the tables. Nothing has been created yet.
    ///
    /// # Errors
    /// When the stack does not exist, or there is no database and `if_missing` requires one. In one line.
    pub(crate) async fn find(
        &self,
        project: &Project,
        if_missing: IfMissing,
    ) -> anyhow::Result<Place> {
        if let Some(stack) = self.stack.find().await? {
            return Ok(Place::Deployed(stack));
        }
        if self.db.is_none()
            && let Some(state) = DevState::of_running(project)?
        {
            return Ok(Place::Running(state));
        }
        let path = self.db.clone().unwrap_or_else(|| project.local(dev::DATABASE));
        let shown = path.display();
        let exists = path.try_exists().map_err(|error| {
            anyhow::anyhow!("cannot read the database {shown}: {}", ui::reason(&error))
        })?;
        match (exists, &self.db, if_missing) {
            (true, ..) | (false, None, IfMissing::CreateDefault) => {}
            (false, Some(_), _) => {
                bail!("there is no database {shown}: cargo xtask dev --db {shown} creates one")
            }
            (false, None, IfMissing::Refuse) => {
                bail!("there is no database {shown} yet: cargo xtask dev creates it")
            }
        }
        Ok(Place::Resting(path))
    }
}

impl Place {
    /// The settings of the functions: those of the running dev server or of the deployed stack. Without
    /// either, those of this process.
    pub(crate) fn settings(&self) -> Env {
        match self {
            Self::Deployed(stack) => stack.settings().clone(),
            Self::Running(state) => Env::from_iter(state.environment.clone()),
            Self::Resting(_) => Env::of_process(),
        }
    }

    /// Opens the tables.
    ///
    /// # Errors
    /// When they cannot be used. In one line.
    pub(crate) async fn open(self, project: &Project) -> anyhow::Result<Tables> {
        let env = self.settings();
        let secrets = LocalSecrets::of(project).versions();
        let clock = Arc::clone(&secrets.clock);
        match self {
            Self::Deployed(stack) => stack.tables(),
            Self::Running(state) => {
                let client = dev::client(&dev::local_aws(&state.database))?;
                Ok(Tables {
                    keys: KeysTable::new(state.keys_table, client.clone()),
                    users: store::Config::new(state.users_table),
                    client,
                    secrets,
                    env,
                    clock,
                    _resting: None,
                })
            }
            Self::Resting(path) => {
                let template = Template::read(&project.template()).context("template.yaml")?;
                let table = |variable| {
                    let table = template.table_of(variable);
                    table.with_context(|| format!("template.yaml sets no {variable}"))
                };
                let (users, keys) = (table("USERS_TABLE")?, table("KEYS_TABLE")?);
                if !path.try_exists().unwrap_or(true) {
                    project.make_local()?;
                }
                let storage = Storage::File(path);
                let database = LocalDatabase::start(&storage, &template.tables).await?;
                let client = dev::client(&dev::local_aws(&database.endpoint()))?;
                Ok(Tables {
                    keys: KeysTable::new(keys, client.clone()),
                    users: store::Config::new(users),
                    client,
                    secrets,
                    env,
                    clock,
                    _resting: Some(database),
                })
            }
        }
    }
}
