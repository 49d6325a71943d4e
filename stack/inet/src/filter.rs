//! Packets on their way past protocol modules' taps and filters.
//!
//! ```text
//!  in   port ──> tap ──> filters at the interface ──> filters of IPv4, IPv6 ──> the stack
//!  out  port <── tap <── filters at the interface <── filters of IPv4, IPv6 <── the stack
//! ```
//! On the way out this happens when a burst is about to go to its port: packets have their Ethernet
//! header, and those that wait for a neighbour have not been judged yet.

use dpdk::{Burst, ChecksumState, Mbuf};
use lsm::{Desk, Direction, Point};
use types::{DropReason, MacAddr};
use wire::ethernet::{self, EtherType};
use wire::{ipv4, ipv6};

use crate::counters::WorkerCounters;
use crate::network::LOOPBACK;
use crate::output::{Output, ip_version};
use crate::tx_port::TxPort;

/// Shows a burst to those who look, and asks the filters. What they drop is counted.
#[cold]
pub(crate) fn input(out: &mut Output, burst: &mut Burst, interface: u16) {
    if burst.is_empty() {
        return;
    }
    let Some(desk) = out.desk.as_mut() else { return };
    let mac = out.network.interface(interface).filter(|config| config.up).map(|i| i.mac);
    let Some(mac) = mac else { return };
    desk.tap(Direction::In, interface, burst.as_slice());
    let mut dropped = 0;
    if desk.has_filters(Point::Interface, Direction::In) {
        let all = bits(burst.len());
        dropped += desk.filter(Point::Interface, Direction::In, interface, burst, all).1;
    }
    for (point, kind, _) in NETWORKS {
        if !desk.has_filters(point, Direction::In) {
            continue;
        }
        let asked = strip(burst, 0, |mbuf| mbuf.linearize() && is_sound(mbuf, kind, mac));
        let (passed, gone) = desk.filter(point, Direction::In, interface, burst, asked);
        restore(burst, passed);
        dropped += gone;
    }
    out.counters().drops.add(DropReason::FilterInput as usize, dropped);
}

/// As for [`input`], for packets to ourselves, which have no Ethernet header.
#[cold]
pub(crate) fn looped(out: &mut Output, burst: &mut Burst) {
    let Some(desk) = out.desk.as_mut() else { return };
    let (mut sent, mut received) = (0, 0);
    for (point, _, version) in NETWORKS {
        for (direction, gone) in [(Direction::Out, &mut sent), (Direction::In, &mut received)] {
            let asked = ones(burst.as_slice(), |mbuf| ip_version(mbuf) == version);
            *gone += desk.filter(point, direction, LOOPBACK, burst, asked).1;
        }
    }
    let drops = &out.counters().drops;
    drops.add(DropReason::FilterOutput as usize, sent);
    drops.add(DropReason::FilterInput as usize, received);
}

/// As for [`input`], for what a port is to send. Says how many frames are gone.
#[cold]
pub(crate) fn output(
    port: &mut TxPort,
    interface: u16,
    desk: &mut Desk,
    counters: &WorkerCounters,
) -> usize {
    let (before, judged) = (port.burst.len(), port.judged);
    let burst = &mut port.burst;
    if before == judged {
        return 0;
    }
    let new = bits(before) & !bits(judged);
    let mut dropped = 0;
    for (point, kind, _) in NETWORKS {
        if !desk.has_filters(point, Direction::Out) {
            continue;
        }
        // What a port cuts is too long to be one piece.
        let asked = strip(burst, judged, |mbuf| {
            let _ = mbuf.linearize();
            is_of(mbuf, kind)
        });
        let (passed, gone) = desk.filter(point, Direction::Out, interface, burst, asked);
        restore(burst, passed);
        dropped += gone;
    }
    if desk.has_filters(Point::Interface, Direction::Out) {
        let asked = bits(burst.len()) & new;
        dropped += desk.filter(Point::Interface, Direction::Out, interface, burst, asked).1;
    }
    desk.tap(Direction::Out, interface, burst.as_slice().get(judged..).unwrap_or_default());
    port.judged = burst.len();
    counters.drops.add(DropReason::FilterOutput as usize, dropped);
    before - burst.len()
}

/// A bit for each of the first packets of a burst.
fn bits(count: usize) -> u32 {
    let beyond = 32_u32.saturating_sub(u32::try_from(count).unwrap_or(32));
    u32::MAX.checked_shr(beyond).unwrap_or(0)
}

/// A bit for each of the packets that `fits`.
fn ones(packets: &[Mbuf], fits: impl Fn(&Mbuf) -> bool) -> u32 {
    let marked = packets.iter().enumerate().filter(|(_, mbuf)| fits(mbuf));
    marked.fold(0, |asked, (at, _)| asked | bit(at))
}

/// The bit of the packet at `at`.
fn bit(at: usize) -> u32 {
    1_u32.checked_shl(u32::try_from(at).unwrap_or(32)).unwrap_or(0)
}

/// Takes the Ethernet header off the packets from `first` on that `fits` likes, and gives their bits.
fn strip(burst: &mut Burst, first: usize, fits: impl Fn(&mut Mbuf) -> bool) -> u32 {
    let mut asked = 0;
    for (at, mbuf) in burst.iter_mut().enumerate().skip(first) {
        if fits(mbuf) && mbuf.adjust(HEADER_LEN) {
            asked |= bit(at);
        }
    }
    asked
}

/// Puts the Ethernet header, which is still there, back before those packets.
fn restore(burst: &mut Burst, passed: u32) {
    for (at, mbuf) in (0..).zip(burst) {
        if passed.checked_shr(at).unwrap_or(0) & 1 != 0 {
            // The room that `strip` made.
            let _ = mbuf.prepend(HEADER_LEN);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "14")]
const HEADER_LEN: u16 = ethernet::Header::LEN as u16;

/// Filters of IP: where, the frames' type, the packets' version.
const NETWORKS: [(Point, EtherType, u8); 2] =
    [(Point::Inet, EtherType::IPV4, 4), (Point::Inet6, EtherType::IPV6, 6)];

fn is_of(mbuf: &Mbuf, kind: EtherType) -> bool {
    let frame = ethernet::Frame::parse(mbuf.data());
    frame.is_ok_and(|frame| frame.header.ethertype() == kind)
}

/// An IP packet for this station whose header is right; the stack drops the others under reasons of
/// their own.
fn is_sound(mbuf: &Mbuf, kind: EtherType, mac: MacAddr) -> bool {
    let Ok(frame) = ethernet::Frame::parse(mbuf.data()) else { return false };
    let to = frame.header.dst();
    if frame.header.ethertype() != kind || (!to.is_group() && to != mac) {
        return false;
    }
    if kind == EtherType::IPV6 {
        return ipv6::Packet::parse(frame.payload).is_ok();
    }
    let Ok(packet) = ipv4::Packet::parse(frame.payload) else { return false };
    match mbuf.rx_ip_checksum() {
        ChecksumState::Bad => false,
        ChecksumState::Good => true,
        ChecksumState::Unknown => packet.verify().is_ok(),
    }
}
