//! Routes, one by one and many at once.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A route as an operator gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRoute {
    /// Destination network.
    pub destination: IpAddr,
    /// Prefix length; 0 with 0.0.0.0 or :: is the default route.
    pub prefix_len: u8,
    /// What becomes of packets.
    pub onward: Onward,
    /// Most bytes of an IP packet on this way, if fewer than of the interface's.
    pub mtu: Option<u16>,
}

/// What becomes of packets by a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Onward {
    /// They go to this router, or to one of several that the flow chooses.
    Gateway(IpAddr),
    /// They are dropped, and nobody is told.
    Blackhole,
    /// They are dropped, and their senders are told.
    Reject,
}

/// A step of a load of many routes. Workers see its routes together, at its end; until then those from
/// before are in force. A load whose connection closes ends there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// The first step.
    Begin,
    /// Some of its routes: at most [`Load::ROUTES_MAX`]. Each takes the place of the route to its destination
    /// that an earlier load has brought; what the load itself has brought there gets one more gateway.
    Routes(Vec<NewRoute>),
    /// Destinations, at most [`Load::ROUTES_MAX`], whose routes go if earlier loads have brought them.
    Gone(Vec<(IpAddr, u8)>),
    /// The last step: routes of earlier loads that this one has not brought again go, or stay.
    End {
        /// They go.
        replace: bool,
    },
    /// How far is it?
    Ask,
}

impl Load {
    /// Routes of one step: those of IPv6 fit into a message.
    pub const ROUTES_MAX: usize = 1_500;
}

/// What has become of a load so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Routes and gateways taken.
    pub taken: u32,
    /// Those refused.
    pub refused: u32,
    /// The first of them: destination, prefix length, Linux's errno.
    pub first_refused: Option<(IpAddr, u8, i32)>,
    /// Routes of earlier loads that have gone.
    pub gone: u32,
    /// The workers do not have them all yet.
    pub under_way: bool,
}
