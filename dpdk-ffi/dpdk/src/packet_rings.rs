//! Rings by which a packet application, another process of DPDK, has a queue's packets by pointer.
//!
//! ```text
//!   the worker                                      the application
//!   a packet of the queue ──────── show ──────────► looks at it, changes it
//!   it goes on             ◄────── pass ──────────┤
//!   it is freed            ◄────── drop ──────────┘
//!   an empty buffer ───────────── blank ──────────► a packet of its own, which it passes
//! ```
//!
//! Each ring has one who puts and one who takes. The application neither allocates nor frees: a buffer that it has is in
//! `lent` until it comes back. So a process that is killed, at whatever point, leaves no pool's cache behind half
//! written and no buffer lost: when it is gone all of them are taken back and the rings begin anew. Nobody waits for an
//! application. What it has no room for goes on unseen or is dropped, as the operator wants it.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;

use dpdk_sys::{rte_mbuf, rte_ring};

use crate::burst::Burst;
use crate::errno::Errno;
use crate::limits::{BLANKS, BURST_MAX, LENT_MAX, RING_NAME_MAX};
use crate::live;
use crate::mbuf::Mbuf;
use crate::mempool::Mempool;

/// A power of two. A ring has room for all buffers that can be out: putting one back never fails.
const RING_SIZE: u32 = 1024;
const _: () = assert!(LENT_MAX + BLANKS < RING_SIZE as usize);

/// What becomes of packets that no application sees: none is attached, or it has as many as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unseen {
    /// They go on.
    #[default]
    Pass,
    /// They are dropped.
    Drop,
}

/// Nobody is attached, and nothing is out.
const CLOSED: u8 = 0;
/// An application is attached.
const OPEN: u8 = 1;
/// It is gone, and the worker has not taken its buffers back yet.
const CLOSING: u8 = 2;

/// What the control plane has of [`PacketRings`]: it says when an application comes and goes, and reads the counters.
#[derive(Debug, Default)]
pub struct Gate {
    state: AtomicU8,
    shown: AtomicU64,
    passed: AtomicU64,
    injected: AtomicU64,
    dropped: AtomicU64,
    unseen_passed: AtomicU64,
    unseen_dropped: AtomicU64,
    refused: AtomicU64,
}

impl Gate {
    /// An application has come. `false`: there is one, or the buffers of the last one are not back yet.
    #[must_use]
    pub fn open(&self) -> bool {
        let opened = self.state.compare_exchange(CLOSED, OPEN, Ordering::AcqRel, Ordering::Relaxed);
        opened.is_ok()
    }

    /// It is gone: no process uses its buffers any more. The worker takes them back with its next look at the rings.
    pub fn close(&self) {
        let _ = self.state.compare_exchange(OPEN, CLOSING, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// What has become of packets, by name.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 7] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("shown", of(&self.shown)),
            ("passed", of(&self.passed)),
            ("injected", of(&self.injected)),
            ("dropped", of(&self.dropped)),
            ("unseen_passed", of(&self.unseen_passed)),
            ("unseen_dropped", of(&self.unseen_dropped)),
            ("refused", of(&self.refused)),
        ]
    }
}

fn add(count: &AtomicU64, n: usize) {
    let _ = count.fetch_add(u64::try_from(n).unwrap_or(0), Ordering::Relaxed);
}

/// Packets that are gone and not counted as drops yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The application wanted it so.
    pub dropped: u64,
    /// Nobody has seen them.
    pub unseen: u64,
}

impl core::ops::AddAssign for Lost {
    fn add_assign(&mut self, other: Self) {
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.unseen = self.unseen.saturating_add(other.unseen);
    }
}

/// What a lent buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lent {
    Packet,
    Blank,
}

/// The worker's end of the rings of one queue.
#[derive(Debug)]
pub struct PacketRings {
    show: Ring,
    pass: Ring,
    drop: Ring,
    blank: Ring,
    gate: Arc<Gate>,
    pool: Mempool,
    unseen: Unseen,
    lent: HashMap<NonNull<rte_mbuf>, Lent>,
    blanks: usize,
    lost: Lost,
}

// SAFETY: the buffers in `lent` are this worker's to free, from whatever thread it runs on; the application uses
// them by the rings alone, which no other thread of this process has.
unsafe impl Send for PacketRings {}

impl PacketRings {
    /// Makes the rings `NAME.show`, `NAME.pass`, `NAME.drop` and `NAME.blank`, or takes those that an interface of this
    /// name has left.
    ///
    /// # Errors
    /// The name is too long, or there is no memory.
    pub fn create(name: &str, pool: &Mempool, unseen: Unseen) -> Result<Self, RingError> {
        let ring = |what| Ring::create(&format!("{name}.{what}"));
        Ok(Self {
            show: ring("show")?,
            pass: ring("pass")?,
            drop: ring("drop")?,
            blank: ring("blank")?,
            gate: Arc::default(),
            pool: pool.clone(),
            unseen,
            lent: HashMap::with_capacity(LENT_MAX * 2),
            blanks: 0,
            lost: Lost::default(),
        })
    }

