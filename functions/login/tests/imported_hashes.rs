//! Tests that imported users can sign in with their old passwords, and that the login replaces each imported hash with
//! an Argon2id hash. The original libraries, such as Django and Werkzeug, create the hashes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use aws_sdk_dynamodb::types::AttributeValue;
use develop::tools::{ToolSet, Tools};
use identity::{Account, Role};
use login::LoginRoute;
use serde_json::{Value, json};
use template::project::Project;
use testkit::{NewUser, Stack, json_request, status};
use web::{Service, World, answer};

/// Contains spaces, an emoji and other non-ASCII characters.
const PASSWORD: &str = "Frühling, \u{1f339} und 17 Bäume";

/// A Python program that prints one hash of the password per scheme, as JSON.
const PRINT_HASHES: &str = r#"
import sys, json
from argon2 import PasswordHasher
import bcrypt
import django.conf
django.conf.settings.configure()
from django.contrib.auth.hashers import make_password
from werkzeug.security import generate_password_hash
password = sys.argv[1]
print(json.dumps({
    "werkzeug scrypt": generate_password_hash(password),
    "werkzeug pbkdf2": generate_password_hash(password, method="pbkdf2:sha256"),
    "werkzeug pbkdf2, few iterations": generate_password_hash(password, method="pbkdf2:sha256:1000"),
    "django pbkdf2": make_password(password, hasher="pbkdf2_sha256"),
    "django argon2": make_password(password, hasher="argon2"),
    "bcrypt": bcrypt.hashpw(password.encode(), bcrypt.gensalt(12)).decode(),
    "argon2-cffi": PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4).hash(password),
}))
"#;

async fn hashes() -> Vec<(String, String)> {
    let tools = Tools::install(&Project::here(), ToolSet::Test).await.unwrap();
    let python = tools.program("python");
    let output =
        std::process::Command::new(python).args(["-c", PRINT_HASHES, PASSWORD]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let hashes: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hashes = hashes.as_object().unwrap().iter();
    hashes.map(|(name, hash)| (name.clone(), hash.as_str().unwrap().to_owned())).collect()
}

async fn store_hash(stack: &Stack, hash: &str) {
    stack
        .client()
        .update_item()
        .table_name("UsersTable")
        .key("pk", AttributeValue::S("USERNAME#testuser".to_owned()))
        .key("sk", AttributeValue::S("PASSWORD".to_owned()))
        .condition_expression("attribute_exists(pk)")
        .update_expression("SET #hash = :hash")
        .expression_attribute_names("#hash", "hash")
        .expression_attribute_values(":hash", AttributeValue::S(hash.to_owned()))
        .send()
        .await
        .unwrap();
}

async fn stored_hash(stack: &Stack, account: &Account) -> String {
    let hashes = store::Hashes::new(&stack.users(), stack.client());
    hashes.of(account).await.unwrap().unwrap().expose().to_owned()
}

#[tokio::test]
async fn end_to_end_imported_hashes_are_accepted_and_then_replaced() {
    let stack = Stack::start().await;
    let env = stack.env_with(&[("THROTTLE_PAIR_FREE", "1000")]);
    let route = Service::<LoginRoute>::open(&env, &World::system()).await.unwrap();
    let user = NewUser { username: "testuser", email: None, roles: &[Role::User] };
    let account = stack.user(user).await;
    let login = async |password: &str| {
        let login = json!({"username": "testuser", "password": password});
        status(&answer(&route, json_request("login", &login)).await)
    };
    let hashes = hashes().await;
    assert_eq!(hashes.len(), 7);
    for (name, hash) in hashes {
        store_hash(&stack, &hash).await;
        assert_eq!(login("another password").await, 401, "{name}");
        assert_eq!(
            stored_hash(&stack, &account).await,
            hash,
            "{name}: a wrong password replaced the hash"
        );
        assert_eq!(login(PASSWORD).await, 200, "{name}: {hash}");
        let renewed = stored_hash(&stack, &account).await;
        assert!(renewed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{name}: {renewed}");
        // The new hash accepts the same password.
        assert_eq!(login(PASSWORD).await, 200, "{name}");
        assert_eq!(
            stored_hash(&stack, &account).await,
            renewed,
            "{name}: the new hash was replaced again"
        );
        assert_eq!(login("another password").await, 401, "{name}");
    }
}
