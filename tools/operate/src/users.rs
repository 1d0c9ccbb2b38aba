//! `cargo xtask users`: lists, finds, counts, deletes, imports and exports accounts, with the same code as the
//! functions.

mod delete;
mod export;
mod flask;
mod import;
mod listing;
mod pace;
mod progress;
mod reindex;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use identity::{Role, Standing};
use store::AccountFilter;
use template::project::Project;

use crate::target::Target;

/// Parses a role. The help and the error message list the valid names.
pub(crate) fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).try_map(|name| name.parse::<Role>())
}

/// Commands that read, delete and move accounts, and correct the lists of accounts.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum UsersCommand {
    /// List accounts, in no particular order
    List {
        /// The accounts to list.
        #[command(flatten)]
        filter: FilterArguments,
        /// Number of accounts to list
        #[arg(long, default_value_t = 50, conflicts_with = "all")]
        limit: usize,
        /// List every account
        #[arg(long)]
        all: bool,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// Show an account
    Show {
        /// Username or id of the account
        user: String,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// Find the account with a username or an email address
    Find {
        /// Username of the account
        #[arg(long, required_unless_present = "email")]
        username: Option<String>,
        /// Email address that the account has claimed
        #[arg(long)]
        email: Option<String>,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// Count accounts
    Count {
        /// The accounts to count.
        #[command(flatten)]
        filter: FilterArguments,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// Delete an account with its sessions, events and codes, and print the receipt as JSON. Nobody can claim
    /// its name and address while they are in quarantine
    Delete {
        /// Username or id of the account
        user: String,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// Import accounts from a file. An import that was interrupted continues when it runs again
    Import(Box<import::ImportArguments>),
    /// Export all accounts, with their password hashes, to a file that `users import` reads
    Export(export::ExportArguments),
    /// Correct the lists of accounts after an update from a version that did not maintain them. Run this once
    Reindex {
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
}

/// The options that choose accounts.
#[derive(Clone, Debug, clap::Args)]
pub struct FilterArguments {
    /// Only accounts with this role
    #[arg(long, value_parser = role())]
    role: Option<Role>,
    /// Only disabled accounts
    #[arg(long, conflicts_with = "active")]
    disabled: bool,
    /// Only active accounts
    #[arg(long)]
    active: bool,
}

impl From<FilterArguments> for AccountFilter {
    fn from(arguments: FilterArguments) -> Self {
        let standing = match (arguments.disabled, arguments.active) {
            (true, _) => Some(Standing::Disabled),
            (false, true) => Some(Standing::Active),
            (false, false) => None,
        };
        Self { role: arguments.role, standing }
    }
}

/// Runs a command.
///
/// # Errors
/// When the command fails. The message is one line.
pub async fn run(project: &Project, command: UsersCommand) -> anyhow::Result<()> {
    match command {
        UsersCommand::List { filter, limit, all, target } => {
            let limit = if all { usize::MAX } else { limit };
            listing::list(&target.open(project).await?, filter.into(), limit).await
        }
        UsersCommand::Show { user, target } => {
            listing::show(&target.open(project).await?, &user).await
        }
        UsersCommand::Find { username, email, target } => {
            listing::find(&target.open(project).await?, username.as_deref(), email.as_deref()).await
        }
        UsersCommand::Count { filter, target } => {
            listing::count(&target.open(project).await?, filter.into()).await
        }
        UsersCommand::Delete { user, yes, target } => {
            delete::run(&target.open(project).await?, &user, yes).await
        }
        UsersCommand::Import(arguments) => import::run(project, *arguments).await,
        UsersCommand::Export(arguments) => export::run(project, arguments).await,
        UsersCommand::Reindex { target } => reindex::run(&target.open(project).await?).await,
    }
}