    /// For the control plane.
    #[must_use]
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Shows packets to the application. Those that it can't see stay in the burst, or are freed; of those that stay
    /// [`went_on`](Self::went_on) is to be told.
    pub fn show(&mut self, burst: &mut Burst) -> usize {
        let room = if self.is_open() { LENT_MAX.saturating_sub(self.lent.len()) } else { 0 };
        let (mut shown, mut unseen) = (Pointers::new(), Burst::new());
        for mbuf in burst.drain() {
            if shown.len() < room && mbuf.is_plain() {
                let raw = mbuf.into_raw();
                let _ = self.lent.insert(raw, Lent::Packet);
                shown.push(raw);
            } else {
                unseen.extend([mbuf]);
            }
        }
        self.show.put(&shown);
        add(&self.gate.shown, shown.len());
        match self.unseen {
            Unseen::Pass => *burst = unseen,
            Unseen::Drop => {
                add(&self.gate.unseen_dropped, unseen.len());
                self.lost.unseen += unseen.len() as u64;
            }
        }
        shown.len()
    }

    /// So many packets have gone on that the application has not seen.
    pub fn went_on(&self, unseen: usize) {
        if unseen > 0 {
            add(&self.gate.unseen_passed, unseen);
        }
    }

    /// Appends what the application passes to the burst and frees what it drops; how many were passed.
    pub fn collect(&mut self, burst: &mut Burst) -> usize {
        if !self.is_open() {
            return 0;
        }
        let dropped = self.drop.take(BURST_MAX);
        for raw in dropped {
            match self.back(raw) {
                Some((Lent::Packet, _mbuf)) => {
                    add(&self.gate.dropped, 1);
                    self.lost.dropped += 1;
                }
                Some((Lent::Blank, _)) | None => {}
            }
        }
        let mut count = 0;
        for raw in self.pass.take(burst.room()) {
            let Some((what, mbuf)) = self.back(raw) else { continue };
            if !mbuf.is_frame() {
                add(&self.gate.refused, 1);
                self.lost.dropped += u64::from(what == Lent::Packet);
                continue;
            }
            add(if what == Lent::Packet { &self.gate.passed } else { &self.gate.injected }, 1);
            count += usize::from(burst.push(mbuf).is_ok());
        }
        self.lend_blanks();
        count
    }

    /// Packets lost since the last call.
    #[inline]
    #[must_use]
    pub fn take_lost(&mut self) -> Lost {
        core::mem::take(&mut self.lost)
    }

    /// A buffer has come back. `None`: it is none that was lent.
    fn back(&mut self, raw: NonNull<rte_mbuf>) -> Option<(Lent, Mbuf)> {
        let Some(what) = self.lent.remove(&raw) else {
            add(&self.gate.refused, 1);
            return None;
        };
        self.blanks -= usize::from(what == Lent::Blank);
        // SAFETY: it was made of an Mbuf of ours when it was lent, and is ours again.
        Some((what, unsafe { Mbuf::from_application(raw) }))
    }

    fn lend_blanks(&mut self) {
        let mut blanks = Pointers::new();
        while self.blanks < BLANKS && !blanks.is_full() {
            let Some(mbuf) = self.pool.alloc() else { break };
            let raw = mbuf.into_raw();
            let _ = self.lent.insert(raw, Lent::Blank);
            self.blanks += 1;
            blanks.push(raw);
        }
        self.blank.put(&blanks);
    }

    /// Somebody is attached. Whoever has gone gives everything back.
    #[inline]
    fn is_open(&mut self) -> bool {
        match self.gate.state.load(Ordering::Acquire) {
            OPEN => true,
            CLOSING => {
                self.take_back();
                self.gate.state.store(CLOSED, Ordering::Release);
                false
            }
            _ => false,
        }
    }

    /// Frees all that is out; the rings are empty afterwards, whatever state they were left in.
    #[cold]
    fn take_back(&mut self) {
        for (raw, what) in self.lent.drain() {
            // SAFETY: it was made of an Mbuf of ours when it was lent, and nobody uses it any more.
            drop(unsafe { Mbuf::from_application(raw) });
            self.lost.dropped += u64::from(what == Lent::Packet);
        }
        self.blanks = 0;
        for ring in [&self.show, &self.pass, &self.drop, &self.blank] {
            ring.reset();
        }
    }
}

