//! Datagrams made of several calls: `MSG_MORE`, and `UDP_CORK` while it is on.
//!
//! The parts wait in this process's memory. As in Linux, the first part decides where the datagram goes and what
//! goes with it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use io_pkt_client::{Ancillary, SendFlags};
use libc::c_int;

use super::abi::borrow;
use crate::description::Description;
use crate::errno::os;
use crate::message;

/// `UDP_CORK` of `linux/udp.h`.
pub(crate) const UDP_CORK: c_int = 1;

/// Longest payload of a datagram over IPv4.
const LONGEST: usize = 65_507;

/// The datagram in the making.
#[derive(Debug, Default)]
pub(crate) struct Cork {
    /// It is on, or something waits. Without it a call takes no lock, which a child forked meanwhile
    /// would find taken for ever.
    in_use: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    on: bool,
    waiting: Option<Part>,
}

#[derive(Debug)]
struct Part {
    bytes: Vec<u8>,
    to: Option<SocketAddr>,
    ancillary: Ancillary,
}

impl Cork {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, state: &State) {
        self.in_use.store(state.on || state.waiting.is_some(), Ordering::Release);
    }

    /// `UDP_CORK`.
    pub(crate) fn is_on(&self) -> bool {
        self.in_use.load(Ordering::Acquire) && self.state().on
    }
}

/// Sends a datagram, or keeps it as a part of one.
pub(crate) fn send(
    fd: c_int,
    held: &Description,
    from: &[IoSlice<'_>],
    (to, ancillary): (Option<SocketAddr>, &Ancillary),
    flags: c_int,
) -> io::Result<usize> {
    let known = message::send_flags(flags);
    let whole = || held.socket.send_with(borrow(&fd), from, to, ancillary, known);
    if flags & libc::MSG_MORE == 0 && !held.cork.in_use.load(Ordering::Acquire) {
        return whole();
    }
    let mut state = held.cork.state();
    let more = flags & libc::MSG_MORE != 0 || state.on;
    if !more && state.waiting.is_none() {
        drop(state);
        return whole();
    }
    let len = from.iter().fold(0usize, |sum, slice| sum.saturating_add(slice.len()));
    if to.is_none() && !held.socket.has_peer() && state.waiting.is_none() {
        return Err(os(libc::EDESTADDRREQ));
    }
    let mut part = state.waiting.take().unwrap_or_else(|| Part {
        bytes: Vec::new(),
        to,
        ancillary: *ancillary,
    });
    if part.bytes.len().saturating_add(len) > LONGEST {
        // Linux throws away what was there.
        held.cork.note(&state);
        return Err(os(libc::EMSGSIZE));
    }
    from.iter().for_each(|slice| part.bytes.extend_from_slice(slice));
    if more {
        state.waiting = Some(part);
        held.cork.note(&state);
        return Ok(len);
    }
    held.cork.note(&state);
    drop(state);
    part.send(fd, held, known).map(|()| len)
}

/// `setsockopt(UDP_CORK)`: taken off, it lets go what waits.
pub(crate) fn set(fd: c_int, held: &Description, on: bool) -> io::Result<()> {
    let mut state = held.cork.state();
    state.on = on;
    let waiting = if on { None } else { state.waiting.take() };
    held.cork.note(&state);
    drop(state);
    waiting.map_or(Ok(()), |part| part.send(fd, held, SendFlags::empty()))
}

impl Part {
    fn send(&self, fd: c_int, held: &Description, flags: SendFlags) -> io::Result<()> {
        let bytes = &[IoSlice::new(&self.bytes)];
        held.socket.send_with(borrow(&fd), bytes, self.to, &self.ancillary, flags).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cork_is_looked_at_only_while_it_is_on_or_something_waits() {
        let cork = Cork::default();
        assert!(!cork.in_use.load(Ordering::Relaxed) && !cork.is_on());
        let mut state = cork.state();
        state.on = true;
        cork.note(&state);
        drop(state);
        assert!(cork.is_on());
        let mut state = cork.state();
        state.on = false;
        let part = Part { bytes: vec![1], to: None, ancillary: Ancillary::default() };
        state.waiting = Some(part);
        cork.note(&state);
        drop(state);
        assert!(cork.in_use.load(Ordering::Relaxed) && !cork.is_on());
        let mut state = cork.state();
        state.waiting = None;
        cork.note(&state);
        drop(state);
        assert!(!cork.in_use.load(Ordering::Relaxed));
    }
}
