//! A program's socket, whatever its node says: what the program's descriptor shows.

use rustix::event::{PollFd, Timespec, poll};
use rustix::net::{RecvFlags, recv};

use super::*;

const ASKER: u64 = 1;

/// A broker with one socket whose node has agreed, and the program's end of it.
struct Case {
    near: Near,
    mouth: Mouth,
    key: Key,
    secret: u64,
    program: OwnedFd,
    now: Instant,
}

impl Case {
    fn open(transport: Transport) -> Self {
        let (mut near, mut mouth, now) = (Near::new(7), Mouth::default(), Instant::now());
        let (socket, _) = near.opening(0, Family::Inet, transport).unwrap();
        let key = Key { node: "beta".into(), socket };
        near.open(key.clone(), (ASKER, 0), (Family::Inet, transport), now).unwrap();
        let done = FarMessage::Answer { socket, number: 0, result: Ok(FarReply::Done) };
        near.heard(&key, done, (&mut mouth, now));
        let program = near.take_answers().pop().unwrap().descriptor.unwrap();
        let secret = shm::read_secret(&program).unwrap();
        Self { near, mouth, key, secret, program, now }
    }

    /// Connected, or refused.
    fn connect(&mut self, result: Result<FarReply, i32>, stuffed: u32, wait: bool) {
        let call = FarCall::Connect("198.18.77.1:80".parse().unwrap());
        let request = FarRequest::Call { secret: self.secret, call, stuffed, wait };
        self.near.request(ASKER, request, (&mut self.mouth, self.now));
        if wait {
            assert_eq!(self.told(), [], "it is not decided");
        } else {
            assert_eq!(self.told(), [Err(Errno::INPROGRESS.raw_os_error())]);
        }
        let number = self.near.sockets[&self.key].last_call;
        self.hear(FarMessage::Answer { socket: self.key.socket, number, result });
    }

    fn hear(&mut self, message: FarMessage) {
        self.near.heard(&self.key, message, (&mut self.mouth, self.now));
    }

    fn told(&mut self) -> Vec<Result<FarReply, i32>> {
        self.near.take_answers().into_iter().map(|answer| answer.answer.0).collect()
    }

    fn error(&mut self) -> i32 {
        let request = FarRequest::State { secret: self.secret, take_error: true };
        self.near.request(ASKER, request, (&mut self.mouth, self.now));
        match self.told().pop().unwrap() {
            Ok(FarReply::State { error, .. }) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Lets the broker look at the descriptor.
    fn look(&mut self) {
        let watches = self.near.watches(&self.mouth);
        let watches: Vec<_> =
            watches.map(|(key, fd, flags)| (key.clone(), events(fd, flags))).collect();
        for (key, events) in watches.into_iter().filter(|(_, events)| !events.is_empty()) {
            self.near.ready(&key, events, (&mut self.mouth, self.now));
        }
    }

    fn said(&mut self) -> Vec<FarMessage> {
        let mut said = Vec::new();
        let tell = |_: &str, bytes: &[u8]| {
            said.push(proto::parse(bytes).unwrap());
            Ok(())
        };
        let _ = self.mouth.speak(tell).unwrap();
        said
    }

    fn read(&self) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; 1 << 20];
        let (len, _) = recv(&self.program, &mut buffer[..], RecvFlags::DONTWAIT)?;
        buffer.truncate(len);
        Ok(buffer)
    }
}

fn events(fd: impl AsFd, flags: PollFlags) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), flags)];
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap();
    fds[0].revents()
}

fn stuff(fd: impl AsFd) -> u32 {
    let mut stuffed = 0;
    while let Ok(len) = send(&fd, &[0; 4096], quietly()) {
        stuffed += u32::try_from(len).unwrap();
    }
    stuffed
}

