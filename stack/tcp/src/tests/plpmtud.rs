//! The size of segments: routers that speak, routers that are silent, and people who forge both.

use super::support::*;
use crate::*;

/// MSS 1460 both ways, and a cwnd that is never in the way.
fn host() -> Host {
    let config = Config { nodelay: true, mss: 1460, ..plain() };
    let mut host = Host::established_with(config, Options { mss: Some(1460), ..syn_options() });
    host.tcb.cc.set_cwnd(1_000_000, 1460);
    host
}

/// What the peer has of a stream, over a path that lets segments of at most `most` bytes through.
struct Path {
    most: u32,
    arrived: u32,
    beyond: Vec<(u32, u32)>,
}

impl Path {
    fn new(most: u32) -> Self {
        Self { most, arrived: 1, beyond: Vec::new() }
    }

    /// Carries segments; each that arrives is acknowledged.
    fn carry(&mut self, host: &mut Host, segments: &[Sent]) {
        for segment in segments.iter().filter(|segment| segment.len <= self.most) {
            self.beyond.push((segment.seq, segment.seq + segment.len));
            self.beyond.sort_unstable();
            for (start, end) in &self.beyond {
                if *start <= self.arrived {
                    self.arrived = self.arrived.max(*end);
                }
            }
            let _ = host.gets(&seg(1, self.arrived));
        }
    }

    /// Sends `len` more bytes and waits until all have arrived.
    fn transfer(&mut self, host: &mut Host, len: u32) {
        host.tcb.send(len);
        let end = host.tcb.snd.una.since(ISS) + host.tcb.snd.queued;
        for _ in 0..1_000 {
            let segments = host.sends();
            self.carry(host, &segments);
            if self.arrived == end {
                return;
            }
            if segments.is_empty() {
                let _ = host.fire();
            }
        }
        panic!("stuck at {} of {end}: {:?}", self.arrived, host.tcb);
    }
}

#[test]
fn router_makes_segments_smaller_and_they_go_again_at_once() {
    let mut host = Host::nodelay();
    let _ = host.queue(1000);
    assert!(host.tcb.path_mtu(600, ISS + 1, host.now));
    assert_eq!(host.sends(), [text(1, 600, 1), text(601, 400, 1)]);
}

#[test]
fn router_is_believed_only_about_text_in_flight_and_down_to_the_floor() {
    let mut host = Host::nodelay();
    let _ = host.queue(1000);
    for blind in [0, 1001, 70_000, 1 << 31] {
        assert!(!host.tcb.path_mtu(600, ISS + blind, host.now), "{blind}");
    }
    assert_eq!(host.tcb.info().mss, 1000);
    assert!(host.tcb.path_mtu(0, ISS + 1000, host.now));
    assert_eq!(host.tcb.info().mss, limits::PATH_MSS_MIN);
}

#[test]
fn router_never_makes_segments_larger() {
    let mut host = Host::nodelay();
    let _ = host.queue(1000);
    assert!(host.tcb.path_mtu(9_000, ISS + 1, host.now));
    assert_eq!(host.tcb.info().mss, 1000);
}

#[test]
fn what_a_router_said_is_tried_again_after_ten_minutes() {
    let mut host = host();
    let mut path = Path::new(1_200);
    let _ = host.queue(1460);
    assert!(host.tcb.path_mtu(1_200, ISS + 1, host.now));
    path.transfer(&mut host, 50_000);
    assert_eq!(host.tcb.info().mss, 1_200, "no probe before");
    path.most = 1_460;
    host.wait_ms(600_000);
    path.transfer(&mut host, 50_000);
    assert_eq!(host.tcb.info().mss, 1_460);
    assert!(host.tcb.rare.as_ref().is_none_or(|rare| rare.search.is_none()), "nothing is kept");
}

#[test]
fn silent_path_is_found_out_by_timeouts_and_measured_by_probes() {
    for most in [520, 700, 1_024, 1_100, 1_300, 1_459] {
        let mut host = host();
        let mut path = Path::new(most);
        path.transfer(&mut host, 400_000);
        let mss = u32::from(host.tcb.info().mss);
        let close = most - u32::from(limits::PLPMTUD_PRECISION)..=most;
        assert!(close.contains(&mss), "path {most}, found {mss}");
    }
}

#[test]
fn timeouts_on_a_path_without_limit_cost_one_probe() {
    let mut host = host();
    let mut path = Path::new(0);
    host.tcb.send(200_000);
    let _ = host.sends();
    for _ in 0..4 {
        let _ = host.fire();
        let _ = host.sends();
    }
    assert_eq!(host.tcb.info().mss, limits::PLPMTUD_BASE);
    path.most = 1_460;
    path.transfer(&mut host, 100_000);
    assert_eq!(host.tcb.info().mss, 1_460);
}

