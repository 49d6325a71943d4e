//! What a script runs against: the engine in virtual time, or sockets and frames in real time.

use std::time::Duration;

use crate::script::{Call, InfoField};
use crate::segment::Segment;

/// A TCP with one host's sockets on one side and the script's peers on the other.
pub(crate) trait Stack {
    /// Time since the script began.
    fn now(&self) -> Duration;

    /// How exact this stack's time is.
    fn pace(&self) -> Pace;

    /// The port the script's sockets are bound to.
    fn port(&self) -> u16;

    /// A segment arrives from the peer with this port, for this port of ours.
    fn inject(&mut self, peer_port: u16, local_port: u16, segment: &Segment);

    /// The next segment that the stack sends until then.
    fn observe(&mut self, until: Duration) -> Option<Observed>;

    /// A socket call that does not wait. `text` is what `send` sends.
    fn call(&mut self, call: &Call, peer_port: u16, text: &[u8]) -> Reply;
}

/// Tolerances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// "At once" takes no longer.
    pub(crate) at_once: Duration,
    /// A timer may be so far from its time, besides `slack_percent`.
    pub(crate) slack: Duration,
    pub(crate) slack_percent: u32,
    /// What arrived is processed after this.
    pub(crate) settle: Duration,
    /// A call that does not give what it must is repeated for so long.
    pub(crate) retry: Duration,
}

impl Pace {
    /// Virtual time is exact; a timer may round to its clock's millisecond.
    pub(crate) const VIRTUAL: Self = Self {
        at_once: Duration::ZERO,
        slack: Duration::from_millis(1),
        slack_percent: 0,
        settle: Duration::ZERO,
        retry: Duration::ZERO,
    };

    /// The tolerance of a time.
    pub(crate) fn around(&self, time: Duration) -> Duration {
        self.slack.saturating_add(time.saturating_mul(self.slack_percent) / 100)
    }
}

/// A segment that the stack has sent.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) at: Duration,
    pub(crate) peer_port: u16,
    pub(crate) local_port: u16,
    pub(crate) segment: Segment,
}

/// What a call gave.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) result: Result<i64, i32>,
    /// What `recv` has read.
    pub(crate) bytes: Vec<u8>,
    /// Who `accept` has accepted.
    pub(crate) peer_port: Option<u16>,
    pub(crate) info: Option<Info>,
}

impl Reply {
    pub(crate) fn new(result: Result<i64, i32>) -> Self {
        Self { result, bytes: Vec::new(), peer_port: None, info: None }
    }
}

/// `TCP_INFO`, as far as scripts look at it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Info {
    pub(crate) state: i64,
    pub(crate) retransmits: i64,
    pub(crate) rto_us: i64,
    pub(crate) rtt_us: i64,
    pub(crate) rttvar_us: i64,
    pub(crate) mss: i64,
    pub(crate) cwnd: i64,
    pub(crate) ssthresh: i64,
    pub(crate) unacked: i64,
    pub(crate) snd_scale: i64,
    pub(crate) rcv_scale: i64,
    pub(crate) timestamps: i64,
}

impl Info {
    pub(crate) fn field(&self, field: InfoField) -> i64 {
        match field {
            InfoField::State => self.state,
            InfoField::Retransmits => self.retransmits,
            InfoField::Rto => self.rto_us,
            InfoField::Rtt => self.rtt_us,
            InfoField::Rttvar => self.rttvar_us,
            InfoField::Mss => self.mss,
            InfoField::Cwnd => self.cwnd,
            InfoField::Ssthresh => self.ssthresh,
            InfoField::Unacked => self.unacked,
            InfoField::SendScale => self.snd_scale,
            InfoField::ReceiveScale => self.rcv_scale,
            InfoField::Timestamps => self.timestamps,
        }
    }
}
