//! The virtual host's passive side: LISTEN, SYN-RECEIVED, CLOSED.

use tcp::{HalfOpen, HalfOpenVerdict, ListenVerdict, SegmentIn, SegmentOut, SeqNum, SynCookie};
use types::FlowKey;

use crate::host::{Endpoint, Host};
use crate::host_socket::{Kind, Stream};

impl Host {
    /// A segment that belongs to no connection. `beyond`: it reopens one in TIME-WAIT.
    pub(crate) fn listener_segment(
        &mut self,
        flow: &FlowKey,
        seg: &SegmentIn<'_>,
        beyond: Option<SeqNum>,
    ) {
        let now = self.now;
        let found =
            self.sockets.iter().enumerate().find_map(|(index, socket)| match &socket.kind {
                Kind::Listening { listener, .. } if socket.port == flow.local_port => {
                    (!socket.closed).then(|| (index, listener.segment_arrives(seg, now)))
                }
                _ => None,
            });
        match found {
            None => {
                if let Some(reset) = tcp::closed_reply(seg) {
                    self.transmit(flow, &reset, &[]);
                }
            }
            Some((index, ListenVerdict::Open)) => self.open(flow, index, seg, beyond),
            Some((index, ListenVerdict::Cookie)) => self.send_cookie(flow, index, seg),
            Some((index, ListenVerdict::Validate(reset))) => {
                self.cookie_returns(flow, index, seg, &reset);
            }
            Some((_, ListenVerdict::Reset(reset))) => self.transmit(flow, &reset, &[]),
            Some((_, ListenVerdict::Drop(_))) => {}
        }
    }

    fn open(&mut self, flow: &FlowKey, index: usize, seg: &SegmentIn<'_>, beyond: Option<SeqNum>) {
        let iss = self.initial_sequence(flow);
        let iss = beyond.map_or(iss, |beyond| iss.later(beyond));
        if self.fast_open(flow, index, seg, iss) {
            return;
        }
        let Some(socket) = self.sockets.get(index) else { return };
        let mut config = self.config(flow);
        socket.configure(&mut config);
        let half_open = HalfOpen::new(seg, &config, iss, socket.window_of_syn(), self.now);
        if let Some(listener) = self.listener_mut(index) {
            listener.opened();
        }
        let _ = self.flows.insert(*flow, Endpoint::HalfOpen { half_open, listener: index });
        self.half_open_transmit(flow);
    }

    fn send_cookie(&mut self, flow: &FlowKey, index: usize, seg: &SegmentIn<'_>) {
        let (now, mut config, secret) = (self.now, self.config(flow), self.secret);
        let Some(socket) = self.sockets.get(index) else { return };
        socket.configure(&mut config);
        let rcv_wnd = socket.window_of_syn();
        let cookie = SynCookie { secret: &secret, flow, config: &config, rcv_wnd };
        let answer = cookie.syn_ack(seg, now);
        if let Some(listener) = self.listener_mut(index) {
            listener.cookie_sent(now);
        }
        self.transmit(flow, &answer, &[]);
    }

    fn cookie_returns(
        &mut self,
        flow: &FlowKey,
        index: usize,
        seg: &SegmentIn<'_>,
        reset: &SegmentOut,
    ) {
        let (now, mut config, secret) = (self.now, self.config(flow), self.secret);
        let Some(socket) = self.sockets.get(index) else { return };
        socket.configure(&mut config);
        let rcv_wnd = socket.window_of_syn();
        let cookie = SynCookie { secret: &secret, flow, config: &config, rcv_wnd };
        let Some(half_open) = cookie.validate(seg, now) else {
            return self.transmit(flow, reset, &[]);
        };
        if let Some(listener) = self.listener_mut(index) {
            listener.opened();
        }
        let _ = self.flows.insert(*flow, Endpoint::HalfOpen { half_open, listener: index });
        self.establish(flow, index, seg);
    }

    fn listener_mut(&mut self, index: usize) -> Option<&mut tcp::Listener> {
        match &mut self.sockets.get_mut(index)?.kind {
            Kind::Listening { listener, .. } => Some(listener),
            Kind::Unconnected | Kind::Stream(_) => None,
        }
    }

    /// An endpoint without a socket is over.
    pub(crate) fn forget(&mut self, flow: &FlowKey) {
        if let Some(Endpoint::HalfOpen { listener, .. }) = self.flows.remove(flow)
            && let Some(listener) = self.listener_mut(listener)
        {
            listener.abandoned();
        }
    }

    pub(crate) fn half_open_transmit(&mut self, flow: &FlowKey) {
        let now = self.now;
        while let Some(Endpoint::HalfOpen { half_open, .. }) = self.flows.get_mut(flow)
            && let Some(mut segment) = half_open.poll_transmit(now)
        {
            if half_open.wants_cookie() {
                segment.options.fast_open = Some(self.cookie(flow));
            }
            self.transmit(flow, &segment, &[]);
        }
    }

    pub(crate) fn half_open_verdict(
        &mut self,
        flow: &FlowKey,
        listener: usize,
        verdict: HalfOpenVerdict,
        seg: &SegmentIn<'_>,
    ) {
        match verdict {
            HalfOpenVerdict::Established => self.establish(flow, listener, seg),
            HalfOpenVerdict::Retransmit | HalfOpenVerdict::Drop(_) => self.half_open_transmit(flow),
            HalfOpenVerdict::Reset(reset) => self.transmit(flow, &reset, &[]),
            HalfOpenVerdict::Closed => self.forget(flow),
            HalfOpenVerdict::Deferred => {}
        }
    }

    /// The handshake is complete: the connection waits to be accepted, if there is room.
    fn establish(&mut self, flow: &FlowKey, index: usize, seg: &SegmentIn<'_>) {
        let child = self.sockets.len();
        let mut config = self.config(flow);
        let now = self.now;
        let Some(Endpoint::HalfOpen { half_open, .. }) = self.flows.get(flow) else { return };
        let Some(parent) = self.sockets.get_mut(index) else { return };
        parent.configure(&mut config);
        let Kind::Listening { listener, waiting } = &mut parent.kind else { return };
        if !listener.established() {
            return;
        }
        waiting.push_back(child);
        let stream = Stream::new(half_open.into_tcb(&config, now), *flow, parent.receive_buffer);
        let socket = parent.child(stream, now);
        self.sockets.push(socket);
        let _ = self.flows.insert(*flow, Endpoint::Connection(child));
        self.connection_segment(child, seg);
    }
}
