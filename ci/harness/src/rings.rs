//! What a world's frames go over: rings of DPDK, or a driver module's two interfaces.

use devnp::{Alarm, AttachEnv, DriverSpec, Modules, Port, RxQueue, TxQueue, Units};
use dpdk::{Eal, Mempool};

/// Both queues of a port.
pub(crate) type Queues = (RxQueue, TxQueue);
/// Ports, the worker's ends and the peer's.
pub(crate) type WireEnds = (Vec<Port>, Queues, Queues);

/// Two `net_ring` ports, each of which gives back what it is sent: one for each direction.
pub(crate) fn rings(eal: &Eal, pool: &Mempool, units: &Units) -> Result<WireEnds, String> {
    let (first, (worker_rx, peer_tx)) = ring(eal, pool, units)?;
    let (second, (peer_rx, worker_tx)) = ring(eal, pool, units)?;
    Ok((vec![first, second], (worker_rx, worker_tx), (peer_rx, peer_tx)))
}

/// A port that receives what it sends.
pub(crate) fn ring(eal: &Eal, pool: &Mempool, units: &Units) -> Result<(Port, Queues), String> {
    port(("net_ring", ""), eal, pool, units)
}

/// A port of a driver with these options, and its first queues.
fn port(
    (driver, options): (&str, &str),
    eal: &Eal,
    pool: &Mempool,
    units: &Units,
) -> Result<(Port, Queues), String> {
    let spec = DriverSpec::parse(driver, options).map_err(|e| e.to_string())?;
    let env = AttachEnv { workers: 1, pool, shown: None, units };
    let mut port = devnp::attach(eal, &spec, &env).map_err(|e| e.to_string())?;
    let queues = port.take_queues(0).ok_or_else(|| format!("{driver} has no queue"))?;
    Ok((port, queues))
}

/// A device of the kernel's, driven by a DPDK driver, that leads to a peer elsewhere. What would be the peer's
/// end here stays silent.
pub(crate) fn device(
    spec: (&str, &str),
    eal: &Eal,
    pool: &Mempool,
    units: &Units,
) -> Result<WireEnds, String> {
    let (port, queues) = port(spec, eal, pool, units)?;
    let (silent, silence) = ring(eal, pool, units)?;
    Ok((vec![port, silent], queues, silence))
}

/// The two interfaces of a module that is a wire; a per-packet driver makes one at a time.
pub(crate) fn pair_of(module: &str, eal: &Eal, pool: &Mempool) -> Result<WireEnds, String> {
    let units = Units::new();
    let env = AttachEnv { workers: 1, pool, shown: None, units: &units };
    let user = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata("/proc/self").map_err(|e| e.to_string())?,
    );
    let modules = Modules::new(Vec::new(), user, Alarm::new(|| {}));
    let spec = DriverSpec::parse(module, "").map_err(|e| e.to_string())?;
    let attach = || devnp::attach_all(eal, &spec, &env, &modules).map_err(|e| e.to_string());
    let mut ports = attach()?;
    if ports.len() == 1 {
        ports.extend(attach()?);
    }
    let ends: Option<Vec<Queues>> = ports.iter_mut().map(|port| port.take_queues(0)).collect();
    let mut ends = ends.ok_or("the module has no queue")?.into_iter();
    let (first, second) = ends.next().zip(ends.next()).ok_or("the module is no wire")?;
    Ok((ports, first, second))
}
