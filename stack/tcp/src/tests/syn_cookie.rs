//! SYN cookies: what comes back, for how long, and what a guess is worth.

use core::time::Duration;

use types::{FlowKey, Instant};

use super::support::*;
use crate::*;

const NOW: Instant = Instant::from_millis(7_000_000);
const SECRET: isn::Secret = isn::Secret([3; 16]);

fn flow() -> FlowKey {
    FlowKey {
        local_addr: [10, 0, 0, 1].into(),
        remote_addr: [10, 0, 0, 2].into(),
        local_port: 80,
        remote_port: 4_000,
    }
}

fn cookie<'a>(flow: &'a FlowKey, config: &'a Config) -> SynCookie<'a> {
    SynCookie { secret: &SECRET, flow, config, rcv_wnd: 30_000 }
}

fn syn(options: Options) -> Seg {
    seg(0, 0).flags(Flags::SYN).options(options)
}

/// The ACK that completes the handshake begun by `syn_ack`.
fn last_ack(syn_ack: &SegmentOut) -> Seg {
    let mut last = Seg { ack: syn_ack.seq + 1, ..seg(1, 0) };
    if let Some(ours) = syn_ack.options.timestamps {
        last = last.ts(501, ours.value);
    }
    last
}

fn modern() -> Options {
    Options {
        mss: Some(1460),
        window_scale: Some(9),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 500, echo: 0 }),
        ..Options::default()
    }
}

#[test]
fn handshake_by_cookie_keeps_mss_scale_and_timestamps() {
    let (flow, config) = (flow(), Config::default());
    let cookie = cookie(&flow, &config);
    let syn_ack = cookie.syn_ack(&syn(modern()).arrived(), NOW);
    assert_eq!((syn_ack.ack, syn_ack.flags), (IRS + 1, Flags::SYN | Flags::ACK));
    assert_eq!((syn_ack.options.mss, syn_ack.options.window_scale), (Some(1460), Some(7)));
    let later = NOW + Duration::from_millis(30);
    let last = last_ack(&syn_ack).text(20);
    let half = cookie.validate(&last.arrived(), later).expect("our own cookie");
    let mut tcb = half.into_tcb(&config, later);
    let mut buffer = Buffer::new(64_000);
    let arrival = tcb.segment_arrives(&last.arrived(), later, &mut buffer);
    assert_eq!(arrival.events, Events::ESTABLISHED | Events::READABLE);
    let info = tcb.info();
    assert_eq!((info.mss, info.snd_scale, info.rcv_scale), (1448, 9, 7));
    assert!(info.timestamps);
    let ack = tcb.poll_transmit(later, &buffer).unwrap();
    assert_eq!((ack.seq, ack.ack), (syn_ack.seq + 1, IRS + 21));
    assert!(ack.options.timestamps.unwrap().value >= syn_ack.options.timestamps.unwrap().value);
}

#[test]
fn without_timestamps_only_the_mss_survives() {
    let (flow, config) = (flow(), Config::default());
    let cookie = cookie(&flow, &config);
    let options = Options { timestamps: None, ..modern() };
    let syn_ack = cookie.syn_ack(&syn(options).arrived(), NOW);
    let offered = syn_ack.options;
    assert_eq!(
        (offered.window_scale, offered.sack_permitted, offered.timestamps),
        (None, false, None)
    );
    let last = last_ack(&syn_ack);
    let half = cookie.validate(&last.arrived(), NOW).unwrap();
    let info = half.into_tcb(&config, NOW).info();
    assert_eq!((info.mss, info.snd_scale, info.rcv_scale), (1460, 0, 0));
}

#[test]
fn the_mss_is_the_largest_known_one_that_fits() {
    let (flow, config) = (flow(), Config { timestamps: false, ..Config::default() });
    for (theirs, kept) in [(None, 536), (Some(1459), 1440), (Some(1299), 1220), (Some(9000), 1460)]
    {
        let cookie = cookie(&flow, &config);
        let options = Options { mss: theirs, ..Options::default() };
        let syn_ack = cookie.syn_ack(&syn(options).arrived(), NOW);
        let half = cookie.validate(&last_ack(&syn_ack).arrived(), NOW).unwrap();
        assert_eq!(half.into_tcb(&config, NOW).info().mss, kept, "{theirs:?}");
    }
}

#[test]
fn a_cookie_is_good_for_one_to_two_minutes() {
    let (flow, config) = (flow(), Config::default());
    let cookie = cookie(&flow, &config);
    let syn_ack = cookie.syn_ack(&syn(modern()).arrived(), NOW);
    let last = last_ack(&syn_ack);
    let valid = |s| cookie.validate(&last.arrived(), NOW + Duration::from_secs(s)).is_some();
    assert!(valid(0) && valid(60));
    assert!(!valid(120) && !valid(3_600));
}

#[test]
fn a_cookie_is_good_for_its_own_flow_number_options_and_secret_only() {
    let (flow, config) = (flow(), Config::default());
    let ours = cookie(&flow, &config);
    let syn_ack = ours.syn_ack(&syn(modern()).arrived(), NOW);
    let last = last_ack(&syn_ack);
    assert!(ours.validate(&last.arrived(), NOW).is_some());
    let other = FlowKey { remote_port: 4_001, ..flow };
    assert!(cookie(&other, &config).validate(&last.arrived(), NOW).is_none());
    let secret = isn::Secret([4; 16]);
    assert!(SynCookie { secret: &secret, ..ours }.validate(&last.arrived(), NOW).is_none());
    let shifted = Seg { seq: last.seq + 1, ..last.clone() };
    assert!(ours.validate(&shifted.arrived(), NOW).is_none());
    let bits = syn_ack.options.timestamps.unwrap().value;
    for bit in 0..6 {
        let raised = last.clone().ts(501, bits ^ (1 << bit));
        assert!(ours.validate(&raised.arrived(), NOW).is_none(), "bit {bit} is under the hash");
    }
    for flags in [Flags::NONE, Flags::ACK | Flags::RST, Flags::ACK | Flags::SYN] {
        assert!(ours.validate(&last.clone().flags(flags).arrived(), NOW).is_none());
    }
}

/// Expected hits: count / 2^28.
#[test]
fn guessed_acks_open_nothing() {
    let (flow, config) = (flow(), Config::default());
    let cookie = cookie(&flow, &config);
    let mut random = Random::new(5);
    let count = if cfg!(debug_assertions) { 100_000 } else { 10_000_000 };
    let hits = (0..count)
        .filter(|_| {
            let guess = Seg { ack: SeqNum::new(random.next() as u32), ..seg(1, 0) };
            let guess = guess.ts(1, random.next() as u32);
            cookie.validate(&guess.arrived(), NOW).is_some()
        })
        .count();
    assert!(hits <= 1, "{hits} of {count} guesses were right");
}
