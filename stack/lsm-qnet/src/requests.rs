//! What local clients want of other nodes, and what other nodes want here: who waits for what.
//!
//! Pure tables; the module carries out what they say.

use core::time::Duration;
use std::collections::BTreeMap;

use qnet::{NodeId, Policy};
use types::Instant;

/// Requests of one node that are under way at a time, in each direction: enough to hide the delay, and with
/// 48 KiB each no more than a tenth of what a connection may have waiting.
pub(crate) const OF_NODE_MAX: usize = 8;

/// Requests of all other nodes together that wait for the file service.
const SERVED_MAX: usize = 64;

/// How long a client waits at most: what takes this long is lost. Other nodes' disks may be slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message for another node.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) node: NodeId,
    pub(crate) policy: Policy,
    pub(crate) message: Vec<u8>,
}

/// A local client's request.
#[derive(Debug)]
struct Request {
    node: NodeId,
    /// The client.
    handle: u64,
    until: Instant,
    /// It waits for its turn.
    waits: Option<Outgoing>,
}

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    last: u32,
    asked: BTreeMap<u32, Request>,
    served: BTreeMap<NodeId, usize>,
}

impl Requests {
    /// Numbers behind this one: it differs from life to life, so that an answer to what was asked in a
    /// former one is none.
    pub(crate) fn after(last: u32) -> Self {
        Self { last, ..Self::default() }
    }

    /// A client asks: the message is made with the number by which the answer comes.
    pub(crate) fn ask(
        &mut self,
        handle: u64,
        (node, policy): (NodeId, Policy),
        message: impl FnOnce(u32) -> Vec<u8>,
        now: Instant,
    ) {
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.asked.contains_key(&self.last) {
                break;
            }
        }
        let waits = Some(Outgoing { node, policy, message: message(self.last) });
        let request = Request { node, handle, until: now + PATIENCE, waits };
        let _ = self.asked.insert(self.last, request);
    }

    /// What may be sent now.
    pub(crate) fn next_to_send(&mut self) -> Option<Outgoing> {
        let mut under_way = BTreeMap::<NodeId, usize>::new();
        for request in self.asked.values().filter(|request| request.waits.is_none()) {
            *under_way.entry(request.node).or_default() += 1;
        }
        let has_room = |node: &NodeId| under_way.get(node).is_none_or(|count| *count < OF_NODE_MAX);
        let mut requests = self.asked.values_mut();
        let next = requests.find(|request| request.waits.is_some() && has_room(&request.node))?;
        next.waits.take()
    }

    /// A node has answered: which client that was for.
    pub(crate) fn answered(&mut self, node: NodeId, number: u32) -> Option<u64> {
        let asked = self.asked.get(&number)?;
        // An answer to what was not sent, or from somebody else, is none.
        if asked.node != node || asked.waits.is_some() {
            return None;
        }
        self.asked.remove(&number).map(|request| request.handle)
    }

    /// A client is gone.
    pub(crate) fn forget(&mut self, handle: u64) {
        self.asked.retain(|_, request| request.handle != handle);
    }

    /// A node will not answer: whose requests that were.
    pub(crate) fn lost(&mut self, node: NodeId) -> Vec<u64> {
        self.take(|request| request.node == node)
    }

    /// Whose requests have waited too long.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<u64> {
        self.take(|request| request.until <= now)
    }

    fn take(&mut self, which: impl Fn(&Request) -> bool) -> Vec<u64> {
        let taken = self.asked.iter().filter(|(_, request)| which(request));
        let taken: Vec<(u32, u64)> = taken.map(|(number, r)| (*number, r.handle)).collect();
        self.asked.retain(|number, _| !taken.iter().any(|(gone, _)| gone == number));
        taken.into_iter().map(|(_, handle)| handle).collect()
    }

    /// When the next request has waited too long.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.asked.values().map(|request| request.until).min()
    }

    /// Another node asks. `false`: too much waits already.
    pub(crate) fn serve(&mut self, node: NodeId) -> bool {
        let all: usize = self.served.values().sum();
        let count = self.served.get(&node).copied().unwrap_or(0);
        let room = count < OF_NODE_MAX && all < SERVED_MAX;
        if room {
            let _ = self.served.insert(node, count + 1);
        }
        room
    }

    /// It has its answer.
    pub(crate) fn served(&mut self, node: NodeId) {
        if let Some(count) = self.served.get_mut(&node) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                let _ = self.served.remove(&node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;
    const BETA: NodeId = NodeId(2);

    fn asked(count: u64) -> Requests {
        let mut requests = Requests::default();
        for handle in 0..count {
            let message = |number: u32| number.to_ne_bytes().to_vec();
            requests.ask(handle, (BETA, Policy::LoadBalance), message, NOW);
        }
        requests
    }

    #[test]
    fn eight_are_under_way_and_the_others_wait_for_their_turn() {
        let mut requests = asked(10);
        let sent = core::iter::from_fn(|| requests.next_to_send()).count();
        assert_eq!(sent, OF_NODE_MAX);
        assert_eq!(requests.answered(BETA, 3), Some(2));
        let next = requests.next_to_send().unwrap();
        assert_eq!(next.message, 9_u32.to_ne_bytes());
        assert!(requests.next_to_send().is_none());
    }

    #[test]
    fn an_answer_is_taken_once_and_from_the_node_that_was_asked() {
        let mut requests = asked(1);
        assert_eq!(requests.answered(BETA, 1), None, "not sent yet");
        assert!(requests.next_to_send().is_some());
        assert_eq!(requests.answered(NodeId(3), 1), None);
        assert_eq!(requests.answered(BETA, 1), Some(0));
        assert_eq!(requests.answered(BETA, 1), None);
    }

    #[test]
    fn an_answer_to_a_former_life_is_none() {
        let mut requests = Requests::after(u32::MAX);
        assert_eq!(asked_one(&mut requests), 0, "behind the last number comes the first");
        let mut requests = Requests::after(7000);
        let number = asked_one(&mut requests);
        let of_former = 1;
        assert_eq!(requests.answered(BETA, of_former), None);
        assert_eq!(requests.answered(BETA, number), Some(1));
    }

    /// The number that a client's request, which is sent at once, has on the wire.
    fn asked_one(requests: &mut Requests) -> u32 {
        let message = |number: u32| number.to_ne_bytes().to_vec();
        requests.ask(1, (BETA, Policy::LoadBalance), message, NOW);
        let sent = requests.next_to_send().unwrap();
        u32::from_ne_bytes(*sent.message.first_chunk().unwrap())
    }

    #[test]
    fn who_waits_too_long_or_for_a_dead_node_is_told() {
        let mut requests = asked(2);
        requests.forget(0);
        assert_eq!(requests.overdue(NOW), [] as [u64; 0]);
        let late = requests.next_timeout().unwrap();
        assert_eq!(requests.overdue(late), [1]);
        let mut requests = asked(2);
        assert_eq!(requests.lost(NodeId(3)), [] as [u64; 0]);
        assert_eq!(requests.lost(BETA), [0, 1]);
    }

    #[test]
    fn another_node_has_so_much_served_and_no_more() {
        let mut requests = Requests::default();
        for _ in 0..OF_NODE_MAX {
            assert!(requests.serve(BETA));
        }
        assert!(!requests.serve(BETA) && requests.serve(NodeId(3)));
        requests.served(BETA);
        assert!(requests.serve(BETA));
        for node in 100..200 {
            let _ = requests.serve(NodeId(node));
        }
        assert!(!requests.serve(NodeId(1000)));
    }
}
