//! Messages of every kind there and back, hostile ones, what is asked for, and a socket on a daemon that is none.

use core::net::IpAddr;
use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use proto::message::{NewRoute, Onward};
use proto::table::{AddressRow, RouteRow};
use proto::{Answer, Call, Change, LinkRow, NetworkEvent, Reply, Request};
use rustix::io::Errno;

use super::change::{Done, perform};
use super::event::messages;
use super::layout::LAYOUTS;
use super::number::{
    NUMBERS, RTA_IFP, RTAX_MAX, RTF_BLACKHOLE, RTF_CONNECTED, RTF_DONE, RTF_GATEWAY, RTF_HOST,
    RTF_LLINFO, RTF_STATIC, RTF_UP,
};
use super::queue::{Next, Queue, Version};
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn row(to: &str, len: u8, gateway: Option<&str>, flags: &str) -> RouteRow {
    let gateway = gateway.map(ip);
    let (interface, flags) = ("tap0".into(), flags.into());
    RouteRow { destination: ip(to), prefix_len: len, gateway, interface, flags, mtu: None }
}

fn route(change: Change, to: &str, gateway: Option<&str>) -> NetworkEvent {
    NetworkEvent::Route { change, route: row(to, 24, gateway, "UGS") }
}

fn link(name: &str) -> LinkRow {
    let mac = "02:00:00:00:00:01".parse().unwrap();
    LinkRow { name: name.into(), mac, mtu: 1500, up: true, running: false }
}

/// One event of each kind.
fn events() -> Vec<NetworkEvent> {
    let address = |address: &str, len, flags: &[&str]| AddressRow {
        address: ip(address),
        prefix_len: len,
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
    };
    let narrow = RouteRow { mtu: Some(1400), ..row("2001:db8::", 32, Some("fe80::1"), "UGS") };
    let interface = |change, name| NetworkEvent::Interface { change, interface: link(name) };
    let mac = Some("02:00:00:00:00:77".parse().unwrap());
    let neighbor = |address: &str, mac| NetworkEvent::Neighbor {
        change: Change::Changed,
        interface: "tap0".into(),
        address: ip(address),
        mac,
    };
    vec![
        route(Change::Added, "203.0.113.0", Some("198.18.77.1")),
        NetworkEvent::Route { change: Change::Changed, route: narrow },
        NetworkEvent::Route { change: Change::Deleted, route: row("198.18.77.0", 24, None, "UC") },
        NetworkEvent::Route { change: Change::Added, route: row("0.0.0.0", 0, None, "USB") },
        NetworkEvent::Route { change: Change::Added, route: row("10.0.0.1", 32, None, "UHR") },
        NetworkEvent::Address {
            change: Change::Added,
            interface: "tap0".into(),
            address: address("198.18.77.2", 24, &[]),
        },
        NetworkEvent::Address {
            change: Change::Deleted,
            interface: "tap0".into(),
            address: address("fe80::2", 64, &["tentative", "autoconf"]),
        },
        interface(Change::Added, "vlan7"),
        interface(Change::Changed, "a-name-of-15-by"),
        interface(Change::Deleted, "vlan7"),
        neighbor("198.18.77.1", mac),
        neighbor("fe80::1", None),
    ]
}

#[test]
fn every_message_is_read_as_it_was_written() {
    for event in events() {
        let all = messages(&event, 3);
        assert!(!all.is_empty());
        for message in all {
            let bytes = message.emit();
            assert_eq!(bytes.len() % 8, 0);
            assert_eq!(Message::parse(&bytes), Ok(message), "{event:?}");
        }
    }
    assert_eq!(messages(&NetworkEvent::Missed { count: 3 }, 3), []);
}

