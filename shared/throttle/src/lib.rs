//! Throttling of guesses, and no weapon for strangers.
//!
//! Before a password is looked at, the attempt is reserved on counters: one for the name and the network
//! together, one for the name, one for the network. They are keyed by MACs of what was presented, so
//! that they say nothing to whoever reads the table, and names that nobody has are counted alike. Beyond
//! its free attempts each says how long to wait, to whoever asks, with the right password too.
//!
//! What is counted is what fails: a success gives its reservations back. An attempt that one counter
//! refuses counts on none. And a network that has signed in to the account before is not held by the
//! counter of the name, so strangers cannot lock its owner out.

mod limits;
mod notices;

use std::fmt;
use std::sync::Arc;

use auth::{Account, CanonicalName, Clock, Fault, FaultKind, Random, Reader};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dynamo::Client;
use futures_util::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
pub use limits::Limits;
use limits::Postage;
pub use notices::{NoticeBudget, NoticeReceipt};
use peppers::{MacKey, Peppers, Purpose};
use secrets::{Cached, CachedConfig, SecretError};
use store::{CounterKey, Counters, Limit, Receipt, Reserved, StoreError};

/// How long a network is known to an account after it has signed in from there, in days.
const KNOWN_DAYS: i64 = 90;

/// How old what is noted of a known network may get before it is noted again, in days.
const NOTED_ANEW_DAYS: i64 = 1;

/// As whom somebody presents themselves.
#[derive(Clone, Copy, Debug)]
pub enum Presented<'a> {
    /// By a username.
    Username(&'a CanonicalName),
    /// By an e-mail address.
    Email(&'a CanonicalName),
    /// By what can be neither.
    Neither(&'a str),
}

/// Where the counters are, by which peppers they are keyed, and the limits.
#[derive(Clone, Debug)]
pub struct Config {
    table: store::Config,
    peppers: CachedConfig,
    limits: Limits,
}

impl Config {
    /// From `USERS_TABLE`, `PEPPERS_SECRET`, `SECRETS_CACHE_SECONDS`, and as [`Limits::read`] says.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        let table = store::Config::read(reader);
        let peppers = CachedConfig::read(reader, "PEPPERS_SECRET");
        let limits = Limits::read(reader);
        Some(Self { table: table?, peppers: peppers?, limits: limits? })
    }

    /// The users' table.
    #[must_use]
    pub fn table(&self) -> &store::Config {
        &self.table
    }
}

/// Throttles guesses.
pub struct Throttle {
    counters: Counters,
    limits: Limits,
    peppers: Arc<Cached<Peppers>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Whether a mail to an address may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Postal {
    /// It may, and counts.
    Paid,
    /// There have been as many as there may be. Whoever asked is not told.
    Spent,
}

/// What was known of a network when somebody signed in from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Familiarity {
    /// It was known to the account, or is the first one that ever was.
    Usual,
    /// Others were known, and this one was not.
    New,
}

/// An attempt at what is no password: it is counted for its network alone. Dropped, it has failed.
#[derive(Debug)]
#[must_use = "a success is to be told, or it counts as a failure"]
pub struct BareAttempt<'a> {
    throttle: &'a Throttle,
    whole_network: Receipt,
}

/// An attempt that may be made. Dropped, it has failed, and counts.
#[derive(Debug)]
#[must_use = "a success is to be told, or it counts as a failure"]
pub struct Attempt<'a> {
    throttle: &'a Throttle,
    key: MacKey,
    network: String,
    pair: CounterKey,
    name: Option<Receipt>,
    whole_network: Receipt,
    now: Timestamp,
}

impl Throttle {
    /// By `config`. Nothing is read yet.
    #[must_use]
    pub fn open(
        config: &Config,
        client: Client,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let counters = Counters::new(&config.table, client);
        let peppers = config.peppers.open(Arc::clone(&clock));
        Self::new(counters, config.limits, peppers, clock, random)
    }

    /// The peppers, for others who need them.
    #[must_use]
    pub fn peppers(&self) -> &Arc<Cached<Peppers>> {
        &self.peppers
    }

    /// By `limits`, on `counters`.
    pub fn new(
        counters: Counters,
        limits: Limits,
        peppers: Arc<Cached<Peppers>>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self { counters, limits, peppers, clock, random }
    }

