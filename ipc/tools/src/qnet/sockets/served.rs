//! Sockets here, of programs at other nodes: this process is their client of the stack.
//!
//! Nobody on the wire has to say who they are, so what they may have together has limits, and ports below
//! 1024 are not for them.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use io_pkt_client::{Channel, RecvFlags, SendFlags, Shutdown, Socket as StackSocket};
use proto::far::{
    DATA_MAX, FarCall, FarMessage, FarReply, NAME_LEN, VERSION, WINDOW, emit_name, parse_name,
};
use proto::message::{Family, Transport};
use rustix::event::PollFlags;
use rustix::io::Errno;

use super::ARRIVED_MAX;
use super::mouth::{Backlog, Key, Mouth};

/// Sockets of one node, and of all: each may have a window of bytes here.
const OF_NODE_MAX: usize = 64;
const SOCKETS_MAX: usize = 256;

/// Ports up to this one are the operator's.
const PORTS_RESERVED: u16 = 1023;

/// What was sent before a close has so much time to go.
const CLOSE_PATIENCE: Duration = Duration::from_secs(60);

/// Connections have numbers from here on.
const ACCEPTED: u64 = 1 << 63;

const SOL_SOCKET: i32 = 1;
const SO_REUSEADDR: i32 = 2;
const SO_ERROR: i32 = 4;
const SO_REUSEPORT: i32 = 15;
const SO_BINDTODEVICE: i32 = 25;
const SO_BINDTOIFINDEX: i32 = 62;
const IPPROTO_IP: i32 = 0;
const IP_UNICAST_IF: i32 = 50;
const IPPROTO_IPV6: i32 = 41;
const IPV6_UNICAST_IF: i32 = 76;

/// Options that are not for other nodes. Whoever shares a port shares what comes to it with this machine's own servers;
/// whoever names a link chooses the one by which this machine's packets leave, with this process's rights.
fn is_kept(transport: Transport, level: i32, name: i32) -> bool {
    match (level, name) {
        (SOL_SOCKET, SO_REUSEADDR) => transport == Transport::Datagram,
        (SOL_SOCKET, SO_REUSEPORT | SO_BINDTODEVICE | SO_BINDTOIFINDEX)
        | (IPPROTO_IP, IP_UNICAST_IF)
        | (IPPROTO_IPV6, IPV6_UNICAST_IF) => true,
        _ => false,
    }
}

/// A node may have one more socket, of those that there are.
fn has_room<'a>(keys: impl ExactSizeIterator<Item = &'a Key>, node: &str) -> bool {
    keys.len() < SOCKETS_MAX && keys.filter(|key| key.node == node).count() < OF_NODE_MAX
}

