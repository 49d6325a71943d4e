//! A worker's sockets: generational slots, and what each kind of socket holds.

use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;
use std::sync::Arc;

use rustix::io::Errno;
use shm::{CellId, DatagramProducer, SocketEnd, StreamProducer};
use tcp::Tcb;

use crate::client::Clients;
use crate::command::{ListenerId, Transport};
use crate::error_queue::ErrorQueue;
use crate::flow::Flow;
use crate::groups::Multicast;
use crate::limits::{AWAKE_MAX, DOZE_BUDGET, SOCKETS_MAX};
use crate::module_stream::ModuleStream;
use crate::network::RawKind;
use crate::option::{Options, Preset};
use crate::output::Hop;
use crate::send_queue::SendQueue;
use crate::slab::Slab;
use crate::sleeper::Sleeper;
use crate::timer_wheel::{Timer, Timers};
use crate::udp_way::LastWays;

/// A worker's name for a socket; stale names find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId {
    /// Slot.
    pub index: u32,
    /// Tells this socket from those that had the slot before.
    pub generation: u32,
}

/// What the socket's descriptor may have to be told at the end of the breath.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signal {
    /// There may be something to read.
    pub readable: bool,
    /// There may be room to write.
    pub writable: bool,
    /// The peer will send nothing more: shut our end down, or have it hung up if the connection is gone.
    pub hang_up: bool,
    /// The peer has announced an urgent byte.
    pub urgent: bool,
}

impl Signal {
    /// Nothing to tell.
    #[must_use]
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Owner; `None` once its client is gone.
    pub client: Option<u16>,
    /// Its cell in the owner's memory.
    pub cell: CellId,
    /// Daemon's end of the kernel descriptor; `None` before accept and after close.
    pub descriptor: Option<Arc<SocketEnd>>,
    /// What to tell the descriptor.
    pub signal: Signal,
    /// `SO_ERROR`.
    pub error: Option<Errno>,
    /// Options.
    pub options: Options,
    /// What it is.
    pub kind: Kind,
}

impl Socket {
    /// A connection whose FIN has not been asked for.
    pub(crate) fn is_open_for_writing(&self) -> bool {
        use tcp::State::{CloseWait, Established, SynReceived, SynSent};
        match &self.kind {
            Kind::Stream(stream) => {
                matches!(stream.tcb.state(), SynSent | SynReceived | Established | CloseWait)
            }
            Kind::ModuleStream(stream) => stream.is_open_for_writing(),
            _ => false,
        }
    }

    /// Nobody's, for a connection that wakes.
    fn blank() -> Self {
        Self {
            client: None,
            cell: CellId { index: u32::MAX, generation: 0 },
            descriptor: None,
            signal: Signal::default(),
            error: None,
            options: Options::default(),
            kind: Kind::Listening { waiting: false },
        }
    }
}

/// What a socket is. Nearly all that are awake are streams, hence no box.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all sockets are of the large kind")]
pub(crate) enum Kind {
    /// A stream socket that is neither connected nor connecting.
    Unconnected(Box<Preset>),
    /// A listening socket; connections wait at it or not.
    Listening {
        /// Some wait.
        waiting: bool,
    },
    /// A connection.
    Stream(Stream),
    /// A datagram socket.
    Datagram(Box<Datagram>),
    /// A protocol module's, of datagrams.
    Module(Box<ModuleSocket>),
    /// A stream of a protocol module's.
    ModuleStream(Box<ModuleStream>),
    /// One of an IP protocol's packets.
    Raw(Box<RawSocket>),
}

