//! `cargo xtask cost`: what a month costs, from prices and from what requests take.

use serde::Deserialize;

use crate::argon2::{WHOLE_PROCESSOR_MB, share};
use crate::ui;

/// What an account has in the table, in KB: account, password, name, address, sessions, known networks.
const ACCOUNT_KB: f64 = 4.0;

/// How often instances read the keys and the secrets again, in an hour: every five minutes and every
/// minute, of as many instances as the load keeps busy.
const SECRET_READS_HOUR: f64 = 60.0;

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

/// What the users do in a month, and what is switched on.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    /// Number of users
    #[arg(long, default_value_t = 10_000)]
    pub users: u64,
    /// Logins per user and month
    #[arg(long, default_value_t = 4.0, value_parser = ui::amount)]
    pub logins: f64,
    /// Refreshes per user and month
    #[arg(long, default_value_t = 60.0, value_parser = ui::amount)]
    pub refreshes: f64,
    /// Requests to checked routes per user and month
    #[arg(long, default_value_t = 100.0, value_parser = ui::amount)]
    pub checked: f64,
    /// Requests to routes by token per user and month
    #[arg(long, default_value_t = 300.0, value_parser = ui::amount)]
    pub by_token: f64,
    /// Share of the users who register in the month, from 0 to 1
    #[arg(long, default_value_t = 0.05, value_parser = ui::amount)]
    pub new: f64,
    /// Mails per user and month
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
    /// That of a stack that nobody uses.
    #[must_use]
    pub fn idle() -> Self {
        Self::of(0)
    }

    /// That of so many users, by default.
    #[must_use]
    pub fn of(users: u64) -> Self {
        let (logins, refreshes, checked, by_token) = (4.0, 60.0, 100.0, 300.0);
        let (new, mails) = (0.05, 0.2);
        Self {
            users,
            logins,
            refreshes,
            checked,
            by_token,
            new,
            mails,
            arm64: false,
            alarms: false,
            requests: false,
        }
    }
}

/// What one request takes of Lambda and of the table.
struct Operation {
    name: &'static str,
    memory_mb: u32,
    hashes: f64,
    /// Waits on the database, one after the other.
    waits: f64,
    reads: f64,
    writes: f64,
}

/// Units as DynamoDB bills them: a strongly consistent read of up to 4 KB is one, a write of up to 1 KB is
/// one, and in a transaction two. The operations are those that the deployment test has recorded.
impl Operation {
    /// Account, password, name and address in one transaction; the network's counter.
    const REGISTER: Self = Self {
        name: "register",
        memory_mb: WHOLE_PROCESSOR_MB,
        hashes: 1.0,
        waits: 2.0,
        reads: 0.0,
        writes: 9.0,
    };
    /// Name, password, account, sessions and the known network; three counters that are counted up and given
    /// back; the session.
    const LOGIN: Self = Self {
        name: "login",
        memory_mb: WHOLE_PROCESSOR_MB,
        hashes: 1.0,
        waits: 3.0,
        reads: 7.0,
        writes: 8.0,
    };
    /// The account, the global epoch (kept for five minutes); the session.
    const REFRESH: Self =
        Self { name: "refresh", memory_mb: 256, hashes: 0.0, waits: 1.0, reads: 1.0, writes: 1.0 };
    /// Account and session, in one read each.
    const CHECKED: Self = Self {
        name: "checked route",
        memory_mb: 256,
        hashes: 0.0,
        waits: 1.0,
        reads: 2.0,
        writes: 0.0,
    };
    const BY_TOKEN: Self = Self {
        name: "route by token",
        memory_mb: 256,
        hashes: 0.0,
        waits: 0.0,
        reads: 0.0,
        writes: 0.0,
    };
    /// The outbox, the account, the code, and the end of all of them.
    const MAIL: Self =
        Self { name: "mail", memory_mb: 256, hashes: 0.0, waits: 4.0, reads: 3.0, writes: 4.0 };

    /// How long one takes, in milliseconds: processor time at the share of a processor that there is for
    /// the memory, and waits.
    fn milliseconds(&self, measured: &Measured) -> f64 {
        let processor = self.hashes * measured.hash_ms + measured.request_ms;
        processor / share(self.memory_mb) + self.waits * measured.database_ms
    }
}

/// What each request takes, as text.
fn requests() -> String {
    let measured = measured();
    let header = ["request", "time", "memory", "reads", "writes"];
    let mut rows = vec![header.map(str::to_owned)];
    for operation in [
        Operation::REGISTER,
        Operation::LOGIN,
        Operation::REFRESH,
        Operation::CHECKED,
        Operation::BY_TOKEN,
        Operation::MAIL,
    ] {
        rows.push([
            operation.name.to_owned(),
            format!("{:.1} ms", operation.milliseconds(&measured)),
            format!("{} MB", operation.memory_mb),
            format!("{:.0}", operation.reads),
            format!("{:.0}", operation.writes),
        ]);
    }
    let mut lines = ui::columns(&rows);
    lines.push(format!("{WHOLE_PROCESSOR_MB} MB correspond to a whole processor"));
    lines.join("\n")
}

/// A line of the bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The service.
    pub service: &'static str,
    /// What of it.
    pub what: String,
    /// In USD a month.
    pub cost: f64,
}

fn prices() -> Prices {
    serde_saphyr::from_str(include_str!("cost/prices.yaml")).expect("a test has read it")
}

