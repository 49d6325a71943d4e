//! The machine as hwloc sees it.

use hwlocality::Topology;
use hwlocality::object::TopologyObject;
use hwlocality::object::types::ObjectType;

use super::Cpu;

/// All CPUs that hwloc finds; empty if it can't look.
pub(super) fn cpus() -> Vec<Cpu> {
    let Ok(topology) = Topology::new() else { return Vec::new() };
    topology.objects_with_type(ObjectType::PU).filter_map(cpu).collect()
}

fn cpu(pu: &TopologyObject) -> Option<Cpu> {
    let id = u32::try_from(pu.os_index()?).ok()?;
    let index = |kind| {
        let ancestor = pu.first_ancestor_with_type(kind)?;
        u32::try_from(ancestor.logical_index()).ok()
    };
    let node = pu.nodeset().and_then(|set| set.first_set());
    let node = node.map_or(0, |index| u32::try_from(usize::from(index)).unwrap_or(0));
    let cache = index(ObjectType::L3Cache).or_else(|| index(ObjectType::Package)).unwrap_or(0);
    Some(Cpu { node, cache, core: index(ObjectType::Core).unwrap_or(id), id })
}
