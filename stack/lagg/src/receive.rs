//! What the other end says (6.4.9, 6.4.12).

use types::Instant;
use wire::lacp::{Info, Lacpdu, state};

use crate::limits::SHORT_TIMEOUT;
use crate::port::{Heard, Mux, NOBODY, Port};

/// What both ends must be of one mind about, besides who they are.
const AGREED: u8 = state::ACTIVITY | state::TIMEOUT | state::SYNCHRONIZATION | state::AGGREGATION;

impl Port {
    /// It has a link, or none any more.
    pub(crate) fn set_up(&mut self, up: bool, now: Instant) {
        if !up {
            self.heard = Heard::Disabled;
            self.partner = NOBODY;
            let _ = self.set_mux(Mux::Detached);
        } else if self.heard == Heard::Disabled {
            self.heard = Heard::Expired;
            self.expires = now + SHORT_TIMEOUT;
            self.periodic = now;
        }
    }

    /// A message has come (6.4.9 recordPDU, update_Selected, update_NTT).
    pub(crate) fn hears(&mut self, pdu: &Lacpdu, own: &Info, now: Instant) {
        if self.heard == Heard::Disabled {
            return;
        }
        if !is_same(&pdu.actor, &self.partner) {
            // Another end than the one that was agreed with.
            let _ = self.set_mux(Mux::Detached);
        }
        let knows_us = is_same(&pdu.partner, own) || !pdu.actor.is(state::AGGREGATION);
        let was_quick = self.partner.is(state::TIMEOUT);
        self.partner = pdu.actor;
        if !knows_us {
            self.partner.state &= !state::SYNCHRONIZATION;
        }
        self.wants_to_speak |=
            !is_same(&pdu.partner, own) || (pdu.partner.state ^ own.state) & AGREED != 0;
        self.heard = Heard::Current;
        self.expires = now + SHORT_TIMEOUT;
        if !was_quick && self.partner.is(state::TIMEOUT) {
            self.hasten(now);
        }
    }

    /// The other end may want to hear of us sooner than when the next message was set (6.4.13).
    fn hasten(&mut self, now: Instant) {
        self.periodic = self.periodic.min(now + self.interval());
    }

    /// What was heard may be too old.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.expires > now {
            return;
        }
        match self.heard {
            Heard::Current => {
                self.heard = Heard::Expired;
                self.partner.state &= !state::SYNCHRONIZATION;
                self.partner.state |= state::TIMEOUT;
                self.expires = now + SHORT_TIMEOUT;
                self.wants_to_speak = true;
                self.hasten(now);
            }
            Heard::Expired => {
                self.heard = Heard::Defaulted;
                self.partner = NOBODY;
                let _ = self.set_mux(Mux::Detached);
                self.wants_to_speak = true;
                self.hasten(now);
            }
            Heard::Disabled | Heard::Defaulted => {}
        }
    }
}

/// The same port of the same system, aggregated with the same others.
fn is_same(one: &Info, other: &Info) -> bool {
    let who = |info: &Info| Info { state: info.state & state::AGGREGATION, ..*info };
    who(one) == who(other)
}
