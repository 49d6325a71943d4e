//! Kernel, processors, memory, limits, rights.

use super::{Finding, host::Host};

const MIB: u64 = 1 << 20;

/// A daemon with its packet buffers and one client takes about this much.
const MEMORY_NEEDED: u64 = 256 * MIB;

/// With less than this, a second client or a larger pool may fail.
const MEMORY_EASY: u64 = 768 * MIB;

const CAP_NET_ADMIN: u32 = 12;
const CAP_IPC_LOCK: u32 = 14;

/// Client memory is sealed with `F_SEAL_FUTURE_WRITE`, which is of Linux 5.1.
pub(super) fn kernel(host: &Host) -> Finding {
    let Some(release) = host.read("proc/sys/kernel/osrelease") else {
        return Finding::warn(
            "the release of the kernel is not readable",
            "mount -t proc proc /proc",
        );
    };
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (5, 1) {
        let found =
            format!("Linux {release} has no seal against future writing; clients would be refused");
        return Finding::fail(found, "sudo apt install linux-image-amd64 && sudo reboot");
    }
    Finding::ok(format!("Linux {release}"))
}

/// Debian's DPDK is built for SSE4.2; its timers read the time-stamp counter.
pub(super) fn cpu_features(host: &Host) -> Finding {
    let Some(flags) = host.field("proc/cpuinfo", "flags") else {
        return Finding::ok("not an x86 processor; nothing to check");
    };
    let has = |flag| flags.split_whitespace().any(|f| f == flag);
    if !has("sse4_2") {
        let found = "the processor has no SSE4.2, which Debian's DPDK is built for";
        return Finding::fail(
            found,
            "in a virtual machine choose the processor \"host\"; else build DPDK with \
             -Dcpu_instruction_set=generic",
        );
    }
    if !has("constant_tsc") || !has("nonstop_tsc") {
        let found = "the time-stamp counter changes its rate (constant_tsc, nonstop_tsc missing); \
                     measured times will be wrong";
        return Finding::warn(
            found,
            "in a virtual machine pass the flag invtsc; else set the governor: sudo cpupower \
             frequency-set -g performance",
        );
    }
    Finding::ok("SSE4.2 and a steady time-stamp counter")
}

/// A worker that spins on the only processor starves its clients.
pub(super) fn cpus(host: &Host) -> Finding {
    let allowed = host.field("proc/self/status", "Cpus_allowed_list").unwrap_or_default();
    let online = host.read("sys/devices/system/cpu/online").unwrap_or_default();
    let may = count(&online).map_or_else(|| count(&allowed), |n| count(&allowed).map(|m| m.min(n)));
    let found = format!("CPUs {allowed} of {online} may be used");
    match may {
        None => Finding::warn("the list of processors is not readable", "mount -t proc proc /proc"),
        Some(1) => Finding::warn(
            format!("{found}: workers and programs share one"),
            "give the machine or container a second one; taskset -c 0,1 io-pkt …",
        ),
        Some(_) => Finding::ok(found),
    }
}

/// Members of a list like `0-3,8`.
fn count(list: &str) -> Option<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        last.trim().parse::<u32>().ok()?.checked_sub(first.trim().parse().ok()?)?.checked_add(1)
    };
    list.split(',').try_fold(0_u32, |sum, part| sum.checked_add(range(part)?))
}

/// A governor that saves power wakes up late.
pub(super) fn cpu_governor(host: &Host) -> Finding {
    match host.read("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").as_deref() {
        None => Finding::ok("the processor's frequency is not ours to set"),
        Some("performance") => Finding::ok("performance"),
        Some(other) => Finding::warn(
            format!("{other}: latency varies"),
            "sudo cpupower frequency-set -g performance",
        ),
    }
}

/// Reading a slow clock costs a worker a microsecond per breath.
pub(super) fn clock_source(host: &Host) -> Finding {
    let folder = "sys/devices/system/clocksource/clocksource0";
    let current = host.read(&format!("{folder}/current_clocksource")).unwrap_or_default();
    match current.as_str() {
        "" => Finding::warn("the clock source is not readable", "mount -t sysfs sysfs /sys"),
        "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter" => {
            Finding::ok(current)
        }
        slow => {
            let available =
                host.read(&format!("{folder}/available_clocksource")).unwrap_or_default();
            let fix = if available.split_whitespace().any(|name| name == "tsc") {
                format!("echo tsc | sudo tee /{folder}/current_clocksource")
            } else {
                "the kernel trusts no faster one; see: sudo dmesg | grep -i clocksource".into()
            };
            Finding::warn(format!("{slow} is slow to read"), fix)
        }
    }
}

/// Memory that is there now.
pub(super) fn memory(host: &Host) -> Finding {
    let kib = host.field("proc/meminfo", "MemAvailable");
    let kib = kib.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let Some(available) = kib.map(|kib| kib.saturating_mul(1024)) else {
        return Finding::warn("free memory is not readable", "mount -t proc proc /proc");
    };
    judge_memory(available, "available", "stop something large: ps aux --sort=-rss | head")
}

