//! `pthread_cancel`: calls on a stack's sockets are cancellation points (POSIX 2.9.5).
//!
//! libc acts upon a cancellation within its own system calls, and unwinds whatever is on the stack there.
//! Ours must not be unwound: it holds locks that other processes wait for. So a thread says that it is in a call,
//! and `pthread_cancel` interrupts it, again and again, until it has left. When nothing of ours is on its stack
//! any more it asks libc, which ends it if it is to be ended, before and after a call.
//!
//! A call that has done something returns that, and the cancellation acts at the next one.

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use libc::{c_int, c_ulong, c_void, pthread_t};

use iopkt::pause;

use crate::next::call_next;

/// The signal that libc keeps for this: no program can block it, and libc's handler does nothing in a
/// thread that is cancelled at certain points only.
const SIGCANCEL: c_int = 32;

/// A thread in a call is interrupted so often: it may be on its way into the kernel.
const TRIES: u32 = 10_000;
const PAUSE: Duration = Duration::from_micros(100);

unsafe extern "C-unwind" {
    /// Ends the calling thread by unwinding, if it is to be ended.
    safe fn pthread_testcancel();
}

/// A thread that makes calls. These are never freed, so that they can be looked through at any time; one
/// whose thread has ended is another thread's later.
pub(crate) struct Caller {
    /// Its `pthread_t`; 0: it is free.
    thread: AtomicUsize,
    /// Its number in the kernel.
    number: AtomicI32,
    /// Odd within a call.
    calls: AtomicU32,
    /// It was cancelled within the call.
    cancelled: AtomicBool,
    next: AtomicPtr<Self>,
}

impl Caller {
    fn is_in_a_call(&self) -> bool {
        !self.calls.load(Ordering::SeqCst).is_multiple_of(2)
    }

    /// Its thread is there no more.
    fn free(&self) {
        // A thread that was ended within a call has not left it.
        if self.is_in_a_call() {
            let _ = self.calls.fetch_add(1, Ordering::SeqCst);
        }
        self.thread.store(0, Ordering::Release);
    }
}

static CALLERS: AtomicPtr<Caller> = AtomicPtr::new(ptr::null_mut());

/// The thread's own, given back when it ends.
struct Mine(Cell<Option<&'static Caller>>);

impl Drop for Mine {
    fn drop(&mut self) {
        KNOWN.set(None);
        if let Some(caller) = self.0.take() {
            caller.free();
        }
    }
}

thread_local! {
    static MINE: Mine = const { Mine(Cell::new(None)) };
    /// The same once more, without anything to drop: any thread, in any state, may ask.
    static KNOWN: Cell<Option<&'static Caller>> = const { Cell::new(None) };
}

fn callers() -> impl Iterator<Item = &'static Caller> {
    let at = |pointer: *mut Caller| {
        // SAFETY: the list's pointers are null or lead to leaked boxes.
        unsafe { pointer.as_ref() }
    };
    let first = at(CALLERS.load(Ordering::Acquire));
    core::iter::successors(first, move |caller| at(caller.next.load(Ordering::Acquire)))
}

/// This thread's. `None`: it is ending, and nobody cancels it any more.
fn mine() -> Option<&'static Caller> {
    MINE.try_with(|mine| match mine.0.get() {
        Some(caller) => caller,
        None => {
            let caller = claim();
            mine.0.set(Some(caller));
            KNOWN.set(Some(caller));
            caller
        }
    })
    .ok()
}

/// Its `pthread_t`, which is an address, and its number in the kernel.
fn this_thread() -> (usize, i32) {
    // SAFETY: no pointers.
    let me = unsafe { libc::pthread_self() };
    // SAFETY: no pointers.
    let number = unsafe { libc::gettid() };
    (usize::try_from(me).unwrap_or(usize::MAX), number)
}

fn claim() -> &'static Caller {
    let (me, number) = this_thread();
    let take = |caller: &&Caller| {
        caller.thread.compare_exchange(0, me, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    };
    if let Some(caller) = callers().find(take) {
        caller.number.store(number, Ordering::Release);
        return caller;
    }
    let caller: &'static Caller = Box::leak(Box::new(Caller {
        thread: AtomicUsize::new(me),
        number: AtomicI32::new(number),
        calls: AtomicU32::new(0),
        cancelled: AtomicBool::new(false),
        next: AtomicPtr::default(),
    }));
    let mut first = CALLERS.load(Ordering::Acquire);
    loop {
        caller.next.store(first, Ordering::Relaxed);
        let new = ptr::from_ref(caller).cast_mut();
        match CALLERS.compare_exchange(first, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return caller,
            Err(other) => first = other,
        }
    }
}

/// Has each forked child set right what it has copied. To be called once, while there is one thread.
pub(crate) fn follow_forks() {
    // SAFETY: the handler stores numbers. Should registering fail (no memory), a child's threads are not
    // interrupted.
    let _ = unsafe { libc::pthread_atfork(None, None, Some(born)) };
}

/// In a forked child, whose only thread is the one that has forked, under another number.
extern "C" fn born() {
    let (me, number) = this_thread();
    for caller in callers() {
        if caller.thread.load(Ordering::Relaxed) == me {
            caller.number.store(number, Ordering::Relaxed);
        } else {
            caller.free();
        }
    }
}

/// A call begins. `None`: it is no point of cancellation, since it is made by a handler of a signal that has
/// come within another call, whose frames must not be unwound.
pub(crate) fn begin() -> Option<&'static Caller> {
    let caller = mine().filter(|caller| !caller.is_in_a_call())?;
    caller.cancelled.store(false, Ordering::Relaxed);
    // Whoever cancels does the reverse: first libc's mark, then a look at the number.
    let _ = caller.calls.fetch_add(1, Ordering::SeqCst);
    Some(caller)
}

