//! The options: name, value, limits, and what each does here.

use super::{Effect, Kind, Round, StackOption};
use crate::config::Config;
use crate::tuning::{SOMAXCONN_MAX, SOMAXCONN_MIN, hostname};

/// `MCLBYTES` and QNX's page, from which clusters and pools begin.
const CLUSTER_MIN: u32 = 2048;
const CLUSTER_MAX: u32 = 16 * 1024;
const PAGE_MIN: u32 = 4096;
const PAGE_MAX: u32 = 16 * 1024 * 1024;

const fn at_least(least: u32) -> Kind {
    within(least, u32::MAX)
}

const fn within(least: u32, most: u32) -> Kind {
    Kind::Number { bare: None, least, most, round: Round::Not }
}

/// A real-time priority.
const fn priority() -> Kind {
    within(*dpdk::priority::RANGE.start(), *dpdk::priority::RANGE.end())
}

const fn option(names: &'static [&'static str], kind: Kind, text: &'static str) -> StackOption {
    StackOption { names, kind, effect: Effect::Nothing, text }
}

impl StackOption {
    const fn sets(self, set: fn(&mut Config, u32)) -> Self {
        Self { effect: Effect::Number(set), ..self }
    }

    const fn is(self, tunable: &'static str) -> Self {
        Self { effect: Effect::Tunable(tunable), ..self }
    }
}

const NO_THREADS: &str = "a call that waits costs no thread, so there is no limit to reach";
const NO_STACKS: &str = "a call that waits has no stack";
const NO_IPSEC: &str = "this io-pkt has no IPsec yet";
const ONE_TABLE: &str =
    "there is one routing table; start a daemon for each (-i 1, -i 2) and choose with SOCK";
const SLEEPS: &str = "idle workers sleep until the next timer is due (--idle adaptive)";