fn judge_memory(bytes: u64, what: &str, fix: &str) -> Finding {
    let found = format!("{} MiB {what}", bytes / MIB);
    match bytes {
        0..MEMORY_NEEDED => {
            Finding::fail(format!("{found}; io-pkt takes {} MiB", MEMORY_NEEDED / MIB), fix)
        }
        MEMORY_NEEDED..MEMORY_EASY => {
            Finding::warn(format!("{found}: enough for few clients"), fix)
        }
        _ => Finding::ok(found),
    }
}

/// A container's limit of memory, of both kinds of control groups.
pub(super) fn container_memory(host: &Host) -> Finding {
    let limits = group_files(host, "memory", "memory.max", "memory.limit_in_bytes");
    // The old kind writes "no limit" as a number near 2^63.
    let limit =
        limits.iter().filter_map(|text| text.parse().ok()).filter(|&n: &u64| n < 1 << 60).min();
    limit.map_or_else(
        || Finding::ok("no limit of memory"),
        |bytes| {
            judge_memory(bytes, "is the container's limit", "start the container with --memory 1g")
        },
    )
}

/// A quota below one processor stops a spinning worker for most of each period.
pub(super) fn container_cpu(host: &Host) -> Finding {
    let quotas = group_files(host, "cpu", "cpu.max", "cpu.cfs_quota_us");
    let periods = group_files(host, "cpu", "cpu.max", "cpu.cfs_period_us");
    let part = |text: &String, at: usize| text.split_whitespace().nth(at)?.parse::<u64>().ok();
    let percent = quotas.iter().zip(&periods).filter_map(|(quota, period)| {
        let period = part(period, 1).or_else(|| part(period, 0)).unwrap_or(100_000);
        part(quota, 0)?.saturating_mul(100).checked_div(period)
    });
    match percent.min() {
        Some(percent @ 0..200) => Finding::warn(
            format!(
                "the container may use {percent}% of one processor; a worker and its clients want \
                 two"
            ),
            "start the container with --cpus 2",
        ),
        Some(percent) => Finding::ok(format!("the container may use {percent}% of one processor")),
        None => Finding::ok("no limit of processor time"),
    }
}

/// A file of this process's control group and of the root, in the new or the old hierarchy.
fn group_files(host: &Host, controller: &str, new: &str, old: &str) -> Vec<String> {
    let groups = host.read("proc/self/cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (folder, file) = if controllers.is_empty() {
            ("sys/fs/cgroup".to_owned(), new)
        } else if controllers.split(',').any(|name| name == controller) {
            (format!("sys/fs/cgroup/{controller}"), old)
        } else {
            continue;
        };
        let own = host.read(&format!("{folder}/{}/{file}", path.trim_matches('/')));
        found.extend(own.or_else(|| host.read(&format!("{folder}/{file}"))));
    }
    found
}

/// Memory for devices is locked.
pub(super) fn memlock(host: &Host) -> Finding {
    match host.limit("Max locked memory") {
        _ if host.has_capability(CAP_IPC_LOCK) => {
            Finding::ok("no limit for this user (CAP_IPC_LOCK)")
        }
        Some(u64::MAX) => Finding::ok("unlimited"),
        Some(bytes) if bytes >= 64 * MIB => Finding::ok(format!("{} MiB", bytes / MIB)),
        Some(bytes) => Finding::warn(
            format!(
                "{} KiB may be locked; hardware ports need more, net_tap does not",
                bytes / 1024
            ),
            "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit",
        ),
        None => Finding::warn("limits are not readable", "mount -t proc proc /proc"),
    }
}

/// Each socket is one descriptor in its program and one in the daemon.
pub(super) fn open_files(host: &Host) -> Finding {
    let fix = "ulimit -n 65536, or LimitNOFILE=65536 in the unit";
    match host.limit("Max open files") {
        None => Finding::warn("limits are not readable", "mount -t proc proc /proc"),
        Some(0..256) => {
            Finding::fail("fewer than 256 descriptors; the daemon needs about 100 for itself", fix)
        }
        Some(n @ 256..8192) => {
            Finding::warn(format!("{n} descriptors: about as many sockets in all"), fix)
        }
        Some(u64::MAX) => Finding::ok("unlimited"),
        Some(n) => Finding::ok(format!("{n} descriptors")),
    }
}

/// Making a tap device takes `CAP_NET_ADMIN`.
pub(super) fn net_admin(host: &Host) -> Finding {
    match (host.has_capability(CAP_NET_ADMIN), host.uid()) {
        (true, uid) => Finding::ok(format!("uid {uid} has CAP_NET_ADMIN")),
        (false, 0) => Finding::fail(
            "uid 0 without CAP_NET_ADMIN: net_tap cannot make its device (E0103)",
            "start the container with --cap-add NET_ADMIN",
        ),
        (false, uid) => Finding::warn(
            format!(
                "uid {uid} has no CAP_NET_ADMIN: it can use a running stack but not start one on \
                 net_tap (E0103)"
            ),
            "start the daemon with sudo, or: sudo setcap cap_net_admin+ep \"$(command -v io-pkt)\"",
        ),
    }
}
