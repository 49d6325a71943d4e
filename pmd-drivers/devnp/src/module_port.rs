//! From a specification that names a module to running ports.

use std::sync::Arc;

use devnp_abi as abi;
use dpdk::Eal;

use crate::attach::{self, AttachEnv, reserve_unit};
use crate::error::AttachError;
use crate::limits::{MODULE_PORTS_MAX, MTU_ONE_BUFFER};
use crate::mac;
use crate::module::anchor::Anchor;
use crate::module::device::{ModuleDevice, OpenWith, Opened};
use crate::module::error::ModuleError;
use crate::module::library::Library;
use crate::module::lower::Lower;
use crate::module::registry::Modules;
use crate::options::Settings;
use crate::port::{Back, Capabilities, Port};
use crate::spec::DriverSpec;
use crate::units::Units;

/// The option that names the driver below.
const LOWER: &str = "lower";

/// Attaches all ports that the specification describes and starts them: those of a module of that
/// name if there is one, else that of a DPDK driver.
///
/// # Errors
/// What went wrong, with a line of [help](AttachError::help); nothing is left then.
pub fn attach_all(
    eal: &Eal,
    spec: &DriverSpec,
    env: &AttachEnv<'_>,
    modules: &Modules,
) -> Result<Vec<Port>, AttachError> {
    attach_with(&mut |spec| attach::attach(eal, spec, env), spec, env, modules)
}

/// Attaches the port of a DPDK driver.
pub(crate) type AttachDpdk<'a> = &'a mut dyn FnMut(&DriverSpec) -> Result<Port, AttachError>;

/// As [`attach_all`], with DPDK's drivers attached by somebody else.
pub(crate) fn attach_with(
    dpdk: AttachDpdk<'_>,
    spec: &DriverSpec,
    env: &AttachEnv<'_>,
    modules: &Modules,
) -> Result<Vec<Port>, AttachError> {
    let Some(library) = modules.find(&spec.name)? else {
        let port = dpdk(spec);
        return Ok(vec![port.map_err(|error| error.or_module(modules.looked_for(&spec.name)))?]);
    };
    let (own, below) = split(spec, &library);
    let mut settings = Settings::of(&own)?;
    let (lower, mut ports) = match below {
        Some(below) => attach_lower(dpdk, &below, env, modules, &library)?,
        None if library.table.flags & abi::FLAG_NEEDS_LOWER != 0 => {
            return Err(ModuleError::NoLower { module: library.name.clone() }.into());
        }
        None => (None, Vec::new()),
    };
    if let Some((option, _)) = settings.device.iter().find(|(key, _)| !library.knows(key)) {
        let error = ModuleError::UnknownOption {
            module: library.name.clone(),
            option: option.clone(),
            known: library.options.clone(),
        };
        discard(
            lower.map(|lower| lower.into_inner().into_port()).into_iter().chain(ports),
            env.units,
        );
        return Err(error.into());
    }
    let mut lower = lower;
    for number in 0..MODULE_PORTS_MAX {
        let with = OpenWith {
            settings: &settings,
            port: number,
            queues: if library.is_single() { 1 } else { env.workers },
            pool: env.pool,
            alarm: modules.alarm(),
            lower: lower.take(),
        };
        let (port, more) = match open(&library, with, &settings, env) {
            Ok(opened) => opened,
            Err((error, below)) => {
                discard(below.map(|port| *port).into_iter().chain(ports), env.units);
                return Err(error);
            }
        };
        ports.insert(number as usize, port);
        if !more {
            break;
        }
        // One interface has the address and the number that were asked for.
        settings.mac = None;
        settings.unit = None;
    }
    Ok(ports)
}

/// The module's own specification, and that of the driver below, which gets what the module does
/// not know.
fn split(spec: &DriverSpec, library: &Library) -> (DriverSpec, Option<DriverSpec>) {
    let named = spec.options.iter().find(|(key, _)| key == LOWER);
    let Some(name) = named.and_then(|(_, value)| value.clone()) else {
        return (spec.clone(), None);
    };
    let ours = ["name", "unit", "lan"];
    let mut own = DriverSpec { name: spec.name.clone(), options: Vec::new() };
    let mut below = DriverSpec { name, options: Vec::new() };
    for (key, value) in spec.options.iter().filter(|(key, _)| key != LOWER) {
        let to = if library.knows(key) || ours.contains(&key.as_str()) {
            &mut own.options
        } else {
            &mut below.options
        };
        to.push((key.clone(), value.clone()));
    }
    (own, Some(below))
}

type Below = (Option<Anchor<Lower>>, Vec<Port>);

