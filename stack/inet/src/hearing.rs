//! What the control plane gets to hear of what comes in, each subject within a limit of its own: who
//! floods one silences none of the others.

use core::net::IpAddr;

use dpdk::Mbuf;
use types::{DropReason, Instant, MacAddr};

use crate::command::Event;
use crate::input::Received;
use crate::limits::HEARD_PER_SECOND;
use crate::rate_limit::RateLimit;
use crate::worker::Worker;

/// What a packet for the control plane is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    /// Addresses that are being looked for elsewhere (RFC 4862 5.4).
    Duplicates,
    /// Routers on the link (RFC 4861 6.3).
    Routers,
    /// Who listens to groups (RFC 9776 4, RFC 3810 5.1).
    Groups,
    /// Addresses that servers give (RFC 2131).
    Dhcp,
    /// Next hops that are nearer (RFC 1122 3.2.2.2, RFC 4861 8).
    Redirects,
    /// What becomes of neighbours, for whoever wants to hear it.
    Neighbors,
}

/// Something that has become of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborNews {
    /// Its address.
    pub address: IpAddr,
    /// Interface.
    pub interface: u16,
    /// Its MAC address before, if it was known.
    pub before: Option<MacAddr>,
    /// And now.
    pub after: Option<MacAddr>,
    /// So much else has become of neighbours before, for which there was no room.
    pub unsaid: u64,
}

/// The limits of all subjects.
#[derive(Debug)]
pub(crate) struct Hearing([RateLimit; 6]);

impl Default for Hearing {
    fn default() -> Self {
        Self([RateLimit::new(HEARD_PER_SECOND); 6])
    }
}

impl Hearing {
    pub(crate) fn permit(&mut self, subject: Subject, now: Instant) -> bool {
        self.0.get_mut(subject as usize).is_some_and(|limit| limit.permit(now))
    }
}

impl Worker {
    /// Lets the control plane have a packet, within the limit.
    #[cold]
    pub(crate) fn let_hear(
        &mut self,
        subject: Subject,
        mbuf: &Mbuf,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        if !self.hearing.permit(subject, now) {
            return Err(DropReason::ControlQueueFull);
        }
        let end = received.ip_offset + received.ip_len + received.segment_len;
        let packet = mbuf.data().get(received.ip_offset..end).unwrap_or_default();
        let interface = received.interface;
        self.events.send(Event::Heard { interface, packet: packet.into() });
        Ok(())
    }

    /// The same for a frame.
    #[cold]
    pub(crate) fn let_hear_frame(
        &mut self,
        subject: Subject,
        mbuf: &Mbuf,
        interface: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        if !self.hearing.permit(subject, now) {
            return Err(DropReason::ControlQueueFull);
        }
        self.events.send(Event::HeardFrame { interface, frame: mbuf.data().into() });
        Ok(())
    }

    /// Tells what has become of neighbours, within the limit.
    #[cold]
    pub(crate) fn tell_of_neighbors(&mut self, now: Instant) {
        let (all, unsaid) = self.out.take_neighbor_news();
        self.unsaid = self.unsaid.saturating_add(unsaid);
        for news in all {
            if self.hearing.permit(Subject::Neighbors, now) {
                let unsaid = core::mem::take(&mut self.unsaid);
                self.events.send(Event::Neighbor(NeighborNews { unsaid, ..news }));
            } else {
                self.unsaid = self.unsaid.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_subject_leaves_the_others_theirs() {
        let now = Instant::from_millis(5_000);
        let mut hearing = Hearing::default();
        let heard = (0..1000).filter(|_| hearing.permit(Subject::Dhcp, now)).count();
        assert_eq!(heard, HEARD_PER_SECOND as usize);
        let link = [Subject::Duplicates, Subject::Routers, Subject::Redirects];
        for other in link.into_iter().chain([Subject::Groups, Subject::Neighbors]) {
            assert!(hearing.permit(other, now), "{other:?}");
        }
    }
}
