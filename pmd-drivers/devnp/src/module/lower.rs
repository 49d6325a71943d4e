//! A device below a module's: its queues are the module's, and it is no interface of its own.

use core::cell::UnsafeCell;
use core::ffi::c_void;

use devnp_abi as abi;
use dpdk::{Burst, Mbuf};

use crate::module::anchor::Anchor;
use crate::port::Port;
use crate::queue::{RxQueue, TxQueue};

/// One pair of queues below a module's queue.
struct Pair {
    rx: RxQueue,
    tx: TxQueue,
    /// Received, and more than the module asked for.
    held: Burst,
}

/// A port that a module drives. The first field is what the module gets a pointer to.
#[repr(C)]
pub(crate) struct Lower {
    table: abi::Lower,
    pairs: Box<[UnsafeCell<Pair>]>,
    pub(crate) port: Port,
}

// SAFETY: a pair is used only by the thread of the module's queue of the same number, by the
// module's contract; the table is constant, and the port is the control plane's.
unsafe impl Sync for Lower {}

impl Lower {
    /// Takes the port's first `queues` pairs of queues. `None`: it has fewer.
    pub(crate) fn new(mut port: Port, queues: u16) -> Option<Anchor<Self>> {
        let pairs: Option<Vec<_>> = (0..queues)
            .map(|queue| {
                let (rx, tx) = port.take_queues(queue)?;
                Some(UnsafeCell::new(Pair { rx, tx, held: Burst::new() }))
            })
            .collect();
        let up = port.link().is_ok_and(|link| link.up);
        let table = abi::Lower {
            #[expect(clippy::cast_possible_truncation, reason = "40 bytes")]
            size: size_of::<abi::Lower>() as u32,
            queues,
            mtu: port.mtu(),
            mac: port.mac().0,
            up: up.into(),
            reserved: 0,
            rx_burst,
            tx_burst,
            rx_fd,
        };
        Some(Anchor::new(Self { table, pairs: pairs?.into_boxed_slice(), port }))
    }

    /// Gives the queues back and the port out.
    pub(crate) fn into_port(self) -> Port {
        drop(self.pairs);
        self.port
    }
}

impl core::fmt::Debug for Lower {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Lower").field("port", &self.port).finish_non_exhaustive()
    }
}

/// # Safety
/// `lower` came from an [`Anchor`] of a [`Lower`], its interface is not closed, and the calling thread serves
/// this queue.
unsafe fn pair<'a>(lower: *const abi::Lower, queue: u16) -> Option<&'a mut Pair> {
    // SAFETY: by this function's contract the anchor lives; the table is its first field.
    let lower = unsafe { lower.cast::<Lower>().as_ref() }?;
    let pair = lower.pairs.get(usize::from(queue))?;
    // SAFETY: by this function's contract this thread is the pair's only user.
    Some(unsafe { &mut *pair.get() })
}

/// # Safety
/// Both arrays have `count` places, and are not the same.
unsafe fn copy_pointers(from: *const *mut c_void, to: *mut *mut c_void, count: u16) -> u16 {
    // SAFETY: by this function's contract.
    unsafe { to.copy_from_nonoverlapping(from, count.into()) };
    count
}

unsafe extern "C" fn rx_burst(
    lower: *const abi::Lower,
    queue: u16,
    packets: *mut *mut abi::Mbuf,
    count: u16,
) -> u16 {
    // SAFETY: the module calls from the queue's thread with its own pointer.
    let (Some(pair), false) = (unsafe { pair(lower, queue) }, packets.is_null()) else { return 0 };
    if pair.held.is_empty() {
        let _ = pair.rx.rx_burst(&mut pair.held);
    }
    let give = |from: *mut *mut c_void, most: u16| {
        // SAFETY: the burst has `most` pointers, the module has room for `count`.
        unsafe { copy_pointers(from, packets.cast(), most.min(count)) }
    };
    // SAFETY: the module owns what was copied to it, and nothing else was taken.
    let given = unsafe { pair.held.send_with(give) };
    given.ok().and_then(|given| u16::try_from(given).ok()).unwrap_or(0)
}

unsafe extern "C" fn tx_burst(
    lower: *const abi::Lower,
    queue: u16,
    packets: *mut *mut abi::Mbuf,
    count: u16,
) -> u16 {
    // SAFETY: the module calls from the queue's thread with its own pointer.
    let (Some(pair), false) = (unsafe { pair(lower, queue) }, packets.is_null()) else { return 0 };
    let mut burst = Burst::new();
    let take = |to: *mut *mut c_void, most: u16| {
        // SAFETY: the module has `count` pointers, the burst has room for `most`.
        unsafe { copy_pointers(packets.cast(), to, most.min(count)) }
    };
    // SAFETY: the module owns these packets; those that are not sent are forgotten below.
    let Ok(offered) = (unsafe { burst.receive_with(take) }) else {
        forget(burst);
        return 0;
    };
    let sent = pair.tx.tx_burst(&mut burst).min(offered);
    forget(burst);
    u16::try_from(sent).unwrap_or(0)
}

/// What was not sent stays the module's.
fn forget(mut burst: Burst) {
    for mbuf in burst.drain() {
        let _: core::ptr::NonNull<_> = Mbuf::into_foreign(mbuf);
    }
}

unsafe extern "C" fn rx_fd(lower: *const abi::Lower, queue: u16) -> i32 {
    // SAFETY: the module passes its own pointer; the port is only read.
    let lower = unsafe { lower.cast::<Lower>().as_ref() };
    lower.and_then(|lower| lower.port.rx_fd(queue)).unwrap_or(-1)
}
