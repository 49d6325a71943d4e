//! Descriptors of connections that are over: they hang up, and are still watched for their last close.

use std::collections::HashMap;

use rustix::event::epoll::{self, EventFlags};
use shm::{CellId, LastClose, SocketEnd};

use crate::control::{Control, SocketKey, Source};

/// What tells of the last close of each descriptor that was hung up.
#[derive(Default)]
pub(crate) struct Ended(HashMap<SocketKey, LastClose>);

impl Ended {
    /// Has the last copy of this socket's descriptor been closed?
    pub(crate) fn is_closed(&self, key: SocketKey, descriptor: &SocketEnd) -> bool {
        self.0.get(&key).map_or_else(|| descriptor.is_hung_up(), LastClose::has_come)
    }

    /// Watches a socket no longer.
    pub(crate) fn forget(&mut self, key: SocketKey) {
        // Closed, it leaves the set of events.
        let _ = self.0.remove(&key);
    }
}

impl Control {
    /// A worker says that a connection is over in both directions.
    pub(crate) fn hang_up(&mut self, client: u16, cell: CellId) {
        let Some(key) = self.clients.get(&client).and_then(|client| client.cells.get(cell.index))
        else {
            return;
        };
        let Some(entry) = self.sockets.get(&key) else { return };
        if entry.handle.generation != cell.generation || self.ended.0.contains_key(&key) {
            return;
        }
        let descriptor = &entry.descriptor;
        let data = Source::Descriptor(key).data();
        // From the last token on the pipe tells of a close, whenever it is; before, the descriptor does.
        let watched = descriptor.last_close().and_then(|last_close| {
            epoll::add(&self.epoll, &last_close, data, EventFlags::ET).map(|()| last_close)
        });
        match watched {
            Ok(last_close) => {
                let _ = epoll::delete(&self.epoll, &**descriptor);
                descriptor.hang_up();
                let _ = self.ended.0.insert(key, last_close);
            }
            // No more descriptors, or all copies are closed.
            Err(_) => descriptor.end_of_input(),
        }
    }
}
