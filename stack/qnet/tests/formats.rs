//! Frames of every type: what is written is read back, and Wireshark reads the same.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, id};

use proptest::prelude::*;
use qnet::kif::PRIVATE_TYPE;
use qnet::{ETHERTYPE, Fqnn, Frame, Greeting, Header, Kif, Kind, LanMessage, Layer, Order};
use types::MacAddr;

const ORDERS: [Order; 2] = [Order::Little, Order::Big];

fn name(name: &str) -> Fqnn {
    Fqnn::new(name, "lab.example").unwrap()
}

/// One payload of each kind, in a frame of the type that carries it.
fn frames(order: Order) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut add = |kind, layer, payload: &[u8]| {
        let header = Header {
            src_nd_for_dst: 3,
            dst_nd_for_src: 4,
            sconn: 0x1234_5678,
            dconn: 0x9abc_def0,
            seq: 77,
            policy: 1,
            ..Header::new(order, kind, layer)
        };
        let mut frame = Vec::new();
        header.emit(payload, true, &mut frame);
        frames.push(frame);
    };
    let mut payload = Vec::new();
    for reply in [false, true] {
        payload.clear();
        let source_mac = Some(MacAddr([2, 0, 0, 0, 0, 1]));
        LanMessage { reply, source: name("alpha"), source_mac, destination: Some(name("beta")) }
            .emit(order, &mut payload);
        add(Kind::Lres, Layer::LanResolver, &payload);
    }
    payload.clear();
    Greeting { source: name("alpha"), destination: name("beta") }.emit(order, &mut payload);
    add(Kind::TxEstablish, Layer::Sequence, &payload);
    for kind in [Kind::RxUp, Kind::TxUp, Kind::RxDown, Kind::TxDown] {
        add(kind, Layer::Sequence, &[]);
    }
    for ping in [0, 1] {
        add(Kind::UserData, Layer::NodeResolver, &[ping]);
    }
    add(Kind::Ack, Layer::KernelInterface, &[]);
    add(Kind::Nack, Layer::Sequence, &[0; 16]);
    for message in [
        Kif::Send { server: 1, client: 2, kind: PRIVATE_TYPE, body: b"what a client asks" },
        Kif::Reply { client: 2, status: 0, body: b"what a server answers" },
        Kif::Error { client: 2, errno: 2 },
    ] {
        payload.clear();
        message.emit(order, &mut payload);
        add(Kind::User, Layer::KernelInterface, &payload);
    }
    frames
}

#[test]
fn what_is_written_is_read_back() {
    for order in ORDERS {
        for bytes in frames(order) {
            let frame = Frame::parse(&bytes).unwrap();
            assert!(frame.checked);
            let mut again = Vec::new();
            frame.header.emit(frame.payload, true, &mut again);
            assert_eq!(again, bytes);
            assert_payload(&frame, order);
        }
    }
}

fn assert_payload(frame: &Frame<'_>, order: Order) {
    let mut again = Vec::new();
    match (frame.header.kind, frame.header.layer) {
        (Kind::Lres, _) => {
            let message = LanMessage::parse(frame.payload, order).unwrap();
            assert_eq!(message.source, name("alpha"));
            assert_eq!(message.source_mac, Some(MacAddr([2, 0, 0, 0, 0, 1])));
            assert_eq!(message.destination, Some(name("beta")));
            message.emit(order, &mut again);
        }
        (Kind::TxEstablish, _) => {
            Greeting::parse(frame.payload, order).unwrap().emit(order, &mut again)
        }
        (Kind::User, Layer::KernelInterface) => {
            Kif::parse(frame.payload, order).unwrap().emit(order, &mut again);
        }
        _ => return,
    }
    assert_eq!(again, frame.payload);
}

#[test]
fn padding_of_the_wire_is_not_payload() {
    let mut bytes = frames(Order::Little).remove(9);
    let len = Frame::parse(&bytes).unwrap().payload.len();
    bytes.resize(60, 0);
    assert_eq!(Frame::parse(&bytes).unwrap().payload.len(), len);
}

#[test]
fn one_wrong_bit_anywhere_is_found() {
    let bytes = frames(Order::Big).remove(0);
    for bit in 16..bytes.len() * 8 {
        let mut wrong = bytes.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        let read = Frame::parse(&wrong);
        assert!(!read.is_ok_and(|frame| frame.checked), "bit {bit}");
    }
}

