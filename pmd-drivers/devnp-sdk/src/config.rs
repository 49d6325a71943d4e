//! What is asked of a driver, and what it has made.

use devnp_abi as abi;

use crate::lower::Lower;

/// What the operator and the daemon want of an interface.
#[derive(Debug)]
pub struct Config<'a> {
    pub(crate) raw: &'a abi::Config,
}

impl Config<'_> {
    /// 0 for the first interface of these options, then 1, … while [`Info::more`] is set.
    #[must_use]
    pub fn port(&self) -> u32 {
        self.raw.port
    }

    /// Pairs of queues: one per worker.
    #[must_use]
    pub fn queues(&self) -> u16 {
        self.raw.queues
    }

    /// `mtu=`.
    #[must_use]
    pub fn mtu(&self) -> Option<u16> {
        (self.raw.mtu != 0).then_some(self.raw.mtu)
    }

    /// `mac=`.
    #[must_use]
    pub fn mac(&self) -> Option<[u8; 6]> {
        (self.raw.mac != [0; 6]).then_some(self.raw.mac)
    }

    /// `promiscuous`.
    #[must_use]
    pub fn promiscuous(&self) -> bool {
        self.raw.promiscuous != 0
    }

    /// The device below, for a driver with [`NEEDS_LOWER`](crate::Driver::NEEDS_LOWER). Keep it no
    /// longer than the driver.
    #[must_use]
    pub fn lower(&self) -> Option<Lower> {
        Lower::new(self.raw.lower)
    }
}

/// What the driver does so that the stack need not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Fills in IPv4 header checksums.
    pub ipv4_checksum: bool,
    /// Fills in TCP checksums.
    pub tcp_checksum: bool,
    /// Fills in UDP checksums.
    pub udp_checksum: bool,
    /// Sends packets of several pieces.
    pub multi_segment: bool,
}

impl Offloads {
    pub(crate) fn bits(self) -> u32 {
        let bit = |on: bool, bit| if on { bit } else { 0 };
        bit(self.ipv4_checksum, abi::OFFLOAD_IPV4_CHECKSUM)
            | bit(self.tcp_checksum, abi::OFFLOAD_TCP_CHECKSUM)
            | bit(self.udp_checksum, abi::OFFLOAD_UDP_CHECKSUM)
            | bit(self.multi_segment, abi::OFFLOAD_MULTI_SEGMENT)
    }
}

/// What `open` has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Pairs of queues.
    pub queues: u16,
    /// Largest IP packet now.
    pub mtu: u16,
    /// Largest IP packet ever.
    pub mtu_max: u16,
    /// The address; `None`: the daemon chooses one.
    pub mac: Option<[u8; 6]>,
    /// What it does for the stack.
    pub offloads: Offloads,
    /// `open` wants to be called again, for another interface of the same options.
    pub more: bool,
}

/// The state of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// There is a carrier.
    pub up: bool,
    /// Megabits a second, if known.
    pub speed_mbps: Option<u32>,
    /// Both ways at once.
    pub full_duplex: bool,
}

/// Why a driver does not do something: a number of `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenError(pub i32);

impl OpenError {
    /// The options make no sense.
    pub const INVALID: Self = Self(22);
    /// No such device.
    pub const NO_DEVICE: Self = Self(19);
    /// Not possible with this driver.
    pub const NOT_SUPPORTED: Self = Self(95);
    /// No such option of a socket.
    pub const NO_OPTION: Self = Self(92);
    /// There is no such `ioctl`.
    pub const NO_REQUEST: Self = Self(25);
    /// A fault of the driver.
    pub const IO: Self = Self(5);

    /// More bytes than there is room for.
    pub const TOO_LONG: Self = Self(90);

    /// As a C function returns it: negative, whatever a module has put in.
    #[must_use]
    pub fn code(self) -> i32 {
        // A driver that says 0 or something negative still means a failure.
        -self.0.clamp(1, 4095)
    }
}
