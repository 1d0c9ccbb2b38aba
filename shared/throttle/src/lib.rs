//! Throttles guesses without letting strangers lock owners out.
//!
//! Before a password is checked, the attempt is reserved on three counters: one for the name and the
//! network together, one for the name, and one for the network. Their keys are MACs of the presented values, so
//! a reader of the table learns nothing from them, and unknown names are counted like known ones. Once a counter's
//! free attempts are used up, it imposes a wait, even on a caller with the right password. An IPv6 network is
//! counted as a /64 and, with ten times the limit, as a /48.
//!
//! Only the caller's failures count. The reservations are released after a success, and also if the server
//! could not carry out the attempt. An attempt that any counter refuses counts on none. The counter of the name
//! never refuses a network from which the owner of the account has signed in before, so strangers cannot lock the
//! owner out.

mod limits;
mod notices;
mod refusals;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dynamo::Client;
use futures_util::future::{join_all, try_join_all};
use identity::{Account, CanonicalName, Email, EmailStanding, Network, Presented};
use jiff::{SignedDuration, Timestamp};
pub use limits::Limits;
use limits::{Postage, wider};
pub use notices::{CausedBy, NoticeBudget, NoticeReceipt};
use peppers::{MacKey, Peppers, Purpose};
use process::{Clock, Fault, FaultKind, Outage, Random, Reader, Settings, World};
use refusals::Refusals;
use secrets::{Cached, SecretError};
use store::{CounterKey, Counters, KnownNetworks, Limit, Receipt, Reserved, StoreError};
use tokio::time::timeout;

/// How many days a network stays known after a login from it.
const KNOWN_DAYS: i64 = 90;

/// The age, in days, at which the record of a known network is renewed.
const RENEWED_AFTER_DAYS: i64 = 1;

/// How long the work for which an attempt was reserved may take: long enough for a retried database operation,
/// and short enough that the reservations can still be released before the function is stopped.
const WORK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long releasing reservations may delay a response.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long recording a known network may take. This is shorter than [`RELEASE_TIMEOUT`], which also covers the
/// reads before the recording.
const RECORD_TIMEOUT: Duration = Duration::from_secs(1);

/// How many times a release is tried. The database client additionally retries each try.
const RELEASE_TRIES: usize = 2;

/// The configuration of a throttle: the table of the counters, and the limits.
#[derive(Clone, Debug)]
pub struct Config {
    table: store::Config,
    limits: Limits,
}

impl Settings for Config {
    /// Reads `USERS_TABLE` and the variables of [`Limits::read`].
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let table = store::Config::read(reader);
        let limits = Limits::read(reader);
        Some(Self { table: table?, limits: limits? })
    }
}

/// Throttles guesses. Clones share the memory of recent refusals.
#[derive(Clone)]
pub struct Throttle {
    counters: Counters,
    networks: KnownNetworks,
    limits: Limits,
    refusals: Arc<Refusals>,
    peppers: Arc<Cached<Peppers>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Whether an email to an address may be sent.
#[derive(Debug)]
#[must_use]
pub enum Postal<'a> {
    /// The email may be sent. It counts unless the reservation is withdrawn.
    Paid(Reservation<'a>),
    /// No email may be sent, because a limit is reached. The response to the client must not reveal this.
    Unpaid,
}

/// Whether a network was new to an account at a login or a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Familiarity {
    /// The network was already known, or the account had no known network.
    Usual,
    /// Other networks were known, but not this one.
    New,
}

/// A counted request. The request counts unless the reservation is withdrawn. Dropping the reservation does not
/// withdraw it.
#[derive(Debug)]
pub struct Reservation<'a> {
    throttle: &'a Throttle,
    receipts: Vec<Receipt>,
}

/// An attempt that may be made. If it is dropped, it counts as a failure.
#[derive(Debug)]
#[must_use = "record a success, or the attempt counts as a failure"]
pub struct Attempt<'a> {
    key: MacKey,
    network: NetworkTags,
    /// The counters of the name and the network together.
    pairs: Vec<CounterKey>,
    of_pairs: Reservation<'a>,
    of_others: Reservation<'a>,
    now: Timestamp,
}

