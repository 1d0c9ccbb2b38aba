//! Environment variables, read once. All faults in them are reported together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The environment variables of the process, as they were at its start.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

/// Shows only names, because values may be secrets.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Env {
    /// Reads the environment of this process. Variables that are not Unicode are ignored.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// Reads a configuration with the closure `read`.
    ///
    /// # Errors
    /// When a variable is missing or invalid. The error lists every such variable.
    pub fn read<T>(&self, read: impl FnOnce(&Reader<'_>) -> Option<T>) -> Result<T, ConfigErrors> {
        let reader = Reader { env: self, errors: RefCell::default() };
        let value = read(&reader);
        let errors = reader.errors.into_inner();
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            _ => Err(ConfigErrors(errors)),
        }
    }
}

impl Env {
    /// Reads settings of the type `T`.
    ///
    /// # Errors
    /// When a variable is missing or invalid. The error lists every such variable.
    pub fn settings<T: Settings>(&self) -> Result<T, ConfigErrors> {
        self.read(T::read)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }
}

/// Reads variables and collects their faults.
#[derive(Debug)]
pub struct Reader<'a> {
    env: &'a Env,
    errors: RefCell<Vec<String>>,
}

impl Reader<'_> {
    /// Reads a variable that must be set and not empty. Returns `None` if a fault was recorded.
    pub fn required<T: FromStr<Err: fmt::Display>>(&self, name: &'static str) -> Option<T> {
        if self.get(name).is_none() {
            self.fault(name, "is missing");
        }
        self.parsed(name)
    }

    /// Reads an optional variable with a default. Returns `None` if a fault was recorded.
    pub fn optional<T: FromStr<Err: fmt::Display>>(
        &self,
        name: &'static str,
        default: T,
    ) -> Option<T> {
        if self.get(name).is_none() { Some(default) } else { self.parsed(name) }
    }

    /// Reads an optional variable without a default. The outer `None` means that a fault was recorded, the inner one
    /// that the variable is not set.
    pub fn maybe<T: FromStr<Err: fmt::Display>>(&self, name: &'static str) -> Option<Option<T>> {
        if self.get(name).is_none() { Some(None) } else { self.parsed(name).map(Some) }
    }

    /// Records a fault in the variable `name`. The reason appears in logs, so it must not quote the value.
    pub fn fault(&self, name: &str, reason: impl fmt::Display) {
        let fault = format!("{name} {reason}");
        // Two crates may read the same variable, but its fault must be reported only once.
        let mut errors = self.errors.borrow_mut();
        if !errors.contains(&fault) {
            errors.push(fault);
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.env.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(&self, name: &'static str) -> Option<T> {
        match self.get(name)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(name, format_args!("is invalid: {error}"));
                None
            }
        }
    }
}

/// Settings, read from the environment.
///
/// Tuples of settings implement this trait too. They read every member, so that one error reports all faults.
pub trait Settings: Sized + Send {
    /// Reads the settings. Returns `None` if a fault was recorded in the reader.
    fn read(reader: &Reader<'_>) -> Option<Self>;
}

macro_rules! settings_of_tuples {
    ($(($($name:ident)*))*) => {$(
        impl<$($name: Settings),*> Settings for ($($name,)*) {
            #[expect(non_snake_case, reason = "each variable has the name of its type")]
            fn read(reader: &Reader<'_>) -> Option<Self> {
                // Read all members first: a `?` here would hide the faults of the members that follow.
                $(let $name = $name::read(reader);)*
                Some(($($name?,)*))
            }
        }
    )*};
}

settings_of_tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

impl Settings for () {
    fn read(_: &Reader<'_>) -> Option<Self> {
        Some(())
    }
}

/// The region and the credentials, which Lambda sets for every function, and the endpoint of an emulator, if any.
#[derive(Clone)]
pub struct AwsEnvironment {
    /// `AWS_REGION`.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: String,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<String>,
    /// The endpoint of an emulator, from the service's own variable or `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
}

/// Shows no credentials.
impl fmt::Debug for AwsEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsEnvironment")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl AwsEnvironment {
    /// Reads the variables. `endpoint` names the service's own variable, such as `AWS_ENDPOINT_URL_DYNAMODB`.
    pub fn read(reader: &Reader<'_>, endpoint: &'static str) -> Option<Self> {
        let region = reader.required("AWS_REGION");
        let access_key_id = reader.required("AWS_ACCESS_KEY_ID");
        let secret_access_key = reader.required("AWS_SECRET_ACCESS_KEY");
        let session_token = reader.maybe("AWS_SESSION_TOKEN");
        let specific = reader.maybe(endpoint);
        let general = reader.maybe("AWS_ENDPOINT_URL");
        Some(Self {
            region: region?,
            access_key_id: access_key_id?,
            secret_access_key: secret_access_key?,
            session_token: session_token?,
            endpoint: specific?.or(general?),
        })
    }
}

/// Every variable that is missing or invalid, with its fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid configuration: {}", self.0.join("; "))
    }
}

impl std::error::Error for ConfigErrors {}

/// The reason why a function could not start. Only a cold start may fail. Once started, a function answers every event.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The environment is invalid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// Something else that the function needs is unusable. The text names it, but never contains a secret.
    #[error("cannot start: {0}")]
    Start(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_reported_together() {
        let env = Env::from_iter([("PORT", "many"), ("EMPTY", "")]);
        let error = env
            .read(|r| {
                let port = r.required::<u16>("PORT");
                let table = r.required::<String>("TABLE");
                let empty = r.required::<String>("EMPTY");
                Some((port?, table?, empty?))
            })
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid configuration: PORT is invalid: invalid digit found in string; \
             TABLE is missing; EMPTY is missing"
        );
    }

    #[test]
    fn a_recorded_fault_fails_the_read_even_if_there_is_a_value() {
        let env = Env::from_iter([("A", "1")]);
        let read = env.read(|r| {
            r.fault("A", "is too small");
            r.required::<u16>("A")
        });
        assert!(read.is_err());
    }

    #[test]
    fn debug_shows_no_value() {
        let env = Env::from_iter([("SIGNING_KEYS", "very secret")]);
        assert!(!format!("{env:?}").contains("very secret"));
    }
}
