//! Scripts in real time: the C library's sockets on one side, frames on the other.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use crate::script::{Call, How, MessageFlags, SocketOption};
use crate::segment::{Ends, Segment};
use crate::stack::{Info, Observed, Pace, Reply, Stack};
use crate::sys;
use crate::wire::{Caught, STACK, Wire};

/// Congestion control algorithms, by the number that scripts call them.
const ALGORITHMS: [&str; 3] = ["reno", "cubic", "bbr"];

/// How exact real time is: less than a delayed ACK apart is "at once"; the rest is what a busy
/// machine's scheduler and a kernel's tick of 4 ms need.
const PACE: Pace = Pace {
    at_once: Duration::from_millis(35),
    slack: Duration::from_millis(25),
    slack_percent: 10,
    settle: Duration::from_millis(8),
    retry: Duration::from_millis(400),
};

/// One script's part of the link.
#[derive(Debug)]
pub(crate) struct Live {
    wire: Arc<Wire>,
    caught: Receiver<Caught>,
    peer: Ipv4Addr,
    port: u16,
    began: Instant,
    sockets: BTreeMap<String, OwnedFd>,
}

impl Live {
    /// `number` is this run's own: no other run has the same peer or port.
    pub(crate) fn new(wire: &Arc<Wire>, number: u16) -> io::Result<Self> {
        let [high, low] = number.to_be_bytes();
        let peer = Ipv4Addr::new(198, 18, high.saturating_add(1), low);
        let caught = wire.attach(peer);
        wire.ask(peer)?;
        std::thread::sleep(PACE.settle);
        Ok(Self {
            wire: Arc::clone(wire),
            caught,
            peer,
            port: 2_000_u16.saturating_add(number),
            began: Instant::now(),
            sockets: BTreeMap::new(),
        })
    }

    fn fd(&self, name: &str) -> io::Result<&OwnedFd> {
        self.sockets.get(name).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    fn socket_call(&mut self, call: &Call, peer_port: u16, text: &[u8]) -> io::Result<Reply> {
        let done = |()| Reply::new(Ok(0));
        match call {
            Call::Socket { socket } => {
                let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
                let fd = sys::socket(libc::AF_INET, kind, 0)?;
                // TIME-WAIT of a script before must not keep the port.
                sys::set_option(
                    fd.as_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_REUSEADDR,
                    &1_i32.to_ne_bytes(),
                )?;
                let _ = self.sockets.insert(socket.clone(), fd);
                Ok(done(()))
            }
            Call::Bind { socket } => {
                sys::bind(self.fd(socket)?.as_fd(), STACK, self.port).map(done)
            }
            Call::Listen { socket, backlog } => {
                sys::listen(self.fd(socket)?.as_fd(), *backlog).map(done)
            }
            Call::Connect { socket, .. } => {
                sys::connect(self.fd(socket)?.as_fd(), self.peer, peer_port).map(done)
            }
            Call::Accept { socket, new } => {
                let (fd, port) = sys::accept(self.fd(socket)?.as_fd())?;
                let _ = self.sockets.insert(new.clone(), fd);
                Ok(Reply { peer_port: Some(port), ..done(()) })
            }
            Call::Send { socket, flags, .. } => {
                let fd = self.fd(socket)?.as_fd();
                let sent = if flags.fast_open {
                    sys::send_to(fd, text, message(*flags), self.peer, peer_port)?
                } else {
                    sys::send(fd, text, message(*flags))?
                };
                Ok(Reply::new(Ok(i64::try_from(sent).unwrap_or(0))))
            }
            Call::Recv { socket, len, flags } => self.recv(socket, *len, *flags),
            Call::Shutdown { socket, how } => {
                let how = match how {
                    How::Read => libc::SHUT_RD,
                    How::Write => libc::SHUT_WR,
                    How::Both => libc::SHUT_RDWR,
                };
                sys::shutdown(self.fd(socket)?.as_fd(), how).map(done)
            }
            Call::Close { socket } => {
                let gone = self.sockets.remove(socket);
                gone.map(|_| done(())).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
            }
            Call::Set { socket, option, value } => self.set(socket, option, *value).map(done),
            Call::Get { socket, option } => self.get(socket, option),
            Call::Info { socket, .. } => self.info(socket),
        }
    }

    fn recv(&self, socket: &str, len: u32, flags: MessageFlags) -> io::Result<Reply> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let got = sys::recv(self.fd(socket)?.as_fd(), &mut bytes, message(flags))?;
        bytes.truncate(got);
        Ok(Reply { bytes, ..Reply::new(Ok(i64::try_from(got).unwrap_or(0))) })
    }

