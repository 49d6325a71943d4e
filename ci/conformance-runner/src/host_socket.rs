//! The virtual host's sockets: calls with Linux's results.

use std::collections::VecDeque;
use std::time::Duration;

use tcp::{Events, Keepalive, RecvBuffer, SegmentOut, State, Tcb};
use types::{FlowKey, Instant};

use crate::host::{Endpoint, Host};
use crate::script::{Call, How, MessageFlags, SocketOption};
use crate::stack::{Info, Reply};

/// The daemon's defaults.
const BUFFER: u32 = 256 * 1024;

/// Congestion control, by the number that scripts call it.
const ALGORITHMS: [tcp::Algorithm; 3] =
    [tcp::Algorithm::NewReno, tcp::Algorithm::Cubic, tcp::Algorithm::Bbr];

/// A socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) port: u16,
    pub(crate) kind: Kind,
    /// The pending error, 0 for none.
    pub(crate) error: i32,
    pub(crate) closed: bool,
    pub(crate) nodelay: bool,
    pub(crate) receive_buffer: u32,
    send_buffer: u32,
    keepalive_on: bool,
    keepalive: Keepalive,
    linger_s: i64,
    cork: bool,
    defer_accept: u8,
    user_timeout_ms: u32,
    /// `TCP_MAXSEG`, 0 for none.
    max_segment: u16,
    /// `TCP_FASTOPEN`: most connections that took text on their SYN and wait for the handshake.
    pub(crate) fast_open_limit: u32,
    congestion: tcp::Algorithm,
}

/// What it is.
#[derive(Debug)]
pub(crate) enum Kind {
    Unconnected,
    Listening {
        listener: tcp::Listener,
        /// Sockets that wait to be accepted.
        waiting: VecDeque<usize>,
    },
    Stream(Box<Stream>),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) tcb: Tcb,
    pub(crate) flow: FlowKey,
    pub(crate) text: Text,
    /// Written and not acknowledged.
    pub(crate) queued: VecDeque<u8>,
    pub(crate) connected: bool,
    /// `connect` has told so.
    reported: bool,
    /// The peer's FIN was received.
    pub(crate) ended: bool,
    write_shut: bool,
    read_shut: bool,
    /// The listener that took text on its SYN, until the handshake is complete.
    pub(crate) unproven_at: Option<usize>,
}

/// The receive buffer.
#[derive(Debug)]
pub(crate) struct Text {
    capacity: u32,
    /// Beyond RCV.NXT.
    pending: VecDeque<u8>,
    unread: VecDeque<u8>,
}

impl RecvBuffer for Text {
    fn window(&self) -> u32 {
        self.capacity.saturating_sub(u32::try_from(self.unread.len()).unwrap_or(u32::MAX))
    }

    fn write(&mut self, offset: u32, text: &[u8]) -> u32 {
        let room = self.window().saturating_sub(offset);
        let stored = u32::try_from(text.len()).unwrap_or(u32::MAX).min(room);
        let (from, len) = (index(offset), index(stored));
        if self.pending.len() < from + len {
            self.pending.resize(from + len, 0);
        }
        for (place, byte) in self.pending.range_mut(from..from + len).zip(text) {
            *place = *byte;
        }
        stored
    }

    fn advance(&mut self, len: u32) {
        let len = index(len).min(self.pending.len());
        self.unread.extend(self.pending.drain(..len));
    }
}

fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl Stream {
    pub(crate) fn new(tcb: Tcb, flow: FlowKey, capacity: u32) -> Self {
        Self {
            tcb,
            flow,
            text: Text { capacity, pending: VecDeque::new(), unread: VecDeque::new() },
            queued: VecDeque::new(),
            connected: false,
            reported: false,
            ended: false,
            write_shut: false,
            read_shut: false,
            unproven_at: None,
        }
    }

    /// A connection of this listener that begins with text on its SYN.
    pub(crate) fn of_fast_open(
        capacity: u32,
        flow: FlowKey,
        listener: usize,
        make: impl FnOnce(&mut Text) -> Tcb,
    ) -> Self {
        let mut text = Text { capacity, pending: VecDeque::new(), unread: VecDeque::new() };
        let tcb = make(&mut text);
        Self { text, unproven_at: Some(listener), ..Self::new(tcb, flow, capacity) }
    }

    pub(crate) fn text_of(&self, segment: &SegmentOut) -> Vec<u8> {
        let from = index(segment.text_offset);
        self.queued.iter().skip(from).take(index(segment.text_len)).copied().collect()
    }
}

