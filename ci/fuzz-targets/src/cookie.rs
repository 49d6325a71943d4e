//! SYN cookies: our own come back whole, nobody else's do.

use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use tcp::isn::Secret;
use tcp::{Config, Flags, SegmentIn, SynCookie, Timestamps};
use types::{FlowKey, Instant};

use crate::bytes::Bytes;
use crate::segment::{Peer, segment};

/// Cookies are good for at least this long, and for at most twice as long.
const GOOD_FOR: Duration = Duration::from_secs(60);

fn flow(bytes: &mut Bytes<'_>) -> FlowKey {
    FlowKey {
        local_addr: IpAddr::V4(Ipv4Addr::new(198, 18, 77, 2)),
        remote_addr: IpAddr::V4(Ipv4Addr::from(bytes.array::<4>())),
        local_port: 80,
        remote_port: bytes.u16(),
    }
}

/// A SYN, the ACK that answers our SYN-ACK, and ACKs of others.
pub fn cookie(input: &[u8]) {
    let mut bytes = Bytes::new(input);
    let secret = Secret(bytes.array());
    let flow = flow(&mut bytes);
    let config = Config {
        mss: bytes.u16(),
        timestamps: bytes.bool(),
        timestamp_offset: bytes.u32(),
        ..Config::default()
    };
    let cookie = SynCookie { secret: &secret, flow: &flow, config: &config, rcv_wnd: bytes.u16() };
    let now = Instant::from_millis(u64::from(bytes.u32()));
    let zero = tcp::SeqNum::new(bytes.u32());
    let peer = Peer { seq: zero, ack: zero, stamps: Timestamps { value: bytes.u32(), echo: 0 } };
    let syn = SegmentIn { flags: Flags::SYN, text: &[], ..segment(&mut bytes, &peer) };
    let answer = cookie.syn_ack(&syn, now);
    assert!(answer.flags.contains(Flags::SYN | Flags::ACK) && answer.ack == syn.seq + 1);

    let stamps = syn.options.timestamps.zip(answer.options.timestamps);
    let ack = SegmentIn {
        seq: answer.ack,
        ack: answer.seq + 1,
        flags: Flags::ACK,
        options: tcp::Options {
            timestamps: stamps
                .map(|(theirs, ours)| Timestamps { value: theirs.value, echo: ours.value }),
            ..tcp::Options::default()
        },
        ..syn
    };
    let later = now + Duration::from_millis(u64::from(bytes.u16()) % 60_000);
    let half_open = cookie.validate(&ack, later).expect("our own cookie comes back");
    half_open.into_tcb(&config, later).assert_invariants();
    let expired = now + GOOD_FOR * 2;
    assert!(cookie.validate(&ack, expired).is_none(), "a cookie outlives two periods");

    let peer =
        Peer { seq: ack.seq, ack: ack.ack, stamps: ack.options.timestamps.unwrap_or(peer.stamps) };
    while !bytes.is_empty() {
        let guess = segment(&mut bytes, &peer);
        let Some(half_open) = cookie.validate(&guess, later) else { continue };
        half_open.into_tcb(&config, later).assert_invariants();
        if guess.seq == ack.seq && guess.ack == ack.ack {
            continue;
        }
        // Another number passed. One guess in 2²⁸ does by luck, but not under another secret too.
        let other = SynCookie { secret: &Secret(secret.0.map(|byte| !byte)), ..cookie };
        let away = guess.ack.since(ack.ack);
        let guess = SegmentIn { ack: other.syn_ack(&syn, now).seq + 1 + away, ..guess };
        assert!(other.validate(&guess, later).is_none(), "the cookie does not cover {guess:?}");
    }
}
