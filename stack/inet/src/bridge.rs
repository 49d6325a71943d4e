//! Frames from port to port of a bridge (IEEE 802.1D 7).
//!
//! ```text
//!  burst of a member ──► reserved group? ──► control thread (bridges talk), or dropped
//!                        └► learn source ──► for this host ────────► burst_input(bridge0)
//!                                            known station ─────────► the same buffer by the other port
//!                                            group, or unknown ─────► copies by all others, within a limit;
//!                                            of IP, with snooping ──► by listeners' ports (snoop.rs)
//! ```
//! Each worker has a table of its own ([`bridge::Table`]); what it learns it tells the others.

use std::sync::Arc;

use bridge::{Change, Groups, Refusal, Secret, Table};
use dpdk::{Burst, Mbuf};
use types::{DropReason, Instant, MacAddr};
use wire::bpdu::{self, Bpdu};
use wire::ethernet;
use wire::vlan::TAG_LEN;

use crate::command::{BridgeCommand, CallId, Event, Flush, Handoff, Outcome};
use crate::filter;
use crate::limits::BPDUS_PER_SECOND;
use crate::links::{Bridge, Member, PortState};
use crate::network::Network;
use crate::output::Output;
use crate::rate_limit::RateLimit;
use crate::snoop::Reach;
use crate::worker::Worker;

/// A bridge at one worker.
pub(crate) struct Bridging {
    interface: u16,
    table: Table,
    pub(crate) groups: Groups,
    statics: Box<[(MacAddr, u16)]>,
    ports: Vec<Limits>,
}

/// What a port may bring a second.
struct Limits {
    port: u16,
    /// For all others.
    floods: RateLimit,
    /// Of what bridges tell each other.
    bpdus: RateLimit,
}

impl Bridging {
    fn new(interface: u16, secret: Secret, network: &Network, bridge: &Bridge) -> Self {
        let table = Table::new(secret, bridge.settings);
        let groups = Groups::new(secret);
        let (statics, ports) = (Box::default(), Vec::new());
        let mut new = Self { interface, table, groups, statics, ports };
        new.adopt(network, bridge);
        new
    }

    /// Takes over what the operator has decided.
    fn adopt(&mut self, network: &Network, bridge: &Bridge) {
        self.table.set(bridge.settings);
        let all = bridge.members.iter().copied().chain([self.interface]);
        let own: Vec<MacAddr> = all.filter_map(|i| Some(network.interface(i)?.mac)).collect();
        self.table.set_own(&own);
        if self.statics != bridge.statics {
            self.statics.iter().for_each(|(mac, _)| self.table.forget(*mac));
            bridge.statics.iter().for_each(|(mac, port)| self.table.pin(*mac, *port));
            self.statics.clone_from(&bridge.statics);
        }
        let gone = self.ports.extract_if(.., |there| !bridge.members.contains(&there.port));
        let gone: Vec<u16> = gone.map(|there| there.port).collect();
        if !gone.is_empty() {
            self.forget_ports(&gone);
        }
        if !bridge.snoop {
            self.groups.flush();
        }
        let rate = bridge.floods_per_second;
        for port in bridge.members.iter().copied() {
            match self.limits(port) {
                Some(there) => there.floods.set_rate(rate),
                None => self.ports.push(Limits {
                    port,
                    floods: RateLimit::new(rate),
                    bpdus: RateLimit::new(BPDUS_PER_SECOND),
                }),
            }
        }
    }

    fn limits(&mut self, port: u16) -> Option<&mut Limits> {
        self.ports.iter_mut().find(|there| there.port == port)
    }

    fn forget_ports(&mut self, ports: &[u16]) {
        self.table.flush_ports(ports);
        ports.iter().for_each(|port| self.groups.flush_port(*port));
    }

    fn may_flood(&mut self, port: u16, now: Instant) -> bool {
        self.limits(port).is_some_and(|limits| limits.floods.permit(now))
    }

    fn may_tell(&mut self, port: u16, now: Instant) -> bool {
        self.limits(port).is_some_and(|limits| limits.bpdus.permit(now))
    }
}

