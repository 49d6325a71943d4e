//! TCP as a pure engine: RFC 9293 without I/O, without a clock, without allocation per segment.
//!
//! # The tour
//!
//! An address pair is in exactly one of four situations, and each has its own type and size
//! ([`Slot`]): a [`Listener`] waits, a [`HalfOpen`] (≤ 64 bytes) has seen a SYN, a [`Tcb`] is a
//! connection, a [`TimeWait`] (≤ 32 bytes) remembers one.
//!
//! The interface is RFC 9293 §3.10's three classes of events and one way out:
//!
//! | event | function |
//! |---|---|
//! | SEGMENT ARRIVES | [`Tcb::segment_arrives`], [`Tcb::train_arrives`], [`HalfOpen::segment_arrives`], [`TimeWait::segment_arrives`], [`Listener::segment_arrives`], [`closed_reply`] |
//! | USER CALLS | [`Tcb::connect`], [`Tcb::send`], [`Tcb::send_urgent`], [`Tcb::window_opened`], [`Tcb::shutdown`], [`Tcb::close`], [`Tcb::abort`] |
//! | TIMEOUTS | [`Tcb::timeout`] at [`Tcb::next_timeout`] |
//! | out | [`Tcb::poll_transmit`], the only maker of segments |
//!
//! Events never send. They set intents (an ACK is due, retransmit the first segment, …) that
//! `poll_transmit` turns into segments, so that a burst of arrivals costs one ACK.
//!
//! Text lives outside: the send buffer is named by offsets ([`SegmentOut::text_offset`]), the
//! receive buffer is the caller's [`RecvBuffer`].
//!
//! # Where to find what
//!
//! | file | mechanism | RFC |
//! |---|---|---|
//! | `seq` | sequence numbers | 9293 §3.4 |
//! | `segment`, `options` | what the engine knows of a segment | 9293 §3.1, 7323 |
//! | `state` | figure 5 as data | 9293 §3.3.2 |
//! | `tcb` | the control block, its invariants | 9293 §3.3.1 |
//! | `input`, `syn_sent` | SEGMENT ARRIVES | 9293 §3.10.7, 5961 |
//! | `fast_path`, `fast_ack`, `train` | header prediction: text, ACKs, many segments at once | |
//! | `ack`, `cc` | acknowledgments, congestion | 5681, 6928, 3465, 9438, 9406, 8511 |
//! | `recovery`, `flight`, `scoreboard` | loss recovery, its side block, what is in flight | 6675, 6582, 3042 |
//! | `rack`, `tail_probe`, `prr` | what is lost, probes, the window meanwhile | 8985, 9937 |
//! | `undo`, `forward` | spurious retransmission, F-RTO | 3522, 4015, 5682 |
//! | `delivery` | delivery rate | |
//! | `optimism` | ACKs of what has not arrived | |
//! | `sack` | SACK blocks | 2018, 2883 |
//! | `pacing` | text leaves at a rate | |
//! | `ecn` | explicit congestion notification | 3168, 8511 |
//! | `text`, `reassembly` | text and FIN, windows | 9293 §3.8.6 |
//! | `user`, `output`, `timers` | calls, segments, timers | 9293 §3.10, 1122 |
//! | `urgent` | urgent text both ways | 9293 §3.8.5, 6093 |
//! | `nagle`, `delayed_ack` | small segments, late ACKs and what users say about them | 9293 §3.7.4, §3.8.6.3 |
//! | `tuning` | buffers that grow with the connection | |
//! | `burst` | segments of several MSS, to be cut at the edge | |
//! | `rare`, `info`, `chrono` | settings few users change; what `TCP_INFO` shows; what was waited for | |
//! | `rtt` | round-trip time and RTO | 6298 |
//! | `plpmtud` | size of segments | 1191, 4821, 5927 |
//! | `timestamp` | timestamps and PAWS | 7323 |
//! | `challenge` | challenge ACK limit | 5961 §7 |
//! | `user_timeout` | user timeout | 5482 |
//! | `keepalive` | keepalive | 9293 §3.8.4 |
//! | `nap` | what there is to know of a connection at rest | |
//! | `listener`, `half_open`, `time_wait` | the other three situations | 6191, 1337 |
//! | `fast_open` | Fast Open | 7413 |
//! | `isn` | initial sequence numbers | 6528 |
//! | `syn_cookie` | half-open connections without memory | 4987 |
//! | `limits` | every constant and its reason | |
#![forbid(unsafe_code)]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod ack;
mod burst;
mod cc;
mod challenge;
mod chrono;
mod config;
mod delayed_ack;
mod delivery;
mod ecn;
mod endpoint;
mod error;
mod fast_ack;
mod fast_open;
mod fast_path;
mod flight;
mod forward;
mod half_open;
mod info;
mod input;
pub mod isn;
mod keepalive;
pub mod limits;
mod listener;
mod nagle;
mod nap;
mod optimism;
mod options;
mod output;
mod pacing;
mod plpmtud;
mod prr;
mod rack;
mod rare;
mod reassembly;
mod recovery;
mod rtt;
mod sack;
mod scoreboard;
mod segment;
mod seq;
mod stamp;
mod state;
mod syn_cookie;
mod syn_sent;
mod tail_probe;
mod tcb;
mod text;
mod time_wait;
mod timers;
mod timestamp;
mod train;
mod tuning;
mod undo;
mod urgent;
mod user;
mod user_timeout;

#[cfg(test)]
mod tests;

pub use cc::Algorithm;
pub use chrono::Waited;
pub use config::Config;
pub use delivery::DeliveryRate;
pub use ecn::{Codepoint, EcnMode};
pub use endpoint::{Arrival, Events, RecvBuffer, Slot};
pub use error::ConnectionError;
pub use fast_open::{FastOpenCookie, FastOpenLesson, FastOpenMemory};
pub use half_open::{HalfOpen, HalfOpenVerdict};
pub use info::Info;
pub use keepalive::Keepalive;
pub use listener::{ListenVerdict, Listener, SynCookies, closed_reply};
pub use nap::Nap;
pub use options::{Options, Timestamps};
pub use sack::{SackBlock, SackBlocks};
pub use segment::{Cut, Flags, SegmentIn, SegmentOut};
pub use seq::SeqNum;
pub use state::{Event, State};
pub use syn_cookie::SynCookie;
pub use tcb::Tcb;
pub use time_wait::{TimeWait, TimeWaitVerdict};