impl Kind {
    /// Its transport.
    #[must_use]
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Unconnected(_) | Self::Listening { .. } | Self::Stream(_) => Transport::Stream,
            Self::Datagram(_) => Transport::Datagram,
            Self::Module(_) => Transport::Module,
            Self::ModuleStream(_) => Transport::ModuleStream,
            Self::Raw(raw) if raw.kind.ping => Transport::Ping,
            Self::Raw(_) => Transport::Raw,
        }
    }

    /// Its queues and names, if it takes datagrams.
    #[inline]
    #[must_use]
    pub(crate) fn datagram(&self) -> Option<&Datagram> {
        match self {
            Self::Datagram(datagram) => Some(datagram),
            Self::Module(module) => Some(&module.datagram),
            Self::Raw(raw) => Some(&raw.datagram),
            _ => None,
        }
    }

    /// The same, to change them.
    #[inline]
    #[must_use]
    pub(crate) fn datagram_mut(&mut self) -> Option<&mut Datagram> {
        match self {
            Self::Datagram(datagram) => Some(datagram),
            Self::Module(module) => Some(&mut module.datagram),
            Self::Raw(raw) => Some(&mut raw.datagram),
            _ => None,
        }
    }
}

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The engine's state.
    pub tcb: Tcb,
    /// Both ends.
    pub flow: Flow,
    /// The way to the peer, and the configuration it was looked up in.
    pub hop: Option<(Hop, u32)>,
    /// Posted by the client, not yet acknowledged.
    pub send: SendQueue,
    /// Received, not yet read.
    pub recv: StreamProducer,
    /// In the ready list, and its turn has not come since. A turn that is taken early leaves its entry behind,
    /// which then finds nothing to do.
    pub ready: bool,
    /// In the list of those to settle when the burst ends.
    pub touched: bool,
    /// Text has arrived in this burst.
    pub delivered: bool,
    /// Acknowledged in this burst.
    pub acked_len: u32,
    /// Its place on the timer wheel.
    pub timer: Timer,
    /// Waits at this listener to be accepted.
    pub waiting_at: Option<ListenerId>,
    /// The user has closed it.
    pub closed: bool,
    /// `shutdown(SHUT_RD)`: text is taken and forgotten.
    pub deaf: bool,
}

impl Stream {
    /// A connection that begins.
    pub(crate) fn new(tcb: Tcb, flow: Flow, recv: StreamProducer) -> Self {
        Self {
            tcb,
            flow,
            hop: None,
            send: SendQueue::default(),
            recv,
            ready: false,
            touched: false,
            delivered: false,
            acked_len: 0,
            timer: Timer::default(),
            waiting_at: None,
            closed: false,
            deaf: false,
        }
    }
}

/// A datagram socket of a protocol module's.
#[derive(Debug)]
pub(crate) struct ModuleSocket {
    /// Whose.
    pub of: lsm::SocketOf,
    /// Its queues, and its names if it has any.
    pub datagram: Datagram,
}

/// A socket of an IP protocol's packets.
#[derive(Debug)]
pub(crate) struct RawSocket {
    /// What it is for.
    pub kind: RawKind,
    /// Its queues and names. A port is a ping socket's identifier, and means nothing to others.
    pub datagram: Datagram,
    /// What its user sends begins with an IP header.
    pub header_included: bool,
    /// ICMP messages of these types are not for it.
    pub filter: [u32; 8],
    /// Where its packets have a checksum.
    pub checksum: Option<u16>,
}

/// A UDP socket.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// Local address, `None` before bind.
    pub local: Option<SocketAddr>,
    /// Peer if connected.
    pub remote: Option<SocketAddr>,
    /// Received, not yet read.
    pub recv: DatagramProducer,
    /// Bytes of the client's transmit area given back so far.
    pub released: u64,
    /// Its groups, if its user has said anything about any.
    pub multicast: Option<Box<Multicast>>,
    /// What is reported about what it has sent, if its user wants that.
    pub errors: Option<Box<ErrorQueue>>,
    /// Where the last datagrams went.
    pub ways: LastWays,
}

impl Datagram {
    /// Without names.
    #[must_use]
    pub(crate) fn new(recv: DatagramProducer) -> Self {
        Self {
            local: None,
            remote: None,
            recv,
            released: 0,
            multicast: None,
            errors: None,
            ways: LastWays::default(),
        }
    }

    /// Does a datagram with these addresses belong to this socket? How well? One bound to every IPv6
    /// address takes IPv4's too (RFC 3493 3.7) unless it is `v6_only`.
    #[must_use]
    pub(crate) fn score(&self, to: SocketAddr, from: SocketAddr, options: &Options) -> Option<u8> {
        let local = self.local?;
        if local.port() != to.port() {
            return None;
        }
        let mut score = u8::from(options.device.interface().is_some());
        if local.is_ipv4() != to.is_ipv4() {
            let takes_both = local.is_ipv6() && is_any(local.ip()) && !options.v6_only;
            if !takes_both {
                return None;
            }
        } else if !is_any(local.ip()) {
            if local.ip() != to.ip() {
                return None;
            }
            score += 4;
        }
        if let Some(remote) = self.remote {
            if remote != from {
                return None;
            }
            score += 2;
        }
        Some(score)
    }
}

fn is_any(address: IpAddr) -> bool {
    address.is_unspecified()
}

/// A socket, and how often sockets had been made before it.
#[derive(Debug)]
#[repr(align(64))]
struct Numbered {
    generation: u32,
    state: State,
}

const _: () = assert!(size_of::<Numbered>() <= 256, "every idle connection pays for this");

/// A million sockets are connections that sleep, hence no box.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all sockets sleep")]
enum State {
    Awake(Box<Socket>),
    Asleep(Sleeper),
}

