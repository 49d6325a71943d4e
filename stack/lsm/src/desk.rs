//! One worker's side of the modules: calls them burst by burst.
//!
//! ```text
//!  a burst ──> tap ──> filter ──> the stack ──> stage ──┐ frames and packets that are a module's
//!                                                       └──> deliver ──> receive
//!  what modules send waits in the outbox and leaves when the call is over
//! ```

use std::sync::Arc;

use dpdk::{Burst, Mbuf};
use types::Instant;

use crate::context::{Context, Outbox, Sending};
use crate::instance::Instance;
use crate::plan::{Claim, Direction, Plan, Point};

/// One module at one worker.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) instance: Arc<Instance>,
    timer: Option<u64>,
}

/// Packets of one claim that have come by one interface.
#[derive(Debug)]
struct Staged {
    seat: usize,
    attachment: u32,
    interface: u16,
    burst: Burst,
}

/// One worker's side of the modules.
#[derive(Debug)]
pub struct Desk {
    worker: u16,
    now: u64,
    pub(crate) plan: Arc<Plan>,
    pub(crate) seats: Vec<Seat>,
    staged: Vec<Staged>,
    is_staged: bool,
    outbox: Outbox,
}

impl Desk {
    /// A desk without modules.
    #[must_use]
    pub fn new(worker: u16) -> Self {
        Self {
            worker,
            now: 0,
            plan: Arc::default(),
            seats: Vec::new(),
            staged: Vec::new(),
            is_staged: false,
            outbox: Outbox::default(),
        }
    }

    /// Takes up a new plan; modules that stand in both keep their timers. Nothing of those that are
    /// gone is used afterwards.
    pub fn adopt(&mut self, plan: Arc<Plan>) {
        let before = core::mem::take(&mut self.seats);
        let seat = |instance: &Arc<Instance>| {
            let known = before.iter().find(|seat| Arc::ptr_eq(&seat.instance, instance));
            Seat { instance: Arc::clone(instance), timer: known.and_then(|seat| seat.timer) }
        };
        self.seats = plan.instances.iter().map(seat).collect();
        let none = || Staged { seat: 0, attachment: 0, interface: 0, burst: Burst::new() };
        self.staged = (0..plan.claims).map(|_| none()).collect();
        self.is_staged = false;
        self.plan = plan;
    }

    pub(crate) fn worker(&self) -> u16 {
        self.worker
    }

    /// The time of this breath.
    pub fn set_now(&mut self, now: Instant) {
        self.now = now.as_nanos();
    }

    /// Whose frames of this EtherType are.
    #[must_use]
    pub fn ethertype(&self, number: u16) -> Option<Claim> {
        self.plan.ethertype(number)
    }

    /// Whose packets of this protocol are.
    #[must_use]
    pub fn protocol(&self, number: u8) -> Option<Claim> {
        self.plan.protocol(number)
    }

    /// The worker that calls the module whose packets these are: this one, or the first if the module
    /// has one thread.
    #[must_use]
    pub fn owner(&self, claim: Claim) -> u16 {
        let single = |seat: &Seat| seat.instance.library().is_single();
        if self.seats.get(claim.seat).is_some_and(single) { 0 } else { self.worker }
    }

    /// Somebody looks at frames of this direction.
    #[must_use]
    pub fn has_taps(&self, direction: Direction) -> bool {
        !self.plan.taps.of(direction).is_empty()
    }

    /// Somebody filters packets of this direction.
    #[must_use]
    pub fn has_filters(&self, point: Point, direction: Direction) -> bool {
        !self.plan.filters(point).of(direction).is_empty()
    }

    /// Notes a packet that is a module's; it gets it with others of the burst.
    pub fn stage(&mut self, claim: Claim, interface: u16, mbuf: Mbuf) {
        let Some(staged) = self.staged.get_mut(claim.place) else { return };
        staged.seat = claim.seat;
        staged.attachment = claim.attachment;
        if staged.interface != interface || staged.burst.is_full() {
            let place = claim.place;
            self.deliver_one(place);
        }
        let Some(staged) = self.staged.get_mut(claim.place) else { return };
        staged.interface = interface;
        self.is_staged = true;
        // There is room now.
        let _ = staged.burst.push(mbuf);
    }

    /// Gives the modules what was staged.
    pub fn deliver(&mut self) {
        if core::mem::take(&mut self.is_staged) {
            (0..self.staged.len()).for_each(|place| self.deliver_one(place));
        }
    }

