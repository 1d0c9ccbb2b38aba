//! The overview and the API reference of the dev server.

use fantoccini::Locator;
use fantoccini::key::Key;
use serde_json::{Value, json};

use super::super::server::shared;
use super::Browser;
use crate::journeys::{PASSWORD, routes};

/// Calls an operation with the reference's form, and returns the status and the body that the reference shows.
async fn call(browser: &Browser, operation: &str, body: Option<&Value>) -> (String, String) {
    let form = format!("#operations-{operation}");
    if browser.client.find(Locator::Css(&format!("{form}.is-open"))).await.is_err() {
        browser.find(&format!("{form} .opblock-summary-control")).await.click().await.unwrap();
    }
    if let Some(body) = body {
        let field = browser.find(&format!("{form} .body-param__text")).await;
        field.click().await.unwrap();
        field.send_keys(&(Key::Control + "a")).await.unwrap();
        field.send_keys(&body.to_string()).await.unwrap();
    }
    browser.find(&format!("{form} .execute")).await.click().await.unwrap();
    let response = format!("{form} .live-responses-table .response");
    let status = browser.find(&format!("{response} .response-col_status")).await;
    let shown = browser.find(&format!("{response} .highlight-code")).await;
    (status.text().await.unwrap(), shown.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_registers_logs_in_and_calls_a_protected_route_in_the_reference() {
    let server = shared();
    let browser = Browser::start("en").await;
    browser.open(&format!("{}/docs", server.url())).await;
    let (status, body) = call(&browser, "checked-protected", None).await;
    assert!(status.starts_with("401") && body.contains("missing_token"), "{status} {body}");
    let account = json!({"username": "reader", "password": PASSWORD});
    let (status, body) = call(&browser, "accounts-register", Some(&account)).await;
    assert!(status.starts_with("201"), "{status} {body}");
    let (status, body) = call(&browser, "accounts-login", Some(&account)).await;
    assert!(status.starts_with("200"), "{status} {body}");

    // The reference uses the token of the login, even after a reload.
    browser.client.refresh().await.unwrap();
    let (status, body) = call(&browser, "checked-protected", None).await;
    assert!(status.starts_with("200") && body.contains("Hello, reader!"), "{status} {body}");
    let show = "document.querySelector('#operations-checked-protected').scrollIntoView()";
    browser.client.execute(show, Vec::new()).await.unwrap();
    browser.screenshot("docs-call").await;
    browser.check_accessibility(&[]).await;
    browser.find(".authorize").await.click().await.unwrap();
    browser.find(".close-modal").await;
    browser.check_accessibility(&[]).await;
    browser.check_console().await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_and_the_reference_are_accessible_and_list_all_routes() {
    let server = shared();
    let browser = Browser::start("en").await;
    browser.open(server.url()).await;
    browser.screenshot("overview").await;
    let overview = browser.find("table").await.text().await.unwrap();
    for (method, path) in routes() {
        let row = format!("{method} {path} ");
        assert!(overview.contains(&row), "{row}: {overview}");
    }
    browser.check_accessibility(&[]).await;
    browser.tab_to("API reference").await;
    browser.press(&Key::Enter).await;
    browser.find("#operations-accounts-login").await;
    browser.screenshot("docs").await;
    browser.check_accessibility(&[]).await;
    browser.check_console().await;
    browser.close().await;
}