#[test]
fn small_segments_that_are_lost_say_nothing_about_large_ones() {
    let mut host = host();
    let _ = host.queue(100);
    for _ in 0..10 {
        let _ = host.fire();
        let _ = host.sends();
    }
    assert_eq!(host.tcb.info().mss, 1_460);
}

#[test]
fn probe_waits_for_text_behind_it() {
    let mut host = host();
    let _ = host.queue(1_400);
    assert!(host.tcb.path_mtu(1_200, ISS + 1, host.now));
    let _ = host.sends();
    let _ = host.gets(&seg(1, 1_401));
    host.wait_ms(600_001);
    let _ = host.queue(60);
    let _ = host.gets(&seg(1, 1_461));
    assert_eq!(host.queue(2_000), [text(1_461, 1_200, 1), text(2_661, 800, 1)]);
    let _ = host.gets(&seg(1, 3_461));
    assert_eq!(host.queue(9_000)[0], text(3_461, 1_460, 1));
}

/// A host that has sent a probe of 1 460 at 1_461 and text behind it, and what it sent.
fn probing(theirs: Options) -> Host {
    let config = Config { nodelay: true, mss: 1460, ..plain() };
    let mut host = Host::established_with(config, Options { mss: Some(1460), ..theirs });
    let _ = host.queue(1_460);
    assert!(host.tcb.path_mtu(1_200, ISS + 1, host.now));
    let _ = host.sends();
    host.wait_ms(50);
    let _ = host.gets(&seg(1, 1_461));
    host.wait_ms(600_001);
    let _ = host.queue(60);
    host.wait_ms(50);
    let _ = host.gets(&seg(1, 1_521));
    assert_eq!(host.queue(6_260)[0], text(1_521, 1_460, 1));
    host
}

fn with_sack() -> Options {
    Options { sack_permitted: true, ..syn_options() }
}

/// RFC 4821 §3, §7.6.2: it was too large, which tells nothing of congestion.
#[test]
fn lost_probe_is_no_congestion_with_sack() {
    let mut host = probing(with_sack());
    let before = host.tcb.info();
    let _ = host.gets(&seg(1, 1_521).sack(&[(2_981, 6_581)]));
    assert_eq!(host.sends(), [text(1_521, 1_200, 1), text(2_721, 260, 1)]);
    let info = host.tcb.info();
    assert_eq!((info.ssthresh, info.cwnd), (before.ssthresh, before.cwnd));
    assert!(!info.in_recovery && info.mss == 1_200);
}

#[test]
fn lost_probe_is_no_congestion_with_duplicate_acks() {
    let mut host = probing(syn_options());
    let before = host.tcb.info();
    for _ in 0..3 {
        let _ = host.gets(&seg(1, 1_521));
    }
    assert_eq!(host.sends(), [text(1_521, 1_200, 1), text(2_721, 260, 1)]);
    for _ in 0..3 {
        let _ = host.gets(&seg(1, 1_521));
    }
    assert_eq!(host.sends(), [], "it has been repaired");
    let info = host.tcb.info();
    assert_eq!((info.ssthresh, info.cwnd, info.in_recovery), (before.ssthresh, before.cwnd, false));
}

#[test]
fn probe_that_is_lost_with_other_text_is_congestion() {
    let mut host = probing(with_sack());
    let _ = host.gets(&seg(1, 1_521).sack(&[(4_181, 7_781)]));
    let info = host.tcb.info();
    assert!(info.in_recovery && info.ssthresh < u32::MAX);
}

#[test]
fn probe_that_a_router_refuses_goes_again_at_once() {
    for theirs in [with_sack(), syn_options()] {
        let mut host = probing(theirs);
        let before = host.tcb.info();
        assert!(host.tcb.path_mtu(1_300, ISS + 1_521, host.now));
        assert_eq!(host.sends(), [text(1_521, 1_200, 1), text(2_721, 260, 1)]);
        for _ in 0..4 {
            let _ = host.gets(&seg(1, 1_521));
        }
        assert_eq!(host.sends(), [], "it has been repaired");
        let _ = host.gets(&seg(1, 7_781));
        let info = host.tcb.info();
        assert_eq!((info.ssthresh, info.in_recovery, info.mss), (before.ssthresh, false, 1_200));
        let next = host.queue(20_000)[0].len;
        assert!(
            (1_201..=1_300).contains(&next),
            "between what fits and what the router said: {next}"
        );
    }
}
