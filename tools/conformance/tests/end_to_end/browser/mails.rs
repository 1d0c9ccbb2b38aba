//! The pages that emailed links open, used by keyboard alone.

use fantoccini::key::Key;
use serde_json::json;
use testkit::Received;

use super::super::server::shared;
use super::Browser;
use crate::journeys::mails::{last, login, mails, register};
use crate::journeys::{PASSWORD, Tokens};

/// Opens a link, and checks that the page removes the token from its address, and therefore from the history.
async fn open(browser: &Browser, link: &str) {
    browser.open(link).await;
    let address = browser.client.current_url().await.unwrap();
    let (page, _) = link.split_once("?token=").unwrap();
    assert_eq!(address.as_str(), page);
}

/// Presses the button of the open page, and waits for the outcome.
async fn finish(browser: &Browser, button: &str, outcome: &str) {
    browser.tab_to(button).await;
    browser.press(&Key::Enter).await;
    browser.find_text(outcome).await;
    browser.check_accessibility(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_for_a_link_in_an_email_does_its_work_by_keyboard_alone() {
    const DOMAIN: &str = "keyboard.example.com";
    let (server, address) = (shared(), format!("rosa@{DOMAIN}"));
    let browser = Browser::start("en").await;
    assert_eq!(register(server, "rosa-keys", &address).await.status, 201);
    let access = server.login("rosa-keys").await;
    let send = async |path: &str, body, token: &str| {
        let request = server.request(reqwest::Method::POST, path).json(&body);
        let answer = server.send(request.header("authorization", format!("Bearer {token}"))).await;
        assert_eq!(answer.status, 202, "{path}: {}", answer.text);
    };

    send("/auth/email/verify/send", json!({}), &access).await;
    open(&browser, last(server, DOMAIN, 1).await.link().unwrap()).await;
    browser.check_accessibility(&[]).await;
    browser.screenshot("verify-email").await;
    finish(&browser, "Confirm the address", "Your email address is confirmed.").await;

    let forgot = json!({"email": address});
    assert_eq!(server.post("/auth/password/forgot", &forgot).await.status, 202);
    open(&browser, last(server, DOMAIN, 2).await.link().unwrap()).await;
    browser.tab_to("New password").await;
    browser.press("short").await;
    browser.check_accessibility(&[]).await;
    browser.screenshot("reset-password").await;
    browser.press(&Key::Enter).await;
    browser.find_text("The password must have at least 8 characters.").await;
    browser.check_accessibility(&[]).await;
    // The page has returned the focus to the field.
    browser.press(" but then longer").await;
    browser.tab_to("Show the password").await;
    browser.press(" ").await;
    browser.find("#new_password[type=text]").await;
    finish(&browser, "Set the new password", "Your new password is set.").await;
    let tokens = Tokens::of(&login(server, "email", &address, "short but then longer").await);
    assert_eq!(login(server, "email", &address, PASSWORD).await.status, 401);

    let change = json!({
        "password": "short but then longer",
        "new_email": format!("new@{DOMAIN}"),
    });
    // The third email reports the new password; two more belong to the change of address.
    mails(server, DOMAIN, 3).await;
    send("/auth/email/change", change, &tokens.access).await;
    let received = mails(server, DOMAIN, 5).await;
    let links: Vec<_> = received.iter().filter_map(Received::link).collect();
    let link = links.iter().find(|link| link.contains("/confirm-email"));
    open(&browser, link.unwrap()).await;
    browser.check_accessibility(&[]).await;
    browser.screenshot("confirm-email").await;
    finish(&browser, "Use the new address", "Your new email address is confirmed.").await;
    let user = server.get("/auth/me", Some(&tokens.access)).await.json();
    assert_eq!(user["email"], format!("new@{DOMAIN}"));
    browser.check_console().await;
    browser.close().await;
}

/// Answers that a firewall, a proxy or a captive portal gives instead of the API.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_reports_success_only_if_the_api_does() {
    const ANSWER: &str = "
        const [status, body] = arguments;
        window.fetch = async () => new Response(body, { status });
    ";
    let browser = Browser::start("en").await;
    for (status, body) in [
        (200, "<html>"),
        (202, "<html>"),
        (502, "null"),
        (500, r#"{"errors":{"a":1}}"#),
        (400, r#"{"errors":[null]}"#),
    ] {
        open(&browser, &format!("{}/verify-email?token=unused", shared().url())).await;
        browser.client.execute(ANSWER, vec![json!(status), json!(body)]).await.unwrap();
        browser.tab_to("Confirm the address").await;
        browser.press(&Key::Enter).await;
        browser.find_text("Something went wrong.").await;
    }
    browser.check_console().await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_for_links_in_emails_speak_the_language_of_the_browser() {
    let browser = Browser::start("de").await;
    open(&browser, &format!("{}/reset-password?token=invalid", shared().url())).await;
    browser.tab_to("Neues Passwort").await;
    browser.set_colors("dark").await;
    browser.screenshot("reset-password-de").await;
    browser.press("ein langer Spaziergang").await;
    finish(&browser, "Neues Passwort festlegen", "Dieser Link ist unvollständig").await;
    browser.check_console().await;
    browser.close().await;
}