/// What a bridge does with a frame.
enum Fate {
    /// It is this host's, at this interface.
    Own(Mbuf, u16),
    /// It is on its way, or kept.
    Gone,
}

/// Where frames have come in, and what is asked of each of them.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) port: u16,
    pub(crate) member: Member,
    /// Addresses of the bridge and of the port.
    own: MacAddr,
    of_port: MacAddr,
    /// Of the bridge.
    stp: bool,
    spans: bool,
    snoops: bool,
}

/// Whom a frame for several is for.
#[derive(Clone, Copy)]
struct Flood {
    bridge: u16,
    from: Option<u16>,
    /// It is for one station, and nobody knows where that is.
    unknown: bool,
    reach: Reach,
}

impl Worker {
    /// A burst from a port of a bridge.
    pub(crate) fn bridge_input(&mut self, burst: &mut Burst, port: u16, now: Instant) {
        let Some(arrival) = self.arrival(port) else {
            return burst.drain().for_each(|_| self.out.count_drop(DropReason::InterfaceDown));
        };
        let bridge = arrival.member.bridge;
        let mut own = core::mem::take(&mut self.own_frames);
        for mbuf in burst.drain() {
            match self.bridge_frame(mbuf, &arrival, now) {
                Ok(Fate::Gone) => {}
                Ok(Fate::Own(mbuf, interface)) if interface == bridge => own.extend([mbuf]),
                Ok(Fate::Own(mbuf, interface)) => self.input(mbuf, interface, now),
                Err(reason) => self.out.count_drop(reason),
            }
        }
        let traffic = self.out.network.links.bridge(bridge).filter(|_| !own.is_empty());
        if let Some(share) = traffic.and_then(|bridge| bridge.traffic.of(self.mesh.me)) {
            own.iter().for_each(|mbuf| share.received(mbuf.packet_len()));
        }
        // At the port filters ask for its own station; here it is the bridge's.
        if self.out.desk.is_some() {
            filter::input(&mut self.out, &mut own, bridge);
        }
        self.burst_input(&mut own, bridge, now);
        self.own_frames = own;
    }

    /// `None`: the bridge, or the port, is down.
    fn arrival(&self, port: u16) -> Option<Arrival> {
        let network = &self.out.network;
        let member = network.links.member(port)?;
        let bridge = network.links.bridge(member.bridge)?;
        let mac = |index| network.interface(index).filter(|i| i.up).map(|i| i.mac);
        let (own, of_port) = (mac(member.bridge)?, mac(port)?);
        let (stp, spans, snoops) = (bridge.stp, !bridge.spans.is_empty(), bridge.snoop);
        Some(Arrival { port, member, own, of_port, stp, spans, snoops })
    }

    /// A frame of a VLAN that is a port of a bridge.
    pub(crate) fn bridge_one(&mut self, mbuf: Mbuf, port: u16, now: Instant) {
        let mut burst = Burst::new();
        burst.extend([mbuf]);
        self.bridge_input(&mut burst, port, now);
    }

    #[inline]
    fn bridge_frame(
        &mut self,
        mut mbuf: Mbuf,
        arrival: &Arrival,
        now: Instant,
    ) -> Result<Fate, DropReason> {
        let Arrival { port, member, .. } = *arrival;
        if !mbuf.linearize() {
            return Err(DropReason::MbufChain);
        }
        let header = ethernet::Frame::parse(mbuf.data())?.header;
        let (to, source) = (header.dst(), header.src());
        if bpdu::is_reserved(to) && (arrival.stp || to != bpdu::BRIDGES) {
            return self.bridges_input(&mbuf, arrival, now);
        }
        if member.state == PortState::Discarding {
            return Err(DropReason::BridgeBlocked);
        }
        if member.learns {
            self.bridge_learn(source, arrival, now)?;
        }
        if member.state == PortState::Learning {
            return Err(DropReason::BridgeBlocked);
        }
        if arrival.spans {
            self.out.span(&mbuf, member.bridge);
        }
        if to == arrival.own {
            return Ok(Fate::Own(mbuf, member.bridge));
        }
        if to == arrival.of_port {
            return Ok(Fate::Own(mbuf, port));
        }
        if to.is_group() {
            return self.bridge_group(mbuf, arrival, now);
        }
        let bridging = self.out.bridging(member.bridge).ok_or(DropReason::InterfaceDown)?;
        let Some(out) = bridging.table.find(to, now) else {
            return self.bridge_unknown(mbuf, to, arrival, now);
        };
        if out == port {
            return Err(DropReason::BridgeSamePort);
        }
        self.counters.bridge.frames_forwarded.increment();
        self.out.transmit_member(mbuf, out);
        Ok(Fate::Gone)
    }

