//! Ethernet ports.
//!
//! ```text
//!  by_name ─> EthDev ─ configure ─ setup_rx/tx ─ start ─> rx_queue(q), tx_queue(q) ─> one worker each
//!               │                                                │ dropped by the worker
//!               └─ stop, configure, close: refused until all ────┘ queues are back
//! ```

mod config;
mod error;
mod kernel_interface;
mod packet_socket;
mod port;
mod queue;

use core::cell::Cell;
use core::ffi::{CStr, c_char};
use core::marker::PhantomData;
use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use types::MacAddr;

use crate::errno::check;
use crate::limits::{PORTS_MAX, QUEUES_MAX};
use crate::live::{self, Live};
use crate::log;
use crate::mempool::Mempool;
use crate::offload::{RxOffloads, TxOffloads};

pub use config::{EthDevConfig, EthDevInfo, EthStats, Link, Media};
pub use error::EthDevError;
use kernel_interface::KernelInterface;
use port::{Direction, state};
pub(crate) use port::{forget, ports_to_remove};
pub use queue::{RxQueue, TxQueue};

/// The one owner of a port: its control plane. Dropping it leaves the port as it is; it can be
/// taken again [`by_name`](Self::by_name).
#[derive(Debug)]
pub struct EthDev {
    port: u16,
    name: String,
    /// That of a driver that does not ask how its link is.
    kernel_interface: Option<KernelInterface>,
    _live: Live,
    /// DPDK's control calls on one port are not for two threads at a time.
    _not_sync: PhantomData<Cell<()>>,
}

