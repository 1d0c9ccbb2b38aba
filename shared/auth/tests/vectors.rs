//! Tests the verifier with published test vectors.
//!
//! `vectors/wycheproof`: C2SP Wycheproof, Apache-2.0. `vectors/rfc7520`: the JWS examples from RFC 7520, as files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use auth::{TokenError, TokenRules, Verifier};
use identity::{Role, Roles};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::Jwk;
use process::Clock;
use serde_json::Value;
use testkit::{AUDIENCE, Forge, ISSUER, TestClock, encode, encode_json, json_test_suite};

/// The folder of the vectors, relative to the package's folder, in which cargo runs tests.
const FOLDER: &str = "tests/vectors";

fn read(path: impl AsRef<Path>) -> Value {
    let path = Path::new(FOLDER).join(path);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Returns every test together with its group.
fn tests(vectors: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let groups = vectors["testGroups"].as_array().unwrap().iter();
    groups
        .flat_map(|group| group["tests"].as_array().unwrap().iter().map(move |test| (group, test)))
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

struct Bench {
    forge: Forge,
    claims: Value,
    verifier: Verifier<Forge>,
}

impl Bench {
    fn new() -> Self {
        let forge = Forge::new();
        let clock = TestClock::default();
        let claims = Forge::claims(clock.now(), &Roles::from_iter([Role::User]));
        let rules = TokenRules::new(ISSUER, AUDIENCE);
        Self { verifier: Verifier::new(rules, forge.clone(), Arc::new(clock)), forge, claims }
    }

    fn verify(&self, token: &str) -> Result<auth::Claims, TokenError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.verifier.verify(token))
    }
}

/// Calls `jsonwebtoken` directly, in the same way as the verifier.
#[test]
fn wycheproof_signatures_are_judged_correctly() {
    auth::crypto::install();
    let vectors = read("wycheproof/ed25519_test.json");
    let (mut valid, mut invalid) = (0, 0);
    for (group, test) in tests(&vectors) {
        let jwk: Jwk = serde_json::from_value(group["publicKeyJwk"].clone()).unwrap();
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        let message = hex(test["msg"].as_str().unwrap());
        let signature = encode(hex(test["sig"].as_str().unwrap()));
        let algorithm = auth::Algorithm::EdDsa.to_jwt();
        let verified = jsonwebtoken::crypto::verify(&signature, &message, &key, algorithm);
        let expected = test["result"] == "valid";
        assert_eq!(verified.unwrap_or(false), expected, "{}", test["tcId"]);
        if expected { valid += 1 } else { invalid += 1 }
    }
    assert_eq!(valid + invalid, vectors["numberOfTests"].as_u64().unwrap());
    assert!(valid > 50 && invalid > 50, "{valid} {invalid}");
}

/// Even a token with a valid signature is not an access token of Latchkey.
#[test]
fn wycheproof_tokens_are_refused() {
    let bench = Bench::new();
    let vectors = read("wycheproof/json_web_signature_test.json");
    for (_, test) in tests(&vectors) {
        let token = test["jws"].as_str().unwrap();
        assert!(bench.verify(token).is_err(), "{}", test["tcId"]);
    }
    assert_eq!(tests(&vectors).count(), 401);
}

#[test]
fn the_tokens_of_rfc_7520_are_refused() {
    let bench = Bench::new();
    let folder = Path::new(FOLDER).join("rfc7520");
    let mut tokens = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = Path::new("rfc7520").join(entry.unwrap().file_name());
        if path.extension().is_some_and(|extension| extension == "json") {
            collect(&read(path)["output"], &mut tokens);
        }
    }
    assert!(tokens.len() >= 20, "{}", tokens.len());
    for token in tokens {
        assert!(bench.verify(&token).is_err(), "{token}");
    }
}

/// Collects every string, and every object as text, because JSON in place of a token must be refused too.
fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, texts)),
        Value::Object(members) => {
            texts.push(value.to_string());
            members.values().for_each(|member| collect(member, texts));
        }
        _ => {}
    }
}

#[test]
fn no_json_test_suite_file_is_accepted_as_a_header() {
    let bench = Bench::new();
    let payload = encode_json(&bench.claims);
    for (name, bytes) in json_test_suite() {
        let refused = bench.verify(&bench.forge.sign_parts(&encode(bytes), &payload));
        let expected = [Err(TokenError::Malformed), Err(TokenError::TooLong)];
        assert!(expected.contains(&refused), "{name}: {refused:?}");
    }
}

#[test]
fn no_json_test_suite_file_is_accepted_as_a_payload() {
    let bench = Bench::new();
    let header = encode_json(&bench.forge.header());
    for (name, bytes) in json_test_suite() {
        let refused = bench.verify(&bench.forge.sign_parts(&header, &encode(bytes)));
        let expected = [Err(TokenError::Claims), Err(TokenError::TooLong)];
        assert!(expected.contains(&refused), "{name}: {refused:?}");
    }
}

/// Unknown claims are ignored, but the payload must still be JSON.
#[test]
fn an_unknown_claim_may_have_any_valid_json_value_but_no_invalid_one() {
    let bench = Bench::new();
    let claims = bench.claims.to_string();
    for (name, bytes) in json_test_suite() {
        let mut payload = claims.clone().into_bytes();
        payload.truncate(claims.len() - 1);
        payload.extend_from_slice(br#","other":"#);
        payload.extend_from_slice(&bytes);
        payload.push(b'}');
        let header = encode_json(&bench.forge.header());
        let verified = bench.verify(&bench.forge.sign_parts(&header, &encode(payload)));
        match name.as_bytes()[0] {
            b'y' => assert!(verified.is_ok(), "{name}: {verified:?}"),
            b'n' => {
                let expected = [Err(TokenError::Claims), Err(TokenError::TooLong)];
                assert!(expected.contains(&verified), "{name}: {verified:?}");
            }
            _ => {}
        }
    }
}