/// An address of this host alone: what listens there is not for other nodes.
fn is_inward(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Served {
    sockets: BTreeMap<Key, Socket>,
    last: u64,
}

#[derive(Debug)]
struct Socket {
    socket: StackSocket,
    fd: OwnedFd,
    /// Bytes that may still be said to the node; connections, if it listens.
    credit: u32,
    listens: bool,
    /// The call that the connection is the answer to.
    connecting: Option<u32>,
    /// It has, or had, a peer.
    connected: bool,
    /// From the node, for the stack.
    backlog: Backlog,
    /// The node has said that no more comes; the stack has.
    ended_in: bool,
    ended_out: bool,
    closing: Option<Instant>,
}

impl Served {
    /// Is the socket one of these?
    pub(super) fn has(&self, key: &Key) -> bool {
        self.sockets.contains_key(key)
    }

    /// A node's program calls.
    pub(super) fn called(&mut self, key: &Key, number: u32, call: FarCall, mouth: &mut Mouth) {
        let result = self.call(key, number, call).map_err(|error| number_of(&error));
        if let Some(result) = result.transpose() {
            let socket = key.socket;
            mouth.say(&key.node, &FarMessage::Answer { socket, number, result });
        }
    }

    /// A node says something about a socket that is here.
    pub(super) fn heard(
        &mut self,
        key: &Key,
        message: FarMessage,
        (mouth, now): (&mut Mouth, Instant),
    ) {
        let Some(known) = self.sockets.get_mut(key) else { return };
        match message {
            FarMessage::Data { bytes, .. } => {
                if known.backlog.len() + bytes.len() > WINDOW as usize + DATA_MAX {
                    let (socket, errno) = (key.socket, Errno::PROTO.raw_os_error());
                    mouth.say(&key.node, &FarMessage::Failed { socket, errno });
                    let _ = self.sockets.remove(key);
                    return;
                }
                known.backlog.push(bytes);
            }
            FarMessage::Credit { count, .. } => {
                let most = if known.listens { ARRIVED_MAX } else { WINDOW };
                known.credit = known.credit.saturating_add(count).min(most);
            }
            FarMessage::End { .. } => known.ended_in = true,
            FarMessage::Close { .. } => known.closing = Some(now),
            _ => {}
        }
        self.pass_on(key, mouth);
    }

    /// `None`: the answer comes later.
    fn call(&mut self, key: &Key, number: u32, call: FarCall) -> io::Result<Option<FarReply>> {
        if let FarCall::Open { version, family, transport } = call {
            return self.open(key, version, (family, transport)).map(Some);
        }
        let known = self.sockets.get_mut(key).ok_or(Errno::NOTCONN)?;
        let (socket, fd) = (&known.socket, known.fd.as_fd());
        match call {
            FarCall::Open { .. } => return Ok(None),
            FarCall::Bind(name) if (1..=PORTS_RESERVED).contains(&name.port()) => {
                return Err(Errno::ACCESS.into());
            }
            FarCall::Bind(name) => socket.bind(fd, name)?,
            FarCall::Listen { backlog } => {
                socket.listen(fd, backlog)?;
                if !core::mem::replace(&mut known.listens, true) {
                    known.credit = ARRIVED_MAX;
                }
            }
            FarCall::Connect(name) if is_inward(name.ip()) => return Err(Errno::ACCESS.into()),
            FarCall::Connect(name) => match socket.connect(fd, name, true) {
                Ok(()) => known.connected = true,
                Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {
                    known.connecting = Some(number);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
            FarCall::LocalName => return socket.local_name().map(FarReply::Name).map(Some),
            FarCall::PeerName => return socket.peer_name().map(FarReply::Name).map(Some),
            FarCall::SetOption { level, name, .. } if is_kept(socket.transport(), level, name) => {
                return Err(Errno::ACCESS.into());
            }
            FarCall::SetOption { level, name, value } => socket.set_option(level, name, &value)?,
            FarCall::Option { level, name } => {
                return socket.option(level, name).map(FarReply::Value).map(Some);
            }
        }
        Ok(Some(FarReply::Done))
    }

    fn open(
        &mut self,
        key: &Key,
        version: u32,
        (family, transport): (Family, Transport),
    ) -> io::Result<FarReply> {
        if version != VERSION {
            return Err(Errno::PROTONOSUPPORT.into());
        }
        if matches!(family, Family::Module(_)) {
            return Err(Errno::AFNOSUPPORT.into());
        }
        if !self.has_room(&key.node) || self.sockets.contains_key(key) {
            return Err(Errno::MFILE.into());
        }
        let channel = Channel::current().map_err(|_| Errno::NETDOWN)?;
        let (socket, fd) = StackSocket::open_in(&channel, family, transport)?;
        let _ = self.sockets.insert(key.clone(), Socket::new(socket, fd));
        Ok(FarReply::Done)
    }

    fn has_room(&self, node: &str) -> bool {
        has_room(self.sockets.keys(), node)
    }

    /// Which descriptors to look at, and for what.
    pub(super) fn watches<'a>(
        &'a self,
        mouth: &'a Mouth,
    ) -> impl Iterator<Item = (&'a Key, BorrowedFd<'a>, PollFlags)> {
        self.sockets.iter().filter_map(|(key, socket)| {
            let accepts = !socket.listens || self.has_room(&key.node);
            let flags = socket.watch(mouth.is_full(&key.node) || !accepts);
            (!flags.is_empty()).then(|| (key, socket.fd.as_fd(), flags))
        })
    }

    /// A descriptor has something to tell.
    pub(super) fn ready(&mut self, key: &Key, events: PollFlags, mouth: &mut Mouth) {
        let ended = events.intersects(PollFlags::HUP | PollFlags::ERR);
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if (ended || events.contains(PollFlags::OUT)) && socket.connecting.is_some() {
            return socket.connected(key, mouth);
        }
        if events.contains(PollFlags::OUT) {
            self.pass_on(key, mouth);
        }
        if !ended && !events.contains(PollFlags::IN) {
            return;
        }
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if socket.listens {
            self.accept(key, mouth);
        } else {
            socket.read(key, mouth);
        }
    }

    fn accept(&mut self, key: &Key, mouth: &mut Mouth) {
        while self.has_room(&key.node) {
            let Some(listener) = self.sockets.get_mut(key) else { return };
            if listener.credit == 0 {
                return;
            }
            match listener.socket.accept(listener.fd.as_fd(), true) {
                Ok((socket, fd, peer)) => {
                    listener.credit -= 1;
                    self.arrived(key, (socket, fd, peer), mouth);
                }
                Err(error) => {
                    let errno = number_of(&error);
                    if errno == Errno::CONNRESET.raw_os_error() {
                        // The stack is gone.
                        listener.ended_out = true;
                        mouth.say(&key.node, &FarMessage::Failed { socket: key.socket, errno });
                    }
                    return;
                }
            }
        }
    }

    fn arrived(
        &mut self,
        listener: &Key,
        (socket, fd, peer): (StackSocket, OwnedFd, SocketAddr),
        mouth: &mut Mouth,
    ) {
        self.last += 1;
        let key = Key { node: listener.node.clone(), socket: ACCEPTED | self.last };
        let arrived = FarMessage::Arrived { listener: listener.socket, socket: key.socket, peer };
        mouth.say(&key.node, &arrived);
        let mut socket = Socket::new(socket, fd);
        socket.connected = true;
        let _ = self.sockets.insert(key, socket);
    }

    fn pass_on(&mut self, key: &Key, mouth: &mut Mouth) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.pass_on(key, mouth);
        if socket.closing.is_some() && socket.backlog.is_empty() {
            // What has been sent still goes.
            let _ = self.sockets.remove(key);
        }
    }

    /// Nothing that a node said counts any more.
    pub(super) fn lost(&mut self, node: &str) {
        self.sockets.retain(|key, _| key.node != node);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) {
        let late = |since: Instant| now.duration_since(since) >= CLOSE_PATIENCE;
        self.sockets.retain(|_, socket| socket.closing.is_none_or(|since| !late(since)));
    }

    /// The nodes that have sockets here.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &str> {
        self.sockets.keys().map(|key| key.node.as_str())
    }
}

