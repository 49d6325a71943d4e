//! The tunables: name, meaning, how each is read and written.

use autoconf::limits::PROBES_MAX;
use inet::limits as host_limits;
use inet::network::ReversePath;
use tcp::{Algorithm, EcnMode, SynCookies, limits};

use super::{SOMAXCONN_MAX, SOMAXCONN_MIN, Tunable, Tuning, Write, hostname};
use crate::config::FastOpenKey;

/// The floor of peers' MSS: a larger one would be larger than most links carry.
pub(crate) const MINMSS: (u32, u32) = (limits::MSS_MIN as u32, 1460);
/// Errors that a host sends: more of them would be a flood of its own.
const PER_SECOND_MAX: u32 = 1_000_000;

/// Tables of routes, as many as FreeBSD began with.
const TABLES_MAX: u32 = 16;

/// Lives of temporary addresses: up to a year.
const TEMPORARY_S: (u32, u32) = (1, 31_536_000);

fn told(value: impl Into<u64>) -> String {
    value.into().to_string()
}

/// A setting that is a number within these limits.
macro_rules! number {
    ($name:literal, $text:literal, $limits:expr, $($field:ident).+) => {
        Tunable {
            name: $name,
            text: $text,
            read: |t| told(t.$($field).+),
            write: Write::Number($limits, |t, n| t.$($field).+ = fit(n)),
        }
    };
}

/// A setting that is on or off, 1 or 0.
macro_rules! flag {
    ($name:literal, $text:literal, $($field:ident).+) => {
        Tunable {
            name: $name,
            text: $text,
            read: |t| told(t.$($field).+),
            write: Write::Number((0, 1), |t, n| t.$($field).+ = n == 1),
        }
    };
}

/// A setting that is one of three, by its number.
macro_rules! choice {
    ($name:literal, $text:literal, $three:ident, $($field:ident).+) => {
        Tunable {
            name: $name,
            text: $text,
            read: |t| number_of($three, &t.$($field).+).to_string(),
            write: Write::Number((0, 2), |t, n| t.$($field).+ = by_number($three, n)),
        }
    };
}

fn number_of<T: PartialEq>([first, second, _]: [T; 3], one: &T) -> u8 {
    if *one == first {
        0
    } else if *one == second {
        1
    } else {
        2
    }
}

/// The one that has this number; numbers beyond have the last.
pub(crate) fn by_number<T>([first, second, third]: [T; 3], number: u32) -> T {
    match number {
        0 => first,
        1 => second,
        _ => third,
    }
}

/// A number within its limits, which its type has.
fn fit<T: TryFrom<u32> + Default>(number: u32) -> T {
    T::try_from(number).unwrap_or_default()
}

/// A tunable that only tells.
const fn fixed(name: &'static str, text: &'static str, read: fn(&Tuning) -> String) -> Tunable {
    Tunable { name, text, read, write: Write::Never }
}

