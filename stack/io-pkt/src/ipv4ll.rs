//! Time and messages of links' own IPv4 addresses.

use core::time::Duration;

use inet::command::Command;
use wire::{arp, ethernet};

use crate::control::Control;

impl Control {
    /// How long until a link has something to do for its own address.
    pub(crate) fn until_link_local(&self) -> Option<Duration> {
        self.network.next_link_local().map(|due| due.since(self.now()))
    }

    /// Does what is due, and tells the workers what has changed.
    pub(crate) fn attend_link_local(&mut self) {
        let now = self.now();
        // Without randomness the daemon does not start.
        let mut random = || getrandom::u64().unwrap_or(0);
        let work = self.network.attend_link_local(now, &mut random);
        if work.changed {
            self.publish();
        }
        for (interface, packet) in work.messages {
            self.command(0, Command::Arp { interface, packet });
        }
        for (interface, address, has_come) in work.news {
            let name = self.network.name(interface);
            let what = if has_come { "is the link's own" } else { "is the link's own no longer" };
            tracing::info!("{name}: {address} {what}");
        }
    }

    /// A worker has heard who has an address, or wants one.
    pub(crate) fn heard_arp(&mut self, interface: u16, frame: &ethernet::Frame<'_>) {
        if let Ok(packet) = arp::Packet::parse(frame.payload) {
            let now = self.now();
            self.network.heard_arp(interface, &packet, now);
            self.attend_link_local();
        }
    }
}
