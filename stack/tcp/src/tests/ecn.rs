//! Explicit congestion notification (RFC 3168, RFC 8511).

use super::support::*;
use crate::*;

const SETUP: Flags = Flags::ECE.union(Flags::CWR);

fn asking() -> Config {
    Config { ecn: EcnMode::Ask, nodelay: true, ..plain() }
}

fn syn_ack(flags: Flags) -> Seg {
    seg(0, 1).flags(Flags::SYN | Flags::ACK | flags).options(syn_options())
}

/// Both ends agreed.
fn agreed() -> Host {
    let mut host = Host::syn_sent(asking());
    let _ = host.sends();
    let _ = host.gets(&syn_ack(Flags::ECE));
    let _ = host.sends();
    host.tcb.quick_acks = 0;
    host
}

fn marks(segments: &[SegmentOut]) -> Vec<bool> {
    segments.iter().map(|segment| segment.ect).collect()
}

fn has(segments: &[SegmentOut], flags: Flags) -> Vec<bool> {
    segments.iter().map(|segment| segment.flags.contains(flags)).collect()
}

#[test]
fn syn_asks_only_if_told_to() {
    for (ecn, flags) in [(EcnMode::Off, 0), (EcnMode::Accept, 0), (EcnMode::Ask, SETUP.bits())] {
        let mut host = Host::syn_sent(Config { ecn, ..plain() });
        assert_eq!(host.sends()[0].flags, Flags::SYN | Flags::from_bits(flags));
    }
}

#[test]
fn repeated_syn_asks_no_more_and_a_late_yes_is_not_believed() {
    let mut host = Host::syn_sent(asking());
    let _ = host.sends();
    let _ = host.fire();
    assert_eq!(host.sends()[0].flags, Flags::SYN);
    let _ = host.gets(&syn_ack(Flags::ECE));
    let _ = host.sends();
    host.tcb.send(1000);
    assert_eq!(marks(&host.raw()), [false]);
}

#[test]
fn reflected_flags_are_no_agreement() {
    for (flags, agreed) in [(Flags::NONE, false), (SETUP, false), (Flags::ECE, true)] {
        let mut host = Host::syn_sent(asking());
        let _ = host.sends();
        let _ = host.gets(&syn_ack(flags));
        let _ = host.sends();
        host.tcb.send(1000);
        assert_eq!(marks(&host.raw()), [agreed], "{flags:?}");
    }
}

#[test]
fn listener_agrees_to_a_syn_that_asks() {
    for (ecn, flags, agreed) in [
        (EcnMode::Off, SETUP, false),
        (EcnMode::Accept, SETUP, true),
        (EcnMode::Accept, Flags::ECE, false),
        (EcnMode::Ask, Flags::NONE, false),
    ] {
        let config = Config { ecn, ..plain() };
        let now = types::Instant::from_millis(1);
        let syn = seg(0, 0).flags(Flags::SYN | flags).options(syn_options());
        let mut half = HalfOpen::new(&syn.arrived(), &config, ISS, 60_000, now);
        let answer = half.poll_transmit(now).unwrap();
        assert_eq!(answer.flags.contains(Flags::ECE), agreed, "{ecn:?} {flags:?}");
        assert!(!answer.ect && !answer.flags.contains(Flags::CWR));
        let mut tcb = half.into_tcb(&config, now);
        let mut buffer = Buffer::new(60_000);
        let _ = tcb.segment_arrives(&seg(1, 1).arrived(), now, &mut buffer);
        tcb.send(1000);
        assert_eq!(tcb.poll_transmit(now, &buffer).unwrap().ect, agreed);
    }
}

#[test]
fn peer_that_repeats_its_syn_without_asking_gets_none() {
    let now = types::Instant::from_millis(1);
    let syn = seg(0, 0).flags(Flags::SYN).options(syn_options());
    let asks = syn.clone().flags(Flags::SYN | SETUP);
    let mut half = HalfOpen::new(&asks.arrived(), &plain(), ISS, 60_000, now);
    assert!(half.poll_transmit(now).unwrap().flags.contains(Flags::ECE));
    let _ = half.segment_arrives(&syn.arrived(), now);
    assert_eq!(half.poll_transmit(now).unwrap().flags, Flags::SYN | Flags::ACK);
}

#[test]
fn both_ends_may_ask_at_once() {
    let mut host = Host::syn_sent(asking());
    let _ = host.sends();
    let _ = host.gets(&seg(0, 0).flags(Flags::SYN | SETUP).options(syn_options()));
    assert_eq!(host.sends()[0].flags, Flags::SYN | Flags::ACK | Flags::ECE);
    let _ = host.gets(&syn_ack(Flags::ECE));
    let _ = host.sends();
    host.tcb.send(1000);
    assert_eq!(marks(&host.raw()), [true]);
}

