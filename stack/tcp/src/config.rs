//! What the caller decides about a connection before it begins.

use crate::{Algorithm, EcnMode, Keepalive, limits};

/// Settings of a connection; the same for a listener's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Largest segment text we receive: the interface's MTU minus IP and TCP headers without
    /// options (RFC 9293 §3.7.1). Also the most we send before the peer's MSS is applied.
    pub mss: u16,
    /// What to assume of a peer that sends no MSS option: 536 for IPv4, 1220 for IPv6
    /// (RFC 9293 §3.7.1, MUST-15).
    pub mss_default: u16,
    /// A peer's MSS below this one counts as this one ([`limits::MSS_FLOOR`] says why).
    pub mss_floor: u16,
    /// Window scale shift to offer, at most 14 (RFC 7323 §2).
    pub window_scale: u8,
    /// Offer timestamps (RFC 7323 §3).
    pub timestamps: bool,
    /// Added to the timestamp clock, so that it tells nothing about the host's uptime
    /// (RFC 7323 §5.4): [`crate::isn::timestamp_offset`].
    pub timestamp_offset: u32,
    /// Offer selective acknowledgments (RFC 2018 §2).
    pub sack: bool,
    /// Send small segments at once (no Nagle algorithm).
    pub nodelay: bool,
    /// Pace algorithms too that have no rate of their own: [`crate::Tcb::set_pacing`].
    pub pacing: bool,
    /// Explicit congestion notification.
    pub ecn: EcnMode,
    /// How much may be in flight: CUBIC unless something else is asked for.
    pub congestion: Algorithm,
    /// Probe an idle peer (RFC 9293 §3.8.4). Off by default, as the RFC demands.
    pub keepalive: Option<Keepalive>,
    /// `TCP_DEFER_ACCEPT` of a listener: so many SYN-ACKs are repeated before a handshake without
    /// text counts as complete.
    pub defer_accept: u8,
    /// A listener's peers that ask for a Fast Open cookie get one.
    pub fast_open: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mss: 1460,
            mss_default: limits::MSS_DEFAULT,
            mss_floor: limits::MSS_FLOOR,
            window_scale: 7,
            timestamps: true,
            timestamp_offset: 0,
            sack: true,
            nodelay: false,
            pacing: false,
            ecn: EcnMode::default(),
            congestion: Algorithm::default(),
            keepalive: None,
            defer_accept: 0,
            fast_open: false,
        }
    }
}
