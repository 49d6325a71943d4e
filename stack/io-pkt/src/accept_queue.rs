//! Connections that wait to be accepted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use inet::SocketId;
use rustix::io::Errno;
use shm::CellId;

use crate::options::Values;
use crate::quota::{Account, Kind, Taken};

/// A connection that nobody has accepted yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) socket: SocketId,
    pub(crate) cell: CellId,
    pub(crate) worker: u16,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// Connections to accept at a listening socket.
#[derive(Debug)]
pub(crate) struct AcceptQueue {
    pub(crate) waiting: VecDeque<Waiting>,
    /// A listener's place among its user's.
    _seat: Taken,
    /// Name and values of the connection accepted last: most of the next ones have the same.
    last: Option<(Rc<SocketAddr>, Rc<Values>)>,
}

impl AcceptQueue {
    /// The queue of a new listener.
    ///
    /// # Errors
    /// `ENOBUFS`: its user has as many as may be.
    pub(crate) fn of(account: &Rc<Account>) -> Result<Box<Self>, Errno> {
        let seat = Taken::of(account, Kind::Listeners)?;
        Ok(Box::new(Self { waiting: VecDeque::new(), _seat: seat, last: None }))
    }

    /// What a connection accepted now gets, in memory that it shares with those that have the same.
    pub(crate) fn share(
        &mut self,
        name: SocketAddr,
        values: Values,
    ) -> (Rc<SocketAddr>, Rc<Values>) {
        let fresh = values;
        let (last_name, last_values) = self.last.take().unzip();
        let name = last_name.filter(|last| **last == name).unwrap_or_else(|| Rc::new(name));
        let values = last_values.filter(|last| **last == values);
        let values = values.unwrap_or_else(|| Rc::new(fresh));
        self.last = Some((Rc::clone(&name), Rc::clone(&values)));
        (name, values)
    }
}