impl Socket {
    fn new() -> Self {
        Self {
            port: 0,
            kind: Kind::Unconnected,
            error: 0,
            closed: false,
            nodelay: false,
            receive_buffer: BUFFER,
            send_buffer: BUFFER,
            keepalive_on: false,
            keepalive: Keepalive::default(),
            linger_s: -1,
            cork: false,
            defer_accept: 0,
            user_timeout_ms: 0,
            max_segment: 0,
            fast_open_limit: 0,
            congestion: tcp::Algorithm::default(),
        }
    }

    /// The socket of a connection that this listener has received, with its options.
    pub(crate) fn child(&self, stream: Stream, now: Instant) -> Self {
        let kind = Kind::Stream(Box::new(stream));
        let mut child = Self { port: self.port, kind, error: 0, closed: false, ..*self };
        child.apply_options(now);
        child
    }

    /// Tells the engine what the user has set.
    fn apply_options(&mut self, now: Instant) {
        let keepalive = self.keepalive();
        let Kind::Stream(stream) = &mut self.kind else { return };
        stream.tcb.set_nodelay(self.nodelay);
        stream.tcb.set_cork(self.cork);
        stream.tcb.set_keepalive(keepalive, now);
        stream.tcb.set_user_timeout(Duration::from_millis(self.user_timeout_ms.into()));
    }

    /// The settings of its connections, where the user has something to say.
    pub(crate) fn configure(&self, config: &mut tcp::Config) {
        config.defer_accept = self.defer_accept;
        config.congestion = self.congestion;
        config.fast_open = self.fast_open_limit > 0;
        if self.max_segment > 0 {
            config.mss = config.mss.min(self.max_segment);
        }
    }

    /// The window that a SYN,ACK offers.
    pub(crate) fn window_of_syn(&self) -> u16 {
        u16::try_from(self.receive_buffer).unwrap_or(u16::MAX)
    }

    pub(crate) fn keepalive(&self) -> Option<Keepalive> {
        self.keepalive_on.then_some(self.keepalive)
    }
}

impl Host {
    pub(crate) fn socket_call(&mut self, call: &Call, peer_port: u16, text: &[u8]) -> Reply {
        if let Call::Socket { socket } = call {
            let _ = self.names.insert(socket.clone(), self.sockets.len());
            self.sockets.push(Socket::new());
            return Reply::new(Ok(0));
        }
        let Some(&index) = self.names.get(call.socket()) else {
            return Reply::new(Err(libc::EBADF));
        };
        let result = match call {
            Call::Bind { .. } => self.bind(index),
            Call::Listen { backlog, .. } => self.listen(index, *backlog),
            Call::Connect { .. } => self.connect(index, peer_port),
            Call::Accept { new, .. } => return self.accept(index, new),
            Call::Send { flags, .. } if flags.fast_open => {
                self.send_fast_open(index, peer_port, text)
            }
            Call::Send { flags, .. } => self.send(index, text, *flags),
            Call::Recv { len, flags, .. } => return self.recv(index, *len, *flags),
            Call::Shutdown { how, .. } => self.shutdown(index, *how),
            Call::Close { socket } => {
                let _ = self.names.remove(socket);
                self.close(index)
            }
            Call::Set { option, value, .. } => self.set(index, option, *value),
            Call::Get { option, .. } => self.get(index, option),
            Call::Info { .. } => return self.info(index),
            Call::Socket { .. } => Ok(0),
        };
        Reply::new(result)
    }

    fn socket(&mut self, index: usize) -> Result<&mut Socket, i32> {
        self.sockets.get_mut(index).ok_or(libc::EBADF)
    }

    fn bind(&mut self, index: usize) -> Result<i64, i32> {
        let port = crate::stack::Stack::port(self);
        let socket = self.socket(index)?;
        if socket.port != 0 {
            return Err(libc::EINVAL);
        }
        socket.port = port;
        Ok(0)
    }

