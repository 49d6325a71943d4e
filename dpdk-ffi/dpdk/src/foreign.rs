//! Packets that pass through code which knows nothing of DPDK: driver modules.
//!
//! Such code has a packet as an opaque pointer. Who has the pointer owns the packet, exactly as with
//! an [`Mbuf`]; the functions here change one form into the other.

use core::ffi::c_void;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use dpdk_sys::rte_mbuf;

use crate::burst::Burst;
use crate::limits::BURST_MAX;
use crate::mbuf::Mbuf;

/// Foreign code said that it gave or took packets that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// More packets than there was room for, or than it was given.
    #[error("it counted {count} packets of at most {most}")]
    Count {
        /// What it said.
        count: u16,
        /// What was possible.
        most: u16,
    },
    /// A null pointer among the packets.
    #[error("packet {at} is a null pointer")]
    Null {
        /// Its place in the burst.
        at: u16,
    },
}

/// What foreign code has said of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// A bit for each packet that has passed, by its place in the burst afterwards.
    pub passed: u32,
    /// Packets that are freed.
    pub dropped: u16,
    /// Packets that the foreign code owns now.
    pub consumed: u16,
}

impl Mbuf {
    /// Takes a packet over from foreign code.
    ///
    /// # Safety
    /// `raw` came from [`into_foreign`](Self::into_foreign) or from [`Burst::send_with`], EAL is
    /// running, and the caller gives up the packet.
    #[must_use]
    pub unsafe fn from_foreign(raw: NonNull<c_void>) -> Self {
        // SAFETY: by this function's contract.
        unsafe { Self::from_raw(raw.cast()) }
    }

    /// A packet that foreign code goes on owning, for a look or a change in place.
    ///
    /// # Safety
    /// As for [`from_foreign`](Self::from_foreign), except that the caller stays the owner and keeps
    /// everybody else from the packet while the result lives.
    #[must_use]
    pub unsafe fn borrow_foreign(raw: NonNull<c_void>) -> ManuallyDrop<Self> {
        // SAFETY: by this function's contract; the packet is not freed with the result.
        ManuallyDrop::new(unsafe { Self::from_raw(raw.cast()) })
    }

    /// The packet's pointer, for foreign code that looks at it while self lives.
    fn as_foreign(&self) -> *mut c_void {
        self.as_ptr().cast()
    }

    /// Gives the packet to foreign code, which frees it or brings it back.
    #[must_use]
    pub fn into_foreign(self) -> NonNull<c_void> {
        self.into_raw().cast()
    }
}

impl Burst {
    /// Lets foreign code append packets: `receive` gets the place for them and their greatest
    /// number, and says how many it wrote.
    ///
    /// # Errors
    /// What it said can't be. Packets before the first bad place are in the burst then.
    ///
    /// # Safety
    /// Each pointer that `receive` writes, up to its count, is a packet as
    /// [`from_foreign`](Mbuf::from_foreign) takes it, or null.
    pub unsafe fn receive_with(
        &mut self,
        receive: impl FnOnce(*mut *mut c_void, u16) -> u16,
    ) -> Result<usize, ForeignError> {
        let len = self.len();
        let most = u16::try_from(self.room()).unwrap_or(0);
        // SAFETY: len ≤ BURST_MAX, so this is within the array or one past its end.
        let free = unsafe { self.as_raw().add(len) };
        let count = receive(free.cast(), most);
        let believed = count.min(most);
        // SAFETY: `believed` ≤ room places behind the burst's packets, which the callee wrote; a pointer
        // may be null here, and nobody else has them.
        let got = unsafe { core::slice::from_raw_parts(free, believed.into()) };
        // As a rule none is, which this finds without a branch for each: of a process's addresses only
        // null's predecessor has the top bit.
        let before = got.iter().fold(0, |any, packet| any | packet.addr().wrapping_sub(1));
        let at = match before >> (usize::BITS - 1) {
            0 => got.len(),
            _ => got.iter().take_while(|packet| !packet.is_null()).count(),
        };
        if at < got.len() {
            // SAFETY: the `at` places before this one hold packets that are ours now.
            unsafe { self.grow(at) };
            #[expect(clippy::cast_possible_truncation, reason = "less than `believed`, a u16")]
            return Err(ForeignError::Null { at: at as u16 });
        }
        // SAFETY: `believed` ≤ room packets, none of them null, which are ours now.
        unsafe { self.grow(believed.into()) };
        if count > most { Err(ForeignError::Count { count, most }) } else { Ok(believed.into()) }
    }

