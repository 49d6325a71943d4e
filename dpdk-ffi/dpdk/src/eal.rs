//! DPDK's environment: started once per process, and the workers on its lcores.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicBool, Ordering};
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::errno::{Errno, check};
use crate::hotplug::{self, ProbeError, RemoveError};
use crate::plugin::{self, PluginError};
use crate::shared_files::SharedFiles;
use crate::{live, log, mempool};

/// Set by the first `init`, whether it succeeded or not: rte_eal_init can't be called again.
static STARTED: AtomicBool = AtomicBool::new(false);

/// The running environment. Neither `Send` nor `Sync`: it belongs to the thread that started it,
/// which is EAL's main lcore.
#[derive(Debug)]
pub struct Eal {
    /// Of files that other processes may use.
    shared_prefix: Option<String>,
    _main_lcore_only: PhantomData<*const ()>,
}

impl Eal {
    /// Starts EAL with these arguments (without the program's name; see
    /// [`EalArgs`](crate::EalArgs)) and makes the calling thread its main lcore.
    ///
    /// # Errors
    /// The second call of a process, an argument with a NUL byte, or whatever EAL refuses.
    pub fn init(args: &[String]) -> Result<Self, EalError> {
        let argv = core::iter::once("io-pkt").chain(args.iter().map(String::as_str));
        let argv = argv.map(CString::new).collect::<Result<Vec<_>, _>>();
        let argv = argv.map_err(|_| EalError::NulByte)?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::SecondStart);
        }
        // EAL keeps pointers into argv and may reorder the array: both live as long as the process.
        let mut pointers: Vec<*mut c_char> = argv.into_iter().map(CString::into_raw).collect();
        pointers.push(core::ptr::null_mut());
        let argc = c_int::try_from(pointers.len() - 1).map_err(|_| EalError::NulByte)?;
        let pointers = pointers.leak().as_mut_ptr();
        log::install();
        plugin::load_core(args)?;
        // SAFETY: argc strings and a terminating null pointer, never freed; no other thread is in
        // EAL because STARTED was clear.
        let (code, text) = log::capture(|| unsafe { dpdk_sys::shim_eal_init(argc, pointers) });
        if code < 0 {
            return Err(EalError::Init { errno: Errno::last(), reason: log::reason(&text) });
        }
        live::set_running(true);
        let is_private = args.iter().any(|arg| ["--in-memory", "--no-shconf"].contains(&&**arg));
        let prefix = args.iter().find_map(|arg| arg.strip_prefix("--file-prefix="));
        let shared_prefix = prefix.filter(|_| !is_private).map(str::to_owned);
        Ok(Self { shared_prefix, _main_lcore_only: PhantomData })
    }

    /// The worker lcores, in order.
    #[must_use]
    pub fn lcores(&self) -> Vec<LcoreId> {
        let mut found = Vec::new();
        let mut last = u32::MAX;
        loop {
            // SAFETY: a walk over a table that does not change after init; u32::MAX (−1) starts it.
            last = unsafe { dpdk_sys::rte_get_next_lcore(last, 1, 0) };
            if last >= dpdk_sys::RTE_MAX_LCORE {
                return found;
            }
            found.push(LcoreId(last));
        }
    }

    /// Runs `f` on a worker lcore, which takes the drivers' signals from then on. A panic in it is caught and reported by [`wait`](Self::wait).
    ///
    /// # Errors
    /// The lcore still runs something (`f` is dropped), or is no worker of this EAL.
    pub fn launch(&self, lcore: LcoreId, f: Box<dyn FnOnce() + Send>) -> Result<(), LaunchError> {
        if !self.lcores().contains(&lcore) {
            return Err(LaunchError::NoSuchLcore { lcore });
        }
        let argument = Box::into_raw(Box::new(f));
        // SAFETY: lcore is a worker; `trampoline` takes back exactly this box, once.
        let code = unsafe {
            dpdk_sys::rte_eal_remote_launch(Some(trampoline), argument.cast::<c_void>(), lcore.0)
        };
        check(code).map(|_| ()).map_err(|errno| {
            // SAFETY: the launch failed, so nobody else took the box made above.
            drop(unsafe { Box::from_raw(argument) });
            LaunchError::Busy { lcore, errno }
        })
    }

    /// Waits until the lcore is idle.
    ///
    /// # Errors
    /// What ran there panicked.
    pub fn wait(&self, lcore: LcoreId) -> Result<(), WorkerPanicked> {
        if !self.lcores().contains(&lcore) {
            return Ok(());
        }
        // SAFETY: called on the main lcore (Eal is not Send) for one of its workers.
        match unsafe { dpdk_sys::rte_eal_wait_lcore(lcore.0) } {
            0 => Ok(()),
            _ => Err(WorkerPanicked { lcore }),
        }
    }

    /// Attaches a device while running: [`hotplug::add`].
    ///
    /// # Errors
    /// See there.
    pub fn hotplug_add(&self, bus: &str, name: &str, args: &str) -> Result<(), ProbeError> {
        hotplug::add(bus, name, args)
    }

    /// Detaches a device: [`hotplug::remove`].
    ///
    /// # Errors
    /// See there.
    pub fn hotplug_remove(&self, bus: &str, name: &str) -> Result<(), RemoveError> {
        hotplug::remove(bus, name)
    }

    /// Lets secondary processes copy the packets of all ports (`dpdk-dumpcap`).
    ///
    /// # Errors
    /// DPDK's library for that is not there.
    pub fn allow_capture(&self) -> Result<(), PluginError> {
        plugin::start_capture()
    }

    /// Whether EAL's memory is hugepages.
    #[must_use]
    pub fn has_hugepages(&self) -> bool {
        // SAFETY: reads a flag that is constant after init.
        unsafe { dpdk_sys::rte_eal_has_hugepages() != 0 }
    }

    /// Gives back what EAL holds. Ending the process without it is fine too: the kernel does the
    /// same, and with the default arguments only an empty folder `/run/dpdk/PREFIX` remains; where other
    /// processes may attach, the files of hugepages would keep the pages.
    ///
    /// # Errors
    /// Something still points into EAL's memory; EAL then keeps running.
    pub fn cleanup(self) -> Result<(), CleanupError> {
        if let Some(lcore) = self.lcores().into_iter().find(|&lcore| is_busy(lcore)) {
            return Err(CleanupError::WorkerRuns { lcore });
        }
        let folder = runtime_folder();
        if let Some(prefix) = &self.shared_prefix {
            // Nobody is to attach any more, whether or not EAL can be ended here.
            SharedFiles::mapped(prefix).remove(&folder);
        }
        let _control = live::control();
        live::set_running(false);
        let busy = match (live::handles(), mempool::mbufs_in_use()) {
            (0, 0) => None,
            (0, count) => Some(CleanupError::MbufsInUse { count }),
            (count, _) => Some(CleanupError::HandlesInUse { count }),
        };
        if let Some(error) = busy {
            live::set_running(true);
            return Err(error);
        }
        mempool::forget_all();
        // SAFETY: no handle and no packet buffer exists, workers are idle, and the cleared flag
        // keeps new handles from being made: the pointers that dangle from here on are unused.
        let code = unsafe { dpdk_sys::rte_eal_cleanup() };
        // Fails, and should, if another process of this prefix has files there.
        let _ = fs::remove_dir(folder);
        check(code).map(|_| ()).map_err(CleanupError::Eal)
    }
}

