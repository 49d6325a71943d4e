//! A DHCP client (RFC 2131 4.4) for one link, and its messages (RFC 2132).
//!
//! ```text
//!  begin ──► Selecting ──OFFER──► Requesting ──ACK──► Bound ──T1──► Renewing ──T2──► Rebinding
//!                ▲                    │ NAK             ▲              │ ACK            │ ACK
//!                └────────────────────┴──── NAK, or the lease ends ◄───┴────────────────┘
//! ```
//!
//! On a link that comes up again the server is asked whether the lease still holds (Rebooting), and the
//! lease is used as long as nobody says no.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::VecDeque;

use types::{Instant, MacAddr};

use crate::limits::{DHCP_DECLINED, DHCP_PAUSE, DHCP_RENEW_MIN, DHCP_RETRY_FIRST, DHCP_RETRY_MAX};

/// Ports of servers and clients.
pub const PORTS: (u16, u16) = (67, 68);

/// What a server has given us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Our address.
    pub address: Ipv4Addr,
    /// Its network.
    pub prefix_len: u8,
    /// The router for packets to everywhere.
    pub router: Option<Ipv4Addr>,
    /// MTU of the link.
    pub mtu: Option<u16>,
    /// Who has given it.
    pub server: Ipv4Addr,
}

/// When a lease is to be renewed, and ends.
#[derive(Clone, Copy, Debug)]
struct Times {
    renew: Instant,
    rebind: Instant,
    end: Instant,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Looking for servers.
    Selecting,
    /// One has offered this.
    Requesting(Lease),
    /// The lease is ours.
    Bound(Lease, Times),
    /// Its server is being asked to make it longer.
    Renewing(Lease, Times),
    /// Any server is.
    Rebinding(Lease, Times),
    /// The link is up again: does the lease hold here (RFC 2131 3.2)?
    Rebooting(Lease, Times),
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// From; unspecified while there is no address.
    pub source: Ipv4Addr,
    /// To a server, or to everybody.
    pub to: Ipv4Addr,
    /// What follows the UDP header.
    pub message: Vec<u8>,
}

/// A link's client.
#[derive(Debug)]
pub struct Client {
    mac: MacAddr,
    state: State,
    xid: u32,
    /// When something is to be sent again or to end.
    due: Instant,
    retry: Duration,
    out: VecDeque<Outgoing>,
    changed: bool,
}

impl Client {
    /// A client that begins; `random` names its exchange.
    #[must_use]
    pub fn new(mac: MacAddr, now: Instant, random: u64) -> Self {
        let [a, b, c, d, ..] = random.to_be_bytes();
        Self {
            mac,
            state: State::Selecting,
            xid: u32::from_be_bytes([a, b, c, d]),
            due: now,
            retry: DHCP_RETRY_FIRST,
            out: VecDeque::new(),
            changed: false,
        }
    }

