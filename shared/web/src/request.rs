//! A request as a route sees it: what of the gateway's event can be trusted and is used.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderValue, USER_AGENT};
use http::{HeaderMap, Method};
use identity::{IdError, is_hidden};

use crate::{Edge, Event, Problem};

/// The longest user agent that is kept, in characters.
const MAX_USER_AGENT_CHARS: usize = 256;

/// A request.
pub struct Request {
    event: Event,
    network: Option<Network>,
}

/// Headers and body may hold secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("request_id", &self.request_id()).finish_non_exhaustive()
    }
}

impl Request {
    /// The request of `event`, and whether it came the way that `edge` requires. If not, the request is only
    /// for the log.
    pub(crate) fn new(event: Event, edge: &Edge) -> (Self, Result<(), Problem>) {
        let (network, arrival) = match edge.network(&event) {
            Ok(network) => (network, Ok(())),
            Err(problem) => (None, Err(problem)),
        };
        (Self { event, network }, arrival)
    }

    /// The method. A route with several endpoints distinguishes them by the method, not by the route key,
    /// which `cargo lambda watch` on its own does not send.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.event.request_context.http.method
    }

    /// The identifier that is the path parameter `name`: a UUID in the form of RFC 9562, in upper or lower
    /// case. The gateway names the parameters; without that, it is the last part of the path.
    ///
    /// # Errors
    /// 404, because text that is not an identifier identifies nothing.
    pub fn path_id<T: FromStr<Err = IdError>>(&self, name: &str) -> Result<T, Problem> {
        let last = || self.event.raw_path.as_deref()?.rsplit('/').next();
        let parameter = self.event.path_parameters.get(name).map(String::as_str).or_else(last);
        // Identifiers themselves have one spelling, in lower case.
        let id = parameter.and_then(|text| text.to_ascii_lowercase().parse().ok());
        id.ok_or_else(Problem::not_found)
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

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// What the client says of itself: for its owner to recognise it by, nothing more. At most 256
    /// characters are kept, and none that a reader cannot see.
    pub user_agent: Option<String>,
    /// The network, as the gateway or the trusted edge reports it. No header that a client can send changes
    /// it.
    pub network: Option<Network>,
}

/// The network that a request comes from: an IPv4 address, or an IPv6 /64, which is what one
/// customer of a provider has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of the address that the gateway reports.
    pub(crate) fn of(source_ip: &str) -> Option<Self> {
        Some(Self::of_address(source_ip.parse().ok()?))
    }

    pub(crate) fn of_address(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use identity::SessionId;

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
        assert_eq!(agent("\u{200b}".as_bytes()), "", "it was there");
        assert_eq!(agent(b""), "");
    }

    #[test]
    fn a_user_agent_is_short() {
        assert_eq!(agent("\u{f6}".repeat(300).as_bytes()), "\u{f6}".repeat(256));
        // What is not shown takes no room.
        let hidden = format!("{}{}", "\u{200b}".repeat(300), "a".repeat(300));
        assert_eq!(agent(hidden.as_bytes()), "a".repeat(256));
    }

    fn path_id(parameter: &str) -> Option<SessionId> {
        let mut event = Event::default();
        event.path_parameters.insert("sid".to_owned(), parameter.to_owned());
        Request::new(event, &Edge::default()).0.path_id("sid").ok()
    }

    #[test]
    fn an_identifier_in_a_path_is_a_uuid_in_any_case_and_in_no_other_form() {
        let id = "0b9f5a1c-7d3e-4a52-9c1f-3e6d8b7a2f40";
        let expected = Some(id.parse().unwrap());
        assert_eq!(path_id(id), expected);
        assert_eq!(path_id(&id.to_uppercase()), expected);
        assert_eq!(path_id("0B9f5a1C-7d3e-4A52-9c1f-3e6d8b7a2F40"), expected);
        for other in [
            id.replace('-', ""),
            format!("{{{id}}}"),
            format!("urn:uuid:{id}"),
            format!("URN:UUID:{id}"),
            format!(" {id}"),
            format!("{id}/"),
            id.replace('0', "\u{ff10}"),
            String::new(),
        ] {
            assert_eq!(path_id(&other), None, "{other}");
        }
    }

    #[test]
    fn networks_are_addresses_and_prefixes() {
        let network = |ip: &str| Network::of(ip).map(|network| network.to_string());
        assert_eq!(network("203.0.113.7").as_deref(), Some("203.0.113.7"));
        assert_eq!(network("::ffff:203.0.113.7").as_deref(), Some("203.0.113.7"));
        assert_eq!(network("2001:db8:1:2:3:4:5:6").as_deref(), Some("2001:db8:1:2::/64"));
        assert_eq!(network("unknown"), None);
    }
}
