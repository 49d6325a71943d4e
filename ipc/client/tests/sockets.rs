//! Sockets against a daemon without a network: what calls return, and what the kernel says meanwhile.

mod fake;

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fake::{Fake, address};
use io_pkt_client::{Channel, Received, RecvFlags, SendFlags, Shutdown, Socket, Transport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A socket with its descriptor.
#[derive(Clone)]
struct Sock {
    socket: Arc<Socket>,
    fd: Arc<OwnedFd>,
}

impl Sock {
    fn open(channel: &Arc<Channel>, transport: Transport) -> Self {
        let (socket, fd) = Socket::open(channel, transport).expect("no socket");
        Self::of(socket, fd)
    }

    fn of(socket: Socket, fd: OwnedFd) -> Self {
        Self { socket: Arc::new(socket), fd: Arc::new(fd) }
    }

    fn listen(channel: &Arc<Channel>, port: u16) -> Self {
        let sock = Self::open(channel, Transport::Stream);
        sock.socket.bind(sock.fd.as_fd(), address(port)).expect("no bind");
        sock.socket.listen(sock.fd.as_fd(), 16).expect("no listen");
        sock
    }

    fn connect(channel: &Arc<Channel>, port: u16) -> io::Result<Self> {
        let sock = Self::open(channel, Transport::Stream);
        sock.socket.connect(sock.fd.as_fd(), address(port), false)?;
        Ok(sock)
    }

    fn accept(&self) -> Self {
        let (socket, fd, _) = self.socket.accept(self.fd.as_fd(), false).expect("no accept");
        Self::of(socket, fd)
    }

    fn bound(channel: &Arc<Channel>, port: u16) -> Self {
        let sock = Self::open(channel, Transport::Datagram);
        sock.socket.bind(sock.fd.as_fd(), address(port)).expect("no bind");
        sock
    }

    fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.send(self.fd.as_fd(), &[IoSlice::new(data)], None, SendFlags::empty())
    }

    fn try_send(&self, data: &[u8]) -> io::Result<usize> {
        self.socket.send(self.fd.as_fd(), &[IoSlice::new(data)], None, SendFlags::DONTWAIT)
    }

    fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.socket.send(self.fd.as_fd(), &[IoSlice::new(data)], Some(to), SendFlags::empty())
    }

    fn receive(&self, into: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
        self.socket.recv(self.fd.as_fd(), &mut [IoSliceMut::new(into)], flags)
    }

    fn recv(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(into, RecvFlags::empty()).map(|r| r.len)
    }

    fn try_recv(&self, into: &mut [u8]) -> io::Result<usize> {
        self.receive(into, RecvFlags::DONTWAIT).map(|r| r.len)
    }

    fn shutdown(&self, how: Shutdown) {
        self.socket.shutdown(self.fd.as_fd(), how).expect("no shutdown");
    }

    /// What the kernel says now, or within this time.
    fn events(&self, wanted: PollFlags, within_ms: u64) -> PollFlags {
        let fd = &*self.fd;
        let mut fds = [PollFd::new(fd, wanted)];
        let time = Timespec::try_from(Duration::from_millis(within_ms)).expect("short");
        let _ = poll(&mut fds, Some(&time)).expect("no poll");
        fds[0].revents()
    }

    fn is_readable(&self, within_ms: u64) -> bool {
        self.events(PollFlags::IN, within_ms).contains(PollFlags::IN)
    }

    fn is_writable(&self, within_ms: u64) -> bool {
        self.events(PollFlags::OUT, within_ms).contains(PollFlags::OUT)
    }
}

fn errno<T: core::fmt::Debug>(result: io::Result<T>) -> i32 {
    let error = result.expect_err("succeeded");
    error.raw_os_error().unwrap_or_else(|| panic!("not the system's: {error}"))
}

const EAGAIN: i32 = 11;
const EPIPE: i32 = 32;
const ENOTCONN: i32 = 107;
const ECONNRESET: i32 = 104;
const ECONNREFUSED: i32 = 111;
const EINPROGRESS: i32 = 115;