    /// What is ours.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.held().map(|(lease, _)| lease)
    }

    fn held(&self) -> Option<(&Lease, Times)> {
        match &self.state {
            State::Selecting | State::Requesting(_) => None,
            State::Bound(lease, times)
            | State::Renewing(lease, times)
            | State::Rebinding(lease, times)
            | State::Rebooting(lease, times) => Some((lease, *times)),
        }
    }

    /// Whether [`Client::lease`] is another than at the last call.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Outgoing> {
        self.out.pop_front()
    }

    /// When [`Client::timeout`] has something to do next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        Some(self.due).filter(|due| *due != Instant::FAR_FUTURE)
    }

    /// The address is needed no longer: its server may give it to another (RFC 2131 4.4.6).
    #[must_use]
    pub fn release(&self) -> Option<Outgoing> {
        let lease = self.lease()?;
        let mut message = Message::new(self, Kind::Release, lease.address);
        message.option(SERVER, &lease.server.octets());
        Some(Outgoing { source: lease.address, to: lease.server, message: message.finish() })
    }

    /// The address can't be used here: its server is to give it to nobody, and is asked for another a
    /// little later (RFC 2131 3.1, step 5).
    pub fn decline(&mut self, now: Instant) {
        let Some(lease) = self.lease().copied() else { return };
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new(self, Kind::Decline, none);
        message.option(REQUESTED, &lease.address.octets());
        message.option(SERVER, &lease.server.octets());
        let to = Ipv4Addr::BROADCAST;
        self.out.push_back(Outgoing { source: none, to, message: message.finish() });
        self.state = self.begin();
        self.due = now + DHCP_DECLINED;
    }

    /// The link is up again, or another one: it has to be asked, at once.
    pub fn restart(&mut self) {
        self.begin_exchange();
        self.state = match self.held() {
            Some((lease, times)) => State::Rebooting(*lease, times),
            None => State::Selecting,
        };
        self.due = Instant::ZERO;
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant, random: u64) {
        if self.due > now {
            return;
        }
        self.state = match self.state {
            // A server that does not answer a request may be gone: another may be there.
            State::Requesting(_) if self.retry >= DHCP_RETRY_MAX => self.begin(),
            State::Bound(lease, times) => State::Renewing(lease, times),
            State::Renewing(lease, times) if now >= times.rebind => State::Rebinding(lease, times),
            State::Rebinding(_, times) | State::Rebooting(_, times) if now >= times.end => {
                self.begin()
            }
            // Nobody says no: it is ours for the rest of its time.
            State::Rebooting(lease, times) if self.retry >= DHCP_RETRY_MAX => {
                State::Bound(lease, times)
            }
            same => same,
        };
        self.send();
        self.due = match self.state {
            State::Renewing(_, times) => half_way(now, times.rebind),
            State::Rebinding(_, times) => half_way(now, times.end),
            State::Bound(_, times) => times.renew.max(now + DHCP_PAUSE),
            _ => {
                let due = now + jitter(self.retry, random);
                self.retry = self.retry.saturating_mul(2).min(DHCP_RETRY_MAX);
                due
            }
        };
    }

    /// Back to the beginning, without a lease.
    fn begin(&mut self) -> State {
        self.changed |= self.lease().is_some();
        self.begin_exchange();
        State::Selecting
    }

    fn begin_exchange(&mut self) {
        self.xid = self.xid.wrapping_add(1);
        self.retry = DHCP_RETRY_FIRST;
    }

    fn send(&mut self) {
        let none = Ipv4Addr::UNSPECIFIED;
        let (source, to, message) = match self.state {
            State::Selecting => {
                let message = Message::new(self, Kind::Discover, none);
                (none, Ipv4Addr::BROADCAST, message)
            }
            State::Requesting(offer) => {
                let mut message = Message::new(self, Kind::Request, none);
                message.option(REQUESTED, &offer.address.octets());
                message.option(SERVER, &offer.server.octets());
                (none, Ipv4Addr::BROADCAST, message)
            }
            State::Rebooting(lease, _) => {
                let mut message = Message::new(self, Kind::Request, none);
                message.option(REQUESTED, &lease.address.octets());
                (none, Ipv4Addr::BROADCAST, message)
            }
            State::Renewing(lease, _) => {
                (lease.address, lease.server, Message::new(self, Kind::Request, lease.address))
            }
            State::Rebinding(lease, _) => {
                let message = Message::new(self, Kind::Request, lease.address);
                (lease.address, Ipv4Addr::BROADCAST, message)
            }
            State::Bound(..) => return,
        };
        self.out.push_back(Outgoing { source, to, message: message.finish() });
    }

    /// A server has spoken.
    pub fn input(&mut self, bytes: &[u8], now: Instant) {
        let Some(reply) = Reply::parse(bytes, self.xid, self.mac) else { return };
        match (reply.kind, self.state) {
            (Kind::Offer, State::Selecting) => {
                let Some(lease) = reply.lease() else { return };
                self.state = State::Requesting(lease);
                (self.retry, self.due) = (DHCP_RETRY_FIRST, now);
            }
            (Kind::Ack, State::Requesting(offer)) => {
                let Some(lease) = reply.lease() else { return };
                if (lease.server, lease.address) == (offer.server, offer.address) {
                    self.bind(lease, &reply, now);
                }
            }
            (
                Kind::Ack,
                State::Renewing(old, _) | State::Rebinding(old, _) | State::Rebooting(old, _),
            ) => {
                let Some(lease) = reply.lease() else { return };
                if lease.address == old.address {
                    self.bind(lease, &reply, now);
                }
            }
            (Kind::Nak, State::Requesting(lease) | State::Renewing(lease, _))
                if reply.server != Some(lease.server) => {}
            (
                Kind::Nak,
                State::Requesting(_)
                | State::Renewing(..)
                | State::Rebinding(..)
                | State::Rebooting(..),
            ) => {
                self.state = self.begin();
                self.due = now + DHCP_PAUSE;
            }
            _ => {}
        }
    }

    fn bind(&mut self, lease: Lease, reply: &Reply, now: Instant) {
        self.changed |= self.lease() != Some(&lease);
        let Some(time) = reply.time else { return };
        let forever = time == u32::MAX;
        let after = |seconds: u32| {
            if forever { Instant::FAR_FUTURE } else { now + Duration::from_secs(seconds.into()) }
        };
        // RFC 2131 4.4.5: a half and seven eighths, unless the server says otherwise.
        let rebind = reply.rebind.filter(|t| *t < time);
        let rebind = rebind.unwrap_or_else(|| time.saturating_sub(time / 8));
        let renew = reply.renew.filter(|t| *t < rebind).unwrap_or(time / 2).min(rebind);
        let soonest = now + DHCP_PAUSE;
        let times =
            Times { renew: after(renew).max(soonest), rebind: after(rebind), end: after(time) };
        self.state = State::Bound(lease, times);
        self.due = times.renew;
    }
}

