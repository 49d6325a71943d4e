//! A protocol module: UDP-Lite (RFC 3828), datagrams whose checksum covers only their beginning, for media that
//! are rather damaged than lost. Programs use it as with the kernel: `socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE)`.
//!
//! ```sh
//! iopkt mount lsm-udplite.so
//! iopkt sysctl udplite.coverage=20     # of what is sent: header and 12 bytes; 0: all
//! ```
#![deny(unsafe_code)]

mod datagram;
mod ports;

use std::sync::{Mutex, MutexGuard, PoisonError};

use lsm_sdk::{
    Arrival, Context, Destination, Host, Name, OpenError, Opening, Packet, Protocol, Received,
    Socket, Variable, export_protocol,
};

use crate::datagram::{Datagram, HEADER_LEN, PROTOCOL};
use crate::ports::Ports;

export_protocol!(UdpLite);

/// `AF_INET`.
const INET: u16 = 2;

/// `IPPROTO_UDPLITE` with `UDPLITE_SEND_CSCOV` and `UDPLITE_RECV_CSCOV`.
const SEND_COVERAGE: (i32, i32) = (136, 10);
const RECEIVE_COVERAGE: (i32, i32) = (136, 11);

/// Sockets, and numbers for the operator.
struct UdpLite {
    ports: Mutex<Ports>,
    coverage: Variable,
    received: Variable,
    sent: Variable,
    damaged: Variable,
    unclaimed: Variable,
}

impl Protocol for UdpLite {
    const NAME: &'static str = "udplite";
    const OPTIONS: &'static str = "";

    fn open(host: &Host<Self>) -> Result<Self, OpenError> {
        let _ = host.attach_protocol(PROTOCOL)?;
        let _ = host.attach_sockets(INET, PROTOCOL.into())?;
        let text = "Bytes that the checksum of what is sent covers, header included; 0: all. 1 to 7 count as 8.";
        Ok(Self {
            ports: Mutex::default(),
            coverage: host.add_setting("coverage", text, 0..=0xffff, 0)?,
            received: host.add_counter("received", "Datagrams received for a socket.")?,
            sent: host.add_counter("sent", "Datagrams sent.")?,
            damaged: host.add_counter("damaged", "Malformed, or with a wrong checksum.")?,
            unclaimed: host.add_counter("unclaimed", "For a port that no socket has.")?,
        })
    }

    fn receive(&self, cx: &mut Context<'_, Self>, _: Arrival, packets: &mut Received<'_>) {
        let (mut received, mut damaged, mut unclaimed) = (0, 0, 0);
        // Once for the burst: other workers have bursts of their own.
        let ports = self.ports();
        for mut packet in packets {
            let Some(datagram) = Datagram::parse(packet.data()) else {
                damaged += 1;
                continue;
            };
            let Some(socket) = ports.find(&datagram) else {
                unclaimed += 1;
                continue;
            };
            let (from, text) = (datagram.from, datagram.text.clone());
            let len = text.len();
            packet.data_mut().copy_within(text, 0);
            // One that finds no room in the worker's queue is lost, as datagrams are.
            if packet.set_len(len) && cx.deliver(socket, from, packet).is_ok() {
                received += 1;
            }
        }
        let host = cx.host();
        for (counter, more) in
            [(self.received, received), (self.damaged, damaged), (self.unclaimed, unclaimed)]
        {
            if more > 0 {
                host.count(counter, more);
            }
        }
    }

    fn socket_open(&self, _: &mut Context<'_, Self>, what: &Opening) -> Result<(), OpenError> {
        self.ports().open(what.socket);
        Ok(())
    }

    fn socket_bind(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        name: Name,
    ) -> Result<Name, OpenError> {
        let address = name.to_ipv4();
        let is_ours = |i: &lsm_sdk::Interface| i.address.is_some_and(|(ours, _)| ours == address);
        if !address.is_unspecified() && !cx.host().interfaces().iter().any(is_ours) {
            return Err(OpenError(ports::ADDRESS_NOT_AVAILABLE));
        }
        self.ports().bind(socket, name)
    }