#[test]
fn events_have_bsds_words() {
    let all = events();
    let [Message::Route(added)] = &messages(&all[0], 3)[..] else { panic!() };
    assert_eq!((added.kind, added.index, added.pid), (RouteKind::Add, 3, 0));
    assert_eq!(added.flags, RTF_UP | RTF_GATEWAY | RTF_STATIC);
    assert_eq!(added.destination(), Some((ip("203.0.113.0"), 24)));
    assert_eq!(added.addresses.gateway, Some(NextHop::Router(ip("198.18.77.1"))));
    let [Message::Route(own)] = &messages(&all[2], 3)[..] else { panic!() };
    assert_eq!((own.kind, own.flags), (RouteKind::Delete, RTF_UP | RTF_CONNECTED));
    let tap0 = LinkAddress { index: 3, name: "tap0".into(), mac: None };
    assert_eq!(own.addresses.gateway, Some(NextHop::Link(tap0)));
    let [Message::Route(host)] = &messages(&all[4], 3)[..] else { panic!() };
    assert_eq!((host.flags & RTF_HOST, host.addresses.prefix_len), (RTF_HOST, None));
    let [Message::Address(address)] = &messages(&all[5], 3)[..] else { panic!() };
    assert_eq!(address.addresses.broadcast, Some("198.18.77.255".parse().unwrap()));
    let [announce, state] = &messages(&all[7], 3)[..] else { panic!() };
    let arrived = AnnounceMessage { index: 3, name: "vlan7".into(), arrived: true };
    assert_eq!(*announce, Message::Announce(arrived));
    let Message::Interface(state) = state else { panic!("{state:?}") };
    assert_eq!((state.mtu, state.running), (1500, false));
    let [Message::Route(neighbor)] = &messages(&all[10], 3)[..] else { panic!() };
    assert_eq!(neighbor.flags, RTF_UP | RTF_HOST | RTF_LLINFO);
}

/// The layout that is promised to programs, without this module's own help.
#[test]
fn bytes_are_where_bsd_has_them() {
    let [message] = &messages(&events()[0], 3)[..] else { panic!() };
    let bytes = message.emit();
    assert_eq!(bytes.len(), 120 + 16 + 16 + 16 + 32);
    assert_eq!(bytes[..2], 200_u16.to_ne_bytes());
    assert_eq!(bytes[2..4], [4, 1]);
    assert_eq!(bytes[12..16], 0x17_i32.to_ne_bytes(), "DST, GATEWAY, NETMASK, IFP");
    assert_eq!(bytes[120..128], [16, 2, 0, 0, 203, 0, 113, 0]);
    assert_eq!(bytes[136..144], [16, 2, 0, 0, 198, 18, 77, 1]);
    assert_eq!(bytes[152..160], [16, 2, 0, 0, 255, 255, 255, 0]);
    assert_eq!(bytes[168..170], [32, 18]);
    assert_eq!(bytes[172..180], [6, 4, 0, 0, b't', b'a', b'p', b'0']);
}

/// A question with these addresses behind its head, and bits that claim others.
fn written(addrs: i32, addresses: &[u8]) -> Vec<u8> {
    let mut bytes = Message::Route(RouteMessage::new(RouteKind::Get)).emit();
    bytes.extend_from_slice(addresses);
    let len = u16::try_from(bytes.len()).unwrap();
    bytes[..2].copy_from_slice(&len.to_ne_bytes());
    bytes[12..16].copy_from_slice(&addrs.to_ne_bytes());
    bytes
}

