//! The descriptor and the queue tell the same, however the worker is interrupted between publishing,
//! writing the token and saying so. The daemon here is a few lines, so that each step can be taken
//! by itself.

use std::io::{ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use proto::{Answer, Call, Reply, Request, SocketHandle};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept, bind, listen, sendmsg, socket_with,
};
use shm::{Arena, CellId, Lane, SocketEnd, Status, StreamProducer, WorkersPage};

use super::{Attempt, Hint, some};
use crate::descriptor::{self, Token};
use crate::{Channel, RecvFlags, Socket, Transport};

/// The daemon's side of one connected stream.
struct Peer {
    lane: Lane,
    cell: CellId,
    end: SocketEnd,
    producer: StreamProducer,
    _connection: OwnedFd,
    _page: WorkersPage,
}

struct Client {
    socket: Socket,
    fd: OwnedFd,
}

#[test]
fn a_token_not_yet_spoken_of_is_taken() {
    let (mut peer, client) = connected("spoken");
    for _ in 0..3 {
        peer.publish(b"hello");
        assert!(peer.lane.in_armed(peer.cell));
        assert!(peer.end.send_token());
        // The token has woken the client before the worker could go on.
        assert!(client.is_readable());
        assert_eq!(client.receive(64), Ok(b"hello".to_vec()));
        assert!(!client.is_readable(), "all has been read");
        peer.lane.in_token_sent(peer.cell);
        assert_eq!(client.receive(64), Err(ErrorKind::WouldBlock));
        assert!(!client.is_readable());
    }
    peer.announce(b"again");
    assert!(client.is_readable(), "the next token comes");
    assert_eq!(client.receive(64), Ok(b"again".to_vec()));
}

#[test]
fn nothing_is_read_before_its_token() {
    let (mut peer, client) = connected("before");
    peer.publish(b"early");
    assert_eq!(client.receive(64), Err(ErrorKind::WouldBlock), "the kernel says so too");
    assert_eq!(client.readable(), 0);
    assert!(peer.lane.in_armed(peer.cell));
    assert!(peer.end.send_token());
    assert_eq!(client.readable(), 5, "the descriptor knows");
    peer.lane.in_token_sent(peer.cell);
    assert_eq!(client.readable(), 5);
    assert_eq!(client.receive(64), Ok(b"early".to_vec()));
    assert!(!client.is_readable(), "no token is left for bytes that are gone");
}

/// A look that has found nothing reads nothing: what has come behind it has not been announced.
#[test]
fn nothing_is_read_behind_a_look() {
    let (mut peer, client) = connected("behind");
    let attempt = client.socket.try_stream(client.fd.as_fd(), false, Hint::default(), |queue| {
        peer.publish(b"late");
        some(queue.read(&mut [IoSliceMut::new(&mut [0; 64])], false, false))
    });
    assert!(matches!(attempt, Ok(Attempt::Empty)));
    peer.announce(b"later");
    assert_eq!(client.receive(64), Ok(b"later".to_vec()));
    assert!(!client.is_readable(), "no token is left for bytes that are gone");
}

#[test]
fn what_is_left_or_peeked_at_stays_readable() {
    let (mut peer, client) = connected("left");
    peer.announce(b"abcdef");
    assert_eq!(client.peek(), Ok(b"abcdef".to_vec()));
    assert!(client.is_readable());
    assert_eq!(client.receive(4), Ok(b"abcd".to_vec()));
    assert!(client.is_readable());
    assert_eq!(client.receive(4), Ok(b"ef".to_vec()));
    assert!(!client.is_readable());
}

#[test]
fn the_end_follows_the_last_byte() {
    let (mut peer, client) = connected("end");
    peer.publish(b"last");
    peer.lane.set_status(peer.cell, Status::CONNECTED | Status::EOF);
    peer.end.end_of_input();
    assert_eq!(client.readable(), 4);
    assert_eq!(client.receive(64), Ok(b"last".to_vec()), "no token is needed any more");
    assert_eq!(client.receive(64), Ok(Vec::new()));
    assert!(client.is_readable(), "an end stays");
}

