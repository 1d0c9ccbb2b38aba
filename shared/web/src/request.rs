//! Requests, read from the gateway's events.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, HeaderValue, IF_MATCH, USER_AGENT};
use http::{HeaderMap, Method};
use identity::{Network, is_hidden};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::shape::{Bindable, MemberError, bind, bind_with_placeholders, names};
use crate::{Edge, Endpoint, Event, Input, Part, Problem};

/// The maximum length of a recorded user agent, in characters. Longer user agents are truncated.
const MAX_USER_AGENT_CHARS: usize = 256;

/// An HTTP request, from which a route reads its inputs.
pub struct Request {
    event: Event,
    endpoints: &'static [Endpoint],
    network: Option<Network>,
    /// The names of the inputs that have been read. Present only in a request that [`Request::inputs`] makes.
    noted: Option<Mutex<Inputs>>,
}

/// The names of the values that a route reads from each part of a request, and whether each value is required.
pub type Inputs = BTreeMap<Part, BTreeMap<String, bool>>;

/// Shows only the request's id, because the headers and the body may contain secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("request_id", &self.request_id()).finish_non_exhaustive()
    }
}

impl Request {
    /// Creates a request from `event`, and checks that it came through `edge`. The request is returned even if
    /// the check fails, because a refused request is also logged.
    pub(crate) fn new(
        event: Event,
        edge: &Edge,
        endpoints: &'static [Endpoint],
    ) -> (Self, Result<(), Problem>) {
        let (network, arrival) = match edge.network(&event) {
            Ok(network) => (network, Ok(())),
            Err(problem) => (None, Err(problem)),
        };
        (Self { event, endpoints, network, noted: None }, arrival)
    }

    /// The names of the values that `I` reads from a request to `endpoint`: members of the body, parameters and headers.
    ///
    /// `I` reads a request that contains only placeholders. The names come from the types to which `I` binds the parts
    /// of the request.
    pub(crate) fn inputs<I: Input>(endpoint: &Endpoint, endpoints: &'static [Endpoint]) -> Inputs {
        let mut event = Event::default();
        event.route_key = Some(format!("{} {}", endpoint.method, endpoint.path));
        event.request_context.http.method =
            endpoint.method.parse().expect("an endpoint's method is a method");
        let parameters = endpoint.path.split('/').filter_map(parameter);
        event.path_parameters =
            parameters.map(|name| (name.to_owned(), PLACEHOLDER.to_owned())).collect();
        event.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        event.headers.insert(IF_MATCH, HeaderValue::from_static("*"));
        event.body = Some("{}".to_owned());
        let noted = Mutex::new(Inputs::new());
        let request = Self { event, endpoints, network: None, noted: Some(noted) };
        // Only the names matter, not the values.
        drop(I::read(&request));
        let noted = request.noted.unwrap_or_default();
        noted.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds the values of a part of the request to `T`.
    pub(crate) fn bind<T: DeserializeOwned, V: Bindable>(
        &self,
        part: Part,
        values: BTreeMap<String, V>,
    ) -> Result<T, Problem> {
        let wrong_shape = |errors| Problem::wrong_shape(part, errors);
        if self.noted.is_none() {
            return bind(values).map_err(wrong_shape);
        }
        let (bound, errors) = bind_with_placeholders(values);
        for name in names::<T>() {
            let is_missing = errors.get(*name) == Some(&MemberError::Missing);
            self.note(part, name, is_missing || part == Part::Path);
        }
        bound.ok_or_else(|| wrong_shape(errors))
    }

    /// In a request that [`Request::inputs`] makes, notes that the route reads this value.
    pub(crate) fn note(&self, part: Part, name: &str, required: bool) {
        if let Some(noted) = &self.noted {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.entry(part).or_default().insert(name.to_owned(), required);
        }
    }

    /// The HTTP method. A route with several endpoints distinguishes them by the method, because `cargo lambda watch`
    /// always sends the route key `$default`.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.event.request_context.http.method
    }

