//! Callers who have authenticated recently (RFC 9470).

use std::ops::Deref;

use jiff::Timestamp;
use process::{Reader, Settings};

use crate::{AccountCheck, CheckedCaller, KeySource, Refusal, Verifier};
use identity::RoleRequirement;

/// How long a session stays fresh after the user authenticates (`max_age`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAge(u32);

impl MaxAge {
    /// The time in seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// Whether a session whose user authenticated at `at` is fresh at `now`.
    fn admits(self, at: Timestamp, now: Timestamp) -> bool {
        now.as_second().saturating_sub(at.as_second()) <= i64::from(self.0)
    }
}

impl Settings for MaxAge {
    /// Reads `FRESH_SECONDS`: from 1 to 86400, 600 by default.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        let seconds = reader.optional("FRESH_SECONDS", 600)?;
        if !(1..=86_400).contains(&seconds) {
            reader.fault("FRESH_SECONDS", "must be from 1 to 86400");
        }
        Some(Self(seconds))
    }
}

/// A checked caller who authenticated recently. It dereferences to the [`CheckedCaller`].
///
/// Only [`Verifier::admit_fresh`] can create one:
///
/// ```compile_fail,E0423
/// fn forge<R>(caller: auth::CheckedCaller<R>) -> auth::FreshCaller<R> {
///     auth::FreshCaller(caller)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct FreshCaller<R>(CheckedCaller<R>);

impl<R> Deref for FreshCaller<R> {
    type Target = CheckedCaller<R>;

    fn deref(&self) -> &CheckedCaller<R> {
        &self.0
    }
}

impl<K: KeySource> Verifier<K> {
    /// Admits a caller whom [`Verifier::admit_checked`] admits, if the session is fresh.
    ///
    /// # Errors
    /// The errors of [`Verifier::admit_checked`], and [`Refusal::NotFresh`] when the session is not fresh.
    pub async fn admit_fresh<R: RoleRequirement>(
        &self,
        token: &str,
        accounts: &impl AccountCheck,
        max_age: MaxAge,
    ) -> Result<FreshCaller<R>, Refusal> {
        let caller = self.admit_checked(token, accounts).await?;
        if max_age.admits(caller.authentication().at, self.now()) {
            Ok(FreshCaller(caller))
        } else {
            Err(Refusal::NotFresh(max_age))
        }
    }
}
