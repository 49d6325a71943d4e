//! A protocol module for tests: does a little of everything, and fails in the way that its option
//! says: `fail=open|filter|receive|timer|work|event|path|stream`, by a panic; `refuse` to open, or
//! `hang` there for ever, or until the file `hang=FILE` is there.
//!
//! Otherwise: frames of EtherType 0x88b5 and packets of IP protocol 253 (both for experiments) come
//! back; `block=MS` blocks the module's own thread for so long again and again; the path `faulty` says
//! what was written to it. `iopkt sysctl` has it drop (`drop`) or take (`take`) packets of an IP
//! protocol, and set the time to live (`ttl`) of those that go. Streams of family 62 lead back to themselves.
#![deny(unsafe_code)]

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lsm_sdk::{
    Answer, Arrival, Attachment, Context, Destination, Direction, Event, Frames, Host, Name,
    OpenError, Opening, Packet, Peer, Point, Protocol, Questions, Received, Socket, Variable,
    export_protocol,
};

export_protocol!(Faulty);

/// Local experiments (IEEE 802).
const ETHERTYPE: u16 = 0x88b5;
/// Experiments and testing (RFC 3692).
const PROTOCOL: u8 = 253;
/// A family of streams, which Linux has not given away.
const FAMILY: u16 = 62;
/// `_IOWR('p', 2, uint64_t)`: the bytes that go in come back in reverse order.
const REVERSE: u32 = 0xc008_7002;
/// Ethernet's header.
const ETHERNET: usize = 14;
/// A millisecond.
const MS: u64 = 1_000_000;

struct Faulty {
    fail: String,
    frames: Attachment,
    echoes: Variable,
    limit: Variable,
    inet: Attachment,
    drop: Variable,
    take: Variable,
    ttl: Variable,
    seen: Variable,
    events: Variable,
    host: Host<Self>,
    written: Mutex<Vec<u8>>,
}

impl Faulty {
    fn fail_in(&self, what: &str) {
        assert!(self.fail != what, "asked for in {what}");
    }
}

impl Protocol for Faulty {
    const NAME: &'static str = "faulty";
    const OPTIONS: &'static str = "fail=WHERE refuse block=MS hang=FILE";

    fn open(host: &Host<Self>) -> Result<Self, OpenError> {
        if host.option("refuse").is_some() {
            return Err(OpenError::NO_DEVICE);
        }
        while host.option("hang").is_some_and(|file| !Path::new(&file).exists()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let fail = host.option("fail").unwrap_or_default();
        let both = [Direction::In, Direction::Out];
        let this = Self {
            frames: host.attach_ethertype(ETHERTYPE)?,
            echoes: host.add_counter("echoes", "Packets sent back.")?,
            limit: host.add_setting(
                "limit",
                "Bytes of the longest packet sent back.",
                0..=1500,
                1500,
            )?,
            inet: host.attach_filter(Point::Inet, &both, 0, None)?,
            drop: host.add_setting("drop", "Drop this IP protocol.", 0..=255, 0)?,
            take: host.add_setting("take", "Take this IP protocol.", 0..=255, 0)?,
            ttl: host.add_setting("ttl", "Time to live of what goes.", 0..=255, 0)?,
            seen: host.add_counter("seen", "Frames that the tap has seen.")?,
            events: host.add_counter("events", "Changes of the network.")?,
            host: host.clone(),
            written: Mutex::default(),
            fail,
        };
        let _ = host.attach_protocol(PROTOCOL)?;
        let _ = host.attach_tap(&both, Some("tap0"))?;
        let _ = host.attach_filter(Point::Interface, &both, 10, None)?;
        let _ = host.make_path("faulty", 0o666)?;
        let _ = host.attach_streams(FAMILY, 0)?;
        this.fail_in("open");
        if let Some(ms) = host.option("block").and_then(|ms| ms.parse().ok()) {
            block(host, Duration::from_millis(ms));
        }
        host.call_in_worker(0, |_, cx| cx.set_timer(Some(cx.now() + MS)))?;
        Ok(this)
    }

    fn receive(&self, cx: &mut Context<'_, Self>, arrival: Arrival, packets: &mut Received<'_>) {
        self.fail_in("receive");
        let limit = usize::try_from(cx.host().value(self.limit)).unwrap_or(0);
        let mut echoes = 0;
        for packet in packets.filter(|packet| packet.len() <= limit) {
            echoes += 1;
            if arrival.attachment == self.frames {
                frame_back(cx, arrival.interface, packet);
            } else {
                packet_back(cx, &packet);
            }
        }
        cx.host().count(self.echoes, echoes);
    }

    fn tap(&self, cx: &mut Context<'_, Self>, _: Arrival, frames: &Frames<'_>) {
        let mut seen = 0;
        frames.each(|frame| seen += i64::from(frame.len() >= ETHERNET));
        cx.host().count(self.seen, seen);
    }

    fn filter(&self, cx: &mut Context<'_, Self>, at: Arrival, packets: &mut Questions<'_>) {
        let value = |variable| u8::try_from(cx.host().value(variable)).unwrap_or(0);
        let (drop_it, take, ttl) = (value(self.drop), value(self.take), value(self.ttl));
        while let Some(mut packet) = packets.next_packet() {
            self.fail_in("filter");
            let protocol = packet.data().get(9).copied().unwrap_or(0);
            if at.attachment != self.inet || protocol == 0 {
                continue;
            } else if protocol == drop_it {
                packet.drop_packet();
            } else if protocol == take {
                drop(packet.consume());
            } else if ttl != 0 && at.direction == Direction::Out {
                set_ttl(packet.data_mut(), ttl);
            }
        }
    }

    fn timer(&self, cx: &mut Context<'_, Self>) {
        self.fail_in("timer");
        if self.fail == "work" {
            // A full queue is tried again.
            let _ = cx.host().defer(|this| this.fail_in("work"));
        }
        cx.set_timer(Some(cx.now() + MS));
    }

    fn event(&self, _: &Event) {
        self.fail_in("event");
        self.host.count(self.events, 1);
    }

    fn path_open(&self, peer: &Peer) -> Result<u64, OpenError> {
        self.fail_in("path");
        Ok(u64::from(peer.pid))
    }

    fn path_read(&self, _: u64, offset: u64, to: &mut [u8]) -> Result<Answer, OpenError> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let from = usize::try_from(offset).map_err(|_| OpenError::INVALID)?;
        let rest = written.get(from..).unwrap_or_default();
        let count = rest.len().min(to.len());
        to[..count].copy_from_slice(&rest[..count]);
        Ok(Answer::Bytes(count))
    }

