//! `cargo xtask cost`: estimates the monthly bill from the prices and the resources that requests use.

use anyhow::Context;
use serde::Deserialize;
use template::project::Project;
use template::{Template, ui};

use crate::argon2::{WHOLE_PROCESSOR_MB, share};

/// The length of a month in seconds.
pub(crate) const MONTH_SECONDS: f64 = 30.0 * 86_400.0;

/// The size of all items of one account in the table, in KB: account, password, name, address, sessions, known
/// networks, list entries, and the events of 90 days.
pub(crate) const ACCOUNT_KB: f64 = 10.0;

/// How long an instance caches a secret, in seconds. This copies `secrets::CacheSeconds::MAX`, because the crate
/// `secrets` would link the Secrets Manager client into this tool. A test compares the two.
const SECRETS_CACHE_SECONDS: i32 = 60;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    as_of: String,
    lambda_million_requests: f64,
    lambda_gb_second_x86_64: f64,
    lambda_gb_second_arm64: f64,
    api_million_requests: f64,
    api_million_requests_further: f64,
    dynamodb_million_writes: f64,
    dynamodb_million_reads: f64,
    dynamodb_gb_month: f64,
    dynamodb_recovery_gb_month: f64,
    secret_month: f64,
    secret_10_thousand_calls: f64,
    log_gb: f64,
    log_gb_month: f64,
    metric_month: f64,
    alarm_metric_month: f64,
    mail_thousand: f64,
    transfer_gb: f64,
    transfer_free_gb: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Measured {
    hash_ms: f64,
    request_ms: f64,
    database_ms: f64,
    log_bytes: f64,
    answer_bytes: f64,
}

/// What users do in a month, how the stack is deployed, and what to print.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    /// Number of users
    #[arg(long, default_value_t = 10_000)]
    pub users: u64,
    /// Logins per user per month
    #[arg(long, default_value_t = 4.0, value_parser = ui::amount)]
    pub logins: f64,
    /// Refreshes per user per month
    #[arg(long, default_value_t = 60.0, value_parser = ui::amount)]
    pub refreshes: f64,
    /// Requests per user per month to checked routes
    #[arg(long, default_value_t = 100.0, value_parser = ui::amount)]
    pub checked: f64,
    /// Requests per user per month to routes that verify only the token
    #[arg(long, default_value_t = 300.0, value_parser = ui::amount)]
    pub by_token: f64,
    /// Share of users who register in the month, from 0 to 1
    #[arg(long, default_value_t = 0.05, value_parser = ui::amount)]
    pub new: f64,
    /// Emails per user per month
    #[arg(long, default_value_t = 0.2, value_parser = ui::amount)]
    pub mails: f64,
    /// Run the functions on arm64
    #[arg(long)]
    pub arm64: bool,
    /// Include the alarms
    #[arg(long)]
    pub alarms: bool,
    /// Print the time, memory and database units of each kind of request instead of the bill
    #[arg(long)]
    pub requests: bool,
}

impl Load {
    /// The load that `users` users cause, with default values for all other options.
    ///
    /// # Panics
    /// When an option has no default.
    #[must_use]
    pub fn of(users: u64) -> Self {
        Self { users, ..crate::defaults() }
    }
}

/// The resources that one request uses.
struct Operation {
    name: &'static str,
    /// The memory of the function that handles the request.
    memory_mb: u32,
    hashes: f64,
    /// The number of sequential round trips to the database.
    waits: f64,
    /// Read units as `DynamoDB` bills them: one for a strongly consistent read of up to 4 KB.
    reads: f64,
    /// Write units: one for a write of up to 1 KB, but two for each such write or check in a transaction.
    writes: f64,
}

impl Operation {
    /// The duration in milliseconds: the processor time, divided by the share of a processor that the memory
    /// provides, plus the round trips to the database.
    fn milliseconds(&self, measured: &Measured) -> f64 {
        let processor = self.hashes * measured.hash_ms + measured.request_ms;
        processor / share(self.memory_mb) + self.waits * measured.database_ms
    }
}

/// The kinds of requests, with the reads and writes that the deployment test recorded.
struct Operations {
    register: Operation,
    login: Operation,
    refresh: Operation,
    checked: Operation,
    by_token: Operation,
    mail: Operation,
}

