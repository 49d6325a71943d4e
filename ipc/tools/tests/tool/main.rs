//! The real binary against a daemon that answers from fixed rows: what is said, where, and the
//! exit code.

mod daemon;

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use daemon::{Stack, library, obliging};
use proto::message::{Load, NewRoute, Onward};
use proto::table::{DaemonRow, TunableRow};
use proto::{Answer, Reply, Request};
use types::MacAddr;

const EEXIST: i32 = 17;
const EPERM: i32 = 1;
const ESRCH: i32 = 3;

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The command fails with this code, says this on stderr in one line, and nothing on stdout.
fn assert_fails(output: &Output, code: i32, parts: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty(), "stdout is for data");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn each_table_shows_the_daemons_rows() {
    let stack = Stack::start(obliging);
    for (line, part) in [
        ("ifconfig", "tap0: flags=8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST> mtu 1500\n"),
        ("ifconfig -a", "\tinet 198.18.77.2 netmask 0xffffff00 broadcast 198.18.77.255\n"),
        ("ifconfig tap0", "kernel peer: iop0\n"),
        ("netstat -rn", "198.18.77.0/24  link     UC     tap0\n"),
        ("netstat -i", "tap0  1500  <Link>          02:00:00:00:00:01"),
        ("netstat -s -p tcp", "tcp:\n\t7 segments received\n"),
        ("netstat -m", "1/4 mbufs in use (25%)"),
        ("arp -an", "? (198.18.77.1) at 02:00:00:00:00:02 on tap0 [reachable, expires in 30 s]\n"),
        ("route -n show", "Routing tables"),
        ("route get 198.18.77.9", "destination: 198.18.77.0/24\n"),
        ("clients", "nginx\n"),
        ("workers", "     0    1        4   25%       2\n"),
        (
            "top -w 0.01 -c 2",
            "Worker  CPU  Busy  Breaths/s  Sleeps/s\n     0    1    0%          0         0\n",
        ),
        ("status", " on DPDK 22.11.11, pid 7, up 1 s\n"),
        ("sysctl -a", "kern.somaxconn = 4096\n"),
        ("sysctl -n kern", "4096\n"),
        ("sysctl -w kern.somaxconn=4096", "kern.somaxconn: 4096 -> 4096\n"),
    ] {
        let output = stack.iopkt(line);
        assert!(stdout(&output).contains(part), "{line}: {}", stdout(&output));
        assert_eq!(stderr(&output), "", "{line}");
    }
    assert_eq!(stdout(&stack.iopkt("ifconfig -l")), "tap0\n");
}

#[test]
fn all_pages_of_sockets_are_read_and_names_escaped() {
    let stack = Stack::start(obliging);
    let all = stdout(&stack.iopkt("netstat -an"));
    assert_eq!(all.lines().count(), 5, "{all}");
    assert!(all.contains("198.18.77.2.80") && all.contains("42/ng\\u{1b}inx"), "{all}");
    assert!(!all.contains('\u{1b}'));
    let connected = stdout(&stack.iopkt("netstat"));
    assert!(!connected.contains("LISTEN"), "{connected}");
    assert!(!stdout(&stack.iopkt("netstat -a -p udp")).contains("tcp"));
}

#[test]
fn json_is_the_rows_themselves() {
    let stack = Stack::start(obliging);
    for (line, pointer, value) in [
        ("ifconfig --json", "/0/addresses/0/address", "\"198.18.77.2\""),
        ("ifconfig tap0 --json", "/0/mac", "\"02:00:00:00:00:01\""),
        ("ifconfig -l --json", "/0", "\"tap0\""),
        ("netstat -a --json", "/2/local", "\"198.18.77.2:82\""),
        ("netstat -r --json", "/0/gateway", "null"),
        ("netstat -i --json", "/0/tx_bytes", "120"),
        ("netstat -s --json", "/0/value", "7"),
        ("netstat -m --json", "/total", "4"),
        ("arp --json", "/0/state", "\"reachable\""),
        ("route show --json", "/0/flags", "\"UC\""),
        ("route --json get 198.18.77.9", "/interface", "\"tap0\""),
        ("clients --json", "/0/pid", "42"),
        ("workers --json", "/0/cpu", "1"),
        ("status --json", "/daemon/dpdk", "\"22.11.11\""),
        ("sysctl --json", "/0/value", "\"4096\""),
    ] {
        let text = stdout(&stack.iopkt(line));
        let json: serde_json::Value = serde_json::from_str(&text).expect(line);
        let found = json.pointer(pointer).map(ToString::to_string);
        assert_eq!(found.as_deref(), Some(value), "{line}: {text}");
        assert_eq!(text.lines().count(), 1, "{line}");
    }
}