impl Socket {
    fn new(socket: StackSocket, fd: OwnedFd) -> Self {
        Self {
            socket,
            fd,
            credit: WINDOW,
            listens: false,
            connecting: None,
            connected: false,
            backlog: Backlog::default(),
            ended_in: false,
            ended_out: false,
            closing: None,
        }
    }

    fn is_stream(&self) -> bool {
        self.socket.transport() == Transport::Stream
    }

    /// Nothing, if there is nothing to be done: its end would be told again and again.
    fn watch(&self, is_full: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        let says = self.connected || self.listens || !self.is_stream();
        let least = if self.is_stream() { 1 } else { WINDOW / 2 };
        if says && !self.ended_out && !is_full && (self.credit >= least || self.listens) {
            flags |= PollFlags::IN;
        }
        if self.listens && self.credit == 0 {
            flags = PollFlags::empty();
        }
        if self.connecting.is_some() || !self.backlog.is_empty() {
            flags |= PollFlags::OUT;
        }
        flags
    }

    /// A connection attempt is decided.
    fn connected(&mut self, key: &Key, mouth: &mut Mouth) {
        let Some(number) = self.connecting.take() else { return };
        let errno = match self.socket.option(SOL_SOCKET, SO_ERROR) {
            Ok(value) => value.try_into().map_or(0, i32::from_ne_bytes),
            Err(error) => number_of(&error),
        };
        self.connected = errno == 0;
        let result = if errno == 0 { Ok(FarReply::Done) } else { Err(errno) };
        mouth.say(&key.node, &FarMessage::Answer { socket: key.socket, number, result });
        self.pass_on(key, mouth);
    }

