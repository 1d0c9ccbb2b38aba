//! The changes that administrators make to accounts.

use identity::{Account, Attributes, Email, EmailStanding, Roles, Standing};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use store::AddressClaim;
use web::{FieldError, Problem};

/// The body of `PATCH`. A missing member changes nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ChangeBody {
    #[serde(deserialize_with = "given")]
    disabled: Option<bool>,
    /// `null` removes the address.
    #[expect(clippy::option_option, reason = "`null` and a missing member differ")]
    #[serde(deserialize_with = "given")]
    email: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    email_verified: Option<bool>,
    #[serde(deserialize_with = "given")]
    attributes: Option<Value>,
}

/// Distinguishes `null` from a missing member.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// A change whose values are valid.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Change nothing.
    None,
    /// Change members of the account.
    Members(Members),
    /// Replace the roles.
    Roles(Roles),
    /// End all sessions.
    EndSessions,
}

/// The members to change.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    standing: Option<Standing>,
    #[expect(clippy::option_option, reason = "removing the address and keeping it differ")]
    email: Option<Option<Email>>,
    email_standing: Option<EmailStanding>,
    attributes: Option<Attributes>,
}

impl ChangeBody {
    /// Checks every member, so that one response reports all errors.
    pub(crate) fn validate(self) -> Result<Members, Problem> {
        let email = self.email.map(|email| email.as_deref().map(Email::parse).transpose());
        let (email, attributes) =
            (email.transpose(), self.attributes.map(Attributes::try_from).transpose());
        match (email, attributes) {
            (Ok(email), Ok(attributes)) => Ok(Members {
                standing: self
                    .disabled
                    .map(|disabled| if disabled { Standing::Disabled } else { Standing::Active }),
                email,
                email_standing: self.email_verified.map(|verified| {
                    if verified { EmailStanding::Verified } else { EmailStanding::Unverified }
                }),
                attributes,
            }),
            (email, attributes) => {
                let email = email.err().map(|error| FieldError::new("email", "address", &error));
                let attributes = attributes.err().map(|error| {
                    let detail = format!("The attributes {error}.");
                    FieldError { field: "attributes", code: process::Fault::code(&error), detail }
                });
                Err(Problem::invalid_input([email, attributes].into_iter().flatten().collect()))
            }
        }
    }
}

impl Change {
    /// The account after the change. `claim` determines whether the account claims an unconfirmed address at once.
    pub(crate) fn apply(&self, account: &Account, claim: AddressClaim) -> Result<Account, Problem> {
        let mut after = account.clone();
        match self {
            Self::None => {}
            Self::Roles(roles) => after.roles = roles.clone(),
            Self::EndSessions => after.epoch = account.epoch.next(),
            Self::Members(members) => members.apply(&mut after, claim)?,
        }
        Ok(after)
    }
}

impl Members {
    fn apply(&self, after: &mut Account, claim: AddressClaim) -> Result<(), Problem> {
        match self.standing {
            // Disabling an account ends its sessions for good, even if it is enabled again.
            Some(Standing::Disabled) if after.standing == Standing::Active => {
                after.standing = Standing::Disabled;
                after.epoch = after.epoch.next();
            }
            Some(standing) => after.standing = standing,
            None => {}
        }
        if let Some(attributes) = &self.attributes {
            after.attributes = attributes.clone();
        }
        if self.email.is_some() || self.email_standing.is_some() {
            self.apply_email(after, claim)?;
        }
        Ok(())
    }

    fn apply_email(&self, after: &mut Account, claim: AddressClaim) -> Result<(), Problem> {
        let current = || after.email.clone().or(after.pending_email.clone());
        let email = self.email.clone().unwrap_or_else(current);
        // A new address is unconfirmed unless the administrator vouches for it.
        let standing = self.email_standing.unwrap_or(EmailStanding::Unverified);
        if email.is_none() && standing == EmailStanding::Verified {
            let detail = "The account has no address.".to_owned();
            let error = FieldError { field: "email_verified", code: "no_address", detail };
            return Err(Problem::invalid_input(vec![error]));
        }
        let is_claimed = standing == EmailStanding::Verified || claim == AddressClaim::AtOnce;
        (after.email, after.pending_email) = if is_claimed { (email, None) } else { (None, email) };
        after.email_standing = standing;
        Ok(())
    }
}
