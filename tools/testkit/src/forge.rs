//! Valid tokens, and tokens with every kind of defect.

use std::future::Future;
use std::sync::Arc;

use auth::{Algorithm, GlobalEpoch, KeyError, KeySource, PublicKey, PublicKeySet};
use aws_lc_rs::hmac;
use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{Roles, UserId};
use issuer::SigningKeys;
use jiff::Timestamp;
use process::SystemRandom;
use serde_json::{Value, json};

use crate::stack::{AUDIENCE, ISSUER};

/// Encodes bytes as base64url without padding.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Encodes JSON as one part of a token.
#[must_use]
pub fn encode_json(value: &Value) -> String {
    encode(value.to_string())
}

/// Decodes base64url without padding.
///
/// # Panics
/// When the text is not base64url.
#[must_use]
pub fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// Signs arbitrary headers and claims.
#[derive(Clone, Debug)]
pub struct Forge {
    keys: SigningKeys,
    public: PublicKeySet,
    jwk: Value,
    issuer: String,
    audience: String,
}

/// A token that must be refused, and why.
#[derive(Clone, Debug)]
pub struct BadToken {
    /// The defect.
    pub fault: &'static str,
    /// The token with the defect.
    pub token: String,
}

impl Forge {
    /// A forge with a new key.
    #[must_use]
    pub fn new() -> Self {
        Self::of(SigningKeys::generate(Algorithm::default(), "forged", &SystemRandom))
    }

    /// A forge with the active key of `keys`.
    ///
    /// # Panics
    /// Never: `keys` is always a JWK Set.
    #[must_use]
    pub fn of(keys: SigningKeys) -> Self {
        let jwks: Value = serde_json::from_str(&keys.to_json()).expect("a JWK Set is JSON");
        let (issuer, audience) = (ISSUER.to_owned(), AUDIENCE.to_owned());
        let public = keys.public_set().expect("public halves");
        Self { keys, public, jwk: jwks["keys"][0].clone(), issuer, audience }
    }

    /// Sets the issuer and the audience of the verifier that bad tokens target.
    #[must_use]
    pub fn with_rules(self, issuer: &str, audience: &str) -> Self {
        Self { issuer: issuer.to_owned(), audience: audience.to_owned(), ..self }
    }

    /// The private keys. The active one signs.
    #[must_use]
    pub fn keys(&self) -> &SigningKeys {
        &self.keys
    }

    /// The public halves of the keys.
    #[must_use]
    pub fn public(&self) -> &PublicKeySet {
        &self.public
    }