fn added(destination: IpAddr, prefix_len: u8, gateway: IpAddr) -> Request {
    let onward = Onward::Gateway(gateway);
    let route = NewRoute { destination, prefix_len, onward, mtu: None };
    Request::AddRoute { table: 0, route }
}

fn gone(destination: IpAddr, prefix_len: u8, gateway: Option<IpAddr>) -> Request {
    Request::DeleteRoute { table: 0, destination, prefix_len, gateway }
}

#[test]
fn changes_become_requests() {
    let interface = || "tap0".to_owned();
    let v4 = |a, b, c, d| IpAddr::from(Ipv4Addr::new(a, b, c, d));
    let (ten, one, host) = (v4(10, 0, 0, 0), v4(10, 0, 0, 1), v4(198, 18, 77, 9));
    let (old, six) = (v4(198, 18, 77, 2), |text: &str| text.parse::<IpAddr>().unwrap());
    let add = || Request::AddAddress { interface: interface(), address: one, prefix_len: 8 };
    let delete = |address| Request::DeleteAddress { interface: interface(), address };
    for (line, requests) in [
        ("ifconfig tap0 10.0.0.1/8 alias", vec![add()]),
        // Without alias the first address is replaced.
        (
            "ifconfig tap0 inet 10.0.0.1 netmask 255.0.0.0",
            vec![Request::SetAddress {
                interface: interface(),
                address: Ipv4Addr::new(10, 0, 0, 1),
                prefix_len: 8,
            }],
        ),
        ("ifconfig tap0 198.18.77.2 -alias", vec![delete(old)]),
        // An address of IPv6 replaces none, and has the prefix of a link if nothing is said.
        (
            "ifconfig tap0 inet6 2001:db8::2",
            vec![Request::AddAddress {
                interface: interface(),
                address: six("2001:db8::2"),
                prefix_len: 64,
            }],
        ),
        ("ifconfig tap0 inet6 2001:db8::2 -alias", vec![delete(six("2001:db8::2"))]),
        ("route add -inet6 default 2001:db8::1", vec![added(six("::"), 0, six("2001:db8::1"))]),
        ("route delete 2001:db8:9::/48", vec![gone(six("2001:db8:9::"), 48, None)]),
        ("ndp -d 2001:db8::9", vec![Request::DeleteNeighbor { address: six("2001:db8::9") }]),
        (
            "ifconfig tap0 mtu 9000 down",
            vec![
                Request::SetMtu { interface: interface(), mtu: 9000 },
                Request::SetUp { interface: interface(), up: false },
            ],
        ),
        ("route add -net 10.0.0.0/8 198.18.77.9", vec![added(ten, 8, host)]),
        ("route delete 10.0.0.0/8 198.18.77.9", vec![gone(ten, 8, Some(host))]),
        (
            "arp -s 198.18.77.9 02:00:00:00:00:09",
            vec![Request::AddNeighbor { address: host, mac: MacAddr([2, 0, 0, 0, 0, 9]) }],
        ),
        ("arp -d 198.18.77.9", vec![Request::DeleteNeighbor { address: host }]),
        ("arp -d -a", vec![Request::DeleteNeighbor { address: v4(198, 18, 77, 1) }]),
    ] {
        let stack = Stack::start(obliging);
        assert_eq!(stdout(&stack.iopkt(line)), "", "{line}");
        let mut asked = stack.asked();
        asked.retain(|r| !matches!(r, Request::Interfaces(_) | Request::Neighbors(_)));
        assert_eq!(asked, requests, "{line}");
    }
}

