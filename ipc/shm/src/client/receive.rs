//! Reading a socket's receive queue.

use core::net::SocketAddr;
use core::sync::atomic::Ordering;
use std::io::IoSliceMut;

use super::lock::Guard;
use super::socket::SocketMemory;
use crate::daemon::consumed;
use crate::daemon::datagram::record_len;
use crate::datagram_header::{Ancillary, DatagramHeader};
use crate::layout::{self, LENT, LIST_LEN, QUEUE_LEN, own_cell, read_cell, write_cell};
use crate::region::Region;
use crate::sync::fence;
use crate::words::{halves, low};

/// After this many bytes the worker is asked to look, so that it can tell the peer of the room.
const WINDOW_STEP: u64 = 64 * 1024;

/// The receive queue of a socket, locked until this is dropped.
///
/// What is read is given back at once; [`ReceiveQueue::worth_telling`] says when the worker should
/// hear of it.
#[derive(Debug)]
pub struct ReceiveQueue<'a> {
    socket: &'a SocketMemory,
    _guard: Guard<'a>,
}

/// What was read of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub from: Option<SocketAddr>,
    /// Bytes copied.
    pub len: usize,
    /// Bytes it had.
    pub full_len: usize,
    /// What came with it.
    pub ancillary: Ancillary,
}

/// The urgent byte of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Urgent {
    /// Bytes to read before it is the next one.
    pub ahead: u64,
    /// It is here, and not only announced.
    pub has_come: bool,
    /// It has been read by itself.
    pub was_read: bool,
}

/// Where in the queue the next byte is.
#[derive(Clone, Copy, Debug)]
struct Position {
    consumed: u64,
    index: u32,
    offset: u32,
    /// Of a descriptor that stands for packets: which of them.
    piece: u32,
}

/// Bytes that follow each other in memory: in a block of the client's, or in a packet.
#[derive(Clone, Copy, Debug)]
struct Piece<'a> {
    memory: &'a Region,
    at: usize,
    len: usize,
}

impl<'a> ReceiveQueue<'a> {
    pub(super) fn lock(socket: &'a SocketMemory) -> Self {
        let at = own_cell::word(socket.cell.index, own_cell::RX_LOCK);
        Self { socket, _guard: socket.map.lock(at) }
    }

