//! The virtual host's Fast Open (RFC 7413): text on the SYN, both ways.

use tcp::{Events, FastOpenCookie, FastOpenLesson, HalfOpen, SegmentIn, SeqNum, Tcb};
use types::FlowKey;

use crate::host::{Endpoint, Host};
use crate::host_socket::{Kind, Stream};

impl Host {
    /// The cookie of the script's peers, who share an address.
    pub(crate) fn cookie(&self, flow: &FlowKey) -> FastOpenCookie {
        FastOpenCookie::generate(&self.secret, flow.local_addr, flow.remote_addr, self.now)
    }

    /// A SYN with a valid cookie: its connection can be accepted at once. `false`: it has none.
    pub(crate) fn fast_open(
        &mut self,
        flow: &FlowKey,
        index: usize,
        syn: &SegmentIn<'_>,
        iss: SeqNum,
    ) -> bool {
        let (now, mut config, valid) = (self.now, self.config(flow), self.cookie(flow));
        let child = self.sockets.len();
        let Some(parent) = self.sockets.get_mut(index) else { return false };
        let limit = parent.fast_open_limit;
        parent.configure(&mut config);
        let Kind::Listening { listener, waiting } = &mut parent.kind else { return false };
        let known = syn.options.fast_open.is_some_and(|cookie| cookie == valid);
        if !known || !listener.fast_opened(limit, now) {
            return false;
        }
        waiting.push_back(child);
        let half_open = HalfOpen::new(syn, &config, iss, parent.window_of_syn(), now);
        let stream = Stream::of_fast_open(parent.receive_buffer, *flow, index, |text| {
            half_open.into_fast_open(syn, &config, now, text).0
        });
        let socket = parent.child(stream, now);
        self.sockets.push(socket);
        let _ = self.flows.insert(*flow, Endpoint::Connection(child));
        self.after_event(child, Events::NONE);
        true
    }

    /// The handshake is complete: the server counts one less, the client has learned something.
    pub(crate) fn fast_open_ends(&mut self, index: usize, events: Events) {
        let Some(stream) = self.stream_mut(index) else { return };
        let unproven = stream.unproven_at.take();
        match stream.tcb.take_fast_open_lesson() {
            Some(FastOpenLesson::Cookie(memory)) => self.fast_open_memory = Some(memory),
            Some(FastOpenLesson::Blackhole) => self.fast_open_memory = None,
            None => {}
        }
        let Some(socket) = unproven.and_then(|index| self.sockets.get_mut(index)) else { return };
        if let Kind::Listening { listener, .. } = &mut socket.kind {
            if events.contains(Events::RESET) {
                listener.fast_open_reset(self.now);
            } else {
                listener.fast_open_ended();
            }
        }
    }

    /// `MSG_FASTOPEN`: connect and send in one.
    pub(crate) fn send_fast_open(
        &mut self,
        index: usize,
        peer_port: u16,
        text: &[u8],
    ) -> Result<i64, i32> {
        let (now, memory) = (self.now, self.fast_open_memory);
        let begun = self.begin_connect(index, peer_port, |config, iss| {
            Tcb::connect_fast_open(config, iss, memory, now)
        });
        begun?;
        if memory.is_none() {
            self.after_event(index, Events::NONE);
            return Err(libc::EINPROGRESS);
        }
        let stream = self.stream_mut(index).ok_or(libc::EBADF)?;
        stream.queued.extend(text);
        stream.tcb.send(u32::try_from(text.len()).unwrap_or(0));
        self.after_event(index, Events::NONE);
        Ok(i64::try_from(text.len()).unwrap_or(0))
    }
}
