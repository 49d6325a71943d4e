//! The 32 bytes in front of every datagram, both ways.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Where a datagram came from, or goes to.
///
/// ```text
///  0        2        4                8                24               28              32
///  | family | port   | scope          | address        | payload length | 0             |
/// ```
/// All in the machine's byte order, except the address, which is as on the wire.
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
    reserved: u32,
}

const _: () = assert!(size_of::<DatagramHeader>() == DatagramHeader::LEN);

impl DatagramHeader {
    /// Length in bytes.
    pub const LEN: usize = Self::LEN_U32 as usize;
    pub(crate) const LEN_U32: u32 = 32;

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
