//! A router's burst. Packets that are passed on as they are leave in three steps, each over all of them, so
//! that their waits for memory fall together: look at the headers, look up the ways, write and send. The
//! frame stays where it is, with other stations, and one hop less to live.
//!
//! ```text
//!   burst ──► passes(): destinations ──► way(): interface, station ──► rewritten ──► port's burst
//!               └──────────────────────────┴── anything else stays in the burst, for the general way
//! ```
//! What is refused, cut, said to a sender or asked of a neighbour is the general way's (`forward.rs`).

use core::net::{Ipv4Addr, Ipv6Addr};

use dpdk::{BURST_MAX, Burst, ChecksumState, Mbuf};
use fib::Fib;
use types::{Instant, MacAddr};
use wire::{ethernet, ipv4, ipv6};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::address6::{OnLink, is_of_a_link};
use crate::forward::{age, is_martian};
use crate::network::{Destination, ReversePath};
use crate::output::Output;
use crate::spread;
use crate::worker::Worker;

/// A frame's first two headers.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Headers<H> {
    ethernet: ethernet::Header,
    ip: H,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, Default)]
enum Fate {
    /// It is for the general way.
    #[default]
    Stays,
    /// It goes to this address, on the way of this number.
    To4(Ipv4Addr, u32),
    /// The same in IPv6.
    To6(Ipv6Addr, u32),
    /// It leaves by this interface, from and to these stations.
    Leaves4(u16, MacAddr, MacAddr),
    /// The same in IPv6.
    Leaves6(u16, MacAddr, MacAddr),
}

impl Worker {
    /// Passes on what can go as it is; the rest stays in the burst.
    pub(crate) fn forward_burst(&mut self, burst: &mut Burst, interface: u16, now: Instant) {
        let host = &self.out.network.host;
        if host.reverse_path != ReversePath::Unchecked {
            return;
        }
        // Other tables than the first are the general way's.
        let up = self.out.network.interface(interface).filter(|c| c.up && c.table == 0);
        let Some(mac) = up.map(|config| config.mac) else { return };
        let mut fates = [Fate::Stays; BURST_MAX];
        let (mut any4, mut any6) = (false, false);
        for (mbuf, fate) in burst.iter().zip(&mut fates) {
            *fate = self.passes(mbuf, mac, interface);
            any4 |= matches!(fate, Fate::To4(..));
            any6 |= matches!(fate, Fate::To6(..));
        }
        if !any4 && !any6 {
            return;
        }
        let passing = fates.get_mut(..burst.len()).unwrap_or_default();
        let network = &self.out.network;
        if any4 {
            look_up(&network.fib, passing, |fate| match fate {
                Fate::To4(to, way) => Some((*to, way)),
                _ => None,
            });
        }
        if any6 {
            look_up(&network.fib6, passing, |fate| match fate {
                Fate::To6(to, way) => Some((*to, way)),
                _ => None,
            });
        }
        for (mbuf, fate) in burst.iter().zip(&mut fates) {
            *fate = match *fate {
                Fate::To4(to, way) => way4(&mut self.out, mbuf, (to, way), interface, now),
                Fate::To6(to, way) => way6(&mut self.out, mbuf, (to, way), interface, now),
                other => other,
            };
        }
        self.rewrite(burst, &fates);
    }

    /// Whether a frame holds a packet that is passed on as it is, as far as its headers tell.
    #[inline]
    fn passes(&self, mbuf: &Mbuf, mac: MacAddr, interface: u16) -> Fate {
        let Some(frame) = mbuf.whole() else { return Fate::Stays };
        let Ok((ethernet, _)) = ethernet::Header::ref_from_prefix(frame) else {
            return Fate::Stays;
        };
        if ethernet.dst() != mac {
            return Fate::Stays;
        }
        let passes = match ethernet.ethertype() {
            ethernet::EtherType::IPV4 if self.out.network.host.forward => {
                self.passes4(mbuf, frame).map(|to| Fate::To4(to, 0))
            }
            ethernet::EtherType::IPV6 => self.passes6(frame, interface).map(|to| Fate::To6(to, 0)),
            _ => None,
        };
        passes.unwrap_or_default()
    }

