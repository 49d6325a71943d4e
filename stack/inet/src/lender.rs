//! Received packets on loan to clients: text that is read where the port has put it.
//!
//! ```text
//!  a train arrives   store()     the text's place goes to the client's queue, the buffer is marked as lent
//!  the burst is over keep()      marked packets stay here instead of being freed
//!  the client reads  give_back() its stream has passed them: they are freed
//!  the client ends   take_back() whatever it still has is freed
//! ```
//! A packet is lent only while it has no other owner ([`Mbuf::is_sole`]): nobody can write or free it meanwhile.

use arrayvec::ArrayVec;
use dpdk::{BURST_MAX, Burst, Mbuf, PacketPool};
use shm::layout::COPY_MAX;
use shm::{Lane, Place, StreamProducer};

use crate::client::{Client, Clients};
use crate::counters::LoanCounters;
use crate::socket::Socket;
use crate::worker::Worker;

/// Nobody's slot.
const NOBODY: u16 = u16::MAX;

/// One buffer of the pool.
struct Slot {
    /// The packet in it, while it is lent.
    packet: Option<Mbuf>,
    /// Who has borrowed it.
    holder: u16,
}

impl Slot {
    const FREE: Self = Self { packet: None, holder: NOBODY };
}

/// What a worker has lent of the packets it was given.
pub(crate) struct Lender {
    pool: PacketPool,
    /// By the buffer's number.
    slots: Box<[Slot]>,
    /// Clients that may borrow.
    borrowers: Vec<u16>,
    /// Buffers lent, and as many as may be: the others are for what is received meanwhile.
    lent: u32,
    lent_max: u32,
    /// Lent in this burst and not kept yet.
    fresh: u32,
    /// Packets of this breath that were copied since too many are lent.
    short: u32,
    /// There were none for somebody: what has been read of quiet streams is looked for.
    wanting: bool,
    /// Whose are looked at next, one borrower's in a breath.
    turn: usize,
    /// The packets at hand have no other owners.
    sole: bool,
    /// Who reads the text at hand.
    reader: u16,
    /// Packets that came back, freed together.
    back: Burst,
}

impl Lender {
    /// For one of so many workers, which share the pool.
    pub(crate) fn new(pool: PacketPool, workers: u16) -> Self {
        let count = pool.memory().buffers();
        Self {
            slots: (0..count).map(|_| Slot::FREE).collect(),
            borrowers: Vec::new(),
            lent: 0,
            lent_max: (count / 2).checked_div(workers.into()).unwrap_or(0),
            fresh: 0,
            short: 0,
            wanting: false,
            turn: 0,
            sole: false,
            reader: NOBODY,
            back: Burst::new(),
            pool,
        }
    }

    /// A client has come; perhaps it may borrow.
    pub(crate) fn attach(&mut self, client: u16, lane: &Lane) {
        if lane.borrows() {
            self.borrowers.push(client);
        }
    }

    /// The clients that may borrow.
    pub(crate) fn borrowers(&self) -> &[u16] {
        &self.borrowers
    }

    /// Buffers that are lent.
    pub(crate) fn lent(&self) -> u32 {
        self.lent
    }

    /// These packets are looked at next.
    pub(crate) fn look_at(&mut self, frames: &[Mbuf]) {
        self.sole = !self.borrowers.is_empty() && frames.iter().all(Mbuf::is_sole);
    }

    /// Their text is for this client, if it may borrow and they may be lent.
    pub(crate) fn for_reader(
        &mut self,
        client: Option<u16>,
        lane: Option<&Lane>,
    ) -> Option<&mut Self> {
        let borrows = self.sole && lane.is_some_and(Lane::borrows);
        self.reader = client.filter(|_| borrows)?;
        Some(self)
    }

    /// Stores texts of the packets at hand, the first of which is the next of the stream: lends them, or copies
    /// them. Returns how many bytes.
    pub(crate) fn store(
        &mut self,
        recv: &mut StreamProducer,
        lane: &mut Lane,
        texts: &[&[u8]],
    ) -> u32 {
        let (mut stored, mut texts) = (0_u32, texts);
        loop {
            let places = self.places(texts);
            let taken = if places.is_empty() { 0 } else { recv.lend(lane, stored, &places) };
            for place in places.iter().take(taken) {
                stored = stored.saturating_add(place.len);
                if let Some(slot) = self.slots.get_mut(place.buffer as usize) {
                    slot.holder = self.reader;
                }
            }
            let count = u32::try_from(taken).unwrap_or(0);
            self.lent = self.lent.saturating_add(count);
            self.fresh = self.fresh.saturating_add(count);
            texts = texts.get(taken..).unwrap_or_default();
            // What is short is copied by itself; if nothing is to be lent any more, all is.
            let copies = if taken < places.len() { texts.len() } else { 1 };
            let Some((now, later)) = texts.split_at_checked(copies) else { return stored };
            let copied = recv.write_all(lane, stored, now);
            stored = stored.saturating_add(copied);
            if later.is_empty() || copied < len_of(now) {
                return stored;
            }
            texts = later;
        }
    }