impl Drop for PacketRings {
    fn drop(&mut self) {
        self.take_back();
        self.gate.state.store(CLOSED, Ordering::Release);
    }
}

type Pointers = arrayvec::ArrayVec<NonNull<rte_mbuf>, BURST_MAX>;

/// A ring of DPDK's with one who puts and one who takes. It lives as long as EAL.
#[derive(Debug)]
struct Ring(NonNull<rte_ring>);

impl Ring {
    fn create(name: &str) -> Result<Self, RingError> {
        if name.len() > RING_NAME_MAX {
            return Err(RingError::NameTooLong { name: name.into() });
        }
        let c_name = CString::new(name).map_err(|_| RingError::NulByte)?;
        let _control = live::control();
        // SAFETY: EAL runs, since a pool exists; a C string that DPDK copies.
        let raw = unsafe { dpdk_sys::shim_ring_create(c_name.as_ptr(), RING_SIZE) };
        let refused = || RingError::Refused { name: name.into(), errno: Errno::last() };
        let ring = NonNull::new(raw).map(Self).ok_or_else(refused)?;
        ring.reset();
        Ok(ring)
    }

    /// There is room for all that can be out.
    fn put(&self, buffers: &Pointers) {
        let count = u32::try_from(buffers.len()).unwrap_or(0);
        // SAFETY: the ring lives as long as EAL, and this is the only one who puts.
        let put =
            unsafe { dpdk_sys::shim_ring_put(self.0.as_ptr(), buffers.as_ptr().cast(), count) };
        debug_assert_eq!(put, count, "a ring has room for all buffers that can be out");
    }

    fn take(&self, most: usize) -> Pointers {
        let mut raw = [core::ptr::null_mut(); BURST_MAX];
        let most = u32::try_from(most.min(BURST_MAX)).unwrap_or(0);
        // SAFETY: the ring lives as long as EAL, this is the only one who takes, and `raw` has room for `most`.
        let got = unsafe { dpdk_sys::shim_ring_take(self.0.as_ptr(), raw.as_mut_ptr(), most) };
        let got = usize::try_from(got).unwrap_or(0);
        raw.iter().take(got).filter_map(|raw| NonNull::new(raw.cast())).collect()
    }

    fn reset(&self) {
        // SAFETY: the ring lives as long as EAL. Nobody else uses it: no application is attached.
        unsafe { dpdk_sys::rte_ring_reset(self.0.as_ptr()) };
    }
}

