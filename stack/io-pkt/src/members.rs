//! Which sockets listen to which groups, and what links are told of it: [`mcast`] with time, randomness
//! and messages.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hashbrown::HashSet;
use inet::command::{Command, Transport};
use inet::network::LOOPBACK;
use inet::{Casting, Device, Multicast};
use mcast::{Filter, Host, Mode, Query, Record, Report};
use proto::Reply;
use proto::table::GroupRow;
use rustix::io::Errno;
use types::{Instant, MacAddr};
use wire::mld::RecordType;
use wire::{Checksum, icmp6, igmp, ipv4, ipv6, mld};
use zerocopy::IntoBytes as _;

use crate::control::{ConnectionId, Control, SocketKey};
use crate::options::multicast::{By, Change, Verb, change_group, value};
use crate::pending::{Pending, Then};

/// The groups of all sockets, and each link's listener.
#[derive(Debug, Default)]
pub(crate) struct Members {
    sockets: HashMap<SocketKey, Multicast>,
    /// By interface, and whether it is for IPv6.
    hosts: HashMap<(u16, bool), Host>,
    published: Arc<HashSet<(u16, IpAddr)>>,
    /// Something has changed.
    stale: bool,
}

impl Members {
    /// A socket is gone.
    pub(crate) fn forget(&mut self, key: SocketKey) {
        self.stale |= self.sockets.remove(&key).is_some_and(|m| !m.memberships.is_empty());
    }

    /// An interface's addresses are others, or it is gone.
    pub(crate) fn network_changed(&mut self) {
        self.stale = true;
    }

    /// A link is sent by in another way: who passes its groups on may be another.
    pub(crate) fn tell_again(&mut self, interface: u16) {
        let hosts = self.hosts.iter_mut().filter(|((at, _), _)| *at == interface);
        hosts.for_each(|(_, host)| host.tell_again());
    }

    /// When a link has something to be told.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let hosts = self.hosts.values().filter_map(Host::next_timeout).min();
        if self.stale { Some(Instant::ZERO) } else { hosts }
    }

    /// From whom groups are wanted, by interface.
    fn wanted(&self) -> BTreeMap<(u16, IpAddr), Vec<&Filter>> {
        let mut wanted: BTreeMap<_, Vec<&Filter>> = BTreeMap::new();
        for membership in self.sockets.values().flat_map(|socket| &socket.memberships) {
            let at = (membership.interface, membership.group);
            wanted.entry(at).or_default().push(&membership.filter);
        }
        wanted
    }

    fn rows(&self, name: impl Fn(u16) -> String) -> Vec<GroupRow> {
        let wanted = self.wanted();
        let row = |interface: u16, group: IpAddr, filter: &Filter| GroupRow {
            interface: name(interface),
            group,
            mode: if filter.mode == Mode::Include { "include" } else { "exclude" }.into(),
            sources: filter.sources.clone(),
            sockets: wanted
                .get(&(interface, group))
                .map_or(0, |all| u32::try_from(all.len()).unwrap_or(u32::MAX)),
        };
        let all = self.hosts.iter().flat_map(|((interface, _), host)| {
            host.groups().map(|(group, filter)| row(*interface, group, filter))
        });
        let mut rows: Vec<GroupRow> = all.collect();
        rows.sort_by(|a, b| (&a.interface, a.group).cmp(&(&b.interface, b.group)));
        rows
    }
}

