//! HTTP servers on the loopback interface, and the checks by which they refuse foreign requests.
//!
//! A browser on this machine reaches loopback addresses too, so any page that it shows could send requests here. Some
//! headers of such a request reveal its source, and the page cannot change them. `Host` contains the name that the page
//! used, which reveals a foreign name that resolves to a loopback address ("DNS rebinding"). `Origin` and
//! `Sec-Fetch-Site` tell where the page is from. `Sec-Fetch-Mode` and `Sec-Fetch-Dest` tell a page that is opened in a tab from
//! a request of a script and from an embedded page.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, ORIGIN, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use process::{Random, SystemRandom};
use template::ui;
use tokio::net::TcpListener;
use tokio::time::timeout;

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How long a client may take to send its headers.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after a failed attempt to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The maximum size in bytes of a request that [`guard`] forwards. It is Lambda's quota for the event of a function, so
/// a function that forwards all the data of one request stays within it.
pub(crate) const MAX_GUARDED_BYTES: usize = 6_000_000;

/// The names of the loopback interface.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// The request is for another server, or a page from another origin sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request comes from another site")]
pub(crate) struct Foreign;

/// Why the body of a request could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// The body is larger than the server accepts.
    #[error("the body is too large")]
    TooLarge,
    /// The client sent the body too slowly, or with a different length than it announced.
    #[error("the client did not send its body")]
    Unsent,
}

/// Refuses a request that is not for this port of the loopback interface, or that a page from another origin sent.
pub(crate) fn check(parts: &Parts, port: u16) -> Result<(), Foreign> {
    check_host(parts, port)?;
    check_page(&parts.headers, port)
}

/// Refuses the same requests as [`check`], except if a page of another origin opens the response in a tab, by a link
/// or a script. The response must be a document that cannot be framed, so that the other page can neither read nor embed
/// it.
pub(crate) fn check_unless_opened(parts: &Parts, port: u16) -> Result<(), Foreign> {
    if is_opened(parts) { check_host(parts, port) } else { check(parts, port) }
}

/// Whether the browser shows the response in a tab of its own. It also does so for an address that the user enters.
fn is_opened(parts: &Parts) -> bool {
    let has = |name, value| {
        let mut values = parts.headers.get_all(name).iter();
        values.next().is_some_and(|found| found == value) && values.next().is_none()
    };
    parts.method == Method::GET
        && !parts.headers.contains_key(ORIGIN)
        && has(SEC_FETCH_MODE, "navigate")
        && has(SEC_FETCH_DEST, "document")
}

/// Refuses a request whose host does not name this port of the loopback interface.
fn check_host(parts: &Parts, port: u16) -> Result<(), Foreign> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return Err(Foreign) };
    let named = host.to_str().is_ok_and(|host| is_local(host, port));
    let target = parts.uri.authority().is_none_or(|target| is_local(target.as_str(), port));
    if named && target { Ok(()) } else { Err(Foreign) }
}

/// Refuses a request from a page with another origin. A page on another local port has another origin too.
fn check_page(headers: &HeaderMap, port: u16) -> Result<(), Foreign> {
    let own = |origin: &str| {
        origin.strip_prefix("http://").is_some_and(|authority| is_local(authority, port))
    };
    let mut origins = headers.get_all(ORIGIN).iter();
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    let ours = origins.all(|origin| origin.to_str().is_ok_and(own))
        && sites.all(|site| site == "same-origin" || site == "none");
    if ours { Ok(()) } else { Err(Foreign) }
}

/// Whether `authority` names the loopback interface and this port.
fn is_local(authority: &str, port: u16) -> bool {
    let (host, given) = match authority.rsplit_once(':') {
        Some((host, given)) if !given.ends_with(']') => (host, given),
        _ => (authority, "80"),
    };
    given.bytes().all(|byte| byte.is_ascii_digit())
        && given.parse() == Ok(port)
        && NAMES.iter().any(|name| host.eq_ignore_ascii_case(name))
}

