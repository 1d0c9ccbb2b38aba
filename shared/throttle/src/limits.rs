//! The configurable and the fixed limits.

use jiff::SignedDuration;
use process::{Reader, Settings};
use store::{Beyond, Limit};

/// The configurable limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub(crate) pair: Limit,
    pub(crate) name: Limit,
    pub(crate) network: Limit,
    pub(crate) register: Limit,
    pub(crate) mail: Limit,
}

/// The longest wait that a limit may impose, and the longest lifetime of a counter: 30 days, in seconds.
const MOST_SECONDS: i64 = 30 * 24 * 60 * 60;

/// The largest number of free attempts that a limit may allow.
const MOST_FREE: u32 = 1_000_000;

/// The factor by which the limit for an IPv6 /48 exceeds the limit for a /64.
const WIDER: u32 = 10;

/// The limit for an IPv6 /48, given the limit for a /64.
pub(crate) fn wider(limit: Limit) -> Limit {
    Limit { free: limit.free.saturating_mul(WIDER), ..limit }
}

impl Settings for Limits {
    /// Reads the variables with the prefixes `THROTTLE_PAIR_`, `THROTTLE_NAME_`, `THROTTLE_NETWORK_`,
    /// `THROTTLE_REGISTER_` and `THROTTLE_MAIL_`, each followed by `FREE` or `WINDOW_SECONDS`. The first two
    /// prefixes may also be followed by `BASE_SECONDS` or `MAX_SECONDS`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let pair = Doubling {
            free: ("THROTTLE_PAIR_FREE", 3),
            base: ("THROTTLE_PAIR_BASE_SECONDS", 1),
            most: ("THROTTLE_PAIR_MAX_SECONDS", 900),
            window: ("THROTTLE_PAIR_WINDOW_SECONDS", 86_400),
        };
        let name = Doubling {
            free: ("THROTTLE_NAME_FREE", 20),
            base: ("THROTTLE_NAME_BASE_SECONDS", 1),
            most: ("THROTTLE_NAME_MAX_SECONDS", 60),
            window: ("THROTTLE_NAME_WINDOW_SECONDS", 3_600),
        };
        let (pair, name) = (pair.read(reader), name.read(reader));
        let network = window(
            reader,
            ("THROTTLE_NETWORK_FREE", 100),
            ("THROTTLE_NETWORK_WINDOW_SECONDS", 600),
        );
        let register = window(
            reader,
            ("THROTTLE_REGISTER_FREE", 100),
            ("THROTTLE_REGISTER_WINDOW_SECONDS", 600),
        );
        let mail =
            window(reader, ("THROTTLE_MAIL_FREE", 20), ("THROTTLE_MAIL_WINDOW_SECONDS", 600));
        let (network, register) = (network?, register?);
        Some(Self { pair: pair?, name: name?, network, register, mail: mail? })
    }
}

/// The limits on emails with codes to one address. They are not configurable, because higher limits would let
/// strangers annoy the owner of the address. On a known network, a separate limit applies.
pub(crate) struct Postage;

impl Postage {
    /// Emails per hour to one address, requested from one network.
    pub(crate) const PAIR: Limit = hours(3, 1);
    /// Emails per hour to one address, requested from anywhere.
    pub(crate) const HOUR: Limit = hours(5, 1);
    /// Emails per day to one address, requested from anywhere.
    pub(crate) const DAY: Limit = hours(10, 24);
    /// Emails per hour to one address, requested from one known network of the account.
    pub(crate) const KNOWN: Limit = hours(5, 1);
}

const fn hours(free: u32, hours: i64) -> Limit {
    Limit { free, beyond: Beyond::WindowEnd, window: SignedDuration::from_hours(hours) }
}

/// The variables of a limit whose wait doubles, with their defaults.
struct Doubling {
    free: (&'static str, u32),
    base: (&'static str, i64),
    most: (&'static str, i64),
    window: (&'static str, i64),
}

impl Doubling {
    fn read(&self, reader: &Reader<'_>) -> Option<Limit> {
        let free = free(reader, self.free);
        let (base, most) = (seconds(reader, self.base), seconds(reader, self.most));
        let window = seconds(reader, self.window);
        let (base, most) = (base?, most?);
        if most < base {
            reader.fault(self.most.0, format_args!("must not be below {}", self.base.0));
        }
        Some(Limit { free: free?, beyond: Beyond::Doubling { base, most }, window: window? })
    }
}

fn window(
    reader: &Reader<'_>,
    most: (&'static str, u32),
    length: (&'static str, i64),
) -> Option<Limit> {
    let (free, window) = (free(reader, most), seconds(reader, length));
    Some(Limit { free: free?, beyond: Beyond::WindowEnd, window: window? })
}

fn free(reader: &Reader<'_>, (name, default): (&'static str, u32)) -> Option<u32> {
    let free = reader.optional(name, default)?;
    if !(1..=MOST_FREE).contains(&free) {
        reader.fault(name, format_args!("must be from 1 to {MOST_FREE}"));
    }
    Some(free)
}

fn seconds(reader: &Reader<'_>, (name, default): (&'static str, i64)) -> Option<SignedDuration> {
    let seconds = reader.optional(name, default)?;
    if !(1..=MOST_SECONDS).contains(&seconds) {
        reader.fault(name, format_args!("must be from 1 to {MOST_SECONDS}"));
    }
    Some(SignedDuration::from_secs(seconds))
}