    async fn key(&self, now: Timestamp) -> Result<MacKey, ThrottleError> {
        Ok(self.peppers.get().await?.current(Purpose::Throttle, now))
    }

    async fn reserve(
        &self,
        key: CounterKey,
        limit: Limit,
        now: Timestamp,
    ) -> Result<Reserved, ThrottleError> {
        Ok(self.counters.reserve(key, limit, now, &*self.random).await?)
    }

    /// Reserves an attempt at a password of whoever presents themselves as `presented`, from
    /// `network`, as the gateway reports it.
    ///
    /// # Errors
    /// [`ThrottleError::TooMany`] when a counter refuses it; it then counts on none. Or when the
    /// counters are out of reach: then nothing is let through.
    pub async fn attempt(
        &self,
        presented: Presented<'_>,
        network: Option<&str>,
    ) -> Result<Attempt<'_>, ThrottleError> {
        let now = self.clock.now();
        let key = self.key(now).await?;
        let who = who(&key, presented);
        let network = tag(&key, "network", network.unwrap_or("unknown"));
        let pair = CounterKey::new("PAIR", tag(&key, "pair", &format!("{who}.{network}")));
        let name = CounterKey::new("NAME", who.clone());
        let whole = CounterKey::new("NETWORK", network.clone());
        let Limits { pair: pair_limit, name: name_limit, network: network_limit, .. } = self.limits;
        // Boxed: the SDK's futures are large, and these are four.
        let (at_pair, at_name, at_network, known) = tokio::try_join!(
            Box::pin(self.reserve(pair.clone(), pair_limit, now)),
            Box::pin(self.reserve(name, name_limit, now)),
            Box::pin(self.reserve(whole, network_limit, now)),
            Box::pin(async { Ok(self.counters.known_until(&who, &network, now).await?) }),
        )?;
        // The counter of the name does not hold whom it knows.
        let at_name = match at_name {
            Reserved::Refused(_) if known.is_some() => None,
            other => Some(other),
        };
        let all = [Some(at_pair), at_name, Some(at_network)];
        let waits = all.iter().flatten().filter_map(|reserved| match reserved {
            Reserved::Refused(wait) => Some(*wait),
            Reserved::Granted(_) => None,
        });
        if let Some(wait) = waits.max() {
            let granted = all.iter().flatten().filter_map(|reserved| match reserved {
                Reserved::Granted(receipt) => Some(receipt),
                Reserved::Refused(_) => None,
            });
            self.give_back(granted).await?;
            return Err(ThrottleError::too_many(wait));
        }
        let [_, at_name, Some(Reserved::Granted(whole_network))] = all else {
            return Err(ThrottleError::too_many(SignedDuration::from_secs(1)));
        };
        let name = match at_name {
            Some(Reserved::Granted(receipt)) => Some(receipt),
            _ => None,
        };
        Ok(Attempt { throttle: self, key, network, pair, name, whole_network, now })
    }

    /// Reserves an attempt at what nobody guesses (128 bits), from `network`.
    ///
    /// # Errors
    /// As [`Self::attempt`].
    pub async fn bare_attempt(
        &self,
        network: Option<&str>,
    ) -> Result<BareAttempt<'_>, ThrottleError> {
        let limit = self.limits.network;
        let whole_network = self.of_network("NETWORK", limit, network).await?;
        Ok(BareAttempt { throttle: self, whole_network })
    }

    /// Reserves a registration from `network`.
    ///
    /// # Errors
    /// [`ThrottleError::TooMany`] when there have been too many from there; or when the counters are
    /// out of reach.
    pub async fn registration(&self, network: Option<&str>) -> Result<(), ThrottleError> {
        self.of_network("REGISTER", self.limits.register, network).await.map(drop)
    }

    /// Reserves a request for a mail from `network`.
    ///
    /// # Errors
    /// As [`Self::registration`].
    pub async fn mail_request(&self, network: Option<&str>) -> Result<(), ThrottleError> {
        self.of_network("MAIL", self.limits.mail, network).await.map(drop)
    }

    async fn of_network(
        &self,
        kind: &'static str,
        limit: Limit,
        network: Option<&str>,
    ) -> Result<Receipt, ThrottleError> {
        let now = self.clock.now();
        let key = self.key(now).await?;
        let network = tag(&key, "network", network.unwrap_or("unknown"));
        match self.reserve(CounterKey::new(kind, network), limit, now).await? {
            Reserved::Granted(receipt) => Ok(receipt),
            Reserved::Refused(wait) => Err(ThrottleError::too_many(wait)),
        }
    }

    /// Reserves a mail with a code to `address`, which `network` asks for: three an hour for both
    /// together, five an hour and ten a day for the address; or, where somebody with that address has
    /// signed in from the network before, five an hour that strangers cannot use up. Whether anybody
    /// has the address is not asked.
    ///
    /// # Errors
    /// When the counters are out of reach.
    pub async fn postage(
        &self,
        address: &CanonicalName,
        network: Option<&str>,
    ) -> Result<Postal, ThrottleError> {
        let now = self.clock.now();
        let key = self.key(now).await?;
        let who = who(&key, Presented::Email(address));
        let network = tag(&key, "network", network.unwrap_or("unknown"));
        let pair = tag(&key, "pair", &format!("{who}.{network}"));
        let known = self.counters.known_until(&who, &network, now).await?;
        let of_all = if known.is_some() {
            vec![(CounterKey::new("MAIL_KNOWN", pair), Postage::KNOWN)]
        } else {
            vec![
                (CounterKey::new("MAIL_PAIR", pair), Postage::PAIR),
                (CounterKey::new("MAIL_HOUR", who.clone()), Postage::HOUR),
                (CounterKey::new("MAIL_DAY", who), Postage::DAY),
            ]
        };
        let reservations =
            of_all.into_iter().map(|(key, limit)| Box::pin(self.reserve(key, limit, now)));
        let reserved = try_join_all(reservations).await?;
        let granted: Vec<_> = reserved
            .iter()
            .filter_map(|reserved| match reserved {
                Reserved::Granted(receipt) => Some(receipt),
                Reserved::Refused(_) => None,
            })
            .collect();
        if granted.len() == reserved.len() {
            return Ok(Postal::Paid);
        }
        self.give_back(granted.into_iter()).await?;
        Ok(Postal::Spent)
    }

    /// Whether `network` is new to an account: others are known, and this one is not. Changes nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn familiarity(
        &self,
        account: &Account,
        network: Option<&str>,
    ) -> Result<Familiarity, ThrottleError> {
        let now = self.clock.now();
        let key = self.key(now).await?;
        let network = tag(&key, "network", network.unwrap_or("unknown"));
        let who = who(&key, Presented::Username(account.username.canonical()));
        if self.counters.known_until(&who, &network, now).await?.is_some()
            || !self.counters.knows_any(&who, now).await?
        {
            return Ok(Familiarity::Usual);
        }
        Ok(Familiarity::New)
    }

    /// Forgets what failed from `network` at an account's names: whoever reads its mail has shown to be
    /// its owner, and is not to wait before signing in with a new password.
    ///
    /// # Errors
    /// When the counters are out of reach.
    pub async fn forgive(
        &self,
        account: &Account,
        network: Option<&str>,
    ) -> Result<(), ThrottleError> {
        let key = self.key(self.clock.now()).await?;
        let network = tag(&key, "network", network.unwrap_or("unknown"));
        let email = account.email.as_ref().map(|email| Presented::Email(email.canonical()));
        let names = [Some(Presented::Username(account.username.canonical())), email];
        let cleared = names.into_iter().flatten().map(|name| {
            let pair = tag(&key, "pair", &format!("{}.{network}", who(&key, name)));
            let pair = CounterKey::new("PAIR", pair);
            async move { self.counters.clear(&pair).await }
        });
        try_join_all(cleared).await?;
        Ok(())
    }

    async fn give_back(
        &self,
        receipts: impl Iterator<Item = &Receipt>,
    ) -> Result<(), ThrottleError> {
        // At most three, and rarely more than one at a time.
        for receipt in receipts {
            self.counters.give_back(receipt).await?;
        }
        Ok(())
    }
}

