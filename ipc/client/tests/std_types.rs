//! `TcpStream`, `TcpListener` and `UdpSocket` as a program uses them: by the environment's stack.

mod fake;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use fake::{Fake, address};
use io_pkt_client::{
    Channel, Interest, Poll, Readiness, SocketOptions, TcpListener, TcpStream, UdpSocket,
};
use rustix::event::{EventfdFlags, epoll, eventfd};

/// One test: the environment is the process's.
#[test]
fn a_program_finds_its_stack_and_finds_it_again() {
    let run = std::env::temp_dir().join(format!("io-pkt-std-{}", std::process::id()));
    std::fs::create_dir_all(run.join("dev")).expect("no directory");
    // SAFETY: no other thread of this process reads the environment yet.
    unsafe { std::env::set_var("IOPKT_RUN", &run) };
    let nobody = TcpStream::connect(address(80)).map(drop).expect_err("no daemon");
    assert_eq!(nobody.kind(), ErrorKind::NotFound);

    let socket = run.join("dev/socket");
    let mut fake = Fake::start_at(&socket, 2);
    let first = Channel::current().expect("no channel");
    assert!(Arc::ptr_eq(&first, &Channel::current().expect("no channel")));
    streams();
    datagrams();
    edges();
    options_and_poll();

    two_stacks(&run);

    fake.kill();
    let fake = Fake::start_at(&socket, 1);
    let second = Channel::current().expect("no channel");
    assert!(!Arc::ptr_eq(&first, &second));
    streams();
    drop(fake);
}

/// Sockets with options, and one loop for all of them.
fn options_and_poll() {
    let options = SocketOptions::new().reuse_address(true).receive_buffer(1 << 16).nodelay(true);
    let listener = options.listen(address(90), 5).expect("no listener");
    let poll = Poll::new().expect("no set");
    poll.add(&listener, 1, Interest::READABLE).expect("not added");
    let soon = Some(Duration::from_secs(5));
    let now = Some(Duration::ZERO);
    assert_eq!(poll.wait(8, now).expect("wait"), []);
    let mut client = options.connect(address(90)).expect("no connection");
    let one = |token, writable| Readiness { token, readable: true, writable, ended: false };
    assert_eq!(poll.wait(8, soon).expect("wait"), [one(1, false)]);
    let (mut server, _) = listener.accept().expect("nobody");
    poll.remove(&listener).expect("not removed");
    poll.add(&server, 2, Interest::READABLE | Interest::ONCE).expect("not added");
    client.write_all(b"hello").expect("write");
    assert_eq!(poll.wait(8, soon).expect("wait"), [one(2, false)]);
    assert_eq!(poll.wait(8, now).expect("wait"), [], "it was told once");
    let mut into = [0; 5];
    server.read_exact(&mut into).expect("read");
    poll.modify(&server, 3, Interest::READABLE).expect("not modified");
    drop(client);
    let end = poll.wait(8, soon).expect("wait");
    assert!(end.iter().all(|event| event.token == 3 && event.ended) && end.len() == 1, "{end:?}");
}

/// A thread of its own may use another stack, and both channels stay.
fn two_stacks(run: &std::path::Path) {
    std::fs::create_dir_all(run.join("alt/dev")).expect("no directory");
    let other = Fake::start_at(&run.join("alt/dev/socket"), 1);
    let first = Channel::current().expect("no channel");
    io_pkt_client::set_sock_prefix("/alt");
    let second = Channel::current().expect("no channel");
    assert!(!Arc::ptr_eq(&first, &second));
    let elsewhere = std::thread::spawn(Channel::current).join().expect("panicked");
    assert!(Arc::ptr_eq(&first, &elsewhere.expect("no channel")), "another thread's");
    assert!(Arc::ptr_eq(&second, &Channel::current().expect("no channel")), "no new client");
    streams();
    io_pkt_client::clear_sock_prefix();
    assert!(Arc::ptr_eq(&first, &Channel::current().expect("no channel")));
    a_destructor_has_no_prefix(&first);
    drop(other);
}

