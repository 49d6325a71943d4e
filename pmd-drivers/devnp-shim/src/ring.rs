//! Frames on their way from a driver's threads to the worker: bounded, and neither side waits for the
//! other.
//!
//! ```text
//!           tail                 head
//!            │                    │
//!   ┌────┬───v┬────┬────┬────┬───v┬────┐    empty: head = tail
//!   │    │ f1 │ f2 │ f3 │ f4 │    │    │    full:  head - tail = RING_FRAMES
//!   └────┴────┴────┴────┴────┴────┴────┘
//!    Consumer moves tail   Producer moves head
//! ```

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

use crate::limits::{PLACE_BYTES, RING_FRAMES};

/// One frame.
struct Place {
    len: usize,
    bytes: [u8; PLACE_BYTES],
}

struct Ring {
    places: Box<[UnsafeCell<Place>]>,
    head: AtomicU32,
    tail: AtomicU32,
    /// The descriptor is readable, or becomes so.
    told: AtomicBool,
    /// An eventfd: readable while frames wait.
    descriptor: OwnedFd,
}

// SAFETY: a place is the producer's from tail + RING_FRAMES to head and the consumer's from tail to
// head; each has one owner, and head and tail are handed over with release and acquire.
unsafe impl Sync for Ring {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Ring {}

/// The only one who puts frames in.
pub(crate) struct Producer(Arc<Ring>);

/// The only one who takes frames out.
pub(crate) struct Consumer(Arc<Ring>);

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// An empty ring.
///
/// # Errors
/// The process has no descriptor left.
pub(crate) fn ring() -> io::Result<(Producer, Consumer)> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else's.
    let descriptor = unsafe { OwnedFd::from_raw_fd(fd) };
    let place = |_| UnsafeCell::new(Place { len: 0, bytes: [0; PLACE_BYTES] });
    let ring = Arc::new(Ring {
        places: (0..RING_FRAMES).map(place).collect(),
        head: AtomicU32::new(0),
        tail: AtomicU32::new(0),
        told: AtomicBool::new(false),
        descriptor,
    });
    Ok((Producer(Arc::clone(&ring)), Consumer(ring)))
}

impl Ring {
    fn place(&self, at: u32) -> Option<*mut Place> {
        self.places.get((at % RING_FRAMES) as usize).map(UnsafeCell::get)
    }
}

impl Producer {
    /// Copies a frame in and wakes the worker. Frames are at most [`PLACE_BYTES`] long.
    pub(crate) fn push(&mut self, frame: &[u8]) -> Result<(), Full> {
        let ring = &*self.0;
        let head = ring.head.load(Ordering::Relaxed);
        if head.wrapping_sub(ring.tail.load(Ordering::Acquire)) >= RING_FRAMES {
            return Err(Full);
        }
        let place = ring.place(head).ok_or(Full)?;
        // SAFETY: the place is the producer's until head moves, and self is the only producer.
        let place = unsafe { &mut *place };
        place.bytes.get_mut(..frame.len()).ok_or(Full)?.copy_from_slice(frame);
        place.len = frame.len();
        ring.head.store(head.wrapping_add(1), Ordering::Release);
        // Either we see that the worker has cleared the descriptor, or it sees the new head.
        fence(Ordering::SeqCst);
        if !ring.told.load(Ordering::Relaxed) && !ring.told.swap(true, Ordering::Relaxed) {
            let one = 1_u64.to_ne_bytes();
            // SAFETY: eight bytes, as an eventfd wants. It can't be full: one write for each read.
            let _ = unsafe { libc::write(ring.descriptor.as_raw_fd(), one.as_ptr().cast(), 8) };
        }
        Ok(())
    }
}

impl Consumer {
    /// Readable while frames wait.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.0.descriptor.as_raw_fd()
    }

    /// Frames that wait. If there are none the descriptor is no longer readable afterwards.
    pub(crate) fn waiting(&mut self) -> u32 {
        let count = self.count();
        if count > 0 || !self.0.told.load(Ordering::Relaxed) {
            return count;
        }
        let mut sum = [0_u8; 8];
        // SAFETY: room for the eight bytes of an eventfd.
        let got = unsafe { libc::read(self.descriptor(), sum.as_mut_ptr().cast(), 8) };
        if got != 8 {
            // The producer is between its flag and its write, which wakes the worker soon.
            return self.count();
        }
        self.0.told.store(false, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.count()
    }

    fn count(&self) -> u32 {
        let tail = self.0.tail.load(Ordering::Relaxed);
        self.0.head.load(Ordering::Acquire).wrapping_sub(tail)
    }

    /// Takes the oldest frame out, after `with` has seen it.
    pub(crate) fn pop<T>(&mut self, with: impl FnOnce(&[u8]) -> T) -> Option<T> {
        if self.count() == 0 {
            return None;
        }
        let tail = self.0.tail.load(Ordering::Relaxed);
        let place = self.0.place(tail)?;
        // SAFETY: the place is the consumer's until tail moves, and self is the only consumer.
        let place = unsafe { &*place };
        let value = with(place.bytes.get(..place.len)?);
        self.0.tail.store(tail.wrapping_add(1), Ordering::Release);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(fd: RawFd) -> bool {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let (mut producer, mut consumer) = ring().unwrap();
        for round in 0..3 * RING_FRAMES {
            let frame = round.to_ne_bytes().repeat(15 + (round % 350) as usize);
            producer.push(&frame).unwrap();
            assert_eq!(consumer.pop(<[u8]>::to_vec), Some(frame));
        }
        assert_eq!(consumer.pop(<[u8]>::to_vec), None);
    }

    #[test]
    fn a_full_ring_takes_no_more() {
        let (mut producer, mut consumer) = ring().unwrap();
        for _ in 0..RING_FRAMES {
            producer.push(&[1; 60]).unwrap();
        }
        assert_eq!(producer.push(&[2; 60]), Err(Full));
        assert_eq!(consumer.waiting(), RING_FRAMES);
        assert_eq!(consumer.pop(|frame| frame[0]), Some(1));
        assert_eq!(producer.push(&[2; 60]), Ok(()));
    }

    #[test]
    fn the_descriptor_is_readable_while_frames_wait() {
        let (mut producer, mut consumer) = ring().unwrap();
        assert!(!readable(consumer.descriptor()));
        for _ in 0..3 {
            producer.push(&[1; 60]).unwrap();
            producer.push(&[1; 60]).unwrap();
            assert!(readable(consumer.descriptor()));
            assert_eq!(consumer.waiting(), 2);
            assert!(readable(consumer.descriptor()), "not all are taken");
            while consumer.pop(|_| ()).is_some() {}
            assert_eq!(consumer.waiting(), 0);
            assert!(!readable(consumer.descriptor()));
        }
    }

    #[test]
    fn a_sleeper_misses_no_frame() {
        const FRAMES: u32 = 20_000;
        let (mut producer, mut consumer) = ring().unwrap();
        let sender = std::thread::spawn(move || {
            for number in 0..FRAMES {
                while producer.push(&number.to_ne_bytes()).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < FRAMES {
            let mut poll =
                libc::pollfd { fd: consumer.descriptor(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one structure.
            assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 10_000) }, 1, "asleep at {next}");
            while consumer.waiting() > 0 {
                let number = consumer.pop(|frame| u32::from_ne_bytes(frame.try_into().unwrap()));
                assert_eq!(number, Some(next));
                next += 1;
            }
        }
        sender.join().unwrap();
    }
}