/// A call is over. True: it was interrupted because its thread is to be ended.
pub(crate) fn end(caller: Option<&'static Caller>) -> bool {
    let Some(caller) = caller else { return false };
    let _ = caller.calls.fetch_add(1, Ordering::SeqCst);
    caller.cancelled.load(Ordering::Acquire)
}

/// Is this thread in a call of ours? What it does with libc there must be no point of cancellation.
pub(crate) fn is_in_a_call() -> bool {
    KNOWN.get().is_some_and(Caller::is_in_a_call)
}

/// Ends this thread, if it is to be ended. Nothing that has to be dropped may be on the stack.
pub(crate) extern "C-unwind" fn act() {
    pthread_testcancel();
}

/// Makes a call of ours as a cancellation point. A thread that can't be cancelled now goes on as if it had
/// not been interrupted.
macro_rules! cancellable {
    ($call:expr) => {
        loop {
            let caller = $crate::cancel::begin();
            if caller.is_some() {
                $crate::cancel::act();
            }
            let result = $call;
            let interrupted = $crate::cancel::end(caller);
            if !interrupted || result >= 0 || iopkt::errno() != libc::EINTR {
                break result;
            }
            $crate::cancel::act();
        }
    };
}
pub(crate) use cancellable;

/// `pthread_cancel(3)`.
///
/// # Safety
/// As for the C call.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn pthread_cancel(thread: pthread_t) -> c_int {
    let result = call_next!(pthread_cancel(thread => pthread_t) -> c_int);
    if result == 0 {
        interrupt(thread);
    }
    result
}

/// Interrupts a thread that is in a call of ours, until it has left it.
fn interrupt(thread: pthread_t) {
    let wanted = usize::try_from(thread).unwrap_or(usize::MAX);
    let Some(caller) = callers().find(|c| c.thread.load(Ordering::Acquire) == wanted) else {
        return;
    };
    let calls = caller.calls.load(Ordering::SeqCst);
    let number = caller.number.load(Ordering::Acquire);
    // SAFETY: no pointers.
    let is_me = unsafe { libc::gettid() } == number;
    if is_me || calls.is_multiple_of(2) || !interrupts() {
        return;
    }
    caller.cancelled.store(true, Ordering::Release);
    for _ in 0..TRIES {
        let is_there = caller.thread.load(Ordering::Acquire) == wanted;
        if !is_there || caller.calls.load(Ordering::SeqCst) != calls {
            return;
        }
        // SAFETY: no pointers. A thread in a call has not ended, and the signal does nothing to others.
        let _ = unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), number, SIGCANCEL) };
        pause(PAUSE);
    }
}

/// `struct sigaction` as the kernel has it.
#[repr(C)]
#[derive(Default)]
struct KernelAction {
    handler: usize,
    flags: c_ulong,
    restorer: usize,
    mask: u64,
}

/// Sees to it that the signal interrupts calls rather than restarts them. False: libc has no handler for it,
/// and it would end the process.
fn interrupts() -> bool {
    let restart = c_ulong::try_from(libc::SA_RESTART).unwrap_or(0);
    let mut action = KernelAction::default();
    let (place, none): (*mut c_void, *mut c_void) = ((&raw mut action).cast(), ptr::null_mut());
    let size = size_of::<u64>();
    // SAFETY: the kernel writes its `struct sigaction`, whose mask has this size.
    let known = unsafe { libc::syscall(libc::SYS_rt_sigaction, SIGCANCEL, none, place, size) } == 0;
    if !known || action.handler <= libc::SIG_IGN {
        return false;
    }
    if action.flags & restart != 0 {
        let action = KernelAction { flags: action.flags & !restart, ..action };
        let place: *const KernelAction = &raw const action;
        // SAFETY: what the kernel has just written, but for a flag.
        let _ = unsafe { libc::syscall(libc::SYS_rt_sigaction, SIGCANCEL, place, none, size) };
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// What a child finds wrong, as its exit code.
    fn wrong_in_a_child(own: &Caller, others: &Caller) -> c_int {
        let (me, number) = this_thread();
        let is_own = own.thread.load(Ordering::Relaxed) == me
            && own.number.load(Ordering::Relaxed) == number;
        let is_free = others.thread.load(Ordering::Relaxed) == 0 && !others.is_in_a_call();
        c_int::from(!is_own) + 2 * c_int::from(!is_free)
    }

    unsafe extern "C" {
        safe fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
    }

    #[test]
    fn a_descriptor_closed_within_a_call_does_not_end_the_thread() {
        const DISABLE: c_int = 1;
        let thread = thread::spawn(|| {
            let file = std::fs::File::open("/dev/null").unwrap();
            let caller = begin();
            // SAFETY: no pointers.
            let me = unsafe { libc::pthread_self() };
            // SAFETY: it is there.
            assert_eq!(unsafe { libc::pthread_cancel(me) }, 0);
            drop(file);
            let _ = end(caller);
            pthread_setcancelstate(DISABLE, ptr::null_mut())
        });
        assert_eq!(thread.join().unwrap(), 0);
    }

    #[test]
    fn a_forked_child_has_one_caller_under_its_own_number() {
        let own = mine().unwrap();
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            let caller = begin();
            tell.send(caller.unwrap()).unwrap();
            let _closed = ended.recv();
            let _ = super::end(caller);
        });
        let others = told.recv().unwrap();
        // SAFETY: the child reads numbers and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let wrong = wrong_in_a_child(own, others);
            // SAFETY: ends the child.
            unsafe { libc::_exit(wrong) };
        }
        let mut status = -1;
        // SAFETY: room for a status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "in the child");
        assert!(others.is_in_a_call());
        drop(end);
        other.join().unwrap();
    }
}