/// All of them.
pub(crate) static STACK_OPTIONS: &[StackOption] = &[
    StackOption {
        names: &["prefix"],
        kind: Kind::Text,
        effect: Effect::Text(|config, text| config.prefix = text.into()),
        text: "stands before all paths of the stack; clients say SOCK=/alt",
    },
    option(
        &["forward"],
        Kind::Switch,
        "packets for others are passed on (sysctl net.inet.ip.forwarding)",
    )
    .is("net.inet.ip.forwarding"),
    option(
        &["fastforward"],
        Kind::Switch,
        "as forward; there is one path, and =0 takes nothing from it",
    )
    .sets(|config, on| config.tuning.host.forward |= on != 0),
    option(
        &["forward6"],
        Kind::Switch,
        "IPv6 packets for others are passed on (sysctl net.inet6.ip6.forwarding)",
    )
    .is("net.inet6.ip6.forwarding"),
    option(&["ipsec"], Kind::Switch, NO_IPSEC),
    option(&["nocryptodev"], Kind::Switch, "there is no /dev/crypto to leave out"),
    option(&["pfil_ipsec"], Kind::Switch, NO_IPSEC),
    option(&["threads_min"], at_least(4), NO_THREADS),
    option(&["threads_max"], at_least(4), NO_THREADS),
    option(&["threads_incr"], at_least(4), NO_THREADS),
    option(&["stacksize"], at_least(4096), NO_STACKS),
    option(
        &["bigstack"],
        Kind::Number { bare: Some(128 * 1024), least: 4096, most: u32::MAX, round: Round::Not },
        "drivers are loaded on the control thread's stack, which grows to ulimit -s",
    ),
    option(&["stackguard"], Kind::Switch, "all stacks have guard pages"),
    option(
        &["recv_ctxt"],
        Kind::Number { bare: None, least: 4096, most: 512 * 1024, round: Round::Multiple(2048) },
        "bytes travel in memory that a client shares with the workers, in no message",
    ),
    option(
        &["reply_ctxt"],
        within(32, 512),
        "bytes travel in memory that a client shares with the workers, in no message",
    ),
    option(
        &["rx_prio", "rx_pulse_prio", "rx_prio_pulse"],
        priority(),
        "priority of the workers, SCHED_RR; without it, and without -r, they are ordinary threads",
    )
    .sets(|config, priority| config.rx_priority = Some(priority)),
    option(
        &["timer_pulse_prio"],
        priority(),
        "timers run in the workers, whose priority is rx_prio",
    ),
    option(
        &["somaxconn"],
        within(SOMAXCONN_MIN, SOMAXCONN_MAX),
        "most connections that may wait at a listener (sysctl kern.somaxconn; 4096)",
    )
    .is("kern.somaxconn"),
    option(
        &["mbuf_cache"],
        at_least(0),
        "a buffer of DPDK has its cluster with it; pkt_cache is for both",
    ),
    option(
        &["pkt_cache"],
        within(0, dpdk::CACHE_MAX),
        "packet buffers that each worker keeps at hand (256)",
    )
    .sets(|config, buffers| config.tuning.fixed.cache = buffers),
    option(&["mtag_cache"], at_least(0), "packets have no tags"),
    option(
        &["mclbytes"],
        Kind::Number {
            bare: None,
            least: CLUSTER_MIN,
            most: CLUSTER_MAX,
            round: Round::PowerOfTwo,
        },
        "a packet buffer has 2048 bytes; longer frames take several",
    ),
    option(
        &["pagesize"],
        Kind::Number { bare: None, least: PAGE_MIN, most: PAGE_MAX, round: Round::PowerOfTwo },
        "packet memory is taken at the start and does not grow; it is on hugepages if enough are free",
    ),
    option(
        &["bigpage_strict"],
        Kind::Number { bare: Some(1), least: 0, most: PAGE_MAX, round: Round::Not },
        "packet memory is taken at the start; iopkt doctor tells of hugepages",
    ),
    option(
        &["pkt_typed_mem"],
        Kind::Text,
        "packet memory is hugepages, or ordinary pages (--no-huge); its node: -- --socket-mem",
    ),
    option(&["cache"], Kind::Switch, "packet memory is always cached"),
    option(&["random"], Kind::Switch, "random numbers are always the kernel's, getrandom(2)"),
    option(
        &["reuseport_unicast"],
        Kind::Switch,
        "a UDP datagram to one address goes to all sockets that share its port \
         (sysctl net.inet.udp.reuseport_unicast); with one worker",
    )
    .is("net.inet.udp.reuseport_unicast"),
    option(
        &["confstr_monitor"],
        Kind::Switch,
        "kern.hostname is the system's name as it changes; else as it was at the start",
    )
    .sets(|config, follow| {
        config.tuning.fixed.hostname = (follow == 0).then(hostname);
    }),
    option(
        &["enmap"],
        Kind::Switch,
        "interfaces have no aliases; the driver's option name=en calls them en0, en1",
    ),
    option(
        &["so_txprio_enable"],
        Kind::Switch,
        "there is no SO_TXPRIO; SO_PRIORITY and IP_TOS need no leave",
    ),
    option(&["mfib_enable"], Kind::Switch, ONE_TABLE),
    option(&["mfib_gid_map"], Kind::Text, ONE_TABLE),
    option(
        &["rgroup_allowed"],
        Kind::Number { bare: Some(0), least: 0, most: u32::MAX - 1, round: Round::Not },
        "members of this group (alone: 0) may do what root may: change the stack, bind ports below 1024",
    )
    .sets(|config, gid| config.rgroup = Some(gid)),
    option(
        &["min_fperms"],
        Kind::Mode,
        "permissions that the stack's path has in any case, whatever -u takes away (0666 without -u)",
    )
    .sets(|config, mode| config.min_fperms = mode),
    option(
        &["num_tap_interface"],
        at_least(0),
        "as many -d net_tap as you like, at the start and later (iopkt mount)",
    ),
    option(
        &["num_tun_control_interface"],
        at_least(0),
        "there is no /dev/tun; as many -d net_tap as you like",
    ),
    option(&["strict_ts"], Kind::Switch, "time never steps back here, and is in nanoseconds"),
    option(&["timertol"], within(0, 1000), SLEEPS),
    option(&["tickstop_min"], at_least(0), SLEEPS),
    option(&["tickstop_max"], at_least(0), SLEEPS),
    option(&["gtimerlib"], Kind::Text, SLEEPS),
    option(&["altq"], Kind::Switch, "queues are not shaped; SO_MAX_PACING_RATE paces a connection"),
];
