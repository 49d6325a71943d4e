//! Which CPUs the workers and the control thread should run on.
//!
//! hwloc knows the machine: cores, hyper-threads, shared caches, nodes. Where it finds nothing (a
//! container without sysfs), the CPUs this process may use are taken as equal cores. [`choose`] is
//! pure: the same CPUs give the same plan.

mod hwloc;
mod sysfs;

/// The CPUs of each thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the control thread may run. It moves freely among these.
    pub control_cpus: Vec<u32>,
    /// The CPU of each worker. One appears twice only if there are more workers than CPUs.
    pub worker_cpus: Vec<u32>,
}

/// A CPU (a hardware thread) that this process may use, and its neighbourhood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu {
    /// Number of the NUMA node.
    pub node: u32,
    /// Number of the last-level cache it shares.
    pub cache: u32,
    /// Number of the physical core, unique in the machine.
    pub core: u32,
    /// The kernel's number of the CPU.
    pub id: u32,
}

/// Plans `workers` workers on the CPUs that this process may use.
#[must_use]
pub fn plan(workers: u16) -> Plan {
    choose(workers, &cpus())
}

/// The CPUs that this process may use (ask before [`Eal::init`](crate::Eal::init), which pins the
/// calling thread), from hwloc, else from sysfs and the affinity mask.
#[must_use]
pub fn cpus() -> Vec<Cpu> {
    let allowed = sysfs::allowed();
    let from_hwloc = hwloc::cpus().into_iter().filter(|cpu| allowed.contains(&cpu.id));
    let found: Vec<Cpu> = from_hwloc.collect();
    if found.is_empty() { sysfs::cpus(&allowed) } else { found }
}

/// Workers get cores of their own that share a cache, hyper-threads only when cores run out; the
/// control thread gets the first core if one can be spared, else the CPUs left over, else it shares
/// all of them.
#[must_use]
pub fn choose(workers: u16, cpus: &[Cpu]) -> Plan {
    let workers = usize::from(workers);
    let mut sorted = cpus.to_vec();
    sorted.sort_unstable();
    let Some(first) = sorted.first().copied() else {
        return Plan { control_cpus: vec![0], worker_cpus: vec![0; workers] };
    };
    let ids = |cpus: &[Cpu]| cpus.iter().map(|cpu| cpu.id).collect::<Vec<_>>();

    let others: Vec<Cpu> = sorted.iter().copied().filter(|cpu| cpu.core != first.core).collect();
    if count_cores(&others) >= workers && !others.is_empty() {
        let control: Vec<Cpu> = sorted.iter().copied().filter(|c| c.core == first.core).collect();
        let worker_cpus = ids(&neighbours(workers, &others));
        return Plan { control_cpus: ids(&control), worker_cpus };
    }
    let chosen = neighbours(workers, &sorted);
    let rest: Vec<Cpu> = sorted.iter().copied().filter(|cpu| !chosen.contains(cpu)).collect();
    let control_cpus = ids(if rest.is_empty() { &sorted } else { &rest });
    Plan { control_cpus, worker_cpus: ids(&chosen) }
}

fn count_cores(cpus: &[Cpu]) -> usize {
    let mut cores: Vec<u32> = cpus.iter().map(|cpu| cpu.core).collect();
    cores.sort_unstable();
    cores.dedup();
    cores.len()
}

/// `n` of the sorted CPUs: one of each core first, those of the smallest cache domain that has
/// enough cores before others; again from the start if there are fewer than `n`.
fn neighbours(n: usize, sorted: &[Cpu]) -> Vec<Cpu> {
    let cores_around = |cpu: &Cpu| {
        let same = |c: &&Cpu| (c.node, c.cache) == (cpu.node, cpu.cache);
        count_cores(&sorted.iter().filter(same).copied().collect::<Vec<_>>())
    };
    let enough = |cpu: &&Cpu| cores_around(cpu) >= n;
    let home = sorted.iter().filter(enough).min_by_key(|cpu| cores_around(cpu));
    let home = home.map(|cpu| (cpu.node, cpu.cache));

    // Rank within its core: 0 for the first hyper-thread, so that cores fill before siblings do.
    let rank = |cpu: &Cpu| sorted.iter().filter(|c| c.core == cpu.core && c.id < cpu.id).count();
    let mut order = sorted.to_vec();
    order.sort_by_key(|cpu| (home != Some((cpu.node, cpu.cache)), rank(cpu), *cpu));
    order.iter().copied().cycle().take(n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cores` cores of `threads` threads in caches of four cores; sibling n of core c is c + n·cores.
    fn machine(cores: u32, threads: u32) -> Vec<Cpu> {
        let cpu = |core, thread| Cpu { node: 0, cache: core / 4, core, id: core + thread * cores };
        (0..cores).flat_map(|core| (0..threads).map(move |thread| cpu(core, thread))).collect()
    }

    #[test]
    fn one_cpu_is_shared() {
        let expected = Plan { control_cpus: vec![0], worker_cpus: vec![0] };
        assert_eq!(choose(1, &machine(1, 1)), expected);
    }

    #[test]
    fn two_cpus_separate_one_worker_from_control() {
        let expected = Plan { control_cpus: vec![0], worker_cpus: vec![1] };
        assert_eq!(choose(1, &machine(2, 1)), expected);
    }

    #[test]
    fn two_workers_on_two_cpus_share_them_with_control() {
        let expected = Plan { control_cpus: vec![0, 1], worker_cpus: vec![0, 1] };
        assert_eq!(choose(2, &machine(2, 1)), expected);
    }

    #[test]
    fn workers_get_cores_before_hyperthreads() {
        let expected = Plan { control_cpus: vec![0, 4], worker_cpus: vec![1, 2, 3] };
        assert_eq!(choose(3, &machine(4, 2)), expected);
    }

    #[test]
    fn when_cores_run_out_hyperthreads_are_used_and_control_gets_the_rest() {
        let plan = choose(6, &machine(4, 2));
        assert_eq!(plan.worker_cpus, [0, 1, 2, 3, 4, 5]);
        assert_eq!(plan.control_cpus, [6, 7]);
    }

    #[test]
    fn workers_stay_in_one_cache_if_they_fit() {
        assert_eq!(choose(4, &machine(8, 1)).worker_cpus, [4, 5, 6, 7]);
    }

    #[test]
    fn more_workers_than_cpus_wrap_around() {
        assert_eq!(choose(3, &machine(2, 1)).worker_cpus, [0, 1, 0]);
    }

    #[test]
    fn nothing_known_means_cpu_0() {
        let expected = Plan { control_cpus: vec![0], worker_cpus: vec![0, 0] };
        assert_eq!(choose(2, &[]), expected);
    }

    #[test]
    fn this_machine_has_cpus_and_both_sources_agree_on_them() {
        let allowed = sysfs::allowed();
        assert!(!allowed.is_empty());
        let mut ids: Vec<u32> = cpus().iter().map(|cpu| cpu.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, allowed);
        assert_eq!(sysfs::cpus(&allowed).len(), allowed.len());
    }
}