    fn listen(&mut self, index: usize, backlog: u32) -> Result<i64, i32> {
        let socket = self.socket(index)?;
        match &mut socket.kind {
            Kind::Unconnected => {
                let listener = tcp::Listener::new(backlog);
                socket.kind = Kind::Listening { listener, waiting: VecDeque::new() };
            }
            Kind::Listening { listener, .. } => listener.set_backlog(backlog),
            Kind::Stream(_) => return Err(libc::EINVAL),
        }
        Ok(0)
    }

    fn connect(&mut self, index: usize, peer_port: u16) -> Result<i64, i32> {
        let now = self.now;
        let socket = self.socket(index)?;
        match &mut socket.kind {
            Kind::Unconnected => {}
            Kind::Listening { .. } => return Err(libc::EISCONN),
            Kind::Stream(stream) if stream.connected => {
                // Linux reports the success once.
                let first = !core::mem::replace(&mut stream.reported, true);
                return if first { Ok(0) } else { Err(libc::EISCONN) };
            }
            Kind::Stream(stream)
                if matches!(stream.tcb.state(), State::SynSent | State::SynReceived) =>
            {
                return Err(libc::EALREADY);
            }
            Kind::Stream(_) => {
                let error = core::mem::take(&mut socket.error);
                return Err(if error == 0 { libc::ECONNABORTED } else { error });
            }
        }
        self.begin_connect(index, peer_port, |config, iss| Tcb::connect(config, iss, now))?;
        self.after_event(index, Events::NONE);
        Err(libc::EINPROGRESS)
    }

    /// Makes the connection of an active open.
    pub(crate) fn begin_connect(
        &mut self,
        index: usize,
        peer_port: u16,
        make: impl FnOnce(&tcp::Config, tcp::SeqNum) -> Tcb,
    ) -> Result<(), i32> {
        let now = self.now;
        let socket = self.socket(index)?;
        if !matches!(socket.kind, Kind::Unconnected) {
            return Err(libc::EISCONN);
        }
        if socket.port == 0 {
            socket.port = 40_000 + u16::try_from(index).unwrap_or(0);
        }
        let (capacity, port) = (socket.receive_buffer, socket.port);
        let flow = Self::flow(port, peer_port);
        let mut config = self.config(&flow);
        let iss = self.initial_sequence(&flow);
        let socket = self.socket(index)?;
        socket.configure(&mut config);
        let tcb = make(&config, iss);
        socket.kind = Kind::Stream(Box::new(Stream::new(tcb, flow, capacity)));
        socket.apply_options(now);
        let _ = self.flows.insert(flow, Endpoint::Connection(index));
        Ok(())
    }

    fn accept(&mut self, index: usize, new: &str) -> Reply {
        let Some(socket) = self.sockets.get_mut(index) else { return Reply::new(Err(libc::EBADF)) };
        let Kind::Listening { listener, waiting } = &mut socket.kind else {
            return Reply::new(Err(libc::EINVAL));
        };
        let Some(accepted) = waiting.pop_front() else { return Reply::new(Err(libc::EAGAIN)) };
        listener.left();
        let _ = self.names.insert(new.to_owned(), accepted);
        let peer_port = self.stream_mut(accepted).map(|stream| {
            stream.reported = true;
            stream.flow.remote_port
        });
        Reply { peer_port, ..Reply::new(Ok(0)) }
    }

    /// Why a connection can't be written to or read from at all.
    fn stream(&mut self, index: usize, otherwise: i32) -> Result<&mut Stream, i32> {
        let socket = self.socket(index)?;
        if socket.error != 0 {
            return Err(core::mem::take(&mut socket.error));
        }
        match &mut socket.kind {
            Kind::Stream(stream) => Ok(stream),
            Kind::Unconnected | Kind::Listening { .. } => Err(otherwise),
        }
    }

