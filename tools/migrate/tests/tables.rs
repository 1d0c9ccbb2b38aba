//! Reads tables in CSV as Cognito and Supabase write them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use identity::{EmailStanding, Role, Standing};
use migrate::{Addresses, Conversion, Csv, Entry, ReadError, Reason, TableError, Unconfirmed};

fn conversion(source: &str) -> Conversion {
    Conversion {
        source: source.parse().unwrap(),
        roles: BTreeMap::from([("staff".to_owned(), Role::Admin)]),
        addresses: Addresses::AsStated,
        unconfirmed: Unconfirmed::Claimed,
        now: "2026-11-28T12:00:00Z".parse().unwrap(),
    }
}

fn file(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("users.csv");
    std::fs::write(&path, text).unwrap();
    path
}

fn read(format: Csv, source: &str, text: &str) -> Vec<Entry> {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), text);
    migrate::csv(&path, format, conversion(source)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn users_of_cognito_have_no_password_so_they_need_an_email_address() {
    let entries = read(
        Csv::Cognito,
        "cognito",
        "\u{feff}cognito:username,name,email,email_verified,phone_number,sub,enabled,groups\n\
         rosa,\"Luxemburg, Rosa\",rosa@example.com,TRUE,+49,11111111-2222-4333-8444-555555555555,TRUE,\"staff,x\"\n\
         66666666-2222-4333-8444-555555555555,,ben@example.com,false,,,FALSE,\n\
         nobody,,,false,,,,\n\
         short,row\n\
         odd,,odd@example.com,perhaps,,,,\n",
    );
    let lines: Vec<_> = entries.iter().map(|entry| entry.line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6]);
    let rosa = entries[0].record.as_ref().unwrap();
    assert_eq!(rosa.account.username.as_str(), "rosa");
    assert_eq!(rosa.account.email_standing, EmailStanding::Verified);
    assert_eq!(rosa.account.roles.to_string(), "user,admin");
    let attributes = r#"{"cognito_id":"11111111-2222-4333-8444-555555555555"}"#;
    assert_eq!(rosa.account.attributes.to_json(), attributes);
    assert_eq!(rosa.password, None);
    let ben = entries[1].record.as_ref().unwrap();
    assert!(ben.account.username.as_str().starts_with("ben-"));
    assert_eq!(ben.account.standing, Standing::Disabled);
    assert_eq!(ben.account.email_standing, EmailStanding::Unverified);
    let reasons: Vec<_> =
        entries[2..].iter().map(|entry| entry.record.clone().unwrap_err()).collect();
    assert_eq!(reasons, [Reason::NoWayIn, Reason::Row, Reason::Invalid("email_verified")]);
}

#[test]
fn users_of_supabase_keep_their_bcrypt_hashes() {
    let hash = "$2a$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde";
    let entries = read(
        Csv::Supabase,
        "supabase",
        &format!(
            "id,email,encrypted_password,email_confirmed_at,created_at,banned_until,deleted_at\n\
             a,rosa@example.com,{hash},2024-05-01 12:00:00+00,2024-05-01 12:00:00.5+00,,\n\
             b,ben@example.com,{hash},,2024-05-01 12:00:00+00,2999-01-01 00:00:00+00,\n\
             c,gone@example.com,{hash},,,,2024-05-01 12:00:00+00\n\
             d,md5@example.com,md5,,,,\n"
        ),
    );
    let rosa = entries[0].record.as_ref().unwrap();
    assert_eq!(rosa.password.as_ref().unwrap().hash.expose(), hash);
    assert_eq!(rosa.account.email_standing, EmailStanding::Verified);
    assert_eq!(rosa.account.created_at.to_string(), "2024-05-01T12:00:00.5Z");
    let ben = entries[1].record.as_ref().unwrap();
    assert_eq!(ben.account.standing, Standing::Disabled);
    assert_eq!(entries[2].record, Err(Reason::Deleted));
    assert!(matches!(entries[3].record, Err(Reason::Hash(_))));
}

#[test]
fn the_error_for_a_missing_column_lists_the_existing_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "username,mail\n");
    let Err(error) = migrate::csv(&path, Csv::Cognito, conversion("cognito")) else {
        panic!("the table has no column cognito:username")
    };
    assert!(matches!(error, ReadError::Table(TableError::Column { .. })), "{error:?}");
    let expected = "there is no column cognito:username: the columns are username, mail";
    assert_eq!(error.to_string(), expected);
}
