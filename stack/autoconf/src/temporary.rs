//! Addresses that change, so that nobody can follow a host by them (RFC 8981). Each prefix that makes a stable
//! address makes one of these beside it, and the next one some time before it is past its use:
//!
//! ```text
//!  made ─────────────── preferred ──────────────┬─── deprecated ───┐ gone
//!                           REGEN_ADVANCE before│                  │
//!                                      made ────┴── preferred ─ …
//! ```

use core::net::Ipv6Addr;
use core::time::Duration;

use types::Instant;

use crate::address::{Origin, Own, State};
use crate::limits::{
    DESYNC_PERCENT, IDENTIFIERS_MAX, REGEN_ADVANCE_MIN, TEMPORARY_MAX, TEMPORARY_TAKEN_MAX,
};
use crate::link::{Link, below};
use crate::stable::with_identifier;

/// How long temporary addresses are used (RFC 8981 3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// For what begins, less a part that chance decides (`TEMP_PREFERRED_LIFETIME`).
    pub preferred: Duration,
    /// For what goes on (`TEMP_VALID_LIFETIME`).
    pub valid: Duration,
}

/// What a link knows of its temporary addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Renewal {
    /// When to see whether one is to be made; `None`: not before something else happens.
    pub next: Option<Instant>,
    /// So many in turn were another station's.
    pub taken: u8,
}

impl Link {
    /// How long before the end of an address the next one is made: so that it is found to be nobody else's
    /// in time (RFC 8981 3.8, `REGEN_ADVANCE`).
    fn regen_advance(&self) -> Duration {
        let probes = u32::from(self.settings.dad_count).saturating_mul(IDENTIFIERS_MAX.into());
        REGEN_ADVANCE_MIN.saturating_add(self.retrans.saturating_mul(probes))
    }

    /// Makes temporary addresses where they are due.
    pub(crate) fn make_temporary(&mut self, now: Instant, random: &mut dyn FnMut() -> u64) {
        if self.renewal.next.is_none_or(|next| next > now) {
            return;
        }
        self.renewal.next = None;
        let Some(lives) = self.settings.temporary else { return };
        if self.renewal.taken >= TEMPORARY_TAKEN_MAX {
            return;
        }
        let advance = self.regen_advance();
        let is_stable = |own: &&Own| own.origin == Origin::Advertised && own.state.is_usable();
        let stable: Vec<Own> = self.own.iter().filter(is_stable).copied().collect();
        for stable in stable {
            let last = self.last_temporary(&stable);
            let due = last.map_or(now, |last| last - advance);
            // There is none of a prefix that ends no later than the one that there is.
            let is_last = last.is_some_and(|last| stable.preferred_until <= last);
            if is_last || stable.preferred_until <= due.max(now) + advance {
                continue;
            }
            if due > now {
                let next = self.renewal.next.map_or(due, |next| next.min(due));
                self.renewal.next = Some(next);
            } else if let Some(new) = self.next_one(&stable, lives, now, random) {
                let again = new.preferred_until - advance;
                self.renewal.next = Some(self.renewal.next.map_or(again, |next| next.min(again)));
                self.insert(new);
            }
        }
    }

    /// Up to when the last temporary address of a prefix is preferred.
    fn last_temporary(&self, stable: &Own) -> Option<Instant> {
        let of_it = |own: &&Own| {
            own.origin == Origin::Temporary
                && own.state != State::Duplicate
                && own.address.to_bits() >> 64 == stable.address.to_bits() >> 64
        };
        self.own.iter().filter(of_it).map(|own| own.preferred_until).max()
    }

    fn next_one(
        &self,
        stable: &Own,
        lives: Temporary,
        now: Instant,
        random: &mut dyn FnMut() -> u64,
    ) -> Option<Own> {
        let all = self.own.iter().filter(|own| own.origin == Origin::Temporary).count();
        // Hosts that were started together do not all change at once, and none changes all the time.
        let desync = lives.preferred.saturating_mul(DESYNC_PERCENT).checked_div(100)?;
        let most = lives.preferred.checked_sub(self.regen_advance().saturating_mul(2))?;
        let preferred = lives.preferred.saturating_sub(below(desync, random()).min(most));
        let mut some = (0..IDENTIFIERS_MAX).map(|_| with_identifier(stable.address, random()));
        let address = some.find(|new| !self.own.iter().any(|own| own.address == *new));
        let address = address.filter(|_| all < TEMPORARY_MAX)?;
        let (preferred_max, valid_max) = (now + preferred, now + lives.valid.max(preferred));
        Some(Own {
            preferred_until: stable.preferred_until.min(preferred_max),
            valid_until: stable.valid_until.min(valid_max),
            preferred_max,
            valid_max,
            ..Own::new(address, stable.prefix_len, Origin::Temporary)
        })
    }

    /// Another station has a temporary address: the next one is another anyway. When that has happened
    /// some times in turn, something is wrong on the link (RFC 8981 3.4).
    pub(crate) fn temporary_taken(&mut self, taken: Ipv6Addr) {
        self.own.retain(|own| own.address != taken);
        self.renewal.taken = self.renewal.taken.saturating_add(1);
        self.renewal.next = Some(Instant::ZERO);
    }
}