#[test]
fn only_new_text_may_be_marked() {
    let mut host = agreed();
    host.tcb.send(2_500);
    assert_eq!(marks(&host.raw()), [true; 3]);
    let _ = host.fire();
    assert_eq!(marks(&host.raw()), [false], "a retransmission");
    let _ = host.gets(&seg(1, 2501).text(100));
    let _ = host.fire();
    assert_eq!(marks(&host.raw()), [false], "a pure ACK");
    host.tcb.shutdown(host.now);
    assert_eq!(marks(&host.raw()), [false], "a FIN without text");
}

#[test]
fn window_probe_is_not_marked() {
    let mut host = agreed();
    let _ = host.gets(&seg(1, 1).window(0));
    host.tcb.send(500);
    assert!(host.raw().is_empty());
    let _ = host.fire();
    assert_eq!(marks(&host.raw()), [false]);
}

#[test]
fn echo_costs_a_fifth_once_per_window_and_is_answered_once() {
    let mut host = agreed();
    host.tcb.send(100_000);
    assert_eq!(host.raw().len(), 10);
    let _ = host.gets(&seg(1, 1001).flags(Flags::ACK | Flags::ECE));
    assert_eq!((host.tcb.info().cwnd, host.tcb.info().ssthresh), (8_000, 8_000), "RFC 8511");
    let mut answers = Vec::new();
    for end in 2..=10 {
        let _ = host.gets(&seg(1, end * 1000 + 1).flags(Flags::ACK | Flags::ECE));
        answers.extend(has(&host.raw(), Flags::CWR));
    }
    assert!(host.tcb.info().cwnd >= 8_000, "the same window costs no more");
    assert_eq!(answers.iter().position(|cwr| *cwr), Some(0));
    assert_eq!(answers.iter().filter(|cwr| **cwr).count(), 1);
    // The next window can be marked again.
    let before = host.tcb.info().cwnd;
    let _ = host.gets(&seg(1, 11_001).flags(Flags::ACK | Flags::ECE));
    assert!(host.tcb.info().cwnd < before);
}

#[test]
fn loss_is_told_by_cwr_too_and_not_paid_twice() {
    let mut host = agreed();
    host.tcb.send(10_000);
    let _ = host.raw();
    let _ = host.fire();
    let _ = host.raw();
    let ssthresh = host.tcb.info().ssthresh;
    let _ = host.gets(&seg(1, 10_001).flags(Flags::ACK | Flags::ECE));
    assert_eq!(host.tcb.info().ssthresh, ssthresh);
    host.tcb.send(1_000);
    assert_eq!(has(&host.raw(), Flags::CWR), [true]);
}

#[test]
fn echo_without_agreement_means_nothing() {
    let mut host = Host::nodelay();
    let _ = host.queue(100_000);
    let before = host.tcb.info().cwnd;
    let _ = host.gets(&seg(1, 1001).flags(Flags::ACK | Flags::ECE));
    assert!(host.tcb.info().cwnd >= before);
}

#[test]
fn mark_is_echoed_at_once_and_until_the_sender_has_slowed_down() {
    let mut host = agreed();
    let _ = host.gets(&seg(1, 1).text(100).ce());
    assert_eq!(has(&host.raw(), Flags::ECE), [true], "no delayed ACK");
    host.tcb.send(1000);
    assert_eq!(has(&host.raw(), Flags::ECE), [true]);
    let _ = host.gets(&seg(101, 1001).text(100).flags(Flags::ACK | Flags::CWR));
    let _ = host.gets(&seg(201, 1001).text(100));
    assert_eq!(has(&host.raw(), Flags::ECE), [false]);
}

#[test]
fn answer_that_is_marked_itself_keeps_the_echo_on() {
    let mut host = agreed();
    let _ = host.gets(&seg(1, 1).text(100).ce());
    let _ = host.raw();
    let _ = host.gets(&seg(101, 1).text(100).flags(Flags::ACK | Flags::CWR).ce());
    assert_eq!(has(&host.raw(), Flags::ECE), [true]);
}

#[test]
fn an_echo_counts_however_much_was_sent_since_the_last() {
    let mut host = agreed();
    let before = host.tcb.info().cwnd;
    for flags in [Flags::NONE, Flags::NONE, Flags::ECE] {
        // As if a gigabyte had come and gone.
        host.tcb.flight = None;
        let snd = &mut host.tcb.snd;
        snd.una += 1 << 30;
        (snd.nxt, snd.max) = (snd.una, snd.una);
        host.tcb.send(1_000);
        assert_eq!(host.raw().len(), 1);
        let acked = host.tcb.snd.max.since(ISS);
        let _ = host.gets(&seg(1, acked).flags(Flags::ACK | flags));
    }
    assert!(host.tcb.info().cwnd < before);
}
