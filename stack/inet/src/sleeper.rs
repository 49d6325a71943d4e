//! A connection on which nothing goes on: what a million of them cost.
//!
//! ```text
//!            event, call, timer                      the oldest of those awake, once at rest
//!   asleep ─────────────────────▶ awake (a socket) ──────────────────────────────────▶ asleep
//! ```
//! Few sockets are awake at any moment. They are in boxes that serve one connection after the other,
//! so what a request changes beside the record here is in the cache already.

use core::net::SocketAddr;
use std::sync::Arc;

use shm::{CellId, Resting, SocketEnd, StreamProducer};
use types::Instant;

use crate::client::Clients;
use crate::command::{MtuDiscover, SocketSummary, Transport};
use crate::device::Device;
use crate::flow::Flow;
use crate::option::Options;
use crate::send_queue::SendQueue;
use crate::socket::{Kind, Signal, Socket, SocketId, Stream};
use crate::timer_wheel::{Endpoint, Owner, Timer, Timers};

/// What has to be known of a connection at rest.
#[derive(Debug)]
pub(crate) struct Sleeper {
    /// Both ends.
    pub flow: Flow,
    client: u16,
    deaf: bool,
    /// The cell's index and generation.
    cell: (u16, u16),
    tcb: tcp::Nap,
    recv: Resting,
    /// Bytes that were sent and acknowledged.
    released: u64,
    descriptor: Option<Arc<SocketEnd>>,
    /// On the wheel with keepalive only.
    timer: Timer,
    // The options, one by one: together they would be aligned.
    receive_buffer: u32,
    send_buffer: u32,
    receive_fixed: bool,
    send_fixed: bool,
    linger_zero: bool,
    tos: u8,
    ttl: u8,
}

impl Sleeper {
    /// Takes what there is to know out of a socket, if that is a connection on which nothing goes on.
    pub(crate) fn of(
        socket: &mut Socket,
        id: SocketId,
        clients: &mut Clients,
        timers: &mut Timers,
    ) -> Option<Self> {
        let Socket { client: Some(client), cell, error: None, options, .. } = *socket else {
            return None;
        };
        let Kind::Stream(stream) = &mut socket.kind else { return None };
        // What is bound to an interface, or has another table of routes, is remembered nowhere here.
        let is_bound = options.device != Device::ANY;
        if is_bound || !socket.signal.is_empty() || stream.is_busy() {
            return None;
        }
        if stream.recv.unread() > 0 {
            // The client will say when there is room, and the peer is told of it then.
            if stream.recv.awaits_notice() {
                return None;
            }
            // Nobody says when the client has read.
            let lane = &mut clients.owner_mut(Some(client))?.lane;
            let _ = stream.recv.refresh(lane).ok()?;
        }
        let recv = stream.recv.rest()?;
        let index = u16::try_from(cell.index).ok()?;
        let tcb = stream.tcb.nap()?;
        timers.cancel(&mut stream.timer);
        let mut timer = Timer::default();
        timers.arm(tcb.next_timeout(), Owner::Endpoint(Endpoint::Connection(id.index)), &mut timer);
        Some(Self {
            flow: stream.flow,
            client,
            deaf: stream.deaf,
            cell: (index, cell.generation),
            tcb,
            recv,
            released: stream.send.released(),
            descriptor: socket.descriptor.take(),
            timer,
            receive_buffer: options.receive_buffer,
            send_buffer: options.send_buffer,
            receive_fixed: options.receive_fixed,
            send_fixed: options.send_fixed,
            linger_zero: options.linger_zero,
            tos: options.tos,
            ttl: options.ttl,
        })
    }

    /// The socket again, in what is left of another.
    pub(crate) fn wake(self, socket: &mut Socket) {
        let cell = self.cell();
        let went_its_own_way = socket.options.device != Device::ANY;
        socket.client = Some(self.client);
        socket.cell = cell;
        socket.descriptor = self.descriptor;
        socket.signal = Signal::default();
        socket.error = None;
        socket.options = Options {
            receive_buffer: self.receive_buffer,
            send_buffer: self.send_buffer,
            receive_fixed: self.receive_fixed,
            send_fixed: self.send_fixed,
            linger_zero: self.linger_zero,
            tos: self.tos,
            ttl: self.ttl,
            // A connection has no use for these.
            broadcast: false,
            v6_only: false,
            mtu_discover: MtuDiscover::default(),
            device: Device::ANY,
        };
        if !matches!(socket.kind, Kind::Stream(_)) {
            socket.kind = Kind::Stream(Stream::blank(self.flow, cell));
        }
        let Kind::Stream(stream) = &mut socket.kind else { return };
        stream.tcb.wake(self.tcb);
        let same_peer = stream.flow.remote_addr == self.flow.remote_addr;
        if !same_peer
            || went_its_own_way
            || self.flow.pair().is_some()
            || stream.flow.pair().is_some()
        {
            stream.hop = None;
        }
        stream.flow = self.flow;
        stream.send = SendQueue::resumed(self.released);
        stream.recv = StreamProducer::resume(cell, self.receive_buffer, self.recv);
        stream.timer = self.timer;
        stream.deaf = self.deaf;
    }

    fn cell(&self) -> CellId {
        let (index, generation) = self.cell;
        CellId { index: index.into(), generation }
    }

    /// Its row of `netstat`.
    pub(crate) fn summary(&self, (local, remote): (SocketAddr, SocketAddr)) -> SocketSummary {
        SocketSummary {
            transport: Transport::Stream,
            client: self.descriptor.as_ref().map(|_| self.client),
            local,
            remote: Some(remote),
            state: tcp::State::Established.name(),
            recv_queue: 0,
            send_queue: 0,
        }
    }

    /// What is written when something happens to it: the client's words of it.
    #[inline]
    pub(crate) fn prefetch_words(&self, clients: &Clients) {
        let Some(client) = clients.owner(Some(self.client)) else { return };
        let cell = self.cell();
        client.prefetch(cell);
        dpdk::prefetch(self.recv.next_shown(cell, &client.lane));
        if let Some((text, blocks)) = self.recv.next_written(&client.lane) {
            dpdk::prefetch(text);
            dpdk::prefetch(blocks);
        }
    }
}

impl Stream {
    /// Something in this breath is still to be done, or its user is gone or has not come yet.
    fn is_busy(&self) -> bool {
        self.ready
            || self.touched
            || self.delivered
            || self.closed
            || self.acked_len > 0
            || self.waiting_at.is_some()
            || self.send.len() > 0
    }

    /// A connection's record before there is anything to record.
    fn blank(flow: Flow, cell: CellId) -> Self {
        let tcb = tcp::Tcb::connect(&tcp::Config::default(), tcp::SeqNum::new(0), Instant::ZERO);
        Self::new(tcb, flow, StreamProducer::new(cell, 0))
    }
}
