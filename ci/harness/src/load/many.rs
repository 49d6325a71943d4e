//! Many connections in one thread, as servers and clients in the field have them: an epoll loop.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::MESSAGE;
use crate::client::{connect, report};
use crate::sockets::{Kind, Stream};

/// Events of one wait.
const EVENTS: usize = 256;

/// What says when it can be read, by numbers.
pub(crate) struct Waiting {
    descriptor: OwnedFd,
    events: Vec<Event>,
}

impl Waiting {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            descriptor: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS),
        })
    }

    pub(crate) fn add(&self, source: impl AsFd, number: u64) -> io::Result<()> {
        let data = EventData::new_u64(number);
        Ok(epoll::add(&self.descriptor, source, data, EventFlags::IN)?)
    }

    pub(crate) fn remove(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.descriptor, source)?)
    }

    /// The numbers of those that can be read.
    pub(crate) fn wait(&mut self) -> io::Result<impl Iterator<Item = u64>> {
        self.events.clear();
        match epoll::wait(&self.descriptor, spare_capacity(&mut self.events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(self.events.iter().map(|event| event.data.u64()))
    }
}

/// A message that comes in pieces or not at all.
pub(crate) struct Incoming {
    bytes: [u8; MESSAGE],
    len: usize,
}

impl Incoming {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; MESSAGE], len: 0 }
    }

    /// The message, once it is whole.
    pub(crate) fn read(&mut self, stream: &mut Stream) -> io::Result<Option<[u8; MESSAGE]>> {
        match stream.read(&mut self.bytes[self.len..]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                self.len += len;
                if self.len < MESSAGE {
                    return Ok(None);
                }
                self.len = 0;
                Ok(Some(self.bytes))
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// One request at a time on each of `count` connections.
pub(crate) fn rr(kind: Kind, address: SocketAddr, time: Duration, count: usize) -> io::Result<()> {
    let mut waiting = Waiting::new()?;
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        let stream = connect(kind, address, b'r')?;
        stream.set_nonblocking(true)?;
        waiting.add(&stream, number as u64)?;
        all.push((stream, Incoming::new(), Instant::now()));
    }
    let message = [7; MESSAGE];
    let started = Instant::now();
    for (stream, _, sent) in &mut all {
        *sent = Instant::now();
        stream.write_all(&message)?;
    }
    let mut took = Vec::with_capacity(1 << 20);
    while started.elapsed() < time {
        for number in waiting.wait()? {
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            let Some((stream, incoming, sent)) = all.get_mut(index) else { continue };
            if incoming.read(stream)?.is_some() {
                took.push(sent.elapsed());
                *sent = Instant::now();
                stream.write_all(&message)?;
            }
        }
    }
    report(took, started.elapsed());
    Ok(())
}