    /// The `kid` of the signing key.
    ///
    /// # Panics
    /// Never: every key has one.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.jwk["kid"].as_str().expect("a key has a kid")
    }

    /// The header of a valid token.
    #[must_use]
    pub fn header(&self) -> Value {
        json!({"alg": "ES256", "kid": self.kid(), "typ": "at+jwt"})
    }

    /// The claims of a valid token, for a user that need not exist.
    #[must_use]
    pub fn claims(now: Timestamp, roles: &Roles) -> Value {
        json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": UserId::new(now, &SystemRandom),
            "iat": now.as_second(),
            "exp": now.as_second() + 900,
            "jti": identity::TokenId::new(&SystemRandom),
            "client_id": "latchkey",
            "sid": identity::SessionId::new(&SystemRandom),
            "ver": 1,
            "roles": roles,
            "auth_time": now.as_second(),
            "acr": "1",
            "amr": ["pwd"],
            "preferred_username": "testuser",
        })
    }

    /// Signs a header and claims.
    #[must_use]
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_parts(&encode_json(header), &encode_json(claims))
    }

    /// Signs two encoded parts without any check.
    ///
    /// # Panics
    /// Never: the key is valid.
    #[must_use]
    pub fn sign_parts(&self, header: &str, payload: &str) -> String {
        let member = |name: &str| {
            let text = self.jwk[name].as_str().expect("a private key has this member");
            URL_SAFE_NO_PAD.decode(text).expect("members are base64url")
        };
        let point = [vec![4], member("x"), member("y")].concat();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &member("d"),
            &point,
        )
        .expect("the key is valid");
        let message = format!("{header}.{payload}");
        let signature = pair.sign(&rand::SystemRandom::new(), message.as_bytes());
        let signature = encode(signature.expect("the key is valid"));
        format!("{message}.{signature}")
    }

    /// A valid token with one member of the header changed; `null` removes it.
    #[must_use]
    pub fn with_header(&self, claims: &Value, name: &str, value: Value) -> String {
        self.sign(&changed(&self.header(), name, value), claims)
    }

    /// A valid token with one claim changed; `null` removes it.
    #[must_use]
    pub fn with_claim(&self, claims: &Value, name: &str, value: Value) -> String {
        self.sign(&self.header(), &changed(claims, name, value))
    }

    /// Tokens with these claims, each with one defect.
    #[must_use]
    pub fn bad_tokens(&self, claims: &Value, now: Timestamp) -> Vec<BadToken> {
        let valid = self.sign(&self.header(), claims);
        let mut bad = Vec::new();
        let mut add = |fault: &'static str, token: String| bad.push(BadToken { fault, token });
        self.bad_signatures(claims, &valid, &mut add);
        self.bad_forms(claims, &valid, &mut add);
        self.bad_headers(claims, &mut add);
        self.bad_claims(claims, now, &mut add);
        bad
    }

    fn bad_signatures(
        &self,
        claims: &Value,
        valid: &str,
        add: &mut impl FnMut(&'static str, String),
    ) {
        let (message, signature) = valid.rsplit_once('.').expect("a token has three parts");
        for alg in ["none", "None", "NONE", "nOnE", ""] {
            let header = changed(&self.header(), "alg", json!(alg));
            let unsigned = format!("{}.{}.", encode_json(&header), encode_json(claims));
            add("unsigned", unsigned.clone());
            add("alg none with a signature", format!("{unsigned}{signature}"));
        }
        for (alg, algorithm) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            let header = changed(&self.header(), "alg", json!(alg));
            let message = format!("{}.{}", encode_json(&header), encode_json(claims));
            let x = self.jwk["x"].as_str().expect("a key has x");
            let raw = URL_SAFE_NO_PAD.decode(x).expect("members are base64url");
            for secret in [x.as_bytes(), &raw, self.kid().as_bytes(), b""] {
                let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
                add("HMAC with a public value as its key", format!("{message}.{}", encode(tag)));
            }
        }
        for alg in ["RS256", "EdDSA", "PS256", "ES384", "es256", "ES256K", "ES256 "] {
            add("another algorithm", self.with_header(claims, "alg", json!(alg)));
        }
        add("another key's signature", {
            let stranger = Self::new();
            stranger.sign(&self.header(), claims)
        });
        add("no signature", format!("{message}."));
        add("half a signature", format!("{message}.{}", &signature[..signature.len() / 2]));
        add("a longer signature", format!("{message}.{signature}AAAA"));
        let zero = encode([0_u8; 64]);
        add("a signature of zeros", format!("{message}.{zero}"));
    }

    fn bad_forms(&self, claims: &Value, valid: &str, add: &mut impl FnMut(&'static str, String)) {
        let parts: Vec<&str> = valid.split('.').collect();
        add("two parts", parts[..2].join("."));
        add("four parts", format!("{valid}.{}", parts[2]));
        add("five parts", format!("{valid}.."));
        add("padding", format!("{valid}=="));
        add("a line break", valid.replacen('.', ".\n", 1));
        add("a leading dot", format!(".{valid}"));
        add("no header", format!(".{}.{}", parts[1], parts[2]));
        add("no payload", self.sign_parts(parts[0], ""));
        add("standard base64", format!("{}+/.{}.{}", parts[0], parts[1], parts[2]));
        add("a header that is not JSON", self.sign_parts(&encode("{"), parts[1]));
        add("a header that is an array", self.sign_parts(&encode("[]"), parts[1]));
        add("a payload that is not JSON", self.sign_parts(parts[0], &encode("}{")));
        add("a payload that is an array", self.sign_parts(parts[0], &encode("[1]")));
        add("a payload that is not UTF-8", self.sign_parts(parts[0], &encode([0xff, 0xfe])));
        let twice = claims.to_string().replacen('{', r#"{"iss":"https://evil.example","#, 1);
        add("a claim twice", self.sign_parts(parts[0], &encode(twice)));
        let twice = self.header().to_string().replacen('{', r#"{"alg":"none","#, 1);
        add("a header member twice", self.sign_parts(&encode(twice), parts[1]));
        // The last base64url character of 64 bytes carries four bits that must be zero.
        let spare = |text: &str| {
            let last = text.chars().last().expect("not empty");
            let next = char::from(last as u8 + 1);
            format!("{}{next}", &text[..text.len() - 1])
        };
        add(
            "spare bits in the signature",
            format!("{}.{}.{}", parts[0], parts[1], spare(parts[2])),
        );
        let long = changed(claims, "preferred_username", json!("a".repeat(4096)));
        add("over 4 KiB", self.sign(&self.header(), &long));
    }

    fn bad_headers(&self, claims: &Value, add: &mut impl FnMut(&'static str, String)) {
        for kid in [
            json!(null),
            json!(""),
            json!("unknown"),
            json!(1),
            json!("../../etc/passwd"),
            json!("' OR 1=1 --"),
            json!("a\u{0}b"),
            json!("k".repeat(2_000)),
            json!(["a"]),
        ] {
            add("an odd kid", self.with_header(claims, "kid", kid));
        }
        for typ in [
            json!(null),
            json!("JWT"),
            json!("jwt"),
            json!("id+jwt"),
            json!("logout+jwt"),
            json!(1),
        ] {
            add("another typ", self.with_header(claims, "typ", typ));
        }
        for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("exp"), json!(["unknown"])] {
            add("crit", self.with_header(claims, "crit", crit));
        }
        let header = self.header().to_string().replacen('{', r#"{"crit":null,"#, 1);
        add("crit null", self.sign_parts(&encode(header), &encode_json(claims)));
        let stranger = Self::new();
        let mut jwk = stranger.jwk.clone();
        jwk.as_object_mut().expect("a JWK").remove("d");
        for (name, value) in [
            ("jwk", jwk.clone()),
            ("jku", json!("http://127.0.0.1:1/jwks.json")),
            ("x5u", json!("http://127.0.0.1:1/cert.pem")),
            ("x5c", json!(["MIIB"])),
        ] {
            let named = changed(&self.header(), name, value.clone());
            add("an attacker's key with our kid", stranger.sign(&named, claims));
            let named = changed(&named, "kid", json!(stranger.kid()));
            add("an attacker's key with its own kid", stranger.sign(&named, claims));
        }
    }

    fn bad_claims(
        &self,
        claims: &Value,
        now: Timestamp,
        add: &mut impl FnMut(&'static str, String),
    ) {
        let now = now.as_second();
        let (issuer, audience) = (&self.issuer, &self.audience);
        for iss in [
            json!(format!("{issuer}/")),
            json!(issuer.to_uppercase()),
            json!("https://evil.example"),
            json!([issuer]),
            json!(""),
        ] {
            add("another issuer", self.with_claim(claims, "iss", iss));
        }
        for aud in
            [json!("other"), json!([]), json!(["other"]), json!(audience.to_uppercase()), json!({})]
        {
            add("another audience", self.with_claim(claims, "aud", aud));
        }
        for exp in [json!(now - 31), json!(0), json!(-1), json!("9999999999"), json!(1e300)] {
            add("expired", self.with_claim(claims, "exp", exp));
        }
        add("not yet valid", self.with_claim(claims, "nbf", json!(now + 3600)));
        add("from the future", self.with_claim(claims, "iat", json!(now + 3600)));
        add("a sign-in in the future", self.with_claim(claims, "auth_time", json!(now + 3600)));
        for sub in [json!("testuser"), json!(""), json!(1), json!("00000000"), json!("USER#1")] {
            add("an odd sub", self.with_claim(claims, "sub", sub));
        }
        for roles in [json!("admin"), json!(["root"]), json!({"admin": true})] {
            add("odd roles", self.with_claim(claims, "roles", roles));
        }
        for claim in [
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "jti",
            "client_id",
            "sid",
            "ver",
            "roles",
            "auth_time",
            "amr",
            "preferred_username",
        ] {
            add("a claim missing", self.with_claim(claims, claim, Value::Null));
        }
    }
}

impl Default for Forge {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets a verifier use the keys of a forge.
impl KeySource for Forge {
    fn key(
        &self,
        kid: &str,
    ) -> impl Future<Output = Result<Option<Arc<PublicKey>>, KeyError>> + Send {
        std::future::ready(Ok(self.public.get(kid).cloned()))
    }

    async fn epoch(&self) -> Result<GlobalEpoch, KeyError> {
        Ok(GlobalEpoch::NEVER_RAISED)
    }
}

fn changed(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    let members = object.as_object_mut().expect("an object");
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
    object
}