#[test]
fn a_connecting_socket_is_writable_when_it_is_decided_and_has_no_stuffing_then() {
    let mut case = Case::open(Transport::Stream);
    let stuffed = stuff(&case.program);
    assert!(stuffed > 0 && events(&case.program, PollFlags::OUT).is_empty());
    case.connect(Ok(FarReply::Done), stuffed, false);
    assert_eq!(events(&case.program, PollFlags::OUT), PollFlags::OUT);
    let _all = send(&case.program, b"text", quietly()).unwrap();
    let _call = case.said();
    case.look();
    let socket = case.key.socket;
    assert_eq!(case.said(), [FarMessage::Data { socket, bytes: b"text".to_vec() }]);
}

#[test]
fn a_refused_connection_shows_as_an_end_and_its_error_is_told_once() {
    let refused = Errno::CONNREFUSED.raw_os_error();
    let mut case = Case::open(Transport::Stream);
    let stuffed = stuff(&case.program);
    case.connect(Err(refused), stuffed, false);
    let seen = events(&case.program, PollFlags::IN | PollFlags::OUT);
    assert!(seen.contains(PollFlags::IN | PollFlags::OUT | PollFlags::HUP), "{seen:?}");
    assert_eq!(case.error(), refused);
    assert!(case.near.sockets.is_empty() && case.near.secrets.is_empty());
    // Who waits is told at once.
    let mut case = Case::open(Transport::Stream);
    case.connect(Err(refused), 0, true);
    assert_eq!(case.told(), [Err(refused)]);
    assert!(case.near.sockets.is_empty());
}

#[test]
fn no_more_is_read_than_there_is_credit_for() {
    let mut case = Case::open(Transport::Stream);
    case.connect(Ok(FarReply::Done), 0, true);
    let _call = case.said();
    let mut taken = 0;
    for _ in 0..1000 {
        taken += send(&case.program, &[1; 4096], quietly()).unwrap_or(0);
        case.look();
    }
    let len =
        |said: &FarMessage| if let FarMessage::Data { bytes, .. } = said { bytes.len() } else { 0 };
    assert_eq!(case.said().iter().map(len).sum::<usize>(), WINDOW as usize);
    case.hear(FarMessage::Credit { socket: case.key.socket, count: 5 });
    let other = FarMessage::Data { socket: 0, bytes: vec![3; DATA_MAX] };
    while !case.mouth.is_full("beta") {
        case.mouth.say("beta", &other);
    }
    case.look();
    assert!(case.said().into_iter().all(|said| said == other), "others have to go first");
    case.look();
    assert_eq!(case.said().iter().map(len).sum::<usize>(), 5);
    assert!(taken > WINDOW as usize);
}

#[test]
fn what_a_program_wrote_before_its_end_goes_while_the_node_takes_it() {
    let mut case = Case::open(Transport::Stream);
    case.connect(Ok(FarReply::Done), 0, true);
    let _call = case.said();
    let socket = case.key.socket;
    let mut more = 0;
    while more == 0 {
        case.look();
        if case.near.sockets[&case.key].credit == 0 {
            more = send(&case.program, &[2; 5], quietly()).unwrap();
        } else {
            let _some = send(&case.program, &[1; 4096], quietly()).unwrap();
        }
    }
    let _window = case.said();
    let nothing = std::fs::File::open("/dev/null").unwrap();
    drop(core::mem::replace(&mut case.program, nothing.into()));
    case.look();
    assert_eq!(case.near.watches(&case.mouth).count(), 0, "its end is known");
    case.now += CLOSE_PATIENCE;
    case.hear(FarMessage::Credit { socket, count: 3 });
    case.near.tick(case.now, &mut case.mouth);
    case.look();
    assert_eq!(case.said(), [FarMessage::Data { socket, bytes: vec![2; 3] }]);
    case.near.tick(case.now + CLOSE_PATIENCE / 2, &mut case.mouth);
    assert_eq!(case.said(), [], "the node may take more");
    case.near.tick(case.now + CLOSE_PATIENCE, &mut case.mouth);
    assert_eq!(case.said(), [FarMessage::Close { socket }]);
    assert!(case.near.sockets.is_empty());
}

