//! Packets in pieces, of both versions of IP: made whole on their way in, cut on their way out.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::io::{IoSlice, IoSliceMut};

use harness::router::packet;
use harness::{LOCAL, LOCAL6, PEER, PEER6, World, frame, frame6};
use inet::SocketId;
use inet::command::{Command, MtuDiscover, SocketOption, Transport};
use inet::limits::FRAGMENT_TIMEOUT;
use shm::{Ancillary, SocketMemory};
use types::DropReason;
use wire::ipv4::Protocol;
use wire::{IntoBytes, ethernet, icmp, icmp6, ipv4, ipv6, udp};

/// What a link of 1500 bytes takes of a payload, in each version of IP.
const ROOM4: usize = 1480;
const ROOM6: usize = 1448;
const PORT: u16 = 7;

/// A packet's payload in pieces.
#[derive(Clone, Copy)]
struct Cutter {
    is_ipv6: bool,
    protocol: Protocol,
    id: u32,
}

const V4: Cutter = Cutter { is_ipv6: false, protocol: Protocol::UDP, id: 1 };
const V6: Cutter = Cutter { is_ipv6: true, ..V4 };

impl Cutter {
    fn with_id(self, id: u32) -> Self {
        Self { id, ..self }
    }

    /// One piece in a frame from the peer.
    fn piece(self, offset: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
        let at = u16::try_from(offset).unwrap();
        if self.is_ipv6 {
            let head = ipv6::FragmentHeader::new(self.protocol, at, more, self.id);
            let bytes = [head.as_bytes(), bytes].concat();
            let next = ipv6::FragmentHeader::PROTOCOL;
            return frame6::packet(&frame6::header(PEER6, LOCAL6, next, &bytes), &bytes);
        }
        packet(PEER, LOCAL, bytes, |header| ipv4::Header {
            protocol: self.protocol.0,
            id: u16::try_from(self.id).unwrap().into(),
            flags_fragment: ((at >> 3) | u16::from(more) << 13).into(),
            ..header
        })
    }

    /// All pieces of so many bytes each.
    fn pieces(self, payload: &[u8], len: usize) -> Vec<Vec<u8>> {
        let last = payload.len().saturating_sub(1) / len;
        let pieces = payload.chunks(len).enumerate();
        pieces.map(|(at, bytes)| self.piece(at * len, at < last, bytes)).collect()
    }
}

struct Host(World);

impl Host {
    /// What comes back for these frames.
    fn exchange(&mut self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut answers = Vec::new();
        for some in frames.chunks(16) {
            for frame in some {
                assert!(self.0.inject(frame));
            }
            self.0.pass(Duration::from_millis(1));
            answers.extend(self.0.sent());
        }
        // What is for ourselves comes in with the next breath.
        self.0.pass(Duration::from_millis(1));
        answers.extend(self.0.sent());
        answers
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.0.worker.counters().drops.value(reason as usize)
    }

    /// So many packets are dropped for this reason; what is said about it.
    fn dropped(&mut self, frames: &[Vec<u8>], reason: DropReason, count: u64) -> Vec<Vec<u8>> {
        let before = self.drops(reason);
        let answers = self.exchange(frames);
        assert_eq!(self.drops(reason) - before, count, "{reason:?}");
        answers
    }

    /// A socket at a port of its own.
    fn bind(&mut self, local: IpAddr, port: u16) -> (SocketId, SocketMemory) {
        let (socket, cell, descriptor) = self.0.open(Transport::Datagram).unwrap();
        core::mem::forget(descriptor);
        let local = SocketAddr::new(local, port);
        let _ = self.0.call(|call| Command::Bind { call, socket, local }).unwrap();
        (socket, self.0.memory(cell).unwrap())
    }

    fn send(&mut self, memory: &SocketMemory, to: SocketAddr, payload: &[u8]) -> Vec<Vec<u8>> {
        let payload = [IoSlice::new(payload)];
        memory.send().push_datagram(Some(to), &Ancillary::default(), &payload).unwrap();
        self.0.pass(Duration::from_millis(1));
        self.0.sent()
    }

    fn close(&mut self, socket: SocketId) {
        self.0.send(Command::Close { socket, reset: false });
        self.0.breathe();
    }

