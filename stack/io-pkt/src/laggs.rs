//! Aggregated links, as tools ask for them, as the other ends are spoken to and as the workers are told.

use std::time::Duration;

use inet::command::{BridgeCommand, Command};
use proto::LaggVerb;
use rustix::io::Errno;
use wire::lacp::Slow;

use crate::control::Control;

impl Control {
    /// Changes an aggregated link. Where it has another address then, its networks are told.
    ///
    /// # Errors
    /// As for [`proto::Request::Lagg`].
    pub(crate) fn change_lagg(&mut self, name: &str, verb: &LaggVerb) -> Result<(), Errno> {
        let index = self.network.index(name)?;
        let mac = self.network.mac(index);
        let interface = self.network.change_lagg(name, verb)?;
        self.attend_laggs();
        if self.network.mac(interface) != mac {
            self.publish();
            for address in self.network.addresses(interface) {
                self.command(0, Command::Announce { interface, address });
            }
        }
        Ok(())
    }

    /// How long until aggregated links are to be looked at.
    pub(crate) fn until_laggs(&self) -> Option<Duration> {
        let now = self.now();
        self.network.next_lagg(now).map(|due| due.since(now))
    }

    /// Looks at carriers of ports, and does what is due. Workers use other ports before the other end is told so.
    pub(crate) fn attend_laggs(&mut self) {
        let work = self.network.attend_laggs(self.now());
        if work.changed {
            self.publish_to_workers();
        }
        for (interface, source, pdu) in work.messages {
            let frame = pdu.emit(source).into();
            self.command(0, Command::Bridge(BridgeCommand::Frame { interface, frame }));
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