impl Control {
    /// An option about groups.
    ///
    /// # Errors
    /// Linux's.
    pub(crate) fn set_multicast(
        &mut self,
        (id, sequence): (ConnectionId, u32),
        key: SocketKey,
        change: Change,
    ) -> Result<Option<Reply>, Errno> {
        let entry = self.sockets.get(&key).ok_or(Errno::BADF)?;
        let (worker, socket) = (entry.handle.worker, entry.id);
        let (inet6, stream) = (entry.values.inet6, entry.transport == Transport::Stream);
        let bound = entry.values.device != Device::ANY;
        let mut groups = self.members.sockets.get(&key).cloned().unwrap_or_default();
        let before = groups.memberships.clone();
        match change {
            Change::Interface { v6, by, source } => {
                if stream {
                    return Err(Errno::INVAL);
                }
                let named = self.interface_by(by, v6)?;
                let casting = casting_mut(&mut groups, v6);
                (casting.interface, casting.source) = (named, source);
            }
            Change::Unicast { v6, by } => {
                // As Linux: a stream has it and makes no use of it.
                let named = self.interface_by(by, false)?;
                if named.is_some() && bound {
                    return Err(Errno::INVAL);
                }
                let device = named.map_or(Device::ANY, Device::of);
                casting_mut(&mut groups, v6).unicast = device;
                if self.network.use_device(device) {
                    self.publish_to_workers();
                }
            }
            Change::Hops { .. } if stream => return Err(Errno::INVAL),
            Change::Hops { v6, hops } => casting_mut(&mut groups, v6).hops = hops,
            Change::Loop { v6, on } => casting_mut(&mut groups, v6).looped = on,
            Change::All { v6, on } => casting_mut(&mut groups, v6).all = on,
            Change::Group { .. } if stream => return Err(Errno::PROTO),
            Change::Group { group, .. } if group.is_ipv6() && !inet6 => {
                return Err(Errno::NOPROTOOPT);
            }
            Change::Group { group, by, verb } => {
                let interface = self.group_interface(&groups, group, by, verb)?;
                change_group(&mut groups.memberships, (group, interface), verb)?;
            }
        }
        self.members.stale |= before != groups.memberships;
        let settings = Box::new(groups.clone());
        let _ = self.members.sockets.insert(key, groups);
        if stream {
            return Ok(Some(Reply::Done));
        }
        // First the group, then the answer: what the program sends at once is heard.
        self.attend_members();
        let pending = Pending { connection: Some(id), sequence, then: Then::Answer };
        self.call(worker, pending, |call| Command::Multicast { call, socket, settings });
        Ok(None)
    }

    /// The interface that a datagram socket's packets to a host leave by, if it has chosen one.
    pub(crate) fn device_towards(&self, key: SocketKey, bound: Device, to: IpAddr) -> Device {
        let chosen = |groups: &Multicast| groups.casting(to.is_ipv6()).unicast;
        let chosen = self.members.sockets.get(&key).filter(|_| !to.is_multicast()).map(chosen);
        bound.or(chosen.unwrap_or_default())
    }

    /// The value of an option about groups, if it is one.
    pub(crate) fn multicast_value(&self, key: SocketKey, level: i32, name: i32) -> Option<Vec<u8>> {
        let default = Multicast::default();
        let groups = self.members.sockets.get(&key).unwrap_or(&default);
        let address = groups.v4.interface.and_then(|index| self.network.first_address_of(index));
        value(level, name, groups, address.unwrap_or(Ipv4Addr::UNSPECIFIED))
    }

    /// The groups of all links.
    pub(crate) fn group_rows(&self) -> Vec<GroupRow> {
        self.members.rows(|interface| self.network.name(interface).into())
    }

    fn interface_by(&self, by: By, v6: bool) -> Result<Option<u16>, Errno> {
        match by {
            By::Routes => Ok(None),
            By::Index(index) => {
                // Programs count interfaces from 1.
                let index = u16::try_from(index).ok().and_then(|index| index.checked_sub(1));
                let index = index.filter(|index| self.network.exists(*index));
                let missing = if v6 { Errno::NODEV } else { Errno::ADDRNOTAVAIL };
                index.map(Some).ok_or(missing)
            }
            By::Address(address) => {
                self.network.interface_of(address).map(Some).ok_or(Errno::ADDRNOTAVAIL)
            }
        }
    }

    /// Whoever leaves a group without naming an interface means the one where he is in it.
    fn group_interface(
        &self,
        groups: &Multicast,
        group: IpAddr,
        by: By,
        verb: Verb,
    ) -> Result<u16, Errno> {
        let joined = groups.memberships.iter().find(|m| m.group == group);
        let missing = if verb == Verb::Leave { Errno::ADDRNOTAVAIL } else { Errno::NODEV };
        match by {
            By::Routes => match joined {
                Some(joined) if !matches!(verb, Verb::Join) => Ok(joined.interface),
                _ => self.network.group_link(group).ok_or(missing),
            },
            named => self.interface_by(named, true).map_err(|_| missing)?.ok_or(missing),
        }
    }

    /// How long until a link has to be told something of groups.
    pub(crate) fn until_members(&self) -> Option<Duration> {
        self.members.next_timeout().map(|due| due.since(self.now()))
    }