#[test]
fn a_listener_has_so_many_that_wait_and_its_user_so_many_sockets() {
    let mut case = Case::open(Transport::Stream);
    let listener = case.near.sockets.get_mut(&case.key).unwrap();
    (listener.stage, listener.uid) = (Stage::Listening, 1000);
    let (key, now) = (case.key.clone(), case.now);
    let peer = "198.18.77.1:4000".parse().unwrap();
    let mut numbers = 1 << 63..;
    let mut arrive = |near: &mut Near| near.arrived(&key, numbers.next().unwrap(), peer, now);
    let count = (0..100).take_while(|_| arrive(&mut case.near)).count();
    assert_eq!(count, ARRIVED_MAX as usize);
    let secret = case.secret;
    let mut count = case.near.sockets.len();
    for _ in 0..SOCKETS_MAX {
        case.near.request(ASKER, FarRequest::Accept { secret }, (&mut case.mouth, case.now));
        count += usize::from(arrive(&mut case.near));
    }
    assert_eq!(count, OF_USER_MAX);
}

#[test]
fn what_a_program_has_not_read_waits_and_is_credited_when_it_has() {
    let mut case = Case::open(Transport::Stream);
    case.connect(Ok(FarReply::Done), 0, true);
    let _call = case.said();
    let socket = case.key.socket;
    for _ in 0..2 {
        case.hear(FarMessage::Data { socket, bytes: vec![7; WINDOW as usize / 2] });
    }
    case.hear(FarMessage::End { socket });
    let (mut got, mut credit) = (0, 0);
    for _ in 0..1000 {
        got += case.read().map_or(0, |bytes| bytes.len());
        case.look();
        for said in case.said() {
            let FarMessage::Credit { count, .. } = said else { panic!("{said:?}") };
            credit += count;
        }
    }
    assert_eq!((got, credit), (WINDOW as usize, WINDOW));
    assert_eq!(case.read(), Ok(Vec::new()), "the end comes behind the bytes");
    // A node that goes on is cut off.
    case.hear(FarMessage::Data { socket, bytes: vec![7; WINDOW as usize * 3] });
    assert_eq!(case.error(), Errno::PROTO.raw_os_error());
    assert_eq!(case.said(), [FarMessage::Close { socket }]);
}

#[test]
fn a_connection_that_has_arrived_is_a_byte_on_the_listener() {
    let mut case = Case::open(Transport::Stream);
    let listen = FarRequest::Call {
        secret: case.secret,
        call: FarCall::Listen { backlog: 5 },
        stuffed: 0,
        wait: true,
    };
    case.near.request(ASKER, listen, (&mut case.mouth, case.now));
    let (number, socket) = (case.near.sockets[&case.key].last_call, case.key.socket);
    case.hear(FarMessage::Answer { socket, number, result: Ok(FarReply::Done) });
    assert_eq!(case.told(), [Ok(FarReply::Done)]);
    assert!(events(&case.program, PollFlags::IN).is_empty());
    let peer = "198.18.77.1:4000".parse().unwrap();
    case.hear(FarMessage::Arrived { listener: socket, socket: 1 << 63, peer });
    assert_eq!(case.read(), Ok(vec![1]));
    let _before = case.said();
    case.near.request(
        ASKER,
        FarRequest::Accept { secret: case.secret },
        (&mut case.mouth, case.now),
    );
    let answer = case.near.take_answers().pop().unwrap();
    assert_eq!(answer.answer.0, Ok(FarReply::Name(peer)));
    assert!(answer.descriptor.is_some());
    assert_eq!(case.said(), [FarMessage::Credit { socket, count: 1 }]);
    // The listener is closed with one that nobody has accepted.
    case.hear(FarMessage::Arrived { listener: socket, socket: 3 << 62, peer });
    let nothing = std::fs::File::open("/dev/null").unwrap();
    drop(core::mem::replace(&mut case.program, nothing.into()));
    case.look();
    let closed = |socket| FarMessage::Close { socket };
    assert_eq!(case.said(), [closed(socket), closed(3 << 62)]);
    assert_eq!(case.near.sockets.len(), 1, "the accepted one lives on");
}

