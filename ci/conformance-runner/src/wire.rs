//! The peers' side of a real link: frames in and out of an interface, ARP for every peer.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::segment::{Ends, Segment};
use crate::sys;

/// The address of the stack on trial.
pub(crate) const STACK: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The link-layer address of all peers: locally administered.
const OUR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x77];
const ETHERTYPE_IPV4: [u8; 2] = [8, 0];
const ETHERTYPE_ARP: [u8; 2] = [8, 6];
const FRAME_MAX: usize = 65_536;

/// A segment of the stack, and when it came.
#[derive(Debug)]
pub(crate) struct Caught {
    pub(crate) at: Instant,
    pub(crate) ends: Ends,
    pub(crate) segment: Segment,
}

/// One interface, shared by all scripts.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: OwnedFd,
    peers: Mutex<HashMap<Ipv4Addr, Sender<Caught>>>,
    stack_mac: Mutex<Option<[u8; 6]>>,
}

impl Wire {
    /// Opens the interface and reads it in a thread of its own.
    pub(crate) fn open(interface: &str) -> io::Result<Arc<Self>> {
        let wire = Arc::new(Self {
            socket: sys::packet_socket(interface)?,
            peers: Mutex::default(),
            stack_mac: Mutex::default(),
        });
        let reader = Arc::clone(&wire);
        let _detached =
            std::thread::Builder::new().name("wire".to_owned()).spawn(move || reader.read())?;
        Ok(wire)
    }

    /// What the stack sends to this peer.
    pub(crate) fn attach(&self, peer: Ipv4Addr) -> Receiver<Caught> {
        let (sender, receiver) = channel();
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = peers.insert(peer, sender);
        receiver
    }

    /// The peer is gone.
    pub(crate) fn detach(&self, peer: Ipv4Addr) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = peers.remove(&peer);
    }

    /// The stack has answered an ARP request.
    pub(crate) fn is_up(&self) -> bool {
        self.stack_mac.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Asks for the stack's link-layer address, so that it learns the peer's.
    pub(crate) fn ask(&self, peer: Ipv4Addr) -> io::Result<()> {
        let body = arp(1, peer, [0; 6], STACK);
        self.frame([0xff; 6], ETHERTYPE_ARP, &body)
    }

    /// Sends a packet to the stack.
    pub(crate) fn packet(&self, packet: &[u8]) -> io::Result<()> {
        let to = *self.stack_mac.lock().unwrap_or_else(PoisonError::into_inner);
        self.frame(to.unwrap_or([0xff; 6]), ETHERTYPE_IPV4, packet)
    }

    fn frame(&self, to: [u8; 6], ethertype: [u8; 2], body: &[u8]) -> io::Result<()> {
        let frame = [&to[..], &OUR_MAC, &ethertype, body].concat();
        sys::send(self.socket.as_fd(), &frame, 0).map(|_| ())
    }

    fn read(&self) {
        let mut frame = vec![0; FRAME_MAX];
        loop {
            let Ok(len) = sys::recv(self.socket.as_fd(), &mut frame, 0) else { continue };
            let at = Instant::now();
            let Some((head, body)) = frame.get(..len).and_then(|f| f.split_at_checked(14)) else {
                continue;
            };
            if head.get(6..12) == Some(&OUR_MAC[..]) {
                continue;
            }
            match head.get(12..14) {
                Some(kind) if kind == ETHERTYPE_IPV4 => self.caught(at, body),
                Some(kind) if kind == ETHERTYPE_ARP => self.arp(body),
                _ => {}
            }
        }
    }

    fn caught(&self, at: Instant, packet: &[u8]) {
        let Some((ends, segment)) = Segment::parse(packet) else { return };
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(&ends.to.0) {
            // A script that has ended does not listen any more.
            let _ = peer.send(Caught { at, ends, segment });
        }
    }

    /// Answers for every peer; learns where the stack is.
    fn arp(&self, body: &[u8]) {
        let (Some(operation), Some(mac), Some(from), Some(to)) =
            (body.get(7), body.get(8..14), body.get(14..18), body.get(24..28))
        else {
            return;
        };
        let address = |b: &[u8]| Ipv4Addr::from(<[u8; 4]>::try_from(b).unwrap_or([0; 4]));
        let mac = <[u8; 6]>::try_from(mac).unwrap_or([0; 6]);
        if address(from) != STACK {
            return;
        }
        *self.stack_mac.lock().unwrap_or_else(PoisonError::into_inner) = Some(mac);
        if *operation == 1 && address(to) != STACK {
            // A lost answer is asked for again.
            let _ = self.frame(mac, ETHERTYPE_ARP, &arp(2, address(to), mac, STACK));
        }
    }
}

fn arp(operation: u8, from: Ipv4Addr, to_mac: [u8; 6], to: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &OUR_MAC, &from.octets(), &to_mac, &to.octets()].concat()
}
