//! The TypeScript client, on a page of another origin, in two tabs.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use template::process::{Group, command};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::super::clients::unpack;
use super::super::server::Server;
use super::Browser;
use crate::journeys::PASSWORD;

/// A page that uses the unpacked npm package without a bundler.
const PAGE: &str = r#"<!doctype html>
<html lang="en"><title>Client</title><body>
<script type="importmap">
{ "imports": {
    "latchkey-client": "/package/dist/index.js",
    "openapi-fetch": "/node_modules/openapi-fetch/dist/index.mjs" } }
</script>
<script type="module">
import { createLatchkey, webStorage } from "latchkey-client";
window.refreshes = 0;
window.signedOut = new Promise((onSignedOut) => {
    window.client = createLatchkey({
        baseUrl: new URLSearchParams(location.search).get("api"),
        storage: webStorage(localStorage),
        onSignedOut,
        fetch: (request) => {
            if (request.url.endsWith("/auth/refresh")) refreshes += 1;
            return fetch(request);
        },
    });
});
window.callOften = () => Promise.all(Array.from({ length: 20 }, () => client.api.GET("/auth/protected")));
document.body.append("ready");
</script>"#;

/// Makes the access token invalid, and holds the lock that protects the tokens.
const EXPIRE: &str = r#"
const tokens = JSON.parse(localStorage.latchkey);
localStorage.latchkey = JSON.stringify({ ...tokens, access_token: "invalid" });
await new Promise((held) => {
    navigator.locks.request("latchkey", () => new Promise((release) => {
        window.release = release;
        held();
    }));
});
"#;

/// Waits until both tabs want to refresh, and releases the lock.
const RELEASE: &str = r#"
const waiting = async () => (await navigator.locks.query()).pending.filter(({ name }) => name === "latchkey").length;
while (await waiting() < 2);
release();
"#;

/// Serves a folder on a free port, and returns its origin.
async fn serve(folder: &Path, python: &Path) -> (Group, String) {
    let mut server = command(python);
    server
        .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
        .arg(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut server = Group::spawn(&mut server).unwrap();
    let mut lines = BufReader::new(server.child().stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("the server of the page ended");
    let origin = line.split('(').nth(1).and_then(|rest| rest.split("/)").next()).unwrap();
    (server, origin.to_owned())
}

/// Runs the body of an asynchronous function in the current tab, and returns its result.
async fn run(browser: &Browser, script: &str) -> Value {
    let script = format!(
        "const done = arguments[0]; (async () => {{ {script} }})().then(done, (error) => done(String(error)));"
    );
    browser.client.execute_async(&script, Vec::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_client_refreshes_once_in_two_tabs_of_another_origin() {
    let folder = tempfile::tempdir().unwrap();
    let (tools, _) = unpack(folder.path()).await;
    std::fs::write(folder.path().join("index.html"), PAGE).unwrap();
    let (_pages, origin) = serve(folder.path(), &tools.program("python")).await;
    let api = Server::start(&["--db", "memory", "--cors-origin", &origin]);
    let page = format!("{origin}/?api={}", api.url());
    let browser = Browser::start("en").await;

    let first = browser.client.window().await.unwrap();
    browser.open(&page).await;
    browser.find_text("ready").await;
    let body = json!({"username": "tabs", "password": PASSWORD});
    let sign_in = format!(
        r#"const body = {body};
        const answers = [await client.api.POST("/auth/register", {{ body }}),
            await client.api.POST("/auth/login", {{ body }})];
        return answers.map(({{ response }}) => response.status);"#
    );
    assert_eq!(run(&browser, &sign_in).await, json!([201, 200]));

    let second = browser.client.new_window(true).await.unwrap().handle;
    browser.client.switch_to_window(second.clone()).await.unwrap();
    browser.open(&page).await;
    browser.find_text("ready").await;
    assert_eq!(run(&browser, "return client.session.isSignedIn();").await, json!(true));

    run(&browser, EXPIRE).await;
    let mut refreshes = 0;
    for tab in [&first, &second] {
        browser.client.switch_to_window(tab.clone()).await.unwrap();
        // The calls wait for the lock, so the script must not wait for them.
        run(&browser, "window.calls = callOften();").await;
    }
    assert_eq!(run(&browser, RELEASE).await, Value::Null);
    for tab in [&first, &second] {
        browser.client.switch_to_window(tab.clone()).await.unwrap();
        let greetings =
            run(&browser, "return (await calls).map(({ data }) => data?.message);").await;
        assert_eq!(greetings, json!(vec!["Hello, tabs!"; 20]));
        refreshes += run(&browser, "return refreshes;").await.as_u64().unwrap();
    }
    assert_eq!(refreshes, 1);

    let log_out = r#"return (await client.api.POST("/auth/logout")).response.status;"#;
    assert_eq!(run(&browser, log_out).await, json!(204));
    browser.client.switch_to_window(first).await.unwrap();
    assert_eq!(run(&browser, "return signedOut;").await, json!("elsewhere"));
    browser.check_console().await;
    browser.close().await;
}
