//! A protocol module: native networking between nodes, like Qnet.
//!
//! ```sh
//! io-pkt -d net_tap … -p qnet host=alpha,bind=tap0     # or: iopkt mount -o host=alpha lsm-qnet.so
//! iopkt path read qnet                                 # which nodes there are
//! ```
//!
//! The crate `qnet` is the protocol, without I/O; here are its wires, its clock, and its doors:
//!
//! | Module | What |
//! |---|---|
//! | `settings` | the operator's options |
//! | `wire` | frames between the engine and the interfaces, or IPv4 |
//! | `relay` | messages between local clients, other nodes, and the file service |
//! | `requests` | who waits for what |
//! | `files` | the file service |
//! | `sockets`, `broker` | what the brokers of sockets of two nodes say to each other |
//! | `report` | what `<run>/dev/qnet` says about nodes and links |
//!
//! One engine serves all workers behind a lock, which is taken once per burst and held for no longer
//! than its frames take.
#![deny(unsafe_code)]

mod broker;
mod files;
mod relay;
mod report;
mod requests;
mod settings;
mod sockets;
mod wire;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lsm_sdk::{
    Answer, Arrival, Context, Event, Host, Level, OpenError, Peer, Protocol, Received, Variable,
    export_protocol,
};
use qnet::{Discard, ETHERTYPE, Engine, IP_PROTOCOL};
use types::Instant;

use crate::broker::Broker;
use crate::files::Files;
use crate::requests::Requests;
use crate::settings::{Bind, OPTIONS, Settings};
use crate::wire::Links;

export_protocol!(Qnet);

/// Frames that one call sends: half of what modules may send in a breath, so that the other half is
/// left for others.
const FRAMES_MAX: usize = 256;

/// A node.
#[derive(Debug)]
struct Node {
    engine: Engine,
    links: Links,
    requests: Requests,
    broker: Broker,
    /// The frame that is being sent.
    frame: Vec<u8>,
}

/// What is counted.
#[derive(Debug)]
struct Counters {
    frames_in: Variable,
    frames_out: Variable,
    lost_out: Variable,
    strange: Variable,
    served: Variable,
    answers_lost: Variable,
    /// In the order of [`Discard::ALL`].
    discarded: Vec<Variable>,
}

/// The module.
struct Qnet {
    host: Host<Self>,
    settings: Settings,
    node: Mutex<Node>,
    counters: Counters,
    files: Option<Files>,
    /// Clients of the path so far, each of which has its own number.
    clients: AtomicU64,
    /// A worker has been asked to send.
    kicked: AtomicBool,
}

impl Protocol for Qnet {
    const NAME: &'static str = "qnet";
    const OPTIONS: &'static str = OPTIONS;

    fn open(host: &Host<Self>) -> Result<Self, OpenError> {
        let machine = rustix::system::uname();
        let settings =
            Settings::read(|key| host.option(key), &machine.nodename().to_string_lossy()).map_err(
                |wrong| {
                    host.log(Level::Error, &wrong);
                    OpenError::INVALID
                },
            )?;
        let _ = match settings.bind {
            Bind::Ip => host.attach_protocol(IP_PROTOCOL)?,
            Bind::All | Bind::Interfaces(_) => host.attach_ethertype(ETHERTYPE)?,
        };
        let _ = host.make_path("qnet", 0o660)?;
        let random = (getrandom::u64(), getrandom::u64(), getrandom::u32());
        let (Ok(first), Ok(second), Ok(last)) = random else { return Err(OpenError::IO) };
        let engine = Engine::new(settings.config.clone(), (first, second));
        let node = Node {
            engine,
            links: Links::default(),
            requests: Requests::after(last),
            broker: Broker::default(),
            frame: Vec::new(),
        };
        let counters = Counters::new(host)?;
        let files = settings.export.as_deref().map(|folder| Files::open(folder, settings.mapany));
        let files = files.transpose().map_err(|error| {
            host.log(
                Level::Error,
                &format!("export: {error}; it is a directory, and mapany a user\'s number"),
            );
            OpenError::INVALID
        })?;
        let this = Self {
            host: host.clone(),
            counters,
            files,
            clients: AtomicU64::new(0),
            settings,
            node: Mutex::new(node),
            kicked: AtomicBool::new(false),
        };
        this.update_links();
        Ok(this)
    }

    fn receive(&self, cx: &mut Context<'_, Self>, arrival: Arrival, packets: &mut Received<'_>) {
        let now = Instant::from_nanos(cx.now());
        let interface = (self.settings.bind != Bind::Ip).then_some(arrival.interface);
        let mut node = self.node();
        let Node { engine, links, .. } = &mut *node;
        self.host.count(self.counters.frames_in, i64::try_from(packets.len()).unwrap_or(0));
        for packet in packets {
            if let Err(reason) = links.input(engine, interface, &packet, now) {
                self.counters.discarded(&self.host, reason);
            }
        }
        self.serve(node, cx);
    }

