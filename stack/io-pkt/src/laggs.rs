//! Aggregated links, as tools ask for them, as the other ends are spoken to and as the workers are told.

use std::time::Duration;

use inet::command::{BridgeCommand, Command};
use proto::LaggVerb;
use rustix::io::Errno;
use wire::lacp::Slow;

use crate::control::Control;

impl Control {
    /// Changes an aggregated link.
    ///
    /// # Errors
    /// As for [`proto::Request::Lagg`].
    pub(crate) fn change_lagg(&mut self, name: &str, verb: &LaggVerb) -> Result<(), Errno> {
        let _interface = self.network.change_lagg(name, verb)?;
        self.attend_laggs();
        Ok(())
    }

    /// How long until aggregated links have something to do.
    pub(crate) fn until_laggs(&self) -> Option<Duration> {
        self.network.next_lagg().map(|due| due.since(self.now()))
    }

    /// Does what is due, and what follows from carriers. Workers use other ports before anybody is told so: the
    /// other end, and who is behind it where frames are now to go another way.
    pub(crate) fn attend_laggs(&mut self) {
        let work = self.network.attend_laggs(self.now());
        if work.changed {
            self.publish();
        }
        for interface in work.moved {
            self.announce_over(interface);
            let over = self.network.carried(interface);
            over.into_iter().for_each(|interface| self.members.tell_again(interface));
        }
        for (interface, source, pdu) in work.messages {
            let frame = pdu.emit(source).into();
            self.command(0, Command::Bridge(BridgeCommand::Frame { interface, frame }));
        }
    }

    /// Frames to an interface, and to what is over it, are to go another way from now on.
    pub(crate) fn announce_over(&mut self, interface: u16) {
        for interface in self.network.carried(interface) {
            for address in self.network.usable_addresses(interface) {
                self.command(0, Command::Announce { interface, address });
            }
        }
    }

    /// A worker has heard what the other end of a link says.
    pub(crate) fn heard_slow(&mut self, interface: u16, frame: &[u8]) {
        match Slow::parse(frame) {
            Ok(Slow::Lacp(pdu)) => {
                let now = self.now();
                self.network.heard_lacpdu(interface, &pdu, now);
                self.attend_laggs();
            }
            // What was sent before the answer has left before it (6.5.4).
            Ok(Slow::Marker(marker)) => {
                let frame = marker.answer(self.network.mac(interface)).into();
                self.command(0, Command::Bridge(BridgeCommand::Frame { interface, frame }));
            }
            Err(_) => {}
        }
    }
}
