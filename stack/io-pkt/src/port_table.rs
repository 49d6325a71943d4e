//! Which local ports are taken, and which one is free.

use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;

use inet::command::Transport;
use rustix::io::Errno;

/// First port for connections that don't ask for one (RFC 6056 3.2 wants the range to be large).
pub(crate) const EPHEMERAL_FIRST: u16 = 32_768;
/// Last one; the kernel's default too.
pub(crate) const EPHEMERAL_LAST: u16 = 60_999;

/// Who holds a port; chosen by the caller, unique.
pub(crate) type Owner = u64;

#[derive(Clone, Copy, Debug)]
struct Bound {
    owner: Owner,
    address: IpAddr,
    reuse: bool,
    listening: bool,
}

/// Local ports of one stack.
#[derive(Debug, Default)]
pub(crate) struct PortTable {
    bound: HashMap<(Transport, u16), Vec<Bound>>,
}

impl PortTable {
    /// Binds a port. Two sockets may share one if their addresses differ, or if both allow reuse
    /// and neither listens (Linux's rule).
    ///
    /// # Errors
    /// `EADDRINUSE`.
    pub(crate) fn bind(
        &mut self,
        transport: Transport,
        local: SocketAddr,
        reuse: bool,
        owner: Owner,
    ) -> Result<(), Errno> {
        let entries = self.bound.entry((transport, local.port())).or_default();
        let clash = entries.iter().any(|other| {
            let same = other.address == local.ip()
                || other.address.is_unspecified()
                || local.ip().is_unspecified();
            same && !(reuse && other.reuse && !other.listening)
        });
        if clash {
            return Err(Errno::ADDRINUSE);
        }
        entries.push(Bound { owner, address: local.ip(), reuse, listening: false });
        Ok(())
    }

    /// Says that a bound socket listens now.
    ///
    /// # Errors
    /// `EADDRINUSE` if another does at the same address.
    pub(crate) fn listen(&mut self, local: SocketAddr, owner: Owner) -> Result<(), Errno> {
        let key = (Transport::Stream, local.port());
        let entries = self.bound.get_mut(&key).ok_or(Errno::INVAL)?;
        if entries.iter().any(|e| e.listening && e.owner != owner && e.address == local.ip()) {
            return Err(Errno::ADDRINUSE);
        }
        for entry in entries.iter_mut().filter(|e| e.owner == owner) {
            entry.listening = true;
        }
        Ok(())
    }

    /// Gives a port back.
    pub(crate) fn release(&mut self, transport: Transport, port: u16, owner: Owner) {
        let key = (transport, port);
        if let Some(entries) = self.bound.get_mut(&key) {
            entries.retain(|e| e.owner != owner);
            if entries.is_empty() {
                let _ = self.bound.remove(&key);
            }
        }
    }

    /// A free ephemeral port, searched from a random start (RFC 6056 3.3.1), for which `fits` holds.
    #[must_use]
    pub(crate) fn ephemeral(
        &self,
        transport: Transport,
        random: u16,
        fits: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let count = EPHEMERAL_LAST - EPHEMERAL_FIRST + 1;
        let start = random % count;
        (0..count)
            .map(|i| EPHEMERAL_FIRST + (start + i) % count)
            .find(|port| !self.bound.contains_key(&(transport, *port)) && fits(*port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_same_port_twice_only_by_linux_rules() {
        let mut table = PortTable::default();
        let tcp = Transport::Stream;
        table.bind(tcp, at("0.0.0.0:80"), true, 1).unwrap();
        assert_eq!(table.bind(tcp, at("10.0.0.1:80"), false, 2), Err(Errno::ADDRINUSE));
        table.bind(tcp, at("10.0.0.1:80"), true, 2).unwrap();
        table.listen(at("0.0.0.0:80"), 1).unwrap();
        assert_eq!(table.bind(tcp, at("10.0.0.2:80"), true, 3), Err(Errno::ADDRINUSE));
        table.bind(Transport::Datagram, at("0.0.0.0:80"), false, 4).unwrap();
        table.release(tcp, 80, 1);
        table.release(tcp, 80, 2);
        table.bind(tcp, at("0.0.0.0:80"), false, 5).unwrap();
    }

    #[test]
    fn ephemeral_ports_wrap_and_run_out() {
        let mut table = PortTable::default();
        let tcp = Transport::Stream;
        assert_eq!(table.ephemeral(tcp, 7, |_| true), Some(EPHEMERAL_FIRST + 7));
        for port in EPHEMERAL_FIRST..=EPHEMERAL_LAST {
            table.bind(tcp, at(&format!("0.0.0.0:{port}")), false, u64::from(port)).unwrap();
        }
        assert_eq!(table.ephemeral(tcp, 7, |_| true), None);
        table.release(tcp, EPHEMERAL_FIRST, u64::from(EPHEMERAL_FIRST));
        assert_eq!(table.ephemeral(tcp, 9000, |_| true), Some(EPHEMERAL_FIRST));
    }
}