/// Serves `listener` until this future is dropped. Open connections continue until the runtime ends.
pub(crate) async fn serve<A, F>(listener: TcpListener, max_buffer: usize, answer: A)
where
    A: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let mut report = first_only(|error: io::Error| {
        let reason = ui::reason(&error);
        ui::note(format_args!("error: cannot accept connections, trying again: {reason}"));
    });
    loop {
        let (stream, peer) = accept(|| listener.accept(), &mut report).await;
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answer = answer(request, peer);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        drop(stream.set_nodelay(true));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(max_buffer)
            .serve_connection(TokioIo::new(stream), service);
        // An error means that the client disconnected or sent invalid HTTP. hyper has already answered invalid HTTP.
        tokio::spawn(async move { drop(connection.await) });
    }
}

/// Returns the next connection from `next`. If the server cannot accept it, reports the error and waits before the next
/// attempt: without a free file descriptor, every attempt fails immediately.
async fn accept<T, F: Future<Output = io::Result<T>>>(
    mut next: impl FnMut() -> F,
    mut report: impl FnMut(io::Error),
) -> T {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match next().await {
            Ok(connection) => return connection,
            // The client has disconnected.
            Err(error)
                if matches!(
                    error.kind(),
                    ConnectionAborted | ConnectionRefused | ConnectionReset
                ) => {}
            Err(error) => {
                report(error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Calls `report` for the first value and ignores all others.
fn first_only<T>(report: impl FnOnce(T)) -> impl FnMut(T) {
    let mut report = Some(report);
    move |value| {
        if let Some(report) = report.take() {
            report(value);
        }
    }
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn collect<B>(body: B, limit: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) | Err(_) => Err(BodyError::Unsent),
    }
}

/// Binds a listener for a server that does not check requests. It listens on one of the 2²⁴ loopback addresses,
/// chosen at random, so that no page finds it. On a system with only one loopback address, it listens on that one.
pub(crate) async fn hidden() -> io::Result<TcpListener> {
    let [a, b, c]: [u8; 3] = (&SystemRandom as &dyn Random).bytes();
    match TcpListener::bind((Ipv4Addr::new(127, a, b, c), 0)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await,
    }
}

/// Forwards requests to `server`, except foreign ones, until this future is dropped.
pub(crate) async fn guard(listener: TcpListener, port: u16, server: SocketAddr) {
    /// Enough for the headers that the AWS SDK sends.
    const BUFFER: usize = 64 * 1024;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    serve(listener, BUFFER, move |request, _| {
        let client = client.clone();
        async move {
            let (mut parts, body) = request.into_parts();
            if check(&parts, port).is_err() {
                return empty(StatusCode::FORBIDDEN);
            }
            let body = match collect(body, MAX_GUARDED_BYTES).await {
                Ok(body) => body,
                Err(BodyError::TooLarge) => return empty(StatusCode::PAYLOAD_TOO_LARGE),
                Err(BodyError::Unsent) => return empty(StatusCode::BAD_REQUEST),
            };
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let uri = format!("http://{server}{path}").parse::<Uri>();
            let Ok(uri) = uri else { return empty(StatusCode::BAD_REQUEST) };
            parts.uri = uri;
            // hyper's client sets these two headers to match the body that it sends.
            parts.headers.remove(TRANSFER_ENCODING);
            parts.headers.remove(CONTENT_LENGTH);
            let request = Request::from_parts(parts, Full::new(body));
            let Ok(response) = client.request(request).await else {
                return empty(StatusCode::BAD_GATEWAY);
            };
            let (mut parts, body) = response.into_parts();
            let Ok(body) = body.collect().await else { return empty(StatusCode::BAD_GATEWAY) };
            parts.headers.remove(TRANSFER_ENCODING);
            Response::from_parts(parts, Full::new(body.to_bytes()))
        }
    })
    .await;
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Without the wait, the server would keep a processor core busy until a file descriptor is free.
    #[tokio::test]
    async fn a_server_without_file_descriptors_waits_between_attempts_and_reports_once() {
        const EMFILE: i32 = 24;
        let (mut attempts, mut reports) = (0, Vec::new());
        let started = Instant::now();
        let next = || {
            attempts += 1;
            let done = attempts > 3;
            async move { if done { Ok(()) } else { Err(io::Error::from_raw_os_error(EMFILE)) } }
        };
        accept(next, first_only(|error: io::Error| reports.push(error.to_string()))).await;
        assert_eq!(attempts, 4);
        assert!(started.elapsed() >= 3 * ACCEPT_PAUSE, "{:?}", started.elapsed());
        assert_eq!(reports.len(), 1);
        assert!(reports[0].contains("Too many open files"), "{reports:?}");
    }

    #[tokio::test]
    async fn clients_that_disconnect_do_not_delay_the_next_client() {
        let mut failures = vec![io::ErrorKind::ConnectionAborted; 1_000];
        let next = || {
            let failure = failures.pop();
            async move { failure.map_or(Ok(()), |kind| Err(kind.into())) }
        };
        accept(next, |error| panic!("{error}")).await;
        assert!(failures.is_empty());
    }

    fn parts(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_a_loopback_host_with_the_servers_port_is_accepted() {
        for (host, own) in [
            ("127.0.0.1:9000", true),
            ("localhost:9000", true),
            ("LocalHost:9000", true),
            ("[::1]:9000", true),
            ("127.0.0.1", false),
            ("localhost", false),
            ("[::1]", false),
            ("localhost:9001", false),
            ("localhost:+9000", false),
            ("localhost:", false),
            ("localhost.:9000", false),
            ("127.0.0.1.evil.example:9000", false),
            ("evil.example:9000", false),
            ("0.0.0.0:9000", false),
            ("user@localhost:9000", false),
            ("", false),
        ] {
            assert_eq!(check_host(&parts("/", &[("host", host)]), 9000).is_ok(), own, "{host}");
        }
        assert!(check_host(&parts("/", &[("host", "localhost")]), 80).is_ok());
        assert!(check_host(&parts("/", &[("host", "[::1]")]), 80).is_ok());
        assert!(check_host(&parts("/", &[]), 9000).is_err());
        let own = ("host", "localhost:9000");
        assert!(check_host(&parts("/", &[own, ("host", "evil.example")]), 9000).is_err());
        assert!(check_host(&parts("http://evil.example/", &[own]), 9000).is_err());
        assert!(check_host(&parts("http://localhost:9000/", &[own]), 9000).is_ok());
    }

    #[test]
    fn pages_of_all_other_origins_are_refused() {
        for (name, value, own) in [
            ("origin", "http://localhost:9000", true),
            ("origin", "http://127.0.0.1:9000", true),
            ("origin", "https://localhost:9000", false),
            ("origin", "http://localhost:5173", false),
            ("origin", "http://evil.example", false),
            ("origin", "null", false),
            ("origin", "", false),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
        ] {
            let headers = parts("/", &[(name, value)]).headers;
            assert_eq!(check_page(&headers, 9000).is_ok(), own, "{name}: {value}");
        }
        assert!(check_page(&HeaderMap::new(), 9000).is_ok());
    }

    #[test]
    fn a_page_of_another_origin_can_only_link_to_a_document() {
        let own = ("host", "localhost:9000");
        let site = ("sec-fetch-site", "cross-site");
        let (mode, dest) = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"));
        let opened = [own, site, mode, dest];
        assert_eq!(check_unless_opened(&parts("/", &opened), 9000), Ok(()));
        assert_eq!(check(&parts("/", &opened), 9000), Err(Foreign));
        for headers in [
            vec![own, site],
            vec![own, site, mode],
            vec![own, site, dest],
            vec![own, site, mode, ("sec-fetch-dest", "iframe")],
            vec![own, site, mode, dest, ("sec-fetch-dest", "iframe")],
            vec![own, site, dest, ("sec-fetch-mode", "no-cors")],
            vec![own, site, mode, dest, ("origin", "http://evil.example")],
            vec![("host", "evil.example:9000"), site, mode, dest],
            vec![site, mode, dest],
        ] {
            let request = parts("/", &headers);
            assert_eq!(check_unless_opened(&request, 9000), Err(Foreign), "{headers:?}");
        }
        for method in [Method::POST, Method::HEAD, Method::OPTIONS] {
            let mut request = parts("/", &opened);
            request.method = method;
            let (answer, method) = (check_unless_opened(&request, 9000), &request.method);
            assert_eq!(answer, Err(Foreign), "{method}");
        }
    }
}