#[test]
fn short_masks_and_empty_ones_are_bsds() {
    let dst = [16, 2, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (mask, len) in [
        (&[16, 2, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], 16),
        (&[5, 0, 0, 0, 255, 0, 0, 0], 8),
        (&[5, 255, 255, 255, 255], 8),
        (&[0; 8], 0),
        (&[0], 0),
    ] {
        let read = RouteMessage::parse(&written(5, &[&dst[..], mask].concat())).unwrap();
        assert_eq!(read.destination(), Some((ip("10.0.0.0"), len)), "{mask:?}");
    }
    let holes = [8, 0, 0, 0, 255, 0, 255, 0];
    let read = RouteMessage::parse(&written(5, &[&dst[..], &holes].concat()));
    assert_eq!(read, Err(Malformed::Addresses));
}

#[test]
fn hostile_messages_are_refused() {
    let good = Message::Route(RouteMessage::get(ip("10.0.0.1"))).emit();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Message::parse(&bytes)
    };
    assert_eq!(with(0, 0), Err(Malformed::Length));
    assert_eq!(with(2, 3), Err(Malformed::Version));
    for kind in [0, 5, 7, 0x11, 0xff] {
        assert_eq!(with(3, kind), Err(Malformed::Kind), "{kind}");
    }
    assert_eq!(with(121, 1), Err(Malformed::Family));
    assert_eq!(with(120, 17), Err(Malformed::Addresses), "longer than the message");
    assert_eq!(with(13, 2), Err(Malformed::Addresses), "a tenth address");
    assert_eq!(with(15, 0x80), Err(Malformed::Addresses), "a negative set");
    assert_eq!(with(12, 3), Err(Malformed::Addresses), "one that is not there");
    assert_eq!(written(1 << RTAX_MAX, &[0; 80]).len(), 200);
    assert!(Message::parse(&written((1 << RTAX_MAX) - 1, &[0; 72])).is_err());
    assert_eq!(Message::parse(&vec![0; 4096]), Err(Malformed::Length));
    let long = [32, 18, 0, 0, 6, 24, 6, 0];
    assert_eq!(Message::parse(&written(RTA_IFP, &long)), Err(Malformed::Addresses));
    let told = messages(&events()[7], 3).remove(0).emit();
    assert_eq!(RouteMessage::parse(&told), Err(Malformed::Kind), "nothing to be written");
}

/// Whatever is cut or changed: no panic, and what can be read can be written and is the same then.
#[test]
fn no_bytes_make_reading_fail_otherwise() {
    for message in events().iter().flat_map(|event| messages(event, 3)) {
        let bytes = message.emit();
        for len in 0..bytes.len() {
            assert!(Message::parse(&bytes[..len]).is_err(), "cut to {len}");
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 7, 16, 28, 0x7f, 0x80, 0xff] {
                let mut other = bytes.clone();
                other[at] = value;
                let Ok(read) = Message::parse(&other) else { continue };
                assert_eq!(Message::parse(&read.emit()), Ok(read), "{value} at {at}");
            }
        }
    }
}

