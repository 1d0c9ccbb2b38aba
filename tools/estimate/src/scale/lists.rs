//! Compares ways to list and find accounts.

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Poisson};
use template::ui;

use super::ITEM_WRITES;
use crate::cost::ACCOUNT_KB;

/// The number of shards of a list. This copies `store::LIST_SHARDS`, because the crate `store` would link the DynamoDB
/// client into this tool. A test compares the two.
pub(super) const SHARDS: usize = 16;

/// The number of accounts on a page.
const PAGE: f64 = 50.0;

/// The bytes that one read unit covers, with strong consistency (Amazon DynamoDB Developer Guide, "DynamoDB read and
/// write operations").
const UNIT_BYTES: f64 = 4_096.0;

/// The maximum number of bytes that one Query or Scan reads, from the page that [`UNIT_BYTES`] cites.
const REQUEST_BYTES: f64 = 1_048_576.0;

/// The size of a list entry in bytes: two ids and the names of the attributes.
const ENTRY_BYTES: f64 = 120.0;

/// The share of users who are administrators.
const ADMINS: f64 = 0.000_1;

/// Simulates `seconds` seconds with `registrations` registrations per second, and returns the most writes that any
/// shard of the list of all users gets in one second. The last digit of a user's id is random and determines the shard.
pub(super) fn hottest_shard(registrations: f64, seconds: u32, seed: u64) -> anyhow::Result<u32> {
    let mut random = StdRng::seed_from_u64(seed);
    let count = Poisson::new(registrations.max(f64::MIN_POSITIVE)).context("invalid rate")?;
    let mut hottest = 0;
    for _ in 0..seconds {
        let mut writes = [0; SHARDS];
        let mut left = count.sample(&mut random);
        while left >= 1.0 {
            writes[random.random_range(0..SHARDS)] += 1;
            left -= 1.0;
        }
        hottest = hottest.max(writes.into_iter().max().unwrap_or_default());
    }
    Ok(hottest)
}

/// Formats a table of ways to list accounts.
pub(super) fn ways(users: f64) -> Vec<String> {
    let entries = (PAGE * ENTRY_BYTES / UNIT_BYTES).ceil();
    let admins = (users * ADMINS).max(1.0);
    // A scan reads items until it has found enough administrators for a page, or has read all items.
    let scanned = (PAGE / admins).min(1.0) * users * ACCOUNT_KB * 1e3;
    let shards = f64::from(u8::try_from(SHARDS).unwrap_or(u8::MAX));
    let row = |way: &str, writes: Option<f64>, requests: f64, units: f64, consistency: &str| {
        let number = |number: f64| format!("{number:.0}");
        let writes = writes.map_or_else(|| "unlimited".to_owned(), number);
        [way.to_owned(), writes, number(requests), number(units), consistency.to_owned()]
    };
    let header =
        ["a page of 50 administrators", "new users/s", "requests", "read units", "consistent"];
    let rows = [
        header.map(str::to_owned),
        row(
            "lists of 16 shards, and a batch",
            Some(ITEM_WRITES * shards),
            shards + 1.0,
            PAGE + shards,
            "yes",
        ),
        row("one list, and a batch", Some(ITEM_WRITES), 2.0, PAGE + entries, "yes"),
        row("an index with one partition", Some(ITEM_WRITES), 1.0, (PAGE / 2.0).ceil(), "no"),
        row(
            "a scan with a filter",
            None,
            (scanned / REQUEST_BYTES).ceil(),
            (scanned / UNIT_BYTES).ceil(),
            "yes",
        ),
    ];
    ui::columns(&rows)
}
