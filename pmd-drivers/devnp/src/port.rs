//! A port in use.

use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;

use dpdk::{EthDev, EthStats, Link, Media, hotplug};
use types::MacAddr;

use crate::error::{DetachError, PortError};
use crate::module::device::ModuleDevice;
use crate::nic;
use crate::queue::{RxQueue, TxQueue};

/// What a port does, so that the stack need not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Fills in the checksum of IPv4 headers.
    pub ipv4_checksum: bool,
    /// Fills in the TCP checksum.
    pub tcp_checksum: bool,
    /// Fills in the UDP checksum.
    pub udp_checksum: bool,
    /// Sends chains of buffers.
    pub multi_segment: bool,
    /// Sends loans of client memory without a copy: it takes chains, and reaches that memory.
    pub loans: bool,
    /// Most buffers of a TCP segment that it cuts by itself; 0: it does not cut.
    pub tso_buffers_max: u16,
    /// The driver would sum in software (`net_tap` does, slowly and over a copy of the headers):
    /// unless `tso=on` its offers are not taken, and the stack sums by itself.
    pub software_checksum: bool,
}

/// Who drives a port.
#[derive(Debug)]
pub(crate) enum Back {
    /// A poll-mode driver of DPDK, with the bus and the device's name.
    Dpdk(EthDev, &'static str, String),
    /// A driver module.
    Module(ModuleDevice),
}

/// An attached, started port.
#[derive(Debug)]
pub struct Port {
    pub(crate) back: Back,
    pub(crate) name: String,
    pub(crate) base: String,
    pub(crate) unit: u32,
    pub(crate) driver: String,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u16,
    /// What the device's own MTU is larger by.
    pub(crate) mtu_less: u16,
    pub(crate) queues: u16,
    pub(crate) capabilities: Capabilities,
    pub(crate) kernel_interface: Option<String>,
    pub(crate) notes: Vec<String>,
    /// It has one queue, which the first worker serves for all.
    pub(crate) shared: bool,
    /// It receives frames for others too.
    pub(crate) promiscuous: bool,
    /// It receives frames for all groups.
    pub(crate) all_multicast: bool,
}

impl Port {
    /// The interface's name, `tap0`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It is called otherwise from now on; its unit stays taken.
    pub fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// The name without its number, and the number: what [`Units`](crate::Units) has.
    #[must_use]
    pub fn unit(&self) -> (&str, u32) {
        (&self.base, self.unit)
    }

    /// The driver's name, `net_tap`.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The stack's address on this port. On a `net_tap` the kernel's end has another one: the same
    /// with the top bit of the second octet flipped.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// The largest IP packet.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Receive queues: as many as workers, if the driver has that many.
    #[must_use]
    pub fn rx_queues(&self) -> u16 {
        self.queues
    }

    /// It has one queue for all workers: the first serves it, and the others send through that.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Transmit queues: the same number.
    #[must_use]
    pub fn tx_queues(&self) -> u16 {
        self.queues
    }

    /// The queue ends of this worker. `None` if they are out, or if the port has fewer queues than
    /// there are workers: the worker then has to pass packets to one that has queues.
    #[must_use]
    pub fn take_queues(&mut self, worker: u16) -> Option<(RxQueue, TxQueue)> {
        match &mut self.back {
            Back::Dpdk(dev, ..) => {
                let rx = dev.rx_queue(worker)?;
                let tx = dev.tx_queue(worker)?;
                Some((RxQueue::Dpdk(rx), TxQueue::Dpdk(tx)))
            }
            Back::Module(module) => {
                let (rx, tx) = module.take_queues(worker)?;
                Some((RxQueue::Module(rx), TxQueue::Module(tx)))
            }
        }
    }

    /// From here on the stack does all of a packet's sums itself and sends it whole: somebody looks at it before the port.
    pub fn send_whole_packets(&mut self) {
        let software_checksum = self.capabilities.software_checksum;
        self.capabilities = Capabilities { software_checksum, ..Capabilities::default() };
    }

    /// A descriptor that is readable while frames wait for this worker, if the driver has one. Poll
    /// it, never read or close it.
    #[must_use]
    pub fn rx_fd(&self, worker: u16) -> Option<RawFd> {
        match &self.back {
            Back::Dpdk(dev, ..) => dev.rx_queue_fd(worker),
            Back::Module(module) => module.rx_fd(worker),
        }
    }

    /// A copy of [`rx_fd`](Self::rx_fd) that the caller owns.
    #[must_use]
    pub fn rx_descriptor(&self, worker: u16) -> Option<OwnedFd> {
        match &self.back {
            Back::Dpdk(dev, ..) => dev.rx_queue_descriptor(worker),
            Back::Module(module) => module.rx_descriptor(worker),
        }
    }

    /// What the port does for the stack.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Its counters.
    ///
    /// # Errors
    /// The driver has none.
    pub fn stats(&self) -> Result<EthStats, PortError> {
        match &self.back {
            Back::Dpdk(dev, ..) => Ok(dev.stats()?),
            Back::Module(module) => Ok(module.stats()),
        }
    }

    /// Its counters by io-pkt's names (`nic_stats`), those that the driver keeps.
    #[must_use]
    pub fn nic_counters(&self) -> Vec<(&'static str, u64)> {
        match &self.back {
            Back::Dpdk(dev, ..) => nic::of_device(&dev.stats().unwrap_or_default(), &dev.xstats()),
            Back::Module(module) => nic::of_module(&module.stats(), module.own_stats().as_ref()),
        }
    }

