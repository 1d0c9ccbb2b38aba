//! `cargo xtask admin`: creates and administers accounts, with the same code as the functions.

use std::io::{BufRead, IsTerminal, stdin};
use std::sync::Arc;

use anyhow::{Context, bail};
use events::Occasion;
use identity::{
    Account, Email, EmailStanding, Role, Roles, SessionEpoch, Standing, UserId, Username,
};
use jiff::Timestamp;
use passwords::{
    HASH_FORMATS, HashError, Hasher, MAX_PASSWORD_BYTES, Password, PasswordHash, Policy,
};
use process::SystemRandom;
use store::{AddressClaim, Administration, NewAccount, NewEmail, NewMail, Registrations};
use template::project::Project;
use template::ui;

use crate::tables::Tables;
use crate::target::{IfMissing, Target};
use crate::users::role;

/// Commands that create and administer accounts.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum AdminCommand {
    /// Create an account. Reserved usernames such as `root` are allowed
    Create {
        /// Username of the account
        username: String,
        /// Email address of the account
        #[arg(long)]
        email: Option<String>,
        /// Complete set of roles, separated by commas
        #[arg(long, value_delimiter = ',', default_value = "user", value_parser = role())]
        roles: Vec<Role>,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
        /// Import an account: read the password hash from the first line of standard input, in the
        /// format of argon2id, bcrypt, Werkzeug or Django. The first login replaces it with a hash in
        /// Latchkey's own format
        #[arg(long, conflicts_with = "password_stdin")]
        hash_stdin: bool,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// Replace the roles of an account
    SetRoles {
        /// Username of the account
        username: String,
        /// Complete set of roles, separated by commas
        #[arg(long, value_delimiter = ',', required = true, value_parser = role())]
        roles: Vec<Role>,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// Disable an account: end its sessions and refuse its logins
    Disable {
        /// Username of the account
        username: String,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// Enable a disabled account; its ended sessions stay ended
    Enable {
        /// Username of the account
        username: String,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
    /// Show an account
    Show {
        /// Username of the account
        username: String,
        /// The options that choose the database.
        #[command(flatten)]
        target: Target,
    },
}

/// Runs a command.
///
/// # Errors
/// When the command fails or is not confirmed. The message is one line.
pub async fn run(project: &Project, command: AdminCommand) -> anyhow::Result<()> {
    match command {
        AdminCommand::Create { username, email, roles, password_stdin, hash_stdin, target } => {
            let username = Username::parse(&username)
                .map_err(|error| anyhow::anyhow!("the username {error}"))?;
            let email = email
                .as_deref()
                .map(Email::parse)
                .transpose()
                .map_err(|error| anyhow::anyhow!("the email address {error}"))?;
            let location = target.find(project, IfMissing::CreateDefault).await?;
            let settings = location.settings();
            let claim = settings.read(AddressClaim::read)?;
            let hash = if hash_stdin {
                // Refuse an expensive hash now, not when its owner signs in.
                hash(read_line(&mut stdin().lock())?)?
            } else {
                let policy = settings.settings::<Policy>()?;
                let password = password(password_stdin, &policy, &username, email.as_ref())?;
                Hasher::new().hash(&password, &SystemRandom).await?
            };
            let users = Users::of(location.open(project).await?);
            let email = email.map(|address| (address, claim));
            let account = users.create(username, email, roles.into_iter().collect(), hash).await?;
            users.show(&account);
            Ok(())
        }
        AdminCommand::SetRoles { username, roles, yes, target } => {
            let users = Users::open(project, &target).await?;
            let account = users.find(&username).await?;
            let roles: Roles = roles.into_iter().collect();
            users.show(&account);
            if !yes {
                ui::confirm(&format!("Replace the roles of this account with {roles}?"))?;
            }
            users
                .administration
                .set_roles(account.id, &roles, users.occasion())
                .await
                .map_err(in_one_line)?;
            ui::line(format_args!("{} now has the roles {roles}", account.username.as_str()));
            Ok(())
        }
        AdminCommand::Disable { username, target } => {
            let users = Users::open(project, &target).await?;
            let account = users.find(&username).await?;
            users
                .administration
                .disable(account.id, users.occasion())
                .await
                .map_err(in_one_line)?;
            ui::line(format_args!(
                "{} is disabled; routes that check only the token accept its access tokens until \
                 they expire",
                account.username.as_str()
            ));
            Ok(())
        }
        AdminCommand::Enable { username, target } => {
            let users = Users::open(project, &target).await?;
            let account = users.find(&username).await?;
            users.administration.enable(account.id, users.occasion()).await.map_err(in_one_line)?;
            ui::line(format_args!("{} is enabled and can sign in", account.username.as_str()));
            Ok(())
        }
        AdminCommand::Show { username, target } => {
            let users = Users::open(project, &target).await?;
            users.show(&users.find(&username).await?);
            Ok(())
        }
    }
}

/// The operations on the users table.
struct Users {
    administration: Administration,
    registrations: Registrations,
    /// Dropping this value stops an embedded database.
    tables: Tables,
}

impl Users {
    async fn open(project: &Project, target: &Target) -> anyhow::Result<Self> {
        Ok(Self::of(target.open(project).await?))
    }

    fn of(tables: Tables) -> Self {
        Self {
            administration: Administration::new(&tables.users, tables.client.clone()),
            registrations: Registrations::new(&tables.users, tables.client.clone()),
            tables,
        }
    }

    async fn find(&self, username: &str) -> anyhow::Result<Account> {
        let name =
            Username::parse(username).map_err(|error| anyhow::anyhow!("the username {error}"))?;
        let account = self.administration.account_by_name(name.canonical()).await;
        account
            .map_err(in_one_line)?
            .with_context(|| format!("there is no account {}", name.as_str()))
    }

    /// Describes this command for the events that it causes.
    fn occasion(&self) -> impl Fn() -> Occasion {
        let clock = Arc::clone(&self.tables.clock);
        move || Occasion::of_operator(clock.now(), &SystemRandom)
    }

    fn show(&self, account: &Account) {
        print(&rows(account, self.tables.clock.now()));
    }

    async fn create(
        &self,
        username: Username,
        email: Option<(Email, AddressClaim)>,
        roles: Roles,
        hash: PasswordHash,
    ) -> anyhow::Result<Account> {
        let now = self.tables.clock.now();
        let id = UserId::new(now, &SystemRandom);
        let email = email.map(|(address, claim)| match claim {
            AddressClaim::AtOnce => NewEmail::Claimed(address),
            AddressClaim::OnceVerified => {
                let mail = NewMail::verification(
                    id,
                    SessionEpoch::FIRST,
                    address.clone(),
                    now,
                    &SystemRandom,
                );
                NewEmail::Pending { address, mail: Some(mail) }
            }
        });
        let account = NewAccount {
            id,
            username,
            email,
            roles,
            password: hash.into_stored(),
            created_at: now,
            invite: None,
            occasion: Occasion::of_operator(now, &SystemRandom),
        };
        let peppers = self.tables.peppers().await?;
        self.registrations.create(account, &peppers).await.map_err(in_one_line)
    }
}

/// Wraps a store error, so that it is printed with its sources, which contain the reason.
fn in_one_line(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    anyhow::Error::new(error)
}

/// Parses the password hash of an imported account.
fn hash(text: String) -> anyhow::Result<PasswordHash> {
    PasswordHash::from_stored(&identity::StoredHash::new(text)).map_err(|error| match error {
        HashError::Stored => anyhow::anyhow!("unknown hash format: expected one of {HASH_FORMATS}"),
        other => other.into(),
    })
}

fn password(
    from_stdin: bool,
    policy: &Policy,
    username: &Username,
    email: Option<&Email>,
) -> anyhow::Result<Password> {
    let given = if from_stdin {
        read_line(&mut stdin().lock())?
    } else if stdin().is_terminal() {
        let given = rpassword::prompt_password("Password: ").context("cannot read a password")?;
        let again = rpassword::prompt_password("Again: ").context("cannot read a password")?;
        if given != again {
            bail!("the passwords do not match");
        }
        given
    } else {
        bail!("cannot ask for a password without a terminal: use --password-stdin");
    };
    let password =
        Password::parse(given).map_err(|error| anyhow::anyhow!("the password {error}"))?;
    let violations = policy.violations(&password, Some(username), email).context(
        "cannot check the password: set PASSWORD_BREACHED_FILTER and PASSWORD_COMMON_FILE to \
         local copies of the lists",
    )?;
    if !violations.is_empty() {
        let violations: Vec<_> = violations.iter().map(ToString::to_string).collect();
        bail!("the password {}", violations.join(" and "));
    }
    Ok(password)
}

/// Reads the first line without its line break. Reads at most three bytes more than the longest password has.
fn read_line(input: &mut dyn BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    // The limit allows for one byte more than the longest password has, so that the length check can refuse a longer
    // password, and for the two bytes of a line break.
    let limit = u64::try_from(MAX_PASSWORD_BYTES).unwrap_or(u64::MAX).saturating_add(3);
    std::io::Read::take(input, limit)
        .read_line(&mut line)
        .context("cannot read a password from standard input")?;
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

/// Describes an account: a name and a value in each row.
pub(crate) fn rows(account: &Account, now: Timestamp) -> Vec<[String; 2]> {
    let email = match (&account.email, account.email_standing) {
        (None, _) => match &account.pending_email {
            Some(email) => format!("{} (not confirmed yet)", email.as_str()),
            None => "none".to_owned(),
        },
        (Some(email), EmailStanding::Verified) => format!("{} (verified)", email.as_str()),
        (Some(email), EmailStanding::Unverified) => format!("{} (not verified)", email.as_str()),
    };
    let standing = match account.standing {
        Standing::Active => "active",
        Standing::Disabled => "disabled",
    };
    let rows = [
        ["username", account.username.as_str()],
        ["id", &account.id.to_string()],
        ["registered", &time(account.created_at, now)],
        ["email", &email],
        ["roles", &account.roles.to_string()],
        ["standing", standing],
    ];
    rows.map(|row| row.map(str::to_owned)).to_vec()
}

/// Prints rows as columns.
pub(crate) fn print(rows: &[[String; 2]]) {
    for row in ui::columns(rows) {
        ui::line(row);
    }
}

/// A time and how long ago it was.
pub(crate) fn time(at: Timestamp, now: Timestamp) -> String {
    format!("{} ({} ago)", at.strftime("%FT%TZ"), age(at, now))
}

/// The age of an account in words, which helps an operator to recognize the account.
fn age(from: Timestamp, to: Timestamp) -> String {
    let seconds = (to.as_second() - from.as_second()).max(0);
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_rounded_down_to_whole_units() {
        let at = |second| Timestamp::from_second(second).unwrap();
        for (seconds, expected) in [
            (-5, "0 seconds"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (7_199, "1 hour"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age(at(1_000), at(1_000 + seconds)), expected);
        }
    }

    #[test]
    fn only_the_line_break_is_removed_from_a_line() {
        for (input, expected) in
            [("abc\n", "abc"), (" abc \r\nnext", " abc "), ("abc", "abc"), ("", "")]
        {
            assert_eq!(read_line(&mut input.as_bytes()).unwrap(), expected, "{input:?}");
        }
        let long = "x".repeat(5_000);
        assert!(read_line(&mut long.as_bytes()).unwrap().len() > MAX_PASSWORD_BYTES);
    }
}