/// The tags of a network and of the wider network that contains it.
#[derive(Debug)]
struct NetworkTags {
    /// The tag of an IPv4 address or an IPv6 /64.
    tag: String,
    /// The tag of the IPv6 /48 that contains the /64.
    wide: Option<String>,
}

impl NetworkTags {
    fn of(key: &MacKey, network: Option<Network>) -> Self {
        let tag = |network: &str| tag(key, "network", network);
        Self {
            tag: network.map_or_else(|| tag("unknown"), |network| tag(&network.to_string())),
            wide: network.and_then(Network::wider).map(|wide| tag(&wide.to_string())),
        }
    }

    /// The tags of the network, each with its limit.
    fn limited(&self, limit: Limit) -> impl Iterator<Item = (&str, Limit)> {
        let wide = self.wide.as_deref().map(|wide| (wide, wider(limit)));
        [(self.tag.as_str(), limit)].into_iter().chain(wide)
    }

    /// The counters of the network, each with its limit.
    fn counters(&self, kind: &'static str, limit: Limit) -> Vec<(CounterKey, Limit)> {
        let counter = |(tag, limit): (&str, Limit)| (CounterKey::new(kind, tag.to_owned()), limit);
        self.limited(limit).map(counter).collect()
    }

    /// The counters of a name and the network together, each with its limit.
    fn pairs(
        &self,
        kind: &'static str,
        key: &MacKey,
        name: &str,
        limit: Limit,
    ) -> Vec<(CounterKey, Limit)> {
        let pair = |network: &str| CounterKey::new(kind, pair_tag(key, name, network));
        self.limited(limit).map(|(network, limit)| (pair(network), limit)).collect()
    }
}

impl Throttle {
    /// Creates a throttle without reading the table or the peppers.
    #[must_use]
    pub fn open(
        config: &Config,
        client: Client,
        peppers: Arc<Cached<Peppers>>,
        world: &World,
    ) -> Self {
        Self {
            counters: Counters::new(&config.table, client.clone()),
            networks: KnownNetworks::new(&config.table, client),
            limits: config.limits,
            refusals: Arc::default(),
            peppers,
            clock: Arc::clone(&world.clock),
            random: Arc::clone(&world.random),
        }
    }

    async fn key(&self, now: Timestamp) -> Result<MacKey, ThrottleError> {
        Ok(self.peppers.get().await?.current(Purpose::Throttle, now))
    }

    /// Reserves an attempt on each of these counters.
    async fn reserve(
        &self,
        counters: Vec<(CounterKey, Limit)>,
        now: Timestamp,
    ) -> Vec<Result<Reserved, StoreError>> {
        let reservations = counters.into_iter().map(|(key, limit)| async move {
            self.counters.reserve(key, limit, now, &*self.random).await
        });
        join_all(reservations).await
    }

    /// Reserves an attempt on `own`, the counters of the caller's network, and awaits `shared`, which reserves it
    /// on counters that all networks share.
    ///
    /// Both happen concurrently, unless a counter in `own` is expected to refuse. In that case `shared` is awaited
    /// only after all counters in `own` have granted the attempt. Otherwise a flood of throttled attempts from one
    /// network would keep a shared counter reserved, and the owner of the name would be refused.
    async fn reserve_with<T>(
        &self,
        own: Vec<(CounterKey, Limit)>,
        now: Timestamp,
        shared: impl Future<Output = T>,
    ) -> (Vec<Result<Reserved, StoreError>>, Option<T>) {
        let counters: Vec<_> = own.iter().map(|(counter, _)| counter.clone()).collect();
        let own = self.reserve(own, now);
        let (own, shared) = if self.refusals.expected(&counters, now) {
            let own = own.await;
            let is_granted = own.iter().all(|it| matches!(it, Ok(Reserved::Granted(_))));
            let shared = if is_granted { Some(shared.await) } else { None };
            (own, shared)
        } else {
            let (own, shared) = tokio::join!(own, shared);
            (own, Some(shared))
        };
        for (counter, reserved) in counters.into_iter().zip(&own) {
            if let Ok(Reserved::Refused(wait)) = reserved {
                let until = now.saturating_add(*wait).unwrap_or(Timestamp::MAX);
                self.refusals.remember(counter, until, now);
            }
        }
        (own, shared)
    }

