//! A healthy machine made of files, and each way to break it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use proto::table::DaemonRow;

use super::host::Answer;
use super::*;
use crate::preload::NotFound;

const HUGE: &str = "sys/kernel/mm/hugepages/hugepages-2048kB";
const CLOCK: &str = "sys/devices/system/clocksource/clocksource0";
const LIB: &str = "usr/lib/x86_64-linux-gnu";

/// Files of a machine on which nothing is wrong.
const HEALTHY: [(&str, &str); 20] = [
    ("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n"),
    ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse4_2 constant_tsc nonstop_tsc\n"),
    ("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable:    4000000 kB\n"),
    (
        "proc/self/status",
        "Name:\tiopkt\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t0\n\
         CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-3\n",
    ),
    (
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units\n\
         Max open files            65536                65536                files\n\
         Max locked memory         unlimited            unlimited            bytes\n",
    ),
    ("proc/self/cgroup", "0::/\n"),
    ("proc/self/mounts", "none /dev/hugepages hugetlbfs rw,relatime 0 0\n"),
    (
        "proc/net/tcp",
        "  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A\n",
    ),
    ("proc/1/comm", "init\n"),
    ("proc/7/comm", "io-pkt\n"),
    ("sys/devices/system/cpu/online", "0-3\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm\n"),
    ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "256\n"),
    ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "200\n"),
    ("dev/hugepages/rtemap_0", ""),
    ("dev/net/tun", ""),
    ("usr/lib/x86_64-linux-gnu/librte_eal.so.23", ""),
    ("usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_tap.so", ""),
    ("usr/local/lib/libiopkt-preload.so", ""),
];

/// A machine in a temporary folder.
struct Machine {
    _folder: tempfile::TempDir,
    host: Host,
}

impl Machine {
    fn healthy() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path().to_owned();
        // mkdtemp makes 0700, which is a barrier for the library below it.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("opened");
        fs::create_dir(root.join("run")).expect("made");
        fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o755)).expect("set");
        let host = Host {
            run_dir: root.join("run"),
            prefix: String::new(),
            instances: vec![String::new()],
            answer: Answer::Here(running()),
            library: Ok(root.join("usr/local/lib/libiopkt-preload.so")),
            root,
        };
        let machine = Self { _folder: folder, host };
        for (path, text) in HEALTHY {
            machine.write(path, text);
        }
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.host.path(path);
        fs::create_dir_all(path.parent().expect("folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn edit(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.host.path(path)).expect("there");
        assert!(text.contains(from), "{path} has no {from}");
        self.write(path, &text.replace(from, to));
    }

    fn remove(&self, path: &str) {
        let path = self.host.path(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            .expect("removed");
    }

    /// This user is not root and has no capabilities.
    fn ordinary_user(&self) {
        self.edit("proc/self/status", "Uid:\t0\t0\t0\t0", "Uid:\t1000\t1000\t1000\t1000");
        self.edit("proc/self/status", "000001ffffffffff", "0000000000000000");
        self.edit(
            "proc/self/status",
            "Gid:\t0\t0\t0\t0\nGroups:\t0",
            "Gid:\t99\t99\t99\t99\nGroups:\t99",
        );
    }

    fn set_mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.host.path(path), fs::Permissions::from_mode(mode)).expect("set");
    }

    fn finding(&self, check: &str) -> Finding {
        let all = examine(&self.host);
        all.into_iter().find(|finding| finding.check == check).expect(check)
    }
}

fn running() -> DaemonRow {
    DaemonRow {
        version: env!("CARGO_PKG_VERSION").into(),
        dpdk: "22.11.11".into(),
        pid: 7,
        prefix: String::new(),
        hugepages: true,
        uptime_ms: 5000,
        metrics: None,
        mbufs_used: 0,
        mbufs_total: 8192,
        address: None,
    }
}

#[test]
fn a_healthy_machine_has_no_findings() {
    let findings = examine(&Machine::healthy().host);
    assert!(findings.len() >= 15);
    for finding in findings {
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
    }
}

/// A way to break the machine, the check that must notice, its verdict, and a part of the fix.
struct Broken(&'static str, fn(&mut Machine), Verdict, &'static str);