    fn set(&self, socket: &str, option: &SocketOption, value: i64) -> io::Result<()> {
        let fd = self.fd(socket)?.as_fd();
        let number = i32::try_from(value).unwrap_or(i32::MAX).to_ne_bytes();
        match option.name {
            "LINGER" => {
                let on = i32::from(value >= 0).to_ne_bytes();
                sys::set_option(fd, option.level, option.number, &[on, number].concat())
            }
            "CONGESTION" => {
                let index = usize::try_from(value).unwrap_or(usize::MAX);
                let name = ALGORITHMS.get(index).copied().unwrap_or_default();
                sys::set_option(fd, option.level, option.number, name.as_bytes())
            }
            _ => sys::set_option(fd, option.level, option.number, &number),
        }
    }

    fn get(&self, socket: &str, option: &SocketOption) -> io::Result<Reply> {
        let mut value = [0; 16];
        let fd = self.fd(socket)?.as_fd();
        let len = sys::option(fd, option.level, option.number, &mut value)?;
        let number = match option.name {
            "CONGESTION" => {
                let name = value.get(..len).unwrap_or_default().split(|b| *b == 0).next();
                let known = ALGORITHMS.iter().position(|a| Some(a.as_bytes()) == name);
                known.and_then(|n| i64::try_from(n).ok()).unwrap_or(-1)
            }
            "LINGER" if word(&value, 0) == 0 => -1,
            "LINGER" => word(&value, 4),
            _ => word(&value, 0),
        };
        Ok(Reply::new(Ok(number)))
    }

    /// Linux's `struct tcp_info`, by the places of its fields.
    fn info(&self, socket: &str) -> io::Result<Reply> {
        let mut value = [0; 104];
        let fd = self.fd(socket)?.as_fd();
        let len = sys::option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, &mut value)?;
        if len < value.len() {
            return Err(io::Error::from_raw_os_error(libc::ENOPROTOOPT));
        }
        let info = Info {
            state: i64::from(value[0]),
            retransmits: i64::from(value[2]),
            timestamps: i64::from(value[5] & 1),
            snd_scale: i64::from(value[6] & 15),
            rcv_scale: i64::from(value[6] >> 4),
            rto_us: word(&value, 8),
            mss: word(&value, 16),
            unacked: word(&value, 24),
            rtt_us: word(&value, 68),
            rttvar_us: word(&value, 72),
            ssthresh: word(&value, 76),
            cwnd: word(&value, 80),
        };
        Ok(Reply { info: Some(info), ..Reply::new(Ok(0)) })
    }
}

fn word(bytes: &[u8], at: usize) -> i64 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    word.map_or(0, |word| i64::from(u32::from_ne_bytes(*word)))
}

fn message(flags: MessageFlags) -> i32 {
    let of = |on: bool, bit: i32| if on { bit } else { 0 };
    of(flags.more, libc::MSG_MORE)
        | of(flags.oob, libc::MSG_OOB)
        | of(flags.peek, libc::MSG_PEEK)
        | of(flags.fast_open, libc::MSG_FASTOPEN)
        | libc::MSG_DONTWAIT
}

impl Drop for Live {
    /// Nothing of this script lives on: what is open is aborted.
    fn drop(&mut self) {
        let abort = [1_i32.to_ne_bytes(), 0_i32.to_ne_bytes()].concat();
        for fd in self.sockets.values() {
            // A socket that can't linger is no connection.
            let _ = sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_LINGER, &abort);
        }
        self.sockets.clear();
        self.wire.detach(self.peer);
    }
}

impl Stack for Live {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn pace(&self) -> Pace {
        PACE
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn inject(&mut self, peer_port: u16, local_port: u16, segment: &Segment) {
        let ends = Ends { from: (self.peer, peer_port), to: (STACK, local_port) };
        // What the interface does not take is lost, as on any link; the script will say so.
        let _ = self.wire.packet(&segment.emit(&ends));
    }

    fn observe(&mut self, until: Duration) -> Option<Observed> {
        let left = until.saturating_sub(self.now());
        let caught = self.caught.recv_timeout(left).ok()?;
        Some(Observed {
            at: caught.at.saturating_duration_since(self.began),
            peer_port: caught.ends.to.1,
            local_port: caught.ends.from.1,
            segment: caught.segment,
        })
    }

    fn call(&mut self, call: &Call, peer_port: u16, text: &[u8]) -> Reply {
        self.socket_call(call, peer_port, text)
            .unwrap_or_else(|error| Reply::new(Err(error.raw_os_error().unwrap_or(0))))
    }
}