    /// Tells workers and links of groups, if anything has changed or is due.
    pub(crate) fn attend_members(&mut self) {
        if core::mem::take(&mut self.members.stale) {
            self.take_up_members();
        }
        let now = self.now();
        // Without randomness the daemon does not start.
        let mut random = || getrandom::u64().unwrap_or(0);
        let mut reports = Vec::new();
        for (at, host) in &mut self.members.hosts {
            host.timeout(now, &mut random);
            reports
                .extend(core::iter::from_fn(|| host.poll_transmit()).map(|report| (*at, report)));
        }
        for ((interface, v6), report) in reports {
            let sent = if v6 {
                let source = self.network.link_local_of(interface);
                mld_packet(source.unwrap_or(Ipv6Addr::UNSPECIFIED), &report)
            } else {
                let source = self.network.first_address_of(interface);
                igmp_packet(source.unwrap_or(Ipv4Addr::UNSPECIFIED), &report)
            };
            if let Some((station, packet)) = sent {
                let station = Some(station);
                self.command(0, Command::Packet { interface, station, packet });
            }
        }
    }

    /// Makes what sockets want what links listen to.
    fn take_up_members(&mut self) {
        let merged = self.members.wanted().into_iter();
        let merged = merged.map(|(at, filters)| (at, Filter::merge(&filters.into_iter())));
        let mut merged: BTreeMap<(u16, IpAddr), Filter> = merged.collect();
        merged.retain(|(interface, _), _| self.network.exists(*interface));
        let groups: HashSet<_> = merged.keys().copied().collect();
        for at in self.network.solicited_groups() {
            let _ = merged.insert(at, Filter::any());
        }
        let Members { hosts, .. } = &mut self.members;
        hosts.retain(|(interface, _), _| self.network.exists(*interface));
        for ((interface, v6), host) in hosts.iter_mut() {
            let gone: Vec<IpAddr> = host.groups().map(|(group, _)| group).collect();
            let gone = gone.into_iter().filter(|g| !merged.contains_key(&(*interface, *g)));
            debug_assert!(*v6 || host.groups().all(|(group, _)| group.is_ipv4()));
            gone.for_each(|group| host.set(group, Filter::nothing()));
        }
        for ((interface, group), filter) in merged {
            self.network.hear_groups(interface);
            // Nothing of this host's own groups leaves it.
            if interface != LOOPBACK {
                let host = hosts.entry((interface, group.is_ipv6())).or_default();
                host.set(group, filter);
            }
        }
        if *self.members.published != groups {
            self.members.published = Arc::new(groups);
            self.network.groups = Arc::clone(&self.members.published);
            self.publish();
        }
    }

    /// A router asks who listens.
    pub(crate) fn asked(&mut self, interface: u16, v6: bool, query: &Query) {
        let now = self.now();
        if let Some(host) = self.members.hosts.get_mut(&(interface, v6)) {
            host.query(query, now, getrandom::u64().unwrap_or(0));
        }
    }
}

fn casting_mut(groups: &mut Multicast, v6: bool) -> &mut Casting {
    if v6 { &mut groups.v6 } else { &mut groups.v4 }
}

/// A report of IPv4, with the station it goes to.
fn igmp_packet(source: Ipv4Addr, report: &Report) -> Option<(MacAddr, Box<[u8]>)> {
    let v4 = |address: &IpAddr| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    };
    let (to, header, body) = match report {
        Report::Records(records) => {
            let mut body = Vec::new();
            for record in records {
                let (kind, count) = said(record)?;
                body.extend(igmp::Record::new(kind, v4(&record.group)?, count).as_bytes());
                body.extend(record.sources.iter().filter_map(v4).flat_map(|a| a.octets()));
            }
            let count = u16::try_from(records.len()).ok()?;
            (igmp::REPORT_GROUP, igmp::Header::report(count), body)
        }
        Report::Listening(group) => {
            let group = v4(group)?;
            (group, igmp::Header::listening(group), Vec::new())
        }
        Report::Left(group) => (igmp::ALL_ROUTERS, igmp::Header::left(v4(group)?), Vec::new()),
    };
    let header = header.with_checksum(&body);
    let message = [header.as_bytes(), &body].concat();
    let packet = ipv4::Header::new(source, to, ipv4::Protocol::IGMP, 0)?.with_ttl(1);
    let packet = packet.of_fragment(0, false, igmp::ROUTER_ALERT.len(), message.len())?;
    let sum = Checksum::new().sum(packet.as_bytes()).sum(&igmp::ROUTER_ALERT).finish();
    let packet = packet.with_this_checksum(sum);
    let whole = [packet.as_bytes(), &igmp::ROUTER_ALERT, &message].concat();
    Some((ipv4::multicast_mac(to), whole.into()))
}