/// All of them, by name.
pub(crate) static TUNABLES: &[Tunable] = &[
    fixed("hw.ncpu", "workers, one per core (-t)", |t| told(t.fixed.workers)),
    fixed("kern.hostname", "the host's name (-p tcpip confstr_monitor follows its changes)", |t| {
        t.fixed.hostname.clone().unwrap_or_else(hostname)
    }),
    fixed("kern.ident", "the name io-pkt was started by", |t| t.fixed.ident.clone()),
    fixed(
        "kern.mbuf.cache",
        "packet buffers each worker keeps at hand (-p tcpip pkt_cache=)",
        |t| told(t.fixed.cache),
    ),
    fixed("kern.mbuf.mclbytes", "bytes for data in a packet buffer", |_| {
        let room = u32::from(dpdk::MempoolOptions::default().data_room);
        told(room.saturating_sub(dpdk::HEADROOM))
    }),
    fixed("kern.mbuf.nmbclusters", "packet buffers in all", |t| told(t.fixed.buffers)),
    fixed("kern.osrelease", "version of io-pkt", |_| env!("CARGO_PKG_VERSION").into()),
    number!(
        "kern.somaxconn",
        "most connections that may wait at a listener; for listen() from now on",
        (SOMAXCONN_MIN, SOMAXCONN_MAX),
        somaxconn
    ),
    number!("net.fibs", "tables of routes; SO_SETFIB and -T name one", (1, TABLES_MAX), tables),
    number!(
        "net.inet.icmp.errppslimit",
        "most ICMP errors per second to one group of strangers",
        (0, PER_SECOND_MAX),
        host.icmp_errors_per_second
    ),
    flag!(
        "net.inet.icmp.rediraccept",
        "1: go by a nearer router that the one in use names, where nothing is passed on for others",
        host.redirects_believed
    ),
    fixed("net.inet.ip.anonportmax", "last port for sockets that ask for none", |_| {
        told(crate::ephemeral::LAST)
    }),
    fixed("net.inet.ip.anonportmin", "first port for sockets that ask for none", |_| {
        told(crate::ephemeral::FIRST)
    }),
    fixed(
        "net.inet.ip.directed-broadcast",
        "broadcasts to a network of ours from outside: never passed on",
        |_| told(0_u8),
    ),
    fixed("net.inet.ip.do_loopback_cksum", "checksums within the host: never", |_| told(0_u8)),
    flag!("net.inet.ip.forwarding", "1: pass packets for others on", host.forward),
    fixed("net.inet.ip.forwsrcrt", "packets with a source route: never passed on", |_| told(0_u8)),
    flag!(
        "net.inet.ip.redirect",
        "1: tell senders of a router on their link that is nearer",
        host.redirects
    ),
    choice!(
        "net.inet.ip.rpfilter",
        "packets for others: 0 from anywhere, 1 over the interface that leads back to their source, \
         2 from sources to which there is a route",
        REVERSE_PATH,
        host.reverse_path
    ),
    number!("net.inet.ip.ttl", "time to live of packets of new sockets", (1, 255), ttl),
    Tunable {
        name: "net.inet.tcp.congctl.available",
        text: "congestion control algorithms",
        read: |_| ALGORITHMS.map(Algorithm::name).join(" "),
        write: Write::Never,
    },
    Tunable {
        name: "net.inet.tcp.congctl.selected",
        text: "congestion control of new sockets",
        read: |t| t.congestion.name().into(),
        write: Write::Text(|t, text| {
            t.congestion = Algorithm::from_name(text).ok_or("write cubic, reno or bbr")?;
            Ok(())
        }),
    },
    fixed("net.inet.tcp.do_loopback_cksum", "checksums within the host: never", |_| told(0_u8)),
    choice!(
        "net.inet.tcp.ecn.enable",
        "ECN: 0 never, 1 ask for it and accept, 2 accept",
        ECN,
        tcp.ecn
    ),
    Tunable {
        name: "net.inet.tcp.fastopen.setkey",
        text: "key of Fast Open cookies, 32 hexadecimal digits; only whether there is one is told",
        read: |t| told(t.tcp.fast_open_key.is_some()),
        write: Write::Text(|t, text| {
            t.tcp.fast_open_key = Some(FastOpenKey::try_from(text.to_owned())?.0);
            Ok(())
        }),
    },
    fixed("net.inet.tcp.init_win", "segments of the initial window", |_| {
        told(limits::INITIAL_WINDOW_SEGMENTS)
    }),
    number!(
        "net.inet.tcp.minmss",
        "a peer's MSS below this one counts as this one",
        MINMSS,
        tcp.mss_floor
    ),
    fixed("net.inet.tcp.mssdflt", "MSS of a peer that sends none", |_| told(limits::MSS_DEFAULT)),
    flag!("net.inet.tcp.pacing", "1: pace cubic and reno too, as bbr always is", tcp.pacing),
    fixed("net.inet.tcp.recvbuf_max", "largest receive buffer", |_| {
        told(host_limits::RECEIVE_BUFFER_MAX)
    }),
    fixed("net.inet.tcp.recvspace", "receive buffer to begin with; it grows", |_| {
        told(host_limits::RECEIVE_BUFFER)
    }),
    number!(
        "net.inet.tcp.rstppslimit",
        "most RSTs per second to one group of strangers",
        (0, PER_SECOND_MAX),
        host.resets_per_second
    ),
    flag!(
        "net.inet.tcp.sack.enable",
        "1: offer selective acknowledgments; for connections from now on",
        tcp.sack
    ),
    fixed("net.inet.tcp.sendbuf_max", "largest send buffer", |_| {
        told(host_limits::SEND_BUFFER_MAX)
    }),
    fixed("net.inet.tcp.sendspace", "send buffer to begin with; it grows", |_| {
        told(host_limits::SEND_BUFFER)
    }),
    choice!(
        "net.inet.tcp.syncookies",
        "SYN cookies: 0 never, 1 while many connections are half-open, 2 always",
        SYN_COOKIES,
        tcp.syn_cookies
    ),
    flag!(
        "net.inet.tcp.timestamps",
        "1: offer timestamps; for connections from now on",
        tcp.timestamps
    ),
    flag!(
        "net.inet.tcp.user_timeout_option",
        "1: tell peers of TCP_USER_TIMEOUT and believe theirs (RFC 5482)",
        tcp.user_timeout_option
    ),
    fixed("net.inet.tcp.win_scale", "window scale that is offered", |_| {
        told(host_limits::WINDOW_SCALE)
    }),
    fixed("net.inet.udp.do_loopback_cksum", "checksums within the host: never", |_| told(0_u8)),
    fixed("net.inet.udp.recvspace", "receive buffer", |_| told(host_limits::RECEIVE_BUFFER)),
    flag!(
        "net.inet.udp.reuseport_unicast",
        "1: a datagram to one address goes to all sockets that share its port",
        host.udp_to_all
    ),
    flag!(
        "net.inet6.icmp6.rediraccept",
        "1: the same as net.inet.icmp.rediraccept for IPv6",
        host.redirects6_believed
    ),
    flag!(
        "net.inet6.ip6.accept_rtadv",
        "1: believe the routers of every link, and make addresses from what they advertise",
        accept_routers
    ),
    number!(
        "net.inet6.ip6.dad_count",
        "probes for an address before it is used, one a second; 0: it is used at once",
        (0, PROBES_MAX as u32),
        dad_count
    ),
    flag!(
        "net.inet6.ip6.dad_optimistic",
        "1: addresses that the stack makes are used while others are asked for them (RFC 4429)",
        optimistic
    ),
    flag!("net.inet6.ip6.forwarding", "1: pass IPv6 packets for others on", host.forward6),
    flag!(
        "net.inet6.ip6.prefer_tempaddr",
        "1: what begins here comes from a temporary address where there is one",
        prefer_temporary
    ),
    Tunable {
        name: "net.inet6.ip6.stable_secret",
        text: "what addresses from advertised prefixes are made with, 32 hexadecimal digits; only whether there \
               is one is told, and /etc/machine-id stands for it (for interfaces from now on)",
        read: |t| told(t.stable_secret.is_some()),
        write: Write::Text(|t, text| {
            t.stable_secret = Some(FastOpenKey::try_from(text.to_owned())?.0);
            Ok(())
        }),
    },
    number!(
        "net.inet6.ip6.temppltime",
        "seconds for which a temporary address is used for what begins (for those made from now on)",
        TEMPORARY_S,
        temporary_preferred_s
    ),
    number!(
        "net.inet6.ip6.tempvltime",
        "seconds after which a temporary address is gone (for those made from now on)",
        TEMPORARY_S,
        temporary_valid_s
    ),
    flag!(
        "net.inet6.ip6.use_tempaddr",
        "1: make an address that changes beside each stable one of an advertised prefix (RFC 8981)",
        use_temporary
    ),
];

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr];

/// ECN in the numbers of FreeBSD's `net.inet.tcp.ecn.enable`, which are Linux's too.
pub(crate) const ECN: [EcnMode; 3] = [EcnMode::Off, EcnMode::Ask, EcnMode::Accept];

/// Checks of the way back in the numbers of Linux's `rp_filter`.
const REVERSE_PATH: [ReversePath; 3] =
    [ReversePath::Unchecked, ReversePath::Strict, ReversePath::Loose];

/// SYN cookies in the numbers of Linux's `tcp_syncookies`.
const SYN_COOKIES: [SynCookies; 3] = [SynCookies::Off, SynCookies::Auto, SynCookies::Always];
