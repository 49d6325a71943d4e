//! What happens because time has passed.

use types::Instant;

use super::Engine;
use crate::frame::Kind;
use crate::limits::DEAD_AFTER;
use crate::node::NodeId;
use crate::receiver::Receiver;
use crate::sender::{Sender, State};

impl Engine {
    /// When [`timeout`](Self::timeout) is to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        (self.next_at != Instant::FAR_FUTURE).then_some(self.next_at)
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant) {
        if now < self.next_at {
            return;
        }
        self.next_at = Instant::FAR_FUTURE;
        self.announce(now);
        let ids: Vec<u32> = self.senders.keys().copied().collect();
        for id in ids {
            self.sender_timeout(id, now);
        }
        if self.nodes.is_empty() {
            return;
        }
        if now >= self.tick_at {
            self.tick(now);
            self.tick_at = now + self.config.periodic;
        }
        self.arm(self.tick_at);
    }

    /// Makes us heard, if nodes are to know each other unasked.
    fn announce(&mut self, now: Instant) {
        let Some(every) = self.config.auto_add else { return };
        if now >= self.announce_at {
            self.ask(None);
            self.announce_at = now + every.checked_div(3).unwrap_or_default();
        }
        if !self.links.is_empty() {
            self.arm(self.announce_at);
        }
    }

    fn sender_timeout(&mut self, id: u32, now: Instant) {
        let Some(sender) = self.senders.get_mut(&id) else { return };
        if let State::Establishing { attempts, next } = sender.state {
            if now < next {
                return self.arm(next);
            }
            if attempts > self.config.conn_est_retries {
                return self.close_sender(id, true);
            }
            let next = now + self.config.conn_est_timeout;
            sender.state = State::Establishing { attempts: attempts.saturating_add(1), next };
            self.arm(next);
            return self.establish(id, attempts);
        }
        let Some(at) = sender.rto_at else { return };
        if now < at {
            return self.arm(at);
        }
        let node = sender.node;
        let Some(known) = self.nodes.get_mut(&node) else { return };
        let were_up: Vec<bool> = known.paths.iter().map(|path| path.up).collect();
        let asks = sender.waits_for_room();
        sender.time_out(known, now);
        let again = sender.rto_at;
        let changed = known.paths.iter().zip(were_up).enumerate();
        let went_down = changed.filter(|(_, (path, was_up))| *was_up && !path.up);
        let went_down: Vec<usize> = went_down.map(|(at, _)| at).collect();
        if let Some(at) = again {
            self.arm(at);
        }
        for path in went_down {
            self.path_lost(node, path);
        }
        if asks {
            self.tell_receiver(id, Kind::TxUp);
        }
        self.kick(id);
    }

    /// Pings, and ends what is idle or dead.
    fn tick(&mut self, now: Instant) {
        let idle = self.config.conn_up_idle;
        let done = |sender: &Sender| {
            sender.state == State::Up && sender.is_idle() && now.since(sender.active) >= idle
        };
        for id in self.senders_that(done) {
            self.tell_receiver(id, Kind::TxDown);
            self.close_sender(id, false);
        }
        for id in self.senders_that(|sender| sender.is_stuck(now, idle)) {
            self.close_sender(id, true);
        }
        // The sender's last word may be lost.
        let silent = |receiver: &Receiver| now.since(receiver.heard) >= idle.saturating_mul(2);
        for id in self.receivers_that(silent) {
            self.close_receiver(id);
        }
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.node_tick(node, now);
        }
    }

    fn node_tick(&mut self, node: NodeId, now: Instant) {
        let Some(known) = self.nodes.get(&node) else { return };
        let silence = now.since(known.heard);
        let sends = self.senders.values().any(|sender| sender.node == node);
        let receives = self.receivers.values().any(|receiver| receiver.node == node);
        if !sends && !receives {
            let keep = self.config.auto_add.unwrap_or(DEAD_AFTER);
            if silence >= keep {
                self.forget(node);
            }
            return;
        }
        if silence < DEAD_AFTER {
            return self.ping_paths(node);
        }
        for id in self.senders_that(|sender| sender.node == node && sender.state == State::Up) {
            self.close_sender(id, true);
        }
        for id in self.receivers_that(|receiver| receiver.node == node) {
            self.close_receiver(id);
        }
    }

    fn senders_that(&self, matches: impl Fn(&Sender) -> bool) -> Vec<u32> {
        self.senders.iter().filter(|(_, sender)| matches(sender)).map(|(id, _)| *id).collect()
    }

    fn receivers_that(&self, matches: impl Fn(&Receiver) -> bool) -> Vec<u32> {
        self.receivers.iter().filter(|(_, one)| matches(one)).map(|(id, _)| *id).collect()
    }
}