    #[inline]
    fn bridge_learn(
        &mut self,
        source: MacAddr,
        arrival: &Arrival,
        now: Instant,
    ) -> Result<(), DropReason> {
        let (bridge, port) = (arrival.member.bridge, arrival.port);
        let bridging = self.out.bridging(bridge).ok_or(DropReason::InterfaceDown)?;
        match bridging.table.learn(source, port, now) {
            Ok(Change::None) => Ok(()),
            Ok(change) => {
                self.bridge_changed(change, source, arrival, now);
                Ok(())
            }
            Err(Refusal::Static) => Err(DropReason::BridgeStatic),
            Err(Refusal::Moving) => Err(DropReason::BridgeMoving),
            Err(Refusal::Own) => Err(DropReason::BridgeOwn),
        }
    }

    /// A station is new, has moved or was heard again.
    #[cold]
    fn bridge_changed(&mut self, change: Change, mac: MacAddr, arrival: &Arrival, at: Instant) {
        let counters = &self.counters.bridge;
        match change {
            Change::New => counters.stations_learned.increment(),
            Change::Moved => counters.stations_moved.increment(),
            Change::Unlearned => counters.stations_refused.increment(),
            Change::None | Change::Refreshed => {}
        }
        if !change.is_news() {
            return;
        }
        for to in (0..self.mesh.workers()).filter(|to| *to != self.mesh.me) {
            let (bridge, port) = (arrival.member.bridge, arrival.port);
            // A lost note costs a flood until the station is heard there too, or told of again.
            let _ = self.mesh.send(to, Handoff::Station { bridge, mac, port, at });
        }
    }

    /// Another worker has learned where a station is.
    pub(crate) fn station_handoff(&mut self, bridge: u16, mac: MacAddr, port: u16, at: Instant) {
        if let Some(bridging) = self.out.bridging(bridge) {
            bridging.table.hear(mac, port, at);
        }
    }

    /// To a group of the link: bridges talk about the tree, and nothing of these is passed on.
    #[cold]
    fn bridges_input(
        &mut self,
        mbuf: &Mbuf,
        arrival: &Arrival,
        now: Instant,
    ) -> Result<Fate, DropReason> {
        let to = ethernet::Frame::parse(mbuf.data())?.header.dst();
        let Arrival { port, member, .. } = *arrival;
        if to != bpdu::BRIDGES || !member.stp {
            return Err(DropReason::BridgeReserved);
        }
        let _ = Bpdu::parse(mbuf.data())?;
        let bridging = self.out.bridging(member.bridge).ok_or(DropReason::InterfaceDown)?;
        if !bridging.may_tell(port, now) {
            return Err(DropReason::ControlQueueFull);
        }
        self.events.send(Event::HeardFrame { interface: port, frame: mbuf.data().into() });
        Ok(Fate::Gone)
    }

    /// For everybody, or for a group: this host too.
    #[cold]
    fn bridge_group(
        &mut self,
        mbuf: Mbuf,
        arrival: &Arrival,
        now: Instant,
    ) -> Result<Fate, DropReason> {
        let bridging = self.out.bridging(arrival.member.bridge).ok_or(DropReason::InterfaceDown)?;
        if !bridging.may_flood(arrival.port, now) {
            return Err(DropReason::BridgeFlood);
        }
        let reach = if arrival.snoops { self.snoop(&mbuf, arrival, now)? } else { Reach::ALL };
        if let Some(copy) = self.out.copy(&mbuf) {
            let (bridge, from) = (arrival.member.bridge, Some(arrival.port));
            let _others = self.out.flood(copy, Flood { bridge, from, unknown: false, reach });
        }
        Ok(Fate::Own(mbuf, arrival.member.bridge))
    }

