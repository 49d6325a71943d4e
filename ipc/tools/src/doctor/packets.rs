//! DPDK, hugepages, tap devices.

use super::{Finding, host::Host};

/// The ABI of DPDK 22.11, which Debian 12 has and the daemon is built for.
const DPDK_ABI: &str = "23";

/// Where distributions put libraries.
const LIBRARY_FOLDERS: [&str; 8] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/local/lib/x86_64-linux-gnu",
    "usr/local/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/local/lib64",
    "usr/local/lib",
    "usr/lib",
];

const SETUP: &str = "sudo dpdk-hugepages.py -p 2M --setup 512M";

/// The library itself, in the version that the daemon is linked with.
pub(super) fn dpdk_library(host: &Host) -> Finding {
    let stem = "librte_eal.so.";
    let found: Vec<String> = LIBRARY_FOLDERS
        .iter()
        .flat_map(|folder| {
            let names = host.names(folder).into_iter().filter(|name| name.starts_with(stem));
            names.map(move |name| format!("/{folder}/{name}"))
        })
        .collect();
    let wanted = format!("{stem}{DPDK_ABI}");
    match found.first() {
        None => Finding::fail(
            "DPDK is not installed: no librte_eal.so",
            "sudo apt install libdpdk-dev dpdk",
        ),
        Some(first) => match found.iter().find(|path| path.ends_with(&wanted)) {
            Some(path) => Finding::ok(format!("{path}: DPDK 22.11")),
            None => Finding::fail(
                format!("{first} is not DPDK 22.11 (ABI {DPDK_ABI})"),
                "sudo apt install libdpdk-dev=22.11* dpdk=22.11*",
            ),
        },
    }
}

/// The folder from which DPDK loads its drivers.
pub(super) fn dpdk_drivers(host: &Host) -> Finding {
    let prefix = format!("pmds-{DPDK_ABI}");
    let folder = LIBRARY_FOLDERS.iter().find_map(|library| {
        let dpdk = format!("{library}/dpdk");
        host.names(&dpdk)
            .into_iter()
            .find(|name| name.starts_with(&prefix))
            .map(|name| format!("{dpdk}/{name}"))
    });
    let Some(folder) = folder else {
        return Finding::fail(
            format!("no driver folder dpdk/{prefix}.*"),
            "sudo apt install dpdk librte-net-tap23",
        );
    };
    let drivers = host.names(&folder).iter().filter(|name| name.ends_with(".so")).count();
    if host.path(&format!("{folder}/librte_net_tap.so")).exists() {
        Finding::ok(format!("/{folder}: {drivers} drivers, net_tap among them"))
    } else {
        Finding::warn(
            format!("/{folder} has no librte_net_tap.so"),
            "sudo apt install librte-net-tap23",
        )
    }
}

/// Pages of one size.
struct Pool {
    size: String,
    total: u64,
    free: u64,
}

fn pools(host: &Host) -> Vec<Pool> {
    let folder = "sys/kernel/mm/hugepages";
    let pool = |name: String| {
        let number = |file: &str| host.number(&format!("{folder}/{name}/{file}"));
        let size = name.strip_prefix("hugepages-")?.to_owned();
        Some(Pool { size, total: number("nr_hugepages")?, free: number("free_hugepages")? })
    };
    let pools = host.names(folder).into_iter().filter_map(pool);
    pools.filter(|pool| pool.total > 0).collect()
}

/// None are needed; with them address translation costs less.
pub(super) fn hugepages(host: &Host) -> Finding {
    let pools = pools(host);
    if pools.is_empty() {
        let found = format!("none: io-pkt continues on 4 KiB pages (E0101); for speed: {SETUP}");
        return Finding::ok(found);
    }
    let list: Vec<_> =
        pools.iter().map(|p| format!("{} of {} free of {}", p.free, p.total, p.size)).collect();
    let found = list.join(", ");
    if pools.iter().all(|pool| pool.free == 0) {
        return Finding::warn(format!("{found}: io-pkt continues on 4 KiB pages (E0101)"), SETUP);
    }
    Finding::ok(found)
}

/// Pages that somebody has while our daemon, which would be that somebody, does not run.
pub(super) fn hugepage_users(host: &Host) -> Finding {
    let used: u64 = pools(host).iter().map(|pool| pool.total.saturating_sub(pool.free)).sum();
    let ours = match &host.answer {
        super::host::Answer::Here(row) => row.hugepages,
        _ => false,
    };
    match (used, ours) {
        (0, _) => Finding::ok("no hugepage is in use"),
        (_, true) => Finding::ok(format!("{used} pages in use, by io-pkt and perhaps others")),
        (_, false) => {
            let files: Vec<_> = mounts(host)
                .iter()
                .flat_map(|mount| {
                    host.names(&mount.point).into_iter().map(|n| format!("{}/{n}", mount.point))
                })
                .take(3)
                .collect();
            let by = if files.is_empty() {
                String::new()
            } else {
                format!(", files: {} …", files.join(" "))
            };
            Finding::warn(
                format!("{used} pages are in use by others{by}"),
                "see by whom: sudo grep -ls hugepage /proc/[0-9]*/maps; files of no process: sudo \
                 dpdk-hugepages.py --clear",
            )
        }
    }
}

struct Mount {
    point: String,
    options: String,
}

fn mounts(host: &Host) -> Vec<Mount> {
    let text =
        host.read("proc/self/mounts").or_else(|| host.read("proc/mounts")).unwrap_or_default();
    let mount = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (point, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "hugetlbfs")
            .then(|| Mount { point: point.to_owned(), options: options.to_owned() })
    };
    text.lines().filter_map(mount).collect()
}

/// Pages are had through a mounted file system that this user may write.
pub(super) fn hugetlbfs(host: &Host) -> Finding {
    let mounts = mounts(host);
    let Some(first) = mounts.first() else {
        return if pools(host).is_empty() {
            Finding::ok("not mounted, and not needed without hugepages")
        } else {
            Finding::warn(
                "hugepages are there but hugetlbfs is not mounted",
                "sudo mkdir -p /dev/hugepages && sudo mount -t hugetlbfs none /dev/hugepages",
            )
        };
    };
    let writable = |mount: &&Mount| {
        !mount.options.split(',').any(|o| o == "ro") && host.may_write(&host.path(&mount.point))
    };
    match mounts.iter().find(writable) {
        Some(mount) => Finding::ok(format!("{} is writable", mount.point)),
        None => Finding::warn(
            format!("{} is not writable by uid {} (E0102)", first.point, host.uid()),
            format!("sudo mount -o remount,rw,uid={},mode=0700 {}", host.uid(), first.point),
        ),
    }
}

/// The device of `net_tap`.
pub(super) fn tun(host: &Host) -> Finding {
    let path = host.path("dev/net/tun");
    if !path.exists() {
        return Finding::fail(
            "/dev/net/tun is missing: net_tap cannot start (E0103)",
            "sudo modprobe tun, in a container: --device /dev/net/tun; or use -d net_af_packet",
        );
    }
    if host.may_write(&path) {
        Finding::ok("/dev/net/tun may be opened")
    } else {
        Finding::warn(
            format!("/dev/net/tun may not be opened by uid {} (E0103)", host.uid()),
            "sudo chmod 666 /dev/net/tun, or start the daemon with sudo",
        )
    }
}
