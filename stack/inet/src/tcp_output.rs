//! From a connection that is ready to segments on the wire.

use core::net::{Ipv4Addr, Ipv6Addr};

use tcp::Flags;
use types::{DropReason, Instant};

use crate::client::Clients;
use crate::device::Device;
use crate::family::Family;
use crate::flow::Flow;
use crate::flows::Flows;
use crate::limits::{BUFFER_TEXT, SEGMENTS_PER_TURN, TSO_TEXT_MAX};
use crate::network::LOOPBACK;
use crate::option::Options;
use crate::output::{Hop, Output};
use crate::route::NoWay;
use crate::segment_output::Source;
use crate::socket::{Kind, Signal, Socket, SocketId};
use crate::spread;
use crate::tcp_input::Text;
use crate::timer_wheel::{Endpoint, Owner, Timers};
use crate::worker::Worker;

/// Whose segment it is and the way it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a, F = Ipv4Addr> {
    /// Ports of both ends.
    pub(crate) flow: &'a Flow,
    /// Addresses of both ends, this host's first.
    pub(crate) hosts: (F, F),
    /// Where it goes out.
    pub(crate) hop: &'a Hop<F>,
    /// The socket's options.
    pub(crate) options: &'a Options,
}

impl Worker {
    /// Lets each ready connection send for one turn. `true`: something was sent.
    pub(crate) fn transmit_ready(&mut self, now: Instant) -> bool {
        let turns = self.ready.len();
        if turns == 0 {
            return false;
        }
        self.out.ahead.expect(turns);
        for _ in 0..turns {
            let Some(id) = self.ready.pop_front() else { break };
            if self.transmit_stream(id, now)
                && let Some(stream) = self.sockets.stream_mut(id)
            {
                stream.ready = true;
                self.ready.push_back(id);
            }
        }
        self.out.ahead.end();
        true
    }

    /// One connection's turn, for which it is ready no longer. `true`: it has more to send.
    pub(crate) fn transmit_stream(&mut self, id: SocketId, now: Instant) -> bool {
        let Some(socket) = self.sockets.find_mut(id) else { return false };
        let Kind::Stream(stream) = &mut socket.kind else { return false };
        stream.ready = false;
        let (flow, device) = (stream.flow, socket.options.device);
        if flow.pair().is_some() {
            return match self.way6_from(device, &flow) {
                Some((hosts, hop)) => self.transmit_along(id, hosts, &hop, now),
                None => self.discard_output(id, now),
            };
        }
        let hop = match stream.hop {
            Some((hop, generation)) if generation == self.out.generation => hop,
            _ => {
                let Ok(hop) = way4(&self.out, &self.flows, device, &flow) else {
                    // The engine sends into the void and its timers decide when to give up.
                    return self.discard_output(id, now);
                };
                stream.hop = Some((hop, self.out.generation));
                hop
            }
        };
        let Self { clients, out, timers, .. } = self;
        let hosts = (flow.local_addr, flow.remote_addr);
        let turn = socket.turn(id, (hosts, &hop), Means { clients, out, timers }, now);
        self.end_turn(id, turn)
    }

    /// The way of an IPv4 flow to its peer.
    pub(crate) fn route_of(&self, device: Device, flow: &Flow) -> Result<Hop, NoWay> {
        way4(&self.out, &self.flows, device, flow)
    }

    /// [`Worker::way6`] of a socket that may be bound to an interface; such a way is its own.
    #[inline]
    pub(crate) fn way6_from(
        &mut self,
        device: Device,
        flow: &Flow,
    ) -> Option<((Ipv6Addr, Ipv6Addr), Hop<Ipv6Addr>)> {
        if device == Device::ANY {
            return self.way6(flow);
        }
        let pair = *self.flows.pairs.entry(flow)?.pair();
        let zone = Some(pair.zone).filter(|zone| *zone != LOOPBACK);
        let spread = || spread::to_host6(pair.remote);
        let hop = self.out.route6_from(device, pair.remote, zone, spread).ok()?;
        Some(((pair.local, pair.remote), hop))
    }

    /// Addresses of an IPv6 flow and the way to its peer, which is remembered for all flows between
    /// these hosts. `None` without route.
    pub(crate) fn way6(&mut self, flow: &Flow) -> Option<((Ipv6Addr, Ipv6Addr), Hop<Ipv6Addr>)> {
        let entry = self.flows.pairs.entry(flow)?;
        let pair = *entry.pair();
        let hosts = (pair.local, pair.remote);
        if let Some((hop, generation)) = entry.hop
            && generation == self.out.generation
        {
            return Some((hosts, hop));
        }
        let zone = Some(pair.zone).filter(|zone| *zone != LOOPBACK);
        let hop = self.out.route6(pair.remote, zone).ok()?;
        entry.hop = Some((hop, self.out.generation));
        Some((hosts, hop))
    }

    /// A connection's turn along a way to its peer that [`Worker::transmit_stream`] has looked up.
    fn transmit_along<F: Family>(
        &mut self,
        id: SocketId,
        hosts: (F, F),
        hop: &Hop<F>,
        now: Instant,
    ) -> bool {
        let Self { sockets, clients, out, timers, .. } = self;
        let Some(socket) = sockets.find_mut(id) else { return false };
        let turn = socket.turn(id, (hosts, hop), Means { clients, out, timers }, now);
        self.end_turn(id, turn)
    }

