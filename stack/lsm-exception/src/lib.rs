//! A protocol module: the exception path. An interface of the stack gets an end in the kernel, a tap
//! device of the same name, station and MTU, by which routing daemons (FRR, BIRD) speak to their
//! neighbours. What is theirs is taken out of what the interface receives; everything else stays with the
//! stack.
//!
//! ```sh
//! io-pkt -d net_tap … -p exception interface=tap0       # or: iopkt mount -o interface=tap0 exception
//! ip address show dev tap0                              # the kernel's end has tap0's IPv4 address
//! iopkt fpm &                                           # and what the daemons learn comes back as routes
//! ```
//!
//! ```text
//!              wire ══ tap0 of the stack ──(not theirs)──> the stack
//!                           │        ▲
//!      theirs, ARP and ND   ▼        │  ARP, ND and what is theirs
//!                      tap0 of the kernel ── bgpd, ospfd …
//! ```
//!
//! * `theirs`: which packets those are. * `kernel`: the device and its two threads.
#![deny(unsafe_code)]

mod kernel;
mod theirs;

use core::sync::atomic::{AtomicU32, Ordering};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use lsm_sdk::{
    Arrival, Context, Direction, Event, Host, Interface, Level, OpenError, Point, Protocol,
    Questions, Variable, export_protocol,
};

use crate::kernel::Kernel;
use crate::theirs::{Fate, Theirs};

export_protocol!(Exception);

/// The interface is not there at the moment.
const NONE: u32 = u32::MAX;

/// What is counted.
#[derive(Clone, Copy, Debug)]
struct Counters {
    /// Taken for the kernel, sent for it, and lost on either way.
    taken: Variable,
    sent: Variable,
    lost: Variable,
}

/// One interface with an end in the kernel.
struct Exception {
    host: Host<Self>,
    name: String,
    /// The interface's number, or [`NONE`].
    interface: Arc<AtomicU32>,
    theirs: Theirs,
    kernel: Kernel,
    counters: Counters,
    /// What the kernel's end is like, for changes.
    shown: Mutex<Interface>,
}

impl Protocol for Exception {
    const NAME: &'static str = "exception";
    const OPTIONS: &'static str =
        "interface=NAME host=NAME take=bgp+ospf+tcp:PORT+udp:PORT+ip:NUMBER";
    const SEVERAL: bool = true;

    fn open(host: &Host<Self>) -> Result<Self, OpenError> {
        let refuse = |text: &str| {
            host.log(Level::Error, text);
            OpenError::INVALID
        };
        let name = host.option("interface").ok_or_else(|| {
            refuse("which interface? say interface=NAME (iopkt ifconfig lists them)")
        })?;
        let found = host.interfaces().into_iter().find(|i| i.name == name && !i.loopback);
        let shown = found.ok_or_else(|| {
            let _ = refuse(&format!(
                "no interface {name}; give its -d before this -p, or mount it first"
            ));
            OpenError::NO_DEVICE
        })?;
        let theirs =
            Theirs::read(host.option("take").as_deref()).map_err(|wrong| refuse(&wrong))?;
        let end = host.option("host").unwrap_or_else(|| name.clone());
        let counters = Counters {
            taken: host.add_counter("taken", "packets given to the kernel's end")?,
            sent: host.add_counter("sent", "frames sent for the kernel's end")?,
            lost: host
                .add_counter("lost", "packets for or from the kernel's end that were lost")?,
        };
        let _ = host.attach_filter(Point::Interface, &[Direction::In], i32::MAX, Some(&name))?;
        let interface = Arc::new(AtomicU32::new(shown.index));
        let kernel =
            Kernel::open(host, &end, &shown, Arc::clone(&interface), (theirs.clone(), counters))
                .map_err(|error| device_error(host, &end, &error))?;
        Ok(Self {
            host: host.clone(),
            name,
            interface,
            theirs,
            kernel,
            counters,
            shown: Mutex::new(shown),
        })
    }

    fn filter(&self, cx: &mut Context<'_, Self>, _: Arrival, packets: &mut Questions<'_>) {
        let (mut taken, mut lost) = (0, 0);
        while let Some(question) = packets.next_packet() {
            let fate = self.theirs.fate(question.data(), |to| self.kernel.has(to));
            if fate == Fate::Stack {
                continue;
            }
            let given = self.kernel.give(question.data());
            *(if given { &mut taken } else { &mut lost }) += 1;
            if fate == Fate::Kernel {
                drop(question.consume());
            }
        }
        if taken + lost > 0 {
            cx.host().count(self.counters.taken, taken);
            cx.host().count(self.counters.lost, lost);
        }
    }

    fn event(&self, event: &Event) {
        match event {
            Event::Attached(interface) | Event::Changed(interface)
                if interface.name == self.name =>
            {
                self.interface.store(interface.index, Ordering::Relaxed);
                let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
                self.report(self.kernel.follow(&shown, interface));
                *shown = interface.clone();
            }
            Event::Detached(interface) if interface.name == self.name => {
                self.interface.store(NONE, Ordering::Relaxed);
            }
            Event::AddressAdded(interface, address, len) if interface.name == self.name => {
                self.report(self.kernel.add_address(*address, *len));
            }
            Event::AddressRemoved(interface, address, _) if interface.name == self.name => {
                self.report(self.kernel.remove_address(*address));
            }
            _ => {}
        }
    }
}

impl Exception {
    fn report(&self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            let text = format!("the kernel's end of {} can't follow: {error}", self.name);
            self.host.log(Level::Warning, &text);
        }
    }
}

fn device_error(host: &Host<Exception>, end: &str, error: &io::Error) -> OpenError {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "it needs root or CAP_NET_ADMIN",
        _ => "is there an interface of this name already? choose another: host=NAME",
    };
    host.log(Level::Error, &format!("the tap device {end}: {error}; {hint}"));
    error.raw_os_error().map_or(OpenError::IO, OpenError)
}
