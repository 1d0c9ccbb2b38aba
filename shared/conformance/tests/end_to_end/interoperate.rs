//! Our tokens and libraries that nobody here wrote.

use xtask::project::Project;
use xtask::tools::{ToolSet, Tools};

use super::server::shared;

/// Fetches the key set by PyJWT's own client and verifies.
const PYJWT: &str = r#"
import sys, jwt
url, issuer, token = sys.argv[1:4]
key = jwt.PyJWKClient(url).get_signing_key_from_jwt(token)
claims = jwt.decode(token, key, algorithms=["EdDSA"], audience="latchkey", issuer=issuer,
                    options={"require": ["exp", "iat", "sub", "jti"]})
assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
print(claims["preferred_username"])
"#;

#[tokio::test(flavor = "multi_thread")]
async fn pyjwt_accepts_our_tokens_by_the_key_set_alone() {
    let server = shared();
    assert_eq!(server.register("guido").await.status, 201);
    let token = server.login("guido").await;
    let tools = Tools::install(&Project::here(), ToolSet::Test).await.unwrap();
    let run = |token: &str| {
        std::process::Command::new(tools.program("python"))
            .args(["-c", PYJWT])
            .arg(format!("{}/.well-known/jwks.json", server.url()))
            .args([server.url(), token])
            .output()
            .unwrap()
    };
    let output = run(&token);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "guido");
    let mut forged = token.clone();
    forged.replace_range(
        token.len() - 10..token.len() - 9,
        if token.as_bytes()[token.len() - 10] == b'a' { "b" } else { "a" },
    );
    assert!(!run(&forged).status.success(), "PyJWT does verify");
}
