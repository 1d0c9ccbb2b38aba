//! Tests how long a secret is cached, and when it is read again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::SignedDuration;
use process::{Env, Fault, FaultKind};
use secrets::{CacheSeconds, Cached, Config, STALE_SECONDS, Secret, SecretError};
use tempfile::TempDir;
use testkit::TestClock;

/// A value that counts how often it was parsed. The JSON contains the index of its counter, because `FromStr`
/// receives nothing else.
#[derive(Debug)]
struct Counted(String);

static READS: [AtomicUsize; 16] = [const { AtomicUsize::new(0) }; 16];

impl FromStr for Counted {
    type Err = String;

    fn from_str(json: &str) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        let counter = usize::try_from(value["counter"].as_u64().unwrap()).unwrap();
        READS[counter].fetch_add(1, Ordering::SeqCst);
        match value["text"].as_str() {
            Some(text) => Ok(Self(text.to_owned())),
            None => Err("there is no text".to_owned()),
        }
    }
}

struct Bench {
    folder: TempDir,
    clock: TestClock,
    cached: Cached<Counted>,
    counter: usize,
}

impl Bench {
    /// Uses the counter at this index, which no other test may use.
    fn new(counter: usize) -> Self {
        Self::with_cache(counter, CacheSeconds::default())
    }

    fn with_cache(counter: usize, cache: CacheSeconds) -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), TestClock::default());
        let secret = Secret::new(&Config::file(folder.path().join("secret.json")));
        let cached = Cached::new(secret, cache, Arc::new(clock.clone()));
        let bench = Self { folder, clock, cached, counter };
        bench.put("first");
        bench
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("secret.json")
    }

    fn write(&self, value: &serde_json::Value) {
        std::fs::write(self.path(), value.to_string()).unwrap();
    }

    /// Changes the secret to `text`.
    fn put(&self, text: &str) {
        self.write(&serde_json::json!({"counter": self.counter, "text": text}));
    }

    /// Makes the secret invalid.
    fn spoil(&self) {
        self.write(&serde_json::json!({"counter": self.counter}));
    }

    fn wait(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    async fn get(&self) -> Result<String, SecretError> {
        Ok(self.cached.get().await?.0.clone())
    }

    async fn assert_value(&self, text: &str) {
        assert_eq!(self.get().await.unwrap(), text);
    }

    fn reads(&self) -> usize {
        READS[self.counter].load(Ordering::SeqCst)
    }
}

fn cache(seconds: &str) -> Result<CacheSeconds, process::ConfigErrors> {
    Env::from_iter([("SECRETS_CACHE_SECONDS", seconds)]).settings::<CacheSeconds>()
}

#[tokio::test]
async fn a_secret_is_read_on_first_use_and_cached_for_a_minute() {
    let bench = Bench::new(0);
    assert_eq!(bench.reads(), 0);
    bench.assert_value("first").await;
    bench.put("second");
    for _ in 0..59 {
        bench.wait(1);
        bench.assert_value("first").await;
    }
    assert_eq!(bench.reads(), 1);
    bench.wait(1);
    bench.assert_value("second").await;
    bench.assert_value("second").await;
    assert_eq!(bench.reads(), 2);
}

