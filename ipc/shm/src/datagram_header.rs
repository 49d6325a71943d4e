//! The 64 bytes in front of every datagram, both ways.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where a datagram came from, or goes to, and what its IP header says besides.
///
/// ```text
///  0        2        4                8                24               28    29    30    31    32
///  | family | port   | scope          | address        | payload length | TTL | TOS | set | 0   |
///  32                                 48               52               56                      64
///  | our address                      | interface      | 0              | time of arrival       |
/// ```
/// All in the machine's byte order, except the addresses, which are as on the wire. `set` says which of TTL,
/// TOS and our address mean anything: on the way out those that are not to be the socket's own.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct DatagramHeader {
    family: u16,
    port: u16,
    scope: u32,
    address: [u8; 16],
    payload_len: u32,
    ttl: u8,
    tos: u8,
    set: u8,
    reserved: u8,
    local: [u8; 16],
    interface: u32,
    reserved_too: u32,
    at_ns: u64,
}

/// What goes with a datagram besides its sender: ancillary data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ancillary {
    /// Where it came to, or where it is to come from; `None`: the socket's own address.
    pub local: Option<IpAddr>,
    /// The stack's number of the interface it came in on.
    pub interface: u32,
    /// Time to live; `None`: the socket's.
    pub ttl: Option<u8>,
    /// Type of service; `None`: the socket's.
    pub tos: Option<u8>,
    /// When it came, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// It is several datagrams, all but the last so long (`UDP_SEGMENT`, `UDP_GRO`). No header says so: the
    /// client cuts and joins.
    pub segment: Option<u16>,
}

const _: () = assert!(size_of::<DatagramHeader>() == DatagramHeader::LEN);

impl DatagramHeader {
    /// Length in bytes.
    pub const LEN: usize = Self::LEN_U32 as usize;
    pub(crate) const LEN_U32: u32 = 64;

    const SET_TTL: u8 = 1;
    const SET_TOS: u8 = 1 << 1;
    const SET_LOCAL_V4: u8 = 1 << 2;
    const SET_LOCAL_V6: u8 = 1 << 3;

    const NONE: u16 = 0;
    const V4: u16 = 4;
    const V6: u16 = 6;

    /// A header for `payload_len` bytes; no address means the peer the socket is connected to.
    #[must_use]
    pub fn new(address: Option<SocketAddr>, payload_len: u32) -> Self {
        let mut header = Self { payload_len, ..Self::default() };
        match address {
            None => header.family = Self::NONE,
            Some(SocketAddr::V4(v4)) => {
                header.family = Self::V4;
                header.port = v4.port();
                let [a, b, c, d] = v4.ip().octets();
                header.address = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            }
            Some(SocketAddr::V6(v6)) => {
                header.family = Self::V6;
                header.port = v6.port();
                header.scope = v6.scope_id();
                header.address = v6.ip().octets();
            }
        }
        header
    }

    /// The header with ancillary data.
    #[must_use]
    pub fn with(mut self, ancillary: &Ancillary) -> Self {
        if let Some(ttl) = ancillary.ttl {
            self.ttl = ttl;
            self.set |= Self::SET_TTL;
        }
        if let Some(tos) = ancillary.tos {
            self.tos = tos;
            self.set |= Self::SET_TOS;
        }
        match ancillary.local {
            Some(IpAddr::V4(ip)) => {
                let [a, b, c, d] = ip.octets();
                self.local = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                self.set |= Self::SET_LOCAL_V4;
            }
            Some(IpAddr::V6(ip)) => {
                self.local = ip.octets();
                self.set |= Self::SET_LOCAL_V6;
            }
            None => {}
        }
        self.interface = ancillary.interface;
        self.at_ns = ancillary.at_ns;
        self
    }

    /// The ancillary data.
    #[must_use]
    pub fn ancillary(&self) -> Ancillary {
        let has = |bit| self.set & bit != 0;
        let [a, b, c, d, ..] = self.local;
        let local = if has(Self::SET_LOCAL_V4) {
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        } else {
            has(Self::SET_LOCAL_V6).then(|| IpAddr::V6(self.local.into()))
        };
        Ancillary {
            local,
            interface: self.interface,
            ttl: has(Self::SET_TTL).then_some(self.ttl),
            tos: has(Self::SET_TOS).then_some(self.tos),
            at_ns: self.at_ns,
            segment: None,
        }
    }

    /// Reads a header that was copied out of shared memory.
    #[must_use]
    pub fn parse(bytes: &[u8; Self::LEN]) -> Self {
        zerocopy::transmute!(*bytes)
    }

    /// The address; none for the connected peer and for a family that is none of ours.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self.family {
            Self::V4 => {
                let [a, b, c, d, ..] = self.address;
                Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), self.port).into())
            }
            Self::V6 => {
                let ip = Ipv6Addr::from(self.address);
                Some(SocketAddrV6::new(ip, self.port, 0, self.scope).into())
            }
            _ => None,
        }
    }

    /// IP address alone.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }

    /// Bytes of payload that follow.
    #[must_use]
    pub fn payload_len(&self) -> u32 {
        self.payload_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancillary_data_survives_the_round_trip() {
        for local in [None, Some([198, 18, 77, 2].into()), Some(IpAddr::V6(Ipv6Addr::LOCALHOST))] {
            for (ttl, tos) in [(None, None), (Some(1), None), (None, Some(0)), (Some(0), Some(255))]
            {
                let ancillary =
                    Ancillary { local, interface: 3, ttl, tos, at_ns: 1 << 60, segment: None };
                let from = "10.0.0.1:53".parse().ok();
                let header = DatagramHeader::new(from, 17).with(&ancillary);
                let read = DatagramHeader::parse(&zerocopy::transmute!(header));
                assert_eq!(read.ancillary(), ancillary);
                assert_eq!((read.address(), read.payload_len()), (from, 17));
            }
        }
    }
}