/// A report of IPv6, with the station it goes to.
fn mld_packet(source: Ipv6Addr, report: &Report) -> Option<(MacAddr, Box<[u8]>)> {
    let v6 = |address: &IpAddr| match address {
        IpAddr::V6(address) => Some(*address),
        IpAddr::V4(_) => None,
    };
    let older = |kind, group: Ipv6Addr| {
        (icmp6::Header::new(kind, icmp6::Code::ZERO, 0), group.octets().to_vec())
    };
    let (to, (header, body)) = match report {
        Report::Records(records) => {
            let mut body = Vec::new();
            for record in records {
                let (kind, count) = said(record)?;
                body.extend(mld::Record::new(kind, v6(&record.group)?, count).as_bytes());
                body.extend(record.sources.iter().filter_map(v6).flat_map(|a| a.octets()));
            }
            (mld::REPORT_GROUP, (mld::report(u16::try_from(records.len()).ok()?), body))
        }
        Report::Listening(group) => {
            let group = v6(group)?;
            (group, older(icmp6::Type::MLD_REPORT, group))
        }
        Report::Left(group) => (ipv6::ALL_ROUTERS, older(icmp6::Type::MLD_DONE, v6(group)?)),
    };
    let header = header.with_checksum(source, to, &body);
    let len = mld::ROUTER_ALERT.len().checked_add(icmp6::Header::LEN)?.checked_add(body.len())?;
    let packet = ipv6::Header::new(source, to, ipv4::Protocol::HOP_BY_HOP, len)?;
    let packet = packet.with_hop_limit(1);
    let whole = [packet.as_bytes(), &mld::ROUTER_ALERT, header.as_bytes(), &body].concat();
    Some((ipv6::multicast_mac(to), whole.into()))
}

/// A record's kind as the formats have it, and how many sources it has.
fn said(record: &Record) -> Option<(RecordType, u16)> {
    use mcast::RecordKind as Kind;
    let kind = match record.kind {
        Kind::IsInclude => RecordType::ModeIsInclude,
        Kind::IsExclude => RecordType::ModeIsExclude,
        Kind::ToInclude => RecordType::ChangeToInclude,
        Kind::ToExclude => RecordType::ChangeToExclude,
        Kind::Allow => RecordType::AllowNewSources,
        Kind::Block => RecordType::BlockOldSources,
    };
    u16::try_from(record.sources.len()).ok().map(|count| (kind, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_as_routers_want_them() {
        let group = IpAddr::from([239, 1, 2, 3]);
        let record =
            Record { kind: mcast::RecordKind::Allow, group, sources: vec![[10, 0, 0, 1].into()] };
        let report = Report::Records(vec![record]);
        let (_, bytes) = igmp_packet([10, 0, 0, 2].into(), &report).unwrap();
        let packet = ipv4::Packet::parse(&bytes).unwrap();
        packet.verify().unwrap();
        assert_eq!((packet.header.ttl, packet.header.header_len()), (1, 24));
        assert!(Checksum::new().sum(packet.payload).is_valid());
        assert_eq!(packet.payload[..2], [0x22, 0]);
        assert_eq!(packet.payload[8..], [5, 0, 0, 1, 239, 1, 2, 3, 10, 0, 0, 1]);
        let (_, bytes) = igmp_packet([10, 0, 0, 2].into(), &Report::Left(group)).unwrap();
        assert_eq!(ipv4::Packet::parse(&bytes).unwrap().header.dst(), igmp::ALL_ROUTERS);

        let group: IpAddr = "ff05::5".parse().unwrap();
        let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
        let (_, bytes) = mld_packet(source, &Report::Listening(group)).unwrap();
        let packet = ipv6::Packet::parse(&bytes).unwrap();
        let chain = packet.chain().unwrap();
        assert!(chain.router_alert && packet.header.hop_limit == 1);
        let message = icmp6::Message::parse(chain.payload).unwrap();
        message.verify(source, packet.header.dst()).unwrap();
    }
}