impl EthDev {
    /// Takes the port of this name (`net_tap0`, `0000:03:00.0`). `None` if there is none, if it is
    /// held already, or if EAL is not running.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let live = Live::new()?;
        let c_name = CString::new(name).ok()?;
        let _control = live::control();
        let mut port = 0;
        // SAFETY: EAL runs; a C string and a place for the answer.
        let code =
            unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &raw mut port) };
        if code != 0 {
            return None;
        }
        Self::claim(port, live)
    }

    /// Takes all ports that nobody holds.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let _control = live::control();
        let mut found = Vec::new();
        let mut next = 0;
        while usize::from(next) < PORTS_MAX {
            let Some(live) = Live::new() else { break };
            // SAFETY: EAL runs; walks DPDK's table of ports under the control lock.
            let port = unsafe { dpdk_sys::rte_eth_find_next(next) };
            found.extend(Self::claim(port, live));
            next = port.saturating_add(1);
        }
        found
    }

    /// DPDK's number of the port: what [`Mbuf::port`](crate::Mbuf::port) says.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// DPDK's name of the port.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the driver offers.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn info(&self) -> Result<EthDevInfo, EthDevError> {
        let mut raw = dpdk_sys::rte_eth_dev_info::default();
        // SAFETY: the port exists while self holds it; a place for the answer.
        let code = unsafe { dpdk_sys::rte_eth_dev_info_get(self.port, &raw mut raw) };
        self.check("say what it offers", code, "")?;
        let driver = (!raw.driver_name.is_null()).then(|| {
            // SAFETY: a driver's name is a static C string.
            unsafe { CStr::from_ptr(raw.driver_name) }.to_string_lossy().into_owned()
        });
        // SAFETY: reads one integer of the port's data.
        let numa = unsafe { dpdk_sys::rte_eth_dev_socket_id(self.port) };
        Ok(EthDevInfo {
            driver: driver.unwrap_or_default(),
            max_rx_queues: raw.max_rx_queues.min(QUEUES_MAX),
            max_tx_queues: raw.max_tx_queues.min(QUEUES_MAX),
            rx_offloads: RxOffloads::from_bits_truncate(raw.rx_offload_capa),
            tx_offloads: TxOffloads::from_bits_truncate(raw.tx_offload_capa),
            tx_buffers_max: raw.tx_desc_lim.nb_seg_max,
            min_mtu: raw.min_mtu,
            max_mtu: raw.max_mtu,
            if_index: (raw.if_index != 0).then_some(raw.if_index),
            numa: u32::try_from(numa).ok(),
            rss_types: raw.flow_type_rss_offloads,
            media: Media::from_bits(raw.speed_capa),
        })
    }

    /// Sets the numbers of queues and the port's modes. The port must be stopped.
    ///
    /// # Errors
    /// Queues are out, or the driver refuses.
    pub fn configure(&mut self, config: &EthDevConfig) -> Result<(), EthDevError> {
        self.require_queues_back()?;
        let info = self.info()?;
        let raw = config.to_raw(&info);
        let (rx, tx) = (config.rx_queues.min(QUEUES_MAX), config.tx_queues.min(QUEUES_MAX));
        let (code, text) = log::capture(|| {
            // SAFETY: self holds the port and no queue of it is out; DPDK copies the configuration.
            unsafe { dpdk_sys::rte_eth_dev_configure(self.port, rx, tx, &raw const raw) }
        });
        self.check("be configured", code, &text)?;
        if let Some(state) = state(self.port) {
            state.set_queues(rx, tx);
        }
        Ok(())
    }

    /// Gives receive queue `q` about `descriptors` descriptors and the pool it fills buffers from.
    ///
    /// # Errors
    /// Queues are out, or the driver refuses.
    pub fn setup_rx(
        &mut self,
        q: u16,
        descriptors: u16,
        pool: &Mempool,
    ) -> Result<(), EthDevError> {
        self.require_queues_back()?;
        let (descriptors, _) = self.adjust(descriptors, 0);
        let numa = self.numa();
        let (code, text) = log::capture(|| {
            // SAFETY: as in `configure`; a null configuration means the driver's default, and the
            // pool lives until EAL is cleaned up.
            unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(
                    self.port,
                    q,
                    descriptors,
                    numa,
                    core::ptr::null(),
                    pool.as_ptr(),
                )
            }
        });
        self.check("set up a receive queue", code, &text)
    }

    /// Gives transmit queue `q` about `descriptors` descriptors.
    ///
    /// # Errors
    /// Queues are out, or the driver refuses.
    pub fn setup_tx(&mut self, q: u16, descriptors: u16) -> Result<(), EthDevError> {
        self.require_queues_back()?;
        let (_, descriptors) = self.adjust(0, descriptors);
        let numa = self.numa();
        let (code, text) = log::capture(|| {
            // SAFETY: as in `setup_rx`.
            unsafe {
                dpdk_sys::rte_eth_tx_queue_setup(self.port, q, descriptors, numa, core::ptr::null())
            }
        });
        self.check("set up a transmit queue", code, &text)
    }

    /// Starts the port: from now on queues are handed out.
    ///
    /// # Errors
    /// Queues are out, or the driver refuses.
    pub fn start(&mut self) -> Result<(), EthDevError> {
        self.require_queues_back()?;
        let (code, text) = log::capture(|| {
            // SAFETY: self holds the port and no queue of it is out.
            unsafe { dpdk_sys::rte_eth_dev_start(self.port) }
        });
        self.check("start", code, &text)?;
        if let Some(state) = state(self.port) {
            state.set_started(true);
        }
        Ok(())
    }

    /// Stops the port.
    ///
    /// # Errors
    /// Queues are out, or the driver refuses.
    pub fn stop(&mut self) -> Result<(), EthDevError> {
        self.require_queues_back()?;
        if let Some(state) = state(self.port) {
            state.set_started(false);
        }
        let (code, text) = log::capture(|| {
            // SAFETY: self holds the port, no queue of it is out, and none is handed out any more.
            unsafe { dpdk_sys::rte_eth_dev_stop(self.port) }
        });
        self.check("stop", code, &text)
    }

    /// Stops and closes the port: it ceases to exist; [`hotplug::remove`](crate::hotplug::remove)
    /// then removes its device.
    ///
    /// # Errors
    /// Queues are out (the port stays; take it again by name), or the driver refuses.
    pub fn close(mut self) -> Result<(), EthDevError> {
        self.require_queues_back()?;
        if state(self.port).is_some_and(port::PortState::is_started) {
            self.stop()?;
        }
        let _control = live::control();
        let (code, text) = log::capture(|| {
            // SAFETY: self holds the port, it is stopped, no queue of it is out; the control lock
            // keeps it from being looked up meanwhile.
            unsafe { dpdk_sys::rte_eth_dev_close(self.port) }
        });
        forget(&[self.port]);
        self.check("close", code, &text)
    }

    /// Takes receive queue `q`: `None` if it is out, not configured, or the port is not started.
    #[must_use]
    pub fn rx_queue(&mut self, q: u16) -> Option<RxQueue> {
        RxQueue::take(self.port, q)
    }

    /// Takes transmit queue `q`: `None` if it is out, not configured, or the port is not started.
    #[must_use]
    pub fn tx_queue(&mut self, q: u16) -> Option<TxQueue> {
        TxQueue::take(self.port, q)
    }

    /// A descriptor that is readable while frames wait in receive queue `q`, if the driver has one
    /// and the port was configured with `rx_interrupts`. It belongs to the driver: poll it, never
    /// read or close it.
    ///
    /// Measured with `net_tap` of DPDK 22.11: in 2000 of 2000 rounds the descriptor became readable
    /// (level-triggered) and the first `rx_burst` after it had the frame; 200 waiting frames came
    /// in 7 bursts. That driver looks at the descriptor only after a signal (`SIGRTMAX` − n, one per
    /// frame, sent to the process): if this thread blocks it, another must not, and the frame comes
    /// when that one ran (4 ms); system calls of any thread may return `EINTR`. `net_af_packet` has none to
    /// give, and needs no `rx_interrupts`: its queue's packet socket is looked for, and this may be a copy of it. When
    /// its interface goes down, it reports an error until somebody asks which.
    #[must_use]
    pub fn rx_queue_fd(&self, q: u16) -> Option<RawFd> {
        if !state(self.port)?.has_queue(Direction::Rx, q) {
            return None;
        }
        let (fd, _) = log::capture(|| {
            // SAFETY: the port and its queue exist; returns an integer.
            unsafe { dpdk_sys::rte_eth_dev_rx_intr_ctl_q_get_fd(self.port, q) }
        });
        if fd >= 0 {
            return Some(fd);
        }
        let info = self.info().ok().filter(|info| info.driver == "net_af_packet")?;
        packet_socket::of_queue(info.if_index?, q, info.max_rx_queues)
    }

    /// A copy of [`rx_queue_fd`](Self::rx_queue_fd) that the caller owns: poll it, never read it.
    #[must_use]
    pub fn rx_queue_descriptor(&self, q: u16) -> Option<OwnedFd> {
        let fd = self.rx_queue_fd(q)?;
        // SAFETY: the driver keeps the descriptor open while the port is started, which it is: the
        // borrow of `self` ends after the copy is made.
        unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().ok()
    }

    fn claim(port: u16, live: Live) -> Option<Self> {
        let mut name = [0 as c_char; dpdk_sys::RTE_ETH_NAME_MAX_LEN as usize];
        // SAFETY: EAL runs; the array has the length DPDK asks for.
        if unsafe { dpdk_sys::rte_eth_dev_get_name_by_port(port, name.as_mut_ptr()) } != 0 {
            return None;
        }
        // SAFETY: DPDK wrote a C string into the array.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        if !state(port)?.claim() {
            return None;
        }
        let mut dev =
            Self { port, name, kernel_interface: None, _live: live, _not_sync: PhantomData };
        dev.kernel_interface = dev.info().ok().as_ref().and_then(KernelInterface::under);
        Some(dev)
    }

    /// The numbers of descriptors that the driver takes, near the ones wanted.
    fn adjust(&self, mut rx: u16, mut tx: u16) -> (u16, u16) {
        // SAFETY: the port exists; two places that DPDK reads and writes. A failure leaves them.
        let _ = unsafe {
            dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.port, &raw mut rx, &raw mut tx)
        };
        (rx, tx)
    }

    /// The port's NUMA node as DPDK's functions want it: all bits set for any.
    fn numa(&self) -> u32 {
        // SAFETY: reads one integer of the port's data.
        unsafe { dpdk_sys::rte_eth_dev_socket_id(self.port) }.cast_unsigned()
    }

    fn require_queues_back(&self) -> Result<(), EthDevError> {
        let out = state(self.port).map_or(0, port::PortState::queues_out);
        if out == 0 {
            return Ok(());
        }
        Err(EthDevError::QueuesOut { port: self.name.clone(), count: out })
    }

    fn check(&self, action: &'static str, code: i32, text: &str) -> Result<(), EthDevError> {
        check(code).map(|_| ()).map_err(|errno| EthDevError::Refused {
            port: self.name.clone(),
            action,
            errno,
            reason: log::reason(text),
        })
    }
}

