//! An HTTP client for the API.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use template::Template;
use template::project::Project;

use super::document::DOCUMENT;

/// A password that the policy allows.
pub(crate) const PASSWORD: &str = "a long walk by the river";

/// A client for one API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    url: String,
    connection: Connection,
}

/// How requests reach the API.
#[derive(Clone, Debug)]
enum Connection {
    Directly,
    /// Through an emulator, which identifies the API by this `Host` and the caller by a header.
    ByHost(String),
}

/// The tokens in the answer to a login or a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Tokens {
    pub(crate) fn of(answer: &Answer) -> Self {
        let token = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
        Self { access: token("access_token"), refresh: token("refresh_token") }
    }
}

/// An answer that has been received completely.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    /// The body as JSON; `null` if the body is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The status, followed by the problem's code if there is one.
    pub(crate) fn short(&self) -> String {
        match self.json()["code"].as_str() {
            Some(code) => format!("{} {code}", self.status),
            None => self.status.to_string(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Api {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), connection: Connection::Directly }
    }

    pub(crate) fn by_host(url: &str, host: &str) -> Self {
        Self { url: url.to_owned(), connection: Connection::ByHost(host.to_owned()) }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether the API accepts requests with any `Host`.
    pub(crate) fn accepts_any_host(&self) -> bool {
        matches!(self.connection, Connection::Directly)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_from(Ipv4Addr::LOCALHOST, method, path)
    }

    /// A request from another loopback address, which stands for another network.
    pub(crate) fn request_from(
        &self,
        from: Ipv4Addr,
        method: Method,
        path: &str,
    ) -> RequestBuilder {
        let client = Client::builder().local_address(IpAddr::V4(from)).no_proxy().build().unwrap();
        let request = client.request(method, format!("{}{path}", self.url));
        match &self.connection {
            Connection::Directly => request,
            Connection::ByHost(host) => {
                request.header("host", host).header("x-source-ip", from.to_string())
            }
        }
    }

    /// Sends a request, and checks that the answer is as documented.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let answer = Answer::of(client.execute(request).await.unwrap()).await;
        let is_emulated = matches!(self.connection, Connection::ByHost(_));
        DOCUMENT.check(&method, &path, &answer, is_emulated);
        answer
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        let request = self.request(Method::GET, path);
        self.send(match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        })
        .await
    }

    pub(crate) async fn register(&self, username: &str) -> Answer {
        self.post("/auth/register", &json!({"username": username, "password": PASSWORD})).await
    }

    /// Signs in and returns the access token.
    pub(crate) async fn login(&self, username: &str) -> String {
        self.sign_in(username).await.access
    }

    /// Signs in and returns both tokens.
    pub(crate) async fn sign_in(&self, username: &str) -> Tokens {
        let body = json!({"username": username, "password": PASSWORD});
        let answer = self.post("/auth/login", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        Tokens::of(&answer)
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        self.post("/auth/refresh", &json!({"refresh_token": token})).await
    }

    /// Sends a request with an access token and without a body.
    pub(crate) async fn call(&self, method: Method, path: &str, token: &str) -> Answer {
        let request = self.request(method, path).header("authorization", format!("Bearer {token}"));
        self.send(request).await
    }
}

/// The method and the path of every route in the template.
pub(crate) fn routes() -> Vec<(Method, String)> {
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

/// The minimum number of instances of a function in a test of concurrent requests.
pub(crate) const INSTANCES: usize = 8;

/// Sends requests concurrently, and checks that at least [`INSTANCES`] of them overlapped, or all if there are fewer.
pub(crate) async fn concurrently(
    requests: impl Iterator<Item = impl Future<Output = Answer>>,
) -> Vec<Answer> {
    let timed = requests.map(|request| async {
        let started = Instant::now();
        let answer = request.await;
        (answer, started, Instant::now())
    });
    let timed = futures_util::future::join_all(timed).await;
    let overlap = timed
        .iter()
        .map(|(_, started, ended)| {
            timed.iter().filter(|(_, other, end)| other < ended && started < end).count()
        })
        .max();
    let expected = INSTANCES.min(timed.len());
    assert!(overlap >= Some(expected), "at most {overlap:?} requests overlapped");
    timed.into_iter().map(|(answer, ..)| answer).collect()
}