#[test]
fn a_dead_daemon_leaves_bytes_then_an_error() {
    let (mut peer, client) = connected("dead");
    peer.publish(b"rest");
    drop(peer);
    assert_eq!(client.receive(64), Ok(b"rest".to_vec()));
    assert_eq!(client.receive(64), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_sleeper_wakes_for_bytes_and_for_death() {
    let (mut peer, client) = connected("sleeper");
    let sleeper = std::thread::spawn(move || {
        let mut room = [0; 64];
        let mut all = Vec::new();
        loop {
            let mut slices = [IoSliceMut::new(&mut room)];
            match client.socket.recv(client.fd.as_fd(), &mut slices, RecvFlags::empty()) {
                Ok(got) => all.extend_from_slice(&room[..got.len]),
                Err(error) => return (all, error.kind()),
            }
        }
    });
    for text in [b"one", b"two"] {
        std::thread::sleep(std::time::Duration::from_millis(20));
        peer.announce(text);
        std::thread::sleep(std::time::Duration::from_millis(20));
        peer.attend();
    }
    drop(peer);
    assert_eq!(sleeper.join().unwrap(), (b"onetwo".to_vec(), ErrorKind::ConnectionReset));
}

#[test]
fn who_has_blocked_asks_again_whether_he_may() {
    let (mut peer, client) = connected("mode");
    let client = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            assert_eq!(client.take(64, RecvFlags::empty()), Ok(b"one".to_vec()));
            client
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        peer.announce(b"one");
        sleeper.join().unwrap()
    });
    rustix::io::ioctl_fionbio(&client.fd, true).unwrap();
    for _ in 0..2 {
        assert_eq!(client.take(64, RecvFlags::empty()), Err(ErrorKind::WouldBlock));
    }
    rustix::io::ioctl_fionbio(&client.fd, false).unwrap();
    peer.announce(b"two");
    assert_eq!(client.take(64, RecvFlags::empty()), Ok(b"two".to_vec()));
}

#[test]
fn a_token_not_yet_spoken_of_does_not_keep_a_sleeper_awake() {
    let (mut peer, client) = connected("stale");
    peer.announce(b"one");
    assert_eq!(client.take(64, RecvFlags::empty()), Ok(b"one".to_vec()));
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let second = client.take(64, RecvFlags::empty());
            (second, client.take(64, RecvFlags::empty()))
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        peer.announce(b"two");
        std::thread::sleep(std::time::Duration::from_millis(20));
        // Its bytes have been read, or will never come: no word in memory tells of it.
        assert!(peer.end.send_token());
        std::thread::sleep(std::time::Duration::from_millis(20));
        peer.announce(b"three");
        assert_eq!(sleeper.join().unwrap(), (Ok(b"two".to_vec()), Ok(b"three".to_vec())));
    });
    assert!(!client.is_readable(), "all has been read");
}

#[test]
fn what_tells_of_the_last_close_is_left_in_the_descriptor() {
    let (mut peer, client) = connected("gone");
    peer.announce(b"last");
    peer.lane.set_status(peer.cell, Status::CONNECTED | Status::EOF | Status::GONE);
    let last_close = peer.end.last_close().unwrap();
    peer.end.hang_up();
    assert_eq!(client.receive(64), Ok(b"last".to_vec()));
    for _ in 0..2 {
        assert_eq!(client.receive(64), Ok(Vec::new()), "the end");
    }
    assert!(!last_close.has_come());
    drop(client);
    assert!(last_close.has_come());
}

/// The worker ends the connection between any two steps of a client that takes a token out.
#[test]
fn what_tells_of_the_last_close_is_not_taken_for_a_token() {
    for (token, earlier) in [
        (Token::Announced, true),
        (Token::Seen, true),
        (Token::Unknown, true),
        (Token::Unknown, false),
    ] {
        let (mut peer, client) = connected("takes");
        if earlier {
            assert!(peer.lane.in_armed(peer.cell) && peer.end.send_token());
        }
        let end = |peer: &Peer| {
            let last_close = peer.end.last_close().unwrap();
            peer.end.hang_up();
            last_close
        };
        let mut last_close = (token == Token::Announced).then(|| end(&peer));
        let (_, taken) = descriptor::take_token(client.fd.as_fd(), token, || {
            last_close = Some(end(&peer));
            false
        });
        assert_eq!(taken, earlier, "{token:?}");
        let last_close = last_close.unwrap_or_else(|| end(&peer));
        assert!(!last_close.has_come(), "{token:?} {earlier}");
        drop(client);
        assert!(last_close.has_come());
    }
}

/// Every byte arrives though the client only reads when the kernel says so, while the worker
/// publishes at any moment.
#[test]
fn the_kernel_never_keeps_silent() {
    const TOTAL: usize = 200_000;
    let (mut peer, client) = connected("silent");
    let reader = std::thread::spawn(move || {
        let mut seen = 0;
        while seen < TOTAL {
            assert!(client.waits_until_readable(), "{seen} of {TOTAL} read, and silence");
            match client.receive(97) {
                Ok(bytes) => seen += bytes.len(),
                Err(kind) => assert_eq!(kind, ErrorKind::WouldBlock),
            }
        }
    });
    let mut sent = 0;
    while sent < TOTAL && !reader.is_finished() {
        let _ = peer.producer.refresh(&mut peer.lane).unwrap();
        let len = (peer.producer.window() as usize).min(50).min(TOTAL - sent);
        if len > 0 {
            peer.announce(&[7; 50][..len]);
            sent += len;
        }
        peer.attend();
        if sent % 3 == 0 {
            std::thread::yield_now();
        }
    }
    while !reader.is_finished() {
        peer.attend();
        std::thread::yield_now();
    }
    reader.join().unwrap();
}

