//! Who has which port, and talks to whom.

use std::collections::HashMap;

use lsm_sdk::{Name, OpenError, Socket};

use crate::datagram::Datagram;

/// `EADDRINUSE`.
pub(crate) const ADDRESS_IN_USE: i32 = 98;
/// `EADDRNOTAVAIL`.
pub(crate) const ADDRESS_NOT_AVAILABLE: i32 = 99;
/// `ENETUNREACH`.
pub(crate) const NETWORK_UNREACHABLE: i32 = 101;
/// `ENOBUFS`.
pub(crate) const NO_BUFFERS: i32 = 105;

/// Ports of those who leave the choice to us.
const EPHEMERAL: core::ops::RangeInclusive<u16> = 49152..=65535;

#[derive(Debug, Default)]
struct Ends {
    local: Name,
    peer: Option<Name>,
    coverage: Coverage,
}

/// What a socket's checksums cover, as its program has set it (RFC 3828 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// Of what is sent: 0, all. Without it the operator's.
    pub(crate) sent: Option<u16>,
    /// Of what is received, at least; what covers less is for nobody. 0: all. Without it anything.
    pub(crate) received: Option<u16>,
}

impl Coverage {
    fn takes(self, datagram: &Datagram) -> bool {
        let Some(least) = self.received.filter(|_| !datagram.is_covered) else { return true };
        least > 0 && datagram.covered >= usize::from(least)
    }
}

/// All sockets.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    sockets: HashMap<Socket, Ends>,
    owners: HashMap<u16, Socket>,
}

impl Ports {
    pub(crate) fn open(&mut self, socket: Socket) {
        let _ = self.sockets.insert(socket, Ends::default());
    }

    pub(crate) fn close(&mut self, socket: Socket) {
        if let Some(ends) = self.sockets.remove(&socket)
            && ends.local.port != 0
        {
            let _ = self.owners.remove(&ends.local.port);
        }
    }

    /// Gives a socket its name; port 0 is any that is free.
    pub(crate) fn bind(&mut self, socket: Socket, name: Name) -> Result<Name, OpenError> {
        let is_free = |port: &u16| !self.owners.contains_key(port);
        let port = match name.port {
            0 => EPHEMERAL.into_iter().find(is_free),
            port => Some(port).filter(is_free),
        };
        let port = port.ok_or(OpenError(ADDRESS_IN_USE))?;
        let ends = self.sockets.get_mut(&socket).ok_or(OpenError::INVALID)?;
        ends.local = Name { port, ..name };
        let _ = self.owners.insert(port, socket);
        Ok(ends.local)
    }

    pub(crate) fn connect(&mut self, socket: Socket, peer: Option<Name>) -> Result<(), OpenError> {
        let ends = self.sockets.get(&socket).ok_or(OpenError::INVALID)?;
        if ends.local.port == 0 {
            let _ = self.bind(socket, Name::default())?;
        }
        self.sockets.get_mut(&socket).ok_or(OpenError::INVALID)?.peer = peer;
        Ok(())
    }

    /// Its name, and its peer's.
    pub(crate) fn names(&self, socket: Socket) -> Option<(Name, Option<Name>)> {
        self.sockets.get(&socket).map(|ends| (ends.local, ends.peer))
    }

    /// What its checksums cover.
    pub(crate) fn coverage(&mut self, socket: Socket) -> Option<&mut Coverage> {
        self.sockets.get_mut(&socket).map(|ends| &mut ends.coverage)
    }

    /// Whose a datagram is.
    pub(crate) fn find(&self, datagram: &Datagram) -> Option<Socket> {
        let socket = *self.owners.get(&datagram.to.port)?;
        let ends = self.sockets.get(&socket)?;
        let bound = ends.local.to_ipv4();
        let fits = (bound.is_unspecified() || bound == datagram.to.to_ipv4())
            && ends.peer.is_none_or(|peer| peer == datagram.from)
            && ends.coverage.takes(datagram);
        fits.then_some(socket)
    }
}