/// Half of the time that is left, but not too soon (RFC 2131 4.4.5), and the end itself.
fn half_way(now: Instant, end: Instant) -> Instant {
    let left = end.since(now);
    let half = Duration::from_nanos(u64::try_from(left.as_nanos() / 2).unwrap_or(u64::MAX));
    (now + half.max(DHCP_RENEW_MIN)).min(end.max(now + Duration::from_millis(1)))
}

/// A second more or less, by a random number (RFC 2131 4.1).
fn jitter(time: Duration, random: u64) -> Duration {
    let millis = random.checked_rem(2000).unwrap_or(0);
    time.saturating_sub(Duration::from_secs(1)).saturating_add(Duration::from_millis(millis))
}

/// Types of messages (RFC 2132 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Decline = 4,
    Ack = 5,
    Nak = 6,
    Release = 7,
}

/// A message being written.
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// The fixed part, and the options that all have.
    fn new(client: &Client, kind: Kind, ours: Ipv4Addr) -> Self {
        let mut bytes = vec![1, 1, 6, 0];
        bytes.extend(client.xid.to_be_bytes());
        // Who has no address can only hear what is sent to everybody.
        let flags = if ours.is_unspecified() { BROADCAST } else { 0 };
        bytes.extend([0, 0]);
        bytes.extend(flags.to_be_bytes());
        bytes.extend(ours.octets());
        bytes.extend([0; 12]);
        bytes.extend(client.mac.0);
        bytes.resize(FIXED_LEN, 0);
        bytes.extend(COOKIE);
        let mut message = Self { bytes };
        message.option(KIND, &[kind as u8]);
        let mut identifier = vec![1];
        identifier.extend(client.mac.0);
        message.option(CLIENT, &identifier);
        if matches!(kind, Kind::Discover | Kind::Request) {
            message.option(WANTED, &[MASK, ROUTERS, MTU, TIME, SERVER, RENEW, REBIND]);
        }
        message
    }

    fn option(&mut self, kind: u8, data: &[u8]) {
        let len = u8::try_from(data.len()).unwrap_or(u8::MAX);
        self.bytes.extend([kind, len]);
        self.bytes.extend(data.iter().take(len.into()));
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        // RFC 1542 2.1: no shorter than BOOTP's.
        let len = self.bytes.len().max(BOOTP_LEN);
        self.bytes.resize(len, 0);
        self.bytes
    }
}