impl Operations {
    /// The operations, with the memory that `template` gives to each function.
    fn of(template: &Template) -> anyhow::Result<Self> {
        let memory = |name: &str| {
            let function = template.function(name);
            let function = function.with_context(|| format!("template.yaml has no {name}"))?;
            anyhow::Ok(function.memory_mb)
        };
        Ok(Self {
            // Writes the network's counter. In one transaction, writes the account, password, name, address, list entry
            // and event, and checks two tombstones.
            register: Operation {
                name: "register",
                memory_mb: memory("register")?,
                hashes: 1.0,
                waits: 2.0,
                reads: 0.0,
                writes: 17.0,
            },
            // Reads the name, password, account and sessions; then whether the network is known, once for the presented
            // name and once for each of the account's two names; and then the account again. Seven writes reserve the
            // attempt on three counters and release it. Writes the session and the event in one transaction. Then
            // records the time of the login in the account.
            login: Operation {
                name: "login",
                memory_mb: memory("login")?,
                hashes: 1.0,
                waits: 4.0,
                reads: 8.0,
                writes: 12.0,
            },
            // Reads the account and writes the session. The global epoch is cached.
            refresh: Operation {
                name: "refresh",
                memory_mb: memory("refresh")?,
                hashes: 0.0,
                waits: 1.0,
                reads: 1.0,
                writes: 1.0,
            },
            // Reads the account and the session.
            checked: Operation {
                name: "checked route",
                memory_mb: memory("protected")?,
                hashes: 0.0,
                waits: 1.0,
                reads: 2.0,
                writes: 0.0,
            },
            by_token: Operation {
                name: "route by token",
                memory_mb: memory("protected-route")?,
                hashes: 0.0,
                waits: 0.0,
                reads: 0.0,
                writes: 0.0,
            },
            // Writes an item to the outbox and later deletes it. Reads this item, the owner of the address, and the
            // account. Stores the code, its pointer and its digits in one transaction, which also
            // checks the account.
            mail: Operation {
                name: "email",
                memory_mb: memory("mailer")?,
                hashes: 0.0,
                waits: 5.0,
                reads: 3.0,
                writes: 10.0,
            },
        })
    }
}

/// Formats a table of the resources that each kind of request uses.
fn requests(template: &Template) -> anyhow::Result<String> {
    let measured = measured();
    let Operations { register, login, refresh, checked, by_token, mail } =
        Operations::of(template)?;
    let header = ["request", "time", "memory", "reads", "writes"];
    let mut rows = vec![header.map(str::to_owned)];
    for operation in [register, login, refresh, checked, by_token, mail] {
        rows.push([
            operation.name.to_owned(),
            format!("{:.1} ms", operation.milliseconds(&measured)),
            format!("{} MB", operation.memory_mb),
            format!("{:.0}", operation.reads),
            format!("{:.0}", operation.writes),
        ]);
    }
    let mut lines = ui::columns(&rows);
    lines.push(format!("a function with {WHOLE_PROCESSOR_MB} MB has one whole processor"));
    Ok(lines.join("\n"))
}

/// A line of the bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The AWS service.
    pub service: &'static str,
    /// The quantities that are billed, in words.
    pub what: String,
    /// The cost in USD per month.
    pub cost: f64,
}

fn prices() -> Prices {
    serde_saphyr::from_str(include_str!("cost/prices.yaml")).expect("a test parses this file")
}

fn measured() -> Measured {
    serde_saphyr::from_str(include_str!("cost/measured.yaml")).expect("a test parses this file")
}

/// The duration of a login in seconds.
///
/// # Errors
/// When the template lacks a function.
pub(crate) fn login_seconds(template: &Template) -> anyhow::Result<f64> {
    Ok(Operations::of(template)?.login.milliseconds(&measured()) / 1e3)
}