    /// Lets foreign code take packets from the front: `send` gets them and says how many it took.
    ///
    /// # Errors
    /// It says that it took more than there are; then all are gone.
    ///
    /// # Safety
    /// `send` owns the packets that it says it took, and leaves the others alone.
    pub unsafe fn send_with(
        &mut self,
        send: impl FnOnce(*mut *mut c_void, u16) -> u16,
    ) -> Result<usize, ForeignError> {
        let most = u16::try_from(self.len()).unwrap_or(0);
        if most == 0 {
            return Ok(0);
        }
        let raw: *mut *mut rte_mbuf = self.as_raw();
        let count = send(raw.cast(), most);
        let believed = count.min(most);
        // SAFETY: the callee owns the first `believed` ≤ len packets now.
        unsafe { self.forget_front(believed.into()) };
        if count > most { Err(ForeignError::Count { count, most }) } else { Ok(believed.into()) }
    }

    /// Lets foreign code judge the packets that `asked` has a bit for: `judge` gets them and a place
    /// for each verdict: 0 passes, 1 is dropped, 2 is the foreign code's now. Everything else counts
    /// as 1. The others stay, and all keep their order.
    ///
    /// # Safety
    /// `judge` leaves alone what it does not say it owns.
    pub unsafe fn judge_with(
        &mut self,
        asked: u32,
        judge: impl FnOnce(*const *mut c_void, *mut u8, u16),
    ) -> Verdicts {
        let is_asked = |at: usize| asked >> at & 1 != 0;
        let mut packets = [core::ptr::null_mut(); BURST_MAX];
        let (mut count, mut questioned) = (0_u16, 0_u32);
        let questions = self.iter().enumerate().filter(|(at, _)| is_asked(*at));
        for (to, (at, mbuf)) in packets.iter_mut().zip(questions) {
            *to = mbuf.as_foreign();
            count += 1;
            questioned |= 1 << at;
        }
        let mut answers = [0_u8; BURST_MAX];
        if count > 0 {
            judge(packets.as_ptr(), answers.as_mut_ptr(), count);
        }
        // As a rule all pass, and stay where they are.
        if answers == [0; BURST_MAX] {
            return Verdicts { passed: questioned, ..Verdicts::default() };
        }
        let mut verdicts = Verdicts::default();
        let (mut answers, mut kept) = (answers.into_iter(), Self::new());
        for (at, mbuf) in self.drain().enumerate() {
            let answer = if is_asked(at) { answers.next() } else { None };
            match answer {
                None | Some(0) => {
                    verdicts.passed |= u32::from(answer.is_some()) << kept.len();
                    // It holds as many as it did.
                    let _ = kept.push(mbuf);
                }
                Some(2) => {
                    verdicts.consumed += 1;
                    let _ = mbuf.into_foreign();
                }
                Some(_) => verdicts.dropped += 1,
            }
        }
        core::mem::swap(self, &mut kept);
        verdicts
    }
}

