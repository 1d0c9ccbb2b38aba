//! A request: the parts of the gateway's event that can be trusted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderValue, USER_AGENT};
use http::{HeaderMap, Method};
use identity::{Network, is_hidden};
use percent_encoding::percent_decode_str;

use crate::{Edge, Endpoint, Event, Problem};

/// The longest user agent that is kept, in characters.
const MAX_USER_AGENT_CHARS: usize = 256;

/// A request, from which inputs are read.
pub struct Request {
    event: Event,
    endpoints: &'static [Endpoint],
    network: Option<Network>,
}

/// Headers and body may hold secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("request_id", &self.request_id()).finish_non_exhaustive()
    }
}

impl Request {
    /// Creates the request of `event`, and checks that it came through `edge`. If it did not, the request is used
    /// only for the log.
    pub(crate) fn new(
        event: Event,
        edge: &Edge,
        endpoints: &'static [Endpoint],
    ) -> (Self, Result<(), Problem>) {
        let (network, arrival) = match edge.network(&event) {
            Ok(network) => (network, Ok(())),
            Err(problem) => (None, Err(problem)),
        };
        (Self { event, endpoints, network }, arrival)
    }

    /// The method. A route with several endpoints distinguishes them by the method, not by the route key,
    /// which `cargo lambda watch` on its own does not send.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.event.request_context.http.method
    }

    /// The parameters of the path by name.
    ///
    /// The gateway sends them decoded. `cargo lambda watch` on its own sends none; then the path, which is
    /// still encoded there, is compared with the endpoints of the route.
    pub(crate) fn path_parameters(&self) -> Result<Cow<'_, HashMap<String, String>>, Problem> {
        if !self.event.path_parameters.is_empty() {
            return Ok(Cow::Borrowed(&self.event.path_parameters));
        }
        let path = self.event.raw_path.as_deref().unwrap_or_default();
        let mut of_method =
            self.endpoints.iter().filter(|endpoint| endpoint.method == self.method());
        let matching = of_method.find_map(|endpoint| parameters(endpoint.path, path));
        let parameters = matching.unwrap_or_default().into_iter().map(|(name, value)| {
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| Problem::invalid_request("The path is not UTF-8."))?;
            Ok((name.to_owned(), value.into_owned()))
        });
        parameters.collect::<Result<_, Problem>>().map(Cow::Owned)
    }

    /// The query string, still encoded.
    pub(crate) fn raw_query(&self) -> &str {
        self.event.raw_query_string.as_deref().unwrap_or_default()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.event.headers
    }

    /// The gateway's id of the request.
    pub(crate) fn request_id(&self) -> Option<&str> {
        self.event.request_context.request_id.as_deref()
    }

    /// The body's bytes, whichever way the gateway passed them on.
    pub(crate) fn body(&self) -> Result<Cow<'_, [u8]>, Problem> {
        let body = self.event.body.as_deref().unwrap_or_default();
        if self.event.is_base64_encoded {
            let bytes = STANDARD
                .decode(body)
                .map_err(|_| Problem::invalid_request("The body could not be read."))?;
            Ok(Cow::Owned(bytes))
        } else {
            Ok(Cow::Borrowed(body.as_bytes()))
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client { user_agent: self.headers().get(USER_AGENT).map(user_agent), network: self.network }
    }
}

/// The parameters in `path` if it matches `pattern`, a path with `{name}` in place of a segment. They are not
/// decoded.
fn parameters<'a>(pattern: &'static str, path: &'a str) -> Option<Vec<(&'static str, &'a str)>> {
    let (pattern, path) = (pattern.split('/'), path.split('/'));
    if pattern.clone().count() != path.clone().count() {
        return None;
    }
    let mut parameters = Vec::new();
    for (expected, segment) in pattern.zip(path) {
        match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => parameters.push((name, segment)),
            None if expected == segment => {}
            None => return None,
        }
    }
    Some(parameters)
}