#[test]
fn wrong_words_are_usage_errors_and_ask_nothing() {
    let stack = Stack::start(obliging);
    for (line, part) in [
        ("ifconfg", "ifconfig"),
        ("netstat -x", "-x"),
        ("netstat -r -i", "cannot be used"),
        ("ifconfig tap0 10.0.0.1", "write 10.0.0.1/24"),
        ("ifconfig tap0 10.0.0.1/24 netmsk 255.0.0.0", "did you mean netmask?"),
        ("route add default", "by which gateway?"),
        ("route ad default 10.0.0.1", "did you mean add?"),
        ("arp -d", "needs a host"),
        ("arp -s 10.0.0.1", "-s"),
        ("run", "COMMAND"),
        ("traceroute -f 9 -m 3 10.0.0.1", "write -m 9 or more"),
        ("man nothing", "no command"),
    ] {
        assert_fails(&stack.iopkt(line), 64, &[part]);
    }
    assert_eq!(stack.asked(), []);
}

#[test]
fn a_file_of_routes_is_sent_and_waited_for() {
    let folder = std::env::temp_dir().join(format!("iopkt-routes-{}", std::process::id()));
    std::fs::write(&folder, "10.0.0.0/8 198.18.77.9\n10.1.0.0/16 -reject\n").unwrap();
    let stack = Stack::start(obliging);
    let output = stack.iopkt(&format!("route load -replace {}", folder.display()));
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(stdout(&output), "2 routes taken, 0 refused, 0 of earlier loads gone\n");
    let steps = stack.asked();
    let [Request::LoadRoutes(Load::Begin), Request::LoadRoutes(Load::Routes(routes)), rest @ ..] =
        steps.as_slice()
    else {
        panic!("{steps:?}");
    };
    assert_eq!(routes.len(), 2);
    let end = [Load::End { replace: true }, Load::Ask].map(Request::LoadRoutes);
    assert_eq!(rest, end);
}

#[test]
fn refusals_say_what_and_what_next() {
    let stack = Stack::start(|request| match request {
        Request::AddRoute { .. } => Err(EEXIST),
        Request::DeleteRoute { .. } => Err(ESRCH),
        Request::SetUp { .. } => Err(EPERM),
        Request::DeleteNeighbor { .. } => Err(ESRCH),
        other => obliging(other),
    });
    let output = stack.iopkt("route add 10.0.0.0/8 198.18.77.9");
    assert_fails(&output, 1, &["cannot add 10.0.0.0/8", "iopkt route delete 10.0.0.0/8"]);
    assert_fails(&stack.iopkt("route delete default"), 1, &["no such route", "iopkt route show"]);
    let output = stack.iopkt("ifconfig tap0 up");
    assert_fails(&output, 77, &["only root", "sudo IOPKT_RUN=", "iopkt ifconfig tap0 up"]);
    assert_eq!(stderr(&output).lines().count(), 1);
    assert_fails(&stack.iopkt("ifconfig tap9"), 1, &["no interface \"tap9\"; there are: tap0"]);
    assert_fails(&stack.iopkt("route get 9.9.9.9"), 1, &["iopkt route add default"]);
    for (line, all) in [("arp -d 10.0.0.9", "iopkt arp -an"), ("ndp -d fe80::9", "iopkt ndp -an")] {
        assert_fails(&stack.iopkt(line), 1, &["9 is not in the table", all]);
    }
    // It was there when the table was read.
    assert_eq!(stdout(&stack.iopkt("arp -d -a")), "");
    assert_fails(&stack.iopkt("netstat -p sctp"), 64, &["tcp, udp or module"]);
}

#[test]
fn a_tunable_that_is_not_set_says_why() {
    let stack = Stack::start(obliging);
    let output = stack.iopkt("sysctl kern.somaxconn=1");
    assert_fails(&output, 1, &["kern.somaxconn: write a number from 128 to 65535"]);
    assert_fails(&stack.iopkt("sysctl kern.nothing"), 1, &["no such tunable", "iopkt sysctl -a"]);
    assert_fails(&stack.iopkt("sysctl -w kern.somaxconn"), 64, &["write NAME=VALUE"]);
}