    /// Bytes that wait; for datagrams with their headers.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.socket.unread()
    }

    /// Copies stream bytes, up to the urgent one if that is further on; with `peek` they stay.
    /// Returns how many. An urgent byte that is the next one is passed over unless `inline`.
    pub fn read(&mut self, into: &mut [IoSliceMut<'_>], peek: bool, inline: bool) -> usize {
        let Some(mut position) = self.position() else { return 0 };
        let mut unread = self.before_mark(&mut position, peek, inline);
        let mut total = 0usize;
        for slice in into {
            let mut rest: &mut [u8] = slice;
            while !rest.is_empty() && unread > 0 {
                let most = rest.len().min(usize::try_from(unread).unwrap_or(usize::MAX));
                let Some(piece) = self.piece(&mut position, most) else { break };
                let (now, later) = rest.split_at_mut(piece.len.min(most));
                if !piece.memory.copy_out(piece.at, now) {
                    break;
                }
                unread = unread.saturating_sub(now.len() as u64);
                total = total.saturating_add(now.len());
                position.pass(now.len());
                rest = later;
            }
        }
        if total == 0 || !self.is_still_its_own() {
            return 0;
        }
        if !peek {
            self.store(position);
        }
        total
    }

    /// The next stream bytes that follow each other in memory, up to the urgent one, where they are. They
    /// stay there until [`ReceiveQueue::consume`]. An urgent byte that is the next one is passed over
    /// unless `inline`.
    pub fn first(&mut self, inline: bool) -> &[u8] {
        let Some(mut position) = self.position() else { return &[] };
        let unread = self.before_mark(&mut position, false, inline);
        if unread == 0 {
            return &[];
        }
        let most = usize::try_from(unread).unwrap_or(usize::MAX);
        let Some(Piece { memory, at, len }) = self.piece(&mut position, most) else { return &[] };
        // SAFETY: published bytes that nobody has consumed, which the daemon does not write, be they in a
        // block or in a packet that is lent; consuming them takes the lock that this queue holds, and the
        // queue itself, which the slice borrows.
        unsafe { memory.bytes(at, len) }.unwrap_or_default()
    }

    /// Takes stream bytes that were looked at in place. Returns how many there were.
    pub fn consume(&mut self, len: usize) -> usize {
        let Some(mut position) = self.position() else { return 0 };
        let most = usize::try_from(self.unread()).unwrap_or(usize::MAX).min(len);
        let mut left = most;
        while left > 0 {
            let Some(Piece { len, .. }) = self.piece(&mut position, left) else { break };
            position.pass(len);
            left = left.saturating_sub(len);
        }
        self.store(position);
        most.saturating_sub(left)
    }

    /// The first datagram, where it is; it stays there until it is read.
    pub fn first_datagram(&mut self) -> Option<(Datagram, &[u8])> {
        let datagram = self.read_datagram(&mut [], true)?;
        let at = self.piece(&mut self.position()?, usize::MAX)?.at;
        let at = at.wrapping_add(DatagramHeader::LEN);
        // SAFETY: as in `first`.
        let payload = unsafe { self.socket.map.read.bytes(at, datagram.full_len) }?;
        Some((Datagram { len: payload.len(), ..datagram }, payload))
    }

    /// How many bytes can be read before the urgent one, if that is not the next; else it is passed over.
    fn before_mark(&self, position: &mut Position, peek: bool, inline: bool) -> u64 {
        let unread = self.unread();
        match self.urgent() {
            Some(urgent) if urgent.ahead > 0 => unread.min(urgent.ahead),
            Some(_) if !inline && unread > 0 && self.piece(position, 1).is_some() => {
                position.pass(1);
                if !peek {
                    self.store(*position);
                }
                unread.saturating_sub(1)
            }
            _ => unread,
        }
    }

    /// Takes all stream bytes that wait, unseen.
    pub fn discard(&mut self) -> u64 {
        let mut scrap = [0; 4096];
        let mut total = 0u64;
        loop {
            let len = self.read(&mut [IoSliceMut::new(&mut scrap)], false, true);
            if len == 0 {
                return total;
            }
            total = total.saturating_add(len as u64);
        }
    }

    /// The urgent byte, if it is not behind the reader yet.
    #[must_use]
    pub fn urgent(&self) -> Option<Urgent> {
        let position = self.position()?;
        let word = self.socket.read_long(read_cell::RX_URGENT).load(Ordering::Acquire);
        let place = word.checked_sub(1)?;
        let ahead = place.checked_sub(position.consumed)?;
        let was_read = self.socket.own_long(own_cell::URGENT_READ).load(Ordering::Relaxed) == word;
        Some(Urgent { ahead, has_come: ahead < self.unread(), was_read })
    }

    /// Reads the urgent byte out of its turn; it stays where it is in the stream. Without `peek`, once.
    pub fn read_urgent(&mut self, peek: bool) -> Option<u8> {
        let urgent = self.urgent().filter(|urgent| urgent.has_come && !urgent.was_read)?;
        let mut position = self.position()?;
        let place = position.consumed.saturating_add(urgent.ahead);
        let mut left = usize::try_from(urgent.ahead).ok()?;
        while left > 0 {
            let Piece { len, .. } = self.piece(&mut position, left)?;
            position.pass(len);
            left = left.saturating_sub(len);
        }
        let piece = self.piece(&mut position, 1)?;
        let mut byte = [0];
        if !piece.memory.copy_out(piece.at, &mut byte) || !self.is_still_its_own() {
            return None;
        }
        if !peek {
            let word = place.saturating_add(1);
            self.socket.own_long(own_cell::URGENT_READ).store(word, Ordering::Relaxed);
        }
        let [byte] = byte;
        Some(byte)
    }

    /// Copies the first datagram, as much of it as there is room for; without `peek` all of it is
    /// gone afterwards.
    pub fn read_datagram(&mut self, into: &mut [IoSliceMut<'_>], peek: bool) -> Option<Datagram> {
        let mut position = self.position()?;
        if self.unread() == 0 {
            return None;
        }
        let Piece { at, len, .. } = self.piece(&mut position, usize::MAX)?;
        let mut header = [0; DatagramHeader::LEN];
        if len < header.len() || !self.socket.map.read.copy_out(at, &mut header) {
            return None;
        }
        let header = DatagramHeader::parse(&header);
        let mut at = at.wrapping_add(DatagramHeader::LEN);
        let full_len = header.payload_len() as usize;
        let mut left = full_len;
        for slice in into {
            let most = slice.len().min(left);
            let (now, _) = slice.split_at_mut(most);
            if !self.socket.map.read.copy_out(at, now) {
                return None;
            }
            at = at.wrapping_add(most);
            left = left.saturating_sub(most);
        }
        if !self.is_still_its_own() {
            return None;
        }
        if !peek {
            position.pass(record_len(header.payload_len()) as usize);
            self.store(position);
        }
        let len = full_len.saturating_sub(left);
        Some(Datagram { from: header.address(), len, full_len, ancillary: header.ancillary() })
    }

    /// Copies the first datagram and those that follow it as if one had been cut: from the same place to the
    /// same one, as long as the first, but for the last, which may be shorter. Up to `most` of them.
    pub fn read_datagrams(&mut self, into: &mut [IoSliceMut<'_>], most: usize) -> Option<Datagram> {
        let mut all = self.read_datagram(into, false)?;
        let size = all.full_len;
        let room = into.iter().fold(0usize, |sum, slice| sum.saturating_add(slice.len()));
        let mut rest = into;
        IoSliceMut::advance_slices(&mut rest, all.len);
        for _ in 1..most {
            let Some(next) = self.read_datagram(&mut [], true) else { break };
            let like = Ancillary { at_ns: all.ancillary.at_ns, segment: None, ..next.ancillary };
            let is_like = like == Ancillary { segment: None, ..all.ancillary };
            let len = all.len.saturating_add(next.full_len);
            let fits =
                (1..=size).contains(&next.full_len) && len <= room && all.len == all.full_len;
            if next.from != all.from || !is_like || !fits {
                break;
            }
            if self.read_datagram(rest, false).is_none() {
                break;
            }
            IoSliceMut::advance_slices(&mut rest, next.full_len);
            (all.len, all.full_len) = (len, len);
            all.ancillary.segment = u16::try_from(size).ok();
            if next.full_len < size {
                break;
            }
        }
        Some(all)
    }

    /// Payload bytes of the first datagram.
    #[must_use]
    pub fn next_datagram_len(&mut self) -> Option<usize> {
        self.read_datagram(&mut [], true).map(|datagram| datagram.full_len)
    }

    /// Has the worker written a token since the queue was last armed?
    #[must_use]
    pub fn has_token(&self) -> bool {
        let armed = self.socket.times_armed();
        self.socket.read_word(read_cell::IN_TOKEN).load(Ordering::Acquire) == armed
    }

    /// [`SocketMemory::times_armed`]. Does not change while the queue is locked, and neither does what this side
    /// has taken out of the descriptor.
    #[must_use]
    pub fn times_armed(&self) -> u32 {
        self.socket.times_armed()
    }

    /// Asks for a token when something comes. Look at everything once more afterwards, and
    /// [`SocketMemory::post_arm`] if there is something: it may have come before.
    pub fn arm(&mut self) {
        let _ = self.socket.write_word(write_cell::IN_ARM).fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Has so much been read that the worker should look ([`SocketMemory::post_arm`])? True once
    /// per step.
    #[must_use]
    pub fn worth_telling(&mut self) -> bool {
        let Some(position) = self.position() else { return false };
        // The worker stores the notice, fences, and looks at the position; here it is the reverse.
        fence(Ordering::SeqCst);
        let notice = self.socket.read_long(read_cell::RX_NOTICE).load(Ordering::Relaxed);
        let told = self.socket.told().load(Ordering::Relaxed);
        let reached = position.consumed >= notice && told < notice;
        let worth = reached || position.consumed.wrapping_sub(told) >= WINDOW_STEP;
        if worth {
            self.socket.told().store(position.consumed, Ordering::Relaxed);
        }
        worth
    }

    /// To be asked when bytes have been copied: if another thread has closed the socket meanwhile, they may be what
    /// others have received by now.
    fn is_still_its_own(&self) -> bool {
        // The bytes are copied before the generation is looked at; the worker does the reverse.
        fence(Ordering::Acquire);
        self.socket.is_open()
    }

    /// `None` once the cell serves another socket.
    fn position(&self) -> Option<Position> {
        let word = self.socket.consumed().load(Ordering::Relaxed);
        Some(Position {
            consumed: consumed::parse(self.socket.cell.generation, word)?,
            index: self.socket.write_word(write_cell::RX_INDEX).load(Ordering::Relaxed),
            offset: self.socket.write_word(write_cell::RX_OFFSET).load(Ordering::Relaxed),
            piece: self.socket.write_word(write_cell::RX_PIECE).load(Ordering::Relaxed),
        })
    }

    fn store(&self, position: Position) {
        self.socket.write_word(write_cell::RX_INDEX).store(position.index, Ordering::Relaxed);
        self.socket.write_word(write_cell::RX_OFFSET).store(position.offset, Ordering::Relaxed);
        self.socket.write_word(write_cell::RX_PIECE).store(position.piece, Ordering::Relaxed);
        let word = consumed::emit(self.socket.cell.generation, position.consumed);
        self.socket.consumed().store(word, Ordering::Release);
    }

    /// Where the next bytes are and how many of them follow each other, `most` at most. Something
    /// must be unread.
    fn piece(&self, position: &mut Position, most: usize) -> Option<Piece<'_>> {
        let read = &self.socket.map.read;
        for _ in 0..=QUEUE_LEN {
            let at = layout::rx_descriptor(self.socket.cell.index, position.index);
            let len = read.u32(at.wrapping_add(8)).load(Ordering::Acquire);
            if position.offset >= len {
                position.index = position.index.wrapping_add(1);
                position.offset = 0;
                position.piece = 0;
                continue;
            }
            let block = read.u32(at).load(Ordering::Relaxed);
            let start = read.u32(at.wrapping_add(4)).load(Ordering::Relaxed);
            if read.u32(at.wrapping_add(12)).load(Ordering::Relaxed) & LENT != 0 {
                return self.lent(position, (block, start), most);
            }
            let first = (start as usize).wrapping_add(position.offset as usize);
            let left = len.wrapping_sub(position.offset) as usize;
            let at = layout::rx_block(block).wrapping_add(first);
            return Some(Piece { memory: read, at, len: left.min(most) });
        }
        None
    }

    /// The same of a descriptor that stands for packets, which are in the list of this block from entry `first` on.
    fn lent(
        &self,
        position: &mut Position,
        (block, first): (u32, u32),
        most: usize,
    ) -> Option<Piece<'_>> {
        let read = &self.socket.map.read;
        let memory = self.socket.map.packets.as_ref()?;
        let consumed = low(position.consumed);
        for _ in 0..LIST_LEN {
            let at = layout::list_entry(block, first.wrapping_add(position.piece));
            let (len, begin) = halves(read.u64(at.wrapping_add(8)).load(Ordering::Relaxed));
            let passed = consumed.wrapping_sub(begin);
            let Some(left) = len.checked_sub(passed).filter(|left| *left > 0) else {
                position.piece = position.piece.wrapping_add(1);
                continue;
            };
            let (buffer, offset) = halves(read.u64(at).load(Ordering::Relaxed));
            let at = layout::packet_byte(buffer, offset.wrapping_add(passed));
            return Some(Piece { memory, at, len: (left as usize).min(most) });
        }
        None
    }
}

impl Position {
    fn pass(&mut self, len: usize) {
        self.consumed = self.consumed.saturating_add(len as u64);
        self.offset = self.offset.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
    }
}