    fn send(&mut self, index: usize, text: &[u8], flags: MessageFlags) -> Result<i64, i32> {
        let room = self::index(self.socket(index)?.send_buffer);
        let stream = self.stream(index, libc::EPIPE)?;
        match stream.tcb.state() {
            _ if stream.write_shut => return Err(libc::EPIPE),
            // Fast Open: the answer may precede the handshake's end.
            State::SynReceived if stream.unproven_at.is_some() => {}
            State::SynSent | State::SynReceived => return Err(libc::EAGAIN),
            State::Established | State::CloseWait => {}
            _ => return Err(libc::EPIPE),
        }
        let len = text.len().min(room.saturating_sub(stream.queued.len()));
        if len == 0 && !text.is_empty() {
            return Err(libc::EAGAIN);
        }
        stream.queued.extend(text.get(..len).unwrap_or_default());
        let count = u32::try_from(len).unwrap_or(0);
        if flags.oob {
            stream.tcb.send_urgent(count);
        } else if flags.more {
            stream.tcb.send_more(count);
        } else {
            stream.tcb.send(count);
        }
        self.after_event(index, Events::NONE);
        Ok(i64::try_from(len).unwrap_or(0))
    }

    fn recv(&mut self, index: usize, len: u32, flags: MessageFlags) -> Reply {
        match self.try_recv(index, len, flags) {
            Ok(bytes) => {
                let len = i64::try_from(bytes.len()).unwrap_or(0);
                Reply { bytes, ..Reply::new(Ok(len)) }
            }
            Err(errno) => Reply::new(Err(errno)),
        }
    }

    fn try_recv(&mut self, index: usize, len: u32, flags: MessageFlags) -> Result<Vec<u8>, i32> {
        let now = self.now;
        let socket = self.socket(index)?;
        let Kind::Stream(stream) = &mut socket.kind else { return Err(libc::ENOTCONN) };
        let len = self::index(len).min(stream.text.unread.len());
        if len == 0 {
            if socket.error != 0 {
                return Err(core::mem::take(&mut socket.error));
            }
            let over = stream.ended || stream.read_shut || stream.tcb.state() == State::Closed;
            return if over { Ok(Vec::new()) } else { Err(libc::EAGAIN) };
        }
        if flags.peek {
            return Ok(stream.text.unread.iter().take(len).copied().collect());
        }
        let bytes = stream.text.unread.drain(..len).collect();
        stream.tcb.window_opened(&stream.text, now);
        self.after_event(index, Events::NONE);
        Ok(bytes)
    }

    fn shutdown(&mut self, index: usize, how: How) -> Result<i64, i32> {
        let now = self.now;
        let Kind::Stream(stream) = &mut self.socket(index)?.kind else {
            return Err(libc::ENOTCONN);
        };
        if matches!(stream.tcb.state(), State::Closed | State::TimeWait) {
            return Err(libc::ENOTCONN);
        }
        if how != How::Write {
            stream.read_shut = true;
        }
        if how != How::Read {
            stream.write_shut = true;
            stream.tcb.shutdown(now);
        }
        self.after_event(index, Events::NONE);
        Ok(0)
    }

    fn close(&mut self, index: usize) -> Result<i64, i32> {
        let now = self.now;
        let socket = self.socket(index)?;
        socket.closed = true;
        let abort = socket.linger_s == 0;
        match &mut socket.kind {
            Kind::Unconnected => {}
            Kind::Listening { waiting, .. } => {
                for index in core::mem::take(waiting) {
                    if let Some(stream) = self.stream_mut(index) {
                        stream.tcb.abort();
                    }
                    self.after_event(index, Events::NONE);
                }
                self.flows.retain(|_, endpoint| {
                    !matches!(endpoint, Endpoint::HalfOpen { listener, .. } if *listener == index)
                });
            }
            Kind::Stream(stream) => {
                if abort {
                    stream.tcb.abort();
                } else {
                    let unread = !stream.text.unread.is_empty();
                    stream.tcb.close(now, unread);
                }
                self.after_event(index, Events::NONE);
            }
        }
        Ok(0)
    }

