//! Bridges, as tools ask for them and as the workers are told of them.

use std::time::Duration;

use inet::command::{BridgeCommand, Command, Flush};
use proto::{BridgePage, BridgeVerb, Reply, Skip, page};
use rustix::io::Errno;
use wire::bpdu::Bpdu;
use wire::ethernet;
use wire::lacp::Slow;

use crate::control::Control;
use crate::pending::{Asked, Pending, Then};

impl Control {
    /// Changes a bridge.
    ///
    /// # Errors
    /// As for [`proto::Request::Bridge`].
    pub(crate) fn change_bridge(&mut self, name: &str, verb: &BridgeVerb) -> Result<(), Errno> {
        let (bridge, flush) = self.network.change_bridge(name, verb)?;
        if let Some(what) = flush {
            // First what is static, which the workers keep until they are told.
            self.publish();
            self.flush_stations(bridge, &what);
        }
        self.attend_trees();
        Ok(())
    }

    /// How long until the trees are to be looked at.
    pub(crate) fn until_trees(&self) -> Option<Duration> {
        self.network.next_tree().map(|due| due.since(self.now()))
    }

    /// Does what is due in bridges' trees, and what follows from carriers. A port that is to stop
    /// does so before other bridges are told that it has.
    pub(crate) fn attend_trees(&mut self) {
        let work = self.network.attend_trees(self.now());
        if work.changed {
            self.publish_to_workers();
        }
        for (bridge, ports) in work.flushes {
            self.flush_stations(bridge, &Flush::Ports(ports.into()));
        }
        for (interface, source, bpdu) in work.messages {
            let frame = bpdu.emit(source).as_bytes().into();
            self.command(0, Command::Bridge(BridgeCommand::Frame { interface, frame }));
        }
    }

    /// A worker has heard what another bridge says, or the other end of an aggregated link, or something about
    /// an address of a link's own.
    pub(crate) fn heard_frame(&mut self, interface: u16, frame: &[u8]) {
        if ethernet::Frame::parse(frame).is_ok_and(|frame| Slow::is(frame.header)) {
            return self.heard_slow(interface, frame);
        }
        if let Ok(bpdu) = Bpdu::parse(frame) {
            let now = self.now();
            self.network.heard_bpdu(interface, &bpdu, now);
            self.attend_trees();
        } else if let Ok(frame) = ethernet::Frame::parse(frame)
            && frame.header.ethertype() == ethernet::EtherType::ARP
        {
            self.heard_arp(interface, &frame);
        }
    }

    /// All workers forget stations of a bridge.
    fn flush_stations(&mut self, bridge: u16, what: &Flush) {
        for worker in 0..self.worker_count() {
            let what = what.clone();
            self.command(worker, Command::Bridge(BridgeCommand::Flush { bridge, what }));
        }
    }

    /// Asks the first worker, whom the others tell of all that they learn.
    ///
    /// # Errors
    /// `ENXIO`, `EOPNOTSUPP` if it is no bridge.
    pub(crate) fn ask_stations(
        &mut self,
        asked: Asked,
        page: &BridgePage,
    ) -> Result<Option<Reply>, Errno> {
        let (bridge, skip) = (self.network.bridge_index(&page.bridge)?, page.skip);
        let pending = pending(asked, Then::Stations { bridge, skip });
        self.call(0, pending, |call| Command::Bridge(BridgeCommand::Stations { call, bridge }));
        Ok(None)
    }

    /// The same for groups.
    ///
    /// # Errors
    /// `ENXIO`, `EOPNOTSUPP` if it is no bridge.
    pub(crate) fn ask_listening(
        &mut self,
        asked: Asked,
        page: &BridgePage,
    ) -> Result<Option<Reply>, Errno> {
        let (bridge, skip) = (self.network.bridge_index(&page.bridge)?, page.skip);
        let pending = pending(asked, Then::Listening { skip });
        self.call(0, pending, |call| Command::Bridge(BridgeCommand::Listening { call, bridge }));
        Ok(None)
    }

    /// One page of what it has answered.
    pub(crate) fn stations(&self, bridge: u16, skip: Skip, rows: &[bridge::Row]) -> Reply {
        Reply::Stations(page(self.network.station_rows(bridge, rows), skip))
    }

    /// The same for groups.
    pub(crate) fn listening(&self, skip: Skip, rows: &[bridge::Listening]) -> Reply {
        Reply::Listening(page(self.network.listening_rows(rows), skip))
    }
}

fn pending(Asked { connection, sequence }: Asked, then: Then) -> Pending {
    Pending { connection: Some(connection), sequence, then }
}