    /// For a station that nobody knows.
    #[cold]
    fn bridge_unknown(
        &mut self,
        mbuf: Mbuf,
        to: MacAddr,
        arrival: &Arrival,
        now: Instant,
    ) -> Result<Fate, DropReason> {
        let Arrival { port, member, .. } = *arrival;
        let network = &self.out.network;
        let is_its = |index: &&u16| network.interface(**index).is_some_and(|i| i.mac == to);
        let bridge = network.links.bridge(member.bridge);
        if let Some(index) = bridge.and_then(|bridge| bridge.members.iter().find(is_its)) {
            return Ok(Fate::Own(mbuf, *index));
        }
        let bridging = self.out.bridging(member.bridge).ok_or(DropReason::InterfaceDown)?;
        if !bridging.may_flood(port, now) {
            return Err(DropReason::BridgeFlood);
        }
        let (bridge, from) = (member.bridge, Some(port));
        let to = Flood { bridge, from, unknown: true, reach: Reach::ALL };
        if self.out.flood(mbuf, to) { Ok(Fate::Gone) } else { Err(DropReason::BridgeNowhere) }
    }

    /// What the control plane has to say.
    pub(crate) fn bridge_command(&mut self, command: BridgeCommand, now: Instant) {
        match command {
            BridgeCommand::Frame { interface, frame } => {
                self.out.finished_frame(&frame, interface);
            }
            BridgeCommand::Stations { call, bridge } => self.list_stations(call, bridge, now),
            BridgeCommand::Listening { call, bridge } => self.list_groups(call, bridge, now),
            BridgeCommand::Flush { bridge, what } => self.flush_stations(bridge, what),
        }
    }

    /// Stations of a bridge, for a listing.
    fn list_stations(&mut self, call: CallId, bridge: u16, now: Instant) {
        let bridging = self.out.bridging(bridge);
        let rows = bridging.map(|bridging| bridging.table.rows(now).collect()).unwrap_or_default();
        self.done(call, Ok(Outcome::Stations(rows)));
    }

    /// Forgets stations.
    fn flush_stations(&mut self, bridge: u16, what: Flush) {
        let Some(bridging) = self.out.bridging(bridge) else { return };
        match what {
            Flush::Learned => {
                bridging.table.flush(false);
                bridging.groups.flush();
            }
            Flush::Ports(ports) => {
                bridging.table.flush_ports(&ports);
                // Listeners that a tree has moved are behind other ports now, and have not answered there yet.
                bridging.groups.flush();
            }
            Flush::One(mac) => {
                let is_static = bridging.statics.iter().any(|(there, _)| *there == mac);
                if !is_static {
                    bridging.table.forget(mac);
                }
            }
        }
    }
}

impl Output {
    /// Takes over the bridges of a new snapshot.
    pub(crate) fn adopt_bridges(&mut self) {
        let network = Arc::clone(&self.network);
        self.bridges.retain(|there| network.links.bridge(there.interface).is_some());
        for (interface, bridge) in network.links.bridges() {
            match self.bridging(interface) {
                Some(there) => there.adopt(&network, bridge),
                None => {
                    let secret = self.ids.bridge_secret();
                    self.bridges.push(Bridging::new(interface, secret, &network, bridge));
                }
            }
        }
    }

    /// A bridge at this worker. There are few.
    #[inline]
    pub(crate) fn bridging(&mut self, interface: u16) -> Option<&mut Bridging> {
        self.bridges.iter_mut().find(|there| there.interface == interface)
    }

