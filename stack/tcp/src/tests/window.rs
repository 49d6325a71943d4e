//! Flow control: zero windows, probes, silly windows, window updates, scaling.

use super::support::*;
use crate::*;

#[test]
fn zero_window_is_probed_with_back_off_and_reopens() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).window(0));
    assert_eq!(host.queue(5_000), []);
    for wait in [200, 400, 800] {
        assert_eq!((host.fire(), host.sends()), (wait, vec![text(1, 1, 1)]));
        let _ = host.gets(&seg(1, 1).window(0));
        assert_eq!(host.sends(), []);
    }
    let _ = host.gets(&seg(1, 1).window(3_000));
    assert_eq!(host.sends(), [text(1, 1000, 1), text(1001, 1000, 1), text(2001, 1000, 1)]);
}

#[test]
fn accepted_probe_moves_on() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).window(0));
    let _ = host.queue(500);
    let _ = host.fire();
    assert_eq!(host.sends(), [text(1, 1, 1)]);
    assert_eq!(host.gets(&seg(1, 2).window(0)).acked_len, 1);
    let _ = host.sends();
    let _ = host.fire();
    assert_eq!(host.sends(), [text(2, 1, 1)]);
}

#[test]
fn answered_probes_go_on_forever_for_a_user() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).window(0));
    let _ = host.queue(500);
    for _ in 0..200 {
        let _ = host.fire();
        assert_eq!(host.sends(), [text(1, 1, 1)]);
        let _ = host.gets(&seg(1, 1).window(0));
    }
    assert_eq!(host.state(), State::Established);
}

#[test]
fn unanswered_probes_time_out() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).window(0));
    let _ = host.queue(500);
    while host.state() != State::Closed {
        let _ = host.fire();
        let _ = host.sends();
    }
    assert_eq!(host.events.error(), Some(ConnectionError::TimedOut));
}

#[test]
fn orphan_with_a_zero_window_is_given_up_though_probes_are_answered() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).window(0));
    let _ = host.queue(500);
    host.tcb.close(host.now, false);
    let mut probes = 0;
    while host.state() != State::Closed {
        let _ = host.fire();
        probes += host.sends().len();
        let _ = host.gets(&seg(1, 1).window(0));
    }
    assert_eq!(probes, usize::from(limits::ORPHAN_RETRIES_MAX));
}

#[test]
fn sender_does_not_fill_a_silly_window_before_the_timer() {
    let mut host = Host::established();
    let _ = host.gets(&seg(1, 1).window(100));
    assert_eq!(host.queue(5_000), []);
    assert_eq!((host.fire(), host.sends()), (200, vec![text(1, 100, 1)]), "the override timer");
    let _ = host.gets(&seg(1, 101).window(100));
    assert_eq!(host.sends(), []);
}

#[test]
fn half_of_the_largest_window_is_not_silly() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK).window(600));
    assert_eq!(host.queue(5_000), [text(1, 536, 1)]);
    let _ = host.gets(&seg(1, 537).window(300));
    assert_eq!(host.sends(), [text(537, 300, 1)]);
}

#[test]
fn shrunken_window_holds_new_text_back_and_repeats_by_probe() {
    let mut host = Host::nodelay();
    let _ = host.queue(2_000);
    let _ = host.gets(&seg(1, 1).window(0));
    let _ = host.fire();
    let _ = host.sends();
    let _ = host.fire();
    assert_eq!(host.sends(), [text(1, 1, 1)]);
    let _ = host.gets(&seg(1, 1).window(5_000));
    assert_eq!(host.sends(), [text(1, 1000, 1)], "the loss window");
    let _ = host.gets(&seg(1, 1001).window(5_000));
    assert_eq!(host.sends(), [text(1001, 1000, 1)]);
}

/// A receiver with 4000 bytes of buffer, full.
fn full_receiver() -> Host {
    let mut host = Host::syn_sent(plain());
    host.buffer = Buffer::new(4_000);
    let _ = host.sends();
    let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK).options(syn_options()));
    let _ = host.sends();
    for i in 0..4 {
        let _ = host.gets(&seg(1 + i * 1000, 1).text(1000));
    }
    let last = host.raw();
    assert_eq!((last.len(), last[0].window), (1, 0));
    host
}

