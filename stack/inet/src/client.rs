//! A worker's view of its clients: their lanes and which cell is which socket.

use shm::{CellId, Lane, Status};
use types::Instant;

use crate::limits::{BLOCKS_LOW, SWEEP_BUDGET};
use crate::socket::SocketId;

/// The number of no socket.
const NONE: u32 = u32::MAX;

/// One client process.
#[derive(Debug)]
pub(crate) struct Client {
    /// The worker's end of its memory.
    pub lane: Lane,
    /// Number of the socket behind each cell of the client, or [`NONE`].
    cells: Vec<u32>,
    /// Where the next look for blocks that have been read begins.
    swept: usize,
    /// Its rings broke the rules; nothing is read from them any more.
    pub misbehaved: bool,
    /// Its user has posted as much as may be until this time; its ring waits.
    held_until: Option<Instant>,
}

impl Client {
    /// A client without sockets.
    #[must_use]
    pub(crate) fn new(lane: Lane) -> Self {
        Self { lane, cells: Vec::new(), swept: 0, misbehaved: false, held_until: None }
    }

    /// Number of the socket behind a cell.
    #[must_use]
    pub(crate) fn socket(&self, cell: u32) -> Option<u32> {
        self.cells.get(cell as usize).copied().filter(|number| *number != NONE)
    }

    /// Says which socket is behind a cell.
    pub(crate) fn set_socket(&mut self, cell: u32, socket: Option<SocketId>) {
        let index = cell as usize;
        if self.cells.len() <= index {
            self.cells.resize(index + 1, NONE);
        }
        if let Some(entry) = self.cells.get_mut(index) {
            *entry = socket.map_or(NONE, |id| id.index);
        }
    }

    /// Was its user seen to have posted more than may be by now?
    #[must_use]
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Has its user posted more than may be by now?
    pub(crate) fn is_held(&mut self, now: Instant) -> bool {
        if self.is_over(now) {
            return true;
        }
        self.held_until = self.lane.may_read(now.as_nanos()).err().map(Instant::from_nanos);
        self.held_until.is_some()
    }

    /// Few receive blocks are left: sockets that were read and are quiet may hold some.
    #[must_use]
    pub(crate) fn is_short_of_blocks(&self) -> bool {
        self.lane.free_blocks() < BLOCKS_LOW
    }

    /// Numbers of the sockets behind the next cells, which are looked at for such blocks in turn.
    pub(crate) fn sweep(&mut self) -> impl Iterator<Item = u32> + use<> {
        let mut numbers = [NONE; SWEEP_BUDGET];
        let cells = self.cells.get(self.swept..).unwrap_or_default();
        for (number, cell) in numbers.iter_mut().zip(cells) {
            *number = *cell;
        }
        let next = self.swept.saturating_add(SWEEP_BUDGET);
        self.swept = if next < self.cells.len() { next } else { 0 };
        numbers.into_iter().filter(|number| *number != NONE)
    }

    /// Sets status bits beside those that are set.
    pub(crate) fn add_status(&self, cell: CellId, status: Status) {
        self.lane.set_status(cell, self.lane.status(cell) | status);
    }

    /// A pending error, for the client to report once.
    pub(crate) fn set_error(&mut self, cell: CellId, errno: rustix::io::Errno) {
        self.lane.set_error(cell, u16::try_from(errno.raw_os_error()).unwrap_or(u16::MAX));
    }

    /// What belongs to a cell will be needed soon.
    #[inline]
    pub(crate) fn prefetch(&self, cell: CellId) {
        if let Some((words, state)) = self.lane.lines(cell) {
            words.into_iter().for_each(dpdk::prefetch);
            dpdk::prefetch(state);
        }
        if let Some(number) = self.cells.get(cell.index as usize) {
            dpdk::prefetch(number);
        }
    }

    /// Numbers of all its sockets on this worker.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = u32> + '_ {
        self.cells.iter().copied().filter(|number| *number != NONE)
    }
}

/// All clients of a worker, by slot.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    slots: Vec<Option<Client>>,
}

impl Clients {
    /// Adds a client.
    pub(crate) fn insert(&mut self, slot: u16, client: Client) {
        let index = usize::from(slot);
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        if let Some(entry) = self.slots.get_mut(index) {
            *entry = Some(client);
        }
    }

    /// Looks a client up.
    pub(crate) fn find_mut(&mut self, slot: u16) -> Option<&mut Client> {
        self.slots.get_mut(usize::from(slot))?.as_mut()
    }

    /// The client of a socket, whose slot may be gone.
    pub(crate) fn owner(&self, slot: Option<u16>) -> Option<&Client> {
        self.slots.get(usize::from(slot?))?.as_ref()
    }

    /// Each client's next descriptor is about to be looked at.
    #[inline]
    pub(crate) fn prefetch_posted(&self) {
        for client in self.slots.iter().flatten() {
            dpdk::prefetch(client.lane.next_posted());
        }
    }

    /// The client of a socket, whose slot may be gone, to change it.
    pub(crate) fn owner_mut(&mut self, slot: Option<u16>) -> Option<&mut Client> {
        self.find_mut(slot?)
    }

    /// Takes a client out.
    pub(crate) fn remove(&mut self, slot: u16) -> Option<Client> {
        self.slots.get_mut(usize::from(slot))?.take()
    }

    /// Slots in use.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u16> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, c)| c.is_some())
            .filter_map(|(i, _)| u16::try_from(i).ok())
    }

    /// One past the highest slot ever used.
    #[must_use]
    pub(crate) fn end(&self) -> u16 {
        u16::try_from(self.slots.len()).unwrap_or(u16::MAX)
    }

    /// Has any client posted something that may be taken?
    #[must_use]
    pub(crate) fn any_pending(&self) -> bool {
        let takes = |c: &Client| !c.misbehaved && c.held_until.is_none() && c.lane.pending();
        self.slots.iter().flatten().any(takes)
    }

    /// When the first of those whose rings wait is let on.
    #[must_use]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let waits = |client: &&Client| !client.misbehaved && client.lane.pending();
        self.slots.iter().flatten().filter(waits).filter_map(|client| client.held_until).min()
    }
}
