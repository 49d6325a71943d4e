//! Opening: the active side and both at once (RFC 9293 §3.5).

use types::DropReason;

use super::support::*;
use crate::*;

#[test]
fn active_open_offers_mss_scale_and_timestamps() {
    let config = Config { mss: 1460, window_scale: 7, timestamp_offset: 0, ..Config::default() };
    let mut host = Host::syn_sent(config);
    let syn = host.raw()[0];
    assert_eq!((syn.seq, syn.flags, syn.window), (ISS, Flags::SYN, 64_000));
    assert_eq!((syn.options.mss, syn.options.window_scale), (Some(1460), Some(7)));
    assert_eq!(syn.options.timestamps, Some(Timestamps { value: 1_000_000, echo: 0 }));
}

#[test]
fn syn_ack_establishes_and_is_acknowledged() {
    let mut host = Host::syn_sent(plain());
    assert_eq!(host.sends()[0].flags, Flags::SYN);
    assert_eq!(host.state(), State::SynSent);
    let arrival = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK));
    assert_eq!(arrival.events, Events::ESTABLISHED);
    assert_eq!(host.sends(), [ack(1, 1)]);
}

#[test]
fn options_the_peer_left_out_are_not_used() {
    let mut host = Host::syn_sent(Config::default());
    let _ = host.raw();
    let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK));
    let info = host.tcb.info();
    assert!(!info.timestamps);
    assert_eq!((info.snd_scale, info.rcv_scale, info.mss), (0, 0, limits::MSS_DEFAULT));
}

#[test]
fn timestamps_and_scale_are_used_when_both_offer_them() {
    let theirs = Options {
        mss: Some(9000),
        window_scale: Some(200),
        timestamps: Some(Timestamps { value: 77, echo: 0 }),
        sack_permitted: true,
        ..Options::default()
    };
    let host = Host::established_with(Config::default(), theirs);
    let info = host.tcb.info();
    assert!(info.timestamps);
    assert_eq!(info.snd_scale, 14, "a shift above 14 counts as 14 (RFC 7323 2.3)");
    assert_eq!((info.rcv_scale, info.mss), (7, 1460 - 12));
}

#[test]
fn tiny_mss_is_raised_to_the_floor() {
    for mss in 0..=64 {
        let theirs = Options { mss: Some(mss), ..Options::default() };
        assert_eq!(Host::established_with(plain(), theirs).tcb.info().mss, limits::MSS_FLOOR);
        let low = Config { mss_floor: 0, ..plain() };
        assert_eq!(Host::established_with(low, theirs).tcb.info().mss, limits::MSS_MIN);
    }
}

#[test]
fn our_own_mss_may_be_below_the_floor() {
    let config = Config { mss: 256, ..plain() };
    assert_eq!(Host::established_with(config, syn_options()).tcb.info().mss, 256);
}

#[test]
fn rst_that_acknowledges_the_syn_refuses() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    let arrival = host.gets(&seg(0, 1).flags(Flags::RST | Flags::ACK));
    assert_eq!(arrival.events, Events::REFUSED | Events::CLOSED);
    assert_eq!(arrival.events.error(), Some(ConnectionError::Refused));
    assert_eq!(host.state(), State::Closed);
    assert_eq!(host.sends(), []);
}

#[test]
fn blind_rst_does_not_refuse() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    for blind in [seg(0, 0), seg(0, 2), seg(0, 1).flags(Flags::NONE)] {
        let flags = blind.flags | Flags::RST;
        let arrival = host.gets(&blind.flags(flags));
        assert_eq!(arrival.drop, Some(DropReason::TcpResetUnacceptable));
    }
    assert_eq!((host.state(), host.sends()), (State::SynSent, vec![]));
}

#[test]
fn ack_of_another_life_is_reset_and_the_open_goes_on() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    let arrival = host.gets(&seg(0, 9).flags(Flags::SYN | Flags::ACK));
    assert_eq!(arrival.drop, Some(DropReason::TcpAckUnacceptable));
    assert_eq!(host.sends(), [Sent { seq: 9, len: 0, ack: 0, flags: Flags::RST }]);
    let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK));
    assert_eq!(host.state(), State::Established);
}

