//! The kernel's end: a tap device, one thread that writes to it and one that reads.

use core::sync::atomic::{AtomicU32, Ordering};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use lsm_sdk::{Host, Interface};
use tun_rs::{DeviceBuilder, InterruptEvent, Layer, SyncDevice};

use crate::theirs::Theirs;
use crate::{Counters, Exception, NONE};

/// Frames that wait for the kernel, at most: a second of a busy session's.
const WAITING_MAX: usize = 1024;
/// A frame with its header, of the largest MTU that a tap has.
const FRAME_MAX: usize = 65536 + 14;
/// So soon an address of the kernel's end that an operator has given is known here.
const LOOK: Duration = Duration::from_millis(500);

type Addresses = RwLock<HashSet<IpAddr>>;

/// The device. Dropping it ends the threads, and with the last of them the device.
pub(crate) struct Kernel {
    device: Arc<SyncDevice>,
    addresses: Arc<Addresses>,
    /// To the thread that writes; it ends with this.
    to_kernel: Option<SyncSender<Vec<u8>>>,
    end: Arc<InterruptEvent>,
    threads: Vec<JoinHandle<()>>,
}

/// What the thread that reads needs.
struct Reader {
    host: Host<Exception>,
    device: Arc<SyncDevice>,
    addresses: Arc<Addresses>,
    interface: Arc<AtomicU32>,
    theirs: Theirs,
    counters: Counters,
    end: Arc<InterruptEvent>,
}

impl Kernel {
    /// A device of that name, with station, MTU and address of the interface, and up.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn open(
        host: &Host<Exception>,
        name: &str,
        like: &Interface,
        interface: Arc<AtomicU32>,
        (theirs, counters): (Theirs, Counters),
    ) -> io::Result<Self> {
        let mtu = u16::try_from(like.mtu).unwrap_or(u16::MAX);
        let mut device =
            DeviceBuilder::new().name(name).layer(Layer::L2).mac_addr(like.mac).mtu(mtu);
        if let Some((address, len)) = like.address {
            device = device.ipv4(address, len, None);
        }
        let device = Arc::new(device.build_sync()?);
        device.set_nonblocking(true)?;
        let end = Arc::new(InterruptEvent::new()?);
        let (to_kernel, frames) = sync_channel(WAITING_MAX);
        let mut kernel = Self {
            addresses: Arc::default(),
            to_kernel: Some(to_kernel),
            end: Arc::clone(&end),
            device: Arc::clone(&device),
            threads: Vec::new(),
        };
        look(&kernel.device, &kernel.addresses);
        let reader = Reader {
            host: host.clone(),
            device: Arc::clone(&device),
            addresses: Arc::clone(&kernel.addresses),
            interface,
            theirs,
            counters,
            end,
        };
        let write = Builder::new().name("exception-write".into());
        kernel.threads.push(write.spawn(move || write_all(&device, &frames))?);
        let read = Builder::new().name("exception-read".into());
        kernel.threads.push(read.spawn(move || reader.run())?);
        Ok(kernel)
    }

    /// Whether the kernel's end has this address.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }

    /// Hands a frame to the kernel; `false`: too many wait.
    pub(crate) fn give(&self, frame: &[u8]) -> bool {
        self.to_kernel.as_ref().is_some_and(|queue| queue.try_send(frame.to_vec()).is_ok())
    }

    /// The interface has another station or MTU.
    pub(crate) fn follow(&self, was: &Interface, is: &Interface) -> io::Result<()> {
        if was.mac != is.mac {
            self.device.set_mac_address(is.mac)?;
        }
        if was.mtu != is.mtu {
            self.device.set_mtu(u16::try_from(is.mtu).unwrap_or(u16::MAX))?;
        }
        Ok(())
    }

    /// The interface has got an address. It has those of its start already.
    pub(crate) fn add_address(&self, address: Ipv4Addr, prefix_len: u8) -> io::Result<()> {
        if !self.has(address.into()) {
            self.device.add_address_v4(address, prefix_len)?;
            look(&self.device, &self.addresses);
        }
        Ok(())
    }

    /// The interface has lost an address.
    pub(crate) fn remove_address(&self, address: Ipv4Addr) -> io::Result<()> {
        if self.has(address.into()) {
            self.device.remove_address(address.into())?;
            look(&self.device, &self.addresses);
        }
        Ok(())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.to_kernel = None;
        // Without it the reader ends when it looks next.
        let _ = self.end.trigger();
        for thread in self.threads.drain(..) {
            // One that has panicked has ended too.
            let _ = thread.join();
        }
    }
}

fn look(device: &SyncDevice, known: &Addresses) {
    // What can't be asked for now is asked for again soon.
    if let Ok(found) = device.addresses() {
        *known.write().unwrap_or_else(PoisonError::into_inner) = found.into_iter().collect();
    }
}

fn write_all(device: &SyncDevice, frames: &Receiver<Vec<u8>>) {
    for frame in frames {
        // A device that is down takes nothing, as any of the kernel's.
        let _ = device.send(&frame);
    }
}

impl Reader {
    fn run(&self) {
        let mut frame = vec![0; FRAME_MAX];
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() >= LOOK {
                look(&self.device, &self.addresses);
                looked = Instant::now();
            }
            match self.device.recv_intr_timeout(&mut frame, &self.end, Some(LOOK)) {
                Ok(len) => self.frame(frame.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
                // It is down; the operator may set it up again.
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    }

    fn frame(&self, frame: &[u8]) {
        if self.theirs.may_leave(frame) {
            let sent = self.send(frame);
            self.host.count(if sent { self.counters.sent } else { self.counters.lost }, 1);
        }
    }

    fn send(&self, frame: &[u8]) -> bool {
        let interface = self.interface.load(Ordering::Relaxed);
        let Some(mut packet) = self.host.packet().filter(|_| interface != NONE) else {
            return false;
        };
        let lost = self.counters.lost;
        packet.fill(frame)
            && self
                .host
                .call_in_worker(0, move |_, cx| {
                    if cx.send_frame(interface, packet).is_err() {
                        cx.host().count(lost, 1);
                    }
                })
                .is_ok()
    }
}
