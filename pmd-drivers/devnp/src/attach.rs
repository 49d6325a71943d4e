//! From a specification to a running port.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use dpdk::{Eal, EthDev, EthDevConfig, EthDevInfo, Media, Mempool, RxOffloads, TxOffloads};
use types::MacAddr;

use crate::device::{self, Device};
use crate::error::AttachError;
use crate::limits::{DESCRIPTORS, MTU_ONE_BUFFER, TAP_QUEUES_MAX, TAP_TSO_MTU_LESS};
use crate::mac;
use crate::options::{Settings, no_such_option};
use crate::port::{Back, Capabilities, Port};
use crate::spec::DriverSpec;
use crate::units::{Reserved, Units};

/// What a port is attached to.
#[derive(Debug)]
pub struct AttachEnv<'a> {
    /// Workers: the port gets a pair of queues for each, if it has so many.
    pub workers: u16,
    /// The pool that received packets come from.
    pub pool: &'a Mempool,
    /// The one that they come from instead where programs may be shown some, which is not in DPDK's own memory.
    pub shown: Option<&'a Mempool>,
    /// The unit numbers in use; the port's is taken.
    pub units: &'a Units,
}

/// Attaches the port of a DPDK driver that the specification describes and starts it.
///
/// # Errors
/// What went wrong, with a line of [help](AttachError::help); the device is gone again then.
pub fn attach(eal: &Eal, spec: &DriverSpec, env: &AttachEnv<'_>) -> Result<Port, AttachError> {
    let settings = Settings::of(spec)?;
    let random = mac::random().ok_or(AttachError::NoAddress)?;
    let device = plan_device(spec, &settings, settings.mac.unwrap_or(random))?;
    if let Some((option, known)) = device.unknown_option(&settings) {
        let reason = no_such_option(&option, &known);
        return Err(AttachError::OptionRefused { driver: device.driver, reason });
    }
    if env.shown.is_some() && !device.copies_frames() {
        return Err(AttachError::OwnMemory { driver: device.driver });
    }
    check_kernel(&device)?;
    eal.hotplug_add(device.bus, &device.name, &device.args)
        .map_err(|error| AttachError::of_probe(error, &device))?;
    let attached = match EthDev::by_name(&device.name) {
        Some(dev) => set_up(dev, &device, &settings, env, random),
        None => Err(AttachError::NoPort { device: device.name.clone() }),
    };
    if attached.is_err() {
        // The first error is the one to report; what is left of the device is harmless.
        let _ = eal.hotplug_remove(device.bus, &device.name);
    }
    attached
}

/// The device to make. Virtual devices get the first number that no port of DPDK has.
fn plan_device(
    spec: &DriverSpec,
    settings: &Settings,
    stack_mac: MacAddr,
) -> Result<Device, AttachError> {
    if let Some(address) = device::pci_address(&spec.name) {
        return Ok(Device::pci(address, settings));
    }
    let driver = device::driver_name(&spec.name);
    let unit = (0..).find(|unit| !dpdk::port_exists(&format!("{driver}{unit}"))).unwrap_or(0);
    let device = Device::virtual_device(&driver, unit, settings, stack_mac);
    match device.bad_kernel_name() {
        Some(interface) => Err(AttachError::BadInterfaceName { interface: interface.into() }),
        None => Ok(device),
    }
}

/// Looks for what the driver would fail on with a less clear message.
fn check_kernel(device: &Device) -> Result<(), AttachError> {
    let interface = device.kernel_interface.as_deref();
    let folder = interface.map(|name| Path::new("/sys/class/net").join(name));
    let exists = folder.as_deref().is_some_and(Path::exists);
    if device.needs_kernel_interface() && !exists {
        let interface = interface.unwrap_or_default().to_owned();
        return Err(AttachError::NoSuchInterface { interface });
    }
    if device.driver != "net_tap" {
        return Ok(());
    }
    if let (Some(interface), Some(folder)) = (interface, folder)
        && exists
        && !is_idle_tap(&folder)
    {
        return Err(AttachError::InterfaceTaken { interface: interface.into() });
    }
    const TUN: &str = "/dev/net/tun";
    match OpenOptions::new().read(true).write(true).open(TUN) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(AttachError::NoPermission { what: TUN.into(), reason: error.to_string() })
        }
        Err(_) => Err(AttachError::NoKernelSupport { what: TUN }),
    }
}

/// A tap that an administrator made (`ip tuntap add`) for somebody to attach to, and that nobody is
/// attached to: the kernel would let a second process in and share the frames out among both.
fn is_idle_tap(folder: &Path) -> bool {
    const IFF_PERSIST: u32 = 0x0800;
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let flags = read("tun_flags")
        .and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
    let has_carrier = read("carrier").is_some_and(|text| text.trim() == "1");
    flags.is_some_and(|flags| flags & IFF_PERSIST != 0) && !has_carrier
}