impl EthDev {
    /// Counters since start or [`reset_stats`](Self::reset_stats).
    ///
    /// # Errors
    /// The driver has none.
    pub fn stats(&self) -> Result<EthStats, EthDevError> {
        let mut raw = dpdk_sys::rte_eth_stats::default();
        // SAFETY: the port exists; a place for the answer.
        let code = unsafe { dpdk_sys::rte_eth_stats_get(self.port, &raw mut raw) };
        self.check("count", code, "")?;
        Ok(EthStats::from_raw(&raw))
    }

    /// Counters that only this driver has, by its names; none if it does not say.
    #[must_use]
    pub fn xstats(&self) -> Vec<(String, u64)> {
        // SAFETY: the port exists; without a place for it the answer is the number of counters.
        let count =
            unsafe { dpdk_sys::rte_eth_xstats_get_names(self.port, core::ptr::null_mut(), 0) };
        let Ok(len) = usize::try_from(count) else { return Vec::new() };
        let mut names = vec![dpdk_sys::rte_eth_xstat_name { name: [0; 64] }; len];
        let mut values = vec![dpdk_sys::rte_eth_xstat::default(); len];
        let room = count.cast_unsigned();
        // SAFETY: the port exists; room for as many names.
        let named =
            unsafe { dpdk_sys::rte_eth_xstats_get_names(self.port, names.as_mut_ptr(), room) };
        // SAFETY: the port exists; room for as many values.
        let valued = unsafe { dpdk_sys::rte_eth_xstats_get(self.port, values.as_mut_ptr(), room) };
        if named != count || valued != count {
            return Vec::new();
        }
        let row = |value: &dpdk_sys::rte_eth_xstat| {
            let name = names.get(usize::try_from(value.id).ok()?)?;
            let bytes = name.name.iter().map(|c| c.cast_unsigned()).take_while(|byte| *byte != 0);
            Some((String::from_utf8(bytes.collect()).ok()?, value.value))
        };
        values.iter().filter_map(row).collect()
    }

