//! `cargo xtask scale`: simulates the busiest hour, and shows how close the busiest items come to their limits.

mod lists;

use std::collections::HashMap;

use anyhow::Context;
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::rngs::StdRng;
use rand_distr::{Poisson, Zipf};
use template::project::Project;
use template::{Template, ui};

use crate::cost::{Load, MONTH_SECONDS, login_seconds};

/// The writes per second that DynamoDB accepts on one partition, and thus on one item (Amazon DynamoDB Developer
/// Guide, "Best practices for designing and using partition keys effectively").
const ITEM_WRITES: f64 = 1_000.0;

/// The strongly consistent reads per second that one partition accepts, from the page that [`ITEM_WRITES`] cites.
const ITEM_READS: f64 = 3_000.0;

/// How long an instance caches the key set, in seconds. This copies `keys::FRESH_SECONDS`, because the crate `keys`
/// would link the DynamoDB client into this tool. A test compares the two.
const KEYS_CACHE_SECONDS: i32 = 300;

/// The maximum number of instances that Lambda adds to one function in ten seconds (AWS Lambda Developer Guide, "Lambda
/// scaling behavior").
const NEW_INSTANCES: f64 = 1_000.0;

/// The default limit on the concurrent instances of an account (AWS Lambda Developer Guide, "Lambda quotas").
const INSTANCES: f64 = 1_000.0;

/// The load to simulate.
#[derive(Clone, Debug, clap::Args)]
pub struct ScaleOptions {
    /// Number of users
    #[arg(long, default_value_t = 10_000_000)]
    pub users: u64,
    /// Number of networks from which the users connect
    #[arg(long, default_value_t = 2_000_000)]
    pub networks: u64,
    /// Load of the busiest hour, as a multiple of the average
    #[arg(long, default_value_t = 5.0, value_parser = ui::amount)]
    pub peak: f64,
    /// Seconds of the busiest hour to simulate
    #[arg(long, default_value_t = 600)]
    pub seconds: u32,
    /// Exponent of the Zipf distribution of requests over users
    #[arg(long, default_value_t = 0.5, value_parser = ui::amount)]
    pub user_exponent: f64,
    /// Exponent of the Zipf distribution of users over networks
    #[arg(long, default_value_t = 1.0, value_parser = ui::amount)]
    pub network_exponent: f64,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// A kind of item, and how often each kind of request reads and writes it.
struct Kind {
    name: &'static str,
    per: Per,
    /// The reads and writes by a login, a refresh, and a request to a checked route.
    touched: [(f64, f64); 3],
}

/// The owner of an item. All requests of one user, network or session touch the same item.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Per {
    User,
    Network,
    /// Every user is assumed to have one session, so a session gets the same requests as its user.
    Session,
}

/// The kinds of items. The deployment test recorded the reads and writes of a login.
const KINDS: [Kind; 5] = [
    Kind { name: "account", per: Per::User, touched: [(2.0, 1.0), (1.0, 0.0), (1.0, 0.0)] },
    Kind {
        name: "name and password",
        per: Per::User,
        touched: [(2.0, 0.0), (0.0, 0.0), (0.0, 0.0)],
    },
    Kind { name: "session", per: Per::Session, touched: [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0)] },
    Kind {
        name: "counter of a username",
        per: Per::User,
        touched: [(0.0, 2.0), (0.0, 0.0), (0.0, 0.0)],
    },
    Kind {
        name: "counter of a network",
        per: Per::Network,
        touched: [(0.0, 2.0), (0.0, 0.0), (0.0, 0.0)],
    },
];

/// The logins, refreshes and checked requests of one second, by user or by network.
type Requests = HashMap<u64, [f64; 3]>;