/// No rings were made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// Not a C string.
    #[error("a ring's name contains a NUL byte")]
    NulByte,
    /// DPDK's names are short.
    #[error("the ring name {name:?} is longer than {RING_NAME_MAX} bytes; shorten the interface's")]
    NameTooLong {
        /// The name.
        name: String,
    },
    /// Anything else.
    #[error("ring {name:?}: {errno}; give EAL more memory (nr_hugepages)")]
    Refused {
        /// The name.
        name: String,
        /// DPDK's error number.
        errno: Errno,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MempoolOptions;

    fn packets(pool: &Mempool, lens: core::ops::Range<u16>) -> Burst {
        let mut burst = Burst::new();
        for len in lens {
            let mut mbuf = pool.alloc().unwrap();
            let _ = mbuf.append(len).unwrap();
            burst.push(mbuf).unwrap();
        }
        burst
    }

    fn lens(burst: &Burst) -> Vec<u32> {
        burst.iter().map(Mbuf::packet_len).collect()
    }

    fn count(rings: &PacketRings, name: &str) -> u64 {
        rings.gate.counts().into_iter().find(|(n, _)| *n == name).unwrap().1
    }

    /// What an application does: it takes from `show` and `blank`, and puts to `pass` and `drop`.
    fn applied(rings: &PacketRings, verdict: impl Fn(u32) -> bool) {
        for raw in rings.show.take(BURST_MAX) {
            // SAFETY: lent, and nobody else looks at it meanwhile.
            let len = unsafe { raw.as_ref() }.pkt_len;
            let to = if verdict(len) { &rings.pass } else { &rings.drop };
            to.put(&[raw].into_iter().collect());
        }
    }

    fn nobody_is_attached(pool: &Mempool) {
        let mut passing = PacketRings::create("a.rx0", pool, Unseen::Pass).unwrap();
        let mut burst = packets(pool, 60..63);
        assert_eq!(passing.show(&mut burst), 0);
        assert_eq!(lens(&burst), [60, 61, 62]);
        let mut dropping = PacketRings::create("b.rx0", pool, Unseen::Drop).unwrap();
        assert_eq!((dropping.show(&mut burst), burst.len()), (0, 0));
        assert_eq!(dropping.take_lost(), Lost { dropped: 0, unseen: 3 });
        assert_eq!(dropping.take_lost(), Lost::default());
        assert_eq!((count(&passing, "unseen_dropped"), count(&dropping, "unseen_dropped")), (0, 3));
    }

    fn packets_pass_and_are_dropped_in_order(pool: &Mempool) {
        let mut rings = PacketRings::create("a.rx0", pool, Unseen::Pass).unwrap();
        assert!(rings.gate().open() && !rings.gate().open());
        let mut burst = packets(pool, 60..70);
        assert_eq!((rings.show(&mut burst), burst.len()), (10, 0));
        applied(&rings, |len| len % 2 == 0);
        assert_eq!(rings.collect(&mut burst), 5);
        assert_eq!(lens(&burst), [60, 62, 64, 66, 68]);
        assert_eq!(rings.take_lost(), Lost { dropped: 5, unseen: 0 });
        assert_eq!((count(&rings, "passed"), count(&rings, "dropped")), (5, 5));
    }

    fn an_application_makes_packets_of_its_own(pool: &Mempool) {
        let mut rings = PacketRings::create("a.rx0", pool, Unseen::Pass).unwrap();
        assert!(rings.gate().open());
        let mut burst = Burst::new();
        assert_eq!(rings.collect(&mut burst), 0);
        let blanks = rings.blank.take(BURST_MAX);
        assert_eq!(blanks.len(), BLANKS.min(BURST_MAX));
        for (raw, len) in blanks.iter().zip([60, 5]) {
            // SAFETY: lent, and nobody else looks at it meanwhile.
            unsafe { raw.as_ptr().as_mut() }.unwrap().data_len = len;
            rings.pass.put(&[*raw].into_iter().collect());
        }
        assert_eq!(rings.collect(&mut burst), 1, "five bytes are no frame");
        assert_eq!(lens(&burst), [60]);
        assert_eq!((count(&rings, "injected"), count(&rings, "refused")), (1, 1));
        // What was never lent is nobody's packet.
        let stranger = pool.alloc().unwrap().into_raw();
        rings.pass.put(&[stranger, blanks[0]].into_iter().collect());
        assert_eq!((rings.collect(&mut burst), count(&rings, "refused")), (0, 3));
        // SAFETY: it was made of an Mbuf above, and nobody has taken it.
        drop(unsafe { Mbuf::from_raw(stranger) });
    }

    fn whoever_does_not_take_holds_up_nobody(pool: &Mempool) {
        let mut rings = PacketRings::create("a.tx0", pool, Unseen::Pass).unwrap();
        assert!(rings.gate().open());
        let mut shown = 0;
        for _ in 0..LENT_MAX / 8 {
            let mut burst = packets(pool, 60..76);
            shown += rings.show(&mut burst);
            rings.went_on(burst.len());
        }
        assert_eq!(shown, LENT_MAX);
        assert_eq!(count(&rings, "unseen_passed"), LENT_MAX as u64);
    }

    fn what_a_dead_one_had_comes_back(pool: &Mempool) {
        let before = pool.in_use();
        let mut rings = PacketRings::create("a.rx0", pool, Unseen::Pass).unwrap();
        assert!(rings.gate().open());
        let mut burst = packets(pool, 60..92);
        assert_eq!(rings.show(&mut burst), 32);
        assert_eq!(rings.collect(&mut burst), 0);
        // It dies with one of them in hand, whose chain it had begun to change.
        let taken = rings.show.take(2);
        let (one, two) = (taken[0], taken[1]);
        // SAFETY: lent, and nobody else looks at it meanwhile.
        let broken = unsafe { one.as_ptr().as_mut() }.unwrap();
        (broken.next, broken.nb_segs, broken.refcnt) = (two.as_ptr(), 9, 7);
        rings.gate().close();
        assert!(!rings.gate().open(), "its buffers are not back yet");
        assert_eq!(rings.collect(&mut burst), 0);
        assert_eq!(pool.in_use(), before);
        assert_eq!(rings.take_lost().dropped, 32);
        assert!(rings.gate().open(), "the next one");
        let mut burst = packets(pool, 60..61);
        assert_eq!(rings.show(&mut burst), 1);
        applied(&rings, |_| true);
        assert_eq!(rings.collect(&mut burst), 1);
    }

    #[test]
    fn applications() {
        crate::eal::start_for_tests();
        let options = MempoolOptions { count: 2047, cache: 0, ..MempoolOptions::default() };
        let pool = Mempool::create("rings", &options).unwrap();
        for test in [
            nobody_is_attached,
            packets_pass_and_are_dropped_in_order,
            an_application_makes_packets_of_its_own,
            whoever_does_not_take_holds_up_nobody,
            what_a_dead_one_had_comes_back,
        ] {
            test(&pool);
            assert_eq!(pool.in_use(), 0);
        }
    }
}