    /// Returns all receipts if every reservation was granted. Otherwise releases the granted ones.
    async fn all_or_none(
        &self,
        reserved: Vec<Result<Reserved, StoreError>>,
    ) -> Result<Vec<Receipt>, ThrottleError> {
        let (mut receipts, mut wait, mut fault) = (Vec::new(), None, None);
        for reserved in reserved {
            match reserved {
                Ok(Reserved::Granted(receipt)) => receipts.push(receipt),
                Ok(Reserved::Refused(longer)) => wait = wait.max(Some(longer)),
                Err(error) => fault = Some(error),
            }
        }
        let error = match (fault, wait) {
            (None, None) => return Ok(receipts),
            (Some(fault), _) => fault.into(),
            (None, Some(wait)) => ThrottleError::too_many(wait),
        };
        self.release(receipts, Vec::new()).await;
        Err(error)
    }

    /// Gives `receipts` back and clears `counters`. Failures are only logged: the response is already decided,
    /// and an unreachable counter must not change it.
    async fn release(&self, receipts: Vec<Receipt>, counters: Vec<CounterKey>) {
        let receipts = receipts.into_iter().map(Release::GiveBack);
        let all = receipts.chain(counters.into_iter().map(Release::Clear));
        let done = join_all(all.map(|it| it.carry_out(&self.counters)));
        match timeout(RELEASE_TIMEOUT, done).await {
            Ok(done) => done.into_iter().filter_map(Result::err).for_each(log_counters_not_told),
            Err(error) => log_counters_not_told(error),
        }
    }

