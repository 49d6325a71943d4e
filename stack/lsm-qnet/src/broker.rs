//! What other nodes' brokers of sockets have said, until the one here hears it; who has to be told when it
//! goes.
//!
//! Pure tables; the module carries out what they say.

use std::collections::{BTreeMap, VecDeque};

use proto::far::Heard;
use qnet::NodeId;

/// Bytes of messages that wait to be heard: 128 sockets may have used up their windows. When there are more, the
/// node that has most of them is cut off.
const WAITING_MAX: usize = 16 << 20;

/// The broker of this node.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    /// The client of the path that hears, and whether it waits.
    hearer: Option<(u64, bool)>,
    waiting: VecDeque<(NodeId, Heard)>,
    len: usize,
    /// The nodes that something was said to, or that have said something.
    peers: BTreeMap<NodeId, String>,
}

/// What this node has said nobody hears: it is to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unheard(pub(crate) NodeId);

/// Another client is the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken;

impl Broker {
    /// A client wants to hear: at once, or when there is something. `Err`: another one does.
    pub(crate) fn hear(&mut self, handle: u64) -> Result<Option<Heard>, Taken> {
        if self.hearer.is_some_and(|(hearer, _)| hearer != handle) {
            return Err(Taken);
        }
        let heard = self.waiting.pop_front().map(|(_, heard)| heard);
        self.len = self.len.saturating_sub(heard.as_ref().map_or(0, cost));
        self.hearer = Some((handle, heard.is_none()));
        Ok(heard)
    }

    /// A node's message, empty if its broker is gone: whom it can be given to at once.
    pub(crate) fn push(
        &mut self,
        node: NodeId,
        name: String,
        message: Vec<u8>,
    ) -> Result<Option<(u64, Heard)>, Unheard> {
        let is_end = message.is_empty();
        let known = if is_end { self.peers.remove(&node).is_some() } else { true };
        let Some((hearer, waits)) = self.hearer else {
            return if is_end { Ok(None) } else { Err(Unheard(node)) };
        };
        if !known {
            return Ok(None);
        }
        let heard = Heard { node: name, message };
        if waits {
            self.hearer = Some((hearer, false));
            self.remember(node, &heard);
            return Ok(Some((hearer, heard)));
        }
        self.remember(node, &heard);
        self.len = self.len.saturating_add(cost(&heard));
        self.waiting.push_back((node, heard));
        let cut_off = if self.len > WAITING_MAX && !is_end { self.cut_off() } else { None };
        cut_off.map_or(Ok(None), |node| Err(Unheard(node)))
    }

    /// Forgets what the node has said that has said most: what came before is of no use without the rest.
    fn cut_off(&mut self) -> Option<NodeId> {
        let mut of_nodes: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (node, heard) in &self.waiting {
            let of_node = of_nodes.entry(*node).or_default();
            *of_node = of_node.saturating_add(cost(heard));
        }
        let (most, _) = of_nodes.into_iter().max_by_key(|(_, len)| *len)?;
        let at = self.waiting.iter().position(|(node, _)| *node == most)?;
        let (_, first) = self.waiting.remove(at)?;
        self.waiting.retain(|(node, _)| *node != most);
        self.waiting.push_back((most, Heard { node: first.node, message: Vec::new() }));
        self.len = self.waiting.iter().map(|(_, heard)| cost(heard)).sum();
        let _ = self.peers.remove(&most);
        Some(most)
    }

    fn remember(&mut self, node: NodeId, heard: &Heard) {
        if !heard.message.is_empty() {
            self.spoke(node, heard.node.clone());
        }
    }

    /// Something is said to a node.
    pub(crate) fn spoke(&mut self, node: NodeId, name: String) {
        let _ = self.peers.insert(node, name);
    }

    /// The name of a node that has to do with the broker.
    pub(crate) fn peer(&self, node: NodeId) -> Option<String> {
        self.peers.get(&node).cloned()
    }