/// What a server says.
#[derive(Debug)]
struct Reply {
    kind: Kind,
    yours: Ipv4Addr,
    server: Option<Ipv4Addr>,
    mask: Option<u32>,
    router: Option<Ipv4Addr>,
    mtu: Option<u16>,
    time: Option<u32>,
    renew: Option<u32>,
    rebind: Option<u32>,
}

impl Reply {
    /// Reads an answer to the exchange `xid` of the station `mac`.
    fn parse(bytes: &[u8], xid: u32, mac: MacAddr) -> Option<Self> {
        let (fixed, rest) = bytes.split_at_checked(FIXED_LEN)?;
        let ours = fixed.get(4..8)? == xid.to_be_bytes() && fixed.get(28..34)? == mac.0;
        let (cookie, mut options) = rest.split_at_checked(COOKIE.len())?;
        if fixed.first() != Some(&REPLY) || !ours || cookie != COOKIE {
            return None;
        }
        let yours = Ipv4Addr::from(*fixed.get(16..20)?.first_chunk()?);
        let mut kind = None;
        let mut reply = Self {
            kind: Kind::Nak,
            yours,
            server: None,
            mask: None,
            router: None,
            mtu: None,
            time: None,
            renew: None,
            rebind: None,
        };
        while let Some((&code, after)) = options.split_first().filter(|(code, _)| **code != END) {
            if code == PAD {
                options = after;
                continue;
            }
            let (&len, after) = after.split_first()?;
            let (data, after) = after.split_at_checked(len.into())?;
            options = after;
            if code == KIND {
                kind = kind_of(data);
            }
            reply.option(code, data);
        }
        kind.map(|kind| Self { kind, ..reply })
    }

    fn option(&mut self, code: u8, data: &[u8]) {
        let number = data.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let address = number.map(Ipv4Addr::from_bits);
        match code {
            SERVER => self.server = address,
            MASK => self.mask = number,
            ROUTERS => self.router = address,
            MTU => self.mtu = data.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)),
            TIME => self.time = number,
            RENEW => self.renew = number,
            REBIND => self.rebind = number,
            _ => {}
        }
    }

    /// What it gives, if that is of use.
    fn lease(&self) -> Option<Lease> {
        let is_one = !self.yours.is_unspecified()
            && !self.yours.is_multicast()
            && !self.yours.is_broadcast()
            && !self.yours.is_loopback();
        let mask = self.mask.unwrap_or(0xffff_ff00);
        let prefix_len = u8::try_from(mask.leading_ones()).ok()?;
        let is_mask = mask.count_ones() == u32::from(prefix_len) && prefix_len > 0;
        let time = self.time.filter(|time| *time > 0);
        (is_one && is_mask && time.is_some()).then_some(())?;
        Some(Lease {
            address: self.yours,
            prefix_len,
            router: self.router.filter(|router| !router.is_unspecified()),
            mtu: self.mtu.filter(|mtu| *mtu >= MTU_MIN),
            server: self.server?,
        })
    }
}

fn kind_of(data: &[u8]) -> Option<Kind> {
    match data {
        [2] => Some(Kind::Offer),
        [5] => Some(Kind::Ack),
        [6] => Some(Kind::Nak),
        _ => None,
    }
}

const REPLY: u8 = 2;
const BROADCAST: u16 = 0x8000;
const FIXED_LEN: usize = 236;
const BOOTP_LEN: usize = 300;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Every IPv4 host takes as much (RFC 791).
const MTU_MIN: u16 = 576;
const PAD: u8 = 0;
const MASK: u8 = 1;
const ROUTERS: u8 = 3;
const MTU: u8 = 26;
const REQUESTED: u8 = 50;
const TIME: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;
const RENEW: u8 = 58;
const REBIND: u8 = 59;
const CLIENT: u8 = 61;
const END: u8 = 255;

#[cfg(test)]
mod tests;