fn set_up(
    mut dev: EthDev,
    device: &Device,
    settings: &Settings,
    env: &AttachEnv<'_>,
    random: MacAddr,
) -> Result<Port, AttachError> {
    let info = dev.info().map_err(AttachError::QueueSetup)?;
    let driver = if device.bus == "pci" { info.driver.clone() } else { device.driver.clone() };
    let unit = reserve_unit(&driver, settings, env.units)?;
    let software_checksum = device.driver == "net_tap";
    // The driver hands its descriptors on in a message that holds eight, and writes beyond it.
    let most = if device.driver == "net_tap" { TAP_QUEUES_MAX } else { u16::MAX };
    let queues = env.workers.min(info.max_rx_queues).min(info.max_tx_queues).min(most).max(1);
    let tso = tso_wanted(&info, settings, software_checksum);
    let mut config = choose(&info, queues, settings, software_checksum, tso);
    let pool = env.shown.unwrap_or(env.pool);
    let mut notes: Vec<String> =
        settings.ignored.iter().map(|option| format!("{option} is ignored")).collect();
    config.media = wire(&info.media, settings, &mut notes);
    configure(&mut dev, &config, settings, pool)?;
    if dev.start().is_err() {
        // Some drivers start only without receive interrupts.
        config.rx_interrupts = false;
        configure(&mut dev, &config, settings, pool)?;
        dev.start().map_err(AttachError::Start)?;
    }
    let mtu_less = if software_checksum && tso { TAP_TSO_MTU_LESS } else { 0 };
    if settings.tso == Some(true) && !tso {
        notes.push("tso=on is ignored: the driver does not cut segments".into());
    }
    let mac = address(&mut dev, device, settings, random, &mut notes);
    receive_modes(&mut dev, device, settings, &mut notes);

    let name = unit.name();
    let (base, unit) = unit.keep();
    Ok(Port {
        name,
        base,
        unit,
        driver,
        mac,
        mtu: dev.mtu().unwrap_or(MTU_ONE_BUFFER).saturating_sub(mtu_less),
        mtu_less,
        queues,
        capabilities: capabilities(&info, config.tx_offloads, &device.driver),
        kernel_interface: device.kernel_interface.clone(),
        notes,
        promiscuous: settings.promiscuous,
        shared: false,
        all_multicast: !settings.nomulticast,
        back: Back::Dpdk(dev, device.bus, device.name.clone()),
    })
}

/// Whether the port is to cut TCP segments. A driver that sums in software cuts in software too: only
/// on demand.
fn tso_wanted(info: &EthDevInfo, settings: &Settings, software_checksum: bool) -> bool {
    let needed =
        TxOffloads::TCP_SEGMENTATION | TxOffloads::TCP_CHECKSUM | TxOffloads::MULTI_SEGMENT;
    settings.tso.unwrap_or(!software_checksum) && info.tx_offloads.contains(needed)
}

/// How the port is configured.
fn choose(
    info: &EthDevInfo,
    queues: u16,
    settings: &Settings,
    software_checksum: bool,
    tso: bool,
) -> EthDevConfig {
    let mut rx_offloads = RxOffloads::RSS_HASH;
    let mut tx_offloads = TxOffloads::MULTI_SEGMENT;
    if !software_checksum {
        rx_offloads |=
            RxOffloads::IPV4_CHECKSUM | RxOffloads::TCP_CHECKSUM | RxOffloads::UDP_CHECKSUM;
    }
    if !software_checksum || tso {
        tx_offloads |=
            TxOffloads::IPV4_CHECKSUM | TxOffloads::TCP_CHECKSUM | TxOffloads::UDP_CHECKSUM;
    }
    if tso {
        tx_offloads |= TxOffloads::TCP_SEGMENTATION;
    }
    if settings.mtu.is_some_and(|mtu| mtu > MTU_ONE_BUFFER) {
        rx_offloads |= RxOffloads::SCATTER;
    }
    EthDevConfig {
        rx_queues: queues,
        tx_queues: queues,
        mtu: settings.mtu,
        rx_offloads: rx_offloads & info.rx_offloads,
        tx_offloads: tx_offloads & info.tx_offloads,
        rx_interrupts: true,
        // The kernel's own multi-queue tap sends a flow to the queue that last sent for it, which
        // is what the workers want; the driver's RSS would need a BPF program in the kernel.
        rss: !software_checksum,
        media: None,
    }
}

/// The speed that the wire is to have, if one was asked for that the driver has, or that it does not say.
fn wire(known: &[Media], settings: &Settings, notes: &mut Vec<String>) -> Option<Media> {
    let Some(speed_mbps) = settings.speed_mbps else {
        if settings.full_duplex.is_some() {
            notes.push("duplex= is ignored without speed=".into());
        }
        return None;
    };
    let wanted = Media { speed_mbps, full_duplex: settings.full_duplex.unwrap_or(true) };
    if known.is_empty() || known.contains(&wanted) {
        return Some(wanted);
    }
    let has: Vec<String> = known.iter().map(ToString::to_string).collect();
    notes.push(format!("speed={speed_mbps} is ignored: no {wanted} here, but {}", has.join(", ")));
    None
}