struct World {
    fake: Fake,
    channel: Arc<Channel>,
}

impl World {
    fn new(workers: u16) -> Self {
        let fake = Fake::start(workers);
        let channel = Arc::new(Channel::attach(fake.path()).expect("not attached"));
        Self { fake, channel }
    }

    /// A connection: the end that connected, the end that was accepted.
    fn pair(&self) -> (Sock, Sock) {
        let listener = Sock::listen(&self.channel, 80);
        let client = Sock::connect(&self.channel, 80).expect("not connected");
        (client, listener.accept())
    }
}

#[test]
fn a_stream_carries_bytes_both_ways() {
    let world = World::new(2);
    let (a, b) = world.pair();
    assert_eq!(a.send(b"hello").expect("no send"), 5);
    let mut buffer = [0; 16];
    assert_eq!(b.recv(&mut buffer).expect("no recv"), 5);
    assert_eq!(&buffer[..5], b"hello");
    assert_eq!(b.send(b"world!").expect("no send"), 6);
    assert_eq!(a.recv(&mut buffer).expect("no recv"), 6);
    assert_eq!(a.socket.peer_name().expect("no name"), address(80));
}

#[test]
fn the_kernel_says_readable_exactly_while_something_waits() {
    let world = World::new(1);
    let (a, b) = world.pair();
    let mut buffer = [0; 4];
    for round in 0..200 {
        assert!(!b.is_readable(0), "round {round}: nothing was sent");
        assert_eq!(errno(b.try_recv(&mut buffer)), EAGAIN);
        let _ = a.send(b"12345678").expect("no send");
        assert!(b.is_readable(1000), "round {round}: it was sent");
        assert_eq!(b.try_recv(&mut buffer).expect("no recv"), 4);
        assert!(b.is_readable(1000), "round {round}: half of it waits");
        assert_eq!(b.try_recv(&mut buffer).expect("no recv"), 4);
    }
}

#[test]
fn a_lot_arrives_whole_through_small_windows() {
    let world = World::new(2);
    let (a, b) = world.pair();
    let data: Vec<u8> = (0..3_000_000_u32).map(|i| ((i * 31) >> 3).to_ne_bytes()[0]).collect();
    let expected = data.clone();
    let sender = std::thread::spawn(move || {
        assert_eq!(a.send(&data).expect("no send"), data.len());
        a.shutdown(Shutdown::Write);
        a
    });
    let mut received: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 70_001];
    loop {
        let size = received.len() % buffer.len() + 1;
        match b.recv(&mut buffer[..size]).expect("no recv") {
            0 => break,
            len => received.extend(&buffer[..len]),
        }
    }
    assert_eq!(received.len(), expected.len());
    assert!(received == expected, "bytes differ");
    drop(sender.join().expect("panicked"));
}