fn measured() -> Measured {
    serde_saphyr::from_str(include_str!("cost/measured.yaml")).expect("a test has read it")
}

/// How long a login takes, in seconds.
pub(crate) fn login_seconds() -> f64 {
    Operation::LOGIN.milliseconds(&measured()) / 1e3
}

/// What a month costs.
#[must_use]
pub fn bill(load: &Load) -> Vec<Item> {
    let (prices, measured) = (prices(), measured());
    #[expect(clippy::cast_precision_loss, reason = "there are no 2^52 users")]
    let users = load.users as f64;
    let operations = [
        (Operation::REGISTER, users * load.new),
        (Operation::LOGIN, users * load.logins),
        (Operation::REFRESH, users * load.refreshes),
        (Operation::CHECKED, users * load.checked),
        (Operation::BY_TOKEN, users * load.by_token),
    ];
    let mail = (Operation::MAIL, users * load.mails);
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
    // As many instances as are busy on average, and one of each function that anybody asks.
    let busy = gb_seconds / (30.0 * 86_400.0) + if users > 0.0 { 5.0 } else { 0.0 };
    let secret_calls = busy * SECRET_READS_HOUR * 24.0 * 30.0;
    let gb_second =
        if load.arm64 { prices.lambda_gb_second_arm64 } else { prices.lambda_gb_second_x86_64 };
    let further = (requests / 1e6 - 300.0).max(0.0);
    let api = (requests / 1e6 - further) * prices.api_million_requests
        + further * prices.api_million_requests_further;
    let metrics = u32::try_from(process::Metric::ALL.len()).expect("there are a few");
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
        item("SES", format!("{} mails", count(mail.1)), mail.1 / 1e3 * prices.mail_thousand),
        item("Transfer", format!("{out:.2} GB beyond 100"), out * prices.transfer_gb),
    ];
    if load.alarms {
        let what = format!("alarms, on {ALARM_METRICS} metrics");
        items.push(item("CloudWatch", what, f64::from(ALARM_METRICS) * prices.alarm_metric_month));
    }
    items
}

/// How many metrics the alarms of the template look at.
pub const ALARM_METRICS: u32 = 18;

/// A number that a person reads.
fn count(number: f64) -> String {
    match number {
        0.0..1e4 => format!("{number:.0}"),
        1e4..1e6 => format!("{:.0} thousand", number / 1e3),
        _ => format!("{} million", (number / 1e5).round() / 10.0),
    }
}

/// The bill as text, the sum and what a user costs.
#[must_use]
pub fn render(load: &Load) -> String {
    let items = bill(load);
    let total: f64 = items.iter().map(|item| item.cost).sum();
    let mut rows: Vec<_> = items
        .iter()
        .map(|item| [item.service.to_owned(), item.what.clone(), format!("{:.2}", item.cost)])
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "there are no 2^52 users")]
    let users = if load.users == 0 {
        "nobody".to_owned()
    } else {
        format!("{} users", count(load.users as f64))
    };
    rows.push(["together".to_owned(), users, format!("{total:.2} USD a month")]);
    let mut lines = ui::columns(&rows);
    if load.users > 0 {
        let Load { logins, refreshes, checked, by_token, new, mails, .. } = load;
        lines.push(format!(
            "each {logins} logins, {refreshes} refreshes, {checked} requests to checked routes and \
             {by_token} by token, {mails} mails; {} % are new",
            new * 100.0
        ));
    }
    lines.push(format!("prices as of {}", prices().as_of));
    lines.join("\n")
}

/// Carries the command out.
pub fn run(load: &Load) {
    ui::line(if load.requests { requests() } else { render(load) });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(load: &Load, service: &str) -> f64 {
        bill(load).iter().filter(|item| item.service == service).map(|item| item.cost).sum()
    }

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 0.005, "{left} is not {right}");
    }

    #[test]
    fn an_idle_stack_costs_its_secrets() {
        let total: f64 = bill(&Load::idle()).iter().map(|item| item.cost).sum();
        close(total, 0.80);
    }

    /// By hand: a million logins, of 15.5 ms at a whole processor and three waits of 5 ms.
    #[test]
    fn a_million_logins() {
        let mut load = Load::of(1_000_000);
        load.logins = 1.0;
        (load.refreshes, load.checked, load.by_token, load.new, load.mails) =
            (0.0, 0.0, 0.0, 0.0, 0.0);
        let gb_seconds = 1e6 * 0.0305 * 1_769.0 / 1_024.0;
        close(cost(&load, "Lambda"), 0.20 + gb_seconds * 0.000_016_666_7);
        close(cost(&load, "API Gateway"), 1.0);
        close(cost(&load, "DynamoDB"), 7.0 * 0.125 + 8.0 * 0.625 + 4.0 * 0.45);
        close(cost(&load, "Transfer"), 0.0);
    }

    #[test]
    fn a_small_function_has_a_share_of_a_processor() {
        let measured = Measured {
            hash_ms: 20.0,
            request_ms: 1.0,
            database_ms: 5.0,
            log_bytes: 0.0,
            answer_bytes: 0.0,
        };
        close(Operation::BY_TOKEN.milliseconds(&measured), 1_769.0 / 256.0);
        close(Operation::LOGIN.milliseconds(&measured), 36.0);
    }

    #[test]
    fn the_requests_after_300_million_cost_less() {
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
        close(cost(&alarms, "CloudWatch") - cost(&load, "CloudWatch"), 1.8);
    }
}