#[test]
fn the_header_has_these_numbers_and_layouts() {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../libiopkt/include");
    let mut source = String::from(
        "#include <net/route.h>\n#include <net/if.h>\n#include <linux/rtnetlink.h>\n\
         #include <stddef.h>\n#include <iopkt_route.h>\n",
    );
    for (name, value) in NUMBERS {
        writeln!(source, "_Static_assert(IOPKT_{name} == {value}, \"{name}\");").unwrap();
    }
    for (name, len, fields) in LAYOUTS {
        if *len > 4 {
            writeln!(source, "_Static_assert(sizeof(struct {name}) == {len}, \"{name}\");")
                .unwrap();
        }
        for (field, at) in *fields {
            let place = format!("offsetof(struct {name}, {field})");
            writeln!(source, "_Static_assert({place} == {at}, \"{field}\");").unwrap();
        }
    }
    let folder = Folder::new("header");
    // By BSD's names, where Linux's are not.
    let mut plain = String::from("#define IOPKT_BSD_NAMES\n#include <iopkt_route.h>\n");
    for (name, value) in NUMBERS {
        writeln!(plain, "_Static_assert({name} == {value}, \"{name}\");").unwrap();
    }
    for (name, text) in [("all.c", source), ("plain.c", plain)] {
        let file = folder.0.join(name);
        std::fs::write(&file, text).unwrap();
        let mut cc = Command::new("cc");
        let cc = cc.args(["-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"]);
        let output = cc.arg(&include).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What a message asks the daemon for, who answers from this list.
fn asked(
    message: &RouteMessage,
    answers: Vec<Result<Reply, Errno>>,
) -> (Result<Done, Errno>, Vec<Request>) {
    let (mut answers, mut requests) = (answers.into_iter(), Vec::new());
    let done = perform(message, &mut |request| {
        requests.push(request);
        answers.next().expect("an unexpected question")
    });
    assert_eq!(answers.next(), None, "not asked");
    (done, requests)
}

fn add(to: &str, onward: Onward, mtu: Option<u16>) -> Request {
    let route = NewRoute { destination: ip(to), prefix_len: 24, onward, mtu };
    Request::AddRoute { table: 0, route }
}

fn delete(to: &str, gateway: Option<&str>) -> Request {
    let (destination, gateway) = (ip(to), gateway.map(ip));
    Request::DeleteRoute { table: 0, destination, prefix_len: 24, gateway }
}

const NET: &str = "203.0.113.0";
const FIRST: &str = "198.18.77.1";
const SECOND: &str = "198.18.77.3";

#[test]
fn messages_ask_for_routes() {
    let net = (ip(NET), 24);
    let new = RouteMessage::add(ip(NET), 24, ip(FIRST));
    let by_first = Onward::Gateway(ip(FIRST));
    let (done, requests) = asked(&new, vec![Ok(Reply::Done)]);
    assert_eq!(done, Ok(Done::There(net, Some(ip(FIRST)), None)));
    assert_eq!(requests, [add(NET, by_first, None)]);
    assert_eq!(asked(&new, vec![Err(Errno::PERM)]).0, Err(Errno::PERM));
    let dropped = RouteMessage { flags: RTF_BLACKHOLE, ..new.clone() };
    let (_, requests) = asked(&dropped, vec![Ok(Reply::Done)]);
    assert_eq!(requests, [add(NET, Onward::Blackhole, None)]);
    let gone = RouteMessage::delete(ip(NET), 24);
    let (done, requests) = asked(&gone, vec![Ok(Reply::Done)]);
    assert_eq!((done, requests), (Ok(Done::Gone(net)), vec![delete(NET, None)]));
    let found = row(NET, 24, Some(FIRST), "UGS");
    let get = RouteMessage::get(ip("203.0.113.7"));
    let (done, _) = asked(&get, vec![Ok(Reply::Routes(vec![found.clone()]))]);
    assert_eq!(done, Ok(Done::Found(found)));
    assert_eq!(asked(&get, vec![Ok(Reply::Routes(Vec::new()))]).0, Err(Errno::SRCH));
    for kind in [RouteKind::Add, RouteKind::Delete, RouteKind::Get, RouteKind::Change] {
        assert_eq!(asked(&RouteMessage::new(kind), Vec::new()).0, Err(Errno::INVAL));
    }
    let nowhere = Addresses { gateway: None, ..new.addresses.clone() };
    let nowhere = RouteMessage { addresses: nowhere, ..new };
    assert_eq!(asked(&nowhere, Vec::new()).0, Err(Errno::INVAL));
}

#[test]
fn the_route_to_exactly_a_network_is_looked_for_before_it() {
    for (to, len, after) in [
        ("10.0.0.0", 8, Some((ip("9.255.255.255"), 32))),
        ("0.0.0.0", 0, None),
        ("::", 0, Some((ip("255.255.255.255"), 32))),
        ("2001:db8::", 32, Some((ip("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff"), 128))),
    ] {
        let prefix_len = Some(len);
        let get = RouteMessage::get(ip(to));
        let addresses = Addresses { prefix_len, ..get.addresses.clone() };
        let get = RouteMessage { addresses, flags: 0, ..get };
        let longer = row(to, len + 1, None, "UC");
        let exact = row(to, len, None, "UC");
        let (done, requests) = asked(&get, vec![Ok(Reply::Routes(vec![longer, exact.clone()]))]);
        assert_eq!(done, Ok(Done::Found(exact)));
        assert_eq!(requests, [Request::Routes { table: 0, after }]);
    }
}

#[test]
fn a_change_leaves_no_moment_without_a_gateway() {
    let change =
        RouteMessage { kind: RouteKind::Change, ..RouteMessage::add(ip(NET), 24, ip(SECOND)) };
    let ok = || Ok(Reply::Done);
    let before = || Ok(Reply::Routes(vec![row(NET, 24, Some(FIRST), "UGS")]));
    let (done, requests) = asked(&change, vec![before(), ok(), ok()]);
    assert_eq!(done, Ok(Done::There((ip(NET), 24), Some(ip(SECOND)), None)));
    let by = |gateway| Onward::Gateway(ip(gateway));
    assert_eq!(requests[1..], [add(NET, by(SECOND), None), delete(NET, Some(FIRST))]);
    assert_eq!(asked(&change, vec![Ok(Reply::Routes(Vec::new()))]).0, Err(Errno::SRCH));
    // Another MTU is another route; what is refused leaves the old one.
    let narrow = RouteMessage { mtu: Some(100), ..change };
    let (done, requests) = asked(&narrow, vec![before(), ok(), Err(Errno::INVAL), ok()]);
    assert_eq!(done, Err(Errno::INVAL));
    let back = add(NET, by(FIRST), None);
    assert_eq!(requests[1..], [delete(NET, None), add(NET, by(SECOND), Some(100)), back]);
}

fn all_of(queue: &mut Queue) -> Vec<Next> {
    let next = || Some(queue.next(false)).filter(|next| *next != Next::Nothing);
    core::iter::from_fn(next).collect()
}

#[test]
fn what_does_not_fit_is_said_to_be_missing() {
    let mut queue = Queue::new(None);
    (0..3000).for_each(|_| queue.hear(route(Change::Added, NET, Some(FIRST))));
    let all = all_of(&mut queue);
    assert_eq!(all.len(), 1025);
    assert_eq!(all.last(), Some(&Next::Missed));
    queue.hear(NetworkEvent::Missed { count: 7 });
    queue.hear(NetworkEvent::Missed { count: 9 });
    assert_eq!(all_of(&mut queue), [Next::Missed], "once");
}

#[test]
fn only_what_is_wanted_is_heard() {
    let of = |wants| {
        let mut queue = Queue::new(wants);
        events().into_iter().for_each(|event| queue.hear(event));
        all_of(&mut queue).len()
    };
    assert_eq!((of(None), of(Some(Version::V4)), of(Some(Version::V6))), (13, 10, 7));
}

#[test]
fn own_changes_are_told_once_and_others_always() {
    let mut queue = Queue::new(None);
    let (net, ours) = ((ip(NET), 24), Some(ip(FIRST)));
    let heard = |queue: &mut Queue, event| {
        queue.hear(event);
        all_of(queue).len()
    };
    queue.know(&Done::There(net, ours, None));
    assert_eq!(heard(&mut queue, route(Change::Added, "192.0.2.0", Some(FIRST))), 1);
    assert_eq!(heard(&mut queue, route(Change::Changed, NET, Some(SECOND))), 1);
    assert_eq!(heard(&mut queue, route(Change::Added, NET, Some(FIRST))), 0, "our own");
    assert_eq!(heard(&mut queue, route(Change::Added, NET, Some(FIRST))), 1, "once more");
    queue.know(&Done::Gone(net));
    assert_eq!(heard(&mut queue, route(Change::Deleted, NET, Some(FIRST))), 0);
    assert_eq!(heard(&mut queue, route(Change::Deleted, NET, Some(FIRST))), 1);
    // Of several gateways one is gone; then somebody deletes the rest.
    queue.know(&Done::Gone(net));
    assert_eq!(heard(&mut queue, route(Change::Changed, NET, Some(SECOND))), 1);
    assert_eq!(heard(&mut queue, route(Change::Deleted, NET, Some(SECOND))), 1);
    queue.know(&Done::There(net, ours, None));
    queue.know(&Done::Gone(net));
    assert_eq!(heard(&mut queue, route(Change::Added, NET, Some(FIRST))), 1, "somebody's");
    queue.know(&Done::There(net, ours, Some(1400)));
    assert_eq!(heard(&mut queue, route(Change::Changed, NET, Some(FIRST))), 1, "its MTU");
}

/// A folder that goes again.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("iopkt-route-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The daemon's end of a connection.
struct Peer(OwnedFd);

impl Peer {
    fn call(&self) -> Option<Call> {
        let mut buffer = vec![0; proto::MESSAGE_MAX];
        let (_, len) =
            rustix::net::recv(&self.0, &mut buffer[..], rustix::net::RecvFlags::empty()).unwrap();
        (len > 0).then(|| proto::parse(&buffer[..len]).unwrap())
    }

    fn answer(&self, sequence: u32, result: Result<Reply, i32>) {
        let bytes = proto::emit(&Answer { sequence, result }).unwrap();
        let flags = rustix::net::SendFlags::NOSIGNAL;
        assert_eq!(rustix::net::send(&self.0, &bytes, flags), Ok(bytes.len()));
    }

    fn tell(&self, events: Vec<NetworkEvent>) {
        self.answer(1, Ok(Reply::Events(events)));
    }
}

/// A daemon that refuses to add routes, knows no interface, and a socket on it.
fn served(name: &str) -> (Folder, RouteEnd, OwnedFd, Peer) {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let folder = Folder::new(name);
    let path = folder.0.join("socket");
    let (unix, seqpacket) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let listener = rustix::net::socket_with(unix, seqpacket, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 2).unwrap();
    let daemon = std::thread::spawn(move || {
        // No program that another test starts keeps these.
        let accept = || Peer(rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).unwrap());
        let events = accept();
        let call = events.call().unwrap();
        assert_eq!(call.request, Request::Monitor);
        events.answer(call.sequence, Ok(Reply::Done));
        let questions = accept();
        let _more = std::thread::spawn(move || {
            while let Some(Call { sequence, request }) = questions.call() {
                let result = match request {
                    Request::Interfaces(_) => Ok(Reply::Interfaces(Vec::new())),
                    _ => Err(Errno::PERM.raw_os_error()),
                };
                questions.answer(sequence, result);
            }
        });
        events
    });
    let (end, fd) = RouteEnd::open_at(path, None).unwrap();
    (folder, end, fd, daemon.join().unwrap())
}

fn is_ready(fd: &OwnedFd) -> bool {
    becomes_ready(fd, 0)
}

fn becomes_ready(fd: &OwnedFd, seconds: i64) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).unwrap() > 0
}