#[test]
fn a_tunable_is_shown_as_it_is_after_what_the_line_sets() {
    let stack = Stack::absent();
    let value = Mutex::new("4096".to_owned());
    stack.serve("dev/socket", move |call| {
        let mut value = value.lock().expect("unpoisoned");
        let row = |value: &str| TunableRow {
            name: "kern.somaxconn".into(),
            value: value.into(),
            writable: true,
            text: String::new(),
        };
        let result = match &call.request {
            Request::Tunables => Ok(Reply::Tunables(vec![row(&value)])),
            Request::SetTunable { value: new, .. } => {
                value.clone_from(new);
                Ok(Reply::Done)
            }
            _ => Err(EPERM),
        };
        proto::emit(&Answer { sequence: call.sequence, result }).expect("short")
    });
    let output = stack.iopkt("sysctl kern.somaxconn=200 kern.somaxconn kern.somaxconn=300");
    let lines: Vec<String> = stdout(&output).lines().map(String::from).collect();
    assert_eq!(
        lines,
        ["kern.somaxconn: 4096 -> 200", "kern.somaxconn: 200 -> 300", "kern.somaxconn = 300"]
    );
}

#[test]
fn an_absent_daemon_is_69_and_other_stacks_are_named() {
    let stack = Stack::absent();
    let start = "start it: sudo io-pkt -d net_tap iface=iop0";
    let at = format!("io-pkt is not running at {}", stack.socket());
    assert_fails(&stack.iopkt("status"), 69, &[&at, start]);

    stack.serve("alt/dev/socket", |call| {
        let result = Ok(Reply::Daemon(DaemonRow { prefix: "/alt".into(), ..daemon::daemon() }));
        proto::emit(&Answer { sequence: call.sequence, result }).expect("short")
    });
    assert_fails(&stack.iopkt("ifconfig"), 69, &["others here: --sock /alt"]);
    assert!(stdout(&stack.iopkt("--sock /alt netstat -m")).contains("1/4"));
    assert!(stdout(&stack.iopkt("netstat -m --sock /alt")).contains("1/4"));
    let by_variable = stack.command("netstat -m").env("SOCK", "/alt").output().expect("runs");
    assert!(stdout(&by_variable).contains("1/4"));
    assert_fails(&stack.iopkt("--sock /x status"), 69, &["prefix=/x"]);
}

#[test]
fn a_silent_daemon_is_69_after_five_seconds_also_for_those_who_wait_longer() {
    let stack = Stack::absent();
    stack.serve("dev/socket", |_| {
        loop {
            std::thread::park();
        }
    });
    let spawn = |line: &str| {
        let mut command = stack.command(line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs")
    };
    // All at once: each takes as long.
    let doctor = spawn("doctor");
    let asking = ["status", "ifconfig tap0 up", "mount net_null", "route monitor", "ping 10.0.0.1"];
    let waiting = ["fpm --listen 127.0.0.1:0"];
    for child in asking.into_iter().chain(waiting).map(spawn).collect::<Vec<_>>() {
        let output = child.wait_with_output().expect("ends");
        assert_fails(&output, 69, &[&stack.socket(), "does not answer within 5 s", "kill -CONT"]);
    }
    let said = doctor.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("does not answer within 5 s"), "{said}");
}

#[test]
fn a_daemon_that_takes_long_to_mount_is_waited_for() {
    let stack = Stack::start(|request| match request {
        Request::Mount { .. } => {
            std::thread::sleep(Duration::from_secs(6));
            Ok(Reply::Mounted { interfaces: vec!["pair0".into()] })
        }
        other => obliging(other),
    });
    assert_eq!(stdout(&stack.iopkt("mount net_null")), "pair0\n");
}

#[test]
fn a_daemon_of_another_version_is_told_from_a_broken_one() {
    let garbage = Stack::absent();
    garbage.serve("dev/socket", |_| vec![0xff; 20]);
    let ours = format!("protocol {}", proto::VERSION);
    assert_fails(&garbage.iopkt("status"), 1, &["another version of the protocol", &ours]);

    let stale = Stack::absent();
    stale.serve("dev/socket", |call| {
        let answer = Answer { sequence: call.sequence + 1, result: Ok(Reply::Done) };
        proto::emit(&answer).expect("short")
    });
    assert_fails(&stale.iopkt("status"), 1, &["another version"]);
}