/// The device below, and further interfaces that its driver has made.
fn attach_lower(
    dpdk: AttachDpdk<'_>,
    below: &DriverSpec,
    env: &AttachEnv<'_>,
    modules: &Modules,
    library: &Library,
) -> Result<Below, AttachError> {
    let mut ports = attach_with(dpdk, below, env, modules)?.into_iter();
    let Some(first) = ports.next() else { return Ok((None, Vec::new())) };
    let queues = first.rx_queues();
    match Lower::new(first, if library.is_single() { 1 } else { env.workers }) {
        Some(lower) => Ok((Some(lower), ports.collect())),
        None => {
            discard(ports, env.units);
            let module = format!("{} below {}", below.name, library.name);
            Err(ModuleError::TooFewQueues { module, queues, workers: env.workers }.into())
        }
    }
}

/// What was attached on the way is taken away again.
pub(crate) fn discard(ports: impl IntoIterator<Item = Port>, units: &Units) {
    for port in ports {
        // The error that led here is the one to report.
        for (base, unit) in port.detach().unwrap_or_default() {
            units.release(&base, unit);
        }
    }
}

/// Why, and the device below, which is whole.
type Refused = (AttachError, Option<Box<Port>>);

/// Opens one interface, and says whether the module has more.
fn open(
    library: &Arc<Library>,
    with: OpenWith<'_>,
    settings: &Settings,
    env: &AttachEnv<'_>,
) -> Result<(Port, bool), Refused> {
    let below_mac = with.lower.as_ref().map(|lower| lower.port.mac());
    let Opened {
        mut device,
        mac,
        mtu,
        mtu_max,
        queues,
        offloads,
        pieces_max,
        kernel_interface,
        more,
    } = ModuleDevice::open(library, with).map_err(|(error, lower)| {
        (error.into(), lower.map(|lower| Box::new(lower.into_inner().into_port())))
    })?;
    let module = || library.name.clone();
    // The first worker's queue is for all.
    let shared = library.is_single();
    let queues = if shared { queues.min(1) } else { queues };
    if queues < env.workers && !(shared && queues == 1) {
        let error = ModuleError::TooFewQueues { module: module(), queues, workers: env.workers };
        return Err((error.into(), device.close().map(Box::new)));
    }
    let named = mac::random().ok_or(AttachError::NoAddress).and_then(|random| {
        let mac = settings.mac.or(mac).or(below_mac).unwrap_or(random);
        reserve_unit(&library.name, settings, env.units).map(|unit| (mac, unit))
    });
    let (mac, unit) = match named {
        Ok(named) => named,
        Err(error) => return Err((error, device.close().map(Box::new))),
    };
    let name = unit.name();
    device.set_name(&name);
    if let Err(error) = device.start() {
        return Err((error.into(), device.close().map(Box::new)));
    }
    let mtu = if mtu == 0 { MTU_ONE_BUFFER } else { mtu };
    let mut notes: Vec<String> =
        settings.ignored.iter().map(|option| format!("{option} is ignored")).collect();
    if settings.speed_mbps.is_some() || settings.full_duplex.is_some() {
        notes.push("speed= and duplex= are ignored: modules choose by themselves".into());
    }
    if settings.mtu.is_some_and(|wanted| wanted != mtu) {
        notes.push(format!("the driver has an MTU of {mtu}, at most {}", mtu_max.max(mtu)));
    }
    let (base, unit) = unit.keep();
    let port = Port {
        name,
        base,
        unit,
        driver: format!("{}-{}", library.prefix(), library.name),
        mac,
        mtu: mtu.min(MTU_ONE_BUFFER),
        mtu_less: 0,
        queues,
        capabilities: capabilities(offloads, pieces_max, settings),
        kernel_interface,
        notes,
        shared,
        promiscuous: settings.promiscuous,
        all_multicast: !settings.nomulticast,
        back: Back::Module(device),
    };
    Ok((port, more))
}

fn capabilities(offloads: u32, pieces_max: u16, settings: &Settings) -> Capabilities {
    let has = |flag| offloads & flag != 0;
    let cuts = has(abi::OFFLOAD_TCP_CHECKSUM) && settings.tso != Some(false);
    Capabilities {
        ipv4_checksum: has(abi::OFFLOAD_IPV4_CHECKSUM),
        tcp_checksum: has(abi::OFFLOAD_TCP_CHECKSUM),
        udp_checksum: has(abi::OFFLOAD_UDP_CHECKSUM),
        multi_segment: has(abi::OFFLOAD_MULTI_SEGMENT),
        loans: has(abi::OFFLOAD_MULTI_SEGMENT),
        tso_buffers_max: if cuts { pieces_max } else { 0 },
        software_checksum: false,
    }
}