    /// Sets the counters to zero.
    ///
    /// # Errors
    /// The driver can't.
    pub fn reset_stats(&mut self) -> Result<(), EthDevError> {
        // SAFETY: the port exists.
        let code = unsafe { dpdk_sys::rte_eth_stats_reset(self.port) };
        self.check("reset its counters", code, "")
    }

    /// The address the driver has for the port.
    ///
    /// # Errors
    /// The driver has none.
    pub fn mac(&self) -> Result<MacAddr, EthDevError> {
        let mut raw = dpdk_sys::rte_ether_addr::default();
        // SAFETY: the port exists; a place for the answer.
        let code = unsafe { dpdk_sys::rte_eth_macaddr_get(self.port, &raw mut raw) };
        self.check("tell its MAC address", code, "")?;
        Ok(MacAddr(raw.addr_bytes))
    }

    /// Sets the port's address.
    ///
    /// # Errors
    /// The driver can't, or the address is none for a port.
    pub fn set_mac(&mut self, mac: MacAddr) -> Result<(), EthDevError> {
        let mut raw = dpdk_sys::rte_ether_addr { addr_bytes: mac.0 };
        let (code, text) = log::capture(|| {
            // SAFETY: the port exists; DPDK copies the address.
            unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(self.port, &raw mut raw) }
        });
        self.check("set its MAC address", code, &text)
    }

    /// Receives frames for everybody, or only for this port.
    ///
    /// # Errors
    /// The driver can't.
    pub fn set_promiscuous(&mut self, on: bool) -> Result<(), EthDevError> {
        let call = if on {
            dpdk_sys::rte_eth_promiscuous_enable
        } else {
            dpdk_sys::rte_eth_promiscuous_disable
        };
        // SAFETY: the port exists; both functions take only its number.
        let (code, text) = log::capture(|| unsafe { call(self.port) });
        self.check("change promiscuous mode", code, &text)
    }

    /// Receives frames for all groups, or only for those joined.
    ///
    /// # Errors
    /// The driver can't.
    pub fn set_allmulticast(&mut self, on: bool) -> Result<(), EthDevError> {
        let call = if on {
            dpdk_sys::rte_eth_allmulticast_enable
        } else {
            dpdk_sys::rte_eth_allmulticast_disable
        };
        // SAFETY: the port exists; both functions take only its number.
        let (code, text) = log::capture(|| unsafe { call(self.port) });
        self.check("change all-multicast mode", code, &text)
    }

    /// The largest IP packet of the port.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn mtu(&self) -> Result<u16, EthDevError> {
        let mut mtu = 0;
        // SAFETY: the port exists; a place for the answer.
        let code = unsafe { dpdk_sys::rte_eth_dev_get_mtu(self.port, &raw mut mtu) };
        self.check("tell its MTU", code, "")?;
        Ok(mtu)
    }

    /// Sets the largest IP packet. Many NICs want to be stopped for it.
    ///
    /// # Errors
    /// Out of the driver's range, or the driver can't now.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), EthDevError> {
        let (code, text) = log::capture(|| {
            // SAFETY: the port exists; DPDK checks the number.
            unsafe { dpdk_sys::rte_eth_dev_set_mtu(self.port, mtu) }
        });
        self.check("set its MTU", code, &text)
    }

    /// The state of the wire, without waiting for a change in progress. Where a driver says "up" of an interface of the
    /// kernel's whatever has become of it, the kernel is asked.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn link(&self) -> Result<Link, EthDevError> {
        let mut raw = dpdk_sys::rte_eth_link::default();
        // SAFETY: the port exists; a place for the answer.
        let code = unsafe { dpdk_sys::rte_eth_link_get_nowait(self.port, &raw mut raw) };
        self.check("tell its link state", code, "")?;
        let link = Link::from_raw(&raw);
        let runs = self.kernel_interface.as_ref().is_none_or(KernelInterface::runs);
        Ok(Link { up: link.up && runs, ..link })
    }
}

/// Whether DPDK has a port of this name, held or not.
#[must_use]
pub fn port_exists(name: &str) -> bool {
    let (Some(_live), Ok(c_name)) = (Live::new(), CString::new(name)) else { return false };
    let _control = live::control();
    let mut port = 0;
    // SAFETY: EAL runs; a C string and a place for the answer.
    unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &raw mut port) == 0 }
}

impl Drop for EthDev {
    fn drop(&mut self) {
        if let Some(state) = state(self.port) {
            state.release();
        }
    }
}
