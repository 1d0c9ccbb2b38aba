//! Tests when a value is read again, and which requests share a read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cache::{Cache, Lifetime, RETRY_SECONDS, Source};
use futures_util::future::join_all;
use jiff::SignedDuration;
use testkit::TestClock;

/// How long a value is fresh, in seconds.
const FRESH: i64 = 300;

/// How long a value that is no longer fresh is still served while reads fail, in seconds.
const STALE: i64 = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of reach")]
struct OutOfReach;

/// A remote number that grows with every read.
#[derive(Default)]
struct Remote {
    reads: AtomicUsize,
    is_down: AtomicBool,
    hangs: AtomicBool,
}

struct Counted(Arc<Remote>);

impl Source for Counted {
    type Value = usize;
    type Error = OutOfReach;
    const NAME: &'static str = "the number";

    async fn read(&self) -> Result<usize, OutOfReach> {
        let number = self.0.reads.fetch_add(1, Ordering::SeqCst) + 1;
        if self.0.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        // Lets the other requests arrive during the read.
        tokio::task::yield_now().await;
        if self.0.is_down.load(Ordering::SeqCst) { Err(OutOfReach) } else { Ok(number) }
    }
}

struct Bench {
    remote: Arc<Remote>,
    clock: TestClock,
    cache: Cache<Counted>,
}

impl Bench {
    fn new() -> Self {
        Self::fresh_for(FRESH)
    }

    fn fresh_for(fresh: i64) -> Self {
        let (remote, clock) = (Arc::new(Remote::default()), TestClock::default());
        let lifetime = Lifetime {
            fresh: SignedDuration::from_secs(fresh),
            stale: SignedDuration::from_secs(STALE),
        };
        let source = Counted(Arc::clone(&remote));
        let cache = Cache::new(source, lifetime, Arc::new(clock.clone()));
        Self { remote, clock, cache }
    }

    fn set_down(&self, is_down: bool) {
        self.remote.is_down.store(is_down, Ordering::SeqCst);
    }

    fn wait(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    async fn get(&self) -> Result<usize, OutOfReach> {
        self.cache.get().await.map(|value| *value)
    }

    async fn renewed(&self) -> Result<usize, OutOfReach> {
        self.cache.renewed().await.map(|value| *value)
    }

    fn reads(&self) -> usize {
        self.remote.reads.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_fresh_value_is_served_without_a_read() {
    let bench = Bench::new();
    assert_eq!(bench.reads(), 0, "nothing is read before the first request");
    for _ in 0..FRESH {
        assert_eq!(bench.get().await, Ok(1));
        bench.wait(1);
    }
    assert_eq!(bench.get().await, Ok(2));
}

#[tokio::test]
async fn without_a_cached_value_every_request_reads() {
    let bench = Bench::new();
    bench.set_down(true);
    for reads in 1..=3 {
        assert_eq!(bench.get().await, Err(OutOfReach));
        assert_eq!(bench.reads(), reads);
    }
    bench.set_down(false);
    assert_eq!(bench.get().await, Ok(4), "a failed read does not delay the next one");
}

#[tokio::test]
async fn while_reads_fail_the_old_value_is_served_for_a_limited_time() {
    let bench = Bench::new();
    assert_eq!(bench.get().await, Ok(1));
    bench.set_down(true);
    bench.wait(FRESH);
    for _ in 0..STALE {
        assert_eq!(bench.get().await, Ok(1));
        bench.wait(1);
    }
    assert_eq!(bench.reads(), 1 + usize::try_from(STALE / RETRY_SECONDS).unwrap());
    assert_eq!(bench.get().await, Err(OutOfReach));
    assert_eq!(bench.get().await, Err(OutOfReach));
    bench.set_down(false);
    assert!(bench.get().await.is_ok(), "a failed read does not delay the next one");
}

#[tokio::test]
async fn concurrent_requests_share_a_read_even_if_it_fails() {
    for is_down in [false, true] {
        let bench = Bench::new();
        bench.set_down(is_down);
        let all = join_all((0..20).map(|_| bench.get())).await;
        let expected = if is_down { Err(OutOfReach) } else { Ok(1) };
        assert!(all.iter().all(|one| *one == expected), "{all:?}");
        assert_eq!(bench.reads(), 1);
        // A later request does not share that read.
        assert_eq!(bench.get().await.is_err(), is_down);
        assert_eq!(bench.reads(), 1 + usize::from(is_down));
    }
}

#[tokio::test]
async fn a_dropped_read_does_not_prevent_later_ones() {
    let bench = Bench::new();
    bench.remote.hangs.store(true, Ordering::SeqCst);
    assert!(futures_util::FutureExt::now_or_never(bench.get()).is_none());
    bench.remote.hangs.store(false, Ordering::SeqCst);
    assert_eq!(bench.get().await, Ok(2));
}

#[tokio::test]
async fn a_renewal_reads_at_most_every_ten_seconds() {
    let bench = Bench::new();
    assert_eq!(bench.renewed().await, Ok(1));
    for second in 1..=100 {
        bench.wait(1);
        for _ in 0..10 {
            assert!(bench.renewed().await.is_ok());
        }
        assert_eq!(bench.reads(), 1 + second / 10);
    }
    bench.set_down(true);
    bench.wait(RETRY_SECONDS);
    assert_eq!(bench.renewed().await, Ok(11), "a failed renewal leaves the value unchanged");
}

#[tokio::test]
async fn a_shorter_lifetime_shortens_the_pause_between_reads() {
    let bench = Bench::fresh_for(1);
    assert_eq!(bench.get().await, Ok(1));
    bench.set_down(true);
    for reads in 2..=5 {
        bench.wait(1);
        assert_eq!(bench.get().await, Ok(1));
        assert_eq!(bench.reads(), reads);
    }
}

#[tokio::test]
async fn a_clock_set_back_neither_preserves_a_value_nor_stops_reads() {
    let bench = Bench::new();
    assert_eq!(bench.get().await, Ok(1));
    bench.wait(-3600);
    assert_eq!(bench.get().await, Ok(1), "the old value is served");
    bench.wait(RETRY_SECONDS);
    assert_eq!(bench.renewed().await, Ok(2));
    bench.set_down(true);
    bench.wait(-3600);
    assert_eq!(bench.get().await, Ok(2));
    bench.wait(FRESH + STALE);
    assert_eq!(bench.get().await, Err(OutOfReach), "the old value is not served forever");
}

#[tokio::test]
async fn debug_shows_no_value() {
    struct Hush;
    impl Source for Hush {
        type Value = &'static str;
        type Error = OutOfReach;
        const NAME: &'static str = "a secret";

        async fn read(&self) -> Result<&'static str, OutOfReach> {
            Ok("hush")
        }
    }
    let lifetime = Lifetime { fresh: SignedDuration::from_secs(1), stale: SignedDuration::ZERO };
    let cache = Cache::new(Hush, lifetime, Arc::new(TestClock::default()));
    assert_eq!(*cache.get().await.unwrap(), "hush");
    assert!(!format!("{cache:?}").contains("hush"));
}