/// The monthly bill, by service.
///
/// # Errors
/// When the template lacks a function.
///
/// # Panics
/// When the number of metrics does not fit into a `u32`.
pub fn bill(template: &Template, load: &Load) -> anyhow::Result<Vec<Item>> {
    let (prices, measured) = (prices(), measured());
    let Operations { register, login, refresh, checked, by_token, mail } =
        Operations::of(template)?;
    #[expect(clippy::cast_precision_loss, reason = "no deployment has 2^52 users")]
    let users = load.users as f64;
    let operations = [
        (register, users * load.new),
        (login, users * load.logins),
        (refresh, users * load.refreshes),
        (checked, users * load.checked),
        (by_token, users * load.by_token),
    ];
    let mail = (mail, users * load.mails);
    let requests: f64 = operations.iter().map(|(_, count)| count).sum();
    let invocations = requests + mail.1;
    let all = || operations.iter().chain([&mail]);
    let gb_seconds: f64 = all()
        .map(|(operation, count)| {
            let seconds = operation.milliseconds(&measured) / 1e3;
            count * seconds * f64::from(operation.memory_mb) / 1_024.0
        })
        .sum();
    let reads: f64 = all().map(|(operation, count)| count * operation.reads).sum();
    let writes: f64 = all().map(|(operation, count)| count * operation.writes).sum();
    let gigabytes = users * ACCOUNT_KB / 1e6;
    let logs = requests * measured.log_bytes / 1e9;
    let out = (requests * measured.answer_bytes / 1e9 - prices.transfer_free_gb).max(0.0);
    // The average number of busy instances, plus one for each function in use.
    let busy = gb_seconds / MONTH_SECONDS + if users > 0.0 { 5.0 } else { 0.0 };
    let secret_calls = busy * MONTH_SECONDS / f64::from(SECRETS_CACHE_SECONDS);
    let gb_second =
        if load.arm64 { prices.lambda_gb_second_arm64 } else { prices.lambda_gb_second_x86_64 };
    let further = (requests / 1e6 - 300.0).max(0.0);
    let api = (requests / 1e6 - further) * prices.api_million_requests
        + further * prices.api_million_requests_further;
    let to_u32 = |number: usize| u32::try_from(number).expect("there are few metrics");
    let metrics = to_u32(process::Metric::ALL.len());
    let item = |service, what: String, cost| Item { service, what, cost };
    let mut items = vec![
        item(
            "Lambda",
            format!("{} invocations, {} GB-s", count(invocations), count(gb_seconds)),
            invocations / 1e6 * prices.lambda_million_requests + gb_seconds * gb_second,
        ),
        item("API Gateway", format!("{} requests", count(requests)), api),
        item(
            "DynamoDB",
            format!("{} reads, {} writes, {gigabytes:.2} GB", count(reads), count(writes)),
            reads / 1e6 * prices.dynamodb_million_reads
                + writes / 1e6 * prices.dynamodb_million_writes
                + gigabytes * (prices.dynamodb_gb_month + prices.dynamodb_recovery_gb_month),
        ),
        item(
            "Secrets Manager",
            format!("2 secrets, {} calls", count(secret_calls)),
            2.0 * prices.secret_month + secret_calls / 1e4 * prices.secret_10_thousand_calls,
        ),
        item(
            "CloudWatch",
            format!("{logs:.2} GB of logs, {metrics} metrics"),
            logs * (prices.log_gb + prices.log_gb_month)
                + if users > 0.0 { f64::from(metrics) * prices.metric_month } else { 0.0 },
        ),
        item("SES", format!("{} emails", count(mail.1)), mail.1 / 1e3 * prices.mail_thousand),
        item("Transfer", format!("{out:.2} GB beyond the free 100 GB"), out * prices.transfer_gb),
    ];
    if load.alarms {
        let metrics = to_u32(template.alarm_metrics);
        let what = format!("alarms on {metrics} metrics");
        items.push(item("CloudWatch", what, f64::from(metrics) * prices.alarm_metric_month));
    }
    Ok(items)
}

/// Formats a number, if it is large, with `thousand` or `million`: `4.6 million`.
fn count(number: f64) -> String {
    match number {
        0.0..1e4 => format!("{number:.0}"),
        1e4..1e6 => format!("{:.0} thousand", number / 1e3),
        _ => format!("{} million", (number / 1e5).round() / 10.0),
    }
}

