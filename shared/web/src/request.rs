//! A request as a route sees it: what of the gateway's event can be trusted and is used.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::USER_AGENT;
use http::{HeaderMap, Method};

use crate::{Event, Problem};

/// The longest user agent that is kept, in characters.
const MAX_USER_AGENT_CHARS: usize = 256;

/// A request.
pub struct Request {
    event: Event,
}

/// Headers and body may hold secrets.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("request_id", &self.request_id()).finish_non_exhaustive()
    }
}

impl Request {
    pub(crate) fn new(event: Event) -> Self {
        Self { event }
    }

    /// The method. By it a route of several endpoints tells them apart, and not by the route key,
    /// which `cargo lambda watch` on its own does not send.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.event.request_context.http.method
    }

    /// The path parameter `name`, as the gateway matched it; the last part of the path where it does
    /// not say.
    #[must_use]
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        let last = || self.event.raw_path.as_deref()?.rsplit('/').next();
        self.event.path_parameters.get(name).map(String::as_str).or_else(last)
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
        let user_agent = self.headers().get(USER_AGENT).and_then(|value| value.to_str().ok());
        Client {
            user_agent: user_agent.map(|text| text.chars().take(MAX_USER_AGENT_CHARS).collect()),
            network: self.event.request_context.http.source_ip.as_deref().and_then(Network::of),
        }
    }
}

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// What the client says of itself: for its owner to recognise it by, nothing more. At most 256
    /// characters are kept.
    pub user_agent: Option<String>,
    /// The network, as the gateway saw it. No header that a client can send counts.
    pub network: Option<Network>,
}

/// The network that a request comes from: an IPv4 address, or an IPv6 /64, which is what one
/// customer of a provider has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    fn of(source_ip: &str) -> Option<Self> {
        let address: IpAddr = source_ip.parse().ok()?;
        Some(Self(match address.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        }))
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
    use super::*;

    #[test]
    fn networks_are_addresses_and_prefixes() {
        let network = |ip: &str| Network::of(ip).map(|network| network.to_string());
        assert_eq!(network("203.0.113.7").as_deref(), Some("203.0.113.7"));
        assert_eq!(network("::ffff:203.0.113.7").as_deref(), Some("203.0.113.7"));
        assert_eq!(network("2001:db8:1:2:3:4:5:6").as_deref(), Some("2001:db8:1:2::/64"));
        assert_eq!(network("unknown"), None);
    }
}