/// Simulates the load and formats the result.
///
/// # Errors
/// When an option is invalid, or the template lacks a function.
fn render(template: &Template, options: &ScaleOptions) -> anyhow::Result<String> {
    let load = Load::of(options.users);
    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^52 users")]
    let (users, networks) = (options.users as f64, options.networks as f64);
    let rate = |monthly: f64| users * monthly / MONTH_SECONDS * options.peak;
    let rates = [rate(load.logins), rate(load.refreshes), rate(load.checked)];
    let by_user =
        Zipf::new(users, options.user_exponent).context("invalid --users or --user-exponent")?;
    let by_network = Zipf::new(networks, options.network_exponent)
        .context("invalid --networks or --network-exponent")?;
    let mut random = StdRng::seed_from_u64(options.seed);
    // The most reads and writes that one item of each kind got in any second.
    let mut hottest = [(0.0_f64, 0.0_f64); KINDS.len()];
    for _ in 0..options.seconds {
        let (mut of_users, mut of_networks) = (Requests::new(), Requests::new());
        for (index, rate) in rates.iter().enumerate() {
            let count = Poisson::new(*rate).context("invalid request rate")?.sample(&mut random);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "counts and ranks are positive and small"
            )]
            for _ in 0..count as u64 {
                let user = by_user.sample(&mut random) as u64;
                let network = by_network.sample(&mut random) as u64;
                for (requests, caller) in [(&mut of_users, user), (&mut of_networks, network)] {
                    if let Some(counted) = requests.entry(caller).or_default().get_mut(index) {
                        *counted += 1.0;
                    }
                }
            }
        }
        for (kind, hottest) in KINDS.iter().zip(&mut hottest) {
            let requests = if kind.per == Per::Network { &of_networks } else { &of_users };
            for counted in requests.values() {
                let sum = |of: fn(&(f64, f64)) -> f64| {
                    counted.iter().zip(&kind.touched).map(|(n, it)| n * of(it)).sum::<f64>()
                };
                hottest.0 = hottest.0.max(sum(|it| it.0));
                hottest.1 = hottest.1.max(sum(|it| it.1));
            }
        }
    }
    let mut lines = vec![format!(
        "at the peak, per second: {:.0} logins, {:.0} refreshes, {:.0} requests to checked routes",
        rates[0], rates[1], rates[2]
    )];
    let header = ["item", "reads/s", "writes/s", "share of the limit"];
    let mut rows = vec![header.map(str::to_owned)];
    for (kind, (reads, writes)) in KINDS.iter().zip(hottest) {
        let used = (reads / ITEM_READS).max(writes / ITEM_WRITES);
        rows.push([
            kind.name.to_owned(),
            format!("{reads:.0}"),
            format!("{writes:.0}"),
            format!("{:.1}%", used * 100.0),
        ]);
    }
    let shard = f64::from(lists::hottest_shard(rate(load.new), options.seconds, options.seed)?);
    rows.push([
        "shard of the list of users".to_owned(),
        "0".to_owned(),
        format!("{shard:.0}"),
        format!("{:.1}%", shard / ITEM_WRITES * 100.0),
    ]);
    let keys = keys_reads(&rates);
    rows.push([
        "the key set".to_owned(),
        format!("{keys:.0}"),
        "0".to_owned(),
        format!("{:.1}%", keys / ITEM_READS * 100.0),
    ]);
    lines.extend(ui::columns(&rows));
    lines.push(format!(
        "an item supports {ITEM_WRITES} writes or {ITEM_READS} strongly consistent reads per second"
    ));
    lines.push(format!(
        "one network supports {:.0} logins per second, one user {:.0} refreshes or {:.0} checked requests per \
         second",
        ITEM_WRITES / 2.0,
        ITEM_WRITES,
        ITEM_READS
    ));
    lines.push(format!(
        "the key set supports {:.0} instances, or {:.0} cold starts per second; Lambda adds at most {:.0} \
         instances per second to a function",
        ITEM_READS * f64::from(KEYS_CACHE_SECONDS),
        ITEM_READS,
        NEW_INSTANCES / 10.0
    ));
    let login = login_seconds(template)?;
    lines.push(format!(
        "{INSTANCES} instances, an account's default limit, support {:.0} logins per second at {:.1} ms each",
        (INSTANCES / login / 1e3).floor() * 1e3,
        login * 1e3
    ));
    lines.extend(lists::ways(users));
    Ok(lines.join("\n"))
}

/// The reads of the key set per second. Every instance reads it again when its cached copy expires, and every cold
/// start reads it. Assumes 10 ms per request, and one cold start per second for every hundred busy instances.
fn keys_reads(rates: &[f64; 3]) -> f64 {
    let busy: f64 = rates.iter().sum::<f64>() * 0.010;
    busy.max(25.0) / f64::from(KEYS_CACHE_SECONDS) + busy / 100.0
}

/// Simulates the load and prints the result.
///
/// # Errors
/// When an option is invalid, or the template cannot be read or lacks a function.
pub fn run(project: &Project, options: &ScaleOptions) -> anyhow::Result<()> {
    let template = Template::read(&project.template()).context("template.yaml")?;
    ui::line(render(&template, options)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(users: u64, networks: u64) -> ScaleOptions {
        ScaleOptions { users, networks, seconds: 5, ..crate::defaults() }
    }

    fn simulate(options: &ScaleOptions) -> String {
        render(&Template::read(&Project::here().template()).unwrap(), options).unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_result() {
        let options = small(1_000_000, 1_000);
        assert_eq!(simulate(&options), simulate(&options));
        let other = ScaleOptions { seed: 2, ..options.clone() };
        assert_ne!(simulate(&options), simulate(&other));
    }

    #[test]
    fn the_cache_time_of_the_key_set_matches_the_crate_keys() {
        assert_eq!(i64::from(KEYS_CACHE_SECONDS), keys::FRESH_SECONDS);
    }

    #[test]
    fn the_number_of_shards_matches_the_crate_store() {
        assert_eq!(lists::SHARDS, usize::from(store::LIST_SHARDS));
    }

    /// Sixteen shards share 16,000 writes per second, the limit of a list.
    #[test]
    fn shards_get_about_the_same_number_of_writes() {
        let hottest = lists::hottest_shard(16_000.0, 5, 1).unwrap();
        assert!((1_000..1_200).contains(&hottest), "{hottest}");
    }

    /// Each login writes to the counter of its network twice.
    #[test]
    fn a_single_network_gets_the_writes_of_all_logins() {
        let text = simulate(&small(10_000_000, 1));
        let row = text.lines().find(|line| line.starts_with("counter of a network")).unwrap();
        let writes: f64 = row.split_whitespace().nth(5).unwrap().parse().unwrap();
        // The average is 77 logins per second.
        assert!((120.0..260.0).contains(&writes), "{row}");
    }
}
