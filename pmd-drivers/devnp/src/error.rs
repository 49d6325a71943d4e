//! Why a port was not attached, and what to do about it.

use std::path::Path;

use dpdk::EthDevError;
use dpdk::hotplug::{ProbeError, RemoveError};

use crate::device::{self, Device};
use crate::module::error::ModuleError;
use crate::spec::SpecError;

/// No port was attached; nothing is left behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The options are wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A module is not used.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// There is no such driver.
    #[error("there is no driver {driver}{}", and(module.as_deref()))]
    UnknownDriver {
        /// As it was looked for.
        driver: String,
        /// Where a module of that name was looked for.
        module: Option<String>,
        /// Drivers that exist and have similar names.
        similar: Vec<String>,
    },
    /// There is no such driver, but the kernel has an interface of that name.
    #[error("there is no driver {interface}, but the kernel has an interface of that name")]
    KernelInterface {
        /// Its name.
        interface: String,
    },
    /// The driver does not take its options.
    #[error("{driver} refuses its options: {reason}")]
    OptionRefused {
        /// The driver.
        driver: String,
        /// The driver's log.
        reason: String,
    },
    /// The kernel does not let this process make the interface.
    #[error("no permission to use {what}: {reason}")]
    NoPermission {
        /// What was to be used.
        what: String,
        /// Who said no.
        reason: String,
    },
    /// The kernel lacks what the driver is made of.
    #[error("{what} does not exist on this machine")]
    NoKernelSupport {
        /// What is missing.
        what: &'static str,
    },
    /// The kernel interface's name is in use for something else.
    #[error("the kernel has an interface {interface} already")]
    InterfaceTaken {
        /// Its name.
        interface: String,
    },
    /// The unit is in use.
    #[error("the interface {name} exists already")]
    UnitTaken {
        /// Its name.
        name: String,
    },
    /// The kernel interface behind the port does not exist.
    #[error("the kernel has no interface {interface}")]
    NoSuchInterface {
        /// Its name; empty if none was given.
        interface: String,
    },
    /// The name can't be one of the kernel's.
    #[error("{interface:?} can't be the name of a kernel interface")]
    BadInterfaceName {
        /// The name.
        interface: String,
    },
    /// A PCI device that no user-space driver has.
    #[error("the PCI device {address} can't be used: {reason}")]
    PciNotBound {
        /// Its address.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// Packets are in memory that the driver's device can't reach.
    #[error(
        "{driver} needs its packets in DPDK's own memory, and `loans` of [quota] puts them elsewhere"
    )]
    OwnMemory {
        /// The driver.
        driver: String,
    },
    /// The device was made, but no port came of it.
    #[error("{device} has no port")]
    NoPort {
        /// The device.
        device: String,
    },
    /// The port does not take its queues or modes.
    #[error("queue set-up failed: {0}")]
    QueueSetup(EthDevError),
    /// The port does not start.
    #[error("start failed: {0}")]
    Start(EthDevError),
    /// The kernel gives no random bytes for an address.
    #[error("no address for the port: the kernel gives no random bytes")]
    NoAddress,
    /// DPDK said no in another way.
    #[error("{0}")]
    Probe(ProbeError),
}