    /// Reserves an attempt from `network` at the password of the account named `presented`. All attempts without a
    /// network are counted as if they came from one network.
    ///
    /// # Errors
    /// [`ThrottleError::TooMany`] when a counter refuses the attempt. Another error when the counters cannot be
    /// reached. In both cases the attempt counts on no counter.
    pub async fn attempt(
        &self,
        presented: &Presented,
        network: Option<Network>,
    ) -> Result<Attempt<'_>, ThrottleError> {
        let now = self.clock.now();
        let key = self.key(now).await?;
        let name = presented_tag(&key, presented);
        let network = NetworkTags::of(&key, network);
        let Limits { pair: pair_limit, name: name_limit, network: network_limit, .. } = self.limits;
        let mut own = network.pairs("PAIR", &key, &name, pair_limit);
        let pairs: Vec<_> = own.iter().map(|(counter, _)| counter.clone()).collect();
        own.extend(network.counters("NETWORK", network_limit));
        let name_counter = vec![(CounterKey::new("NAME", name.clone()), name_limit)];
        let shared = async {
            let known = self.networks.known_until(&name, &network.tag, now);
            let (of_name, known) = tokio::join!(self.reserve(name_counter, now), known);
            let is_known = matches!(known, Ok(Some(_)));
            // The counter of the name must not refuse a known network.
            let refused = move |it: &_| is_known && matches!(it, Ok(Reserved::Refused(_)));
            // A failed lookup of the network is treated like a failed reservation.
            let known = known.err().map(Err);
            of_name.into_iter().filter(move |it| !refused(it)).chain(known)
        };
        let (all, of_name) = self.reserve_with(own, now, shared).await;
        let all = all.into_iter().chain(of_name.into_iter().flatten()).collect();
        let mut receipts = self.all_or_none(all).await?;
        let of_others = receipts.split_off(pairs.len());
        Ok(Attempt {
            key,
            network,
            pairs,
            of_pairs: Reservation { throttle: self, receipts },
            of_others: Reservation { throttle: self, receipts: of_others },
            now,
        })
    }

    /// Reserves an attempt from `network` at a secret that cannot be guessed (128 bits).
    ///
    /// # Errors
    /// In the same cases as [`Self::attempt`].
    pub async fn bare_attempt(
        &self,
        network: Option<Network>,
    ) -> Result<Reservation<'_>, ThrottleError> {
        self.of_network("NETWORK", self.limits.network, network).await
    }

    /// Reserves a registration from `network`.
    ///
    /// # Errors
    /// [`ThrottleError::TooMany`] when the network has made too many requests of this kind. Another error when the
    /// counters cannot be reached.
    pub async fn registration(
        &self,
        network: Option<Network>,
    ) -> Result<Reservation<'_>, ThrottleError> {
        self.of_network("REGISTER", self.limits.register, network).await
    }

    /// Reserves a request for an email from `network`.
    ///
    /// # Errors
    /// In the same cases as [`Self::registration`].
    pub async fn mail_request(
        &self,
        network: Option<Network>,
    ) -> Result<Reservation<'_>, ThrottleError> {
        self.of_network("MAIL", self.limits.mail, network).await
    }

    async fn of_network(
        &self,
        kind: &'static str,
        limit: Limit,
        network: Option<Network>,
    ) -> Result<Reservation<'_>, ThrottleError> {
        let now = self.clock.now();
        let key = self.key(now).await?;
        let counters = NetworkTags::of(&key, network).counters(kind, limit);
        let receipts = self.all_or_none(self.reserve(counters, now).await).await?;
        Ok(Reservation { throttle: self, receipts })
    }

    /// Reserves an email with a code to `address`, requested from `network`. This does not look up whether an
    /// account has the address.
    ///
    /// The limits are three an hour for the address and the network together (thirty for an IPv6 /48), and five
    /// an hour and ten a day for the address. If the address is confirmed and its owner has signed in from the
    /// network before, the limit is instead five an hour from this network, which strangers cannot use up.
    ///
    /// # Errors
    /// When the counters cannot be reached.
    pub async fn postage(
        &self,
        address: &CanonicalName,
        network: Option<Network>,
    ) -> Result<Postal<'_>, ThrottleError> {
        let now = self.clock.now();
        let key = self.key(now).await?;
        let name = email_tag(&key, address);
        let network = NetworkTags::of(&key, network);
        let known = self.networks.known_until(&name, &network.tag, now).await?;
        let (own, shared) = if known.is_some() {
            (network.pairs("MAIL_KNOWN", &key, &name, Postage::KNOWN), Vec::new())
        } else {
            let of_address = vec![
                (CounterKey::new("MAIL_HOUR", name.clone()), Postage::HOUR),
                (CounterKey::new("MAIL_DAY", name.clone()), Postage::DAY),
            ];
            (network.pairs("MAIL_PAIR", &key, &name, Postage::PAIR), of_address)
        };
        let (own, shared) = self.reserve_with(own, now, self.reserve(shared, now)).await;
        let all = own.into_iter().chain(shared.into_iter().flatten()).collect();
        match self.all_or_none(all).await {
            Ok(receipts) => Ok(Postal::Paid(Reservation { throttle: self, receipts })),
            Err(ThrottleError::TooMany { .. }) => Ok(Postal::Unpaid),
            Err(error) => Err(error),
        }
    }

    /// Records that an emailed code was used to reset the password of `account` from `network`. Returns whether
    /// the network was new.
    ///
    /// Failed attempts from this network at the account's names are forgotten, so that the owner can sign in with
    /// the new password without waiting. All known networks are forgotten, and then `network` becomes known, even
    /// under an address that was not confirmed, because only the owner of the address could read the email.
    ///
    /// `account` is the account as it was before the reset. If its password or address has been replaced since
    /// the reset, the network does not become known.
    ///
    /// # Errors
    /// When the peppers or the table cannot be reached. A failure to forget one item does not prevent the others from
    /// being forgotten.
    pub async fn recovered(
        &self,
        account: &Account,
        network: Option<Network>,
    ) -> Result<Familiarity, ThrottleError> {
        let now = self.clock.now();
        let key = self.key(now).await?;
        let network = NetworkTags::of(&key, network);
        let names = Names::of(&key, account, account.email.as_ref());
        let pairs =
            names.all().flat_map(|name| network.pairs("PAIR", &key, name, self.limits.pair));
        let pairs = pairs.map(|(counter, _)| counter).collect();
        let after = Account { epoch: account.epoch.next(), ..account.clone() };
        let recovered = async {
            let before = familiarity(&self.networks, &names.username, &network.tag, now).await;
            let forgotten = self.forget(names.all()).await;
            let names: Vec<_> = names.all().collect();
            try_to_record(&self.networks, &after, &names, &network.tag, now).await;
            forgotten?;
            before
        };
        let (recovered, ()) = tokio::join!(recovered, self.release(Vec::new(), pairs));
        Ok(recovered?)
    }

    /// Forgets the known networks that are stored under these names.
    async fn forget(&self, names: impl Iterator<Item = &str>) -> Result<(), StoreError> {
        let forgotten = names.map(|name| self.networks.forget(name));
        join_all(forgotten).await.into_iter().collect()
    }

    /// Forgets the known networks that are stored under these addresses. Must be called after an account's address or
    /// its confirmation has changed, or a later owner of the address would inherit the known networks. A failure is
    /// only logged, because the change has already been made.
    pub async fn addresses_changed(&self, addresses: impl IntoIterator<Item = &CanonicalName>) {
        let forgotten = async {
            let key = self.key(self.clock.now()).await?;
            let names: Vec<_> = addresses.into_iter().map(|it| email_tag(&key, it)).collect();
            Ok::<_, ThrottleError>(self.forget(names.iter().map(String::as_str)).await?)
        };
        match timeout(RELEASE_TIMEOUT, forgotten).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log_counters_not_told(error),
            Err(error) => log_counters_not_told(error),
        }
    }
}