    fn set(&mut self, index: usize, option: &SocketOption, value: i64) -> Result<i64, i32> {
        let now = self.now;
        let socket = self.socket(index)?;
        let number = u32::try_from(value).map_err(|_| libc::EINVAL);
        match option.name {
            "NODELAY" => socket.nodelay = value != 0,
            "CORK" => socket.cork = value != 0,
            "KEEPALIVE" => socket.keepalive_on = value != 0,
            "KEEPIDLE" => socket.keepalive.idle_s = number?,
            "KEEPINTVL" => socket.keepalive.interval_s = number?,
            "KEEPCNT" => socket.keepalive.count = u8::try_from(value).map_err(|_| libc::EINVAL)?,
            "RCVBUF" => socket.receive_buffer = number?,
            "SNDBUF" => socket.send_buffer = number?,
            "LINGER" => socket.linger_s = value,
            "USER_TIMEOUT" => socket.user_timeout_ms = number?,
            "DEFER_ACCEPT" => socket.defer_accept = attempts_within(number?),
            "MAXSEG" => socket.max_segment = u16::try_from(value).map_err(|_| libc::EINVAL)?,
            "CONGESTION" => {
                let known = usize::try_from(value).ok().and_then(|n| ALGORITHMS.get(n));
                socket.congestion = *known.ok_or(libc::ENOENT)?;
                if let Kind::Stream(stream) = &mut socket.kind {
                    stream.tcb.set_congestion(socket.congestion);
                }
            }
            "FASTOPEN" => socket.fast_open_limit = number?,
            "REUSEADDR" => {}
            // Urgent text stays where it is in the stream anyway.
            "OOBINLINE" => {}
            "QUICKACK" => {
                if let Kind::Stream(stream) = &mut socket.kind {
                    stream.tcb.set_quick_ack(value != 0);
                }
            }
            _ => return Err(libc::ENOPROTOOPT),
        }
        if option.name != "QUICKACK" {
            socket.apply_options(now);
        }
        self.after_event(index, Events::NONE);
        Ok(0)
    }

    fn get(&mut self, index: usize, option: &SocketOption) -> Result<i64, i32> {
        let socket = self.socket(index)?;
        Ok(match option.name {
            "ERROR" => i64::from(core::mem::take(&mut socket.error)),
            "NODELAY" => i64::from(socket.nodelay),
            "CORK" => i64::from(socket.cork),
            "USER_TIMEOUT" => i64::from(socket.user_timeout_ms),
            "KEEPALIVE" => i64::from(socket.keepalive_on),
            "KEEPIDLE" => i64::from(socket.keepalive.idle_s),
            "KEEPINTVL" => i64::from(socket.keepalive.interval_s),
            "KEEPCNT" => i64::from(socket.keepalive.count),
            "RCVBUF" => i64::from(socket.receive_buffer),
            "SNDBUF" => i64::from(socket.send_buffer),
            _ => return Err(libc::ENOPROTOOPT),
        })
    }

    fn info(&mut self, index: usize) -> Reply {
        let Some(socket) = self.sockets.get_mut(index) else { return Reply::new(Err(libc::EBADF)) };
        let mut info = Info { state: 7, ..Info::default() };
        match &socket.kind {
            Kind::Unconnected => {}
            Kind::Listening { .. } => info.state = 10,
            Kind::Stream(stream) => {
                // The host's table tells TIME-WAIT: the block is as good as gone.
                info = info_of(&stream.tcb);
            }
        }
        Reply { info: Some(info), ..Reply::new(Ok(0)) }
    }
}

/// `TCP_DEFER_ACCEPT` in seconds as a number of SYN-ACKs, which follow one another after 1, 2, 4 … s.
fn attempts_within(seconds: u32) -> u8 {
    let mut attempts = 0;
    let mut covered = 0;
    while covered < seconds && attempts < 16 {
        covered += 1 << attempts;
        attempts += 1;
    }
    attempts
}

fn info_of(tcb: &Tcb) -> Info {
    let info = tcb.info();
    let mss = u32::from(info.mss).max(1);
    Info {
        state: state_number(info.state),
        retransmits: i64::from(info.retransmits),
        rto_us: i64::from(info.rto_ms) * 1000,
        rtt_us: i64::from(info.srtt_us),
        rttvar_us: i64::from(info.rttvar_us),
        mss: i64::from(info.mss),
        cwnd: i64::from(info.cwnd / mss),
        ssthresh: i64::from(info.ssthresh / mss),
        unacked: i64::from(info.unacked.div_ceil(mss)),
        snd_scale: i64::from(info.snd_scale),
        rcv_scale: i64::from(info.rcv_scale),
        timestamps: i64::from(info.timestamps),
    }
}

/// Linux's numbers.
fn state_number(state: State) -> i64 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}
