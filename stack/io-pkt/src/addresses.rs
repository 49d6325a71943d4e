//! Which addresses sockets may have and reach, and which they get, in both families.
//!
//! A socket of IPv6 that has not been told to keep to it takes and makes connections over IPv4, too
//! (RFC 3493 3.7). Its library says an IPv4 address where the program said a mapped one.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use inet::Device;
use inet::command::Transport;
use rustix::io::Errno;

use crate::control::Control;
use crate::options::Values;

impl Control {
    /// An address a socket may have.
    pub(crate) fn check_local(
        &self,
        values: &Values,
        address: SocketAddr,
    ) -> Result<SocketAddr, Errno> {
        let known = match address {
            SocketAddr::V4(_) if values.inet6 && values.v6_only => return Err(Errno::INVAL),
            SocketAddr::V6(_) if !values.inet6 => return Err(Errno::AFNOSUPPORT),
            SocketAddr::V4(v4) => {
                let ip = *v4.ip();
                ip.is_unspecified()
                    || ip.is_loopback()
                    || ip.is_multicast()
                    || self.network.is_broadcast(ip)
                    || self.network.has_address(ip)
            }
            // An address of a link says nothing without it.
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
                return Err(Errno::INVAL);
            }
            SocketAddr::V6(v6) => {
                let ip = *v6.ip();
                ip.is_unspecified()
                    || ip.is_loopback()
                    || ip.is_multicast()
                    || self.network.has_address6(ip, v6.scope_id())
            }
        };
        if known { Ok(address) } else { Err(Errno::ADDRNOTAVAIL) }
    }

    /// The peer that is meant by an address, if a socket may have it. The unspecified one is this host,
    /// as in Linux.
    pub(crate) fn check_peer(
        &self,
        transport: Transport,
        values: &Values,
        to: SocketAddr,
    ) -> Result<SocketAddr, Errno> {
        let stream = transport == Transport::Stream;
        let (to, everybody) = match to {
            SocketAddr::V4(_) if values.inet6 && values.v6_only => return Err(Errno::NETUNREACH),
            SocketAddr::V6(_) if !values.inet6 => return Err(Errno::AFNOSUPPORT),
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
                (SocketAddr::new(Ipv4Addr::LOCALHOST.into(), v4.port()), false)
            }
            SocketAddr::V4(v4) => (to, self.network.is_broadcast(*v4.ip())),
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
                (SocketAddr::new(Ipv6Addr::LOCALHOST.into(), v6.port()), false)
            }
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
                return Err(Errno::INVAL);
            }
            SocketAddr::V6(_) => (to, false),
        };
        if stream && to.port() == 0 {
            return Err(Errno::CONNREFUSED);
        }
        if stream && (everybody || to.ip().is_multicast()) {
            return Err(Errno::NETUNREACH);
        }
        if everybody && !values.broadcast {
            return Err(Errno::ACCESS);
        }
        Ok(to)
    }

    /// The address that a connection to `to` comes from, at a port that is not chosen yet.
    pub(crate) fn source(
        &self,
        bound: Option<SocketAddr>,
        to: SocketAddr,
        device: Device,
    ) -> Result<SocketAddr, Errno> {
        let chosen = bound.map(|local| local.ip()).filter(|ip| !ip.is_unspecified());
        let own = |interface| self.network.source_by(interface, to.ip());
        let chosen = chosen.or_else(|| own(device.interface()?));
        match (chosen, to) {
            (None, SocketAddr::V4(to)) => {
                let source = self.network.source_for(*to.ip(), device.table());
                let without = || self.network.without_way((*to.ip()).into(), device.table());
                let source = source.ok_or_else(without)?;
                Ok(SocketAddr::new(source.into(), 0))
            }
            (Some(IpAddr::V4(ip)), SocketAddr::V4(to)) => {
                let here = to.ip().is_loopback() || self.network.has_address(*to.ip());
                if ip.is_loopback() && !here {
                    return Err(Errno::INVAL);
                }
                Ok(SocketAddr::new(ip.into(), 0))
            }
            (None, SocketAddr::V6(to)) => {
                let source = self.network.source_for6(*to.ip(), to.scope_id(), device.table())?;
                let zone = if source.is_unicast_link_local() { to.scope_id() } else { 0 };
                Ok(SocketAddrV6::new(source, 0, 0, zone).into())
            }
            (Some(IpAddr::V6(ip)), SocketAddr::V6(to)) => {
                let here =
                    to.ip().is_loopback() || self.network.has_address6(*to.ip(), to.scope_id());
                if ip.is_loopback() && !here {
                    return Err(Errno::INVAL);
                }
                let zone = if ip.is_unicast_link_local() { to.scope_id() } else { 0 };
                Ok(SocketAddrV6::new(ip, 0, 0, zone).into())
            }
            _ => Err(Errno::NETUNREACH),
        }
    }
}

/// Every address, in a socket's family.
pub(crate) fn any(values: &Values) -> IpAddr {
    if values.inet6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}