    #[inline]
    fn passes4(&self, mbuf: &Mbuf, frame: &[u8]) -> Option<Ipv4Addr> {
        let (headers, _) = Headers::<ipv4::Header>::ref_from_prefix(frame).ok()?;
        let header = &headers.ip;
        let plain = header.version_ihl == PLAIN_IPV4 && header.ttl > 1;
        let len = usize::from(header.total_len.get()).wrapping_add(ethernet::Header::LEN);
        let whole = len >= MIN_IPV4 && (len == frame.len() || is_padded(len, frame.len()));
        let right = match mbuf.rx_ip_checksum() {
            ChecksumState::Good => true,
            ChecksumState::Unknown => is_right(header),
            ChecksumState::Bad => false,
        };
        let (source, destination) = (header.src(), header.dst());
        let strange = |address: Ipv4Addr| is_martian(address) || address.is_link_local();
        let addresses = &self.out.addresses;
        (plain
            && whole
            && right
            && !strange(source)
            && !strange(destination)
            && addresses.is_nobodys(source)
            && addresses.is_nobodys(destination))
        .then_some(destination)
    }

    #[inline]
    fn passes6(&self, frame: &[u8], interface: u16) -> Option<Ipv6Addr> {
        let (headers, _) = Headers::<ipv6::Header>::ref_from_prefix(frame).ok()?;
        let header = &headers.ip;
        let len = usize::from(header.payload_len.get())
            .wrapping_add(ipv6::Header::LEN + ethernet::Header::LEN);
        let whole = len == frame.len() || is_padded(len, frame.len());
        if header.version() != 6 || header.hop_limit <= 1 || !whole {
            return None;
        }
        let (source, destination) = (header.src(), header.dst());
        if is_global(source) && is_global(destination) {
            let addresses = &self.out.addresses;
            let beyond = self.out.network.host.forward6
                && addresses.is_nobodys6(source)
                && addresses.is_nobodys6(destination);
            return beyond.then_some(destination);
        }
        let ends = self.check_ends(header, interface).ok()?;
        let beyond = ends.to == Destination::Remote
            && !is_of_a_link(ends.destination)
            && !ends.destination.is_unspecified()
            && !ends.source.is_unspecified()
            && !ends.source.is_unicast_link_local();
        beyond.then_some(ends.destination)
    }

    /// Sends on what leaves.
    fn rewrite(&mut self, burst: &mut Burst, fates: &[Fate; BURST_MAX]) {
        let mut rest = Burst::new();
        let (mut count4, mut count6) = (0_u64, 0_u64);
        for (mut mbuf, fate) in burst.drain().zip(fates) {
            let interface = match *fate {
                Fate::Leaves4(interface, from, to) => {
                    count4 = count4.wrapping_add(1);
                    readdress(&mut mbuf, from, to, age);
                    interface
                }
                Fate::Leaves6(interface, from, to) => {
                    count6 = count6.wrapping_add(1);
                    readdress(&mut mbuf, from, to, |header: &mut ipv6::Header| {
                        header.hop_limit = header.hop_limit.wrapping_sub(1);
                    });
                    interface
                }
                Fate::Stays | Fate::To4(..) | Fate::To6(..) => {
                    // It came from a burst as long.
                    let _ = rest.push(mbuf);
                    continue;
                }
            };
            self.out.transmit(mbuf, interface);
        }
        *burst = rest;
        self.counters.ipv4.packets_received.add(count4);
        self.counters.ipv4.packets_forwarded.add(count4);
        self.counters.ipv6.packets_received.add(count6);
        self.counters.ipv6.packets_forwarded.add(count6);
    }
}

/// The cache of this core.
struct Cache;

impl fib::Ahead for Cache {
    #[inline]
    fn fetch<T>(&self, place: &T) {
        dpdk::prefetch(place);
    }
}

/// Finds out the ways of those that have an address of this family.
#[inline]
fn look_up<A: fib::Address>(
    fib: &Fib<A>,
    fates: &mut [Fate],
    pick: impl Fn(&mut Fate) -> Option<(A, &mut u32)>,
) {
    let mut to = [A::UNSPECIFIED; BURST_MAX];
    let mut count = 0_usize;
    for (place, (address, _)) in to.iter_mut().zip(fates.iter_mut().filter_map(&pick)) {
        *place = address;
        count = count.wrapping_add(1);
    }
    let mut numbers = [0; BURST_MAX];
    fib.numbers(to.get(..count).unwrap_or_default(), &mut numbers, &Cache);
    let places = fates.iter_mut().filter_map(pick).map(|(_, way)| way);
    places.zip(numbers).for_each(|(way, number)| *way = number);
}

/// Version 4, and a header without options.
const PLAIN_IPV4: u8 = 0x45;
/// The shortest frame with an IPv4 header.
const MIN_IPV4: usize = ethernet::Header::LEN + ipv4::Header::LEN;

