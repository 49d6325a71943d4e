//! Answers that a module gives to a request of a path later, from any of its threads.

use core::ffi::c_void;
use core::slice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use lsm_abi as abi;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::host;

/// What a request has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Late {
    pub(crate) handle: u64,
    pub(crate) result: Result<Vec<u8>, Errno>,
}

/// What the thread of a module's paths has to look at besides its sockets.
#[derive(Debug)]
pub(crate) struct Answers {
    waiting: Mutex<Waiting>,
    bell: OwnedFd,
}

#[derive(Debug, Default)]
struct Waiting {
    answers: Vec<Late>,
    end: bool,
}

impl Answers {
    pub(crate) fn new() -> Result<Self, Errno> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { waiting: Mutex::default(), bell })
    }

    /// Readable when there is something to look at.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        // A full counter has rung.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// A request is answered.
    pub(crate) fn push(&self, late: Late) {
        self.change(|waiting| waiting.answers.push(late));
    }

    /// The paths go.
    pub(crate) fn end(&self) {
        self.change(|waiting| waiting.end = true);
    }

    /// What has come since; `None`: the end.
    pub(crate) fn take(&self) -> Option<Vec<Late>> {
        // It has not rung.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = core::mem::take(&mut waiting.answers);
        (!waiting.end).then_some(answers)
    }
}

pub(crate) unsafe extern "C" fn path_answer(
    of: *const abi::Host,
    handle: u64,
    result: i32,
    data: *const c_void,
    len: usize,
) {
    // SAFETY: the module passes the pointer that it was opened with.
    let Some(host) = (unsafe { host::host(of) }) else { return };
    let result = if result < 0 {
        Err(Errno::from_raw_os_error(result.saturating_neg().clamp(1, 4095)))
    } else if data.is_null() || len == 0 {
        Ok(Vec::new())
    } else if len > abi::PATH_BYTES_MAX as usize {
        Err(Errno::MSGSIZE)
    } else {
        // SAFETY: the module has that many bytes there during this call.
        Ok(unsafe { slice::from_raw_parts(data.cast::<u8>(), len) }.to_vec())
    };
    host.answers.push(Late { handle, result });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_in_order_until_the_end() {
        let answers = Answers::new().unwrap();
        let late = |handle| Late { handle, result: Ok(vec![1]) };
        answers.push(late(1));
        answers.push(late(2));
        assert_eq!(answers.take(), Some(vec![late(1), late(2)]));
        assert_eq!(answers.take(), Some(Vec::new()));
        answers.push(late(3));
        answers.end();
        assert_eq!(answers.take(), None);
    }
}