    fn read(&mut self, key: &Key, mouth: &mut Mouth) {
        if self.ended_out {
            return;
        }
        let socket = key.socket;
        let head = if self.is_stream() { 0 } else { NAME_LEN };
        let room = if self.is_stream() { DATA_MAX.min(self.credit as usize) } else { DATA_MAX };
        let mut bytes = vec![0; room];
        let into = bytes.get_mut(head..).unwrap_or_default();
        let into = &mut [IoSliceMut::new(into)];
        match self.socket.recv(self.fd.as_fd(), into, RecvFlags::DONTWAIT) {
            Ok(received) if received.len == 0 && self.is_stream() => {
                self.ended_out = true;
                mouth.say(&key.node, &FarMessage::End { socket });
            }
            // One that does not fit into a message is lost.
            Ok(received) if received.truncated => {}
            Ok(received) => {
                bytes.truncate(head + received.len);
                if let Some(name) = bytes.first_chunk_mut::<NAME_LEN>().filter(|_| head > 0) {
                    *name = emit_name(received.from);
                }
                let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                self.credit = self.credit.saturating_sub(len);
                mouth.say(&key.node, &FarMessage::Data { socket, bytes });
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                // What the network has reported about a peer is the next call's, and not the end.
                _ if !self.is_stream() && !is_end(&error) => {}
                _ => {
                    self.ended_out = true;
                    let errno = number_of(&error);
                    mouth.say(&key.node, &FarMessage::Failed { socket, errno });
                }
            },
        }
    }

    /// Gives the stack what has come.
    fn pass_on(&mut self, key: &Key, mouth: &mut Mouth) {
        if self.connecting.is_some() {
            return;
        }
        let (socket, fd, is_stream) = (&self.socket, self.fd.as_fd(), self.is_stream());
        let (gone, result) = self.backlog.drain(is_stream, |bytes| {
            let (to, payload) = match is_stream {
                true => (None, bytes),
                false => parse_name(bytes).ok_or(Errno::INVAL)?,
            };
            if to.is_some_and(|to| is_inward(to.ip())) {
                return Err(Errno::ACCESS);
            }
            let sent = socket.send(fd, &[IoSlice::new(payload)], to, SendFlags::DONTWAIT);
            sent.map_err(|error| Errno::from_raw_os_error(number_of(&error)))
        });
        let mut gone = gone;
        if let Err(errno) = result {
            gone += u32::try_from(self.backlog.len()).unwrap_or(0);
            self.backlog.clear();
            if !core::mem::replace(&mut self.ended_out, true) {
                let errno = errno.raw_os_error();
                mouth.say(&key.node, &FarMessage::Failed { socket: key.socket, errno });
            }
        }
        if gone > 0 && self.closing.is_none() {
            mouth.say(&key.node, &FarMessage::Credit { socket: key.socket, count: gone });
        }
        if self.ended_in && self.backlog.is_empty() && is_stream {
            self.ended_in = false;
            // It may have no peer any more.
            let _ = self.socket.shutdown(self.fd.as_fd(), Shutdown::Write);
        }
    }
}

/// The stack is gone.
fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset
}

fn number_of(error: &io::Error) -> i32 {
    Errno::from_io_error(error).unwrap_or(Errno::IO).raw_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_no_more_than_its_share_and_all_no_more_than_there_is_room_for() {
        let key = |node: &str, socket| Key { node: node.into(), socket };
        let mut keys: Vec<Key> = (1..OF_NODE_MAX as u64).map(|n| key("a", n)).collect();
        assert!(has_room(keys.iter(), "a"));
        keys.push(key("a", 0));
        assert!(!has_room(keys.iter(), "a") && has_room(keys.iter(), "b"));
        keys.extend((OF_NODE_MAX..SOCKETS_MAX).map(|n| key(&format!("n{}", n % 7), n as u64)));
        assert!(!has_room(keys.iter(), "b"));
        assert_eq!((OF_NODE_MAX, SOCKETS_MAX), (64, 256));
    }

    #[test]
    fn who_shares_ports_and_by_which_link_packets_leave_is_this_machines_own_business() {
        let kept = [
            (SOL_SOCKET, SO_REUSEPORT),
            (SOL_SOCKET, SO_BINDTODEVICE),
            (SOL_SOCKET, SO_BINDTOIFINDEX),
        ];
        for (level, name) in
            kept.into_iter().chain([(IPPROTO_IP, IP_UNICAST_IF), (IPPROTO_IPV6, IPV6_UNICAST_IF)])
        {
            assert!(
                is_kept(Transport::Stream, level, name)
                    && is_kept(Transport::Datagram, level, name)
            );
        }
        assert!(is_kept(Transport::Datagram, SOL_SOCKET, SO_REUSEADDR));
        assert!(!is_kept(Transport::Stream, SOL_SOCKET, SO_REUSEADDR));
        assert!(
            !is_kept(Transport::Stream, SOL_SOCKET, SO_ERROR)
                && !is_kept(Transport::Stream, IPPROTO_IP, SO_REUSEPORT)
        );
    }
}