    fn deliver_one(&mut self, place: usize) {
        let Self { worker, now, seats, staged, outbox, .. } = self;
        let Some(staged) = staged.get_mut(place).filter(|staged| !staged.burst.is_empty()) else {
            return;
        };
        let Some(Seat { instance, timer }) = seats.get_mut(staged.seat) else {
            return staged.burst.clear();
        };
        let at = Instance::arrival(staged.attachment, Direction::In, staged.interface);
        let mut context = context(instance, (*worker, *now), outbox, timer);
        instance.receive(&mut context, &at, &mut staged.burst);
    }

    /// Shows frames to those who look.
    pub fn tap(&mut self, direction: Direction, interface: u16, frames: &[Mbuf]) {
        let Self { worker, now, plan, seats, outbox, .. } = self;
        for tap in plan.taps.of(direction) {
            if tap.interface.is_some_and(|wanted| wanted != interface) || frames.is_empty() {
                continue;
            }
            let Some(Seat { instance, timer }) = seats.get_mut(tap.seat) else { continue };
            let at = Instance::arrival(tap.attachment, direction, interface);
            instance.tap(&mut context(instance, (*worker, *now), outbox, timer), &at, frames);
        }
    }

    /// Has the packets of a burst judged that `asked` has a bit for. Returns the bits, by their new
    /// places, of those that have passed, and how many were dropped.
    pub fn filter(
        &mut self,
        point: Point,
        direction: Direction,
        interface: u16,
        burst: &mut Burst,
        asked: u32,
    ) -> (u32, u64) {
        let Self { worker, now, plan, seats, outbox, .. } = self;
        let (mut asked, mut dropped) = (asked, 0);
        for filter in plan.filters(point).of(direction) {
            if filter.interface.is_some_and(|wanted| wanted != interface) || asked == 0 {
                continue;
            }
            let Some(Seat { instance, timer }) = seats.get_mut(filter.seat) else { continue };
            let at = Instance::arrival(filter.attachment, direction, interface);
            let mut context = context(instance, (*worker, *now), outbox, timer);
            let (passed, gone) = instance.filter(&mut context, &at, burst, asked);
            asked = passed;
            dropped += gone;
        }
        (asked, dropped)
    }

    /// Makes the calls that other threads have asked for and runs timers that are due. `true`: there
    /// were some.
    pub fn attend(&mut self) -> bool {
        let Self { worker, now, seats, outbox, .. } = self;
        let mut busy = false;
        for Seat { instance, timer } in seats {
            if instance.mailbox(*worker).is_some_and(|mailbox| mailbox.is_waiting()) {
                busy = true;
                let calls = instance.mailbox(*worker).map(|mailbox| mailbox.take());
                for argument in calls.into_iter().flatten() {
                    let mut context = context(instance, (*worker, *now), outbox, timer);
                    instance.call(Some(&mut context), &argument);
                }
            }
            if timer.is_some_and(|at| at <= *now) {
                busy = true;
                *timer = None;
                instance.timer(&mut context(instance, (*worker, *now), outbox, timer));
            }
        }
        busy
    }

    /// When the next timer is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let running = self.seats.iter().filter(|seat| !seat.instance.has_failed());
        running.filter_map(|seat| seat.timer).min().map(Instant::from_nanos)
    }

    /// Something waits that a sleep would delay.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        let waits = |seat: &Seat| {
            seat.instance.mailbox(self.worker).is_some_and(|mailbox| mailbox.is_waiting())
        };
        !self.outbox.0.is_empty() || self.seats.iter().any(waits)
    }

    /// Calls the module in this seat.
    pub(crate) fn call<T>(
        &mut self,
        seat: usize,
        call: impl FnOnce(&Instance, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let Self { worker, now, seats, outbox, .. } = self;
        let Seat { instance, timer } = seats.get_mut(seat)?;
        Some(call(instance, &mut context(instance, (*worker, *now), outbox, timer)))
    }

    /// The next thing that a module sends.
    pub fn next_sending(&mut self) -> Option<Sending> {
        self.outbox.0.pop_front()
    }
}

fn context<'a>(
    of: &Instance,
    (worker, now): (u16, u64),
    outbox: &'a mut Outbox,
    timer: &'a mut Option<u64>,
) -> Context<'a> {
    Context { owner: of.owner, worker, now, outbox, timer }
}