/// Formats the bill with its total and the load.
fn render(template: &Template, load: &Load) -> anyhow::Result<String> {
    let items = bill(template, load)?;
    let total: f64 = items.iter().map(|item| item.cost).sum();
    let mut rows: Vec<_> = items
        .iter()
        .map(|item| [item.service.to_owned(), item.what.clone(), format!("{:.2}", item.cost)])
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "no deployment has 2^52 users")]
    let users = format!("{} users", count(load.users as f64));
    rows.push(["total".to_owned(), users, format!("{total:.2} USD per month")]);
    let mut lines = ui::columns(&rows);
    if load.users > 0 {
        let Load { logins, refreshes, checked, by_token, new, mails, .. } = load;
        lines.push(format!(
            "per user: {logins} logins, {refreshes} refreshes, {checked} requests to checked routes, {by_token} to \
             routes that verify only the token, {mails} emails; {}% of the users are new",
            new * 100.0
        ));
    }
    lines.push(format!("prices as of {}", prices().as_of));
    Ok(lines.join("\n"))
}

/// Prints the bill, or the resources that each kind of request uses.
///
/// # Errors
/// When the template cannot be read or lacks a function.
pub fn run(project: &Project, load: &Load) -> anyhow::Result<()> {
    let template = Template::read(&project.template()).context("template.yaml")?;
    ui::line(if load.requests { requests(&template)? } else { render(&template, load)? });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Template {
        Template::read(&Project::here().template()).unwrap()
    }

    fn cost(load: &Load, service: &str) -> f64 {
        let bill = bill(&template(), load).unwrap();
        bill.iter().filter(|item| item.service == service).map(|item| item.cost).sum()
    }

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 0.005, "{left} is not {right}");
    }

    #[test]
    fn the_cache_time_of_secrets_matches_the_crate_secrets() {
        assert_eq!(i64::from(SECRETS_CACHE_SECONDS), secrets::CacheSeconds::MAX);
    }

    #[test]
    fn an_idle_stack_costs_only_its_secrets() {
        let bill = bill(&template(), &Load::of(0)).unwrap();
        let total: f64 = bill.iter().map(|item| item.cost).sum();
        close(total, 0.80);
    }

    /// A login takes 15.5 ms on a whole processor, and four round trips of 5 ms.
    #[test]
    fn a_million_logins_cost_what_was_computed_by_hand() {
        let mut load = Load::of(1_000_000);
        load.logins = 1.0;
        (load.refreshes, load.checked, load.by_token, load.new, load.mails) =
            (0.0, 0.0, 0.0, 0.0, 0.0);
        let gb_seconds = 1e6 * 0.0355 * 1_769.0 / 1_024.0;
        close(cost(&load, "Lambda"), 0.20 + gb_seconds * 0.000_016_666_7);
        close(cost(&load, "API Gateway"), 1.0);
        close(cost(&load, "DynamoDB"), 8.0 * 0.125 + 12.0 * 0.625 + 10.0 * 0.45);
        close(cost(&load, "Transfer"), 0.0);
    }

    #[test]
    fn processor_time_grows_as_memory_shrinks() {
        let measured = Measured {
            hash_ms: 20.0,
            request_ms: 1.0,
            database_ms: 5.0,
            log_bytes: 0.0,
            answer_bytes: 0.0,
        };
        let operations = Operations::of(&template()).unwrap();
        close(operations.by_token.milliseconds(&measured), 1_769.0 / 256.0);
        close(operations.login.milliseconds(&measured), 41.0);
    }

    #[test]
    fn requests_beyond_300_million_cost_less() {
        let mut load = Load::of(400_000_000);
        load.by_token = 1.0;
        (load.logins, load.refreshes, load.checked, load.new, load.mails) =
            (0.0, 0.0, 0.0, 0.0, 0.0);
        close(cost(&load, "API Gateway"), 300.0 + 90.0);
    }

    #[test]
    fn arm64_costs_less_and_alarms_more() {
        let load = Load::of(10_000);
        let arm64 = Load { arm64: true, ..load.clone() };
        assert!(cost(&arm64, "Lambda") < cost(&load, "Lambda"));
        let alarms = Load { alarms: true, ..load.clone() };
        close(cost(&alarms, "CloudWatch") - cost(&load, "CloudWatch"), 2.0);
    }
}