    /// A frame of this host's own for a bridge.
    pub(crate) fn transmit_bridged(&mut self, mbuf: Mbuf, interface: u16) {
        let Some(bridge) = self.network.links.bridge(interface) else {
            return self.count_drop(DropReason::InterfaceDown);
        };
        if let Some(share) = bridge.traffic.of(self.worker) {
            share.sent(mbuf.packet_len());
        }
        let (spans, snoops) = (!bridge.spans.is_empty(), bridge.snoop);
        let to = mbuf.data().first_chunk().map_or(MacAddr::BROADCAST, |to| MacAddr(*to));
        let now = self.now;
        let known = self.bridging(interface).and_then(|there| there.table.find(to, now));
        if spans {
            self.span(&mbuf, interface);
        }
        if let Some(port) = known {
            return self.transmit_member(mbuf, port);
        }
        let (bridge, from, unknown) = (interface, None, !to.is_group());
        let snoops = snoops && !unknown;
        let reach = if snoops { self.reach(&mbuf, interface) } else { Reach::ALL };
        if !self.flood(mbuf, Flood { bridge, from, unknown, reach }) {
            self.count_drop(DropReason::BridgeNowhere);
        }
    }

    /// By one port of a bridge.
    pub(crate) fn transmit_member(&mut self, mbuf: Mbuf, port: u16) {
        let Some(config) = self.network.interface(port).filter(|config| config.up) else {
            return self.count_drop(DropReason::InterfaceDown);
        };
        let state = self.network.links.member(port).map(|member| member.state);
        if state != Some(PortState::Forwarding) {
            return self.count_drop(DropReason::BridgeBlocked);
        }
        let most = usize::from(config.mtu).saturating_add(ethernet::Header::LEN + TAG_LEN);
        if mbuf.packet_len() as usize > most {
            return self.count_drop(DropReason::BridgeTooBig);
        }
        self.transmit(mbuf, port);
    }

    /// By all ports but the one it came from. `false`: there is none.
    #[cold]
    fn flood(&mut self, mbuf: Mbuf, to: Flood) -> bool {
        let mut next = self.flooded(&to, 0);
        if next.is_none() {
            return false;
        }
        let counters = &self.counters().bridge;
        match to.reach.is_all() {
            true => counters.frames_flooded.increment(),
            false => counters.frames_to_listeners.increment(),
        }
        while let Some((place, port)) = next {
            next = self.flooded(&to, place.saturating_add(1));
            if next.is_none() {
                self.transmit_member(mbuf, port);
                break;
            }
            if let Some(copy) = self.copy(&mbuf) {
                self.transmit_member(copy, port);
            }
        }
        true
    }

    /// The first port from this place on that gets what is for all.
    fn flooded(&self, to: &Flood, place: usize) -> Option<(usize, u16)> {
        let links = &self.network.links;
        let takes = |(place, port): &(usize, u16)| {
            let takes = links.member(*port).is_some_and(|member| {
                member.state == PortState::Forwarding && (member.discovers || !to.unknown)
            });
            let is_up = self.network.interface(*port).is_some_and(|config| config.up);
            Some(*port) != to.from && takes && is_up && to.reach.has(*place)
        };
        let members = links.bridge(to.bridge)?.members.iter().copied();
        members.enumerate().skip(place).find(takes)
    }

    /// A copy for each interface that looks on.
    #[cold]
    fn span(&mut self, mbuf: &Mbuf, bridge: u16) {
        for place in 0.. {
            let bridge = self.network.links.bridge(bridge);
            let Some(port) = bridge.and_then(|bridge| bridge.spans.get(place).copied()) else {
                return;
            };
            let is_up = self.network.interface(port).is_some_and(|config| config.up);
            if is_up && let Some(copy) = self.copy(mbuf) {
                self.transmit(copy, port);
            }
        }
    }

    /// Another buffer with the same bytes, or the drop is counted.
    fn copy(&mut self, mbuf: &Mbuf) -> Option<Mbuf> {
        let mut copy = self.alloc()?;
        if !mbuf.data().len().eq(&(mbuf.packet_len() as usize))
            || !copy.extend_from_slice(mbuf.data())
        {
            self.count_drop(DropReason::MbufExhausted);
            return None;
        }
        Some(copy)
    }

    /// A frame that the control plane has made, by this very port.
    pub(crate) fn finished_frame(&mut self, frame: &[u8], interface: u16) {
        let Some(mut mbuf) = self.alloc() else { return };
        if !mbuf.extend_from_slice(frame) {
            return self.count_drop(DropReason::MbufExhausted);
        }
        self.module_frame(mbuf, interface);
    }
}
