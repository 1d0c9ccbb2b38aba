//! What users do, wherever the API is: on the dev server, or deployed.

pub(crate) mod access;
mod client;
pub(crate) mod mails;
pub(crate) mod refresh;
pub(crate) mod session;

use std::ops::Deref;

pub(crate) use client::{Answer, Api, INSTANCES, PASSWORD, Tokens, at_once, routes};
use identity::{Role, Roles};
use testkit::{Forge, Received};

/// Where the API is, and what its operator can do.
pub(crate) trait Place: Deref<Target = Api> + Sync {
    /// Carries out `cargo xtask admin` there.
    fn administer(&self, arguments: &[&str]);

    /// What signs tokens that it accepts: its own keys.
    fn forge(&self) -> Forge;

    /// All mails that it has sent, in the order in which they were asked for.
    async fn mails(&self) -> Vec<Received>;

    /// Looks whether the link of `mail` leads to where its `page` is.
    async fn follow(&self, mail: &Received, page: &str);

    /// From whom its mails are.
    fn sender(&self) -> &'static str;

    /// Gives a user other roles.
    fn set_roles(&self, username: &str, roles: &[Role]) {
        let roles = roles.iter().copied().collect::<Roles>().to_string();
        self.administer(&["set-roles", username, "--roles", &roles, "--yes"]);
    }
}

/// Calls `$with` for all of them.
macro_rules! journeys {
    ($with:ident) => {
        $with! {
            access::access_matrix,
            access::every_bad_token_is_refused_by_every_route,
            access::a_token_counts_in_its_header_alone,
            mails::a_password_and_an_address_by_mail,
            mails::an_address_changes_once_it_is_confirmed,
            refresh::sessions_are_listed_and_ended_at_once,
            refresh::access_and_refresh_tokens_are_not_interchangeable,
            refresh::disabling_and_enabling_by_command_counts_at_once,
            session::register_login_protected_admin,
            session::signs_in_by_address_and_shows_the_user,
        }
    };
}
pub(crate) use journeys;