#[test]
fn text_on_the_syn_ack_is_delivered() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    let mut syn = seg(0, 1).flags(Flags::SYN | Flags::ACK);
    syn.text = b"hello".to_vec();
    let arrival = host.gets(&syn);
    assert_eq!(arrival.events, Events::ESTABLISHED | Events::READABLE);
    assert_eq!((arrival.delivered_len, host.sends()), (5, vec![ack(1, 6)]));
    assert_eq!(host.buffer.read(), b"hello");
}

/// RFC 9293 figure 8.
#[test]
fn simultaneous_open_establishes() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    let _ = host.gets(&seg(0, 0).flags(Flags::SYN).options(syn_options()));
    assert_eq!(host.state(), State::SynReceived);
    let syn_ack = Sent { seq: 0, len: 0, ack: 1, flags: Flags::SYN | Flags::ACK };
    assert_eq!(host.sends(), [syn_ack]);
    let arrival = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK).options(syn_options()));
    assert!(arrival.events.contains(Events::ESTABLISHED));
    assert_eq!((host.state(), host.sends()), (State::Established, vec![ack(1, 1)]));
}

#[test]
fn simultaneous_open_also_ends_with_a_plain_ack() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    let _ = host.gets(&seg(0, 0).flags(Flags::SYN));
    let _ = host.sends();
    let _ = host.gets(&seg(1, 1));
    assert_eq!((host.state(), host.sends()), (State::Established, vec![]));
}

#[test]
fn repeated_syn_of_a_simultaneous_open_gets_the_syn_ack_again() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    for _ in 0..3 {
        let _ = host.gets(&seg(0, 0).flags(Flags::SYN));
        let syn_ack = Sent { seq: 0, len: 0, ack: 1, flags: Flags::SYN | Flags::ACK };
        assert_eq!(host.sends(), [syn_ack]);
    }
}

#[test]
fn text_queued_before_the_handshake_follows_it() {
    let mut host = Host::syn_sent(plain());
    assert_eq!(host.queue(300).len(), 1, "the SYN alone");
    let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK));
    assert_eq!(host.sends(), [text(1, 300, 1)], "text carries the ACK of the SYN");
}

#[test]
fn close_before_the_answer_deletes_the_block() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    host.tcb.close(host.now, false);
    assert_eq!(
        (host.state(), host.sends(), host.tcb.next_timeout()),
        (State::Closed, vec![], None)
    );
}

#[test]
fn shutdown_in_syn_received_sends_fin_after_the_handshake() {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    let _ = host.gets(&seg(0, 0).flags(Flags::SYN));
    let _ = host.queue(10);
    host.tcb.shutdown(host.now);
    assert_eq!((host.state(), host.sends()), (State::SynReceived, vec![]));
    let _ = host.gets(&seg(1, 1));
    assert_eq!((host.state(), host.sends()), (State::FinWait1, vec![fin(1, 10, 1)]));
}

#[test]
fn segment_without_connection_gets_the_reset_its_sender_accepts() {
    assert_eq!(closed_reply(&seg(5, 7).flags(Flags::RST).arrived()), None);
    let reply = closed_reply(&seg(5, 7).text(3).arrived()).unwrap();
    assert_eq!((reply.seq, reply.flags), (ISS + 7, Flags::RST));
    let reply = closed_reply(&seg(5, 7).flags(Flags::SYN).text(3).arrived()).unwrap();
    assert_eq!((reply.seq.value(), reply.ack), (0, IRS + 9));
    assert_eq!(reply.flags, Flags::RST | Flags::ACK);
}

#[test]
fn a_reset_after_crossing_syns_refuses_the_connection() {
    let mut host = Host::syn_sent(plain());
    assert_eq!(host.sends().len(), 1);
    let _ = host.gets(&seg(0, 0).flags(Flags::SYN).options(syn_options()));
    assert_eq!(host.state(), State::SynReceived);
    let arrival = host.gets(&seg(1, 0).flags(Flags::RST));
    assert_eq!(arrival.events, Events::CLOSED | Events::REFUSED);
}