/// A socket that is only looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look<'a> {
    /// Something may go on.
    Awake(&'a Socket),
    /// A connection at rest.
    Asleep(&'a Sleeper),
}

/// All sockets of a worker.
#[derive(Debug)]
pub(crate) struct Sockets {
    slots: Slab<Numbered>,
    made: u32,
    /// As many connections stay awake though nothing goes on.
    pub awake_max: usize,
    /// Connections that are awake, the longest first. Names may be stale.
    awake: VecDeque<SocketId>,
    /// Those that have joined them since one was last laid to rest.
    woken: usize,
    /// Boxes for those that wake.
    #[expect(clippy::vec_box, reason = "the boxes themselves are what is kept")]
    spare: Vec<Box<Socket>>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            slots: Slab::default(),
            made: 0,
            awake_max: AWAKE_MAX,
            awake: VecDeque::new(),
            woken: 0,
            spare: Vec::new(),
        }
    }
}

impl Sockets {
    /// Stores a socket; `None`, and it is dropped, when the table is full.
    pub(crate) fn insert(&mut self, socket: Socket) -> Option<SocketId> {
        if self.is_full() {
            return None;
        }
        self.made = self.made.wrapping_add(1);
        let generation = self.made;
        let socket = match self.spare.pop() {
            Some(mut spare) => {
                *spare = socket;
                spare
            }
            None => Box::new(socket),
        };
        let index = self.slots.insert(Numbered { generation, state: State::Awake(socket) });
        Some(SocketId { index, generation })
    }

    /// Is there room for no other?
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.slots.len() >= SOCKETS_MAX
    }

    /// It is a connection from now on, and may be laid to rest.
    pub(crate) fn watch(&mut self, id: SocketId) {
        self.awake.push_back(id);
        self.woken = self.woken.saturating_add(1);
    }

    /// Looks a socket up that is awake, as all are that are no connections.
    #[must_use]
    pub(crate) fn find(&self, id: SocketId) -> Option<&Socket> {
        match self.look(id.index)? {
            (found, Look::Awake(socket)) if found == id => Some(socket),
            _ => None,
        }
    }

    /// Looks a socket up to change it; it wakes.
    #[inline]
    pub(crate) fn find_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        let Self { slots, spare, awake, woken, .. } = self;
        let slot = slots.get_mut(id.index).filter(|slot| slot.generation == id.generation)?;
        if matches!(slot.state, State::Asleep(_)) {
            slot.wake(spare.pop());
            awake.push_back(id);
            *woken = woken.saturating_add(1);
        }
        match &mut slot.state {
            State::Awake(socket) => Some(socket),
            State::Asleep(_) => None,
        }
    }

    /// Connections that are about to wake will send as many of those awake to sleep when the breath
    /// ends: their records will be needed.
    pub(crate) fn prefetch_oldest(&self, count: usize) {
        let many = self.awake.len().saturating_add(count) > self.awake_max;
        for id in self.awake.iter().take(if many { count } else { 0 }) {
            self.slots.prefetch(id.index);
        }
    }

    /// The same for all that [`Sockets::doze`] reads in them; the records are there by now.
    pub(crate) fn prefetch_dozing(&self) {
        if self.woken == 0 {
            return;
        }
        let excess = self.awake.len().saturating_sub(self.awake_max);
        for id in self.awake.iter().take(excess.min(self.woken)) {
            if let Some((_, Look::Awake(socket))) = self.look(id.index) {
                dpdk::prefetch(socket);
            }
        }
    }

    /// Lays connections to rest that have nothing to do, if many are awake: as many as have woken
    /// since, so that it takes no longer than what they did, and a few more. `true`: there were some.
    #[inline]
    pub(crate) fn doze(&mut self, clients: &mut Clients, timers: &mut Timers) -> bool {
        let woken = core::mem::take(&mut self.woken);
        self.awake.len() > self.awake_max && self.lay_to_rest(woken, clients, timers)
    }

    fn lay_to_rest(&mut self, woken: usize, clients: &mut Clients, timers: &mut Timers) -> bool {
        let tries = woken.saturating_add(DOZE_BUDGET);
        let mut slept = false;
        for _ in 0..tries {
            if self.awake.len() <= self.awake_max {
                break;
            }
            let Some(id) = self.awake.pop_front() else { break };
            let slot = self.slots.get_mut(id.index).filter(|s| s.generation == id.generation);
            let Some(slot) = slot else { continue };
            let State::Awake(socket) = &mut slot.state else { continue };
            match Sleeper::of(socket, id, clients, timers) {
                Some(sleeper) => {
                    slept = true;
                    let state = core::mem::replace(&mut slot.state, State::Asleep(sleeper));
                    if let State::Awake(socket) = state
                        && self.spare.len() < AWAKE_MAX
                    {
                        self.spare.push(socket);
                    }
                }
                None => self.awake.push_back(id),
            }
        }
        slept
    }

    /// A connection and the socket around it.
    pub(crate) fn stream_mut(&mut self, id: SocketId) -> Option<&mut Stream> {
        match &mut self.find_mut(id)?.kind {
            Kind::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// The name of the socket with this number now.
    #[must_use]
    pub(crate) fn id(&self, index: u32) -> Option<SocketId> {
        self.slots.get(index).map(|slot| SocketId { index, generation: slot.generation })
    }

    /// The socket with this number, and its name.
    #[inline]
    #[must_use]
    pub(crate) fn look(&self, index: u32) -> Option<(SocketId, Look<'_>)> {
        self.slots.get(index).map(|slot| slot.look(index))
    }

    /// Both ends of the connection with this number.
    #[inline]
    #[must_use]
    pub(crate) fn flow(&self, index: u32) -> Option<Flow> {
        match &self.slots.get(index)?.state {
            State::Asleep(sleeper) => Some(sleeper.flow),
            State::Awake(socket) => match &socket.kind {
                Kind::Stream(stream) => Some(stream.flow),
                _ => None,
            },
        }
    }

    /// Is the connection with this number the one between these ends?
    #[inline]
    #[must_use]
    pub(crate) fn is_flow(&self, index: u32, flow: &Flow) -> bool {
        match self.slots.get(index).map(|slot| &slot.state) {
            Some(State::Asleep(sleeper)) => sleeper.flow == *flow,
            Some(State::Awake(socket)) => match &socket.kind {
                Kind::Stream(stream) => stream.flow == *flow,
                _ => false,
            },
            None => false,
        }
    }

    /// The socket with this number will be needed soon.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        self.slots.prefetch(index);
    }

    /// Takes a socket out; its name is stale from now on.
    pub(crate) fn remove(&mut self, id: SocketId) -> Option<Socket> {
        let _ = self.find_mut(id)?;
        match self.slots.remove(id.index)?.state {
            State::Awake(socket) => Some(*socket),
            State::Asleep(_) => None,
        }
    }

    /// All sockets.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketId, Look<'_>)> {
        self.slots.iter().map(|(index, slot)| slot.look(index))
    }

    /// How many there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many of them sleep.
    #[must_use]
    pub(crate) fn asleep(&self) -> usize {
        self.iter().filter(|(_, look)| matches!(look, Look::Asleep(_))).count()
    }
}

