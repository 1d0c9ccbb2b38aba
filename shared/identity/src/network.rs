//! The network of a client.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The network that a request comes from: an IPv4 address, or an IPv6 prefix. An internet provider usually assigns a
/// customer a /64, and sometimes a /48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Network(Prefix);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Prefix {
    /// An IPv4 address.
    Address(IpAddr),
    /// An IPv6 /64.
    Narrow(Ipv6Addr),
    /// An IPv6 /48.
    Wide(Ipv6Addr),
}

impl Network {
    /// The network of an address: the IPv4 address itself, or the IPv6 /64.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            v4 @ IpAddr::V4(_) => Prefix::Address(v4),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Prefix::Narrow(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        })
    }

    /// The IPv6 /48 that contains this /64. `None` if this network is not a /64.
    #[must_use]
    pub const fn wider(self) -> Option<Self> {
        match self.0 {
            Prefix::Narrow(v6) => {
                let [a, b, c, ..] = v6.segments();
                Some(Self(Prefix::Wide(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))))
            }
            Prefix::Address(_) | Prefix::Wide(_) => None,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Prefix::Address(address) => address.fmt(f),
            Prefix::Narrow(prefix) => write!(f, "{prefix}/64"),
            Prefix::Wide(prefix) => write!(f, "{prefix}/48"),
        }
    }
}

/// The text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a network")]
pub struct NetworkError;

/// Parses only the form that [`fmt::Display`] writes.
impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        let narrow = Self::of(address.parse().map_err(|_| NetworkError)?);
        let network = if length == "48" { narrow.wider().ok_or(NetworkError)? } else { narrow };
        if network.to_string() == text { Ok(network) } else { Err(NetworkError) }
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    #[test]
    fn a_network_is_an_ipv4_address_or_an_ipv6_prefix() {
        for (address, text, wider) in [
            ("203.0.113.7", "203.0.113.7", None),
            ("::ffff:203.0.113.7", "203.0.113.7", None),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", Some("2001:db8:1::/48")),
        ] {
            assert_eq!(network(address).to_string(), text);
            assert_eq!(network(address).wider().map(|wider| wider.to_string()).as_deref(), wider);
        }
    }

    #[test]
    fn only_the_displayed_form_is_parsed() {
        for text in [
            "",
            "unknown",
            "203.0.113.7/32",
            "203.0.113.7/48",
            "2001:db8:1:2::",
            "2001:db8:1:2::/63",
            "2001:db8:1:2:3::/64",
            "2001:DB8:1:2::/64",
            "2001:db8:1:2::/48",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn networks_round_trip(address in any::<IpAddr>()) {
            let network = Network::of(address);
            for network in [Some(network), network.wider()].into_iter().flatten() {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }
    }
}
