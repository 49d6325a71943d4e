//! `[bridge.NAME]`.

use serde::Deserialize;
use types::MacAddr;

use super::interface::{AddressLen, addresses};

/// One `[bridge.NAME]`, with brconfig's words. It is up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bridge {
    /// Its ports.
    #[serde(default)]
    pub add: Vec<String>,
    /// Interfaces that get a copy of all frames.
    #[serde(default)]
    pub span: Vec<String>,
    /// Most stations.
    pub maxaddr: Option<u32>,
    /// Most stations at one port; 0: no such limit.
    pub ifmaxaddr: Option<u32>,
    /// Seconds for which a silent station is known; 0: for ever.
    pub timeout: Option<u32>,
    /// Frames for all ports that one port may bring a second.
    pub flood: Option<u32>,
    /// Packets to groups of IP go to those who listen.
    #[serde(default)]
    pub snoop: bool,
    /// Ports that are of the spanning tree.
    #[serde(default)]
    pub stp: Vec<String>,
    /// `rstp` or `stp`.
    #[serde(default)]
    pub proto: Proto,
    /// Its priority in the spanning tree.
    pub priority: Option<u32>,
    /// Seconds for which what other bridges say counts.
    pub maxage: Option<u32>,
    /// Seconds for which a port waits before it learns, and before it forwards.
    pub fwddelay: Option<u32>,
    /// Seconds from one message to other bridges to the next.
    pub hellotime: Option<u32>,
    /// Stations that stay at a port, as [address, interface].
    #[serde(default, rename = "static")]
    pub statics: Vec<(MacAddr, String)>,
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

/// Which spanning tree protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Proto {
    /// 802.1w, and the older one with bridges that know no other.
    #[default]
    Rstp,
    /// The older one alone.
    Stp,
}

impl Bridge {
    /// As tools ask for it.
    pub(crate) fn verbs(&self) -> Vec<proto::BridgeVerb> {
        use proto::BridgeVerb as Verb;
        let spans = self.span.iter().map(|i| Verb::Span { interface: i.clone(), on: true });
        let statics = self.statics.iter().map(|(address, interface)| Verb::Static {
            interface: interface.clone(),
            address: *address,
        });
        let numbers = [
            self.maxaddr.map(Verb::MaxAddresses),
            self.ifmaxaddr.map(Verb::PortAddresses),
            self.timeout.map(Verb::Timeout),
            self.flood.map(Verb::Flood),
            self.priority.map(Verb::Priority),
            self.maxage.map(Verb::MaxAge),
            self.fwddelay.map(Verb::ForwardDelay),
            self.hellotime.map(Verb::HelloTime),
            (self.proto == Proto::Stp).then_some(Verb::Rapid(false)),
            self.snoop.then_some(Verb::Snoop(true)),
        ];
        let members = self.add.iter().cloned().map(Verb::Add);
        let trees = self.stp.iter().map(|i| Verb::Stp { interface: i.clone(), on: true });
        let ports = members.chain(spans).chain(statics).chain(numbers.into_iter().flatten());
        ports.chain(trees).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use proto::BridgeVerb as Verb;

    #[test]
    fn a_bridge_has_brconfigs_words() {
        let text = "[bridge.bridge0]\nadd = [\"tap0\", \"tap1\"]\nmaxaddr = 1000\ntimeout = 0\n\
                    static = [[\"02:00:00:00:00:09\", \"tap0\"]]\naddress = \"198.18.77.2/24\"\n";
        let config: Config = toml::from_str(text).unwrap();
        let verbs = config.bridges["bridge0"].verbs();
        assert_eq!(verbs[..2], [Verb::Add("tap0".into()), Verb::Add("tap1".into())]);
        assert_eq!(verbs[3..], [Verb::MaxAddresses(1000), Verb::Timeout(0)]);
    }
}
