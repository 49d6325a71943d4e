//! `[lagg.NAME]`: several links that are used as one.

use serde::Deserialize;

use super::interface::{AddressLen, addresses};

/// One `[lagg.NAME]`, with ifconfig's words. It is up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lagg {
    /// `lacp`, `loadbalance` or `failover`.
    #[serde(default)]
    pub laggproto: proto::LaggProtocol,
    /// Its ports.
    pub laggport: Vec<String>,
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

impl Lagg {
    /// As tools ask for it.
    pub(crate) fn verbs(&self) -> Vec<proto::LaggVerb> {
        let ports = self.laggport.iter().cloned().map(proto::LaggVerb::Add);
        [proto::LaggVerb::Protocol(self.laggproto)].into_iter().chain(ports).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use proto::{LaggProtocol, LaggVerb};

    #[test]
    fn an_aggregated_link_has_ifconfigs_words() {
        let text = "[lagg.lagg0]\nlaggproto = \"failover\"\nlaggport = [\"tap0\", \"tap1\"]\n\
                    address = \"198.18.77.2/24\"\n[lagg.lagg1]\nlaggport = []\n";
        let config: Config = toml::from_str(text).unwrap();
        let verbs = config.laggs["lagg0"].verbs();
        assert_eq!(verbs[0], LaggVerb::Protocol(LaggProtocol::Failover));
        assert_eq!(verbs[1..], ["tap0", "tap1"].map(|port| LaggVerb::Add(port.into())));
        assert_eq!(config.laggs["lagg1"].laggproto, LaggProtocol::Lacp);
        assert!(
            toml::from_str::<Config>("[lagg.lagg0]\nlaggproto = \"x\"\nlaggport = []\n").is_err()
        );
    }
}