fn configure(
    dev: &mut EthDev,
    config: &EthDevConfig,
    settings: &Settings,
    pool: &Mempool,
) -> Result<(), AttachError> {
    let failed = AttachError::QueueSetup;
    dev.configure(config).map_err(failed)?;
    for q in 0..config.rx_queues {
        dev.setup_rx(q, DESCRIPTORS, pool).map_err(failed)?;
        dev.setup_tx(q, DESCRIPTORS).map_err(failed)?;
    }
    if let Some(mtu) = settings.mtu {
        dev.set_mtu(mtu).map_err(failed)?;
    }
    Ok(())
}

/// The stack's address on the port: the one asked for, else the device's, else a random one.
fn address(
    dev: &mut EthDev,
    device: &Device,
    settings: &Settings,
    random: MacAddr,
    notes: &mut Vec<String>,
) -> MacAddr {
    if device.driver == "net_tap" {
        // What the driver calls the port's address is that of the kernel's end: leave it alone.
        return settings.mac.unwrap_or(random);
    }
    let own = dev.mac().ok().filter(|mac| mac.is_unicast());
    let wanted = settings.mac.or(own).unwrap_or(random);
    if Some(wanted) != own && dev.set_mac(wanted).is_err() && dev.set_promiscuous(true).is_err() {
        notes.push(format!("the driver can't receive for {wanted}, if its wire filters addresses"));
    }
    wanted
}

/// Which frames the port receives. Purely virtual wires deliver everything and have no modes.
fn receive_modes(dev: &mut EthDev, device: &Device, settings: &Settings, notes: &mut Vec<String>) {
    if device.driver == "net_tap" {
        return;
    }
    if settings.promiscuous && dev.set_promiscuous(true).is_err() {
        notes.push("promiscuous is ignored: the driver has no such mode".into());
    }
    if !settings.nomulticast && dev.set_allmulticast(true).is_err() && device.bus == "pci" {
        notes.push("the driver has no all-multicast mode".into());
    }
}

/// Base and number of the interface's name, which nobody has.
pub(crate) fn reserve_unit(
    driver: &str,
    settings: &Settings,
    units: &Units,
) -> Result<Reserved, AttachError> {
    let plain = driver.strip_prefix("net_").or_else(|| driver.strip_prefix("eth_"));
    let base = settings.name.as_deref().or(plain).unwrap_or(driver);
    let unit = settings.unit;
    let taken = || AttachError::UnitTaken { name: format!("{base}{}", unit.unwrap_or(u32::MAX)) };
    units.reserve(base, unit).ok_or_else(taken)
}

fn capabilities(info: &EthDevInfo, enabled: TxOffloads, driver: &str) -> Capabilities {
    let enabled = enabled & info.tx_offloads;
    let (chains, software) = (enabled.contains(TxOffloads::MULTI_SEGMENT), driver == "net_tap");
    let tso = enabled.contains(TxOffloads::TCP_SEGMENTATION);
    // A host behind virtio sees DPDK's memory only. A tap that cuts frees what is lent to it before
    // the pieces that share it.
    let loans = chains && driver != "net_virtio_user" && !(software && tso);
    Capabilities {
        ipv4_checksum: enabled.contains(TxOffloads::IPV4_CHECKSUM),
        tcp_checksum: enabled.contains(TxOffloads::TCP_CHECKSUM),
        udp_checksum: enabled.contains(TxOffloads::UDP_CHECKSUM),
        multi_segment: chains,
        loans,
        tso_buffers_max: if tso { info.tx_buffers_max } else { 0 },
        software_checksum: software,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_has_the_speed_that_was_asked_for_or_the_driver_says_which_it_can_have() {
        let known = [(100, false), (1000, true)]
            .map(|(speed_mbps, full_duplex)| Media { speed_mbps, full_duplex });
        let told = |known: &[Media], options| {
            let spec = DriverSpec::parse("tap", options).unwrap();
            let mut notes = Vec::new();
            (wire(known, &Settings::of(&spec).unwrap(), &mut notes), notes.join("; "))
        };
        assert_eq!(told(&known, "speed=100,duplex=0"), (Some(known[0]), String::new()));
        assert_eq!(told(&known, "speed=1000"), (Some(known[1]), String::new()));
        assert_eq!(told(&[], "speed=1000"), (Some(known[1]), String::new()), "it does not say");
        assert_eq!(told(&known, "mtu=1400"), (None, String::new()));
        assert_eq!(told(&known, "duplex=0"), (None, "duplex= is ignored without speed=".into()));
        let (none, why) = told(&known, "speed=100");
        assert!(
            none.is_none() && why.ends_with("100 Mbit/s half duplex, 1000 Mbit/s full duplex"),
            "{why}"
        );
    }
}
