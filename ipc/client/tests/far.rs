//! Asking the broker of other nodes' sockets: who asks, whom, and what a signal may end.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use io_pkt_client::far::{self, FarCall, FarReply, FarRequest};
use io_pkt_client::{Family, Transport};
use proto::far::FarAnswer;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept, bind, listen, recv, send, sendmsg, socket_with, socketpair,
};

const ACCEPT: FarRequest = FarRequest::Accept { secret: 7 };

/// One test: the environment is the process's.
#[test]
fn a_broker_is_asked() {
    let run = std::env::temp_dir().join(format!("io-pkt-far-{}", std::process::id()));
    std::fs::create_dir_all(run.join("alt/dev")).expect("no directory");
    // SAFETY: no other thread of this process reads the environment yet.
    unsafe { std::env::set_var("IOPKT_RUN", &run) };

    let (listener, arrivals) = pair();
    let _one = send(&arrivals, &[0], SendFlags::empty()).expect("a byte");
    io_pkt_client::set_sock_prefix("/alt/net/beta");
    let refused = far::take_arrival(listener.as_fd()).expect_err("nobody to ask");
    assert_eq!(refused.raw_os_error(), Some(Errno::NETDOWN.raw_os_error()));

    let _broker = serve(&run.join("alt/dev/net"));
    let _fd = far::open(Family::Inet, Transport::Stream).expect("a socket");
    io_pkt_client::clear_sock_prefix();
    let threads = std::thread::spawn(|| far::ask(&ACCEPT).map(|(reply, _)| reply));
    let reply = threads.join().expect("no panic").expect("the broker of the socket's stack");
    assert_eq!(reply, FarReply::Done);

    let taken = far::take_arrival(listener.as_fd()).expect("the byte is still there");
    let sleeper = this_thread();
    let interrupts = std::thread::spawn(move || {
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(50));
            interrupt(sleeper);
        }
    });
    let (reply, _) = taken.ask(&ACCEPT).expect("what is taken is not given up");
    interrupts.join().expect("no panic");
    assert_eq!(reply, FarReply::Done);

    let sleeper = this_thread();
    let interrupts = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        interrupt(sleeper);
    });
    let call = FarCall::Connect("198.18.77.1:80".parse().expect("an address"));
    let connect = FarRequest::Call { secret: 7, call, stuffed: 0, wait: true };
    let ended = far::ask(&connect).expect_err("a signal ends it");
    interrupts.join().expect("no panic");
    assert_eq!(ended.raw_os_error(), Some(Errno::INTR.raw_os_error()));
    std::fs::remove_dir_all(&run).expect("no directory");
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a pair")
}

/// A broker that thinks for 0.3 s about each request but the first.
fn serve(path: &Path) -> std::thread::JoinHandle<()> {
    let flags = SocketFlags::CLOEXEC;
    let door = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("door");
    bind(&door, &SocketAddrUnix::new(path).expect("short")).expect("bound");
    listen(&door, 8).expect("listening");
    std::thread::spawn(move || {
        while let Ok(asker) = accept(&door) {
            let mut buffer = [0; 4096];
            let Ok((len @ 1.., _)) = recv(&asker, &mut buffer, RecvFlags::empty()) else {
                continue;
            };
            let request: FarRequest = proto::parse(&buffer[..len]).expect("a request");
            let opens = matches!(request, FarRequest::Open { .. });
            let bytes = proto::emit(&FarAnswer(Ok(FarReply::Done))).expect("short");
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let (theirs, _ours) = pair();
            let descriptors = [theirs.as_fd()];
            if opens {
                assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
            } else {
                std::thread::sleep(Duration::from_millis(300));
            }
            let _gone = sendmsg(&asker, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL);
        }
    })
}

fn this_thread() -> libc::pthread_t {
    extern "C" fn nothing(_: libc::c_int) {}
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: all zeros is an action without flags: calls are not begun anew.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: an action of ours, and no old one is asked for.
    let set = unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, core::ptr::null_mut()) };
    assert_eq!(set, 0);
    // SAFETY: no arguments.
    unsafe { libc::pthread_self() }
}

fn interrupt(thread: libc::pthread_t) {
    // SAFETY: the thread joins this one before it ends.
    let sent = unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
    assert_eq!(sent, 0);
}
