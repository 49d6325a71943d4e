//! What was seen on the links: a hash always, lines as tcpdump writes them on demand.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use tcp::{Flags, SegmentIn, SeqNum};
use types::{FlowKey, Instant};

use crate::link::Fate;
use crate::packet::{self, Arrived};
use crate::random::Digest;

/// The trace of a world.
#[derive(Debug, Default)]
pub struct Trace {
    /// Packets so far.
    pub packets: u64,
    digest: Digest,
    lines: Option<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    text: Vec<String>,
    begin: Option<Instant>,
    /// First sequence number of each direction, for relative numbers.
    first: BTreeMap<FlowKey, SeqNum>,
}

impl Trace {
    /// From now on lines are kept.
    pub fn record(&mut self) {
        self.lines = Some(Lines::default());
    }

    /// The lines so far.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(|lines| core::mem::take(&mut lines.text)).unwrap_or_default()
    }

    /// Two worlds with the same hash have seen the same packets at the same times.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.digest.0
    }

    pub(crate) fn packet(&mut self, now: Instant, link: usize, bytes: &[u8], fate: Fate) {
        self.packets += 1;
        self.digest.word(now.as_nanos());
        self.digest.word(link as u64);
        // The checksum in the TCP header stands for the text.
        self.digest.bytes(&bytes[..bytes.len().min(60)]);
        match fate {
            Fate::Arrives(at, again) => {
                self.digest.word(at.as_nanos());
                self.digest.word(again.map_or(0, Instant::as_nanos));
            }
            Fate::Lost => self.digest.word(1),
            Fate::Overflow => self.digest.word(2),
            Fate::TooBig(mtu) => self.digest.word(u64::from(mtu) << 8),
        }
        if let Some(lines) = &mut self.lines {
            lines.packet(now, bytes, fate);
        }
    }
}

impl Lines {
    fn packet(&mut self, now: Instant, bytes: &[u8], fate: Fate) {
        let Ok(Arrived::Segment(flow, segment)) = packet::parse(bytes) else { return };
        let begin = *self.begin.get_or_insert(now);
        let since = now.since(begin);
        let mut line = format!("{:3}.{:06} ", since.as_secs(), since.subsec_micros());
        let _ = write!(line, "{} > {}: ", flow.remote(), flow.local());
        self.describe(&mut line, &flow, &segment);
        match fate {
            Fate::Arrives(_, None) => {}
            Fate::Arrives(_, Some(_)) => line.push_str("  (duplicated)"),
            Fate::Lost => line.push_str("  (lost)"),
            Fate::Overflow => line.push_str("  (queue full)"),
            Fate::TooBig(mtu) => {
                let _ = write!(line, "  (too big, MTU {mtu})");
            }
        }
        self.text.push(line);
    }

    fn describe(&mut self, line: &mut String, flow: &FlowKey, segment: &SegmentIn<'_>) {
        if segment.flags.contains(Flags::SYN) {
            let _ = self.first.insert(*flow, segment.seq);
        }
        let mirrored = FlowKey {
            local_addr: flow.remote_addr,
            remote_addr: flow.local_addr,
            local_port: flow.remote_port,
            remote_port: flow.local_port,
        };
        let zero = SeqNum::new(0);
        let seq = segment.seq.since(*self.first.get(flow).unwrap_or(&zero));
        let _ = write!(line, "Flags {:?}, seq {seq}", segment.flags);
        let len = segment.text.len();
        if len > 0 {
            let _ = write!(line, ":{}", u64::from(seq) + len as u64);
        }
        if segment.flags.contains(Flags::ACK) {
            let ack = segment.ack.since(*self.first.get(&mirrored).unwrap_or(&zero));
            let _ = write!(line, ", ack {ack}");
        }
        let _ = write!(line, ", win {}", segment.window);
        options(line, segment);
        let _ = write!(line, ", length {len}");
    }
}

fn options(line: &mut String, segment: &SegmentIn<'_>) {
    let options = &segment.options;
    let words = [
        options.mss.map(|mss| format!("mss {mss}")),
        options.window_scale.map(|shift| format!("wscale {shift}")),
        options.sack_permitted.then(|| "sackOK".to_owned()),
        options.timestamps.map(|ts| format!("TS val {} ecr {}", ts.value, ts.echo)),
    ];
    let words: Vec<String> = words.into_iter().flatten().collect();
    if !words.is_empty() {
        let _ = write!(line, ", options [{}]", words.join(","));
    }
}
