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

    /// Whose a datagram is.
    pub(crate) fn find(&self, datagram: &Datagram) -> Option<Socket> {
        let socket = *self.owners.get(&datagram.to.port)?;
        let ends = self.sockets.get(&socket)?;
        let bound = ends.local.to_ipv4();
        let fits = (bound.is_unspecified() || bound == datagram.to.to_ipv4())
            && ends.peer.is_none_or(|peer| peer == datagram.from);
        fits.then_some(socket)
    }
}