/// The tags of an account's names, under which its known networks are stored.
struct Names {
    username: String,
    email: Option<String>,
}

impl Names {
    fn of(key: &MacKey, account: &Account, email: Option<&Email>) -> Self {
        Self {
            username: username_tag(key, account.username.canonical()),
            email: email.map(|email| email_tag(key, email.canonical())),
        }
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        [self.username.as_str()].into_iter().chain(self.email.as_deref())
    }
}

/// The tags under which an account's known networks may be stored ([`KnownNetworks`]): one for each combination of a
/// name and a pepper.
#[must_use]
pub fn known_under(peppers: &Peppers, account: &Account) -> Vec<String> {
    let keys = peppers.ids().filter_map(|id| peppers.by_id(id, Purpose::Throttle));
    let names = keys.map(|key| Names::of(&key, account, account.email.as_ref()));
    names.flat_map(|names| [names.username].into_iter().chain(names.email)).collect()
}

/// Awaits `work`, for which an attempt was reserved, but not longer than five seconds. This leaves time to release
/// the reservation before the function is stopped.
///
/// # Errors
/// When `work` fails, or takes too long ([`ThrottleError::Overdue`]).
pub async fn bounded<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, E>
where
    E: From<ThrottleError>,
{
    timeout(WORK_TIMEOUT, work).await.unwrap_or_else(|_| Err(ThrottleError::Overdue.into()))
}

