//! Behaviour of the whole engine, one per test. `support` has the language they are written in.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "tests panic on overflow on purpose, and cut random numbers to size"
)]

mod attack;
mod burst;
mod chrono;
mod close;
mod congestion;
mod data;
mod delayed_ack;
mod ecn;
mod fast_open;
mod fuzz;
mod handshake;
mod hostile;
mod listener;
mod loss;
mod matrix;
mod nagle;
mod nap;
mod netsim;
mod off_path;
mod pacing;
mod passive;
mod plpmtud;
mod prr;
mod rack;
mod rare;
mod sack;
mod scoreboard;
mod support;
mod syn_cookie;
mod tail_probe;
mod time_wait;
mod timer;
mod train;
mod tuning;
mod undo;
mod urgent;
mod user_timeout;
mod window;