#[test]
fn the_descriptor_is_ready_as_long_as_there_is_something() {
    let (_folder, end, fd, peer) = served("ready");
    let recv = || end.recv(fd.as_fd(), true, false);
    let number = |result: std::io::Result<Message>| result.unwrap_err().raw_os_error();
    assert!(!is_ready(&fd));
    assert_eq!(number(recv()), Some(Errno::AGAIN.raw_os_error()));
    peer.tell(vec![
        route(Change::Added, NET, Some(FIRST)),
        NetworkEvent::Missed { count: 3 },
        NetworkEvent::Interface { change: Change::Added, interface: link("vlan7") },
    ]);
    assert!(is_ready(&fd));
    let first = end.recv(fd.as_fd(), true, true).unwrap();
    assert_eq!(recv().unwrap(), first, "looked at, then taken");
    assert!(is_ready(&fd));
    assert_eq!(number(recv()), Some(Errno::NOBUFS.raw_os_error()));
    assert!(matches!(recv(), Ok(Message::Announce(_))));
    assert!(is_ready(&fd));
    assert!(matches!(recv(), Ok(Message::Interface(_))));
    assert!(!is_ready(&fd));
    drop(peer);
    // A program that another test is just starting has it a moment longer.
    assert!(becomes_ready(&fd, 10));
    assert_eq!(number(recv()), Some(Errno::NETDOWN.raw_os_error()));
}

#[test]
fn what_is_refused_comes_back_with_its_errno() {
    let (_folder, end, fd, peer) = served("refused");
    let message = RouteMessage { seq: 42, ..RouteMessage::add(ip(NET), 24, ip(FIRST)) };
    let refused = end.send(&message).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(Errno::PERM.raw_os_error()));
    assert!(is_ready(&fd));
    let Message::Route(answer) = end.recv(fd.as_fd(), true, false).unwrap() else { panic!() };
    let pid = std::process::id().cast_signed();
    assert_eq!((answer.pid, answer.seq), (pid, 42));
    assert_eq!((answer.errno, answer.flags & RTF_DONE), (Errno::PERM.raw_os_error(), 0));
    assert!(!is_ready(&fd));
    drop(peer);
}
