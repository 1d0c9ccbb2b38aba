//! The database that a command uses: the running dev server's, a file that no server has open, or a deployed stack's.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use keys::KeysTable;
use local::database::{self, LocalDatabase, Storage};
use local::local_secrets::LocalSecrets;
use process::Env;
use template::project::Project;
use template::state::DevState;
use template::{Template, ui};

use crate::stack::{DeployedStack, StackArguments};
use crate::tables::Tables;

/// The options that choose the database.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// Use this database file, which must not be open in a dev server [default: the database of the
    /// running dev server, or .local/latchkey.db]
    #[arg(long, value_name = "PATH", conflicts_with = "stack")]
    db: Option<PathBuf>,

    #[command(flatten)]
    stack: StackArguments,
}

/// What to do when the database file is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    /// Refuse.
    Refuse,
    /// Create it, but only at the dev server's path: a path that the user typed may be misspelled.
    CreateDefault,
}

/// Where the tables are.
#[expect(clippy::large_enum_variant, reason = "each command creates one value")]
pub(crate) enum Location {
    /// In a deployed stack.
    Deployed(DeployedStack),
    /// In the database of the running dev server.
    Running(DevState),
    /// In a database file, which this process has to serve.
    File(PathBuf),
}

impl Target {
    /// Opens the tables of an existing database.
    ///
    /// # Errors
    /// When there is no usable database. The message is one line.
    pub async fn open(&self, project: &Project) -> anyhow::Result<Tables> {
        self.find(project, IfMissing::Refuse).await?.open(project).await
    }

    /// Finds the tables without creating anything.
    ///
    /// # Errors
    /// When the stack does not exist, or `if_missing` requires a database and there is none. The message is one line.
    pub(crate) async fn find(
        &self,
        project: &Project,
        if_missing: IfMissing,
    ) -> anyhow::Result<Location> {
        if let Some(stack) = self.stack.find().await? {
            return Ok(Location::Deployed(stack));
        }
        if self.db.is_none()
            && let Some(state) = DevState::of_running(project)?
        {
            return Ok(Location::Running(state));
        }
        let path = self.db.clone().unwrap_or_else(|| project.local(database::FILE));
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
        Ok(Location::File(path))
    }
}

impl Location {
    /// The settings of the functions. They come from the deployed stack or the running dev server; without either,
    /// from the environment of this process.
    pub(crate) fn settings(&self) -> Env {
        match self {
            Self::Deployed(stack) => stack.settings().clone(),
            Self::Running(state) => Env::from_iter(state.environment.clone()),
            Self::File(_) => Env::of_process(),
        }
    }

    /// Opens the tables.
    ///
    /// # Errors
    /// When they cannot be opened. The message is one line.
    pub(crate) async fn open(self, project: &Project) -> anyhow::Result<Tables> {
        let env = self.settings();
        let secrets = LocalSecrets::of(project).versions();
        let clock = Arc::clone(&secrets.clock);
        match self {
            Self::Deployed(stack) => stack.tables(),
            Self::Running(state) => {
                let client = database::connect(&state.database)?;
                Ok(Tables {
                    keys: KeysTable::new(state.keys_table, client.clone()),
                    users: store::Config::new(state.users_table).keeping(env.settings()?),
                    client,
                    secrets,
                    env,
                    clock,
                    _embedded: None,
                })
            }
            Self::File(path) => {
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
                let client = database::connect(&database.endpoint())?;
                Ok(Tables {
                    keys: KeysTable::new(keys, client.clone()),
                    users: store::Config::new(users).keeping(env.settings()?),
                    client,
                    secrets,
                    env,
                    clock,
                    _embedded: Some(database),
                })
            }
        }
    }
}