impl Reservation<'_> {
    /// Combines this reservation with `other`.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.receipts.extend(other.receipts);
        self
    }

    /// Withdraws the reservation, so that the request uses up nothing of the limit.
    pub async fn withdraw(self) {
        self.throttle.release(self.receipts, Vec::new()).await;
    }

    /// Awaits `other`, which makes another reservation. If the server cannot make it, this one is withdrawn.
    ///
    /// Unlike [`Self::carry_out`], this sets no time limit, because a reservation that is dropped while it is
    /// being made cannot be withdrawn. The invocation's deadline still ends the database calls.
    ///
    /// # Errors
    /// When `other` fails.
    pub async fn then_reserve<T, E: Outage>(
        self,
        other: impl Future<Output = Result<T, E>>,
    ) -> Result<(T, Self), E> {
        match other.await {
            Ok(made) => Ok((made, self)),
            Err(error) => {
                if error.is_outage() {
                    self.withdraw().await;
                }
                Err(error)
            }
        }
    }

    /// Awaits `work`, for which this reservation was made, and returns the reservation. If the server cannot
    /// carry out the work in time, the reservation is withdrawn. After any other error, the request counts.
    ///
    /// `work` must not make reservations, because a timeout would drop them: see [`Self::then_reserve`].
    ///
    /// # Errors
    /// When `work` fails, or takes too long ([`ThrottleError::Overdue`]).
    pub async fn carry_out<T, E: Outage + From<ThrottleError>>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<(T, Self), E> {
        match bounded(work).await {
            Ok(done) => Ok((done, self)),
            Err(error) => {
                if error.is_outage() {
                    self.withdraw().await;
                }
                Err(error)
            }
        }
    }
}

impl Attempt<'_> {
    /// Awaits `work`, the check for which this attempt was reserved, and returns the attempt. If the server
    /// cannot carry out the check in time, the attempt is withdrawn. After any other error, the attempt counts.
    ///
    /// # Errors
    /// When `work` fails, or takes too long ([`ThrottleError::Overdue`]).
    pub async fn carry_out<T, E: Outage + From<ThrottleError>>(
        self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<(T, Self), E> {
        match bounded(work).await {
            Ok(done) => Ok((done, self)),
            Err(error) => {
                if error.is_outage() {
                    self.withdraw().await;
                }
                Err(error)
            }
        }
    }

    /// Withdraws the attempt, so that it uses up nothing of the limits. Earlier failures remain counted.
    pub async fn withdraw(self) {
        self.of_pairs.and(self.of_others).withdraw().await;
    }

    /// Records that the presented secret was right, but is not a password. The reservations are released, and
    /// earlier failures from this network are forgotten. The network does not become known.
    pub async fn passed(self) {
        let Reservation { throttle, receipts } = self.of_others;
        throttle.release(receipts, self.pairs).await;
    }

    /// Records that the attempt proved the password of `account`. Returns whether the network was new.
    ///
    /// The reservations are released, and earlier failures from this network are forgotten. The network becomes
    /// known under the account's username, and under its address if that is confirmed. It does not become known if the
    /// password or the address has been replaced since `account` was read.
    ///
    /// An unconfirmed address may belong to someone else. A stranger who registers with it must not be exempt
    /// from the limits that protect its owner.
    pub async fn succeeded(self, account: &Account) -> Familiarity {
        let Self { key, network, pairs, of_others, now, .. } = self;
        let Reservation { throttle, receipts } = of_others;
        let networks = &throttle.networks;
        let confirmed = account.email_standing == EmailStanding::Verified;
        let names = Names::of(&key, account, account.email.as_ref().filter(|_| confirmed));
        let recorded = record(networks, account, &names, &network.tag, now);
        let ((), recorded) =
            tokio::join!(throttle.release(receipts, pairs), timeout(RELEASE_TIMEOUT, recorded));
        match recorded {
            Ok(Ok(familiarity)) => return familiarity,
            Ok(Err(error)) => log_counters_not_told(error),
            Err(error) => log_counters_not_told(error),
        }
        Familiarity::Usual
    }
}

/// How to release an attempt on one counter.
enum Release {
    GiveBack(Receipt),
    Clear(CounterKey),
}

impl Release {
    async fn carry_out(self, counters: &Counters) -> Result<(), StoreError> {
        let mut tries = 1;
        loop {
            let released = match &self {
                Self::GiveBack(receipt) => counters.give_back(receipt).await,
                Self::Clear(counter) => counters.clear(counter).await,
            };
            match released {
                Err(_) if tries < RELEASE_TRIES => tries += 1,
                result => return result,
            }
        }
    }
}

