//! Forked children: what they inherit, what they get anew, and how they die.

mod fake;

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use fake::{Fake, address};
use io_pkt_client::{Channel, RecvFlags, SendFlags, Socket, Transport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

struct World {
    fake: Fake,
    channel: Arc<Channel>,
    a: (Socket, OwnedFd),
    b: (Socket, OwnedFd),
    _listener: (Socket, OwnedFd),
}

impl World {
    fn new() -> Self {
        let fake = Fake::start(1);
        let channel = Arc::new(Channel::attach(fake.path()).expect("not attached"));
        let (listener, fd) = Socket::open(&channel, Transport::Stream).expect("no socket");
        listener.bind(fd.as_fd(), address(80)).expect("no bind");
        listener.listen(fd.as_fd(), 4).expect("no listen");
        let a = Socket::open(&channel, Transport::Stream).expect("no socket");
        a.0.connect(a.1.as_fd(), address(80), false).expect("not connected");
        let (socket, accepted, _): (_, _, SocketAddr) =
            listener.accept(fd.as_fd(), false).expect("no accept");
        Self { fake, channel, a, b: (socket, accepted), _listener: (listener, fd) }
    }
}

fn send((socket, fd): &(Socket, OwnedFd), data: &[u8]) -> usize {
    socket.send(fd.as_fd(), &[IoSlice::new(data)], None, SendFlags::empty()).expect("not sent")
}

fn recv((socket, fd): &(Socket, OwnedFd), into: &mut [u8]) -> usize {
    let received = socket.recv(fd.as_fd(), &mut [IoSliceMut::new(into)], RecvFlags::empty());
    received.expect("nothing came").len
}

/// Runs `child` in a forked child; returns its process id.
fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: the child calls nothing but what this library promises to work in one, and leaves
    // by `_exit`; the allocator is made for forks by the C library.
    match unsafe { libc::fork() } {
        0 => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the process, no destructor of the parent's runs.
            unsafe { libc::_exit(i32::from(result.is_err())) }
        }
        pid => pid,
    }
}

fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    let _ = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    status
}

fn hung_up(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 50_000_000 })).expect("no poll");
    fds[0].revents().contains(PollFlags::HUP)
}

#[test]
fn a_child_uses_what_it_inherited() {
    let world = World::new();
    let mut buffer = [0; 16];
    assert_eq!(send(&world.a, b"before"), 6);
    let pid = fork(|| {
        let mut buffer = [0; 3];
        assert_eq!(recv(&world.b, &mut buffer), 3);
        assert_eq!(&buffer, b"bef");
        assert_eq!(send(&world.b, b"child"), 5);
        assert_eq!(world.b.0.peer_name().expect("no name").ip(), address(0).ip());
    });
    assert_eq!(wait(pid), 0);
    assert_eq!(recv(&world.a, &mut buffer), 5);
    assert_eq!(&buffer[..5], b"child");
    // The parent goes on where the child stopped.
    assert_eq!(recv(&world.b, &mut buffer), 3);
    assert_eq!(&buffer[..3], b"ore");
    assert!(!hung_up(world.a.1.as_fd()), "the child's copies are not the last");
}

#[test]
fn both_use_one_socket_at_once() {
    let world = World::new();
    let pid = fork(|| {
        for _ in 0..500 {
            assert_eq!(send(&world.a, &[1; 64]), 64);
        }
    });
    let mut counts = [0; 3];
    let mut total = 0;
    let mut sent = 0;
    while total < 64_000 {
        if sent < 500 {
            assert_eq!(send(&world.a, &[2; 64]), 64);
            sent += 1;
        }
        let mut buffer = [0; 1000];
        let len = recv(&world.b, &mut buffer);
        total += len;
        buffer[..len].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    }
    assert_eq!(wait(pid), 0);
    assert_eq!(counts, [0, 32_000, 32_000]);
}

#[test]
fn a_child_that_is_killed_takes_no_lock_along() {
    let world = World::new();
    for _ in 0..20 {
        let pid = fork(|| {
            loop {
                let _ = send(&world.a, &[9; 200]);
            }
        });
        std::thread::sleep(Duration::from_millis(3));
        // SAFETY: the child is ours and has not been waited for.
        let _ = unsafe { libc::kill(pid, libc::SIGKILL) };
        let _ = wait(pid);
        // Empty the queue, then see that both directions still work.
        let mut buffer = [0; 4096];
        let fd = world.b.1.as_fd();
        let quiet = Timespec { tv_sec: 0, tv_nsec: 30_000_000 };
        while poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&quiet)) == Ok(1) {
            assert!(recv(&world.b, &mut buffer) > 0);
        }
        assert_eq!(send(&world.b, b"back"), 4);
        assert_eq!(recv(&world.a, &mut buffer), 4);
    }
}

#[test]
fn new_sockets_of_a_child_are_its_own() {
    let world = World::new();
    let slot = world.channel.slot();
    let pid = fork(|| {
        let own = Arc::new(Channel::attach(world.fake.path()).expect("not attached"));
        assert_ne!(own.slot(), slot);
        let sock = Socket::open(&own, Transport::Stream).expect("no socket");
        sock.0.connect(sock.1.as_fd(), address(80), false).expect("not connected");
        assert_eq!(send(&sock, b"mine"), 4);
    });
    assert_eq!(wait(pid), 0);
}
