//! Fast Open: text on the SYN, cookies, and what happens where the path eats them (RFC 7413).

use core::time::Duration;

use types::{DropReason, Instant};

use super::support::*;
use crate::*;

const SYN_ACK: Flags = Flags::SYN.union(Flags::ACK);

fn cookie() -> FastOpenCookie {
    FastOpenCookie::parse(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap()
}

fn client(memory: Option<FastOpenMemory>) -> Host {
    let mut host = Host::syn_sent(plain());
    host.tcb = Tcb::connect_fast_open(&plain(), ISS, memory, host.now);
    host
}

/// A client that has the server's cookie.
fn knowing() -> Host {
    client(Some(FastOpenMemory { cookie: cookie(), mss: 800 }))
}

#[test]
fn first_connection_asks_for_a_cookie_and_learns_it() {
    let mut host = client(None);
    host.tcb.send(100);
    let syn = host.raw()[0];
    assert_eq!((syn.flags, syn.text_len), (Flags::SYN, 0));
    assert_eq!(syn.options.fast_open, Some(FastOpenCookie::REQUEST));
    let options = Options { mss: Some(900), fast_open: Some(cookie()), ..Options::default() };
    let _ = host.gets(&seg(0, 1).flags(SYN_ACK).options(options));
    let memory = FastOpenMemory { cookie: cookie(), mss: 900 };
    assert_eq!(host.tcb.take_fast_open_lesson(), Some(FastOpenLesson::Cookie(memory)));
    assert_eq!(host.tcb.take_fast_open_lesson(), None);
    assert_eq!(host.sends(), [text(1, 100, 1)]);
}

#[test]
fn with_a_cookie_the_syn_waits_for_text_and_takes_it_along() {
    let mut host = knowing();
    assert_eq!((host.sends(), host.tcb.next_timeout()), (vec![], None));
    host.tcb.send(100);
    let syn = host.raw()[0];
    assert_eq!((syn.flags, syn.seq, syn.text_offset, syn.text_len), (Flags::SYN, ISS, 0, 100));
    assert_eq!(syn.options.fast_open, Some(cookie()));
    let arrival = host.gets(&seg(0, 101).flags(SYN_ACK).options(syn_options()));
    assert_eq!(arrival.acked_len, 100);
    assert_eq!(arrival.events, Events::ESTABLISHED | Events::WRITABLE);
    assert_eq!(host.sends(), [ack(101, 1)]);
}

#[test]
fn text_on_the_syn_fits_the_servers_mss_with_the_options() {
    let mut host = knowing();
    host.tcb.send(5_000);
    // MSS 4, window scale 4, SACK permitted 2 + 2, Fast Open 2 + 8 + 2.
    assert_eq!(host.raw()[0].text_len, 800 - 24);
    let _ = host.gets(&seg(0, 777).flags(SYN_ACK).options(syn_options()));
    assert_eq!(host.sends()[0], text(777, 1000, 1));
}

#[test]
fn text_that_the_syn_ack_leaves_out_is_sent_again_at_once() {
    let mut host = knowing();
    let _ = host.queue(100);
    let arrival = host.gets(&seg(0, 1).flags(SYN_ACK).options(syn_options()));
    assert_eq!((arrival.acked_len, host.sends()), (0, vec![text(1, 100, 1)]));
    assert_eq!(host.gets(&seg(1, 101)).acked_len, 100);
    let mut host = knowing();
    let _ = host.queue(100);
    let arrival = host.gets(&seg(0, 41).flags(SYN_ACK).options(syn_options()));
    assert_eq!((arrival.acked_len, host.sends()), (40, vec![text(41, 60, 1)]));
}

#[test]
fn answer_with_text_on_the_syn_ack_is_delivered() {
    let mut host = knowing();
    let _ = host.queue(100);
    let mut answer = seg(0, 101).flags(SYN_ACK).options(syn_options());
    answer.text = b"hello".to_vec();
    assert_eq!(host.gets(&answer).delivered_len, 5);
    assert_eq!(host.buffer.read(), b"hello");
}

#[test]
fn repeated_syn_is_plain_and_the_loss_is_remembered() {
    let mut host = knowing();
    let _ = host.queue(100);
    assert_eq!(host.fire(), 1_000);
    let syn = host.raw()[0];
    assert_eq!((syn.flags, syn.text_len, syn.options.fast_open), (Flags::SYN, 0, None));
    let _ = host.gets(&seg(0, 1).flags(SYN_ACK).options(syn_options()));
    assert_eq!(host.tcb.take_fast_open_lesson(), Some(FastOpenLesson::Blackhole));
    assert_eq!(host.sends(), [text(1, 100, 1)]);
}

#[test]
fn ack_of_text_that_was_not_on_the_syn_is_reset() {
    let mut host = knowing();
    let _ = host.queue(100);
    let arrival = host.gets(&seg(0, 102).flags(SYN_ACK));
    assert_eq!(arrival.drop, Some(DropReason::TcpAckUnacceptable));
    assert_eq!(host.state(), State::SynSent);
}

/// The server's side of a SYN with a valid cookie.
fn server(syn: &Seg, window: u16) -> (Host, Arrival) {
    let now = Instant::from_millis(70_000);
    let half = HalfOpen::new(&syn.arrived(), &plain(), ISS, window, now);
    let mut buffer = Buffer::new(64_000);
    let (tcb, arrival) = half.into_fast_open(&syn.arrived(), &plain(), now, &mut buffer);
    (Host { tcb, buffer, now, events: arrival.events }, arrival)
}

fn syn_with_text(len: u32) -> Seg {
    let mut syn = seg(0, 0).flags(Flags::SYN).options(syn_options());
    syn.text = (0..len).map(|i| pattern(i + 1)).collect();
    syn
}

#[test]
fn server_delivers_the_text_of_the_syn_and_acknowledges_it() {
    let (mut host, arrival) = server(&syn_with_text(50), 30_000);
    assert_eq!((arrival.delivered_len, arrival.events), (50, Events::READABLE));
    assert_eq!(host.state(), State::SynReceived);
    assert_eq!(host.sends(), [Sent { seq: 0, len: 0, ack: 51, flags: SYN_ACK }]);
    host.tcb.send(300);
    let arrival = host.gets(&seg(51, 1));
    assert_eq!((arrival.events, host.state()), (Events::ESTABLISHED, State::Established));
    assert_eq!(host.sends(), [text(1, 300, 51)]);
}

/// A server that has answered with 300 bytes before the handshake is complete.
fn answering() -> Host {
    let (mut host, _) = server(&syn_with_text(50), 30_000);
    let _ = host.sends();
    host.tcb.send(300);
    assert_eq!(host.sends(), [text(1, 300, 51)]);
    assert_eq!(host.state(), State::SynReceived);
    host
}

#[test]
fn server_answers_before_the_handshake_is_complete() {
    let mut host = answering();
    let arrival = host.gets(&seg(51, 301));
    assert_eq!(arrival.events, Events::ESTABLISHED | Events::WRITABLE);
    assert_eq!((arrival.acked_len, host.state()), (300, State::Established));
    assert_eq!(host.sends(), []);
}

#[test]
fn text_never_precedes_the_syn_ack() {
    let (mut host, _) = server(&syn_with_text(50), 30_000);
    host.tcb.send(300);
    let syn_ack = Sent { seq: 0, len: 0, ack: 51, flags: SYN_ACK };
    assert_eq!(host.sends(), [syn_ack, text(1, 300, 51)]);
}

#[test]
fn ack_of_the_syn_alone_leaves_the_answer_in_flight() {
    let mut host = answering();
    let arrival = host.gets(&seg(51, 1));
    assert_eq!((arrival.events, arrival.acked_len), (Events::ESTABLISHED, 0));
    assert_eq!(host.sends(), [], "not sent again");
    assert_eq!(host.gets(&seg(51, 301)).acked_len, 300);
}

#[test]
fn answer_that_is_lost_is_sent_again_once_the_handshake_is_complete() {
    let mut host = answering();
    let _ = host.gets(&seg(51, 1));
    let _ = host.fire();
    assert_eq!(host.sends(), [text(1, 300, 51)]);
}

#[test]
fn until_the_peer_is_heard_only_the_syn_ack_is_repeated() {
    let mut host = answering();
    let syn_ack = Sent { seq: 0, len: 0, ack: 51, flags: SYN_ACK };
    assert_eq!((host.fire(), host.sends()), (1_000, vec![syn_ack]));
    let _ = host.gets(&syn_with_text(50));
    assert_eq!(host.sends(), [syn_ack], "for a repeated SYN");
    assert_eq!((host.fire(), host.sends()), (2_000, vec![syn_ack]));
    host.tcb.send(20);
    assert_eq!(host.sends(), [], "a small one waits for the first");
    let _ = host.gets(&seg(51, 301));
    assert_eq!(host.sends(), [text(301, 20, 51)]);
}

#[test]
fn nobody_answers_and_the_server_gives_up() {
    let mut host = answering();
    while host.state() != State::Closed {
        let _ = host.fire();
        assert!(host.sends().iter().all(|sent| sent.flags.contains(Flags::SYN)));
    }
    assert!(host.events.contains(Events::TIMED_OUT));
}

#[test]
fn answer_keeps_to_the_window_of_the_syn() {
    let mut syn = syn_with_text(50);
    syn.window = 700;
    let (mut host, _) = server(&syn, 30_000);
    let _ = host.sends();
    host.tcb.send(5_000);
    assert_eq!(host.sends(), [text(1, 700, 51)]);
}

#[test]
fn answer_keeps_to_the_initial_window() {
    let (mut host, _) = server(&syn_with_text(50), 30_000);
    let _ = host.sends();
    host.tcb.send(50_000);
    assert_eq!(host.sends().iter().map(|sent| sent.len).sum::<u32>(), 10_000);
}

#[test]
fn ack_of_what_was_not_sent_does_not_complete_the_handshake() {
    let mut host = answering();
    for ack in [0, 302] {
        let arrival = host.gets(&seg(51, ack));
        assert_eq!(arrival.drop, Some(DropReason::TcpAckUnacceptable), "{ack}");
        assert_eq!(host.state(), State::SynReceived);
        assert!(host.sends().iter().all(|sent| sent.flags.contains(Flags::RST)));
    }
}

#[test]
fn server_keeps_to_its_window() {
    let (mut host, arrival) = server(&syn_with_text(50), 20);
    assert_eq!(arrival.delivered_len, 20);
    assert_eq!(host.sends()[0].ack, 21);
}

#[test]
fn repeated_syn_with_text_is_answered_and_not_delivered_again() {
    let syn = syn_with_text(50);
    let (mut host, _) = server(&syn, 30_000);
    let _ = host.sends();
    assert_eq!(host.gets(&syn).delivered_len, 0);
    assert_eq!(host.sends(), [Sent { seq: 0, len: 0, ack: 51, flags: SYN_ACK }]);
    let _ = host.gets(&seg(0, 0).flags(Flags::SYN).options(syn_options()));
    assert_eq!(host.sends(), [Sent { seq: 0, len: 0, ack: 51, flags: SYN_ACK }], "the plain one");
}

#[test]
fn server_repeats_its_syn_ack_and_gives_up() {
    let (mut host, _) = server(&syn_with_text(50), 30_000);
    let _ = host.sends();
    let mut waits = Vec::new();
    while host.state() != State::Closed {
        waits.push(host.fire() / 1_000);
        let _ = host.sends();
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32]);
    assert!(host.events.contains(Events::TIMED_OUT));
}