    fn timer(&self, cx: &mut Context<'_, Self>) {
        self.serve(self.node(), cx);
    }

    fn event(&self, _: &Event) {
        self.update_links();
    }

    fn path_open(&self, _: &Peer) -> Result<u64, OpenError> {
        Ok(self.clients.fetch_add(1, Ordering::Relaxed))
    }

    fn path_read(&self, _: u64, offset: u64, to: &mut [u8]) -> Result<Answer, OpenError> {
        let text = report::text(&report::status(&self.settings, &self.node()));
        let from = usize::try_from(offset).map_err(|_| OpenError::INVALID)?;
        let rest = text.as_bytes().get(from..).unwrap_or_default();
        Ok(Answer::Bytes(rest.iter().zip(to).map(|(from, to)| *to = *from).count()))
    }

    fn path_ioctl(
        &self,
        handle: u64,
        request: u32,
        data: &[u8],
        to: &mut [u8],
    ) -> Result<Answer, OpenError> {
        match request {
            proto::qnet::FILES => self.ask(handle, data),
            proto::qnet::TELL => self.tell(data, to),
            proto::qnet::HEAR => self.listen(handle, to),
            proto::qnet::STATUS => {
                let status = proto::emit(&report::status(&self.settings, &self.node()));
                let status = status.map_err(|proto::MalformedMessage| OpenError::TOO_LONG)?;
                let to = to.get_mut(..status.len()).ok_or(OpenError::TOO_LONG)?;
                to.copy_from_slice(&status);
                Ok(Answer::Bytes(status.len()))
            }
            _ => Err(OpenError::NOT_SUPPORTED),
        }
    }

    fn path_close(&self, handle: u64) {
        self.node().requests.forget(handle);
        self.client_gone(handle);
    }
}

impl Qnet {
    /// The node. Whoever panicked with it took the module down.
    fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is due, and sends what there is to send.
    fn serve(&self, mut node: MutexGuard<'_, Node>, cx: &mut Context<'_, Self>) {
        let now = Instant::from_nanos(cx.now());
        node.engine.timeout(now);
        let mut deeds = relay::lost(node.requests.overdue(now));
        while let Some(event) = node.engine.poll_event() {
            deeds.extend(self.hear(&mut node, event, now));
        }
        deeds.extend(node.send_requests(now));
        let Node { engine, links, frame, .. } = &mut *node;
        let (mut sent, mut lost) = (0, 0);
        let mut more = true;
        for _ in 0..FRAMES_MAX {
            let Some(to) = engine.poll_transmit(now, frame) else {
                more = false;
                break;
            };
            if links.output(cx, to, frame) { sent += 1 } else { lost += 1 }
        }
        let later = engine.next_timeout().into_iter().chain(node.requests.next_timeout()).min();
        cx.set_timer(if more { Some(now) } else { later }.map(Instant::as_nanos));
        drop(node);
        self.carry_out(deeds);
        self.host.count(self.counters.frames_out, sent);
        self.host.count(self.counters.lost_out, lost);
    }

    /// The interfaces are others than before.
    fn update_links(&self) {
        let interfaces = self.host.interfaces();
        let mut node = self.node();
        let Node { engine, links, .. } = &mut *node;
        links.update(engine, (&self.settings.bind, &interfaces), clock());
        drop(node);
        self.kick();
    }

    /// Has a worker send what there is.
    fn kick(&self) {
        if self.kicked.swap(true, Ordering::AcqRel) {
            return;
        }
        let serve = |this: &Self, cx: &mut Context<'_, Self>| {
            this.kicked.store(false, Ordering::Release);
            this.serve(this.node(), cx);
        };
        if self.host.call_in_worker(0, serve).is_err() {
            // Too many calls wait: the next timer or frame does it.
            self.kicked.store(false, Ordering::Release);
        }
    }
}

impl Counters {
    fn new(host: &Host<Qnet>) -> Result<Self, OpenError> {
        let discarded = Discard::ALL.iter().map(|reason| {
            let name = format!("discarded.{}", reason.label());
            host.add_counter(&name, "Frames discarded for this reason.")
        });
        Ok(Self {
            frames_in: host.add_counter("frames_in", "Frames that came.")?,
            frames_out: host.add_counter("frames_out", "Frames sent.")?,
            lost_out: host.add_counter("lost_out", "Frames that there was no room to send.")?,
            strange: host.add_counter("strange", "Messages that nobody here understands.")?,
            served: host
                .add_counter("served", "Calls of other nodes that the file service did.")?,
            answers_lost: host.add_counter("answers_lost", "Answers that could not be sent.")?,
            discarded: discarded.collect::<Result<_, _>>()?,
        })
    }

    fn discarded(&self, host: &Host<Qnet>, reason: Discard) {
        if let Some(variable) = self.discarded.get(reason as usize) {
            host.count(*variable, 1);
        }
    }
}

/// The workers' clock.
fn clock() -> Instant {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