    fn socket_connect(
        &self,
        _: &mut Context<'_, Self>,
        socket: Socket,
        peer: Option<Name>,
    ) -> Result<(), OpenError> {
        self.ports().connect(socket, peer)
    }

    fn socket_send(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        to: Option<Name>,
        datagram: Packet,
    ) -> Result<(), OpenError> {
        let (local, peer) = self.ports().names(socket).ok_or(OpenError::INVALID)?;
        let to = to.or(peer).ok_or(OpenError::INVALID)?;
        let source = match local.to_ipv4() {
            any if any.is_unspecified() => {
                datagram::source_for(&cx.host().interfaces(), to.to_ipv4())
            }
            bound => Some(bound),
        };
        let source = source.ok_or(OpenError(ports::NETWORK_UNREACHABLE))?;
        let from = Name::ipv4(source, local.port);
        let own = self.ports().coverage(socket).and_then(|coverage| coverage.sent);
        let coverage = self.sent_coverage(cx.host(), own);
        let mut packet = cx.host().packet().ok_or(OpenError(ports::NO_BUFFERS))?;
        let len = HEADER_LEN + datagram.len();
        if len > packet.room() || !packet.set_len(len) {
            return Err(OpenError::TOO_LONG);
        }
        let filled = datagram::fill(packet.data_mut(), (from, to), datagram.data(), coverage);
        filled.ok_or(OpenError::TOO_LONG)?;
        let destination =
            Destination { from: Some(source), ..Destination::new(to.to_ipv4(), PROTOCOL) };
        cx.send_packet(&destination, packet).map_err(|_| OpenError(ports::NO_BUFFERS))?;
        cx.host().count(self.sent, 1);
        Ok(())
    }

    fn socket_set_option(
        &self,
        _: &mut Context<'_, Self>,
        socket: Socket,
        option: (i32, i32),
        value: &[u8],
    ) -> Result<(), OpenError> {
        let value = value.first_chunk().copied().map(i32::from_ne_bytes);
        let value = value.ok_or(OpenError::INVALID)?;
        // As in the kernel: less than the header is the header, more than there can be is that.
        let bytes = match value {
            0 => 0,
            some => u16::try_from(some.max(8)).unwrap_or(u16::MAX),
        };
        let mut ports = self.ports();
        let coverage = ports.coverage(socket).ok_or(OpenError::INVALID)?;
        match option {
            SEND_COVERAGE => coverage.sent = Some(bytes),
            RECEIVE_COVERAGE => coverage.received = Some(bytes),
            _ => return Err(OpenError::NO_OPTION),
        }
        Ok(())
    }

    fn socket_option(
        &self,
        cx: &mut Context<'_, Self>,
        socket: Socket,
        option: (i32, i32),
        to: &mut [u8],
    ) -> Result<usize, OpenError> {
        let coverage = *self.ports().coverage(socket).ok_or(OpenError::INVALID)?;
        let value = match option {
            SEND_COVERAGE => self.sent_coverage(cx.host(), coverage.sent),
            RECEIVE_COVERAGE => usize::from(coverage.received.unwrap_or(0)),
            _ => return Err(OpenError::NO_OPTION),
        };
        let value = u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes();
        to.get_mut(..value.len()).ok_or(OpenError::INVALID)?.copy_from_slice(&value);
        Ok(value.len())
    }

    fn socket_close(&self, _: &mut Context<'_, Self>, socket: Socket) {
        self.ports().close(socket);
    }
}

impl UdpLite {
    /// Bytes that the checksum of what a socket sends covers: its own number, or the operator's.
    fn sent_coverage(&self, host: &Host<Self>, own: Option<u16>) -> usize {
        let general = || usize::try_from(host.value(self.coverage)).unwrap_or(0);
        own.map_or_else(general, usize::from)
    }

    fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