impl Numbered {
    /// Makes the connection at rest a socket, in a box that another has left if there is one.
    #[inline(never)]
    fn wake(&mut self, spare: Option<Box<Socket>>) {
        let socket = spare.unwrap_or_else(|| Box::new(Socket::blank()));
        let state = core::mem::replace(&mut self.state, State::Awake(socket));
        if let (State::Asleep(sleeper), State::Awake(socket)) = (state, &mut self.state) {
            sleeper.wake(socket);
        }
    }

    #[inline]
    fn look(&self, index: u32) -> (SocketId, Look<'_>) {
        let look = match &self.state {
            State::Awake(socket) => Look::Awake(socket),
            State::Asleep(sleeper) => Look::Asleep(sleeper),
        };
        (SocketId { index, generation: self.generation }, look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;

    #[test]
    fn the_address_counts_before_the_peer_and_that_before_the_interface() {
        let to: SocketAddr = "10.0.0.1:53".parse().unwrap();
        let from: SocketAddr = "10.0.0.9:1024".parse().unwrap();
        let score = |local: &str, peer: Option<SocketAddr>, device: Device| {
            let cell = CellId { index: 0, generation: 1 };
            let mut datagram = Datagram::new(DatagramProducer::new(cell, 0));
            datagram.local = local.parse().ok();
            datagram.remote = peer;
            datagram.score(to, from, &Options { device, ..Options::default() })
        };
        let all = [
            score("10.0.0.2:53", None, Device::ANY),
            score("0.0.0.0:53", Some(to), Device::ANY),
            score("[::]:53", None, Device::ANY),
            score("0.0.0.0:53", None, Device::of(1)),
            score("0.0.0.0:53", Some(from), Device::ANY),
            score("10.0.0.1:53", None, Device::ANY),
            score("10.0.0.1:53", None, Device::of(1)),
            score("10.0.0.1:53", Some(from), Device::ANY),
        ];
        assert_eq!(all[..2], [None, None], "another's");
        assert!(all[2..].is_sorted_by(|worse, better| worse < better), "{all:?}");
    }
}
