//! A worker's view of its clients: their lanes and which cell is which socket.

use rustix::io::Errno;
use shm::{CellId, DatagramHeader, Lane, Status, TxDescriptor};
use types::Instant;

use crate::limits::{BLOCKS_LOW, LIVELY_BREATHS, QUIET_BUDGET, REST_TURNS, SWEEP_BUDGET};

/// One client process. What is asked of each in every breath is in its first line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Client {
    /// Breaths since something last went on with it, as far as they are counted.
    quiet: u8,
    /// Its rings broke the rules; nothing is read from them any more.
    pub misbehaved: bool,
    /// The worker's end of its memory.
    pub lane: Lane,
    /// Where the next look for blocks that have been read begins.
    swept: u32,
    /// Its user has posted as much as may be until this time; its ring waits.
    held_until: Option<Instant>,
}

impl Client {
    /// A client without sockets.
    #[must_use]
    pub(crate) fn new(lane: Lane) -> Self {
        Self { quiet: LIVELY_BREATHS, misbehaved: false, lane, swept: 0, held_until: None }
    }

    /// Is there something in its ring that may be taken?
    #[inline]
    fn has_posted(&self) -> bool {
        !self.misbehaved && self.lane.pending()
    }

    /// Names it in `found` if it has posted something. `false`: it is quiet for long, and no longer
    /// looked at in each breath.
    #[inline]
    fn goes_on(&mut self, slot: u16, found: &mut Vec<u16>) -> bool {
        if self.has_posted() {
            self.quiet = 0;
            found.push(slot);
            return true;
        }
        self.quiet = self.quiet.saturating_add(1);
        self.quiet < LIVELY_BREATHS
    }

    /// Its turn has come, and there was nothing. What is kept for its streams goes only when it has been quiet
    /// for long: one that pauses between bursts is not to allocate in each.
    #[inline]
    fn stays_quiet(&mut self) {
        if self.quiet < REST_TURNS {
            self.quiet = self.quiet.saturating_add(1);
            if self.quiet == REST_TURNS {
                self.lane.rest();
            }
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

    /// The head of a datagram that it has posted, and where the payload is.
    ///
    /// # Errors
    /// `ENOBUFS`: its user has posted too much, and its ring is only read since the socket is being closed;
    /// `EINVAL`, `EFAULT`: there is no such datagram.
    #[inline]
    pub(crate) fn datagram(&self, posted: &TxDescriptor, now: Instant) -> Result<Posted, Errno> {
        if self.is_over(now) {
            return Err(Errno::NOBUFS);
        }
        let mut header = [0_u8; DatagramHeader::LEN];
        let header_len = u32::try_from(DatagramHeader::LEN).unwrap_or(u32::MAX);
        let len = posted.length.checked_sub(header_len).ok_or(Errno::INVAL)?;
        if !self.lane.copy_out(posted.offset, &mut header) {
            return Err(Errno::FAULT);
        }
        let offset = posted.offset.wrapping_add(header_len);
        Ok(Posted { header: DatagramHeader::parse(&header), offset, len: len as usize })
    }

    /// Few receive blocks are left: sockets that were read and are quiet may hold some.
    #[must_use]
    pub(crate) fn is_short_of_blocks(&self) -> bool {
        self.lane.free_blocks() < BLOCKS_LOW
    }

    /// Numbers of the sockets behind the next cells, which are looked at for such blocks in turn.
    pub(crate) fn sweep(&mut self) -> impl Iterator<Item = u32> + use<> {
        let mut numbers = [None; SWEEP_BUDGET as usize];
        for (number, cell) in numbers.iter_mut().zip(self.lane.numbers(self.swept, SWEEP_BUDGET)) {
            *number = Some(cell);
        }
        let next = self.swept.saturating_add(SWEEP_BUDGET);
        self.swept = if next < self.lane.used_cells() { next } else { 0 };
        numbers.into_iter().flatten()
    }

    /// Sets status bits beside those that are set.
    pub(crate) fn add_status(&self, cell: CellId, status: Status) {
        self.lane.set_status(cell, self.lane.status(cell) | status);
    }

    /// A pending error, for the client to report once.
    pub(crate) fn set_error(&mut self, cell: CellId, errno: Errno) {
        self.lane.set_error(cell, u16::try_from(errno.raw_os_error()).unwrap_or(u16::MAX));
    }

    /// What belongs to a cell will be needed soon.
    #[inline]
    pub(crate) fn prefetch(&self, cell: CellId) {
        if let Some(words) = self.lane.lines(cell) {
            words.into_iter().for_each(dpdk::prefetch);
        }
    }
}

/// A datagram that a client has posted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Posted {
    /// Where it goes, and how.
    pub header: DatagramHeader,
    /// The payload's place in the client's memory.
    pub offset: u32,
    /// Bytes of payload.
    pub len: usize,
}

/// All clients of a worker, by slot.
///
/// Each has a ring in memory of its own, which nobody else may write, so that finding out who has
/// posted something is a look at each of them. In each breath those are looked at that something went
/// on with lately, and a few of the others in turn: a thousand quiet clients cost what ten do.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    slots: Vec<Option<Client>>,
    /// Slots of those that something went on with lately, each once: `quiet` of those alone is less than
    /// [`LIVELY_BREATHS`].
    lively: Vec<u16>,
    /// Whose turn it is among the others.
    turn: usize,
}

