//! Frames between the engine and the daemon's interfaces.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use lsm_sdk::{Context, Destination, Interface, Packet};
use qnet::{Address, Discard, ETHERTYPE, Engine, IP_PROTOCOL, Link, LinkId, Transmit};
use types::{Instant, MacAddr};

use crate::Qnet;
use crate::settings::Bind;

/// The link that stands for all of IPv4: no interface has this number.
pub(crate) const IP_LINK: LinkId = LinkId(u16::MAX);
/// Ethernet's header.
const ETHERNET_LEN: usize = 14;
/// IPv4's header.
const IP_LEN: usize = 20;
/// All stations.
const BROADCAST: MacAddr = MacAddr([0xff; 6]);

/// The interfaces that the node is bound to and that have a carrier.
#[derive(Debug, Default)]
pub(crate) struct Links {
    bound: BTreeMap<LinkId, (String, Address)>,
    /// A frame in several pieces, put together.
    whole: Vec<u8>,
}

impl Links {
    /// The number of an interface by name.
    pub(crate) fn number(&self, name: &str) -> Option<LinkId> {
        self.bound.iter().find(|(_, (of, _))| of == name).map(|(id, _)| *id)
    }

    /// Its name by number.
    pub(crate) fn name(&self, id: LinkId) -> Option<&str> {
        self.bound.get(&id).map(|(name, _)| name.as_str())
    }

    /// All, with our address there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Address)> {
        self.bound.values().map(|(name, address)| (name.as_str(), *address))
    }

    /// Binds what is there and lets go of what is not.
    pub(crate) fn update(
        &mut self,
        engine: &mut Engine,
        (bind, interfaces): (&Bind, &[Interface]),
        now: Instant,
    ) {
        let wanted = wanted(bind, interfaces);
        let gone = |id: &LinkId| !wanted.iter().any(|(wanted, _, _)| wanted == id);
        for id in self.bound.keys().copied().filter(gone).collect::<Vec<_>>() {
            let _ = self.bound.remove(&id);
            engine.link_down(id);
        }
        for (id, name, link) in wanted {
            let known = self.bound.get(&id);
            if known.is_none_or(|(_, address)| *address != link.address) {
                engine.link_down(id);
            }
            if engine.link_up(id, link, now) {
                let _ = self.bound.insert(id, (name, link.address));
            }
        }
    }

    /// Gives the engine a packet that has come by an interface, or by IPv4.
    pub(crate) fn input(
        &mut self,
        engine: &mut Engine,
        interface: Option<u32>,
        packet: &Packet,
        now: Instant,
    ) -> Result<(), Discard> {
        let mut bytes = packet.data();
        if bytes.len() != packet.len() {
            self.whole.resize(packet.len(), 0);
            if !packet.copy_to(0, &mut self.whole) {
                return Err(Discard::TooShort);
            }
            bytes = &self.whole;
        }
        let Some(interface) = interface else {
            let (from, payload) = behind_ip(bytes).ok_or(Discard::TooShort)?;
            return engine.input(IP_LINK, Address::Ip(from), payload, now);
        };
        let link = u16::try_from(interface).map(LinkId).map_err(|_| Discard::NotForUs)?;
        let (header, payload) = bytes.split_at_checked(ETHERNET_LEN).ok_or(Discard::TooShort)?;
        let from = header.get(6..12).and_then(|mac| mac.first_chunk::<6>());
        let from = from.copied().ok_or(Discard::TooShort)?;
        engine.input(link, Address::Mac(MacAddr(from)), payload, now)
    }

    /// Sends a frame of the engine's. `false`: it is lost, and comes again if it matters.
    pub(crate) fn output(&self, cx: &mut Context<'_, Qnet>, to: Transmit, frame: &[u8]) -> bool {
        let Some(mut packet) = cx.host().packet() else { return false };
        let (mac, from) = match (to.to, self.bound.get(&to.link)) {
            (Some(Address::Ip(address)), _) => {
                let to = Destination::new(address, IP_PROTOCOL);
                return packet.fill(frame) && cx.send_packet(&to, packet).is_ok();
            }
            (Some(Address::Mac(mac)), Some((_, Address::Mac(from)))) => (mac, from),
            (None, Some((_, Address::Mac(from)))) => (BROADCAST, from),
            _ => return false,
        };
        if !packet.set_len(ETHERNET_LEN + frame.len()) {
            return false;
        }
        let Some((header, rest)) = packet.data_mut().split_at_mut_checked(ETHERNET_LEN) else {
            return false;
        };
        let ethertype = ETHERTYPE.to_be_bytes();
        let fields = mac.0.iter().chain(&from.0).chain(&ethertype);
        let _ = header.iter_mut().zip(fields).map(|(to, from)| *to = *from).count();
        rest.copy_from_slice(frame);
        cx.send_frame(to.link.0.into(), packet).is_ok()
    }
}

/// The links that the interfaces give.
fn wanted(bind: &Bind, interfaces: &[Interface]) -> Vec<(LinkId, String, Link)> {
    let working = || interfaces.iter().filter(|i| i.up && i.running && !i.loopback);
    let len = |mtu: u32| usize::try_from(mtu).unwrap_or(0);
    if *bind == Bind::Ip {
        // One size that fits all: no route is asked for its interface.
        let mtu = working().map(|interface| interface.mtu).min();
        let address = working().find_map(|interface| interface.address);
        let (Some(mtu), Some((address, _))) = (mtu, address) else { return Vec::new() };
        let frame_len_max = len(mtu).saturating_sub(IP_LEN);
        let link = Link { address: Address::Ip(address), frame_len_max };
        return vec![(IP_LINK, "ip".into(), link)];
    }
    let ours = |interface: &&Interface| match bind {
        Bind::Interfaces(names) => names.contains(&interface.name),
        Bind::All | Bind::Ip => true,
    };
    let link = |interface: &Interface| {
        let id = LinkId(u16::try_from(interface.index).ok()?);
        let address = Address::Mac(MacAddr(interface.mac));
        let link = Link { address, frame_len_max: len(interface.mtu) };
        (id != IP_LINK).then(|| (id, interface.name.clone(), link))
    };
    working().filter(ours).filter_map(link).collect()
}

/// The sender and the payload of an IPv4 packet, whose header the stack has checked.
fn behind_ip(packet: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let header_len = usize::from(packet.first()? & 0xf) * 4;
    let from = packet.get(12..16)?.first_chunk::<4>()?;
    Some((Ipv4Addr::from(*from), packet.get(header_len..)?))
}