/// Logs that the outcome of an attempt could not be recorded.
fn log_counters_not_told(error: impl std::error::Error + 'static) {
    let error = &error as &dyn std::error::Error;
    tracing::warn!(
        event = "counters_not_told",
        error,
        "a counter or a known network was not updated"
    );
}

/// Whether a network is new to the account with this username.
async fn familiarity(
    networks: &KnownNetworks,
    username: &str,
    network: &str,
    now: Timestamp,
) -> Result<Familiarity, StoreError> {
    let known = networks.known_until(username, network, now).await?;
    let is_new = known.is_none() && networks.any_known(username, now).await?;
    Ok(if is_new { Familiarity::New } else { Familiarity::Usual })
}

/// Records that a network is known, unless `account` has changed since it was read. A failure is only logged: the
/// owner must get the notice of a new network even then, because an intruder could cause the failure.
async fn try_to_record(
    networks: &KnownNetworks,
    account: &Account,
    names: &[&str],
    network: &str,
    now: Timestamp,
) {
    let until = now.saturating_add(days(KNOWN_DAYS)).unwrap_or(Timestamp::MAX);
    match timeout(RECORD_TIMEOUT, networks.record(account, names, network, until)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => log_counters_not_told(error),
        Err(error) => log_counters_not_told(error),
    }
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// Records that a network is known under these names, unless that was recorded recently. Returns whether the
/// network was new.
async fn record(
    networks: &KnownNetworks,
    account: &Account,
    names: &Names,
    network: &str,
    now: Timestamp,
) -> Result<Familiarity, StoreError> {
    let fresh = now.saturating_add(days(KNOWN_DAYS - RENEWED_AFTER_DAYS)).unwrap_or(Timestamp::MAX);
    let known = names.all().map(|name| networks.known_until(name, network, now));
    let known = try_join_all(known).await?;
    let is_stale = |until: &Option<Timestamp>| until.is_none_or(|until| until <= fresh);
    let stale = names.all().zip(&known).filter(|(_, until)| is_stale(until));
    let stale: Vec<_> = stale.map(|(name, _)| name).collect();
    if stale.is_empty() {
        return Ok(Familiarity::Usual);
    }
    // The first name is the username.
    let is_unknown = known.first().is_some_and(Option::is_none);
    let is_new = is_unknown && networks.any_known(&names.username, now).await?;
    try_to_record(networks, account, &stale, network, now).await;
    Ok(if is_new { Familiarity::New } else { Familiarity::Usual })
}

/// The tag of the name that a caller presents. All spellings of a name have the same tag.
fn presented_tag(key: &MacKey, presented: &Presented) -> String {
    match presented {
        Presented::Username(name) => username_tag(key, name),
        Presented::Email(address) => email_tag(key, address),
        Presented::Impossible(text) => {
            tag(key, "neither", CanonicalName::of_unchecked(text).as_str())
        }
    }
}

fn username_tag(key: &MacKey, name: &CanonicalName) -> String {
    tag(key, "username", name.as_str())
}

fn email_tag(key: &MacKey, address: &CanonicalName) -> String {
    tag(key, "email", address.as_str())
}

/// The tag of a name and a network together.
fn pair_tag(key: &MacKey, name: &str, network: &str) -> String {
    tag(key, "pair", &format!("{name}.{network}"))
}

/// A MAC of `kind` and `text`. Tags of different kinds are never equal.
fn tag(key: &MacKey, kind: &str, text: &str) -> String {
    URL_SAFE_NO_PAD.encode(key.mac(format!("{kind}\0{text}").as_bytes()))
}

/// Why an attempt was refused or could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ThrottleError {
    /// There have been too many attempts.
    #[error("too many attempts: wait {retry_after} s")]
    TooMany {
        /// How long to wait, in seconds. At least 1.
        retry_after: u64,
    },
    /// The counters could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The peppers could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The work for which the attempt was reserved took too long.
    #[error("the check took too long")]
    Overdue,
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
            Self::Overdue => FaultKind::Unavailable,
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after } => Some(*retry_after),
            Self::Store(_) | Self::Secret(_) | Self::Overdue => None,
        }
    }
}
