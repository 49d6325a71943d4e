//! Descriptors of connections that are over: they hang up, and are still watched for their last close.

use std::collections::HashMap;

use rustix::event::epoll::{self, EventFlags};
use shm::{CellId, LastClose};

use crate::control::{Control, SocketKey, Source};

/// What tells of the last close of each descriptor that hangs up by our doing.
#[derive(Default)]
pub(crate) struct Ended(HashMap<SocketKey, LastClose>);

impl Ended {
    /// Watches a socket no longer.
    pub(crate) fn forget(&mut self, key: SocketKey) {
        let _ = self.0.remove(&key);
    }
}

impl Control {
    /// Has the last copy of this socket's descriptor been closed? To be asked at each event of our end, which hangs
    /// up as we shut it, and of the pipe's.
    pub(crate) fn is_let_go(&self, key: SocketKey) -> bool {
        let Some(entry) = self.sockets.get(&key) else { return false };
        match self.ended.0.get(&key) {
            Some(last_close) => last_close.has_come(),
            // What knows it is on its way here.
            None if entry.descriptor.is_over() => false,
            None => entry.descriptor.is_hung_up(),
        }
    }

    /// A worker says that a connection is over in both directions.
    pub(crate) fn ended(&mut self, client: u16, cell: CellId, last_close: LastClose) {
        let key = self.clients.get(&client).and_then(|client| client.cells.get(cell.index));
        let Some(key) = key else { return };
        if self.sockets.get(&key).is_none_or(|entry| entry.handle.generation != cell.generation) {
            return;
        }
        // The kernel tells our end of the last close before it has closed what is in the other one's queue.
        let data = Source::Descriptor(key).data();
        let watched = epoll::add(&self.epoll, &last_close, data, EventFlags::ET);
        let _ = self.ended.0.insert(key, last_close);
        if watched.is_err() {
            return self.close_socket(key);
        }
        if self.is_let_go(key) {
            self.close_socket(key);
        }
    }
}