#[test]
fn without_room_it_is_not_writable_and_with_room_it_is() {
    let world = World::new(1);
    let (a, b) = world.pair();
    let block = [7; 10_000];
    for round in 0..5 {
        let mut sent = 0;
        let full = loop {
            match a.try_send(&block) {
                Ok(len) => sent += len,
                Err(error) => break error,
            }
            // The worker moves bytes meanwhile: fill what the peer has room for, then our buffer.
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(full.raw_os_error(), Some(EAGAIN));
        assert!(!a.is_writable(20), "round {round}: full");
        let mut buffer = vec![0; sent];
        let all = b.receive(&mut buffer, RecvFlags::WAITALL).expect("no recv");
        assert_eq!(all.len, sent);
        assert!(a.is_writable(1000), "round {round}: the peer has read everything");
    }
}

#[test]
fn a_blocked_sender_and_a_blocked_receiver_wake() {
    let world = World::new(1);
    let (a, b) = world.pair();
    let sender = a.clone();
    let thread = std::thread::spawn(move || sender.send(&vec![1; 1_000_000]));
    std::thread::sleep(Duration::from_millis(50));
    assert!(!thread.is_finished(), "nobody has read");
    let mut buffer = vec![0; 1_000_000];
    let all = b.receive(&mut buffer, RecvFlags::WAITALL).expect("no recv");
    assert_eq!(all.len, 1_000_000);
    assert_eq!(thread.join().expect("panicked").expect("no send"), 1_000_000);

    let receiver = b.clone();
    let thread = std::thread::spawn(move || receiver.recv(&mut [0; 8]));
    std::thread::sleep(Duration::from_millis(50));
    let _ = a.send(b"wake").expect("no send");
    assert_eq!(thread.join().expect("panicked").expect("no recv"), 4);
}

#[test]
fn the_end_of_a_stream_stays_the_end() {
    let world = World::new(1);
    let (a, b) = world.pair();
    let _ = a.send(b"last").expect("no send");
    a.shutdown(Shutdown::Write);
    assert_eq!(errno(a.send(b"more")), EPIPE);
    let hup = PollFlags::IN | PollFlags::RDHUP;
    std::thread::sleep(Duration::from_millis(20));
    assert!(b.events(hup, 1000).contains(hup));
    let mut buffer = [0; 16];
    assert_eq!(b.recv(&mut buffer).expect("no recv"), 4);
    for _ in 0..3 {
        assert_eq!(b.recv(&mut buffer).expect("no recv"), 0);
        assert!(b.is_readable(0), "the end can be read");
    }
    // The other direction still works.
    let _ = b.send(b"back").expect("no send");
    assert_eq!(a.recv(&mut buffer).expect("no recv"), 4);
}

#[test]
fn a_reset_is_reported_once() {
    let world = World::new(1);
    let (a, b) = world.pair();
    let _ = a.send(b"never read").expect("no send");
    assert!(b.is_readable(1000));
    drop(b);
    let mut buffer = [0; 16];
    assert_eq!(errno(a.recv(&mut buffer)), ECONNRESET);
    assert_eq!(a.recv(&mut buffer).expect("no end"), 0);
    assert_eq!(errno(a.send(b"x")), EPIPE);
    assert!(a.is_readable(0));
}

#[test]
fn a_refused_connection_says_so() {
    let world = World::new(1);
    let refused = Sock::connect(&world.channel, 81).map(drop);
    assert_eq!(errno(refused), ECONNREFUSED);
    let sock = Sock::open(&world.channel, Transport::Stream);
    let mut buffer = [0; 4];
    assert_eq!(errno(sock.recv(&mut buffer)), ENOTCONN);
    assert_eq!(errno(sock.send(b"x")), EPIPE);
}

#[test]
fn a_nonblocking_connect_is_writable_when_it_is_decided() {
    let world = World::new(1);
    let _listener = Sock::listen(&world.channel, 80);
    let error = |sock: &Sock| {
        let value = sock.socket.option(1, 4).expect("no SO_ERROR");
        i32::from_ne_bytes(value.try_into().expect("4 bytes"))
    };
    let sock = Sock::open(&world.channel, Transport::Stream);
    assert_eq!(errno(sock.socket.connect(sock.fd.as_fd(), address(80), true)), EINPROGRESS);
    assert!(sock.is_writable(1000));
    assert_eq!(error(&sock), 0);

    let sock = Sock::open(&world.channel, Transport::Stream);
    assert_eq!(errno(sock.socket.connect(sock.fd.as_fd(), address(81), true)), EINPROGRESS);
    assert!(sock.is_writable(1000));
    assert_eq!(error(&sock), ECONNREFUSED);
    assert_eq!(error(&sock), 0);

    // Port 9 never answers.
    let sock = Sock::open(&world.channel, Transport::Stream);
    assert_eq!(errno(sock.socket.connect(sock.fd.as_fd(), address(9), true)), EINPROGRESS);
    assert!(!sock.is_writable(50), "nothing is decided");
    assert_eq!(errno(sock.try_send(b"x")), EAGAIN);
    assert_eq!(errno(sock.try_recv(&mut [0; 1])), EAGAIN);
}

#[test]
fn a_listener_is_readable_exactly_while_connections_wait() {
    let world = World::new(2);
    let listener = Sock::listen(&world.channel, 80);
    for round in 0..20 {
        assert!(!listener.is_readable(0), "round {round}: nobody has called");
        let early = listener.socket.accept(listener.fd.as_fd(), true).map(|_| ());
        assert_eq!(errno(early), EAGAIN);
        let calls: Vec<Sock> =
            (0..3).map(|_| Sock::connect(&world.channel, 80).expect("not connected")).collect();
        for _ in &calls {
            assert!(listener.is_readable(1000), "round {round}: somebody waits");
            let (socket, fd, _) =
                listener.socket.accept(listener.fd.as_fd(), true).expect("no accept");
            drop(Sock::of(socket, fd));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn datagrams_keep_their_borders_and_senders() {
    let world = World::new(2);
    let a = Sock::bound(&world.channel, 5000);
    let b = Sock::open(&world.channel, Transport::Datagram);
    for len in [0, 1, 1400, 16_384, 60_000, 65_507] {
        let data: Vec<u8> = (0..len).map(|i: usize| i.to_ne_bytes()[0]).collect();
        assert_eq!(b.send_to(&data, address(5000)).expect("no send"), len);
        let mut buffer = vec![0; 65_507];
        let got = a.receive(&mut buffer, RecvFlags::empty()).expect("no recv");
        assert_eq!(&buffer[..got.len], &data[..]);
        let port = b.socket.local_name().expect("no name").port();
        assert_eq!(got.from, Some(address(port)));
    }
    assert_eq!(errno(b.send(b"to whom?")), 89);
    assert_eq!(errno(b.send_to(&vec![0; 65_508], address(5000))), 90);
    let _ = b.send_to(b"0123456789", address(5000)).expect("no send");
    let mut small = [0; 4];
    let peek = RecvFlags::PEEK | RecvFlags::TRUNC;
    let got = a.receive(&mut small, peek).expect("no recv");
    assert_eq!((got.len, got.truncated), (10, true));
    assert_eq!(a.socket.readable_bytes(a.fd.as_fd()), 10);
    let got = a.receive(&mut small, RecvFlags::empty()).expect("no recv");
    assert_eq!((got.len, got.truncated), (4, true));
    assert_eq!(errno(a.try_recv(&mut small)), EAGAIN);
    assert!(!a.is_readable(0));
}

#[test]
fn a_refused_datagram_is_reported_once() {
    let world = World::new(1);
    let sock = Sock::open(&world.channel, Transport::Datagram);
    sock.socket.connect(sock.fd.as_fd(), address(5999), false).expect("no connect");
    let _ = sock.send(b"anybody?").expect("no send");
    assert!(sock.is_readable(1000));
    assert_eq!(errno(sock.try_recv(&mut [0; 4])), ECONNREFUSED);
    assert_eq!(errno(sock.try_recv(&mut [0; 4])), EAGAIN);
    assert!(!sock.is_readable(20));
}

#[test]
fn a_daemon_that_dies_wakes_everybody() {
    let mut world = World::new(1);
    let (a, b) = world.pair();
    let waiting = b.clone();
    let thread = std::thread::spawn(move || waiting.recv(&mut [0; 8]));
    std::thread::sleep(Duration::from_millis(50));
    world.fake.kill();
    assert_eq!(errno(thread.join().expect("panicked")), ECONNRESET);
    assert!(a.events(PollFlags::IN, 1000).contains(PollFlags::HUP));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(errno(a.send(b"x")), EPIPE);
    assert_eq!(errno(a.recv(&mut [0; 8])), ECONNRESET);
    assert_eq!(errno(Socket::open(&world.channel, Transport::Stream).map(drop)), ECONNRESET);
}

#[test]
fn a_blocked_sender_notices_that_the_daemon_dies() {
    let mut world = World::new(1);
    let (a, b) = world.pair();
    let thread = std::thread::spawn(move || {
        let data = vec![0; 1_000_000];
        let first = a.send(&data);
        (first, a.send(&data))
    });
    assert!(b.is_readable(10_000), "nothing went out");
    std::thread::sleep(Duration::from_millis(50));
    world.fake.kill();
    let (first, second) = thread.join().expect("panicked");
    assert!(first.expect("some went out") < 1_000_000);
    assert_eq!(errno(second), EPIPE);
}

#[test]
fn timeouts_end_a_wait() {
    let world = World::new(1);
    let (a, _b) = world.pair();
    let mut value = 0_i64.to_ne_bytes().to_vec();
    value.extend(60_000_i64.to_ne_bytes());
    a.socket.set_option(1, 20, &value).expect("no SO_RCVTIMEO");
    assert_eq!(a.socket.option(1, 20).expect("no SO_RCVTIMEO"), value);
    let start = Instant::now();
    assert_eq!(errno(a.recv(&mut [0; 4])), EAGAIN);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(59) && took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn cells_and_blocks_are_used_again() {
    let world = World::new(1);
    let listener = Sock::listen(&world.channel, 80);
    // More sockets than cells, more bytes than the transmit area.
    for round in 0..1000_u32 {
        let a = Sock::connect(&world.channel, 80).expect("not connected");
        let b = listener.accept();
        let data = round.to_ne_bytes().repeat(8_000);
        assert_eq!(a.send(&data).expect("no send"), data.len());
        let mut buffer = vec![0; data.len()];
        let got = b.receive(&mut buffer, RecvFlags::WAITALL).expect("no recv");
        assert_eq!(got.len, data.len());
        assert!(buffer == data, "round {round}");
    }
}

#[test]
fn many_threads_share_a_socket() {
    let world = World::new(1);
    let (a, b) = world.pair();
    let threads: Vec<_> = (1..=4_u8)
        .map(|number| {
            let sock = a.clone();
            std::thread::spawn(move || {
                (0..500).for_each(|_| assert_eq!(sock.send(&[number; 100]).expect("no send"), 100))
            })
        })
        .collect();
    let mut counts = [0_usize; 5];
    let mut buffer = [0; 4096];
    let mut total = 0;
    while total < 200_000 {
        let len = b.recv(&mut buffer).expect("no recv");
        total += len;
        buffer[..len].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    }
    assert_eq!(counts, [0, 50_000, 50_000, 50_000, 50_000]);
    threads.into_iter().for_each(|thread| thread.join().expect("panicked"));
}

impl Sock {
    fn look(&self, most: usize) -> io::Result<Option<Vec<u8>>> {
        let look = |bytes: &[u8]| {
            let used = bytes.len().min(most);
            (used, bytes[..used].to_vec())
        };
        self.socket.recv_in_place(self.fd.as_fd(), RecvFlags::DONTWAIT, look)
    }

    fn reserve(&self, wanted: usize) -> io::Result<(*mut u8, usize)> {
        self.socket.send_reserve(self.fd.as_fd(), wanted, SendFlags::DONTWAIT)
    }

    fn commit(&self, place: (*const u8, usize)) -> io::Result<usize> {
        self.socket.send_commit(self.fd.as_fd(), place, SendFlags::DONTWAIT)
    }
}

#[test]
fn bytes_can_be_read_and_written_where_they_are() {
    const LEN: usize = 1_000_000;
    let world = World::new(2);
    let (a, b) = world.pair();
    let writer = std::thread::spawn(move || {
        let mut sent = 0;
        while sent < LEN {
            let write = |room: &mut [u8]| {
                for (at, byte) in room.iter_mut().enumerate() {
                    *byte = ((sent + at) % 251).to_le_bytes()[0];
                }
                room.len()
            };
            let wanted = (LEN - sent).min(5000);
            let flags = SendFlags::empty();
            sent += a.socket.send_in_place(a.fd.as_fd(), wanted, flags, write).expect("no send");
        }
        a
    });
    let mut received = 0;
    while received < LEN {
        let look = |bytes: &[u8]| {
            // Not all of it each time.
            let used = bytes.len().div_ceil(2);
            let right =
                |(at, byte): (usize, &u8)| *byte == ((received + at) % 251).to_le_bytes()[0];
            (used, bytes.iter().enumerate().all(right).then_some(used))
        };
        let seen = b.socket.recv_in_place(b.fd.as_fd(), RecvFlags::empty(), look);
        received += seen.expect("no recv").expect("an end").expect("other bytes");
    }
    drop(writer.join().expect("panicked"));
    assert_eq!(
        b.socket.recv_in_place(b.fd.as_fd(), RecvFlags::empty(), |_| (0, ())).unwrap(),
        None
    );
}

#[test]
fn what_has_been_shown_stays_and_keeps_the_descriptor_readable_until_it_is_released() {
    let world = World::new(1);
    let (a, b) = world.pair();
    assert_eq!(errno(b.look(0)), EAGAIN);
    let _ = a.send(b"hello").expect("no send");
    assert!(b.is_readable(1000));
    assert_eq!(b.look(0).unwrap().unwrap(), b"");
    assert_eq!(b.look(2).unwrap().unwrap(), b"he");
    assert!(b.is_readable(1000), "llo");
    assert_eq!(b.socket.release(b.fd.as_fd(), 100).expect("no release"), 3);
    assert!(!b.is_readable(0));
    assert_eq!(errno(b.socket.release(b.fd.as_fd(), 1)), EAGAIN);
}

#[test]
fn a_datagram_is_shown_alone_and_whole() {
    let world = World::new(1);
    let (a, b) =
        (Sock::bound(&world.channel, 5000), Sock::open(&world.channel, Transport::Datagram));
    for text in [&b"first"[..], b"", b"third"] {
        let _ = b.send_to(text, address(5000)).expect("no send");
    }
    assert!(a.is_readable(1000));
    assert_eq!(a.look(0).unwrap().unwrap(), b"");
    for text in [&b"first"[..], b"", b"third"] {
        let look = |bytes: &[u8]| (0, bytes.to_vec());
        let seen = a.socket.recv_in_place(a.fd.as_fd(), RecvFlags::empty(), look);
        assert_eq!(seen.unwrap().unwrap(), text);
        let _ = a.socket.release(a.fd.as_fd(), text.len()).expect("no release");
    }
    assert_eq!(errno(a.look(0)), EAGAIN);
    assert_eq!(errno(a.reserve(1)), 95);
}

#[test]
fn only_what_was_reserved_last_can_be_sent() {
    let world = World::new(1);
    let (a, b) = world.pair();
    let (first, len) = a.reserve(100).expect("no room");
    assert_eq!(len, 100);
    assert_eq!(a.commit((first, 0)).expect("nothing is nothing"), 0);
    let _ = a.send(b"between").expect("no send");
    assert_eq!(errno(a.commit((first, 1))), 22);
    let (second, len) = a.reserve(100).expect("no room");
    assert_eq!(errno(a.commit((second, len + 1_000_000))), 22);
    assert_eq!(a.commit((second, 1)).expect("not sent"), 1);
    assert_eq!(errno(a.commit((second, 1))), 22);
    let mut buffer = [0; 100];
    let _ = b.receive(&mut buffer[..8], RecvFlags::WAITALL).expect("no recv");
    assert_eq!(&buffer[..7], b"between");
}

#[test]
fn switches_that_every_connection_takes_are_not_waited_for() {
    const SWITCHES: [(i32, i32); 2] = [(6, 1), (1, 9)];
    let world = World::new(1);
    let (a, b) = world.pair();
    for round in 0..100_i32 {
        for (level, name) in SWITCHES {
            a.socket.set_option(level, name, &round.to_ne_bytes()).expect("refused");
        }
    }
    let (there, here) = (a.socket.peer_name(), b.socket.local_name());
    assert_eq!(there.expect("no answer"), here.expect("no answer"), "answers are told apart");
    assert_eq!(world.fake.unasked.load(Ordering::Relaxed), 200);
}