    /// The endpoint that the request is for. The gateway's route key names it; without a gateway, the method and the
    /// path determine it. `None` if the route does not serve the request.
    #[must_use]
    pub fn endpoint(&self) -> Option<&'static Endpoint> {
        let key = self.event.route_key.as_deref().unwrap_or_default();
        let path = self.event.raw_path.as_deref().unwrap_or_default();
        let is_named =
            |endpoint: &&Endpoint| key.split_once(' ') == Some((endpoint.method, endpoint.path));
        let matches = |endpoint: &&Endpoint| {
            endpoint.method == self.method() && parameters(endpoint.path, path).is_some()
        };
        let mut endpoints = self.endpoints.iter();
        endpoints.clone().find(is_named).or_else(|| endpoints.find(matches))
    }

    /// The decoded parameters of the path, by name.
    ///
    /// The gateway sends them decoded. `cargo lambda watch` sends none, so they are found by matching the encoded path
    /// against the route's endpoints, and then decoded.
    pub(crate) fn path_parameters(&self) -> Result<Cow<'_, HashMap<String, String>>, Problem> {
        if !self.event.path_parameters.is_empty() {
            return Ok(Cow::Borrowed(&self.event.path_parameters));
        }
        let path = self.event.raw_path.as_deref().unwrap_or_default();
        let mut candidates =
            self.endpoints.iter().filter(|endpoint| endpoint.method == self.method());
        let matching = candidates.find_map(|endpoint| parameters(endpoint.path, path));
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

    /// The id that the gateway gave to the request.
    pub(crate) fn request_id(&self) -> Option<&str> {
        self.event.request_context.request_id.as_deref()
    }

    /// The bytes of the body, decoded if the gateway sent them in Base64.
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

/// The value of every path parameter in the request that [`Request::inputs`] makes. Path parameters are usually ids.
const PLACEHOLDER: &str = "00000000-0000-7000-8000-000000000000";

/// The name of the parameter for which this segment of a pattern stands.
fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The parameters in `path`, still encoded, if it matches `pattern`, in which `{name}` stands for any segment.
fn parameters<'a>(pattern: &'static str, path: &'a str) -> Option<Vec<(&'static str, &'a str)>> {
    let (pattern, path) = (pattern.split('/'), path.split('/'));
    if pattern.clone().count() != path.clone().count() {
        return None;
    }
    let mut parameters = Vec::new();
    for (expected, segment) in pattern.zip(path) {
        match parameter(expected) {
            Some(name) => parameters.push((name, segment)),
            None if expected == segment => {}
            None => return None,
        }
    }
    Some(parameters)
}

/// A user agent as readable text: decoded as UTF-8 or else as ISO 8859-1, without invisible characters or characters
/// that change the writing direction.
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
    /// The `User-Agent` header, by which users recognize the client in the list of their sessions. At most 256 visible
    /// characters are kept.
    pub user_agent: Option<String>,
    /// The client's network, as the gateway or the trusted edge reports it. A client cannot change it by sending
    /// headers.
    pub network: Option<Network>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(bytes: &[u8]) -> String {
        user_agent(&HeaderValue::from_bytes(bytes).unwrap())
    }

    #[test]
    fn a_user_agent_is_decoded_and_hidden_characters_are_removed() {
        assert_eq!(agent(b"curl/8.14.1"), "curl/8.14.1");
        assert_eq!(agent("Br\u{f6}wser/1 \u{540d}".as_bytes()), "Br\u{f6}wser/1 \u{540d}");
        assert_eq!(agent(b"Br\xf6wser/1"), "Br\u{f6}wser/1");
        // C1 controls of ISO 8859-1, a zero-width space, a right-to-left override, a tab.
        assert_eq!(agent(b"a\x80\x9fb"), "ab");
        assert_eq!(agent("a\u{200b}b\u{202e}c\td\u{feff}".as_bytes()), "abcd");
        assert_eq!(agent("\u{200b}".as_bytes()), "", "empty, but not absent");
        assert_eq!(agent(b""), "");
    }

    #[test]
    fn a_user_agent_is_cut_to_256_visible_characters() {
        assert_eq!(agent("\u{f6}".repeat(300).as_bytes()), "\u{f6}".repeat(256));
        // Hidden characters are removed before the text is cut.
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
    fn the_route_key_or_else_the_path_determines_the_endpoint() {
        let found = |route_key: &str, raw_path: &str| {
            let mut event = Event::default();
            event.route_key = Some(route_key.to_owned());
            event.raw_path = Some(raw_path.to_owned());
            let request = Request::new(event, &Edge::default(), ENDPOINTS).0;
            request.endpoint().map(|endpoint| endpoint.path)
        };
        let (things, parts) = (Some("/things"), Some("/things/{id}/parts/{part}"));
        // A gateway may serve the routes under a prefix.
        assert_eq!(found("GET /things", "/v1/things"), things);
        assert_eq!(found("GET /things/{id}/parts/{part}", "/v1/things/7/parts/a"), parts);
        assert_eq!(found("$default", "/things"), things);
        assert_eq!(found("$default", "/things/7/parts/a"), parts);
        for (key, path) in [("$default", "/v1/things"), ("POST /things", "/"), ("", "")] {
            assert_eq!(found(key, path), None, "{key} {path}");
        }
    }

    #[test]
    fn parameters_from_the_gateway_are_not_decoded_again() {
        let mut event = Event::default();
        event.path_parameters.insert("id".to_owned(), "%41".to_owned());
        let request = Request::new(event, &Edge::default(), ENDPOINTS).0;
        assert_eq!(request.path_parameters().unwrap()["id"], "%41");
    }
}
