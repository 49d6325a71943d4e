//! What a worker tells the control plane of its sockets and neighbours.

use core::net::{IpAddr, SocketAddr};

use rustix::io::Errno;
use types::Instant;

use crate::command::{CallId, NeighborSummary, Outcome, SocketInfo, SocketSummary, Transport};
use crate::neighbor::Row;
use crate::raw_output::unspecified;
use crate::socket::{Kind, Look, SocketId};
use crate::worker::Worker;

impl Worker {
    /// What there is to say about a socket.
    pub(crate) fn info(
        &mut self,
        id: SocketId,
        take_error: bool,
        now: Instant,
    ) -> Result<Outcome, Errno> {
        let socket = self.sockets.find_mut(id).ok_or(Errno::BADF)?;
        let error = if take_error { socket.error.take() } else { socket.error };
        let mut info = SocketInfo {
            error,
            receive_buffer: socket.options.receive_buffer,
            send_buffer: socket.options.send_buffer,
            now,
            ..SocketInfo::default()
        };
        match &socket.kind {
            Kind::Unconnected(_) | Kind::Listening { .. } => {}
            Kind::Stream(stream) => {
                let (local, remote) = self.flows.ends(&stream.flow);
                (info.local, info.remote) = (Some(local), Some(remote));
                info.recv_queue = stream.recv.unread();
                info.send_queue = stream.send.len();
                info.received = stream.recv.published();
                info.acknowledged = stream.send.released();
                info.tcp = Some(stream.tcb.info());
                info.waited = stream.tcb.waited(now);
            }
            Kind::ModuleStream(stream) => {
                (info.local, info.remote) = (stream.local, stream.remote);
                info.recv_queue = stream.recv.unread();
                info.send_queue = stream.send.len();
            }
            kind => {
                if let Some(datagram) = kind.datagram() {
                    info.local = datagram.local;
                    info.remote = datagram.remote;
                    info.recv_queue = datagram.recv.unread();
                }
            }
        }
        Ok(Outcome::Info(Box::new(info)))
    }

    /// Brings up to date what the clients have read; a listing is no time to judge them.
    fn refresh_queues(&mut self) {
        let awake = |(id, look): (SocketId, Look<'_>)| matches!(look, Look::Awake(_)).then_some(id);
        let ids: Vec<SocketId> = self.sockets.iter().filter_map(awake).collect();
        for id in ids {
            let Some(socket) = self.sockets.find_mut(id) else { continue };
            let Some(client) = self.clients.owner_mut(socket.client) else { continue };
            let _ = match &mut socket.kind {
                // Its notice is not to be taken back.
                Kind::Stream(stream) if stream.recv.awaits_notice() => Ok(0),
                Kind::Stream(stream) => stream.recv.refresh(&mut client.lane),
                kind => match kind.datagram_mut() {
                    Some(datagram) => datagram.recv.refresh(&mut client.lane),
                    None => Ok(0),
                },
            };
        }
    }

    /// All sockets and endpoints.
    pub(crate) fn list_sockets(&mut self, call: CallId) {
        self.refresh_queues();
        let mut rows = Vec::new();
        for (_, look) in self.sockets.iter() {
            let socket = match look {
                Look::Awake(socket) => socket,
                Look::Asleep(sleeper) => {
                    rows.push(sleeper.summary(self.flows.ends(&sleeper.flow)));
                    continue;
                }
            };
            let (local, remote, state, recv_queue, send_queue) = match &socket.kind {
                Kind::Unconnected(_) | Kind::Listening { .. } => continue,
                Kind::Stream(s) => {
                    let (local, remote) = self.flows.ends(&s.flow);
                    let state = s.tcb.state().name();
                    (local, Some(remote), state, s.recv.unread(), s.send.len())
                }
                Kind::ModuleStream(s) => {
                    (s.local_or_unnamed(), s.remote, s.state(), s.recv.unread(), s.send.len())
                }
                kind => match kind
                    .datagram()
                    .and_then(|d| Some((d, d.local.or_else(|| unnamed(kind))?)))
                {
                    Some((d, local)) => (local, d.remote, "", d.recv.unread(), 0),
                    None => continue,
                },
            };
            let transport = socket.kind.transport();
            let client = socket.client.filter(|_| socket.descriptor.is_some());
            let row =
                SocketSummary { transport, client, local, remote, state, recv_queue, send_queue };
            rows.push(row);
        }
        let half_open = self.flows.embryos.iter().map(|(_, e)| (e.flow, tcp::State::SynReceived));
        let time_wait = self.flows.remains.iter().map(|(_, r)| (r.flow, tcp::State::TimeWait));
        rows.extend(half_open.chain(time_wait).map(|(flow, state)| {
            let (local, remote) = self.flows.ends(&flow);
            SocketSummary {
                transport: Transport::Stream,
                client: None,
                local,
                remote: Some(remote),
                state: state.name(),
                recv_queue: 0,
                send_queue: 0,
            }
        }));
        self.done(call, Ok(Outcome::Sockets(rows)));
    }

    /// All neighbours.
    pub(crate) fn list_neighbors(&mut self, call: CallId, now: Instant) {
        fn summary<A>(row: &Row<A>, address: IpAddr, now: Instant) -> NeighborSummary {
            let seconds = |at: Instant| u32::try_from(at.since(now).as_secs()).unwrap_or(u32::MAX);
            let (mac, interface, state) = (row.mac, row.interface, row.state);
            NeighborSummary { address, mac, interface, state, expires_s: row.due.map(seconds) }
        }
        let v4 = self.out.neighbors.rows(now).map(|row| {
            let address = row.address.into();
            summary(&row, address, now)
        });
        let v6 = self.out.neighbors6.rows(now).map(|row| {
            let address = row.address.address.into();
            summary(&row, address, now)
        });
        let rows = v4.chain(v6).collect();
        self.done(call, Ok(Outcome::Neighbors(rows)));
    }
}

/// A raw socket is somebody's also without a name: its protocol stands in the port's place.
fn unnamed(kind: &Kind) -> Option<SocketAddr> {
    match kind {
        Kind::Raw(raw) if !raw.kind.ping => {
            Some(SocketAddr::new(unspecified(raw.kind), raw.kind.protocol.into()))
        }
        _ => None,
    }
}
