//! What no function may be granted but those that are named here, whatever the template says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use xtask::privilege::{Grant, grants};
use xtask::project::Project;

/// Who may read private signing keys: whoever signs, and what rotates them.
const SIGNERS: [&str; 4] =
    ["LoginFunction", "PasswordChangeFunction", "RefreshFunction", "RotateKeysFunction"];

/// Who may read peppers: whoever counts attempts, stores or looks for a MAC, or makes a code.
const PEPPERED: [&str; 12] = [
    "AdminInvitesFunction",
    "EmailChangeFunction",
    "EmailVerifyCodeFunction",
    "EmailVerifyFunction",
    "EmailVerifySendFunction",
    "LoginFunction",
    "MailerFunction",
    "PasswordChangeFunction",
    "PasswordForgotFunction",
    "PasswordResetFunction",
    "RefreshFunction",
    "RegisterFunction",
];

/// What only reads.
const READERS: [&str; 10] = [
    "AdminFunction",
    "AuthorizerFunction",
    "DiscoveryFunction",
    "JwksFunction",
    "MeFunction",
    "ProtectedFunction",
    "ProtectedRouteAdminFunction",
    "ProtectedRouteFunction",
    "ProtectedRouteSuperAdminFunction",
    "ProtectedRouteUserFunction",
];

/// What changes nothing.
const READS: [&str; 4] = [
    "dynamodb:GetItem",
    "dynamodb:Query",
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetSecretValue",
];

fn of_the_template() -> Vec<Grant> {
    let template = std::fs::read_to_string(Project::here().template()).unwrap();
    grants(&template).unwrap()
}

fn functions<'a>(grants: impl Iterator<Item = &'a Grant>) -> BTreeSet<&'a str> {
    grants.map(|grant| grant.function.as_str()).collect()
}

#[test]
fn secrets_are_read_by_those_who_are_named() {
    let grants = of_the_template();
    let readers = |secret| {
        functions(grants.iter().filter(|grant| {
            grant.resource == secret && grant.action == "secretsmanager:GetSecretValue"
        }))
    };
    assert_eq!(readers("SigningKeys"), BTreeSet::from(SIGNERS));
    assert_eq!(readers("Peppers"), BTreeSet::from(PEPPERED));
}

#[test]
fn public_keys_are_written_by_rotation_alone() {
    let grants = of_the_template();
    let writers = grants
        .iter()
        .filter(|grant| grant.resource == "KeysTable" && !READS.contains(&grant.action.as_str()));
    assert_eq!(functions(writers), BTreeSet::from(["RotateKeysFunction"]));
}

#[test]
fn what_only_reads_can_write_nothing() {
    let grants = of_the_template();
    let writers = functions(grants.iter().filter(|grant| !READS.contains(&grant.action.as_str())));
    for reader in READERS {
        assert!(!writers.contains(reader), "{reader}");
    }
}