/// Where EAL has its files.
fn runtime_folder() -> PathBuf {
    // SAFETY: EAL is initialised; takes nothing.
    let folder = unsafe { dpdk_sys::rte_eal_get_runtime_dir() };
    // SAFETY: a C string in static memory.
    let folder = unsafe { CStr::from_ptr(folder) };
    PathBuf::from(OsStr::from_bytes(folder.to_bytes()))
}

/// EAL starts once per process: all tests of this crate share it.
#[cfg(test)]
pub(crate) fn start_for_tests() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let args = crate::EalArgs::new(&format!("dpdk-test-{}", std::process::id()));
        let memory = crate::Memory::Ordinary { mib: 64 };
        let _runs_to_the_end = Eal::init(&args.memory(memory).to_vec()).unwrap();
    });
}

fn is_busy(lcore: LcoreId) -> bool {
    // SAFETY: reads the state of a worker lcore of this process.
    unsafe { dpdk_sys::rte_eal_get_lcore_state(lcore.0) != dpdk_sys::WAIT }
}

/// What EAL calls on the worker: 0, or 1 after a panic.
unsafe extern "C" fn trampoline(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` leaked exactly such a box for this one call.
    let f = unsafe { Box::from_raw(argument.cast::<Box<dyn FnOnce() + Send>>()) };
    crate::signals::take();
    // The closure is consumed whatever happens, so nothing broken can be seen afterwards.
    c_int::from(catch_unwind(AssertUnwindSafe(f)).is_err())
}

/// DPDK's version as the linked library says it, `22.11.11`.
#[must_use]
pub fn version() -> String {
    // SAFETY: returns a static C string and needs no environment.
    let text = unsafe { dpdk_sys::rte_version() };
    // SAFETY: as above; the string ends with NUL and lives as long as the process.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    text.trim_start_matches("DPDK ").to_owned()
}

/// The number EAL gave to one of its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcoreId(u32);

impl LcoreId {
    /// As a number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lcore {}", self.0)
    }
}

/// EAL did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EalError {
    /// An argument can't be a C string.
    #[error("an EAL argument contains a NUL byte")]
    NulByte,
    /// EAL starts once per process, even if the first start failed.
    #[error("EAL was started already in this process; start a new process")]
    SecondStart,
    /// A plug-in without which nothing works.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// EAL refused.
    #[error(
        "DPDK did not start: {reason} ({errno}); without hugepages start with ordinary memory \
         (--no-huge), or: echo 64 > /proc/sys/vm/nr_hugepages"
    )]
    Init {
        /// Its error number.
        errno: Errno,
        /// Its log.
        reason: String,
    },
}

/// Nothing was started on the lcore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// Not one of [`Eal::lcores`].
    #[error("{lcore} is not a worker of this EAL; see Eal::lcores")]
    NoSuchLcore {
        /// The one asked for.
        lcore: LcoreId,
    },
    /// It runs something else.
    #[error("{lcore} is busy ({errno}); wait for it first")]
    Busy {
        /// The one asked for.
        lcore: LcoreId,
        /// DPDK's word for it.
        errno: Errno,
    },
}

/// What ran on the lcore ended in a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker on {lcore} panicked; its message is on standard error")]
pub struct WorkerPanicked {
    /// Where.
    pub lcore: LcoreId,
}

/// EAL keeps running.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CleanupError {
    /// A worker has not returned.
    #[error("{lcore} still runs; wait for it first")]
    WorkerRuns {
        /// Which.
        lcore: LcoreId,
    },
    /// Pools, ports, queues or regions are still held.
    #[error("{count} DPDK handles are still held; drop them first")]
    HandlesInUse {
        /// How many.
        count: usize,
    },
    /// Packet buffers are still out.
    #[error("{count} packet buffers are still in use; drop them and close the ports first")]
    MbufsInUse {
        /// How many.
        count: usize,
    },
    /// DPDK reports.
    #[error("rte_eal_cleanup: {0}")]
    Eal(Errno),
}