    /// The places of the first texts that may be lent.
    fn places(&mut self, texts: &[&[u8]]) -> ArrayVec<Place, BURST_MAX> {
        let mut places = ArrayVec::new();
        let left = self.lent_max.saturating_sub(self.lent) as usize;
        for text in texts {
            if text.len() <= COPY_MAX as usize {
                break;
            }
            let Some(place) = self.pool.place(text) else { break };
            if self.slots.get(place.buffer as usize).is_none_or(|slot| slot.holder != NOBODY) {
                break;
            }
            if places.len() >= left {
                self.short = self.short.saturating_add(1);
                break;
            }
            if places.try_push(place).is_err() {
                break;
            }
        }
        places
    }

    /// Packets are used up: those that were lent stay here, the others are freed.
    pub(crate) fn keep(&mut self, finished: &mut Burst, counters: &LoanCounters) {
        if self.fresh == 0 {
            return;
        }
        let fresh = self.fresh;
        while let Some(mbuf) = finished.pop() {
            let buffer = self.pool.number(&mbuf);
            let slot = buffer.and_then(|buffer| self.slots.get_mut(buffer as usize));
            match slot.filter(|slot| slot.holder != NOBODY) {
                Some(slot) => {
                    slot.packet = Some(mbuf);
                    self.fresh = self.fresh.saturating_sub(1);
                }
                None => self.drop_later(mbuf),
            }
        }
        counters.lent.add(fresh.saturating_sub(self.fresh).into());
    }

    /// A client is done with a buffer.
    #[inline]
    pub(crate) fn give_back(&mut self, buffer: u32) {
        let Some(slot) = self.slots.get_mut(buffer as usize) else { return };
        let Slot { packet, holder } = core::mem::replace(slot, Slot::FREE);
        self.lent = self.lent.saturating_sub(u32::from(holder != NOBODY));
        match packet {
            Some(mbuf) => self.drop_later(mbuf),
            // Given back before its burst was over: it is freed with that.
            None if holder != NOBODY => self.fresh = self.fresh.saturating_sub(1),
            None => {}
        }
    }

    #[inline]
    fn drop_later(&mut self, mbuf: Mbuf) {
        if self.back.is_full() {
            self.back.clear();
        }
        // There is room now.
        let _ = self.back.push(mbuf);
    }

    /// Frees what has come back.
    pub(crate) fn free(&mut self) {
        self.back.clear();
    }

    /// A client is gone: all that it still has. Returns how many.
    pub(crate) fn take_back(&mut self, client: u16) -> u32 {
        let Some(place) = self.borrowers.iter().position(|borrower| *borrower == client) else {
            return 0;
        };
        let _ = self.borrowers.swap_remove(place);
        let before = self.lent;
        for buffer in 0..u32::try_from(self.slots.len()).unwrap_or(0) {
            if self.slots.get(buffer as usize).is_some_and(|slot| slot.holder == client) {
                self.give_back(buffer);
            }
        }
        self.free();
        before.saturating_sub(self.lent)
    }

    /// Packets that were copied since the last call because too many are lent.
    pub(crate) fn take_short(&mut self) -> u32 {
        self.wanting |= self.short > 0;
        core::mem::take(&mut self.short)
    }

    /// A quota has ended.
    pub(crate) fn want(&mut self) {
        self.wanting = true;
    }

    /// Whose quiet streams are to be looked at for packets that have been read, if some are wanted: each borrower's in
    /// turn, since clients of one user share a quota and all share the pool.
    pub(crate) fn take_turn(&mut self) -> Option<u16> {
        if !core::mem::take(&mut self.wanting) {
            return None;
        }
        self.turn = self.turn.wrapping_add(1).checked_rem(self.borrowers.len())?;
        self.borrowers.get(self.turn).copied()
    }
}

impl Worker {
    /// A client has come.
    pub(crate) fn attach(&mut self, slot: u16, lane: Lane) {
        if let Some(lender) = &mut self.lender {
            lender.attach(slot, &lane);
        }
        self.clients.insert(slot, Client::new(lane));
    }

    /// A client goes.
    pub(crate) fn take_loans_back(&mut self, slot: u16) {
        if let Some(lender) = &mut self.lender {
            self.counters.loans.taken_back.add(lender.take_back(slot).into());
        }
    }
}

impl Clients {
    /// A socket's queue of received text, to which packets are lent if its client may borrow.
    pub(crate) fn receiver(&self, socket: &Socket) -> StreamProducer {
        let recv = StreamProducer::new(socket.cell, socket.options.receive_buffer);
        match self.owner(socket.client) {
            Some(client) => recv.lending(&client.lane),
            None => recv,
        }
    }
}

/// Bytes of texts that are in memory at once.
fn len_of(texts: &[&[u8]]) -> u32 {
    let len = texts.iter().fold(0_usize, |sum, text| sum.wrapping_add(text.len()));
    u32::try_from(len).unwrap_or(u32::MAX)
}
