//! A dev server for the tests of this file, and requests to it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Instant;

use auth::{Role, Roles};
use issuer::SigningKeys;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::Forge;
use xtask::project::Project;
use xtask::template::Template;

/// A password that the policy allows.
pub(super) const PASSWORD: &str = "a long walk by the river";

/// The server that most tests share. It ends when this process does and its standard input closes.
pub(super) fn shared() -> &'static Server {
    // All tests come from one network, and make more accounts than one may.
    const FREE: [&str; 6] = [
        "--env",
        "THROTTLE_REGISTER_FREE=100000",
        "--env",
        "THROTTLE_NETWORK_FREE=100000",
        "--env",
        "THROTTLE_MAIL_FREE=100000",
    ];
    static SHARED: LazyLock<Server> =
        LazyLock::new(|| Server::start(&[&["--db", "memory"], &FREE[..]].concat()));
    &SHARED
}

/// A running dev server, with a folder of local state of its own.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    url: String,
    binaries: PathBuf,
    local: TempDir,
}

/// What a login or a refresh gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) refresh: String,
}

impl Tokens {
    pub(super) fn of(answer: &Answer) -> Self {
        let token = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
        Self { access: token("access_token"), refresh: token("refresh_token") }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    /// The body as JSON, `null` when it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The status and the code of the problem, or nothing more.
    pub(super) fn short(&self) -> String {
        match self.json()["code"].as_str() {
            Some(code) => format!("{} {code}", self.status),
            None => self.status.to_string(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Server {
    /// Starts one on a free port and waits until it is ready.
    pub(super) fn start(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    /// The same on local state that is there already.
    pub(super) fn start_in(local: TempDir, arguments: &[&str]) -> Self {
        let project = Project::here();
        let binaries = build();
        let mut child = Command::new(binaries.join("xtask"))
            .current_dir(project.root())
            .arg("--local")
            .arg(local.path())
            .args(["dev", "--port", "0", "--until-stdin-closes"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = loop {
            let line = lines.next().expect("the dev server gets ready").unwrap();
            if let Some(url) = line.strip_prefix("ready ") {
                break url.to_owned();
            }
        };
        // Kept open, or the functions' log lines would have nowhere to go.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, url, binaries, local }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Ends it as a user would, and waits for it.
    pub(super) fn terminate(self) -> ExitStatus {
        self.end(rustix::process::Signal::TERM).0
    }

    /// Ends it by a signal, waits for it, and leaves its local state.
    pub(super) fn end(mut self, signal: rustix::process::Signal) -> (ExitStatus, TempDir) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
        (self.child.wait().unwrap(), self.local)
    }

    /// Its folder of local state.
    pub(super) fn local(&self) -> &Path {
        self.local.path()
    }

    /// The processes that run the function `name`.
    pub(super) fn instances(&self, name: &str) -> BTreeSet<u32> {
        running(&self.binaries.join(name))
    }

    pub(super) fn binaries(&self) -> &Path {
        &self.binaries
    }

    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_from(Ipv4Addr::LOCALHOST, method, path)
    }

    /// A request from another loopback address: another network.
    pub(super) fn request_from(
        &self,
        from: Ipv4Addr,
        method: Method,
        path: &str,
    ) -> RequestBuilder {
        let client = Client::builder().local_address(IpAddr::V4(from)).no_proxy().build().unwrap();
        client.request(method, format!("{}{path}", self.url))
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(request.send().await.unwrap()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    pub(super) async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        let request = self.request(Method::GET, path);
        self.send(match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        })
        .await
    }

    pub(super) async fn register(&self, username: &str) -> Answer {
        self.post("/auth/register", &json!({"username": username, "password": PASSWORD})).await
    }

    /// Signs in and gives the access token.
    pub(super) async fn login(&self, username: &str) -> String {
        self.sign_in(username).await.access
    }

    /// Signs in.
    pub(super) async fn sign_in(&self, username: &str) -> Tokens {
        let body = json!({"username": username, "password": PASSWORD});
        let answer = self.post("/auth/login", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        Tokens::of(&answer)
    }

    pub(super) async fn refresh(&self, token: &str) -> Answer {
        self.post("/auth/refresh", &json!({"refresh_token": token})).await
    }

    /// A request without a body, by an access token.
    pub(super) async fn call(&self, method: Method, path: &str, token: &str) -> Answer {
        let request = self.request(method, path).header("authorization", format!("Bearer {token}"));
        self.send(request).await
    }

    /// `cargo xtask …` on the running server.
    pub(super) fn xtask(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(self.binaries.join("xtask"))
            .current_dir(Project::here().root())
            .arg("--local")
            .arg(self.local.path())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Gives a user other roles.
    pub(super) fn set_roles(&self, username: &str, roles: &[Role]) {
        let roles = roles.iter().copied().collect::<Roles>().to_string();
        let output = self.xtask(&["admin", "set-roles", username, "--roles", &roles, "--yes"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What signs tokens that this server accepts: the development keys.
    pub(super) fn forge(&self) -> Forge {
        let path = self.local.path().join("signing-keys.json");
        let keys: SigningKeys = std::fs::read_to_string(path).unwrap().parse().unwrap();
        Forge::of(keys).with_rules(self.url(), "latchkey")
    }

    /// Method and path of every route of the template.
    pub(super) fn routes() -> Vec<(Method, String)> {
        let template = Template::read(&Project::here().template()).unwrap();
        let mut routes: Vec<_> = template
            .functions
            .into_iter()
            .flat_map(|function| function.routes)
            .map(|route| (route.method.unwrap(), route.path))
            .collect();
        routes.sort_by(|a, b| (&a.1, a.0.as_str()).cmp(&(&b.1, b.0.as_str())));
        routes
    }
}

/// Builds all binaries (nothing to do when `cargo xtask test` has) and gives their folder.
fn build() -> PathBuf {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // On a thread of its own: the caller may be within a runtime.
    let built = std::thread::spawn(move || {
        runtime.block_on(xtask::binaries::build(&Project::here(), false)).unwrap()
    });
    built.join().unwrap()["xtask"].parent().unwrap().to_owned()
}

/// How many instances a parallel test runs over, at least.
pub(super) const INSTANCES: usize = 8;

/// Makes requests at the same time, and sees to it that so many did overlap.
pub(super) async fn at_once(
    requests: impl Iterator<Item = impl Future<Output = Answer>>,
) -> Vec<Answer> {
    let timed = requests.map(|request| async {
        let begun = Instant::now();
        let answer = request.await;
        (answer, begun, Instant::now())
    });
    let timed = futures_util::future::join_all(timed).await;
    let overlap = timed
        .iter()
        .map(|(_, begun, ended)| {
            timed.iter().filter(|(_, other, end)| other < ended && begun < end).count()
        })
        .max();
    let expected = INSTANCES.min(timed.len());
    assert!(overlap >= Some(expected), "at most {overlap:?} requests overlapped");
    timed.into_iter().map(|(answer, ..)| answer).collect()
}

/// The processes that run `binary`.
pub(super) fn running(binary: &Path) -> BTreeSet<u32> {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|process| process.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary)
        })
        .collect()
}

/// The address of the server, for raw requests.
pub(super) fn address(server: &Server) -> SocketAddr {
    server.url().strip_prefix("http://").unwrap().parse().unwrap()
}