impl BareAttempt<'_> {
    /// It has succeeded, and does not count.
    ///
    /// # Errors
    /// When the counters are out of reach.
    pub async fn succeeded(self) -> Result<(), ThrottleError> {
        Ok(self.throttle.counters.give_back(&self.whole_network).await?)
    }
}

impl Attempt<'_> {
    /// It was right, and proves less than a password does: what it reserved is given back and what
    /// failed before from this network is forgotten, but the network is not known from now on.
    ///
    /// # Errors
    /// When the counters are out of reach.
    pub async fn passed(self) -> Result<(), ThrottleError> {
        let counters = &self.throttle.counters;
        let name = async {
            match &self.name {
                Some(receipt) => counters.give_back(receipt).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(
            Box::pin(name),
            Box::pin(counters.give_back(&self.whole_network)),
            Box::pin(counters.clear(&self.pair)),
        )?;
        Ok(())
    }

    /// It has succeeded, as `account`: what it reserved is given back, what failed before from this
    /// network is forgotten, and the network is known from now on, by whichever of its names the
    /// account is called. Says whether that is something new.
    ///
    /// # Errors
    /// When the counters are out of reach.
    pub async fn succeeded(self, account: &Account) -> Result<Familiarity, ThrottleError> {
        let Self { throttle, key, network, pair, name, whole_network, now } = self;
        let counters = &throttle.counters;
        let name = async {
            match &name {
                Some(receipt) => counters.give_back(receipt).await,
                None => Ok(()),
            }
        };
        let email = account.email.as_ref().map(|email| Presented::Email(email.canonical()));
        let names = [Some(Presented::Username(account.username.canonical())), email];
        let [username, email] = names.map(|name| name.map(|name| who(&key, name)));
        let know = |who: Option<String>| {
            let network = &network;
            async move {
                match who {
                    Some(who) => know(counters, &who, network, now).await,
                    None => Ok(Familiarity::Usual),
                }
            }
        };
        let ((), (), (), familiarity, _) = tokio::try_join!(
            Box::pin(name),
            Box::pin(counters.give_back(&whole_network)),
            Box::pin(counters.clear(&pair)),
            Box::pin(know(username)),
            Box::pin(know(email)),
        )?;
        Ok(familiarity)
    }
}

/// Notes that a network is known, unless that has been noted lately. Says what it was before.
async fn know(
    counters: &Counters,
    who: &str,
    network: &str,
    now: Timestamp,
) -> Result<Familiarity, StoreError> {
    let day = SignedDuration::from_hours(24);
    let days = |days: i64| SignedDuration::from_secs(day.as_secs() * days);
    let known = counters.known_until(who, network, now).await?;
    let fresh = now.saturating_add(days(KNOWN_DAYS - NOTED_ANEW_DAYS)).unwrap_or(Timestamp::MAX);
    if known.is_some_and(|until| until > fresh) {
        return Ok(Familiarity::Usual);
    }
    let is_new = known.is_none() && counters.knows_any(who, now).await?;
    let until = now.saturating_add(days(KNOWN_DAYS)).unwrap_or(Timestamp::MAX);
    counters.know(who, network, until).await?;
    Ok(if is_new { Familiarity::New } else { Familiarity::Usual })
}

/// The tag of whom somebody presents themselves as. One for every spelling of a name.
fn who(key: &MacKey, presented: Presented<'_>) -> String {
    match presented {
        Presented::Username(name) => tag(key, "username", name.as_str()),
        Presented::Email(address) => tag(key, "email", address.as_str()),
        Presented::Neither(text) => tag(key, "neither", text),
    }
}

/// A MAC with the kind of what it is of before it, so that one kind's is never another's.
fn tag(key: &MacKey, kind: &str, text: &str) -> String {
    URL_SAFE_NO_PAD.encode(key.mac(format!("{kind}\0{text}").as_bytes()))
}

/// An attempt may not be made.
#[derive(Debug, thiserror::Error)]
pub enum ThrottleError {
    /// There have been too many.
    #[error("too many attempts: {retry_after} s to wait")]
    TooMany {
        /// How long to wait, in seconds, at least one.
        retry_after: u64,
    },
    /// The counters.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peppers.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl ThrottleError {
    fn too_many(wait: SignedDuration) -> Self {
        let whole = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
        Self::TooMany { retry_after: u64::try_from(whole).unwrap_or(0).max(1) }
    }
}

impl Fault for ThrottleError {
    fn kind(&self) -> FaultKind {
        match self {
            Self::TooMany { .. } => FaultKind::Throttled,
            Self::Store(error) => error.kind(),
            Self::Secret(error) => error.kind(),
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after } => Some(*retry_after),
            Self::Store(_) | Self::Secret(_) => None,
        }
    }
}