impl Peer {
    fn publish(&mut self, text: &[u8]) {
        let len = self.producer.write(&mut self.lane, 0, text);
        assert_eq!(len as usize, text.len());
        self.producer.advance(&mut self.lane, len);
    }

    fn announce(&mut self, text: &[u8]) {
        self.publish(text);
        self.signal();
    }

    fn signal(&mut self) {
        if self.producer.unread() > 0 && self.lane.in_armed(self.cell) {
            assert!(self.end.send_token());
            self.lane.in_token_sent(self.cell);
        }
    }

    /// What a worker does for descriptors posted.
    fn attend(&mut self) {
        while self.lane.receive().unwrap().is_some() {
            let _ = self.producer.refresh(&mut self.lane).unwrap();
            self.signal();
        }
        self.lane.commit();
    }
}

impl Client {
    fn is_readable(&self) -> bool {
        self.wait(0)
    }

    fn waits_until_readable(&self) -> bool {
        self.wait(5)
    }

    fn wait(&self, seconds: i64) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).unwrap() == 1
    }

    fn receive(&self, room: usize) -> Result<Vec<u8>, ErrorKind> {
        self.take(room, RecvFlags::DONTWAIT)
    }

    fn readable(&self) -> usize {
        self.socket.readable_bytes(self.fd.as_fd())
    }

    fn peek(&self) -> Result<Vec<u8>, ErrorKind> {
        self.take(64, RecvFlags::DONTWAIT | RecvFlags::PEEK)
    }

    fn take(&self, room: usize, flags: RecvFlags) -> Result<Vec<u8>, ErrorKind> {
        let mut room = vec![0; room];
        let mut slices = [IoSliceMut::new(&mut room)];
        let got = self.socket.recv(self.fd.as_fd(), &mut slices, flags);
        let len = got.map_err(|error| error.kind())?.len;
        room.truncate(len);
        Ok(room)
    }
}

/// A daemon that answers two requests, and a client that has made them.
fn connected(name: &str) -> (Peer, Client) {
    let path = std::env::temp_dir().join(format!("io-pkt-tokens-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let flags = SocketFlags::CLOEXEC;
    let door = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    bind(&door, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&door, 1).unwrap();
    let daemon = std::thread::spawn(move || serve(&door));
    let channel = Arc::new(Channel::attach(&path).unwrap());
    let (socket, fd) = Socket::open(&channel, Transport::Stream).unwrap();
    remove(&path);
    (daemon.join().unwrap(), Client { socket, fd })
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

fn serve(door: &OwnedFd) -> Peer {
    let connection = accept(door).unwrap();
    let (slot, files) = Arena::reserve(1).unwrap().attach(1, Default::default()).unwrap();
    let (page, page_fd) = WorkersPage::create(1).unwrap();
    let doorbell = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let attached =
        Reply::Attached { slot: 0, client: 0, workers: 1, claim_loopback: false, borrows: false };
    answer(&connection, attached, &[&files.read, &files.write, &page_fd, &doorbell]);

    let mut lane = slot.lane(0).unwrap();
    let cell = lane.allocate_cell().unwrap();
    lane.set_send_buffer(cell, 65_536);
    lane.set_status(cell, Status::CONNECTED);
    let (end, theirs) = SocketEnd::pair().unwrap();
    let socket = SocketHandle { cell: cell.index, generation: cell.generation, worker: 0 };
    answer(&connection, Reply::Socket { socket }, &[&theirs]);
    let producer = StreamProducer::new(cell, 65_536);
    Peer { lane, cell, end, producer, _connection: connection, _page: page }
}

fn answer(connection: &OwnedFd, reply: Reply, descriptors: &[&OwnedFd]) {
    let mut buffer = vec![0; proto::MESSAGE_MAX];
    let len = rustix::io::read(connection, &mut buffer).unwrap();
    let call: Call = proto::parse(&buffer[..len]).unwrap();
    assert!(matches!(call.request, Request::Attach { .. } | Request::Socket { .. }));
    let bytes = proto::emit(&Answer { sequence: call.sequence, result: Ok(reply) }).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let borrowed: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
    assert!(control.push(SendAncillaryMessage::ScmRights(&borrowed)));
    let slices = [std::io::IoSlice::new(&bytes)];
    let _ = sendmsg(connection, &slices, &mut control, SendFlags::empty()).unwrap();
}
