//! The way of an IPv4 packet to its destination, and why there is none. IPv6's is in `output6.rs`.

use core::net::Ipv4Addr;

use fib::Fib;
use rustix::io::Errno;

use crate::network::{Destination, Interface, LOOPBACK, TxChecksum};
use crate::output::{Hop, Output};
use crate::spread;

/// Why a packet has no way to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoWay {
    /// Nobody knows one that is up.
    Unknown,
    /// The operator lets nothing pass.
    Refused(fib::Refusal),
}

impl From<fib::Refusal> for NoWay {
    fn from(refusal: fib::Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NoWay> for Errno {
    /// Linux's.
    fn from(why: NoWay) -> Self {
        match why {
            NoWay::Unknown => Self::NETUNREACH,
            NoWay::Refused(fib::Refusal::Blackhole) => Self::INVAL,
            NoWay::Refused(fib::Refusal::Reject) => Self::HOSTUNREACH,
        }
    }
}

impl Interface {
    /// By this interface to a station on its link.
    #[inline]
    pub(crate) fn hop(&self, next: Ipv4Addr, destination: Destination, mtu: Option<u16>) -> Hop {
        Hop {
            interface: self.index,
            next,
            destination,
            mtu: mtu.map_or(self.mtu, |mtu| mtu.min(self.mtu)),
            checksum: self.tx_checksum,
            loans: self.loans,
            tso_buffers_max: self.tso_buffers_max,
            tso_ipv4_checksum: self.tso_ipv4_checksum,
        }
    }
}

impl Output {
    /// The way to a destination for packets without ports.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn route(&self, to: Ipv4Addr) -> Result<Hop, NoWay> {
        self.route_flow(to, || spread::to_host(to))
    }

    /// The way of a flow to a destination.
    ///
    /// # Errors
    /// No route, or the interface is down, or the operator lets nothing pass.
    pub(crate) fn route_flow(
        &self,
        to: Ipv4Addr,
        flow: impl FnOnce() -> u32,
    ) -> Result<Hop, NoWay> {
        self.route_over(&self.network.fib, to, flow)
    }

    /// The same by the routes of any table.
    ///
    /// # Errors
    /// As [`Output::route_flow`].
    #[inline]
    pub(crate) fn route_in(
        &self,
        table: u8,
        to: Ipv4Addr,
        flow: impl FnOnce() -> u32,
    ) -> Result<Hop, NoWay> {
        let (fib, _) = self.network.table(table).ok_or(NoWay::Unknown)?;
        self.route_over(fib, to, flow)
    }

    #[inline]
    fn route_over(
        &self,
        fib: &Fib,
        to: Ipv4Addr,
        flow: impl FnOnce() -> u32,
    ) -> Result<Hop, NoWay> {
        let destination = self.addresses.classify(to);
        if destination == Destination::Local {
            return Ok(Hop {
                interface: LOOPBACK,
                next: to,
                destination,
                mtu: self.loopback_mtu(),
                checksum: TxChecksum::Stack,
                loans: false,
                tso_buffers_max: 0,
                tso_ipv4_checksum: false,
            });
        }
        let (interface, gateway, mtu) = match fib.way(to) {
            Some(way) => {
                let hop = way.hop(flow)?;
                (self.network.interface(hop.interface).ok_or(NoWay::Unknown)?, hop.gateway, way.mtu)
            }
            None if destination == Destination::Remote => return Err(NoWay::Unknown),
            None => (self.first_up().ok_or(NoWay::Unknown)?, None, None),
        };
        if !interface.up {
            return Err(NoWay::Unknown);
        }
        Ok(interface.hop(gateway.unwrap_or(to), destination, mtu))
    }

    fn loopback_mtu(&self) -> u16 {
        self.network.interface(LOOPBACK).map_or(1500, |i| i.mtu)
    }

    fn first_up(&self) -> Option<&Interface> {
        self.network.interfaces.iter().skip(1).find(|i| i.up && !i.addresses.is_empty())
    }
}