    #[inline]
    fn end_turn(&mut self, id: SocketId, turn: Turn) -> bool {
        if turn.makes_room {
            self.unsent_has_left(id);
        }
        turn.more
    }

    /// `TCP_NOTSENT_LOWAT`: what is sent makes room, and not only what is acknowledged.
    fn unsent_has_left(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let Kind::Stream(stream) = &mut socket.kind else { return };
        if let Some(client) = self.clients.owner_mut(socket.client) {
            let limit = stream.tcb.send_limit(socket.options.send_buffer);
            client.lane.set_send_buffer(socket.cell, limit);
        }
        self.raise(id, Signal { writable: true, ..Signal::default() });
    }

    /// No route: segments are made, so that timers run, and dropped.
    fn discard_output(&mut self, id: SocketId, now: Instant) -> bool {
        let Some(socket) = self.sockets.find_mut(id) else { return false };
        let owner = socket.client;
        let Kind::Stream(stream) = &mut socket.kind else { return false };
        let reason = match stream.flow.pair() {
            None => DropReason::Ipv4NoRoute,
            Some(_) => DropReason::Ipv6NoRoute,
        };
        let mut lane = self.clients.owner_mut(owner).map(|c| &mut c.lane);
        loop {
            let text = Text {
                recv: &mut stream.recv,
                lane: lane.as_deref_mut(),
                deaf: stream.deaf,
                lender: None,
            };
            if stream.tcb.poll_transmit(now, &text).is_none() {
                break;
            }
            self.out.count_drop(reason);
        }
        let owner = Owner::Endpoint(Endpoint::Connection(id.index));
        self.timers.arm(stream.tcb.next_timeout(), owner, &mut stream.timer);
        false
    }
}

/// What a connection's turn needs beside the connection.
struct Means<'a> {
    clients: &'a mut Clients,
    out: &'a mut Output,
    timers: &'a mut Timers,
}

/// What became of a connection's turn.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// It has more to send.
    more: bool,
    /// The user has room for more.
    makes_room: bool,
}

impl Socket {
    /// A connection sends what may go, up to a turn's worth.
    #[inline]
    fn turn<F: Family>(
        &mut self,
        id: SocketId,
        (hosts, hop): ((F, F), &Hop<F>),
        Means { clients, out, timers }: Means<'_>,
        now: Instant,
    ) -> Turn {
        let Kind::Stream(stream) = &mut self.kind else { return Turn::default() };
        let flow = stream.flow;
        let way = Way { flow: &flow, hosts, hop, options: &self.options };
        let mut lane = clients.owner_mut(self.client).map(|client| &mut client.lane);
        let (mut sent, mut more) = (0, false);
        loop {
            if sent >= SEGMENTS_PER_TURN || !out.has_room(hop.interface) {
                more = stream.tcb.wants_transmit();
                break;
            }
            let lane_now = lane.as_deref_mut();
            let text =
                Text { recv: &mut stream.recv, lane: lane_now, deaf: stream.deaf, lender: None };
            let newest = stream.tcb.snd_max();
            let burst_len = burst_len(&stream.tcb, hop, sent);
            let burst = stream.tcb.poll_transmit_burst(now, &text, burst_len);
            let Some(segment) = burst else { break };
            sent += segment.cut_count() as usize;
            if segment.text_len > 0 && segment.flags.contains(Flags::SYN) {
                out.counters().tcp.fast_opens_sent.increment();
            }
            if segment.text_len > 0 && segment.seq.before(newest) {
                out.counters().tcp.segments_retransmitted.increment();
            }
            let mut source = Source { queue: &mut stream.send, lane: lane.as_deref() };
            out.segments(&way, &segment, &mut source, now, timers);
            if stream.tcb.rests(now) {
                break;
            }
        }
        let owner = Owner::Endpoint(Endpoint::Connection(id.index));
        timers.arm(stream.tcb.next_timeout(), owner, &mut stream.timer);
        Turn { more, makes_room: sent > 0 && stream.tcb.limits_unsent() }
    }
}

/// How much text one decision of the engine may cover: what the port cuts, or the rest of the turn.
fn burst_len<F>(tcb: &tcp::Tcb, hop: &Hop<F>, sent: usize) -> u32 {
    if hop.tso_buffers_max > 0 {
        return tso_text_max(hop.tso_buffers_max);
    }
    let left = SEGMENTS_PER_TURN.saturating_sub(sent);
    u32::try_from(left).unwrap_or(u32::MAX).saturating_mul(tcb.mss().into()).min(TSO_TEXT_MAX)
}

/// How much text a port cuts that takes so many buffers, one of them for the headers.
fn tso_text_max(buffers_max: u16) -> u32 {
    u32::from(buffers_max.saturating_sub(1)).saturating_mul(BUFFER_TEXT).min(TSO_TEXT_MAX)
}

/// The way of an IPv4 flow to its peer.
fn way4(out: &Output, flows: &Flows, device: Device, flow: &Flow) -> Result<Hop, NoWay> {
    out.route_from(device, flow.remote_addr, || spread::of_socket(&flows.key(flow)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_few_buffers_gets_no_more_text_than_they_hold() {
        for (buffers, text) in [(1, 0), (2, 2048), (17, 32_768), (64, 65_455), (u16::MAX, 65_455)] {
            assert_eq!(tso_text_max(buffers), text, "{buffers}");
        }
    }
}
