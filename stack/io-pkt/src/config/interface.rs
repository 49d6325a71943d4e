//! `[[interface]]`, and what is after `-d`.

use core::net::IpAddr;

use serde::Deserialize;

use crate::error::StartError;

/// One `[[interface]]`, or one `-d`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Interface {
    /// Driver name, as after `-d`.
    pub driver: String,
    /// Options, commas between.
    #[serde(default)]
    pub options: String,
    /// Addresses, primary first; a single one needs no list.
    #[serde(default, deserialize_with = "addresses")]
    pub address: Vec<AddressLen>,
    /// IPv6 routers on the link are believed.
    #[serde(default)]
    pub accept_rtadv: bool,
    /// A DHCP server is asked for an IPv4 address.
    #[serde(default)]
    pub dhcp: bool,
    /// While nobody gives it an IPv4 address the interface has one of the link's own.
    #[serde(default)]
    pub ipv4ll: bool,
    /// IPv6 hosts on the link are told of this router and its prefixes.
    #[serde(default)]
    pub rtadv: bool,
}

/// Takes `address=`, `accept_rtadv`, `dhcp`, `ipv4ll` and `rtadv` out of a driver's options: they are the stack's business, not the
/// driver's.
pub(crate) fn interface(driver: String, options: &str) -> Result<Interface, StartError> {
    let mut address = Vec::new();
    let mut others = Vec::new();
    let (mut accept_rtadv, mut dhcp, mut ipv4ll, mut rtadv) = (false, false, false, false);
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "accept_rtadv" => accept_rtadv = true,
            "dhcp" => dhcp = true,
            "ipv4ll" => ipv4ll = true,
            "rtadv" => rtadv = true,
            _ => {}
        }
        if ["accept_rtadv", "dhcp", "ipv4ll", "rtadv"].contains(&option) {
            continue;
        }
        match option.strip_prefix("address=") {
            Some(text) => address.push(
                text.parse()
                    .map_err(|what: String| StartError::Usage(format!("-d {driver}: {what}")))?,
            ),
            None => others.push(option),
        }
    }
    Ok(Interface { driver, options: others.join(","), address, accept_rtadv, dhcp, ipv4ll, rtadv })
}

/// An address with its prefix length, as text `198.18.77.2/24` or `2001:db8::2/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct AddressLen {
    /// Address.
    pub address: IpAddr,
    /// Prefix length, 1 to 32 or 128.
    pub prefix_len: u8,
}

impl core::str::FromStr for AddressLen {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is not an address: write 198.18.77.2/24 or 2001:db8::2/64");
        let (address, len) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix_len: u8 = len.parse().map_err(|_| wrong())?;
        if !(1..=bits_of(address)).contains(&prefix_len)
            || address.is_unspecified()
            || address.is_multicast()
        {
            return Err(wrong());
        }
        if is_no_stations(address, prefix_len) {
            return Err(format!(
                "'{text}' is no address of a station: not the network's own, nor its broadcast address, \
                 nor one of 127.0.0.0/8"
            ));
        }
        Ok(Self { address, prefix_len })
    }
}

/// An IPv4 address that means a network, everybody on it, or this host alone.
fn is_no_stations(address: IpAddr, len: u8) -> bool {
    let IpAddr::V4(address) = address else { return false };
    let network = fib::Ipv4Net::containing(address, len).is_ok_and(|net| net.addr() == address);
    let broadcast = inet::network::Address { address, prefix_len: len }.broadcast();
    address.is_loopback() || (network && len < 31) || broadcast == Some(address)
}

/// How long an address is.
const fn bits_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl TryFrom<String> for AddressLen {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// An interface's `address`: a list, or one address alone.
pub(super) fn addresses<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Vec<AddressLen>, D::Error> {
    struct Addresses;
    impl<'de> serde::de::Visitor<'de> for Addresses {
        type Value = Vec<AddressLen>;
        fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.write_str("a list of addresses: [\"198.18.77.2/24\"]")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            text.parse().map(|address| vec![address]).map_err(E::custom)
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(
            self,
            mut list: A,
        ) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(address) = list.next_element()? {
                all.push(address);
            }
            Ok(all)
        }
    }
    from.deserialize_any(Addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use core::net::Ipv4Addr;

    #[test]
    fn an_address_may_stand_alone_and_anything_else_is_told_how() {
        let read = |address: &str| {
            let text = format!("[[interface]]\ndriver = \"x\"\naddress = {address}\n");
            toml::from_str::<Config>(&text).map_err(|error| error.to_string())
        };
        assert_eq!(read("\"10.0.0.1/8\"").unwrap().interfaces[0].address[0].prefix_len, 8);
        for wrong in ["7", "{ a = 1 }"] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("line 3"), "{error}");
            assert!(error.contains("a list of addresses: [\"198.18.77.2/24\"]"), "{error}");
        }
    }

    #[test]
    fn the_address_option_is_not_the_drivers() {
        let got = interface(
            "net_tap".into(),
            "iface=x,address=10.0.0.1/8,accept_rtadv,dhcp,ipv4ll,rtadv,mac=020000000001",
        )
        .unwrap();
        assert!(got.accept_rtadv && got.dhcp && got.ipv4ll && got.rtadv);
        assert_eq!(got.options, "iface=x,mac=020000000001");
        assert_eq!(got.address[0].address, Ipv4Addr::new(10, 0, 0, 1));
    }

    #[test]
    fn an_address_is_of_one_station() {
        for wrong in ["10.0.0.0/24", "10.0.0.255/24", "127.0.0.2/8"] {
            let error = wrong.parse::<AddressLen>().unwrap_err();
            assert!(error.contains("no address of a station"), "{error}");
        }
        for right in ["10.0.0.0/31", "10.0.0.255/32", "10.0.0.255/16", "2001:db8::/64"] {
            let _address = right.parse::<AddressLen>().unwrap();
        }
    }
}