#[test]
fn closed_window_answers_a_probe_and_takes_nothing() {
    let mut host = full_receiver();
    let arrival = host.gets(&seg(4001, 1).text(1));
    assert_eq!(arrival.drop, Some(types::DropReason::TcpReceiveBuffer));
    assert_eq!(host.sends(), [ack(1, 4001)]);
}

#[test]
fn closed_window_still_takes_acks_and_fin() {
    let mut host = full_receiver();
    let _ = host.queue(100);
    assert_eq!(host.gets(&seg(4001, 101).text(1)).acked_len, 100);
    let arrival = host.gets(&seg(4001, 101).fin());
    assert_eq!((arrival.events, host.state()), (Events::FIN_RECEIVED, State::CloseWait));
}

#[test]
fn reading_opens_the_window_with_one_update() {
    let mut host = full_receiver();
    let _ = host.buffer.read();
    host.tcb.window_opened(&host.buffer, host.now);
    let update = host.raw();
    assert_eq!((update.len(), update[0].window), (1, 4000));
    host.tcb.window_opened(&host.buffer, host.now);
    assert_eq!(host.sends(), []);
}

#[test]
fn receiver_does_not_open_a_silly_window() {
    let mut host = full_receiver();
    let all = host.buffer.read();
    assert_eq!(host.buffer.write(0, &all[..3_500]), 3_500);
    host.buffer.advance(3_500);
    host.tcb.window_opened(&host.buffer, host.now);
    assert_eq!(host.sends(), [], "500 bytes are less than a segment");
    let _ = host.gets(&seg(4001, 1).text(1));
    assert_eq!(host.raw()[0].window, 0, "nor in an ACK");
}

#[test]
fn right_edge_never_moves_back() {
    for scale in [0, 3, 7, 14] {
        let theirs = Options { window_scale: Some(0), ..syn_options() };
        let config = Config { window_scale: scale, ..plain() };
        let mut host = Host::syn_sent(config);
        host.buffer = Buffer::new(50_000);
        let _ = host.raw();
        let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK).options(theirs));
        let unit = 1_u32 << scale;
        let mut edge = 1;
        let mut at = 1;
        let mut random = Random::new(7);
        while at < 200_000 {
            for segment in host.raw() {
                let new = segment.ack.since(IRS) + u32::from(segment.window) * unit;
                assert!(new + unit > edge, "by less than a unit at most");
                edge = edge.max(new);
            }
            let len = 1 + random.below(900);
            let arrival = host.gets(&seg(at, 1).text(len));
            at += arrival.delivered_len;
            if arrival.delivered_len < len || random.chance(10) {
                let _ = host.buffer.read();
                host.tcb.window_opened(&host.buffer, host.now);
            }
        }
    }
}

#[test]
fn scaled_window_is_understood() {
    let theirs = Options { window_scale: Some(4), ..syn_options() };
    let mut host = Host::established_with(plain(), theirs);
    assert_eq!(host.tcb.info().snd_wnd, 60_000, "a SYN's window is not scaled");
    let _ = host.gets(&seg(1, 1).window(1000));
    assert_eq!(host.tcb.info().snd_wnd, 16_000);
}

#[test]
fn old_segments_do_not_change_the_window() {
    let mut host = Host::nodelay();
    let _ = host.queue(2_000);
    let _ = host.gets(&seg(1, 1001).text(10).window(9_000));
    let _ = host.gets(&seg(1, 1).window(5));
    assert_eq!(host.tcb.info().snd_wnd, 9_000);
}

#[test]
fn window_of_a_repeated_segment_counts_if_it_acknowledges_something_new() {
    let mut host = Host::nodelay();
    let _ = host.gets(&seg(1, 1).text(100).window(4_000));
    let _ = host.gets(&seg(101, 1).text(100).window(4_000));
    assert_eq!(host.queue(9_000).len(), 4);
    // Sent again with more behind it: older than the last segment, but it moves SND.UNA.
    let _ = host.gets(&seg(51, 3001).text(200).window(1_000));
    assert_eq!((host.tcb.info().snd_wnd, host.sends()), (1000, vec![]));
}

#[test]
fn ack_on_an_old_segment_is_used() {
    let mut host = Host::nodelay();
    let _ = host.gets(&seg(1, 1).text(100));
    let _ = host.queue(500);
    let arrival = host.gets(&seg(1, 501).text(100));
    assert_eq!(arrival.drop, Some(types::DropReason::TcpDuplicate));
    assert_eq!(arrival.acked_len, 500);
}
