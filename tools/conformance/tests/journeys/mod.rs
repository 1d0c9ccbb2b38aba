//! User journeys that run on the dev server and on a deployed stack.

pub(crate) mod access;
pub(crate) mod account;
pub(crate) mod admin;
mod client;
pub(crate) mod document;
pub(crate) mod mails;
pub(crate) mod refresh;
pub(crate) mod session;

use std::ops::Deref;

pub(crate) use client::{Answer, Api, INSTANCES, PASSWORD, Tokens, concurrently, routes};
use identity::{Role, Roles};
use testkit::{Forge, Received};

/// A running API, its operator's commands, and the emails that it has sent.
pub(crate) trait RunningApi: Deref<Target = Api> + Sync {
    /// Runs `cargo xtask admin` on this API.
    fn administer(&self, arguments: &[&str]);

    /// A forge that creates valid and invalid tokens with the API's own signing keys.
    fn forge(&self) -> Forge;

    /// All emails that the API has sent, in the order in which they were requested.
    async fn mails(&self) -> Vec<Received>;

    /// The address of the API as clients know it.
    fn address(&self) -> &str;

    /// The sender of the API's emails.
    fn sender(&self) -> &'static str;

    /// Replaces the roles of a user.
    fn set_roles(&self, username: &str, roles: &[Role]) {
        let roles = roles.iter().copied().collect::<Roles>().to_string();
        self.administer(&["set-roles", username, "--roles", &roles, "--yes"]);
    }
}

/// Calls the macro `$with` with the list of all journeys.
macro_rules! journeys {
    ($with:ident) => {
        $with! {
            access::access_matrix,
            access::every_bad_token_is_refused_by_every_route,
            access::a_token_is_accepted_only_in_the_authorization_header,
            account::a_user_exports_and_deletes_the_account,
            account::an_administrator_deletes_an_account,
            admin::an_administrator_lists_and_shows_accounts,
            admin::an_administrator_changes_an_account,
            mails::a_password_and_an_address_change_by_mail,
            mails::an_address_changes_only_after_confirmation,
            refresh::sessions_are_listed_and_ended_immediately,
            refresh::access_and_refresh_tokens_are_not_interchangeable,
            refresh::disabling_and_enabling_by_command_take_effect_immediately,
            session::a_new_user_signs_in_and_becomes_an_admin,
            session::a_user_signs_in_by_address_and_sees_the_account,
            session::stepping_up_needs_the_password_and_keeps_the_session,
        }
    };
}
pub(crate) use journeys;
