//! Independent JWT libraries verify Latchkey's tokens, signed with each algorithm.

use std::process::Command;

use auth::Algorithm;
use develop::tools::{ToolSet, Tools};
use serde_json::json;
use template::project::Project;

use super::server::{Server, shared};

/// Verifies a token with PyJWT, whose own client fetches the key set.
const PYJWT: &str = r#"
import sys, jwt
url, issuer, token, algorithm = sys.argv[1:5]
key = jwt.PyJWKClient(url).get_signing_key_from_jwt(token)
claims = jwt.decode(token, key, algorithms=[algorithm], audience="latchkey", issuer=issuer,
                    options={"require": ["exp", "iat", "sub", "jti"]})
assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
print(claims["preferred_username"])
"#;

/// Verifies a token with jose, whose own client fetches the key set.
const JOSE: &str = r#"
import { createRemoteJWKSet, jwtVerify } from "jose";
const [url, issuer, token, algorithm] = process.argv.slice(2);
const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(url)),
    { issuer, audience: "latchkey", typ: "at+jwt", algorithms: [algorithm] });
console.log(payload.preferred_username);
"#;

/// Verifies a token with AWS's library. The script fetches the key set, because the library requires HTTPS.
const AWS_JWT_VERIFY: &str = r#"
import { JwtVerifier } from "aws-jwt-verify";
const [url, issuer, token] = process.argv.slice(2);
const verifier = JwtVerifier.create({ issuer, audience: "latchkey", jwksUri: "https://unused.invalid/" });
verifier.cacheJwks(await (await fetch(url)).json());
console.log((await verifier.verify(token)).preferred_username);
"#;

/// A library, run as a command whose last arguments are the key set's URL, the issuer, a token and its algorithm.
struct Library {
    name: &'static str,
    program: std::path::PathBuf,
    arguments: Vec<String>,
}

impl Library {
    /// Verifies a token and returns its username, or the library's error.
    fn verify(&self, server: &Server, token: &str, algorithm: Algorithm) -> Result<String, String> {
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .arg(format!("{}/.well-known/jwks.json", server.url()))
            .args([server.url(), token, algorithm.as_str()])
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

async fn libraries(scripts: &std::path::Path) -> Vec<Library> {
    let project = Project::here();
    let tools = Tools::install(&project, ToolSet::Test).await.unwrap();
    let python = vec!["-c".to_owned(), PYJWT.to_owned()];
    let mut libraries =
        vec![Library { name: "PyJWT", program: tools.program("python"), arguments: python }];
    for (name, source) in [("jose", JOSE), ("aws-jwt-verify", AWS_JWT_VERIFY)] {
        let script = scripts.join(format!("{name}.mjs"));
        std::fs::write(&script, source).unwrap();
        // Node looks for packages next to the script.
        let link = scripts.join("node_modules");
        if !link.exists() {
            std::os::unix::fs::symlink(tools.node_modules(), link).unwrap();
        }
        let arguments = vec![script.display().to_string()];
        libraries.push(Library { name, program: tools.node(), arguments });
    }
    libraries
}

/// Changes one character of a token's signature.
fn forged(token: &str) -> String {
    let at = token.len() - 10;
    let mut forged = token.to_owned();
    forged.replace_range(at..=at, if token.as_bytes()[at] == b'a' { "b" } else { "a" });
    forged
}

#[tokio::test(flavor = "multi_thread")]
async fn other_libraries_verify_tokens_with_the_key_set_alone() {
    let scripts = tempfile::tempdir().unwrap();
    let libraries = libraries(scripts.path()).await;
    let settings = ["JWKS_MAX_AGE_SECONDS", "KEYS_CACHE_SECONDS", "SECRETS_CACHE_SECONDS"];
    let settings = settings.map(|name| format!("{name}=1"));
    let mut arguments = vec!["--db", "memory"];
    arguments.extend(settings.iter().flat_map(|setting| ["--env", setting]));
    let server = Server::start(&arguments);
    assert_eq!(server.register("guido").await.status, 201);
    for algorithm in Algorithm::ALL {
        // The first rotation publishes a new key as the next key; the second one makes it the signing key.
        let token = loop {
            let token = server.login("guido").await;
            if testkit::token_header(&token)["alg"] == json!(algorithm) {
                break token;
            }
            let rotate = ["keys", "rotate", "--now", "--algorithm", algorithm.as_str()];
            let output = server.operate(&rotate);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        // Latchkey's own verifier accepts the token too.
        assert_eq!(server.get("/auth/protected", Some(&token)).await.status, 200, "{algorithm}");
        for library in &libraries {
            let (name, forged) = (library.name, forged(&token));
            let username = library.verify(&server, &token, algorithm);
            assert_eq!(username.as_deref(), Ok("guido"), "{name} {algorithm}");
            let error = library.verify(&server, &forged, algorithm).unwrap_err();
            assert!(error.to_lowercase().contains("signature"), "{name} {algorithm}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_leads_to_the_keys() {
    let server = shared();
    for document in ["openid-configuration", "oauth-authorization-server"] {
        let answer = server.get(&format!("/.well-known/{document}"), None).await.json();
        assert_eq!(answer["issuer"], server.url());
        let keys = answer["jwks_uri"].as_str().unwrap().strip_prefix(server.url()).unwrap();
        assert!(server.get(keys, None).await.json()["keys"].is_array());
    }
}