    /// A client of the path is gone. If it was the broker: the nodes that are to know.
    pub(crate) fn gone(&mut self, handle: u64) -> Vec<NodeId> {
        if self.hearer.is_none_or(|(hearer, _)| hearer != handle) {
            return Vec::new();
        }
        let peers = core::mem::take(self).peers;
        peers.into_keys().collect()
    }
}

fn cost(heard: &Heard) -> usize {
    heard.message.len().saturating_add(size_of::<Heard>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BETA: NodeId = NodeId(2);

    fn heard(message: &[u8]) -> Heard {
        Heard { node: "beta".into(), message: message.to_vec() }
    }

    fn push(broker: &mut Broker, message: &[u8]) -> Result<Option<(u64, Heard)>, Unheard> {
        broker.push(BETA, "beta".into(), message.to_vec())
    }

    #[test]
    fn what_comes_is_heard_in_order_and_who_waits_gets_it_at_once() {
        let mut broker = Broker::default();
        assert_eq!(broker.hear(7), Ok(None));
        assert_eq!(push(&mut broker, b"one"), Ok(Some((7, heard(b"one")))));
        assert_eq!(push(&mut broker, b"two"), Ok(None));
        assert_eq!(push(&mut broker, b"three"), Ok(None));
        assert_eq!(broker.hear(7), Ok(Some(heard(b"two"))));
        assert_eq!(broker.hear(7), Ok(Some(heard(b"three"))));
        assert_eq!(broker.hear(7), Ok(None));
    }

    #[test]
    fn one_client_is_the_broker_and_when_it_goes_its_peers_are_named() {
        let mut broker = Broker::default();
        assert_eq!(push(&mut broker, b"one"), Err(Unheard(BETA)), "there is none yet");
        assert_eq!(broker.hear(7), Ok(None));
        assert_eq!(broker.hear(8), Err(Taken));
        let _ = push(&mut broker, b"one");
        assert_eq!(broker.gone(8), []);
        assert_eq!(broker.gone(7), [BETA]);
        assert_eq!(broker.hear(8), Ok(None));
        assert_eq!(broker.gone(8), [], "the new one has spoken to nobody");
    }

    #[test]
    fn the_end_of_a_node_is_told_once_and_only_if_it_was_heard_of() {
        let mut broker = Broker::default();
        let _ = broker.hear(7);
        assert_eq!(push(&mut broker, b""), Ok(None));
        assert_eq!(push(&mut broker, b"one"), Ok(Some((7, heard(b"one")))));
        assert_eq!(push(&mut broker, b""), Ok(None));
        assert_eq!(push(&mut broker, b""), Ok(None));
        assert_eq!((broker.hear(7), broker.hear(7)), (Ok(Some(heard(b""))), Ok(None)));
    }

    #[test]
    fn a_node_that_says_more_than_is_heard_is_cut_off() {
        let mut broker = Broker::default();
        let _ = (broker.hear(7), push(&mut broker, b"one"));
        let piece = vec![1; 1 << 20];
        let mut taken = 0;
        while push(&mut broker, &piece).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, 15);
        assert_eq!(broker.hear(7), Ok(Some(heard(b""))), "nothing else is left of it");
        assert_eq!(broker.hear(7), Ok(None));
    }

    #[test]
    fn who_speaks_when_there_is_too_much_is_not_cut_off_for_another() {
        const GAMMA: NodeId = NodeId(3);
        let mut broker = Broker::default();
        let _ = (broker.hear(7), push(&mut broker, b"one"));
        let gamma = |broker: &mut Broker| broker.push(GAMMA, "gamma".into(), vec![2; 1 << 19]);
        assert_eq!(gamma(&mut broker), Ok(None));
        let piece = vec![1; 1 << 20];
        for _ in 0..15 {
            assert_eq!(push(&mut broker, &piece), Ok(None));
        }
        assert_eq!(gamma(&mut broker), Err(Unheard(BETA)));
        let said: Vec<Heard> = core::iter::from_fn(|| broker.hear(7).unwrap()).collect();
        let said = said.iter().map(|heard| (heard.node.as_str(), heard.message.len()));
        assert_eq!(said.collect::<Vec<_>>(), [("gamma", 1 << 19), ("gamma", 1 << 19), ("beta", 0)]);
    }
}
