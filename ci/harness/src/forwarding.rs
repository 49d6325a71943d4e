//! Packets that the worker passes on from the first link to the second, by so many routes and to so many
//! neighbours: what the benchmark of forwarding counts.

use core::net::{Ipv4Addr, Ipv6Addr};

use fib::{Ipv4Net, Ipv6Net, Rib, Route};
use inet::network::{Address6, StaticNeighbor};
use types::MacAddr;
use wire::ipv4;
use wire::ndp::NeighborMessage;

use crate::frame::Random;
use crate::path::BURST;
use crate::router::{FAR, LOCAL_FAR_MAC, PEER_FAR, PEER_FAR_MAC, packet};
use crate::{LOCAL6, PEER, PEER6, World, frame6};

/// Payload of a 64-byte frame behind IPv4 and UDP headers.
const TEXT_LEN: usize = 18 + 8;
/// The same behind an IPv6 header: the frame is longer.
const TEXT_LEN6: usize = 8;
/// Routers of the second link, where there are many routes.
const ROUTERS: u32 = 64;
/// Neighbours of the second link, where there are many, have addresses from here on.
const CROWD: u32 = 0x0a80_0000;

const LOCAL_FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 78, 0, 0, 0, 2);
const PEER_FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 78, 0, 0, 0, 1);

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Routes beside those of the links.
    pub routes: u32,
    /// Neighbours that packets are for, if they are for neighbours and for nobody behind a router.
    pub neighbors: u32,
}

/// A router with something to do.
#[derive(Debug)]
pub struct Forwarding {
    six: bool,
    size: Size,
    random: Random,
    frame: Vec<u8>,
}

impl Forwarding {
    /// Sets the routes.
    ///
    /// # Errors
    /// What DPDK refused, as text.
    pub fn new(world: &mut World, six: bool, size: Size) -> Result<Self, String> {
        world.become_router()?;
        if six {
            routes6(world, size.routes);
        } else {
            routes4(world, size);
        }
        world.breathe();
        let _ = (world.sent(), world.sent_far());
        let frame = if six {
            let header = frame6::header(PEER6, inside6(0), ipv4::Protocol::UDP, &[7; TEXT_LEN6]);
            frame6::packet(&header, &[7; TEXT_LEN6])
        } else {
            packet(PEER, Ipv4Addr::UNSPECIFIED, &[7; TEXT_LEN], |header| header)
        };
        Ok(Self { six, size, random: Random::new(2), frame })
    }

    /// One burst through the worker; how many packets came out.
    ///
    /// # Errors
    /// No buffer was free.
    pub fn burst(
        &mut self,
        world: &mut World,
        mut breathe: impl FnMut(&mut World),
    ) -> Result<u32, String> {
        for _ in 0..BURST {
            self.address();
            if !world.inject(&self.frame) {
                return Err("no buffer is free".into());
            }
        }
        breathe(world);
        world.put_on_wire();
        u32::try_from(world.take_far()).map_err(|e| e.to_string())
    }

    /// The next packet's destination.
    fn address(&mut self) {
        let word = self.random.word();
        if self.six {
            let to = inside6(word % self.size.routes.max(1));
            self.frame.iter_mut().skip(38).zip(to.octets()).for_each(|(into, byte)| *into = byte);
            return;
        }
        let to = match self.size {
            Size { neighbors: 0, routes: 1 } => 0x0a09_0000 | word & 0xffff,
            Size { neighbors: 0, .. } => ordinary(word),
            Size { neighbors, .. } => CROWD + 2 + word % neighbors,
        };
        self.frame.iter_mut().skip(30).zip(to.to_be_bytes()).for_each(|(into, b)| *into = b);
        crate::frame::repair(&mut self.frame);
    }
}

/// An address that a router passes packets on to: 11/8 to 126/8.
fn ordinary(word: u32) -> u32 {
    ((word >> 24) % 116 + 11) << 24 | word & 0x00ff_ffff
}

fn routes4(world: &mut World, size: Size) {
    let net = |bits: u32, len| Ipv4Net::containing(Ipv4Addr::from_bits(bits), len);
    let mut random = Random::new(1);
    let mut routes: Vec<Route> = Vec::new();
    routes.extend(net(CROWD, 9).map(|net| Route::connected(net, FAR)));
    if size.routes == 1 {
        routes.extend(net(0x0a09_0000, 16).map(|net| Route::gateway(net, FAR, PEER_FAR)));
    } else {
        // All of it has a way, and most prefixes have 24 bits as those of the Internet.
        routes.extend(net(0, 0).map(|net| Route::gateway(net, FAR, PEER_FAR)));
        for _ in 1..size.routes {
            let len = match random.below(100) {
                0..60 => 24,
                60..90 => 16 + random.below(8),
                90..97 => 9 + random.below(7),
                _ => 25 + random.below(8),
            };
            let (word, router) = (ordinary(random.word()), random.word() % ROUTERS);
            let router = Ipv4Addr::from_bits(PEER_FAR.to_bits() + 9 + router);
            let len = u8::try_from(len).unwrap_or(32);
            routes.extend(net(word, len).map(|net| Route::gateway(net, FAR, router)));
        }
    }
    let routers = (0..ROUTERS).map(|n| PEER_FAR.to_bits() + 9 + n);
    let crowd = (0..size.neighbors).map(|n| CROWD + 2 + n);
    let pinned = |bits: u32| StaticNeighbor {
        address: Ipv4Addr::from_bits(bits).into(),
        mac: PEER_FAR_MAC,
        interface: FAR,
    };
    let neighbors = routers.chain(crowd).map(pinned).collect();
    world.route_all(routes, |network| network.neighbors = neighbors);
}

/// Somewhere behind route `number`.
fn inside6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(0x2a00 << 112 | u128::from(number.reverse_bits()) << 80 | 7)
}

fn routes6(world: &mut World, count: u32) {
    let net = |address, len| Ipv6Net::containing(address, len);
    world.route([], |network| {
        let mut rib = Rib::new();
        let links = [
            net(LOCAL6, 64).map(|net| Route::connected(net, 1)),
            net(LOCAL_FAR6, 64).map(|net| Route::connected(net, FAR)),
        ];
        let far =
            (0..count).map(|n| net(inside6(n), 48).map(|net| Route::gateway(net, FAR, PEER_FAR6)));
        for route in links.into_iter().chain(far).flatten() {
            // None is there twice.
            let _ = rib.add(route);
        }
        network.fib6 = rib.publish();
        if let Some(far) = network.interfaces.get_mut(usize::from(FAR)) {
            far.addresses6 = vec![Address6::preferred(LOCAL_FAR6, 64)];
        }
        network.host.forward6 = true;
    });
    let message = NeighborMessage::solicitation(LOCAL_FAR6, PEER_FAR_MAC);
    let mut frame = frame6::neighbor(PEER_FAR6, LOCAL_FAR6, &message, size_of_val(&message));
    for (at, mac) in [(0, LOCAL_FAR_MAC), (6, PEER_FAR_MAC)] {
        let MacAddr(bytes) = mac;
        frame.iter_mut().skip(at).zip(bytes).for_each(|(into, byte)| *into = byte);
    }
    let _ = world.inject_far(&frame);
}