#[test]
fn when_a_node_is_lost_all_its_sockets_say_so_and_are_forgotten_in_time() {
    let lost = Errno::HOSTUNREACH.raw_os_error();
    for transport in [Transport::Stream, Transport::Datagram] {
        let mut case = Case::open(transport);
        if transport == Transport::Stream {
            case.connect(Ok(FarReply::Done), 0, true);
        }
        let call = FarCall::LocalName;
        let request = FarRequest::Call { secret: case.secret, call, stuffed: 0, wait: true };
        case.near.request(ASKER, request, (&mut case.mouth, case.now));
        let _connected = case.told();
        case.near.lost("gamma", case.now);
        assert_eq!(case.told(), []);
        case.near.lost("beta", case.now);
        assert_eq!(case.told(), [Err(lost)]);
        assert_eq!(case.read(), Ok(Vec::new()));
        assert_eq!(case.near.nodes().count(), 0);
        case.near.tick(case.now + ERROR_KEPT, &mut case.mouth);
        assert!(case.near.sockets.is_empty());
    }
}

#[test]
fn a_node_that_does_not_answer_is_given_up() {
    let (mut near, mut mouth, now) = (Near::new(7), Mouth::default(), Instant::now());
    let kind = (Family::Inet, Transport::Stream);
    let (socket, _) = near.opening(0, kind.0, kind.1).unwrap();
    let key = Key { node: "beta".into(), socket };
    near.open(key, (ASKER, 0), kind, now).unwrap();
    near.tick(now + OPEN_PATIENCE / 2, &mut mouth);
    assert!(near.take_answers().is_empty());
    near.tick(now + OPEN_PATIENCE, &mut mouth);
    let told = near.take_answers().pop().unwrap();
    assert_eq!(told.answer.0, Err(Errno::HOSTUNREACH.raw_os_error()));
    assert!(near.sockets.is_empty() && near.secrets.is_empty());
}

#[test]
fn a_node_that_leaves_a_call_unanswered_is_given_up_unless_it_connects() {
    let mut case = Case::open(Transport::Stream);
    let secret = case.secret;
    let ask = |case: &mut Case, call| {
        let request = FarRequest::Call { secret, call, stuffed: 0, wait: true };
        case.near.request(ASKER, request, (&mut case.mouth, case.now));
    };
    ask(&mut case, FarCall::Connect("198.18.77.1:80".parse().unwrap()));
    case.now += CALL_PATIENCE;
    case.near.tick(case.now, &mut case.mouth);
    assert_eq!(case.told(), [], "the stack there decides how long it tries");
    ask(&mut case, FarCall::LocalName);
    case.near.tick(case.now + CALL_PATIENCE / 2, &mut case.mouth);
    assert_eq!(case.told(), []);
    case.near.tick(case.now + CALL_PATIENCE, &mut case.mouth);
    let lost = Errno::HOSTUNREACH.raw_os_error();
    assert_eq!(case.told(), [Err(lost), Err(lost)]);
    assert_eq!(case.error(), lost, "the socket is over");
}

#[test]
fn a_user_has_so_many_sockets_and_root_what_is_left() {
    let (mut near, now) = (Near::new(7), Instant::now());
    let kind = (Family::Inet, Transport::Datagram);
    let mut open = |uid| -> Result<(), Errno> {
        let (socket, _) = near.opening(uid, kind.0, kind.1)?;
        near.open(Key { node: "beta".into(), socket }, (ASKER, uid), kind, now)
    };
    let count = core::iter::repeat_with(|| open(1000)).take_while(Result::is_ok).count();
    assert_eq!(count, OF_USER_MAX);
    assert_eq!(open(1000), Err(Errno::MFILE));
    let count = core::iter::repeat_with(|| open(0)).take_while(Result::is_ok).count();
    assert_eq!(count, SOCKETS_MAX - OF_USER_MAX);
}
