//! What a lane has lent to its client: packet buffers.

use super::account::Account;
use super::lane::Lane;

/// Loans that a lane takes of its user's share at a time, so that not each one is an exchange between processors.
const STEP: u32 = 32;

/// The books of one lane.
#[derive(Debug, Default)]
pub(super) struct Borrowed {
    /// Taken of the share and not lent.
    left: u32,
    lent: u32,
    /// Buffers that the client is done with and the worker has not been told of.
    returned: Vec<u32>,
    /// How often the share had none left, and nobody was told.
    refused: u32,
}

impl Borrowed {
    /// `most` more are lent, or as many as the share has.
    fn take(&mut self, most: u32, account: &Account) -> u32 {
        if self.left < most {
            self.left = self.left.saturating_add(account.take_loans(most.max(STEP)));
        }
        let count = most.min(self.left);
        self.left = self.left.saturating_sub(count);
        self.lent = self.lent.saturating_add(count);
        self.refused = self.refused.saturating_add(most.saturating_sub(count));
        account.lent(self.lent);
        count
    }

    /// So many are not lent any more.
    fn leave(&mut self, count: u32, account: &Account) {
        self.lent = self.lent.saturating_sub(count);
        self.left = self.left.saturating_add(count);
        account.lent(self.lent);
        let too_many = self.left.saturating_sub(STEP);
        if too_many >= STEP {
            self.left = STEP;
            account.give_loans(too_many);
        }
    }
}

impl Lane {
    /// May packets be lent to the client?
    #[inline]
    #[must_use]
    pub fn borrows(&self) -> bool {
        self.borrowed.is_some()
    }

    /// As many more packets are lent, or fewer if its user has as many as may be.
    pub(super) fn take_loans(&mut self, most: u32) -> u32 {
        self.borrowed.as_mut().map_or(0, |borrowed| borrowed.take(most, &self.account))
    }

    /// So many of them were not lent after all.
    pub(super) fn leave_loans(&mut self, count: u32) {
        if let Some(borrowed) = self.borrowed.as_mut().filter(|_| count > 0) {
            borrowed.leave(count, &self.account);
        }
    }

    /// The client is done with a packet.
    pub(super) fn give_loan(&mut self, buffer: u32) {
        if let Some(borrowed) = &mut self.borrowed {
            borrowed.returned.push(buffer);
        }
    }

    /// Calls `each` with the number of each packet buffer that the client is done with since the last call.
    pub fn returned(&mut self, each: impl FnMut(u32)) {
        let Some(borrowed) = &mut self.borrowed else { return };
        let count = u32::try_from(borrowed.returned.len()).unwrap_or(u32::MAX);
        borrowed.returned.drain(..).for_each(each);
        if count > 0 {
            borrowed.leave(count, &self.account);
        }
    }

    /// How often, since the last call, a packet was not lent because its user has borrowed as many as may be. What
    /// has been read of quiet streams may be had back then.
    #[inline]
    pub fn loans_refused(&mut self) -> u32 {
        self.borrowed.as_mut().map_or(0, |borrowed| core::mem::take(&mut borrowed.refused))
    }
}