    fn set(&mut self, socket: SocketId, option: SocketOption) {
        let _ = self.0.call(|call| Command::SetOption { call, socket, option }).unwrap();
    }
}

fn receive(memory: &SocketMemory) -> Option<Vec<u8>> {
    let mut room = vec![0; 70_000];
    let got = memory.receive().read_datagram(&mut [IoSliceMut::new(&mut room)], false)?;
    room.truncate(got.len);
    Some(room)
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// A datagram from the peer's port 1 to ours.
fn datagram(cutter: Cutter, text: &[u8]) -> Vec<u8> {
    let head = udp::Header::new(1, PORT, text.len()).unwrap();
    let head = if cutter.is_ipv6 {
        head.with_checksum(PEER6, LOCAL6, text)
    } else {
        head.with_checksum(PEER, LOCAL, text)
    };
    [head.as_bytes(), text].concat()
}

/// IP header fields that matter here: offset, more, id, don't fragment, payload.
type Part = (usize, bool, u32, bool, Vec<u8>);

fn part(frame: &[u8]) -> Option<Part> {
    let frame = ethernet::Frame::parse(frame).ok()?;
    if let Ok(packet) = ipv4::Packet::parse(frame.payload) {
        packet.verify().unwrap();
        let h = packet.header;
        let id = h.id.get().into();
        let place = (h.fragment_offset(), h.more_fragments());
        return Some((place.0, place.1, id, h.dont_fragment(), packet.payload.to_vec()));
    }
    let packet = ipv6::Packet::parse(frame.payload).ok()?;
    let chain = packet.chain().unwrap();
    let Some(fragment) = chain.fragment else {
        return Some((0, false, 0, true, packet.payload.to_vec()));
    };
    let bytes = packet.payload[ipv6::FragmentHeader::LEN..].to_vec();
    let h = fragment.header;
    Some((h.offset(), h.more_fragments(), h.id.get(), false, bytes))
}

/// The payload of one packet, which was sent in pieces that fit and follow each other.
fn joined(frames: &[Vec<u8>], mtu: usize) -> Vec<u8> {
    let parts: Vec<Part> = frames.iter().filter_map(|frame| part(frame)).collect();
    assert_eq!(parts.len(), frames.len());
    assert!(frames.iter().all(|frame| frame.len() <= mtu + ethernet::Header::LEN));
    let mut whole = Vec::new();
    for (at, (offset, more, id, whole_only, bytes)) in parts.iter().enumerate() {
        assert_eq!((*offset, *more), (whole.len(), at + 1 < parts.len()));
        assert_eq!(*id, parts[0].2, "one name");
        assert!(!whole_only || parts.len() == 1, "routers may cut them again");
        whole.extend_from_slice(bytes);
    }
    whole
}

fn datagrams_of_all_lengths_arrive(host: &mut Host) {
    for (cutter, local, room, longest) in
        [(V4, IpAddr::from(LOCAL), ROOM4, 65_507), (V6, LOCAL6.into(), ROOM6, 65_487)]
    {
        let (socket, memory) = host.bind(local, PORT);
        for (id, len) in (10..).zip([room - 7, room, 2 * room - 8, 2 * room - 7, 9_000, longest]) {
            let (sent, cutter) = (text(len), cutter.with_id(id));
            let mut frames = cutter.pieces(&datagram(cutter, &sent), room);
            assert!(host.exchange(&frames).is_empty());
            assert!(receive(&memory).as_ref() == Some(&sent), "{len}");
            // In the opposite order they are as good, and once more each of them harms nobody.
            frames.reverse();
            let again: Vec<_> = frames[1..].iter().flat_map(|f| [f.clone(), f.clone()]).collect();
            let twice = (frames.len() as u64).saturating_sub(1);
            let first = host.dropped(&frames[..1], DropReason::FragmentDuplicate, 0);
            assert!(first.is_empty());
            let last = again.len() - 1;
            let _ = host.dropped(&again[..last], DropReason::FragmentDuplicate, twice - 1);
            assert!(receive(&memory) == Some(sent), "reversed, {len}");
        }
        // One that is spoiled on its way is found out as a whole.
        let spoiled = [datagram(cutter, &text(3_000)), vec![1]].concat();
        let frames = cutter.with_id(9).pieces(&spoiled[..3_008], 1_000);
        let mut frames: Vec<_> = frames.into_iter().map(|f| f.to_vec()).collect();
        let end = frames[1].len() - 1;
        frames[1][end] ^= 1;
        let _ = host.dropped(&frames, DropReason::UdpChecksum, 1);
        assert_eq!(receive(&memory), None);
        host.close(socket);
    }
    let counters = host.0.worker.counters();
    let of = |rows: Vec<(&str, &str, u64)>| {
        rows.iter().find(|row| row.0 == "packets_reassembled").map(|row| row.2)
    };
    assert_eq!(of(counters.ipv4.rows().collect()), Some(13));
    assert_eq!(of(counters.ipv6.rows().collect()), Some(13));
    assert_eq!(host.0.worker.usage().fragments, 0);
}

fn long_echoes_are_answered(host: &mut Host) {
    for len in [1_472, 1_473, 8_000, 60_000] {
        let request = frame::echo(&text(len));
        let payload = &request[14 + 20..];
        let cutter = Cutter { protocol: Protocol::ICMP, ..V4 };
        let answers = host.exchange(&cutter.pieces(payload, ROOM4));
        let reply = joined(&answers, 1_500);
        let message = icmp::Message::parse(&reply).unwrap();
        message.verify().unwrap();
        assert_eq!(
            (message.header.kind(), message.payload),
            (icmp::Type::ECHO_REPLY, &text(len)[..])
        );
        let request = frame6::echo(LOCAL6, &text(len));
        let cutter = Cutter { protocol: Protocol::ICMPV6, ..V6 };
        let answers = host.exchange(&cutter.pieces(&request[14 + 40..], ROOM6));
        let reply = joined(&answers, 1_500);
        let message = icmp6::Message::parse(&reply).unwrap();
        message.verify(LOCAL6, PEER6).unwrap();
        assert_eq!(message.body, &text(len)[..]);
    }
}

fn what_is_no_fragment_is_dropped(host: &mut Host) {
    let bytes = text(64);
    for cutter in [V4, V6] {
        for reach in [(65_528, false, 8), (65_504, true, 32)] {
            let frame = cutter.piece(reach.0, reach.1, &bytes[..reach.2]);
            let said = host.dropped(&[frame], DropReason::FragmentLength, 1);
            assert_eq!(said.len(), usize::from(cutter.is_ipv6), "beyond what a packet holds");
        }
        for tiny in [cutter.piece(8, true, &bytes[..9]), cutter.piece(8, true, &[])] {
            let _ = host.dropped(&[tiny], DropReason::FragmentTiny, 1);
        }
    }
    // Of IPv6 its sender hears which field was wrong (RFC 8200 4.5).
    let said = host.exchange(&[V6.piece(8, true, &bytes[..9])]);
    let (.., message) = part(&said[0]).unwrap();
    assert_eq!(message[..8], [4, 0, message[2], message[3], 0, 0, 0, 4]);
    let said = host.exchange(&[V6.piece(65_528, false, &bytes[..8])]);
    let (.., message) = part(&said[0]).unwrap();
    assert_eq!(message[..8], [4, 0, message[2], message[3], 0, 0, 0, 42]);
    // Flags that no filter could see.
    let segments = Cutter { protocol: Protocol::TCP, ..V4 };
    for hidden in [segments.piece(0, true, &bytes[..16]), segments.piece(8, true, &bytes)] {
        let _ = host.dropped(&[hidden], DropReason::FragmentTiny, 1);
    }
    let segments = Cutter { protocol: Protocol::TCP, ..V6 };
    let _ = host.dropped(&[segments.piece(0, true, &bytes[..16])], DropReason::Ipv6HeaderChain, 1);
    // Neighbour discovery in pieces (RFC 6980).
    let discovery = Cutter { protocol: Protocol::ICMPV6, ..V6 };
    let solicitation = &frame6::solicitation(LOCAL6)[54..];
    let pieces = discovery.pieces(solicitation, 24);
    let _ = host.dropped(&pieces[..1], DropReason::NdpInvalid, 1);
    let atomic = discovery.piece(0, false, solicitation);
    let _ = host.dropped(&[atomic], DropReason::NdpInvalid, 1);
}

/// A packet with a fragment header that is whole stands for itself, whatever else has its name.
fn an_atomic_fragment_meets_no_others(host: &mut Host) {
    let (socket, memory) = host.bind(LOCAL6.into(), PORT);
    let long = V6.with_id(77).pieces(&datagram(V6, &text(2_000)), ROOM6);
    let atomic = V6.with_id(77).piece(0, false, &datagram(V6, b"whole"));
    let frames = [long[0].clone(), atomic, long[1].clone()];
    assert!(host.exchange(&frames).is_empty());
    assert_eq!(receive(&memory).as_deref(), Some(&b"whole"[..]));
    assert_eq!(receive(&memory), Some(text(2_000)));
    host.close(socket);
}

fn an_overlap_ends_all(host: &mut Host) {
    for cutter in [V4, V6] {
        let whole = datagram(cutter, &text(4_000));
        let pieces = cutter.with_id(88).pieces(&whole, 1_200);
        let across = cutter.with_id(88).piece(600, true, &whole[600..1_800]);
        let mut frames = vec![pieces[0].clone(), across];
        frames.extend_from_slice(&pieces[1..]);
        let said = host.dropped(&frames, DropReason::FragmentOverlap, frames.len() as u64);
        assert!(said.is_empty());
    }
}

fn too_many_make_room(host: &mut Host) {
    let before = host.drops(DropReason::FragmentLimit);
    for id in 0..2_000 {
        let _ = host.exchange(&[V4.with_id(1_000 + id).piece(0, true, &text(64))]);
        assert!(host.0.worker.usage().fragments <= 257);
    }
    assert!(host.drops(DropReason::FragmentLimit) - before > 1_000);
    let many: Vec<_> = (0..129).map(|at| V4.piece(at * 8, true, &text(8))).collect();
    let _ = host.dropped(&many, DropReason::FragmentCount, 129);
}

fn what_stays_incomplete_is_told(host: &mut Host) {
    host.0.pass(FRAGMENT_TIMEOUT);
    host.0.pass(FRAGMENT_TIMEOUT);
    let _ = host.0.sent();
    for cutter in [V4, V6] {
        let pieces = cutter.with_id(99).pieces(&datagram(cutter, &text(4_000)), 1_200);
        assert!(host.exchange(&pieces[..2]).is_empty());
        assert!(host.exchange(&[cutter.with_id(100).piece(8, true, &text(8))]).is_empty());
        let before = host.drops(DropReason::FragmentTimeout);
        host.0.pass(FRAGMENT_TIMEOUT - Duration::from_millis(100));
        assert!(host.0.sent().is_empty());
        host.0.pass(Duration::from_millis(200));
        assert_eq!(host.drops(DropReason::FragmentTimeout) - before, 3);
        // The neighbour is asked whether he is still there, too.
        let is_error = |message: &Vec<u8>| matches!(message.first(), Some(3 | 11));
        let said: Vec<_> = host.0.sent().iter().filter_map(|f| part(f)).map(|p| p.4).collect();
        let said: Vec<_> = said.into_iter().filter(is_error).collect();
        let [message] = said.as_slice() else { panic!("of one the first is unknown: {said:?}") };
        let kind =
            if cutter.is_ipv6 { icmp6::Type::TIME_EXCEEDED.0 } else { icmp::Type::TIME_EXCEEDED.0 };
        assert_eq!(message[..2], [kind, 1], "reassembly time exceeded");
        assert!(pieces[0][14..].starts_with(&message[8..]), "quotes what came first");
    }
    assert_eq!(host.0.worker.usage().timers, 0);
}

fn long_datagrams_leave_in_pieces(host: &mut Host) {
    let peer = |is_ipv6| SocketAddr::new(if is_ipv6 { PEER6.into() } else { PEER.into() }, 9);
    for (cutter, local, longest) in [(V4, IpAddr::from(LOCAL), 65_507), (V6, LOCAL6.into(), 65_487)]
    {
        let (socket, memory) = host.bind(local, PORT);
        let to = peer(cutter.is_ipv6);
        let mut names = Vec::new();
        for len in [1_400, 1_473, 9_000, longest] {
            let sent = host.send(&memory, to, &text(len));
            names.push(part(&sent[0]).unwrap().2);
            let whole = joined(&sent, 1_500);
            let datagram = udp::Datagram::parse(&whole).unwrap();
            if cutter.is_ipv6 {
                datagram.verify(LOCAL6, PEER6).unwrap();
            } else {
                datagram.verify(LOCAL, PEER).unwrap();
            }
            assert_eq!(datagram.payload, text(len));
        }
        assert_eq!(names[0], 0, "what is not cut needs no name");
        assert!(names[1] != names[2] && names[2] != names[3], "{names:?}");
        // Who wants none cut gets none cut.
        for (how, long, flag) in [
            (MtuDiscover::Dont, true, false),
            (MtuDiscover::Do, false, true),
            (MtuDiscover::Probe, false, true),
            (MtuDiscover::Interface, false, false),
            (MtuDiscover::Omit, true, false),
        ] {
            host.set(socket, SocketOption::MtuDiscover(how));
            let sent = host.send(&memory, to, &text(3_000));
            assert_eq!(!sent.is_empty(), long, "{how:?}");
            let short = host.send(&memory, to, &text(100));
            assert_eq!(part(&short[0]).unwrap().3, flag || cutter.is_ipv6, "{how:?}");
        }
        host.close(socket);
    }
}

/// A router says that 1400 bytes fit.
fn a_narrow_path_is_remembered(host: &mut Host) {
    let (socket, memory) = host.bind(LOCAL.into(), PORT);
    let to = SocketAddr::new(PEER.into(), 9);
    let sent = host.send(&memory, to, &text(1_400));
    assert_eq!(sent.len(), 1);
    let too_big = icmp::Header::fragmentation_needed(1_400);
    let quote = icmp::quote(&sent[0][14..]);
    let message = [too_big.with_checksum(quote).as_bytes(), quote].concat();
    assert!(host.exchange(&[frame::ipv4(Protocol::ICMP, &message)]).is_empty());
    let sent = host.send(&memory, to, &text(1_400));
    assert_eq!(sent.len(), 2);
    assert_eq!(joined(&sent, 1_400).len(), 1_408);
    host.set(socket, SocketOption::MtuDiscover(MtuDiscover::Do));
    assert!(host.send(&memory, to, &text(1_400)).is_empty());
    assert_eq!(host.send(&memory, to, &text(1_372)).len(), 1);
    host.set(socket, SocketOption::MtuDiscover(MtuDiscover::Probe));
    assert_eq!(host.send(&memory, to, &text(1_400)).len(), 1, "the path does not count");
    // Nobody else is believed: no socket of ours sent this.
    let stranger =
        [too_big.with_checksum(&quote[..20]).as_bytes(), &quote[..20], &[0, 1, 0, 2, 0, 9, 0, 0]]
            .concat();
    let checked = [
        icmp::Header::fragmentation_needed(1_300).with_checksum(&stranger[8..]).as_bytes(),
        &stranger[8..],
    ]
    .concat();
    let _ = host.dropped(&[frame::ipv4(Protocol::ICMP, &checked)], DropReason::IcmpQuoted, 1);
    host.close(socket);
}

/// To ourselves it is the same.
fn long_datagrams_to_ourselves_arrive(host: &mut Host) {
    let (socket, memory) = host.bind(LOCAL.into(), PORT);
    let to = SocketAddr::new(LOCAL.into(), PORT);
    let sent = host.send(&memory, to, &text(20_000));
    assert!(sent.is_empty());
    host.0.pass(Duration::from_millis(1));
    host.0.pass(Duration::from_millis(1));
    assert_eq!(receive(&memory).map(|got| got.len()), Some(20_000));
    host.close(socket);
}

// EAL starts once per process, so all share one test.
#[test]
fn fragments() {
    let mut host = Host(World::new().unwrap());
    let _ = host.exchange(&[frame6::solicitation(LOCAL6)]);
    datagrams_of_all_lengths_arrive(&mut host);
    long_echoes_are_answered(&mut host);
    what_is_no_fragment_is_dropped(&mut host);
    an_atomic_fragment_meets_no_others(&mut host);
    an_overlap_ends_all(&mut host);
    too_many_make_room(&mut host);
    what_stays_incomplete_is_told(&mut host);
    let _ = host.exchange(&[frame6::solicitation(LOCAL6), frame::arp(true)]);
    long_datagrams_leave_in_pieces(&mut host);
    a_narrow_path_is_remembered(&mut host);
    long_datagrams_to_ourselves_arrive(&mut host);
    assert_eq!(host.0.wind_up(), 0, "buffers left");
}
