//! What the operator decides, and where frames go.

use core::net::Ipv4Addr;
use core::time::Duration;

use types::MacAddr;

use crate::frame::Order;
use crate::limits::TICK;
use crate::names::Fqnn;

/// A node's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name.
    pub name: Fqnn,
    /// The byte order that it speaks; it understands both.
    pub order: Order,
    /// Frames have a checksum, and must have one.
    pub crc: bool,
    /// How long a node is known that was not heard; at a third of it we make ourselves heard. `None`: we ask
    /// for nodes by name only, and know only those that we asked for.
    pub auto_add: Option<Duration>,
    /// How long until the next attempt to establish a connection.
    pub conn_est_timeout: Duration,
    /// How many attempts after the first.
    pub conn_est_retries: u32,
    /// A connection without messages for this long is torn down, as is one whose messages do not arrive.
    pub conn_up_idle: Duration,
    /// How often the paths of a node with connections are tried.
    pub periodic: Duration,
}

impl Config {
    /// The defaults of a node of this name.
    #[must_use]
    pub fn new(name: Fqnn) -> Self {
        Self {
            name,
            order: Order::Little,
            crc: true,
            auto_add: Some(TICK.saturating_mul(150)),
            conn_est_timeout: TICK,
            conn_est_retries: 10,
            conn_up_idle: TICK.saturating_mul(150),
            periodic: TICK,
        }
    }
}

/// An interface of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u16);

/// Which paths a connection uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    /// All that work, each frame on the one with the least in flight.
    #[default]
    LoadBalance,
    /// All, each frame on every one.
    Redundant,
    /// Those of one interface and no others.
    Exclusive(LinkId),
    /// Those of one interface while they work, else all that do.
    Preferred(LinkId),
}

impl Policy {
    /// Its number in a frame, and the interface.
    pub(crate) fn numbers(self) -> (u16, u16) {
        match self {
            Self::LoadBalance => (0, 0),
            Self::Redundant => (1, 0),
            Self::Exclusive(link) => (2, link.0),
            Self::Preferred(link) => (3, link.0),
        }
    }
}

/// A station on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// On Ethernet.
    Mac(MacAddr),
    /// Behind IPv4.
    Ip(Ipv4Addr),
}

/// An interface that a node is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Our own address there.
    pub address: Address,
    /// Bytes of a frame from its LWL4 header on.
    pub frame_len_max: usize,
}

/// Where a frame is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// By which interface.
    pub link: LinkId,
    /// To whom; `None`: all stations of the link.
    pub to: Option<Address>,
}