const BROKEN: [Broken; 36] = [
    Broken(
        "kernel",
        |m| m.write("proc/sys/kernel/osrelease", "4.19.0"),
        Verdict::Fail,
        "apt install linux",
    ),
    Broken("cpu_features", |m| m.edit("proc/cpuinfo", "sse4_2", ""), Verdict::Fail, "host"),
    Broken("cpu_features", |m| m.edit("proc/cpuinfo", "nonstop_tsc", ""), Verdict::Warn, "invtsc"),
    Broken("cpus", |m| m.edit("proc/self/status", "0-3", "2"), Verdict::Warn, "second"),
    Broken(
        "cpu_governor",
        |m| m.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
        Verdict::Warn,
        "cpupower frequency-set -g performance",
    ),
    Broken(
        "clock_source",
        |m| m.write(&format!("{CLOCK}/current_clocksource"), "hpet"),
        Verdict::Warn,
        "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource",
    ),
    Broken("memory", |m| m.edit("proc/meminfo", "4000000", "100000"), Verdict::Fail, "ps aux"),
    Broken("memory", |m| m.edit("proc/meminfo", "4000000", "400000"), Verdict::Warn, "ps aux"),
    Broken(
        "container_memory",
        |m| m.write("sys/fs/cgroup/memory.max", "134217728"),
        Verdict::Fail,
        "--memory 1g",
    ),
    Broken(
        "container_memory",
        |m| {
            m.write("proc/self/cgroup", "4:memory:/docker/x\n0::/\n");
            m.write("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "300000000");
        },
        Verdict::Warn,
        "--memory 1g",
    ),
    Broken(
        "container_cpu",
        |m| m.write("sys/fs/cgroup/cpu.max", "50000 100000"),
        Verdict::Warn,
        "--cpus 2",
    ),
    Broken(
        "container_cpu",
        |m| {
            m.write("proc/self/cgroup", "2:cpu,cpuacct:/x\n");
            m.write("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "20000");
            m.write("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000");
        },
        Verdict::Warn,
        "--cpus 2",
    ),
    Broken(
        "memlock",
        |m| {
            m.ordinary_user();
            m.edit(
                "proc/self/limits",
                "Max locked memory         unlimited",
                "Max locked memory 8388608",
            );
        },
        Verdict::Warn,
        "LimitMEMLOCK=infinity",
    ),
    Broken(
        "open_files",
        |m| m.edit("proc/self/limits", "65536  ", "128    "),
        Verdict::Fail,
        "ulimit -n 65536",
    ),
    Broken(
        "open_files",
        |m| m.edit("proc/self/limits", "65536  ", "1024   "),
        Verdict::Warn,
        "ulimit -n 65536",
    ),
    Broken("net_admin", |m| m.ordinary_user(), Verdict::Warn, "setcap cap_net_admin+ep"),
    Broken(
        "net_admin",
        |m| m.edit("proc/self/status", "000001ffffffffff", "00000000a80425fb"),
        Verdict::Fail,
        "--cap-add NET_ADMIN",
    ),
    Broken(
        "dpdk_library",
        |m| m.remove(&format!("{LIB}/librte_eal.so.23")),
        Verdict::Fail,
        "apt install libdpdk-dev",
    ),
    Broken(
        "dpdk_library",
        |m| {
            m.remove(&format!("{LIB}/librte_eal.so.23"));
            m.write(&format!("{LIB}/librte_eal.so.24"), "");
        },
        Verdict::Fail,
        "libdpdk-dev=22.11",
    ),
    Broken("dpdk_drivers", |m| m.remove(&format!("{LIB}/dpdk")), Verdict::Fail, "apt install dpdk"),
    Broken(
        "dpdk_drivers",
        |m| m.remove(&format!("{LIB}/dpdk/pmds-23.0/librte_net_tap.so")),
        Verdict::Warn,
        "librte-net-tap23",
    ),
    Broken(
        "hugepages",
        |m| m.write(&format!("{HUGE}/free_hugepages"), "0"),
        Verdict::Warn,
        "dpdk-hugepages.py -p 2M --setup 512M",
    ),
    Broken("hugepage_users", |m| m.host.answer = Answer::Absent, Verdict::Warn, "--clear"),
    Broken("hugetlbfs", |m| m.write("proc/self/mounts", ""), Verdict::Warn, "mount -t hugetlbfs"),
    Broken(
        "hugetlbfs",
        |m| {
            m.ordinary_user();
            m.set_mode("dev/hugepages", 0o755);
        },
        Verdict::Warn,
        "uid=1000",
    ),
    Broken("tun", |m| m.remove("dev/net/tun"), Verdict::Fail, "modprobe tun"),
    Broken(
        "tun",
        |m| {
            m.ordinary_user();
            m.set_mode("dev/net/tun", 0o600);
        },
        Verdict::Warn,
        "chmod 666 /dev/net/tun",
    ),
    Broken("run_directory", |m| m.set_mode("run", 0o777), Verdict::Fail, "chmod 755"),
    Broken(
        "run_directory",
        |m| {
            m.ordinary_user();
            m.set_mode("run", 0o755);
            m.host.run_dir = m.host.path("proc/none/io-pkt");
        },
        Verdict::Warn,
        "install -d -m 755 -o 1000",
    ),
    Broken(
        "daemon",
        |m| m.host.answer = Answer::Absent,
        Verdict::Warn,
        "io-pkt -d net_tap iface=iop0",
    ),
    Broken("daemon", |m| m.host.answer = trouble(), Verdict::Fail, "sudo iopkt"),
    Broken(
        "version",
        |m| m.host.answer = Answer::Here(DaemonRow { version: "9.9".into(), ..running() }),
        Verdict::Fail,
        "installed with the daemon",
    ),
    Broken(
        "other_daemons",
        |m| {
            m.write("proc/99/comm", "io-pkt\n");
            m.host.instances.push("/alt".into());
        },
        Verdict::Warn,
        "iopkt --sock /alt status",
    ),
    Broken(
        "metrics_port",
        |m| {
            m.host.answer = Answer::Absent;
            m.edit("proc/net/tcp", "0100007F:1F90", "0100007F:2506");
        },
        Verdict::Warn,
        "ss -ltnp 'sport = :9478'",
    ),
    Broken(
        "preload_library",
        |m| m.host.library = Err(NotFound { looked: vec![PathBuf::from("/usr/lib")] }),
        Verdict::Warn,
        "IOPKT_PRELOAD",
    ),
    Broken("preload_readable", |m| m.set_mode("usr/local", 0o700), Verdict::Warn, "/usr/local/lib"),
];

fn trouble() -> Answer {
    Answer::Trouble(Failure::new(
        77,
        "uid 1000 may not open /x; look at: ls -l /x; or: sudo iopkt".into(),
    ))
}

#[test]
fn each_broken_machine_gets_its_verdict_and_its_fix() {
    for Broken(check, break_it, verdict, part) in BROKEN {
        let mut machine = Machine::healthy();
        break_it(&mut machine);
        let finding = machine.finding(check);
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        let fix = finding.fix.clone().unwrap_or_default();
        assert!(fix.contains(part), "{part:?} is not the fix in {finding:?}");
    }
}

#[test]
fn every_check_was_broken_once() {
    for Check(check, _) in CHECKS {
        assert!(BROKEN.iter().any(|Broken(name, ..)| *name == check), "{check}");
    }
}

#[test]
fn no_hugepages_are_fine() {
    let machine = Machine::healthy();
    machine.remove(HUGE);
    machine.write("proc/self/mounts", "");
    for check in ["hugepages", "hugetlbfs", "hugepage_users"] {
        assert_eq!(machine.finding(check).verdict, Verdict::Ok, "{check}");
    }
    assert!(machine.finding("hugepages").found.contains("4 KiB pages (E0101)"));
}

#[test]
fn an_empty_root_panics_nowhere() {
    let folder = tempfile::tempdir().expect("folder");
    let mut machine = Machine::healthy();
    machine.host.root = folder.path().to_owned();
    assert_eq!(examine(&machine.host).len(), CHECKS.len());
}

#[test]
fn the_report_as_text() {
    let findings = [
        Finding { check: "tun", ..Finding::ok("fine") },
        Finding { check: "cpus", ..Finding::warn("one", "add one") },
        Finding { check: "daemon", ..Finding::fail("gone\u{1b}[2J", "start it") },
    ];
    let expected = "\
ok    tun               fine
warn  cpus              one
                        fix: add one
FAIL  daemon            gone\\u{1b}[2J
                        fix: start it
3 checks: 1 ok, 1 to look at, 1 failed
";
    assert_eq!(render(&findings), expected);
}

#[test]
fn a_socket_directory_that_a_daemon_has_left_to_its_user_is_told_of() {
    let machine = Machine::healthy();
    let folder = machine.host.run_dir.join("dev");
    fs::create_dir(&folder).expect("made");
    let owned = std::os::unix::fs::chown(&folder, Some(33), Some(33));
    if owned.is_err() {
        // Only root gives away.
        return;
    }
    let finding = service::run_directory(&machine.host);
    assert_eq!(finding.verdict, Verdict::Warn, "{finding:?}");
    assert!(finding.fix.is_some_and(|fix| fix.contains("chown -R root:")));
}