/// A user agent as text for people: decoded as UTF-8, or else as ISO 8859-1, without invisible characters and
/// characters that change the writing direction.
fn user_agent(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    let text = match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    };
    text.chars().filter(|c| !is_hidden(*c)).take(MAX_USER_AGENT_CHARS).collect()
}

/// The origin of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's description of itself, by which its owner can recognise it. At most 256 visible characters
    /// are kept.
    pub user_agent: Option<String>,
    /// The network, as the gateway or the trusted edge reports it. No header that a client can send changes
    /// it.
    pub network: Option<Network>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(bytes: &[u8]) -> String {
        user_agent(&HeaderValue::from_bytes(bytes).unwrap())
    }

    #[test]
    fn a_user_agent_is_readable_whatever_its_encoding() {
        assert_eq!(agent(b"curl/8.14.1"), "curl/8.14.1");
        assert_eq!(agent("Br\u{f6}wser/1 \u{540d}".as_bytes()), "Br\u{f6}wser/1 \u{540d}");
        assert_eq!(agent(b"Br\xf6wser/1"), "Br\u{f6}wser/1");
        // C1 controls of ISO 8859-1, a zero-width space, a right-to-left override, a tab.
        assert_eq!(agent(b"a\x80\x9fb"), "ab");
        assert_eq!(agent("a\u{200b}b\u{202e}c\td\u{feff}".as_bytes()), "abcd");
        assert_eq!(agent("\u{200b}".as_bytes()), "", "present, though nothing is visible");
        assert_eq!(agent(b""), "");
    }

    #[test]
    fn a_user_agent_is_short() {
        assert_eq!(agent("\u{f6}".repeat(300).as_bytes()), "\u{f6}".repeat(256));
        // Hidden characters do not use up the limit.
        let hidden = format!("{}{}", "\u{200b}".repeat(300), "a".repeat(300));
        assert_eq!(agent(hidden.as_bytes()), "a".repeat(256));
    }

    const ENDPOINTS: &[Endpoint] =
        &[Endpoint::get("/things"), Endpoint::get("/things/{id}/parts/{part}")];

    /// The parameters of a GET request without `pathParameters`.
    fn parameters_of(raw_path: &str) -> Result<Vec<(String, String)>, &'static str> {
        let mut event = Event::default();
        event.raw_path = Some(raw_path.to_owned());
        let request = Request::new(event, &Edge::default(), ENDPOINTS).0;
        let parameters = request.path_parameters().map_err(|problem| problem.code())?;
        let mut parameters: Vec<_> = parameters.clone().into_owned().into_iter().collect();
        parameters.sort();
        Ok(parameters)
    }

    #[test]
    fn without_a_gateway_the_path_is_decoded_segment_by_segment() {
        let found = |id: &str, part: &str| {
            Ok(vec![("id".to_owned(), id.to_owned()), ("part".to_owned(), part.to_owned())])
        };
        assert_eq!(parameters_of("/things/7/parts/a"), found("7", "a"));
        assert_eq!(parameters_of("/things/a%2Fb/parts/%C3%B6"), found("a/b", "ö"));
        assert_eq!(parameters_of("/things/%252F/parts/+"), found("%2F", "+"));
        assert_eq!(parameters_of("/things/%ff/parts/a"), Err("invalid_request"));
        for other in ["/things", "/things/7/parts", "/things/7/parts/a/", "/other/7/parts/a", ""] {
            assert_eq!(parameters_of(other), Ok(vec![]), "{other}");
        }
    }

    #[test]
    fn parameters_of_the_gateway_are_not_decoded_again() {
        let mut event = Event::default();
        event.path_parameters.insert("id".to_owned(), "%41".to_owned());
        let request = Request::new(event, &Edge::default(), ENDPOINTS).0;
        assert_eq!(request.path_parameters().unwrap()["id"], "%41");
    }
}
