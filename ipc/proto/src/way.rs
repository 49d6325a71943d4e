//! Where datagrams go, as clients are told beforehand.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Where datagrams go, to all addresses from one to another. It holds until the network's generation, which
/// clients see in the workers' page, is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// The first address for which this is so.
    pub first: IpAddr,
    /// The last one.
    pub last: IpAddr,
    /// Where to.
    pub leads: Leads,
}

/// Where a way leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leads {
    /// To this host itself.
    Here,
    /// To another one, or to a group.
    Away,
    /// To everybody on a link, which a socket must have asked for (`SO_BROADCAST`).
    ToEverybody {
        /// The errno of one that has not.
        refusal: i32,
    },
    /// Nowhere.
    Nowhere {
        /// Linux's errno.
        errno: i32,
    },
    /// Too many routes to tell beforehand: whoever sends will see.
    Unsaid,
}