    /// The state of the wire.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn link(&self) -> Result<Link, PortError> {
        match &self.back {
            Back::Dpdk(dev, ..) => Ok(dev.link()?),
            Back::Module(module) => Ok(module.link()),
        }
    }

    /// Speeds that the wire can have, as far as the driver says.
    #[must_use]
    pub fn media(&self) -> Vec<Media> {
        match &self.back {
            Back::Dpdk(dev, ..) => dev.info().map(|info| info.media).unwrap_or_default(),
            Back::Module(_) => Vec::new(),
        }
    }

    /// Changes the largest IP packet; on a tap, that of the kernel's end too.
    ///
    /// # Errors
    /// Out of the driver's range, or the driver can't while it runs.
    pub fn set_mtu(&mut self, mtu: u16) -> Result<(), PortError> {
        match &mut self.back {
            Back::Dpdk(dev, ..) => dev.set_mtu(mtu.saturating_add(self.mtu_less))?,
            Back::Module(module) => module.set_mtu(mtu).map_err(PortError::Module)?,
        }
        self.mtu = mtu;
        Ok(())
    }

    /// Receives frames for everybody, or only for this port.
    ///
    /// # Errors
    /// The driver can't.
    pub fn set_promiscuous(&mut self, on: bool) -> Result<(), PortError> {
        match &mut self.back {
            Back::Dpdk(dev, ..) => dev.set_promiscuous(on)?,
            Back::Module(module) => module.set_promiscuous(on).map_err(PortError::Module)?,
        }
        self.promiscuous = on;
        Ok(())
    }

    /// Whether it receives frames for others too, and for all groups.
    #[must_use]
    pub fn receives(&self) -> (bool, bool) {
        (self.promiscuous, self.all_multicast)
    }

    /// Changes the stack's address on this port.
    ///
    /// # Errors
    /// The driver can't.
    pub fn set_mac(&mut self, mac: MacAddr) -> Result<(), PortError> {
        match &mut self.back {
            // The driver knows the kernel's end alone; whatever is sent there arrives.
            Back::Dpdk(..) if self.driver == "net_tap" => {}
            Back::Dpdk(dev, ..) => dev.set_mac(mac)?,
            Back::Module(module) => module.set_mac(mac).map_err(PortError::Module)?,
        }
        self.mac = mac;
        Ok(())
    }

    /// Receives frames for all groups, or only for those that concern the port.
    ///
    /// # Errors
    /// The driver can't.
    pub fn set_allmulticast(&mut self, on: bool) -> Result<(), PortError> {
        match &mut self.back {
            Back::Dpdk(dev, ..) => dev.set_allmulticast(on)?,
            Back::Module(module) => module.set_allmulticast(on).map_err(PortError::Module)?,
        }
        self.all_multicast = on;
        Ok(())
    }

    /// Gives a command of its own to the driver; the answer takes the place of the data.
    ///
    /// # Errors
    /// The driver has none (those of DPDK have none), or refuses.
    pub fn command(&mut self, command: u32, data: &mut Vec<u8>) -> Result<(), PortError> {
        match &mut self.back {
            Back::Dpdk(..) => Err(PortError::Module(libc::EOPNOTSUPP)),
            Back::Module(module) => module.command(command, data).map_err(PortError::Module),
        }
    }

    /// The kernel interface on the other end (`net_tap`) or behind the port (`net_af_packet`,
    /// `net_af_xdp`).
    #[must_use]
    pub fn kernel_interface(&self) -> Option<&str> {
        self.kernel_interface.as_deref()
    }

    /// What the operator should know of the attachment, such as options that were ignored.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The module that drives it, if one does.
    #[must_use]
    pub fn module(&self) -> Option<&Path> {
        match &self.back {
            Back::Dpdk(..) => None,
            Back::Module(module) => Some(&module.module().linked.path),
        }
    }

    /// Its driver has failed: the queues do nothing until it is [restarted](Self::restart).
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(&self.back, Back::Module(module) if module.is_halted())
    }

    /// Its device is unplugged.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(&self.back, Back::Module(module) if module.is_removed())
    }

    /// How often its driver has failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        match &self.back {
            Back::Dpdk(..) => 0,
            Back::Module(module) => module.failures(),
        }
    }

    /// Starts the driver again after a failure. All queues must be back.
    ///
    /// # Errors
    /// They are not, or the driver does not start.
    pub fn restart(&mut self) -> Result<(), PortError> {
        match &mut self.back {
            Back::Dpdk(..) => Ok(()),
            Back::Module(module) if module.queues_out() > 0 => Err(PortError::QueuesOut),
            Back::Module(module) => Ok(module.start()?),
        }
    }

    /// Closes the port and removes its device, and whatever is below it. Says which
    /// [units](crate::Units) are free then.
    ///
    /// # Errors
    /// Workers still have queues of it (have them drop those first; the port's handle is gone, but
    /// the port keeps running), or the driver refuses.
    pub fn detach(self) -> Result<Vec<(String, u32)>, DetachError> {
        let mut units = vec![(self.base, self.unit)];
        match self.back {
            Back::Dpdk(dev, bus, device) => {
                dev.close()?;
                hotplug::remove(bus, &device)?;
            }
            Back::Module(module) => {
                if module.queues_out() > 0 {
                    return Err(DetachError::QueuesOut);
                }
                if let Some(lower) = module.close() {
                    units.extend(lower.detach()?);
                }
            }
        }
        Ok(units)
    }
}