impl AttachError {
    /// What to do next, as one line.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Module(error) => error.help(),
            Self::Spec(_) => "see `io-pkt --help` for the options every driver takes".into(),
            Self::UnknownDriver { similar, .. } if similar.is_empty() => {
                "the drivers are the librte_net_*.so of DPDK's plug-in folder: try tap, pcap, \
                 af_packet, memif, ring or null; on Debian: apt-get install dpdk"
                    .into()
            }
            Self::UnknownDriver { similar, .. } => format!("did you mean {}?", similar.join(", ")),
            Self::KernelInterface { interface } => format!(
                "to be a station at its wire: -d net_af_packet iface={interface},address=198.18.77.2/24"
            ),
            Self::OptionRefused { driver, .. } => {
                let page = driver.strip_prefix("net_").unwrap_or(driver);
                format!("the driver's options: https://doc.dpdk.org/guides-22.11/nics/{page}.html")
            }
            Self::NoPermission { .. } => "run as root, or: setcap \
                 cap_net_admin,cap_net_raw,cap_ipc_lock+ep $(command -v io-pkt)"
                .into(),
            Self::NoKernelSupport { .. } => {
                "modprobe tun; in a container: --device /dev/net/tun".into()
            }
            Self::InterfaceTaken { interface } => {
                // What it is nobody knows here: it may be the host's own way to the world.
                format!(
                    "choose another with iface=NAME; to share that one's frames: -d net_af_packet \
                     iface={interface}"
                )
            }
            Self::UnitTaken { .. } => "leave unit= out, or choose another".into(),
            Self::NoSuchInterface { interface } if interface.is_empty() => {
                "name it: iface=NAME; `ip link` lists them".into()
            }
            Self::NoSuchInterface { interface } => {
                format!("`ip link` lists them; or make one: ip link add {interface} type veth")
            }
            Self::BadInterfaceName { .. } => "use up to 15 letters and digits".into(),
            Self::OwnMemory { .. } => {
                "take loans out of the configuration; ports that can have both: tap, af_packet, \
                 pcap, null, ring, and memif without zero-copy"
                    .into()
            }
            Self::PciNotBound { address, .. } => {
                format!("dpdk-devbind.py --status; dpdk-devbind.py -b vfio-pci {address}")
            }
            Self::Probe(ProbeError::Plugin(error)) => format!("see: ldd {}", error.file.display()),
            Self::NoPort { .. } | Self::Probe(_) | Self::NoAddress => {
                "repeat with DPDK's log: --log-level=debug".into()
            }
            Self::QueueSetup(_) => "ask for fewer workers, a smaller mtu= or a larger pool".into(),
            Self::Start(_) => "see `ip link` for the kernel interface behind the port".into(),
        }
    }

    /// The cause behind DPDK's refusal to make the device.
    pub(crate) fn of_probe(error: ProbeError, device: &Device) -> Self {
        let ProbeError::Refused { reason, .. } = &error else { return Self::Probe(error) };
        let driver = &device.driver;
        if device.bus == "pci" {
            return Self::PciNotBound { address: driver.clone(), reason: reason.clone() };
        }
        // The bus takes only names that begin with a driver's.
        if reason.contains("failed to parse device") || reason.contains("no driver found for") {
            return Self::no_driver(driver, Path::new("/sys/class/net"));
        }
        // The log says it; the number may not: many drivers return a bare -1, which is -EPERM too.
        if names_permission(reason) {
            let what = if driver == "net_tap" { "/dev/net/tun" } else { driver };
            return Self::NoPermission { what: what.into(), reason: reason.clone() };
        }
        Self::OptionRefused { driver: driver.clone(), reason: reason.clone() }
    }

    /// Nothing is called so, unless it is one of the `interfaces` of the kernel.
    fn no_driver(driver: &str, interfaces: &Path) -> Self {
        let interface = driver.strip_prefix("net_").unwrap_or(driver);
        if !interface.contains('/') && interfaces.join(interface).exists() {
            return Self::KernelInterface { interface: interface.into() };
        }
        let similar = device::similar(driver);
        Self::UnknownDriver { driver: driver.into(), module: None, similar }
    }

    /// There is no module of that name either.
    pub(crate) fn or_module(self, looked_for: String) -> Self {
        match self {
            Self::UnknownDriver { driver, similar, .. } => {
                Self::UnknownDriver { driver, module: Some(looked_for), similar }
            }
            other => other,
        }
    }
}

fn and(more: Option<&str>) -> String {
    more.map(|more| format!(", and {more}")).unwrap_or_default()
}

fn names_permission(reason: &str) -> bool {
    ["Operation not permitted", "Permission denied"].iter().any(|text| reason.contains(text))
}

/// The port stays attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetachError {
    /// Workers have its queues.
    #[error("workers still have queues of it")]
    QueuesOut,
    /// Workers have its queues, or the driver does not close it.
    #[error(transparent)]
    Close(#[from] EthDevError),
    /// The port is closed, but the device remains.
    #[error(transparent)]
    Remove(#[from] RemoveError),
}

/// What a port does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// DPDK's driver says no.
    #[error(transparent)]
    EthDev(#[from] EthDevError),
    /// The module says no.
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Module(i32),
    /// The module does not start.
    #[error(transparent)]
    Start(#[from] ModuleError),
    /// Workers have its queues.
    #[error("workers still have queues of it")]
    QueuesOut,
}

impl PortError {
    /// The error number for whoever asked.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::EthDev(error) => error.errno().map_or(libc::EBUSY, |errno| errno.0),
            Self::Module(errno) => *errno,
            Self::Start(_) => libc::EIO,
            Self::QueuesOut => libc::EBUSY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::registry::Modules;

    #[test]
    fn a_kernel_interface_is_no_driver_but_may_be_what_was_meant() {
        let folder = std::env::temp_dir().join(format!("devnp-net-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("v0")).unwrap();
        let meant = AttachError::no_driver("net_v0", &folder);
        assert!(meant.help().contains("net_af_packet iface=v0,address="), "{}", meant.help());
        let unknown = AttachError::no_driver("net_v1", &folder);
        assert!(matches!(unknown, AttachError::UnknownDriver { .. }), "{unknown:?}");
        let modules = Modules::new(vec!["/a".into(), "/b".into()], 0, loader::Alarm::new(|| ()));
        for name in ["v1", "devnp-v1.so", "devn-v1"] {
            let why = unknown.clone().or_module(modules.looked_for(name)).to_string();
            assert_eq!(
                why,
                "there is no driver net_v1, and devnp-v1.so is not in /a:/b, which do not exist"
            );
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn nobody_is_told_to_delete_an_interface() {
        let help = AttachError::InterfaceTaken { interface: "eth0".into() }.help();
        assert!(help.contains("iface=NAME") && !help.contains("delete"), "{help}");
    }
}