#[tokio::test]
async fn a_secret_is_cached_for_the_configured_time() {
    let bench = Bench::with_cache(1, cache("3").unwrap());
    for _ in 0..30 {
        bench.assert_value("first").await;
        bench.wait(1);
    }
    assert_eq!(bench.reads(), 10);
    for bad in ["0", "61", "-1", "x"] {
        let error = cache(bad).unwrap_err().to_string();
        assert!(error.contains("SECRETS_CACHE_SECONDS"), "{error}");
    }
    assert_eq!(cache("60").unwrap(), CacheSeconds::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_share_a_read() {
    let bench = Arc::new(Bench::new(2));
    for round in 1..=3 {
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let bench = Arc::clone(&bench);
                tokio::spawn(async move { bench.assert_value("first").await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(bench.reads(), round);
        bench.wait(60);
    }
}

#[tokio::test]
async fn while_reads_fail_the_old_value_is_served_for_five_more_minutes() {
    let bench = Bench::new(3);
    bench.assert_value("first").await;
    bench.spoil();
    bench.wait(60);
    for second in 0..STALE_SECONDS {
        bench.assert_value("first").await;
        bench.wait(1);
        assert_eq!(bench.reads(), 1 + usize::try_from(second / 10 + 1).unwrap(), "{second} s");
    }
    let error = bench.get().await.unwrap_err();
    assert!(matches!(&error, SecretError::Unusable(reason) if reason == "there is no text"));
    assert_eq!(error.kind(), FaultKind::Unavailable);
    // A repeated request does not restore the value.
    assert!(bench.get().await.is_err());
    bench.put("second");
    bench.assert_value("second").await;
    bench.put("third");
    bench.wait(59);
    bench.assert_value("second").await;
}

#[tokio::test]
async fn a_value_read_after_an_outage_is_fresh() {
    let bench = Bench::new(4);
    bench.assert_value("first").await;
    bench.spoil();
    bench.wait(60 + STALE_SECONDS - 11);
    bench.assert_value("first").await;
    bench.put("second");
    bench.assert_value("first").await;
    bench.wait(9);
    bench.assert_value("first").await;
    assert_eq!(bench.reads(), 2, "reads are at least ten seconds apart");
    bench.wait(1);
    bench.assert_value("second").await;
    bench.spoil();
    bench.wait(60 + STALE_SECONDS - 1);
    bench.assert_value("second").await;
}

#[tokio::test]
async fn the_old_value_is_served_after_every_kind_of_failed_read() {
    let bench = Bench::new(5);
    let missing = || std::fs::remove_file(bench.path()).unwrap();
    let not_json = || std::fs::write(bench.path(), "hush").unwrap();
    let not_utf8 = || std::fs::write(bench.path(), [0xff]).unwrap();
    let folder = || {
        std::fs::remove_file(bench.path()).unwrap();
        std::fs::create_dir(bench.path()).unwrap();
    };
    let fail: [&dyn Fn(); 4] = [&not_json, &not_utf8, &missing, &folder];
    for (way, fail) in fail.into_iter().enumerate() {
        bench.put("first");
        bench.assert_value("first").await;
        fail();
        bench.wait(60 + STALE_SECONDS - 1);
        bench.assert_value("first").await;
        // The value has now expired, so it is read again at once, although the last attempt was only a second ago.
        bench.wait(1);
        let error = bench.get().await.unwrap_err();
        let expected = match way {
            0 => matches!(error, SecretError::Unusable(_)),
            2 => matches!(error, SecretError::Absent),
            _ => matches!(error, SecretError::Unavailable(_)),
        };
        assert!(expected, "{way}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("hush"));
        // Remove the bad file. The next round begins with a good one.
        if bench.path().is_file() {
            std::fs::remove_file(bench.path()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_secret_that_is_unreadable_at_first_is_read_when_it_becomes_readable() {
    let bench = Bench::new(6);
    bench.spoil();
    assert!(bench.get().await.is_err());
    bench.put("first");
    bench.assert_value("first").await;
}

#[tokio::test]
async fn setting_the_clock_back_neither_preserves_a_value_nor_stops_reads() {
    let bench = Bench::new(7);
    bench.assert_value("first").await;
    bench.put("second");
    bench.wait(-3600);
    bench.assert_value("first").await;
    bench.wait(60);
    bench.assert_value("second").await;
    bench.spoil();
    bench.wait(60);
    bench.assert_value("second").await;
    bench.wait(-3600);
    bench.assert_value("second").await;
    bench.wait(60 + STALE_SECONDS);
    assert!(bench.get().await.is_err(), "the old value is not served forever");
}

#[tokio::test]
async fn debug_shows_no_value() {
    let bench = Bench::new(8);
    bench.put("hush");
    bench.assert_value("hush").await;
    assert!(!format!("{:?}", bench.cached).contains("hush"));
}
