//! Recognizes requests from the edge, a proxy that the operator may run in front of the API.
//!
//! Behind an edge, the gateway sees the edge's address instead of the client's, so the edge reports the client's
//! address in a header. Requests without the edge secret are refused: otherwise clients could bypass the edge and
//! claim any address. Functions get only the secret's digest: the secret is derived from the peppers, which a route
//! that checks only the access token must not read.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use http::HeaderMap;
use identity::Network;
use process::{Reader, Settings};

use crate::{Event, Problem};

/// The header in which the edge sends its secret.
pub const EDGE_SECRET_HEADER: &str = "x-latchkey-edge";

/// The header in which the edge, such as `CloudFront`, reports the client's address and port.
pub const VIEWER_ADDRESS_HEADER: &str = "cloudfront-viewer-address";

/// How requests reach the API.
#[derive(Clone, Debug, Default)]
pub enum Edge {
    /// Clients connect to the gateway directly, so the address that the gateway sees determines the network.
    #[default]
    Absent,
    /// Requests without the edge secret are refused. The address that the edge reports determines the network.
    Trusted(SecretDigests),
}

impl Edge {
    /// The network that a request comes from. Refuses requests that did not come through the edge.
    pub(crate) fn network(&self, event: &Event) -> Result<Option<Network>, Problem> {
        let digests = match self {
            Self::Absent => {
                let source_ip = event.request_context.http.source_ip.as_deref();
                return Ok(source_ip.and_then(|ip| Some(Network::of(ip.parse().ok()?))));
            }
            Self::Trusted(digests) => digests,
        };
        let refused = |reason: &'static str| Problem::forbidden().because(reason);
        let secret = sole_value(&event.headers, EDGE_SECRET_HEADER);
        let secret = secret.ok_or_else(|| refused("the edge secret is missing"))?;
        if !digests.accept(secret) {
            return Err(refused("the edge secret is wrong"));
        }
        // Without the client's address, the limits per network would treat all clients as one network.
        let viewer = sole_value(&event.headers, VIEWER_ADDRESS_HEADER)
            .and_then(|value| viewer_address(str::from_utf8(value).ok()?));
        let viewer =
            viewer.ok_or_else(|| refused("the edge did not report the viewer's address"))?;
        Ok(Some(Network::of(viewer)))
    }
}

impl Settings for Edge {
    /// Reads `TRUSTED_EDGE` and, if it is `on`, `EDGE_SECRET_SHA256`.
    fn read(reader: &Reader<'_>) -> Option<Self> {
        match reader.optional("TRUSTED_EDGE", Switch::Off)? {
            Switch::Off => Some(Self::Absent),
            Switch::On => reader.required("EDGE_SECRET_SHA256").map(Self::Trusted),
        }
    }
}

/// The value of a header that is present exactly once.
fn sole_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.as_bytes();
    values.next().is_none().then_some(value)
}

/// Parses the address in `address:port`. `CloudFront` always sends the port, and puts no brackets around an IPv6
/// address. Other proxies may use brackets.
///
/// A value without a port is refused, because an IPv6 address without a port can look like a shorter address with
/// a port. An ambiguous value such as `2001:db8::1:443` is therefore read as an address and a port.
fn viewer_address(text: &str) -> Option<IpAddr> {
    let (address, port) = text.rsplit_once(':')?;
    if !is_port(port) {
        return None;
    }
    match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => address.parse().ok(),
    }
}

/// Whether `text` is a port as proxies write it: 1 to 65535, without a leading zero.
fn is_port(text: &str) -> bool {
    text.starts_with(|first: char| matches!(first, '1'..='9'))
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

/// A value of `TRUSTED_EDGE`.
#[derive(Clone, Copy)]
enum Switch {
    Off,
    On,
}

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::On),
            _ => Err("expected `on` or `off`"),
        }
    }
}

/// The SHA-256 digests of the accepted edge secrets. There are several while a pepper is being rotated.
#[derive(Clone)]
pub struct SecretDigests(Vec<[u8; SHA256_OUTPUT_LEN]>);

impl fmt::Debug for SecretDigests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretDigests").field(&self.0.len()).finish()
    }
}

impl SecretDigests {
    /// Whether `secret` has one of the digests, compared in constant time.
    fn accept(&self, secret: &[u8]) -> bool {
        let presented = digest(&SHA256, secret);
        self.0.iter().fold(false, |accepted, digest| {
            verify_slices_are_equal(digest, presented.as_ref()).is_ok() | accepted
        })
    }
}

impl FromStr for SecretDigests {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digest = |text: &str| hex::decode(text.trim()).ok()?.try_into().ok();
        let digests: Option<Vec<_>> = text.split(',').map(digest).collect();
        digests.map(Self).ok_or("expected SHA-256 digests in hexadecimal, separated by commas")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_with_a_port_is_parsed() {
        let address = |text: &str| viewer_address(text).map(|address| address.to_string());
        for (text, expected) in [
            ("203.0.113.7:46532", "203.0.113.7"),
            ("203.0.113.7:1", "203.0.113.7"),
            ("203.0.113.7:65535", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6:443", "2001:db8:1:2:3:4:5:6"),
            ("2001:0db8:0001:0002:0003:0004:0005:0006:443", "2001:db8:1:2:3:4:5:6"),
            ("2001:db8::5:46532", "2001:db8::5"),
            ("2001:db8::1:443", "2001:db8::1"),
            ("2001:db8:1:2:::443", "2001:db8:1:2::"),
            ("[2001:db8::5]:46532", "2001:db8::5"),
            ("::ffff:203.0.113.7:46532", "::ffff:203.0.113.7"),
        ] {
            assert_eq!(address(text).as_deref(), Some(expected), "{text}");
        }
        // In each of these, the port is missing or invalid, or the address is invalid.
        for text in [
            "203.0.113.7",
            "2001:db8::1",
            "2001:db8:1:2::",
            "2001:db8:1:2:3:4:5:6",
            "2001:db8::a29e:1cb2",
            "2001:db8::1:0",
            "2001:db8::1:0443",
            "[2001:db8::5]",
            "[2001:db8::5:443]",
            "::ffff:203.0.113.7",
            "",
            ":",
            "unknown",
            "203.0.113.7:",
            "203.0.113.7:0",
            "203.0.113.7:01",
            "203.0.113.7:65536",
            "203.0.113.7:+1",
            "203.0.113.7:1, 198.51.100.1:1",
            "203.0.113.7:1,198.51.100.1:1",
            "[203.0.113.7]:1",
            "[2001:db8::5:1",
            " 203.0.113.7:1",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn at_least_one_hexadecimal_digest_is_required() {
        let one = "ab".repeat(32);
        for good in [one.clone(), one.to_uppercase(), format!("{one}, {one}")] {
            assert!(good.parse::<SecretDigests>().is_ok(), "{good}");
        }
        for bad in ["", ",", &one[1..], &one[2..], &format!("{one},"), &"zz".repeat(32)] {
            let error = bad.parse::<SecretDigests>().unwrap_err();
            assert!(!error.contains("ab"), "{error}");
        }
    }
}
