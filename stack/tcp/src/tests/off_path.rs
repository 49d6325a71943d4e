//! Attackers who don't see the connection, in numbers: what they can guess, count, forge or hoard.

use core::time::Duration;

use types::{FlowKey, Instant};

use super::support::*;
use crate::*;

/// The size of a test: a tenth in a debug build.
const fn size(release: u32) -> u32 {
    if cfg!(debug_assertions) { release / 10 } else { release }
}

fn flow(n: u32) -> FlowKey {
    let port = 1_024 + (n % 60_000) as u16;
    FlowKey {
        local_addr: [198, 18, 77, 2].into(),
        remote_addr: (0x0a00_0000_u32 + n / 60_000).to_be_bytes().into(),
        local_port: 443,
        remote_port: port,
    }
}

const SECRET: isn::Secret = isn::Secret([0x5e; 16]);

fn isn_at(n: u32, us: u64) -> u32 {
    isn::initial_sequence(&SECRET, &flow(n), Instant::from_nanos(us * 1_000)).value()
}

#[test]
fn isn_of_a_flow_follows_the_clock() {
    let mut last = isn_at(1, 0);
    for step in 1..size(1_000_000) {
        let next = isn_at(1, u64::from(step) * 4);
        assert_eq!(next.wrapping_sub(last), 1, "one in 4 us (RFC 6528 3)");
        last = next;
    }
}

/// Chi squared over 1024 cells of the highest and of the lowest bits; 1023 degrees of freedom, p >
/// 0.01 below 1131.
#[test]
fn isns_of_flows_are_uniform() {
    let count = size(1_000_000);
    for shift in [22, 0] {
        let mut cells = [0_u32; 1_024];
        for n in 0..count {
            cells[((isn_at(n, 77) >> shift) & 1_023) as usize] += 1;
        }
        let expected = f64::from(count) / 1_024.0;
        let chi: f64 = cells.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
        assert!(chi < 1_131.0, "bits from {shift}: {chi}");
    }
}

/// Each strategy has one guess per connection, right if it is within 128 of the truth: 256 of 2^32,
/// one in 2^24.
#[test]
fn an_attacker_with_100_000_isns_of_his_own_guesses_no_other() {
    let count = size(1_000_000) / 10;
    let mut hits = [0_u32; 4];
    let (mut before, mut last) = (isn_at(0, 0), isn_at(1, 1));
    for n in 2..count {
        let truth = isn_at(n, u64::from(n));
        let guesses = [
            last,
            last.wrapping_add(last.wrapping_sub(before)),
            last ^ 1,
            last.wrapping_add(64_000),
        ];
        for (hits, guess) in hits.iter_mut().zip(guesses) {
            *hits += u32::from(guess.wrapping_sub(truth).wrapping_add(128) < 256);
        }
        (before, last) = (last, truth);
    }
    assert!(hits.iter().all(|hits| *hits <= 1), "{hits:?} of {count}");
}

/// RFC 5961: what is in the window but not exactly right, with an ACK that is a guess. Guesses that
/// by luck acknowledge what was sent within the last window (60 KB of 4 GB) are left out: of these
/// the RFC protects nobody.
#[test]
fn segments_in_the_window_with_guessed_acks_change_nothing() {
    let mut host = Host::established();
    let mut random = Random::new(15);
    let kinds =
        [Flags::RST, Flags::RST | Flags::ACK, Flags::SYN, Flags::ACK, Flags::ACK | Flags::FIN];
    let mut sent = 0;
    for i in 0..size(1_000_000) {
        let flags = kinds[i as usize % kinds.len()];
        let ack = random.next() as u32;
        if ack.wrapping_sub(ISS.value()).wrapping_add(60_000) <= 60_002 {
            continue;
        }
        let mut blind = seg(2 + random.below(60_000), 0).flags(flags);
        blind.ack = SeqNum::new(ack);
        if flags.contains(Flags::ACK) && !flags.contains(Flags::RST) {
            blind.text = vec![0xbd; 1 + random.below(8) as usize];
        }
        let arrival = host.gets(&blind);
        assert_eq!((arrival.delivered_len, arrival.events), (0, Events::NONE));
        sent += host.sends().len();
        host.now += Duration::from_micros(100);
    }
    assert_eq!((host.state(), host.buffer.total), (State::Established, 0));
    assert!(host.tcb.reassembly.is_empty());
    let seconds = size(1_000_000) as usize / 10_000 + 1;
    assert!(sent <= seconds * usize::from(limits::CHALLENGE_ACKS), "{sent} challenge ACKs");
    let arrival = host.gets(&seg(1, 1).flags(Flags::RST));
    assert!(arrival.events.contains(Events::RESET), "the exact one is believed");
}

