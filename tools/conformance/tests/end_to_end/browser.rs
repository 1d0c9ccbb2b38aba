//! Drives pages in headless Chromium, by mouse or by keyboard, and checks them with axe-core.
//!
//! `cargo xtask screenshots` runs these tests too, and keeps the screenshots that they take.

mod clients;
mod mails;
mod reference;

use std::path::PathBuf;
use std::process::Stdio;

use develop::tools::{ToolSet, Tools};
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::elements::Element;
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use template::process::{Group, command};
use template::project::Project;
use tokio::io::{AsyncBufReadExt, BufReader};

/// Arguments of Chromium.
///
/// Chromium runs without its sandbox, which needs privileges that root in a container lacks. It opens only pages of
/// servers that the tests start. It resolves no host names, so a page that loads anything from elsewhere causes an
/// error. A page that respects the preference for reduced motion does not change its colors while axe-core measures
/// them.
const ARGUMENTS: [&str; 7] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1200,900",
    "--force-prefers-reduced-motion",
    "--hide-scrollbars",
];

/// Runs axe-core on the page, except on the excluded elements, and returns the serious violations as text.
const AXE: &str = r#"
const [excluded, done] = arguments;
axe.run({ exclude: excluded.map((selector) => [selector]) }, { resultTypes: ["violations"] }).then(
    ({ violations }) => done(violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .flatMap(({ id, help, nodes }) => nodes.map(({ target, failureSummary }) =>
            `${id} (${help}): ${target.join(" ")}: ${failureSummary}`))),
    (error) => done([String(error)]));
"#;

/// The name of the focused element: its label or its text.
const FOCUSED: &str = "
const element = document.activeElement;
return (element.labels?.[0] ?? element).innerText.trim();
";

/// Starts chromedriver on a free port, and returns its address.
///
/// chromedriver chooses a free IPv4 port, and ends if the IPv6 port with the same number is not free.
async fn start_driver() -> (Group, String) {
    for _ in 0..10 {
        let mut driver = command("chromedriver");
        driver.arg("--port=0").stdout(Stdio::piped());
        let mut driver = Group::spawn(&mut driver).expect(
            "chromedriver is missing: install Chromium (Debian: apt-get install chromium chromium-driver)",
        );
        let mut lines = BufReader::new(driver.child().stdout.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            let Some((_, port)) = line.split_once("started successfully on port ") else {
                continue;
            };
            let url = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
            // Keep the pipe open: chromedriver may write to it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, url);
        }
    }
    panic!("chromedriver ended ten times: see its messages above");
}

/// A headless Chromium with a profile of its own.
#[derive(Debug)]
pub(super) struct Browser {
    client: Client,
    /// The address of the session at chromedriver, for commands that are not in the standard.
    session: String,
    // Fields are dropped in this order, so both programs end before their folder is deleted.
    _driver: Group,
    _profile: TempDir,
}

impl Browser {
    /// Starts Chromium with this preferred language, such as `en` or `de`.
    pub(super) async fn start(language: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let (driver, url) = start_driver().await;
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--accept-lang={language}"));
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&url)
            .await
            .unwrap();
        let id = client.session_id().await.unwrap().unwrap();
        let session = format!("{url}/session/{id}");
        Self { client, session, _driver: driver, _profile: profile }
    }

    /// Opens a page.
    pub(super) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Waits until an element matches the selector.
    pub(super) async fn find(&self, selector: &str) -> Element {
        let found = self.client.wait().for_element(Locator::Css(selector)).await;
        found.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// Waits until the page shows an element with this text.
    pub(super) async fn find_text(&self, text: &str) -> Element {
        let path = format!(
            "//body//*[contains(normalize-space(text()), {text:?}) and not(ancestor-or-self::*[@hidden])]"
        );
        let found = self.client.wait().for_element(Locator::XPath(&path)).await;
        found.unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Presses keys one after another. The element that has the focus receives them.
    pub(super) async fn press(&self, keys: &str) {
        let mut actions = KeyActions::new("keyboard".to_owned());
        for value in keys.chars() {
            actions = actions.then(KeyAction::Down { value }).then(KeyAction::Up { value });
        }
        self.client.perform_actions(actions).await.unwrap();
    }

    /// Presses the Tab key until the element with this label or text has the focus.
    pub(super) async fn tab_to(&self, name: &str) {
        let mut passed = Vec::new();
        while passed.len() < 30 {
            self.press(&Key::Tab).await;
            let focused = self.client.execute(FOCUSED, Vec::new()).await.unwrap();
            if focused == name {
                return;
            }
            passed.push(focused);
        }
        panic!("the Tab key does not reach {name:?}, only {passed:?}");
    }

    /// Checks with axe-core, in light and in dark colors, that the page has no serious violation outside the excluded
    /// elements.
    pub(super) async fn check_accessibility(&self, excluded: &[&str]) {
        let tools = Tools::install(&Project::here(), ToolSet::Test).await.unwrap();
        let axe = tools.node_modules().join("axe-core/axe.min.js");
        let axe = std::fs::read_to_string(axe).unwrap();
        for scheme in ["dark", "light"] {
            self.set_colors(scheme).await;
            self.client.execute(&axe, Vec::new()).await.unwrap();
            let violations = self.client.execute_async(AXE, vec![json!(excluded)]).await.unwrap();
            let url = self.client.current_url().await.unwrap();
            assert_eq!(violations, json!([]), "{url}, {scheme}: {violations:#}");
        }
    }

    /// Sets the preferred colors: `light` or `dark`.
    pub(super) async fn set_colors(&self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        let parameters = json!({"features": [feature]});
        let command = json!({"cmd": "Emulation.setEmulatedMedia", "params": parameters});
        self.command("goog/cdp/execute", &command).await;
    }

    /// Checks that the browser has reported no error: of a script, of the content security policy, or of a request that
    /// got no answer. Answers with an error status are ignored.
    pub(super) async fn check_console(&self) {
        let entries = self.command("se/log", &json!({"type": "browser"})).await;
        let is_error = |entry: &&Value| {
            let message = entry["message"].as_str().unwrap();
            entry["level"] == "SEVERE" && !message.contains("the server responded with a status of")
        };
        let errors: Vec<_> = entries.as_array().unwrap().iter().filter(is_error).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    /// Sends a command that is not in the standard.
    async fn command(&self, name: &str, parameters: &Value) -> Value {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("{}/{name}", self.session)).json(parameters);
        let response = request.send().await.unwrap().error_for_status().unwrap();
        response.json::<Value>().await.unwrap()["value"].take()
    }

    /// Writes a picture of the visible part of the page into the folder `SCREENSHOTS`, if that variable is set.
    pub(super) async fn screenshot(&self, name: &str) {
        if let Some(folder) = std::env::var_os("SCREENSHOTS") {
            let picture = self.client.screenshot().await.unwrap();
            std::fs::write(PathBuf::from(folder).join(format!("{name}.png")), picture).unwrap();
        }
    }

    /// Ends Chromium. Without this call, it ends a few seconds later.
    pub(super) async fn close(self) {
        self.client.close().await.unwrap();
    }
}
