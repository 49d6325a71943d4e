//! Explicit congestion notification (RFC 3168): routers mark instead of dropping, the receiver
//! echoes the mark until the sender says that it has slowed down.
//!
//! ```text
//!   sender                      router                     receiver
//!     ── text, ECT(0) ───────────▶ ── text, CE ──────────────▶   echo on
//!     ◀───────────────────────────────── ACK, ECE ───────────
//!   slows down once per window
//!     ── new text, CWR ──────────────────────────────────────▶   echo off
//! ```

use crate::cc::Cause;
use crate::{Flags, SegmentIn, SeqNum, Tcb};

/// The ECN field of an IP header (RFC 3168 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codepoint {
    /// The sender does not know ECN.
    #[default]
    NotEct,
    /// The sender does, in the flavour of RFC 9331.
    Ect1,
    /// The sender does.
    Ect0,
    /// A router on the way had more than it liked.
    Ce,
}

impl Codepoint {
    /// From the TOS or traffic class byte.
    #[must_use]
    pub const fn from_tos(tos: u8) -> Self {
        match tos & 0b11 {
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            0b11 => Self::Ce,
            _ => Self::NotEct,
        }
    }
}

/// Should a connection use ECN?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EcnMode {
    /// Never.
    Off,
    /// If the peer asks for it.
    #[default]
    Accept,
    /// Ask for it, and accept.
    Ask,
}

/// What a connection knows about ECN.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ecn {
    agreement: Agreement,
    /// A mark arrived and its sender has not answered yet: ACKs carry ECE.
    echo: bool,
    /// We have slowed down: the next new text carries CWR.
    slowed: bool,
    /// Echoes of what was sent before this have been answered.
    recover: SeqNum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreement {
    No,
    /// Our first SYN will ask.
    WillAsk,
    /// The last SYN we sent asked.
    Asked,
    /// Both sides know ECN.
    Yes,
}

/// The flags of a SYN that asks for ECN (RFC 3168 §6.1.1).
const SETUP: Flags = Flags::ECE.union(Flags::CWR);

/// `flags` of a SYN ask for ECN.
pub(crate) fn is_setup(flags: Flags) -> bool {
    flags.contains(SETUP)
}

impl Ecn {
    pub(crate) fn new(mode: EcnMode, iss: SeqNum) -> Self {
        let agreement = if mode == EcnMode::Ask { Agreement::WillAsk } else { Agreement::No };
        Self { agreement, echo: false, slowed: false, recover: iss }
    }

    fn is_on(&self) -> bool {
        self.agreement == Agreement::Yes
    }

    /// A listener's answer to the peer's SYN.
    pub(crate) fn listener_agreed(&mut self, agreed: bool) {
        self.agreement = if agreed { Agreement::Yes } else { Agreement::No };
    }

    /// Flags for a SYN. A repeated one does not ask any more: some box on the way may drop SYNs
    /// that do (RFC 3168 §6.1.1.1).
    pub(crate) fn syn_flags(&mut self, first: bool) -> Flags {
        let asks = first && self.agreement == Agreement::WillAsk;
        self.agreement = if asks { Agreement::Asked } else { Agreement::No };
        if asks { SETUP } else { Flags::NONE }
    }

    /// Flags for a SYN-ACK when both ends have opened at once.
    pub(crate) fn syn_ack_flags(&self) -> Flags {
        if self.is_on() { Flags::ECE } else { Flags::NONE }
    }

    /// The peer's SYN or SYN-ACK. One that has both flags in a SYN-ACK reflects ours and means
    /// nothing (RFC 3168 §6.1.1).
    pub(crate) fn syn_arrives(&mut self, flags: Flags) {
        let agreed = if flags.contains(Flags::ACK) {
            flags.contains(Flags::ECE) && !flags.contains(Flags::CWR)
        } else {
            is_setup(flags)
        };
        let yes = agreed && self.agreement == Agreement::Asked;
        self.agreement = if yes { Agreement::Yes } else { Agreement::No };
    }

    /// Flags for any segment with ACK.
    pub(crate) fn ack_flags(&self) -> Flags {
        if self.echo { Flags::ECE } else { Flags::NONE }
    }

    /// New text goes out: CWR, if it is the first after we slowed down (RFC 3168 §6.1.2).
    pub(crate) fn text_flags(&mut self) -> Flags {
        if core::mem::take(&mut self.slowed) { Flags::CWR } else { Flags::NONE }
    }

    /// SND.UNA has moved. `recover` moves along, so that it never falls half of the sequence space
    /// behind.
    pub(crate) fn acknowledged(&mut self, una: SeqNum) {
        if una.after(self.recover) {
            self.recover = una - 1;
        }
    }

    /// cwnd was reduced, for whatever reason: one reduction per window is enough, and the peer
    /// need not echo any longer.
    pub(crate) fn reduced(&mut self, max: SeqNum) {
        self.recover = max;
        self.slowed = self.is_on();
    }
}

impl Tcb {
    /// The receiver's part (RFC 3168 §6.1.3): CE turns the echo on, CWR turns it off. `seg` is
    /// acceptable. The first mark is told at once.
    pub(crate) fn ecn_arrives(&mut self, seg: &SegmentIn<'_>) {
        if !self.ecn.is_on() {
            return;
        }
        if seg.flags.contains(Flags::CWR) {
            self.ecn.echo = false;
        }
        if seg.ecn == Codepoint::Ce && !self.ecn.echo {
            self.ecn.echo = true;
            self.ack_now();
        }
    }

    /// The sender's part (RFC 3168 §6.1.2): an echo slows us down, once per window, and not while
    /// losses have done so already.
    pub(crate) fn ecn_echoed(&mut self, seg: &SegmentIn<'_>) {
        let news = seg.ack.after(self.ecn.recover);
        if self.is_echo(seg) && seg.ack.after(self.snd.una) {
            self.count_marked(seg.ack.since(self.snd.una));
        }
        if !self.is_echo(seg) || !news || !self.is_open() {
            return;
        }
        self.cc.on_congestion(Cause::Ecn, self.snd.in_flight(), self.snd.mss);
        self.ecn.reduced(self.snd.max);
    }

    /// The peer tells us of a mark.
    pub(crate) fn is_echo(&self, seg: &SegmentIn<'_>) -> bool {
        self.ecn.is_on() && seg.flags.contains(Flags::ECE)
    }

    /// New text may carry ECT(0) if the congestion control answers marks. Retransmissions and probes
    /// never do (RFC 3168 §6.1.5, §6.1.6).
    pub(crate) fn may_be_marked(&self) -> bool {
        self.ecn.is_on() && self.cc.answers_marks()
    }
}
