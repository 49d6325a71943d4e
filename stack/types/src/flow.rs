//! What identifies a transport connection.

use core::net::{IpAddr, SocketAddr};

/// The two ends of a connection as this host sees them; the transport protocol is implied by the
/// table the key is used in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// Address of this host.
    pub local_addr: IpAddr,
    /// Address of the peer.
    pub remote_addr: IpAddr,
    /// Port of this host.
    pub local_port: u16,
    /// Port of the peer.
    pub remote_port: u16,
}

impl FlowKey {
    /// Address and port of this host.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_addr, self.local_port)
    }

    /// Address and port of the peer.
    #[must_use]
    pub const fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote_addr, self.remote_port)
    }
}
