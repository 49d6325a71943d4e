//! Every state of a connection × every kind of segment, call and timeout (RFC 9293 §3.10), as one
//! table each. A cell says which state follows, if it is another one, and what is sent.
//!
//! RST and SYN are RFC 5961's; text and FIN in states whose peer has sent its FIN are ignored; a user
//! who closes over unread text aborts (RFC 2525 §2.17). RFC 1337 protects TIME-WAIT from RST.
//!
//! What is sent: `A` an ACK, `S` a SYN, `SA` a SYN-ACK, `F` a FIN, `R` a RST, `-` nothing.

use super::support::*;
use crate::*;

const STATES: [State; 9] = [
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];

/// A connection in a state, with nothing left to send. Our next number and the peer's are the second
/// and third value.
fn host_in(state: State) -> (Host, u32, u32) {
    let mut host = Host::syn_sent(plain());
    let _ = host.sends();
    let (mut ours, mut theirs) = (1, 1);
    if state == State::SynSent {
        return (host, 1, 1);
    }
    if state == State::SynReceived {
        let _ = host.gets(&seg(0, 0).flags(Flags::SYN).options(syn_options()));
        let _ = host.sends();
        return (host, ours, theirs);
    }
    let _ = host.gets(&seg(0, 1).flags(Flags::SYN | Flags::ACK).options(syn_options()));
    let _ = host.sends();
    host.tcb.quick_acks = 0;
    if matches!(state, State::CloseWait | State::LastAck) {
        let _ = host.gets(&seg(1, 1).fin());
        theirs = 2;
    }
    if !matches!(state, State::Established | State::CloseWait) {
        host.tcb.shutdown(host.now);
        let _ = host.sends();
        ours = 2;
    }
    if matches!(state, State::FinWait2 | State::TimeWait) {
        let _ = host.gets(&seg(1, 2));
    }
    if matches!(state, State::Closing | State::TimeWait) {
        let _ = host.gets(&seg(1, if state == State::Closing { 1 } else { 2 }).fin());
        theirs = 2;
    }
    let _ = host.sends();
    assert_eq!(host.state(), state);
    (host, ours, theirs)
}

fn replies(host: &mut Host) -> String {
    let kind = |sent: &Sent| {
        let has = |flag| sent.flags.contains(flag);
        match () {
            () if has(Flags::RST) => "R",
            () if has(Flags::SYN | Flags::ACK) => "SA",
            () if has(Flags::SYN) => "S",
            () if has(Flags::FIN) => "F",
            () => "A",
        }
    };
    let sent = host.sends();
    if sent.is_empty() { "-".into() } else { sent.iter().map(kind).collect::<Vec<_>>().join(" ") }
}

/// What an event does in each state, as a line of the table.
fn line(name: &str, event: impl Fn(&mut Host, u32, u32)) -> String {
    let mut line = format!("{name:<16}");
    for state in STATES {
        let (mut host, ours, theirs) = host_in(state);
        event(&mut host, ours, theirs);
        let sent = replies(&mut host);
        let cell = if host.state() == state {
            sent
        } else {
            format!("{} {sent}", host.state().name().replace("_WAIT", "W").replace('_', ""))
        };
        line.push_str(&format!("| {cell:<14}"));
    }
    line.trim_end().to_owned()
}

/// What a segment does; it is made from our next number and the peer's.
fn arrives(name: &str, segment: impl Fn(u32, u32) -> Seg) -> String {
    line(name, |host, ours, theirs| {
        let _ = host.gets(&segment(ours, theirs));
    })
}

fn table(lines: &[String]) -> String {
    let mut head = format!("{:<16}", "");
    for state in STATES {
        head.push_str(&format!("| {:<14}", state.name()));
    }
    format!("\n{}\n{}\n", head.trim_end(), lines.join("\n"))
}

const SYN_ACK: Flags = Flags::SYN.union(Flags::ACK);

#[test]
fn segments() {
    let lines = [
        arrives("RST exact", |o, t| seg(t, o).flags(Flags::RST | Flags::ACK)),
        arrives("RST in window", |_, t| seg(t + 9, 0).flags(Flags::RST)),
        arrives("RST outside", |_, t| seg(t + 70_000, 0).flags(Flags::RST)),
        arrives("SYN new", |_, t| seg(t, 0).flags(Flags::SYN)),
        arrives("SYN again", |_, _| seg(0, 0).flags(Flags::SYN)),
        arrives("SYN-ACK", |_, _| seg(0, 1).flags(SYN_ACK)),
        arrives("SYN-ACK wrong", |o, _| seg(0, o + 9).flags(SYN_ACK)),
        arrives("no ACK bit", |o, t| seg(t, o).text(9).flags(Flags::NONE)),
        arrives("ACK of all", |o, t| seg(t, o)),
        arrives("ACK too high", |o, t| seg(t, o + 9)),
        arrives("text", |o, t| seg(t, o).text(10)),
        arrives("text outside", |o, t| seg(t + 70_000, o).text(10)),
        arrives("FIN", |_, t| seg(t, 1).fin()),
        arrives("FIN again", |o, t| seg(t - 1, o).fin()),
        arrives("FIN, ACK of all", |o, t| seg(t, o).fin()),
    ];
    assert_eq!(table(&lines), SEGMENTS, "{}", table(&lines));
}

