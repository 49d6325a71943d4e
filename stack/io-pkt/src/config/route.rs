//! `[[route]]`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fib::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

use super::interface::AddressLen;

/// One `[[route]]`, both ends of one family.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Lines")]
pub(crate) struct Route {
    /// Where it leads.
    pub destination: Destination,
    /// Next hop.
    pub gateway: IpAddr,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    destination: Destination,
    gateway: IpAddr,
}

impl TryFrom<Lines> for Route {
    type Error = String;
    fn try_from(Lines { destination, gateway }: Lines) -> Result<Self, String> {
        let all = destination.prefix_len == 0;
        match (destination.address, gateway) {
            // `default` says no family: it is the gateway's.
            (IpAddr::V4(_), IpAddr::V6(_)) if all => {
                let address = Ipv6Addr::UNSPECIFIED.into();
                Ok(Self { destination: Destination { address, prefix_len: 0 }, gateway })
            }
            (to, by) if to.is_ipv4() == by.is_ipv4() => Ok(Self { destination, gateway }),
            _ => Err(format!(
                "{destination} and {gateway} are of two versions of IP; write a gateway of the \
                 destination's"
            )),
        }
    }
}

impl Route {
    /// The gateway is on a network that one of these interfaces has an address in.
    pub(super) fn is_reachable<'a>(
        &self,
        mut addresses: impl Iterator<Item = &'a AddressLen>,
    ) -> bool {
        addresses.any(|own| match (own.address, self.gateway) {
            (IpAddr::V4(address), IpAddr::V4(gateway)) => {
                let network = Ipv4Net::containing(address, own.prefix_len);
                network.is_ok_and(|network| network.contains(gateway))
            }
            (IpAddr::V6(_), IpAddr::V6(gateway)) if gateway.is_unicast_link_local() => true,
            (IpAddr::V6(address), IpAddr::V6(gateway)) => {
                let network = Ipv6Net::containing(address, own.prefix_len);
                network.is_ok_and(|network| network.contains(gateway))
            }
            _ => false,
        })
    }
}

/// Where a route leads: `default`, `10.0.0.0/8`, `2001:db8::/32`; `::/0` is the default of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Destination {
    /// Network.
    pub address: IpAddr,
    /// Prefix length.
    pub prefix_len: u8,
}

impl TryFrom<String> for Destination {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no destination: write default or 10.0.0.0/8");
        if text == "default" {
            return Ok(Self { address: Ipv4Addr::UNSPECIFIED.into(), prefix_len: 0 });
        }
        let (address, len) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix_len = len.parse().map_err(|_| wrong())?;
        let is_network = match address {
            IpAddr::V4(address) => Ipv4Net::new(address, prefix_len).is_ok(),
            IpAddr::V6(address) => Ipv6Net::new(address, prefix_len).is_ok(),
        };
        if !is_network {
            return Err(wrong());
        }
        Ok(Self { address, prefix_len })
    }
}

impl core::fmt::Display for Destination {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.prefix_len {
            0 if self.address.is_ipv4() => f.write_str("default"),
            len => write!(f, "{}/{len}", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_route_is_default_or_a_network() {
        let read = |to: &str| {
            let text = format!("[[route]]\ndestination = \"{to}\"\ngateway = \"10.0.0.1\"\n");
            toml::from_str::<Config>(&text).map_err(|error| error.to_string())
        };
        assert_eq!(read("default").unwrap().routes[0].destination.to_string(), "default");
        assert_eq!(read("10.0.0.0/8").unwrap().routes[0].destination.to_string(), "10.0.0.0/8");
        for wrong in ["10.0.0.0", "10.0.0.0/33", "10.1.0.0/8", "everywhere"] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("line 2") && error.contains("write default or"), "{error}");
        }
    }

    #[test]
    fn a_gateway_off_all_links_is_found_by_check() {
        let check = |gateway: &str| {
            let text = format!(
                "[[interface]]\ndriver = \"x\"\naddress = \"10.1.2.3/24\"\n\
                 [[route]]\ndestination = \"default\"\ngateway = \"{gateway}\"\n"
            );
            toml::from_str::<Config>(&text).unwrap().check().map_err(|error| error.to_string())
        };
        assert_eq!(check("10.1.2.254"), Ok(()));
        let error = check("10.1.3.1").unwrap_err();
        assert!(error.contains("route default via 10.1.3.1"), "{error}");
    }

    #[test]
    fn default_is_of_the_gateways_family_and_others_must_be() {
        let read = |to: &str, by: &str| {
            let text = format!("[[route]]\ndestination = \"{to}\"\ngateway = \"{by}\"\n");
            toml::from_str::<Config>(&text).map_err(|error| error.to_string())
        };
        let six = read("default", "2001:db8::1").unwrap().routes[0].clone();
        assert_eq!((six.destination.address.is_ipv6(), six.destination.prefix_len), (true, 0));
        let error = read("10.0.0.0/8", "2001:db8::1").unwrap_err();
        assert!(error.contains("two versions of IP"), "{error}");
        let _also = read("::/0", "10.0.0.1").unwrap_err();
    }
}