#[test]
fn reset_before_the_handshake_ends_resets_the_server() {
    let (mut host, _) = server(&syn_with_text(50), 30_000);
    let _ = host.sends();
    let arrival = host.gets(&seg(51, 0).flags(Flags::RST));
    assert_eq!(arrival.events, Events::RESET | Events::CLOSED);
}

#[test]
fn user_who_closes_before_the_handshake_ends_sends_his_text_at_once_and_fin_after_it() {
    let (mut host, _) = server(&syn_with_text(50), 30_000);
    let _ = host.sends();
    host.tcb.send(10);
    host.now += Duration::from_millis(5);
    host.tcb.close(host.now, false);
    assert_eq!(host.sends(), [text(1, 10, 51)]);
    let _ = host.gets(&seg(51, 1));
    assert_eq!((host.state(), host.sends()), (State::FinWait1, vec![fin(11, 0, 51)]));
}

#[test]
fn a_cookie_has_room_before_the_user_timeout() {
    let cookie = FastOpenCookie::parse(&[7; 16]).unwrap();
    let config = Config { timestamps: true, ..plain() };
    let mut host = client(None);
    let memory = Some(FastOpenMemory { cookie, mss: 800 });
    host.tcb = Tcb::connect_fast_open(&config, ISS, memory, host.now);
    host.tcb.set_user_timeout(Duration::from_secs(300));
    host.tcb.set_user_timeout_option(true);
    host.tcb.send(100);
    let syn = host.raw()[0];
    assert_eq!((syn.text_len, syn.options.fast_open), (100, Some(cookie)));
    let mut wire = [0; 40];
    let len = syn.options.emit(&mut wire);
    assert_eq!(Options::parse(&wire[..len]).fast_open, Some(cookie));
}
