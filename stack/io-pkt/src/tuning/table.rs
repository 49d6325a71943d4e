//! The tunables: name, meaning, how each is read and written.

use inet::limits as host_limits;
use tcp::{Algorithm, EcnMode, SynCookies, limits};

use super::{SOMAXCONN_MAX, SOMAXCONN_MIN, Tunable, Tuning, Write, hostname};
use crate::config::FastOpenKey;

/// What DPDK leaves free before a frame.
const HEADROOM: u16 = 128;
/// A larger floor would be larger than most links carry.
const MINMSS_MAX: u32 = 1460;

const fn flag(on: bool) -> u32 {
    if on { 1 } else { 0 }
}

fn told(value: impl Into<u64>) -> String {
    value.into().to_string()
}

/// A tunable that can be set to a number.
const fn number(
    name: &'static str,
    text: &'static str,
    (least, most): (u32, u32),
    read: fn(&Tuning) -> String,
    set: fn(&mut Tuning, u32),
) -> Tunable {
    Tunable { name, text, read, write: Write::Number(least, most, set) }
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
        told(dpdk::MempoolOptions::default().data_room - HEADROOM)
    }),
    fixed("kern.mbuf.nmbclusters", "packet buffers in all", |t| told(t.fixed.buffers)),
    fixed("kern.osrelease", "version of io-pkt", |_| env!("CARGO_PKG_VERSION").into()),
    number(
        "kern.somaxconn",
        "most connections that may wait at a listener; for listen() from now on",
        (SOMAXCONN_MIN, SOMAXCONN_MAX),
        |t| told(t.somaxconn),
        |t, n| t.somaxconn = n,
    ),
    number(
        "net.inet.icmp.errppslimit",
        "most ICMP errors per second to one group of strangers",
        (0, 1_000_000),
        |t| told(t.host.icmp_errors_per_second),
        |t, n| t.host.icmp_errors_per_second = n,
    ),
    fixed("net.inet.ip.anonportmax", "last port for sockets that ask for none", |_| {
        told(crate::ephemeral::LAST)
    }),
    fixed("net.inet.ip.anonportmin", "first port for sockets that ask for none", |_| {
        told(crate::ephemeral::FIRST)
    }),
    fixed("net.inet.ip.do_loopback_cksum", "checksums within the host: never", |_| told(0_u8)),
    fixed("net.inet.ip.forwarding", "forwarding: this io-pkt has none yet", |_| told(0_u8)),
    number(
        "net.inet.ip.ttl",
        "time to live of packets of new sockets",
        (1, 255),
        |t| told(t.ttl),
        |t, n| t.ttl = u8::try_from(n).unwrap_or(u8::MAX),
    ),
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
            t.congestion = Algorithm::from_name(text).ok_or("cubic, reno or bbr")?;
            Ok(())
        }),
    },
    fixed("net.inet.tcp.do_loopback_cksum", "checksums within the host: never", |_| told(0_u8)),
    number(
        "net.inet.tcp.ecn.enable",
        "ECN: 0 never, 1 ask for it and accept, 2 accept",
        (0, 2),
        |t| told(ecn_number(t.tcp.ecn)),
        |t, n| t.tcp.ecn = ecn(n),
    ),
    Tunable {
        name: "net.inet.tcp.fastopen.setkey",
        text: "key of Fast Open cookies, 32 hexadecimal digits; only whether there is one is told",
        read: |t| told(flag(t.tcp.fast_open_key.is_some())),
        write: Write::Text(|t, text| {
            t.tcp.fast_open_key = Some(FastOpenKey::try_from(text.to_owned())?.0);
            Ok(())
        }),
    },
    fixed("net.inet.tcp.init_win", "segments of the initial window", |_| {
        told(limits::INITIAL_WINDOW_SEGMENTS)
    }),
    number(
        "net.inet.tcp.minmss",
        "a peer's MSS below this one counts as this one",
        (limits::MSS_MIN as u32, MINMSS_MAX),
        |t| told(t.tcp.mss_floor),
        |t, n| t.tcp.mss_floor = u16::try_from(n).unwrap_or(u16::MAX),
    ),
    fixed("net.inet.tcp.mssdflt", "MSS of a peer that sends none", |_| told(limits::MSS_DEFAULT)),
    number(
        "net.inet.tcp.pacing",
        "1: pace cubic and reno too, as bbr always is",
        (0, 1),
        |t| told(flag(t.tcp.pacing)),
        |t, n| t.tcp.pacing = n == 1,
    ),
    fixed("net.inet.tcp.recvbuf_max", "largest receive buffer", |_| {
        told(host_limits::RECEIVE_BUFFER_MAX)
    }),
    fixed("net.inet.tcp.recvspace", "receive buffer to begin with; it grows", |_| {
        told(host_limits::RECEIVE_BUFFER)
    }),
    number(
        "net.inet.tcp.rstppslimit",
        "most RSTs per second to one group of strangers",
        (0, 1_000_000),
        |t| told(t.host.resets_per_second),
        |t, n| t.host.resets_per_second = n,
    ),
    number(
        "net.inet.tcp.sack.enable",
        "1: offer selective acknowledgments; for connections from now on",
        (0, 1),
        |t| told(flag(t.tcp.sack)),
        |t, n| t.tcp.sack = n == 1,
    ),
    fixed("net.inet.tcp.sendbuf_max", "largest send buffer", |_| {
        told(host_limits::SEND_BUFFER_MAX)
    }),
    fixed("net.inet.tcp.sendspace", "send buffer to begin with; it grows", |_| {
        told(host_limits::SEND_BUFFER)
    }),
    number(
        "net.inet.tcp.syncookies",
        "SYN cookies: 0 never, 1 while many connections are half-open, 2 always",
        (0, 2),
        |t| told(cookies_number(t.tcp.syn_cookies)),
        |t, n| t.tcp.syn_cookies = cookies(n),
    ),
    number(
        "net.inet.tcp.timestamps",
        "1: offer timestamps; for connections from now on",
        (0, 1),
        |t| told(flag(t.tcp.timestamps)),
        |t, n| t.tcp.timestamps = n == 1,
    ),
    number(
        "net.inet.tcp.user_timeout_option",
        "1: tell peers of TCP_USER_TIMEOUT and believe theirs (RFC 5482)",
        (0, 1),
        |t| told(flag(t.tcp.user_timeout_option)),
        |t, n| t.tcp.user_timeout_option = n == 1,
    ),
    fixed("net.inet.tcp.win_scale", "window scale that is offered", |_| {
        told(host_limits::WINDOW_SCALE)
    }),
    fixed("net.inet.udp.do_loopback_cksum", "checksums within the host: never", |_| told(0_u8)),
    fixed("net.inet.udp.recvspace", "receive buffer", |_| told(host_limits::RECEIVE_BUFFER)),
    number(
        "net.inet.udp.reuseport_unicast",
        "1: a datagram to one address goes to all sockets that share its port",
        (0, 1),
        |t| told(flag(t.host.udp_to_all)),
        |t, n| t.host.udp_to_all = n == 1,
    ),
];

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr];

/// ECN in the numbers of FreeBSD's `net.inet.tcp.ecn.enable`, which are Linux's too.
const fn ecn(number: u32) -> EcnMode {
    match number {
        0 => EcnMode::Off,
        1 => EcnMode::Ask,
        _ => EcnMode::Accept,
    }
}

const fn ecn_number(mode: EcnMode) -> u32 {
    match mode {
        EcnMode::Off => 0,
        EcnMode::Ask => 1,
        EcnMode::Accept => 2,
    }
}

/// SYN cookies in the numbers of Linux's `tcp_syncookies`.
const fn cookies(number: u32) -> SynCookies {
    match number {
        0 => SynCookies::Off,
        1 => SynCookies::Auto,
        _ => SynCookies::Always,
    }
}

const fn cookies_number(when: SynCookies) -> u32 {
    match when {
        SynCookies::Off => 0,
        SynCookies::Auto => 1,
        SynCookies::Always => 2,
    }
}