    fn path_write(&self, _: u64, offset: u64, data: &[u8]) -> Result<usize, OpenError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.truncate(usize::try_from(offset).map_err(|_| OpenError::INVALID)?);
        written.extend_from_slice(data);
        Ok(data.len())
    }

    fn path_ioctl(
        &self,
        handle: u64,
        request: u32,
        data: &[u8],
        to: &mut [u8],
    ) -> Result<Answer, OpenError> {
        let text = format!("{handle} {request} {}\n", data.len());
        let room = to.get_mut(..text.len()).ok_or(OpenError::INVALID)?;
        room.copy_from_slice(text.as_bytes());
        Ok(Answer::Bytes(text.len()))
    }

    fn socket_open(&self, _: &mut Context<'_, Self>, _: &Opening) -> Result<(), OpenError> {
        Ok(())
    }

    /// Whatever its peer is called, it is its own.
    fn socket_connect(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        peer: Option<Name>,
    ) -> Result<(), OpenError> {
        cx.connected(socket, peer)
    }

    /// Somebody has been waiting for it.
    fn socket_listen(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        _: u32,
    ) -> Result<(), OpenError> {
        cx.arrive(socket, Name::default(), 0)
    }

    fn socket_room(&self, cx: &mut Context<'_, Self>, socket: Socket, bytes: u32) {
        // Streams are this worker's.
        let _ = cx.want(socket, bytes);
    }

    fn socket_send(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        _: Option<Name>,
        text: Packet,
    ) -> Result<(), OpenError> {
        self.fail_in("stream");
        cx.deliver(socket, Name::default(), text).map_err(|_| OpenError::IO)
    }

    fn socket_end(&self, cx: &mut Context<'_, Self>, socket: Socket) {
        // As above.
        let _ = cx.finish(socket, None);
    }

    fn socket_ioctl(
        &self,
        _: &mut Context<'_, Self>,
        _: Socket,
        request: u32,
        data: &[u8],
        to: &mut [u8],
    ) -> Result<usize, OpenError> {
        if request != REVERSE || data.len() != to.len() {
            return Err(OpenError::NO_REQUEST);
        }
        to.copy_from_slice(data);
        to.reverse();
        Ok(to.len())
    }
}

/// Sets the time to live and mends the header's checksum (RFC 1624).
fn set_ttl(packet: &mut [u8], ttl: u8) {
    let old = u32::from(u16::from_be_bytes([packet[8], packet[9]]));
    packet[8] = ttl;
    let new = u32::from(u16::from_be_bytes([packet[8], packet[9]]));
    let sum = u32::from(!u16::from_be_bytes([packet[10], packet[11]])) + (!old & 0xffff) + new;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let [_, _, high, low] = (!sum).to_be_bytes();
    packet[10..12].copy_from_slice(&[high, low]);
}

/// Blocks the module's own thread, and again.
fn block(host: &Host<Faulty>, time: Duration) {
    let again = host.clone();
    // There is room for one.
    let _ = host.defer(move |_| {
        std::thread::sleep(time);
        block(&again, time);
    });
}

/// To where it came from, by the interface it came by.
fn frame_back(cx: &mut Context<'_, Faulty>, interface: u32, mut frame: Packet) {
    let bytes = frame.data_mut();
    if bytes.len() >= ETHERNET {
        let (to, from) = bytes.split_at_mut(6);
        to.swap_with_slice(&mut from[..6]);
        // Too many wait: it is lost, as frames may be.
        let _ = cx.send_frame(interface, frame);
    }
}

/// What follows the IP header, to where it came from.
fn packet_back(cx: &mut Context<'_, Faulty>, packet: &Packet) {
    let bytes = packet.data();
    let header = usize::from(bytes[0] & 0xf) * 4;
    let from: [u8; 4] = bytes[12..16].try_into().unwrap_or_default();
    let Some(mut answer) = cx.host().packet() else { return };
    if answer.fill(&bytes[header..]) {
        // As above.
        let _ = cx.send_packet(&Destination::new(from.into(), PROTOCOL), answer);
    }
}
