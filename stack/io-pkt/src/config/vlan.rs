//! `[vlan.NAME]`: interfaces made of a VLAN over another one.

use serde::Deserialize;

use super::interface::{AddressLen, addresses};

/// One `[vlan.NAME]`, with ifconfig's words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vlan {
    /// The VLAN, 1 to 4094.
    pub vlan: u16,
    /// The interface that it is over.
    pub vlanif: String,
    /// How urgent frames are, 0 to 7.
    #[serde(default)]
    pub vlanpcp: u8,
    /// `802.1q` or `802.1ad`.
    #[serde(default)]
    pub vlanproto: Proto,
    /// Addresses, primary first; a single one needs no list.
    #[serde(default, deserialize_with = "addresses")]
    pub address: Vec<AddressLen>,
    /// IPv6 routers on the link are believed.
    #[serde(default)]
    pub accept_rtadv: bool,
    /// A DHCP server is asked for an IPv4 address.
    #[serde(default)]
    pub dhcp: bool,
}

/// Whose tag it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Proto {
    /// A customer's.
    #[default]
    #[serde(rename = "802.1q")]
    Customer,
    /// A provider's.
    #[serde(rename = "802.1ad")]
    Service,
}

impl Vlan {
    /// As tools ask for it.
    pub(crate) fn asked(&self) -> proto::Vlan {
        proto::Vlan {
            parent: self.vlanif.clone(),
            id: self.vlan,
            priority: self.vlanpcp,
            service: self.vlanproto == Proto::Service,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_vlan_has_ifconfigs_words() {
        let text = "[vlan.vlan0]\nvlan = 5\nvlanif = \"tap0\"\naddress = \"198.18.5.2/24\"\n\
                    [vlan.vlan1]\nvlan = 7\nvlanif = \"vlan0\"\nvlanpcp = 3\nvlanproto = \"802.1ad\"\n";
        let config: Config = toml::from_str(text).unwrap();
        let asked: Vec<_> = config.vlans.iter().map(|(name, v)| (&**name, v.asked())).collect();
        assert_eq!(asked[0].1.parent, "tap0");
        assert_eq!((asked[1].0, asked[1].1.priority, asked[1].1.service), ("vlan1", 3, true));
        assert_eq!(config.vlans["vlan0"].address[0].prefix_len, 24);
        assert!(toml::from_str::<Config>("[vlan.vlan0]\nvlanif = \"tap0\"\n").is_err());
    }
}