/// The attack of CVE-2016-5696: probes in the victim's name, then as many as possible on a connection
/// of the attacker's own, whose challenge ACKs he counts. `guessed`: the victim's connection exists.
fn challenge_acks_seen(guessed: bool, random: &mut Random) -> u32 {
    let mut own = Host::established();
    let mut victim = Host::established();
    let start = Duration::from_millis(u64::from(random.below(5_000)));
    own.now += start;
    victim.now += start;
    let mut seen = 0;
    for _ in 0..200 {
        let jitter = Duration::from_micros(u64::from(random.below(9_000)));
        own.now += jitter;
        victim.now += jitter;
        if guessed {
            let _ = victim.gets(&seg(2 + random.below(60_000), 0).flags(Flags::SYN));
            let _ = victim.sends();
        }
        let _ = own.gets(&seg(2 + random.below(60_000), 0).flags(Flags::SYN));
        seen += own.sends().len() as u32;
    }
    seen
}

/// Two-sample Kolmogorov-Smirnov test, p > 0.05.
#[test]
fn challenge_acks_of_one_connection_say_nothing_about_another() {
    let trials = size(1_000);
    let mut random = Random::new(16);
    let mut with: Vec<u32> = (0..trials).map(|_| challenge_acks_seen(true, &mut random)).collect();
    let mut without: Vec<u32> =
        (0..trials).map(|_| challenge_acks_seen(false, &mut random)).collect();
    with.sort_unstable();
    without.sort_unstable();
    let below = |sample: &[u32], value| sample.partition_point(|seen| *seen <= value) as f64;
    let distance = with
        .iter()
        .chain(&without)
        .map(|value| (below(&with, *value) - below(&without, *value)).abs() / f64::from(trials))
        .fold(0.0, f64::max);
    assert!(distance < 1.36 * (2.0 / f64::from(trials)).sqrt(), "{distance}");
}

#[test]
fn forged_icmp_messages_never_bring_the_size_below_the_floor() {
    let mut host = Host::nodelay();
    host.tcb.send(64_000);
    let _ = host.sends();
    let mut random = Random::new(17);
    let mut believed = 0;
    for _ in 0..size(1_000_000) {
        let quoted = SeqNum::new(random.next() as u32);
        believed += u32::from(host.tcb.path_mtu(random.next() as u16, quoted, host.now));
        assert!(host.tcb.info().mss >= limits::PATH_MSS_MIN);
    }
    assert_eq!(host.state(), State::Established);
    // 10 KB in flight of 4 GB: one in 430 000.
    assert!(believed <= 10, "{believed}");
}

/// The attack of "sockstress": peers who ask for much and shut their windows. A user who closes is
/// rid of each within two minutes, whatever it answers.
#[test]
fn peers_with_shut_windows_are_dropped_once_the_user_has_closed() {
    for n in 0..size(100_000) / 100 {
        let mut host = Host::established();
        let _ = host.gets(&seg(1, 1).window(0));
        let _ = host.queue(1 + n % 5_000);
        host.tcb.close(host.now, false);
        let start = host.now;
        while host.state() != State::Closed {
            let _ = host.fire();
            for _ in host.sends() {
                let _ = host.gets(&seg(1, 1).window(0));
            }
        }
        assert!(host.now.since(start) <= Duration::from_secs(120));
        assert!(host.events.contains(Events::CLOSED));
    }
}

/// A flood of SYNs costs a listener 256 entries; each later one is answered from nothing.
#[test]
fn a_flood_of_a_million_syns_keeps_256_entries() {
    let mut listener = Listener::new(128);
    let config = Config::default();
    let mut entries = Vec::new();
    let mut cookies = 0;
    for n in 0..size(1_000_000) {
        let now = Instant::from_nanos(u64::from(n) * 1_000);
        let syn = seg(0, 0).flags(Flags::SYN).options(syn_options());
        match listener.segment_arrives(&syn.arrived(), now) {
            ListenVerdict::Open => {
                entries.push(HalfOpen::new(&syn.arrived(), &config, ISS, 60_000, now));
                listener.opened();
            }
            ListenVerdict::Cookie => {
                let flow = flow(n);
                let cookie =
                    SynCookie { secret: &SECRET, flow: &flow, config: &config, rcv_wnd: 60_000 };
                assert!(cookie.syn_ack(&syn.arrived(), now).flags.contains(Flags::SYN));
                listener.cookie_sent(now);
                cookies += 1;
            }
            verdict => panic!("{verdict:?}"),
        }
    }
    assert!(entries.len() <= limits::SYN_COOKIES_ON as usize, "{}", entries.len());
    assert_eq!(cookies, size(1_000_000) - limits::SYN_COOKIES_ON);
    assert_eq!(size_of::<Listener>(), 48);
}