const _: () = assert!(BURST_MAX <= 32, "a burst's packets have a bit each");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mempool, MempoolOptions};

    /// Packets of 1, 2, 3, … bytes.
    fn packets(pool: &Mempool, count: u16) -> Burst {
        let mut burst = Burst::new();
        for len in 1..=count {
            let mut mbuf = pool.alloc().unwrap();
            assert!(mbuf.append(len).is_some());
            burst.push(mbuf).unwrap();
        }
        burst
    }

    fn lens(burst: &Burst) -> Vec<u32> {
        burst.iter().map(Mbuf::packet_len).collect()
    }

    /// Has packets judged by `verdicts`, and checks that exactly those of `asked` were shown. Gives
    /// the lengths of those that stay.
    fn judged(pool: &Mempool, asked: u32, verdicts: &[u8], count: u16) -> (Vec<u32>, Verdicts) {
        let mut burst = packets(pool, count);
        let (mut shown, mut taken) = (Vec::new(), Vec::new());
        let judge = |packets: *const *mut c_void, answers: *mut u8, count: u16| {
            for at in 0..usize::from(count) {
                // SAFETY: `at` is below `count`.
                let place = unsafe { packets.add(at) };
                // SAFETY: as above.
                let raw = NonNull::new(unsafe { *place }).unwrap();
                // SAFETY: a packet of the burst, which nobody uses during the call.
                shown.push(unsafe { Mbuf::borrow_foreign(raw) }.packet_len());
                let verdict = verdicts.get(at).copied().unwrap_or(0);
                if verdict == 2 {
                    taken.push(raw);
                }
                // SAFETY: `at` is below `count`.
                let answer = unsafe { answers.add(at) };
                // SAFETY: as above.
                unsafe { answer.write(verdict) };
            }
        };
        // SAFETY: what is taken is said to be, and the rest is left alone.
        let result = unsafe { burst.judge_with(asked, judge) };
        let wanted = (1..=count.into()).filter(|len| asked >> (len - 1) & 1 != 0);
        assert_eq!(shown, wanted.collect::<Vec<_>>());
        let there = u32::try_from(burst.len() + taken.len()).unwrap();
        assert_eq!(pool.in_use(), there, "what is taken is not freed, what is dropped is");
        for raw in taken {
            // SAFETY: the verdict said that it is ours.
            drop(unsafe { Mbuf::from_foreign(raw) });
        }
        (lens(&burst), result)
    }

    /// Foreign code that gives `count` packets, the last of them a null pointer if `null`.
    fn received(pool: &Mempool, count: u16, null: bool) -> (usize, Result<usize, ForeignError>) {
        let mut burst = Burst::new();
        let give = |to: *mut *mut c_void, room: u16| {
            for at in 0..count.min(room) {
                let packet = pool.alloc().filter(|_| !null || at + 1 < count);
                let raw = packet.map_or(core::ptr::null_mut(), |mbuf| mbuf.into_foreign().as_ptr());
                // SAFETY: `at` is below the room.
                let place = unsafe { to.add(at.into()) };
                // SAFETY: as above.
                unsafe { place.write(raw) };
            }
            count
        };
        // SAFETY: packets of ours, or null.
        let result = unsafe { burst.receive_with(give) };
        (burst.len(), result)
    }

    #[test]
    fn packets_come_and_are_judged_in_order_and_none_is_lost() {
        crate::eal::start_for_tests();
        let options = MempoolOptions { count: 127, cache: 0, ..MempoolOptions::default() };
        let pool = Mempool::create("judge", &options).unwrap();
        let said = |passed, dropped, consumed| Verdicts { passed, dropped, consumed };

        assert_eq!(received(&pool, 32, false), (32, Ok(32)));
        assert_eq!(received(&pool, 0, false), (0, Ok(0)));
        assert_eq!(received(&pool, 32, true), (31, Err(ForeignError::Null { at: 31 })));
        assert_eq!(received(&pool, 1, true), (0, Err(ForeignError::Null { at: 0 })));
        let count = ForeignError::Count { count: 33, most: 32 };
        assert_eq!(received(&pool, 33, false), (32, Err(count)));
        assert_eq!(judged(&pool, 0b1011, &[], 4), (vec![1, 2, 3, 4], said(0b1011, 0, 0)), "all");
        assert_eq!(judged(&pool, u32::MAX, &[], 3).1.passed, 0b111, "bits without a packet");
        assert_eq!(judged(&pool, u32::MAX, &[], 32), ((1..=32).collect(), said(u32::MAX, 0, 0)));
        assert_eq!(judged(&pool, 0, &[1, 1], 2), (vec![1, 2], said(0, 0, 0)), "none is asked");
        // 1 is not asked; 2 is dropped, 3 passes, 4 is not asked, 5 is taken, 6 passes.
        let some = judged(&pool, 0b11_0110, &[1, 0, 2, 0], 6);
        assert_eq!(some, (vec![1, 3, 4, 6], said(0b1010, 1, 1)), "bits by the new places");
        assert_eq!(judged(&pool, 0b11, &[3, 255], 2), (vec![], said(0, 2, 0)), "no such verdict");
        assert_eq!(judged(&pool, u32::MAX, &[2; 32], 32), (vec![], said(0, 0, 32)), "all taken");
    }
}