/// What a thread has chosen may be gone before the last of its destructors, which finds `$SOCK`'s stack.
fn a_destructor_has_no_prefix(of_environment: &Arc<Channel>) {
    use std::cell::Cell;
    use std::sync::mpsc::{Sender, channel};

    struct AtItsEnd(Cell<Option<Sender<Arc<Channel>>>>);
    impl Drop for AtItsEnd {
        fn drop(&mut self) {
            io_pkt_client::set_sock_prefix("/none");
            let found = Channel::current().expect("no channel");
            self.0.take().expect("set before").send(found).expect("nobody listens");
        }
    }
    thread_local! {
        static LAST: AtItsEnd = const { AtItsEnd(Cell::new(None)) };
    }

    let (tell, told) = channel();
    // Destructors run in the reverse order of first uses.
    let thread = std::thread::spawn(|| {
        LAST.with(|last| last.0.set(Some(tell)));
        io_pkt_client::set_sock_prefix("/alt");
    });
    thread.join().expect("panicked");
    let found = told.recv().expect("its destructor did not get that far");
    assert!(Arc::ptr_eq(of_environment, &found));
}

fn streams() {
    let listener = TcpListener::bind(address(80)).expect("no listener");
    assert_eq!(listener.local_addr().expect("no name"), address(80));
    let server = std::thread::spawn(move || {
        let (mut stream, from) = listener.accept().expect("no accept");
        assert_eq!(stream.peer_addr().expect("no name"), from);
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).expect("no text");
        stream.write_all(text.to_uppercase().as_bytes()).expect("no answer");
    });
    let stream = TcpStream::connect(address(80)).expect("not connected");
    stream.set_nodelay(true).expect("no TCP_NODELAY");
    (&stream).write_all(b"quiet words").expect("not sent");
    stream.shutdown(std::net::Shutdown::Write).expect("no FIN");
    let mut answer = String::new();
    let _ = (&stream).read_to_string(&mut answer).expect("no answer");
    assert_eq!(answer, "QUIET WORDS");
    server.join().expect("panicked");
    assert!(stream.take_error().expect("no SO_ERROR").is_none());
}

fn datagrams() {
    let a = UdpSocket::bind(address(7000)).expect("no socket");
    let b = UdpSocket::bind(address(0)).expect("no socket");
    b.connect(address(7000)).expect("no peer");
    assert_eq!(b.send(b"ping").expect("not sent"), 4);
    let mut buffer = [0; 16];
    let (len, from) = a.recv_from(&mut buffer).expect("nothing came");
    assert_eq!(&buffer[..len], b"ping");
    assert_eq!(a.send_to(b"pong", from).expect("not sent"), 4);
    assert_eq!(b.recv(&mut buffer).expect("nothing came"), 4);
    b.set_read_timeout(Some(Duration::from_millis(30))).expect("no timeout");
    assert_eq!(b.recv(&mut buffer).expect_err("nothing sent").kind(), ErrorKind::WouldBlock);
    a.set_nonblocking(true).expect("no O_NONBLOCK");
    assert_eq!(a.recv(&mut buffer).expect_err("nothing sent").kind(), ErrorKind::WouldBlock);
}

/// Edge-triggered epoll, mixed with a descriptor of the kernel's own.
fn edges() {
    let listener = TcpListener::bind(address(81)).expect("no listener");
    let mut a = TcpStream::connect(address(81)).expect("not connected");
    let (mut b, _) = listener.accept().expect("no accept");
    b.set_nonblocking(true).expect("no O_NONBLOCK");
    let bell = eventfd(0, EventfdFlags::NONBLOCK).expect("no eventfd");
    let all = epoll::create(epoll::CreateFlags::CLOEXEC).expect("no epoll");
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&all, b.as_fd(), epoll::EventData::new_u64(1), flags).expect("no add");
    epoll::add(&all, &bell, epoll::EventData::new_u64(2), flags).expect("no add");
    let wait = |ms: i64| {
        let time = rustix::event::Timespec { tv_sec: 0, tv_nsec: ms * 1_000_000 };
        let mut events = Vec::with_capacity(4);
        let spare = rustix::buffer::spare_capacity(&mut events);
        let _ = epoll::wait(&all, spare, Some(&time)).expect("no wait");
        events.iter().map(|e: &epoll::Event| e.data.u64()).collect::<Vec<_>>()
    };
    let mut buffer = [0; 64];
    for round in 0..100 {
        assert_eq!(wait(0), [], "round {round}");
        let _ = a.write(b"edge").expect("not sent");
        assert_eq!(wait(500), [1], "round {round}");
        assert_eq!(b.read(&mut buffer).expect("nothing came"), 4);
        assert_eq!(b.read(&mut buffer).expect_err("more").kind(), ErrorKind::WouldBlock);
        let _ = rustix::io::write(&bell, &1_u64.to_ne_bytes()).expect("no bell");
        assert_eq!(wait(500), [2], "round {round}");
    }
}