/// One of 2000::/3, where nothing but an address of ours means anything special (RFC 4291 2.4).
const fn is_global(address: Ipv6Addr) -> bool {
    address.octets()[0] >> 5 == 1
}

/// The frame is as short as one may be, and the packet in it shorter.
const fn is_padded(len: usize, frame_len: usize) -> bool {
    len < frame_len && frame_len <= ethernet::MIN_FRAME
}

/// The header's checksum (RFC 1071), of five words.
#[inline]
fn is_right(header: &ipv4::Header) -> bool {
    let words = header.as_bytes().as_chunks::<4>().0;
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let sum = (sum >> 32).wrapping_add(sum & 0xffff_ffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    (sum >> 16).wrapping_add(sum & 0xffff) == 0xffff
}

/// Where a packet leaves, unless something about its way is the general way's to do.
#[inline]
fn way4(
    out: &mut Output,
    mbuf: &Mbuf,
    (to, way): (Ipv4Addr, u32),
    from: u16,
    now: Instant,
) -> Fate {
    let flow = || {
        let headers = Headers::<ipv4::Header>::ref_from_prefix(mbuf.data());
        headers.map_or(0, |(headers, payload)| spread::of_ipv4(&headers.ip, payload))
    };
    let Some(way) = out.network.fib.numbered(way) else { return Fate::Stays };
    let Ok(hop) = way.hop(flow) else { return Fate::Stays };
    let Some(config) = out.network.interface(hop.interface) else { return Fate::Stays };
    let mtu = way.mtu.map_or(config.mtu, |mtu| mtu.min(config.mtu));
    let fits = mbuf.packet_len() <= u32::from(mtu).wrapping_add(ETHERNET_LEN);
    if !config.up || hop.interface == from || !fits {
        return Fate::Stays;
    }
    let station = out.neighbors.mac(hop.neighbor(to), now);
    station.map_or(Fate::Stays, |station| Fate::Leaves4(hop.interface, config.mac, station))
}

/// The same in IPv6.
#[inline]
fn way6(
    out: &mut Output,
    mbuf: &Mbuf,
    (to, way): (Ipv6Addr, u32),
    from: u16,
    now: Instant,
) -> Fate {
    let flow = || {
        let headers = Headers::<ipv6::Header>::ref_from_prefix(mbuf.data());
        headers.map_or(0, |(headers, payload)| spread::of_ipv6(&headers.ip, payload))
    };
    let Some(way) = out.network.fib6.numbered(way) else { return Fate::Stays };
    let Ok(hop) = way.hop(flow) else { return Fate::Stays };
    let Some(config) = out.network.interface(hop.interface) else { return Fate::Stays };
    let told = [config.link6.mtu, way.mtu].into_iter().flatten();
    let mtu = told.fold(config.mtu, u16::min);
    let fits = mbuf.packet_len() <= u32::from(mtu).wrapping_add(ETHERNET_LEN);
    if !config.up || hop.interface == from || !fits {
        return Fate::Stays;
    }
    let next = OnLink { address: hop.neighbor(to), interface: hop.interface };
    let station = out.neighbors6.mac(next, now);
    station.map_or(Fate::Stays, |station| Fate::Leaves6(hop.interface, config.mac, station))
}

/// Bytes of an Ethernet header.
const ETHERNET_LEN: u32 = 14;
const _: () = assert!(ethernet::Header::LEN == ETHERNET_LEN as usize);

/// Gives a frame other stations, and does what else is due to its packet.
#[inline]
fn readdress<H>(mbuf: &mut Mbuf, from: MacAddr, to: MacAddr, age: impl FnOnce(&mut H))
where
    Headers<H>: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned,
{
    if let Ok((headers, _)) = Headers::<H>::mut_from_prefix(mbuf.data_mut()) {
        let kind = headers.ethernet.ethertype();
        headers.ethernet = ethernet::Header::new(to, from, kind);
        age(&mut headers.ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headers_checksum_is_right_or_not() {
        let (source, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(255, 255, 1, 1));
        for id in [0, 1, 0x7fff, 0xfffe, 0xffff] {
            let header = ipv4::Header::new(source, destination, ipv4::Protocol::UDP, 8).unwrap();
            let header = header.with_id(id).with_checksum();
            assert!(is_right(&header), "{id}");
            for bit in 0..160 {
                let mut spoiled = header;
                spoiled.as_mut_bytes()[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_right(&spoiled), "{id} {bit}");
            }
        }
    }
}
