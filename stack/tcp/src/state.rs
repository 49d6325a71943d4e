//! The connection states and RFC 9293 figure 5 as a table.

use core::fmt;

/// The state of a connection (RFC 9293 §3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No connection; the block can be freed once `poll_transmit` is drained.
    Closed,
    /// Waiting for a SYN. Only a [`crate::Listener`] is in it, a [`crate::Tcb`] never.
    Listen,
    /// SYN sent, nothing received.
    SynSent,
    /// SYN received and sent, our SYN not acknowledged.
    SynReceived,
    /// Open in both directions.
    Established,
    /// The user closed; our FIN is not acknowledged.
    FinWait1,
    /// Our FIN is acknowledged; the peer may still send.
    FinWait2,
    /// The peer closed; the user may still send.
    CloseWait,
    /// Both closed at once; our FIN is not acknowledged.
    Closing,
    /// The peer closed first, then the user; our FIN is not acknowledged.
    LastAck,
    /// Both directions are closed; old segments may still be on the way.
    TimeWait,
}

/// What moves a connection from state to state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// User call: passive OPEN.
    PassiveOpen,
    /// User call: active OPEN.
    ActiveOpen,
    /// User call: CLOSE (no more sends).
    Close,
    /// A SYN without ACK arrives.
    Syn,
    /// A SYN that acknowledges ours arrives.
    SynAck,
    /// Our SYN is acknowledged.
    AckOfSyn,
    /// The peer's FIN arrives and all text before it was received.
    Fin,
    /// Our FIN is acknowledged.
    AckOfFin,
    /// 2 MSL (or the FIN-WAIT-2 limit) are over.
    Timeout,
    /// RST arrived, the user aborted, or retransmission gave up.
    Reset,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Closed,
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
    ];

    /// RFC 9293 figure 5, as data. `None`: the event is not legal in this state.
    #[must_use]
    pub const fn next(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Closed, Event::PassiveOpen) => Some(Self::Listen),
            (Self::Closed | Self::Listen, Event::ActiveOpen) => Some(Self::SynSent),
            (Self::Listen | Self::SynSent, Event::Syn) => Some(Self::SynReceived),
            (Self::Listen | Self::SynSent, Event::Close) => Some(Self::Closed),
            (Self::SynSent, Event::SynAck) => Some(Self::Established),
            (Self::SynReceived, Event::AckOfSyn) => Some(Self::Established),
            (Self::SynReceived | Self::Established, Event::Close) => Some(Self::FinWait1),
            (Self::SynReceived | Self::Established, Event::Fin) => Some(Self::CloseWait),
            (Self::FinWait1, Event::AckOfFin) => Some(Self::FinWait2),
            (Self::FinWait1, Event::Fin) => Some(Self::Closing),
            (Self::FinWait2, Event::Fin) | (Self::Closing, Event::AckOfFin) => Some(Self::TimeWait),
            (Self::CloseWait, Event::Close) => Some(Self::LastAck),
            (Self::LastAck, Event::AckOfFin) => Some(Self::Closed),
            (Self::FinWait2 | Self::TimeWait, Event::Timeout) => Some(Self::Closed),
            (Self::Closed | Self::Listen, Event::Reset) => None,
            (_, Event::Reset) => Some(Self::Closed),
            _ => None,
        }
    }

    /// The name `netstat` prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN_SENT",
            Self::SynReceived => "SYN_RCVD",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN_WAIT_1",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::CloseWait => "CLOSE_WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
        }
    }

    /// The peer may still send text: its FIN has not been received.
    #[must_use]
    pub const fn is_receiving(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// Text or our FIN may be unsent or unacknowledged.
    #[must_use]
    pub const fn is_sending(self) -> bool {
        matches!(
            self,
            Self::Established | Self::CloseWait | Self::FinWait1 | Self::Closing | Self::LastAck
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every edge of RFC 9293 figure 5, and no other.
    #[test]
    fn table_is_figure_5() {
        use Event::*;
        use State::*;
        let mut edges = vec![
            (Closed, PassiveOpen, Listen),
            (Closed, ActiveOpen, SynSent),
            (Listen, ActiveOpen, SynSent),
            (Listen, Syn, SynReceived),
            (Listen, Close, Closed),
            (SynSent, Syn, SynReceived),
            (SynSent, SynAck, Established),
            (SynSent, Close, Closed),
            (SynReceived, AckOfSyn, Established),
            (SynReceived, Close, FinWait1),
            (SynReceived, Fin, CloseWait),
            (Established, Close, FinWait1),
            (Established, Fin, CloseWait),
            (FinWait1, AckOfFin, FinWait2),
            (FinWait1, Fin, Closing),
            (FinWait2, Fin, TimeWait),
            (FinWait2, Timeout, Closed),
            (CloseWait, Close, LastAck),
            (Closing, AckOfFin, TimeWait),
            (LastAck, AckOfFin, Closed),
            (TimeWait, Timeout, Closed),
        ];
        edges.extend(State::ALL.into_iter().skip(2).map(|state| (state, Reset, Closed)));
        let events =
            [PassiveOpen, ActiveOpen, Close, Syn, SynAck, AckOfSyn, Fin, AckOfFin, Timeout, Reset];
        for state in State::ALL {
            for event in events {
                let edge = edges.iter().find(|(from, on, _)| (*from, *on) == (state, event));
                assert_eq!(state.next(event), edge.map(|e| e.2), "{state} {event:?}");
            }
        }
    }
}