impl Clients {
    /// Adds a client.
    pub(crate) fn insert(&mut self, slot: u16, client: Client) {
        let index = usize::from(slot);
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        if let Some(entry) = self.slots.get_mut(index) {
            debug_assert!(entry.is_none(), "the slot's last client is still there");
            *entry = Some(client);
        }
        self.enliven(slot);
    }

    /// Something goes on with a client: it may post something soon.
    #[inline]
    pub(crate) fn enliven(&mut self, slot: u16) {
        let Some(Some(client)) = self.slots.get_mut(usize::from(slot)) else { return };
        if core::mem::take(&mut client.quiet) >= LIVELY_BREATHS {
            self.lively.push(slot);
        }
    }

    /// Adds those to `found` that have posted something, of the clients that are looked at in this
    /// breath.
    pub(crate) fn find_posted(&mut self, found: &mut Vec<u16>) {
        if self.lively.len() < self.slots.len() {
            self.look_at_quiet();
        }
        let Self { slots, lively, .. } = self;
        if lively.len() > 1 {
            for slot in lively.iter() {
                prefetch_posted(slots, (*slot).into());
            }
        }
        let mut number = 0;
        while let Some(slot) = lively.get(number).copied() {
            let client = slots.get_mut(usize::from(slot)).and_then(Option::as_mut);
            if client.is_some_and(|client| client.goes_on(slot, found)) {
                number = number.wrapping_add(1);
            } else {
                let _ = lively.swap_remove(number);
            }
        }
    }

    /// Those whose turn it is of the others: who has posted something is lively again.
    fn look_at_quiet(&mut self) {
        let Self { slots, lively, turn } = self;
        for _ in 0..QUIET_BUDGET.min(slots.len()) {
            let slot = *turn;
            *turn = if slot.saturating_add(1) < slots.len() { slot.saturating_add(1) } else { 0 };
            let Some(Some(client)) = slots.get_mut(slot) else { continue };
            if client.quiet < LIVELY_BREATHS {
                continue;
            }
            if client.has_posted() {
                client.quiet = 0;
                lively.extend(u16::try_from(slot));
            } else {
                client.stays_quiet();
            }
        }
        for ahead in 0..QUIET_BUDGET.min(slots.len()) {
            // Whose turn it is in the next breath.
            prefetch_posted(slots, turn.saturating_add(ahead));
        }
    }

    /// Clients are about to be attended one after the other: what is needed for the first descriptor of each.
    pub(crate) fn fetch_posted(&self, found: &[u16]) {
        for client in found.iter().filter_map(|slot| self.owner(Some(*slot))) {
            client.lane.ahead().into_iter().for_each(dpdk::prefetch);
            let (share, counts) = client.lane.account_ahead();
            dpdk::prefetch(share);
            dpdk::prefetch(counts);
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

    /// The client of a socket, whose slot may be gone, to change it.
    pub(crate) fn owner_mut(&mut self, slot: Option<u16>) -> Option<&mut Client> {
        self.find_mut(slot?)
    }

    /// Takes a client out.
    pub(crate) fn remove(&mut self, slot: u16) -> Option<Client> {
        self.lively.retain(|lively| *lively != slot);
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

    /// Has any client posted something that may be taken?
    #[must_use]
    pub(crate) fn any_pending(&self) -> bool {
        let takes = |c: &Client| c.held_until.is_none() && c.has_posted();
        self.slots.iter().flatten().any(takes)
    }

    /// When the first of those whose rings wait is let on.
    #[must_use]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let waits = |client: &&Client| client.has_posted();
        self.slots.iter().flatten().filter(waits).filter_map(|client| client.held_until).min()
    }
}

/// The next descriptor of the client in a slot is about to be looked at.
#[inline]
fn prefetch_posted(slots: &[Option<Client>], slot: usize) {
    if let Some(Some(client)) = slots.get(slot) {
        dpdk::prefetch(client.lane.next_posted());
    }
}
