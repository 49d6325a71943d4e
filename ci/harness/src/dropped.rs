//! What a worker drops, and why.

use types::DropReason;

use crate::World;

impl World {
    /// How many packets are dropped meanwhile for each reason that there is one for. What the worker has sent
    /// before is taken off the wire, and so is what is still there afterwards.
    ///
    /// # Errors
    /// Buffers that have not come back.
    pub fn dropped(
        &mut self,
        during: impl FnOnce(&mut Self),
    ) -> Result<Vec<(DropReason, u64)>, String> {
        self.each_sent(|_| {});
        let (before, in_use) = (self.drops(), self.frames().in_use());
        during(self);
        self.each_sent(|_| {});
        let more = self.drops().into_iter().zip(before).map(|(after, before)| after - before);
        let of_reason = DropReason::ALL.iter().copied().zip(more).filter(|(_, more)| *more > 0);
        match self.frames().in_use() {
            now if now == in_use => Ok(of_reason.collect()),
            now => Err(format!("{now} buffers in use, {in_use} before")),
        }
    }

    fn drops(&self) -> Vec<u64> {
        self.worker.counters().drops.values().collect()
    }
}
