//! Takes members out of a JSON object, without repeating their values in errors.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::Reason;

/// The members of a JSON object that have not been taken yet. A member that is null is treated as absent.
pub(crate) struct Members(Map<String, Value>);

impl Members {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Reason> {
        serde_json::from_slice(text).map(Self).map_err(|_| Reason::NotAnObject)
    }

    /// Takes a member.
    pub(crate) fn take<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, Reason> {
        let value = self.0.remove(name).filter(|value| !value.is_null());
        // Drop the error, because it would repeat the value.
        value.map(serde_json::from_value).transpose().map_err(|_| Reason::Invalid(name))
    }

    pub(crate) fn required<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<T, Reason> {
        self.take(name)?.ok_or(Reason::Missing(name))
    }

    /// Takes a string. Treats an empty string as absent.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, Reason> {
        Ok(self.take::<String>(name)?.filter(|text| !text.is_empty()))
    }

    /// Takes a member that is an object.
    pub(crate) fn object(&mut self, name: &'static str) -> Result<Option<Self>, Reason> {
        Ok(self.take::<Map<_, _>>(name)?.map(Self))
    }

    /// Refuses members that have not been taken.
    pub(crate) fn end(self) -> Result<(), Reason> {
        let Some(name) = self.0.keys().next() else { return Ok(()) };
        Err(Reason::Unknown(name.chars().take(40).collect()))
    }
}