#[test]
fn run_gives_the_program_its_environment() {
    let stack = Stack::start(obliging);
    let preload = library(&stack.run_dir()).display().to_string();
    let mut command = stack.command("run --sock / --loopback stack -- env");
    let _ = command.env("IOPKT_PRELOAD", &preload).env("LD_PRELOAD", "/nowhere.so");
    let text = stdout(&command.output().expect("runs"));
    for line in [
        format!("LD_PRELOAD={preload}:/nowhere.so"),
        "SOCK=".into(),
        format!("IOPKT_RUN={}", stack.run_dir().display()),
        "IOPKT_LOOPBACK=stack".into(),
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
    }
    let mut command = stack.command("env");
    let exports = stdout(&command.env("IOPKT_PRELOAD", &preload).output().expect("runs"));
    assert!(
        exports.contains(&format!("export LD_PRELOAD={preload}\nexport SOCK=''\n")),
        "{exports}"
    );
}

#[test]
fn run_ends_as_its_program_ends() {
    let stack = Stack::start(obliging);
    let preload = library(&stack.run_dir());
    let run = |line: &str| {
        let mut command = stack.command(line);
        command.env("IOPKT_PRELOAD", &preload).output().expect("runs").status.code()
    };
    assert_eq!(run("run -- true"), Some(0));
    assert_eq!(run("run false --json"), Some(1));
    assert_eq!(run("run -- /nonexistent"), Some(127));
    assert_eq!(run("run -- /etc/passwd"), Some(126));
}

#[test]
fn run_says_what_is_missing() {
    let stack = Stack::absent();
    let preload = library(&stack.run_dir());
    let mut command = stack.command("run -- true");
    let output = command.env("IOPKT_PRELOAD", &preload).output().expect("runs");
    assert_fails(&output, 69, &["io-pkt is not running"]);

    let mut command = stack.command("run -- true");
    let output = command.env("IOPKT_PRELOAD", "/nonexistent.so").output().expect("runs");
    assert_fails(&output, 78, &["/nonexistent.so", "IOPKT_PRELOAD"]);
}

#[test]
fn doctor_reports_and_its_code_agrees_with_its_findings() {
    let stack = Stack::start(obliging);
    let output = stack.iopkt("doctor --json");
    let text = String::from_utf8(output.stdout).expect("text");
    let rows: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let rows = rows.as_array().expect("rows");
    assert!(rows.len() >= 15, "{text}");
    let failed = rows.iter().any(|row| row["verdict"] == "fail");
    assert_eq!(output.status.code(), Some(if failed { 2 } else { 0 }), "{text}");
    for row in rows.iter().filter(|row| row["verdict"] != "ok") {
        assert!(row["fix"].is_string(), "{row}");
    }
    let daemon = rows.iter().find(|row| row["check"] == "daemon").expect("a row");
    assert_eq!(daemon["verdict"], "ok");

    let other = Stack::start(|request| match request {
        Request::Daemon => {
            Ok(Reply::Daemon(DaemonRow { version: "9.9".into(), ..daemon::daemon() }))
        }
        request => obliging(request),
    });
    let output = other.iopkt("doctor");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stdout).contains("FAIL  version"));
}

#[test]
fn a_link_named_after_a_tool_is_the_tool() {
    let stack = Stack::start(obliging);
    let link = stack.run_dir().join("ifconfig");
    symlink(env!("CARGO_BIN_EXE_iopkt"), &link).expect("linked");
    let output = Command::new(link).arg("-l").env("IOPKT_RUN", stack.run_dir()).output();
    assert_eq!(stdout(&output.expect("runs")), "tap0\n");
}

#[test]
fn help_completions_and_pages_need_no_daemon() {
    let stack = Stack::absent();
    assert!(stdout(&stack.iopkt("--help")).starts_with("Examples:\n"));
    assert!(stdout(&stack.iopkt("netstat --help")).starts_with("Examples:\n"));
    assert!(!stdout(&stack.iopkt("netstat -h")).contains("Examples"));
    assert!(stdout(&stack.iopkt("--version")).starts_with("iopkt "));
    assert!(stdout(&stack.iopkt("completions bash")).contains("_iopkt"));
    assert!(stdout(&stack.iopkt("man")).contains(".TH iopkt"));
    assert!(stdout(&stack.iopkt("man ifconfig")).contains("netmask"));
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let stack = Stack::start(obliging);
    let mut child = stack.command("completions bash").stdout(Stdio::piped()).spawn().expect("runs");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}
