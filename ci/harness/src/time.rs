//! The time that a packet takes in the worker, beside what the port and the copy of its text take.
//!
//! Bursts of the path and bursts of the port alone take turns, each timed from the worker's side only.
//! The port alone receives as many frames of the same length, copies their text to memory of its own
//! and frees them; for a path that sends it allocates, fills and sends them. Through a port that takes
//! the text from where it lies there is none to copy, and a frame is its headers.

use std::time::Instant;

use dpdk::Burst;

use crate::World;
use crate::frame;
use crate::path::{BURST, Kind, Path, breathe_timed};

/// Samples, of which the median counts.
pub const SAMPLES: usize = 15;
/// Bursts of one sample.
const BURSTS: u32 = 64;
/// Memory that texts are copied to: as much as a client's queue holds.
const COPY_LEN: usize = 64 * 16 * 1024;

/// Nanoseconds per packet: of the path, and of the port alone.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// All that the worker does.
    pub path_ns: f64,
    /// Port and copy.
    pub port_ns: f64,
}

/// Times a path.
///
/// # Errors
/// Packets got lost.
pub fn time(world: &mut World, path: &mut Path, kind: Kind) -> Result<Vec<Sample>, String> {
    let mut alone = Alone::new(kind);
    let mut samples = Vec::with_capacity(SAMPLES);
    for round in 0..=SAMPLES {
        let (mut path_ns, mut port_ns) = (0, 0);
        for _ in 0..BURSTS {
            let done = path.burst(world, |world| path_ns += breathe_timed(world))?;
            world.events.clear();
            port_ns += alone.burst(world)?;
            if done != BURST {
                return Err(format!("{done} of {BURST} packets came through"));
            }
        }
        let each = |ns: u128| ns as f64 / f64::from(BURSTS * BURST);
        // The first round warms up.
        if round > 0 {
            samples.push(Sample { path_ns: each(path_ns), port_ns: each(port_ns) });
        }
    }
    Ok(samples)
}

/// The port alone.
struct Alone {
    frame: Vec<u8>,
    text_len: usize,
    sends: bool,
    burst: Burst,
    memory: Vec<u8>,
    at: usize,
}

impl Alone {
    fn new(kind: Kind) -> Self {
        let text_len = if matches!(kind, Kind::TcpReceive | Kind::TcpSend) { 1448 } else { 0 };
        let frame_len = if matches!(kind, Kind::TcpReceiveLent) { 1448 } else { text_len };
        let segment = frame::Segment {
            src_port: 1,
            dst_port: 1,
            seq: 0,
            ack: 0,
            flags: 0,
            options: &[],
            text: &vec![7; frame_len],
        };
        Self {
            frame: frame::tcp(&segment),
            text_len,
            sends: matches!(kind, Kind::TcpSend | Kind::TcpSendOffload),
            burst: Burst::new(),
            memory: vec![0; COPY_LEN],
            at: 0,
        }
    }

    fn burst(&mut self, world: &mut World) -> Result<u128, String> {
        let began = Instant::now();
        self.fill(world)?;
        let _ = world.wire.0.tx_burst(&mut self.burst);
        let sent_ns = began.elapsed().as_nanos();
        let began = Instant::now();
        if world.wire.1.rx_burst(&mut self.burst) != BURST as usize {
            return Err("the port alone lost something".into());
        }
        for mbuf in &self.burst {
            let text = mbuf.data().get(mbuf.data().len() - self.text_len..).unwrap_or_default();
            if self.at + text.len() > self.memory.len() {
                self.at = 0;
            }
            if let Some(place) = self.memory.get_mut(self.at..self.at + text.len()) {
                place.copy_from_slice(text);
            }
            self.at += text.len();
        }
        self.burst.clear();
        let received_ns = began.elapsed().as_nanos();
        Ok(if self.sends { sent_ns } else { received_ns })
    }

    fn fill(&mut self, world: &World) -> Result<(), String> {
        for _ in 0..BURST {
            let mut mbuf = world.pool.alloc().ok_or("no buffer")?;
            if !mbuf.extend_from_slice(&self.frame) || self.burst.push(mbuf).is_err() {
                return Err("no room".into());
            }
        }
        Ok(())
    }
}
