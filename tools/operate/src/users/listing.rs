//! Lists, shows, finds and counts accounts.

use anyhow::{Context, anyhow, bail};
use identity::{Account, Email, Standing, UserId, Username, is_hidden};
use store::{AccountFilter, Administration, Listings, Position};
use template::ui;

use crate::admin;
use crate::tables::Tables;

/// The number of accounts that are read at once.
const PAGE: usize = 100;

fn listings(tables: &Tables) -> Listings {
    Listings::new(&tables.users, tables.client.clone())
}

fn administration(tables: &Tables) -> Administration {
    Administration::new(&tables.users, tables.client.clone())
}

/// Prints up to `limit` accounts, one per line.
pub(super) async fn list(
    tables: &Tables,
    filter: AccountFilter,
    limit: usize,
) -> anyhow::Result<()> {
    let (listings, mut position, mut listed) = (listings(tables), Some(Position::default()), 0);
    while let Some(from) = position
        && listed < limit
    {
        let page = listings.page(filter, from, PAGE.min(limit - listed)).await;
        let page = page.map_err(anyhow::Error::new)?;
        listed += page.accounts.len();
        for account in &page.accounts {
            ui::line(row(account));
        }
        position = page.next;
    }
    if position.is_some() {
        ui::note(format_args!("listed {listed} accounts; there may be more: use --limit or --all"));
    }
    Ok(())
}

/// An account in one line. The columns before the username have a fixed width.
fn row(account: &Account) -> String {
    let standing = match account.standing {
        Standing::Active => "active",
        Standing::Disabled => "disabled",
    };
    let (id, roles, name) = (account.id, account.roles.to_string(), account.username.as_str());
    format!("{id}  {standing:8}  {roles:22}  {name}")
}

/// Prints the account with this id or username.
pub(super) async fn show(tables: &Tables, user: &str) -> anyhow::Result<()> {
    print(&account(tables, user).await?, tables);
    Ok(())
}

/// Reads the account with this id or username.
pub(super) async fn account(tables: &Tables, user: &str) -> anyhow::Result<Account> {
    let account = match user.parse::<UserId>() {
        Ok(id) => administration(tables).account(id).await.map_err(anyhow::Error::new)?,
        Err(_) => by_name(tables, &username(user)?).await?,
    };
    account.with_context(|| format!("there is no account {user}"))
}

fn print(account: &Account, tables: &Tables) {
    let now = tables.clock.now();
    let mut rows = admin::rows(account, now);
    let last_login = account.last_login_at.map(|at| admin::time(at, now));
    rows.extend([
        ["last login".to_owned(), last_login.unwrap_or_else(|| "unknown".to_owned())],
        ["attributes".to_owned(), visible(&account.attributes.to_json())],
    ]);
    admin::print(&rows);
}

/// Escapes characters that a terminal could interpret or hide.
fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_hidden(character) {
            visible.extend(character.escape_unicode());
        } else {
            visible.push(character);
        }
    }
    visible
}

/// Prints the account with this username and this email address. At least one of the two is given.
pub(super) async fn find(
    tables: &Tables,
    username: Option<&str>,
    email: Option<&str>,
) -> anyhow::Result<()> {
    let username = username.map(self::username).transpose()?;
    let email = email.map(Email::parse).transpose();
    let email = email.map_err(|error| anyhow!("the email address {error}"))?;
    let found = match (&username, &email) {
        (Some(name), _) => by_name(tables, name).await?,
        (None, Some(email)) => {
            let found = administration(tables).account_by_email(email.canonical()).await;
            found.map_err(anyhow::Error::new)?
        }
        (None, None) => None,
    };
    let has = |account: &Account, email: &Email| {
        account.email.as_ref().is_some_and(|it| it.canonical() == email.canonical())
    };
    match found.filter(|account| email.as_ref().is_none_or(|email| has(account, email))) {
        Some(account) => print(&account, tables),
        None => bail!("no account has that name or address"),
    }
    Ok(())
}

/// Prints the number of accounts.
pub(super) async fn count(tables: &Tables, filter: AccountFilter) -> anyhow::Result<()> {
    ui::line(listings(tables).count(filter).await.map_err(anyhow::Error::new)?);
    Ok(())
}

fn username(text: &str) -> anyhow::Result<Username> {
    Username::parse(text).map_err(|error| anyhow!("the username {error}"))
}

async fn by_name(tables: &Tables, name: &Username) -> anyhow::Result<Option<Account>> {
    let found = administration(tables).account_by_name(name.canonical()).await;
    found.map_err(anyhow::Error::new)
}
