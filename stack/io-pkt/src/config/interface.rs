//! `[[interface]]`, and what is after `-d`.

use core::net::IpAddr;

use dpdk::Unseen;
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
    /// Which packets an application of DPDK may be shown.
    #[serde(default)]
    pub packet_rings: PacketRings,
    /// What becomes of those that none sees.
    #[serde(default)]
    pub packet_rings_unseen: UnseenPackets,
}

/// `packet_rings`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PacketRings {
    /// No packets.
    #[default]
    None,
    /// Those that come in.
    Ingress,
    /// Those that go out.
    Egress,
    /// All.
    Both,
}

/// `packet_rings_unseen`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UnseenPackets {
    /// They go on.
    #[default]
    Pass,
    /// They are dropped.
    Drop,
}

/// What both say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rings {
    /// Packets that come in are shown.
    pub ingress: bool,
    /// Packets that go out are shown.
    pub egress: bool,
    /// What becomes of those that no application sees.
    pub unseen: Unseen,
}

impl Rings {
    /// There are any.
    pub(crate) const fn any(self) -> bool {
        self.ingress || self.egress
    }
}

impl Interface {
    /// The rings that are wanted.
    pub(crate) fn rings(&self) -> Rings {
        let (ingress, egress) = match self.packet_rings {
            PacketRings::None => (false, false),
            PacketRings::Ingress => (true, false),
            PacketRings::Egress => (false, true),
            PacketRings::Both => (true, true),
        };
        let unseen = match self.packet_rings_unseen {
            UnseenPackets::Pass => Unseen::Pass,
            UnseenPackets::Drop => Unseen::Drop,
        };
        Rings { ingress, egress, unseen }
    }

    /// Takes an option of `-d` about packets that are shown. `false`: it is another one.
    fn take_rings(&mut self, option: &str) -> Result<bool, String> {
        match option.split_once('=').unwrap_or((option, "")) {
            ("packet_rings", "ingress") => self.packet_rings = PacketRings::Ingress,
            ("packet_rings", "egress") => self.packet_rings = PacketRings::Egress,
            ("packet_rings", "both") => self.packet_rings = PacketRings::Both,
            ("packet_rings_unseen", "pass") => self.packet_rings_unseen = UnseenPackets::Pass,
            ("packet_rings_unseen", "drop") => self.packet_rings_unseen = UnseenPackets::Drop,
            ("packet_rings", _) => return Err(format!("{option}: write ingress, egress or both")),
            ("packet_rings_unseen", _) => return Err(format!("{option}: write pass or drop")),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Takes `address=`, `accept_rtadv`, `dhcp`, `ipv4ll`, `rtadv`, `packet_rings=` and `packet_rings_unseen=` out of a driver's
/// options: they are the stack's business, not the driver's.
pub(crate) fn interface(driver: String, options: &str) -> Result<Interface, StartError> {
    let mut others = Vec::new();
    let mut it = Interface {
        driver,
        options: String::new(),
        address: Vec::new(),
        accept_rtadv: false,
        dhcp: false,
        ipv4ll: false,
        rtadv: false,
        packet_rings: PacketRings::default(),
        packet_rings_unseen: UnseenPackets::default(),
    };
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let wrong = |driver: &str, what| StartError::Usage(format!("-d {driver}: {what}"));
        match option {
            "accept_rtadv" => it.accept_rtadv = true,
            "dhcp" => it.dhcp = true,
            "ipv4ll" => it.ipv4ll = true,
            "rtadv" => it.rtadv = true,
            _ => match option.strip_prefix("address=") {
                Some(text) => {
                    let address = text.parse().map_err(|what| wrong(&it.driver, what))?;
                    it.address.push(address);
                }
                None if it.take_rings(option).map_err(|what| wrong(&it.driver, what))? => {}
                None => others.push(option),
            },
        }
    }
    it.options = others.join(",");
    Ok(it)
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
            "iface=x,address=10.0.0.1/8,accept_rtadv,dhcp,ipv4ll,rtadv,mac=020000000001,packet_rings=both",
        )
        .unwrap();
        assert!(got.accept_rtadv && got.dhcp && got.ipv4ll && got.rtadv);
        assert_eq!(got.options, "iface=x,mac=020000000001");
        assert_eq!(got.rings(), Rings { ingress: true, egress: true, unseen: Unseen::Pass });
        assert_eq!(got.address[0].address, Ipv4Addr::new(10, 0, 0, 1));
    }

    #[test]
    fn what_is_shown_and_what_becomes_of_the_rest_is_said_in_both_places() {
        let text = "[[interface]]\ndriver = \"x\"\npacket_rings = \"egress\"\npacket_rings_unseen = \"drop\"\n";
        let file = toml::from_str::<Config>(text).unwrap().interfaces[0].rings();
        let line = interface("x".into(), "packet_rings=egress,packet_rings_unseen=drop").unwrap();
        assert_eq!(file, Rings { ingress: false, egress: true, unseen: Unseen::Drop });
        assert_eq!(line.rings(), file);
        assert!(!interface("x".into(), "").unwrap().rings().any());
        let error = interface("x".into(), "packet_rings=all").unwrap_err().to_string();
        assert!(error.contains("write ingress, egress or both"), "{error}");
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