#[test]
fn calls_and_timeouts() {
    let lines = [
        line("SEND", |h, _, _| h.tcb.send(10)),
        line("shutdown", |h, _, _| h.tcb.shutdown(h.now)),
        line("close", |h, _, _| h.tcb.close(h.now, false)),
        line("close, unread", |h, _, _| h.tcb.close(h.now, true)),
        line("ABORT", |h, _, _| h.tcb.abort()),
        line("timeout", |h, _, _| {
            if h.tcb.next_timeout().is_some() {
                let _ = h.fire();
            }
        }),
        line("out of tries", |h, _, _| {
            for _ in 0..20 {
                if h.tcb.next_timeout().is_some() {
                    let _ = h.fire();
                    let _ = h.sends();
                }
            }
        }),
    ];
    assert_eq!(table(&lines), CALLS, "{}", table(&lines));
}

const SEGMENTS: &str = "
                | SYN_SENT      | SYN_RCVD      | ESTABLISHED   | FIN_WAIT_1    | FIN_WAIT_2    | CLOSE_WAIT    | CLOSING       | LAST_ACK      | TIME_WAIT
RST exact       | CLOSED -      | CLOSED -      | CLOSED -      | CLOSED -      | CLOSED -      | CLOSED -      | CLOSED -      | CLOSED -      | -
RST in window   | -             | A             | A             | A             | A             | A             | A             | A             | -
RST outside     | -             | -             | -             | -             | -             | -             | -             | -             | -
SYN new         | SYNRCVD SA    | A             | A             | A             | A             | A             | A             | A             | A
SYN again       | SYNRCVD SA    | SA            | A             | A             | A             | A             | A             | A             | A
SYN-ACK         | ESTABLISHED A | ESTABLISHED A | A             | A             | A             | A             | A             | A             | A
SYN-ACK wrong   | R             | A             | A             | A             | A             | A             | A             | A             | A
no ACK bit      | -             | -             | -             | -             | -             | -             | -             | -             | -
ACK of all      | -             | ESTABLISHED - | -             | FINW2 -       | -             | -             | TIMEW -       | CLOSED -      | -
ACK too high    | R             | R             | A             | A             | A             | A             | A             | A             | A
text            | -             | ESTABLISHED A | -             | FINW2 -       | -             | -             | TIMEW -       | CLOSED -      | -
text outside    | -             | A             | A             | A             | A             | A             | A             | A             | A
FIN             | -             | CLOSEW A      | CLOSEW A      | CLOSING A     | TIMEW A       | -             | -             | -             | -
FIN again       | -             | A             | A             | FINW2 A       | A             | A             | TIMEW A       | CLOSED -      | A
FIN, ACK of all | -             | CLOSEW A      | CLOSEW A      | TIMEW A       | TIMEW A       | -             | TIMEW -       | CLOSED -      | -
";

const CALLS: &str = "
                | SYN_SENT      | SYN_RCVD      | ESTABLISHED   | FIN_WAIT_1    | FIN_WAIT_2    | CLOSE_WAIT    | CLOSING       | LAST_ACK      | TIME_WAIT
SEND            | -             | -             | A             | -             | -             | A             | -             | -             | -
shutdown        | CLOSED -      | -             | FINW1 F       | -             | -             | LASTACK F     | -             | -             | -
close           | CLOSED -      | -             | FINW1 F       | -             | -             | LASTACK F     | -             | -             | -
close, unread   | CLOSED -      | CLOSED R      | CLOSED R      | CLOSED R      | CLOSED R      | CLOSED R      | CLOSED -      | CLOSED -      | CLOSED -
ABORT           | CLOSED -      | CLOSED R      | CLOSED R      | CLOSED R      | CLOSED R      | CLOSED R      | CLOSED -      | CLOSED -      | CLOSED -
timeout         | S             | SA            | -             | F             | -             | -             | F             | F             | CLOSED -
out of tries    | CLOSED -      | CLOSED -      | -             | CLOSED -      | -             | -             | CLOSED -      | CLOSED -      | CLOSED -
";