#[test]
fn a_name_is_a_word() {
    assert!(Fqnn::new("alpha-1", "lab.example").is_some());
    for bad in ["", "a/b", "..", "a b", "\u{fc}", &"x".repeat(64)] {
        assert!(Fqnn::new(bad, "").is_none(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), big: bool) {
        let _ = Frame::parse(&bytes);
        let order = if big { Order::Big } else { Order::Little };
        let _ = LanMessage::parse(&bytes, order);
        let _ = Greeting::parse(&bytes, order);
        let _ = Kif::parse(&bytes, order);
    }
}

/// A capture file of Ethernet frames.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for frame in frames {
        let len = u32::try_from(frame.len()).unwrap();
        for word in [0, 0, len, len] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(frame);
    }
    file
}

/// In Ethernet, and in IPv4.
fn on_the_wire(frame: &[u8]) -> [Vec<u8>; 2] {
    let mut ethernet = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1];
    let mut ip = ethernet.clone();
    ethernet.extend_from_slice(&ETHERTYPE.to_be_bytes());
    ethernet.extend_from_slice(frame);
    let len = u16::try_from(20 + frame.len()).unwrap().to_be_bytes();
    let header = [
        0x45,
        0,
        len[0],
        len[1],
        0,
        0,
        0,
        0,
        64,
        qnet::IP_PROTOCOL,
        0,
        0,
        10,
        0,
        0,
        1,
        10,
        0,
        0,
        2,
    ];
    ip.extend_from_slice(&[8, 0]);
    ip.extend_from_slice(&header);
    ip.extend_from_slice(frame);
    [ethernet, ip]
}

/// Wireshark's words about every frame of a capture; `None` where there is no tshark.
fn tshark(name: &str, frames: &[Vec<u8>], fields: &[&str]) -> Option<String> {
    let path =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("qnet-{name}-{}.pcap", id()));
    fs::write(&path, pcap(frames)).unwrap();
    let mut command = Command::new("tshark");
    let _ = command.arg("-n").arg("-r").arg(&path).args(["-T", "fields"]);
    for field in fields {
        let _ = command.args(["-e", field]);
    }
    let output = command.output();
    fs::remove_file(&path).unwrap();
    let Ok(output) = output else {
        eprintln!("skipped: no tshark here (Debian's package tshark has it)");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn wireshark_finds_nothing_malformed() {
    let all: Vec<_> =
        ORDERS.into_iter().flat_map(frames).flat_map(|frame| on_the_wire(&frame)).collect();
    let fields =
        ["frame.protocols", "_ws.malformed", "_ws.expert", "qnet6.l4.type", "qnet6.l4.crc"];
    let Some(said) = tshark("malformed", &all, &fields) else { return };
    assert_eq!(said.lines().count(), all.len());
    let mut kinds: Vec<&str> = Vec::new();
    for line in said.lines() {
        let [protocols, malformed, expert, kind, _] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        assert!(protocols.contains("lwl4") && !protocols.contains("data"), "{line}");
        assert_eq!((malformed, expert), ("", ""), "{line}");
        kinds.push(kind);
    }
    for kind in ["0x00", "0x01", "0x02", "0x03", "0x04", "0x05", "0x08", "0x09", "0x0a", "0x0b"] {
        assert!(kinds.contains(&kind), "no frame of type {kind}");
    }
}

#[test]
fn wireshark_reads_what_we_wrote() {
    for order in ORDERS {
        let all: Vec<_> = frames(order).iter().map(|frame| on_the_wire(frame)[0].clone()).collect();
        let fields = ["_ws.col.Info", "qnet6.qos.seq", "qnet6.qos.sconn", "qnet6.qos.dst_name"];
        let Some(said) = tshark("read", &all, &fields) else { return };
        let lines: Vec<_> = said.lines().collect();
        assert!(
            lines[0].contains(
                "Who is \"beta.lab.example\"? Tell \"alpha.lab.example\"@02:00:00:00:00:01"
            ),
            "{said}"
        );
        assert!(lines[1].contains("\"alpha.lab.example\" is at 02:00:00:00:00:01"), "{said}");
        assert!(lines[2].ends_with("\tbeta"), "{said}");
        assert!(lines.iter().all(|line| line.contains("\t77\t0x12345678")), "{said}");
    }
}
