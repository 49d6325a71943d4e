//! A host's passive opens: LISTEN, SYN-RECEIVED and SYN cookies.

use tcp::{
    FastOpenCookie, HalfOpen, HalfOpenVerdict, ListenVerdict, SegmentIn, SegmentOut, SeqNum,
    SynCookie, closed_reply, isn,
};
use types::{FlowKey, Instant};

use crate::app::App;
use crate::host::{Endpoint, Host, Owner};

/// What listeners did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassiveCounts {
    /// SYNs that were dropped.
    pub refused: u64,
    /// SYNs that a half-open entry remembers.
    pub remembered: u64,
    /// SYNs answered with a cookie.
    pub cookies_sent: u64,
    /// Cookies that came back.
    pub cookies_good: u64,
    /// Connections whose SYN brought text and a Fast Open cookie.
    pub fast_opened: u64,
    /// ACKs without a cookie where one was looked for.
    pub cookies_bad: u64,
}

impl Host {
    /// LISTEN and CLOSED. `beyond`: where the ISS of a connection in TIME-WAIT's place begins.
    pub(crate) fn listener_segment(
        &mut self,
        flow: &FlowKey,
        segment: &SegmentIn<'_>,
        beyond: Option<SeqNum>,
        now: Instant,
    ) {
        let Some(service) = self.services.get_mut(&flow.local_port) else {
            self.replies.extend(closed_reply(segment).map(|reset| (*flow, reset)));
            return;
        };
        match service.listener.segment_arrives(segment, now) {
            ListenVerdict::Open => self.open(flow, segment, beyond, now),
            ListenVerdict::Cookie => {
                service.listener.cookie_sent(now);
                self.passive.cookies_sent += 1;
                let answer = self.cookie(flow, |cookie| cookie.syn_ack(segment, now));
                self.replies.push((*flow, answer));
            }
            ListenVerdict::Validate(reset) => self.validate(flow, segment, reset, now),
            ListenVerdict::Reset(reset) => self.replies.push((*flow, reset)),
            ListenVerdict::Drop(_) => self.passive.refused += 1,
        }
    }

    pub(crate) fn half_open_verdict(
        &mut self,
        flow: &FlowKey,
        port: u16,
        verdict: HalfOpenVerdict,
        segment: &SegmentIn<'_>,
        now: Instant,
    ) {
        match verdict {
            HalfOpenVerdict::Established => {
                if let Some(Endpoint::HalfOpen { half_open, .. }) = self.endpoints.remove(flow) {
                    self.establish(flow, half_open, segment, now);
                }
            }
            HalfOpenVerdict::Reset(reset) => self.replies.push((*flow, reset)),
            HalfOpenVerdict::Closed => {
                let _ = self.endpoints.remove(flow);
                self.abandoned(port);
            }
            HalfOpenVerdict::Deferred => {}
            HalfOpenVerdict::Drop(_) | HalfOpenVerdict::Retransmit => {
                self.half_open_transmit(flow, now);
            }
        }
    }

    pub(crate) fn half_open_transmit(&mut self, flow: &FlowKey, now: Instant) {
        if let Some(Endpoint::HalfOpen { half_open, .. }) = self.endpoints.get_mut(flow) {
            while let Some(mut segment) = half_open.poll_transmit(now) {
                if half_open.wants_cookie() {
                    segment.options.fast_open = Some(FastOpenCookie::generate(
                        &self.secret,
                        flow.local_addr,
                        flow.remote_addr,
                        now,
                    ));
                }
                self.replies.push((*flow, segment));
            }
        }
    }

    /// A half-open connection is no more.
    pub(crate) fn abandoned(&mut self, port: u16) {
        if let Some(service) = self.services.get_mut(&port) {
            service.listener.abandoned();
        }
    }

    fn open(&mut self, flow: &FlowKey, syn: &SegmentIn<'_>, beyond: Option<SeqNum>, now: Instant) {
        let config = self.config(flow);
        let iss = isn::initial_sequence(&self.secret, flow, now);
        let iss = beyond.map_or(iss, |beyond| iss.later(beyond));
        let half_open = HalfOpen::new(syn, &config, iss, self.window(), now);
        if config.fast_open && self.has_cookie(flow, syn, now) {
            return self.fast_open(flow, half_open, syn, now);
        }
        let (port, armed) = (flow.local_port, half_open.next_timeout());
        self.alarms.push((armed, Owner::Flow(*flow)));
        let _ = self.endpoints.insert(*flow, Endpoint::HalfOpen { half_open, port, armed });
        self.opened(port);
        self.passive.remembered += 1;
        self.half_open_transmit(flow, now);
    }

    /// An ACK at a listener that has sent cookies of late.
    fn validate(
        &mut self,
        flow: &FlowKey,
        segment: &SegmentIn<'_>,
        reset: SegmentOut,
        now: Instant,
    ) {
        match self.cookie(flow, |cookie| cookie.validate(segment, now)) {
            Some(half_open) => {
                self.passive.cookies_good += 1;
                self.opened(flow.local_port);
                self.establish(flow, half_open, segment, now);
            }
            None => {
                self.passive.cookies_bad += 1;
                self.replies.push((*flow, reset));
            }
        }
    }

    /// The program accepts at once.
    fn establish(
        &mut self,
        flow: &FlowKey,
        half_open: HalfOpen,
        segment: &SegmentIn<'_>,
        now: Instant,
    ) {
        let Some(app) = self.accept(flow.local_port) else { return };
        let tcb = half_open.into_tcb(&self.config(flow), now);
        let id = self.add_socket(*flow, tcb, app, self.ring(), now);
        self.connection_segment(id, segment, now);
    }

    /// The SYN has our cookie: its text is delivered before the handshake is complete
    /// (RFC 7413 §4.2.2).
    fn fast_open(
        &mut self,
        flow: &FlowKey,
        half_open: HalfOpen,
        syn: &SegmentIn<'_>,
        now: Instant,
    ) {
        self.opened(flow.local_port);
        self.passive.fast_opened += 1;
        let Some(app) = self.accept(flow.local_port) else { return };
        let mut recv = self.ring();
        let (tcb, arrival) = half_open.into_fast_open(syn, &self.config(flow), now, &mut recv);
        let id = self.add_socket(*flow, tcb, app, recv, now);
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.note_arrival(&arrival, now);
        }
    }

    fn has_cookie(&self, flow: &FlowKey, syn: &SegmentIn<'_>, now: Instant) -> bool {
        let (server, client) = (flow.local_addr, flow.remote_addr);
        let cookie = syn.options.fast_open.filter(|cookie| !cookie.is_request());
        cookie.is_some_and(|cookie| cookie.is_valid(&self.secret, server, client, now))
    }

    /// A half-open connection leaves the listener for a program.
    fn accept(&mut self, port: u16) -> Option<App> {
        let service = self.services.get_mut(&port)?;
        assert!(service.listener.established(), "the accept queue is empty");
        service.listener.left();
        Some(App::server(service.plan, self.random.bits()))
    }

    fn opened(&mut self, port: u16) {
        if let Some(service) = self.services.get_mut(&port) {
            service.listener.opened();
        }
    }

    fn cookie<T>(&self, flow: &FlowKey, make: impl FnOnce(&SynCookie<'_>) -> T) -> T {
        let config = self.config(flow);
        make(&SynCookie { secret: &self.secret, flow, config: &config, rcv_wnd: self.window() })
    }

    /// What a SYN-ACK offers.
    fn window(&self) -> u16 {
        u16::try_from(self.settings.recv_buffer).unwrap_or(u16::MAX)
    }
}
