//! Addresses, routes and MTUs that DHCP servers give.

use core::net::Ipv4Addr;

use autoconf::dhcp::{Client, Lease, Outgoing};
use fib::{Net, NextHop, Route, RouteFlags};
use inet::network::LOOPBACK;
use rustix::io::Errno;
use types::Instant;

use super::NetworkState;

/// An interface's client, and what of its lease is in force.
#[derive(Debug)]
pub(super) struct Dhcp {
    client: Client,
    lease: Option<Lease>,
    /// The MTU there was before a server said another.
    own_mtu: Option<u16>,
}

/// What clients want to have done.
#[derive(Debug, Default)]
pub(crate) struct DhcpWork {
    /// Messages to send, with their interfaces.
    pub(crate) messages: Vec<(u16, Outgoing)>,
    /// Leases that have come into force, or ended.
    pub(crate) news: Vec<(u16, Option<Lease>)>,
}

impl NetworkState {
    /// An interface asks a server for its address, or no longer: then there may be something to say to
    /// the server.
    ///
    /// # Errors
    /// `ENXIO`; `EOPNOTSUPP` for `lo0`.
    pub(crate) fn set_dhcp(
        &mut self,
        name: &str,
        on: bool,
        (now, random): (Instant, u64),
    ) -> Result<Option<(u16, Outgoing)>, Errno> {
        let entry = self.entry(name)?;
        let index = entry.config.index;
        if index == LOOPBACK {
            return Err(Errno::OPNOTSUPP);
        }
        if on {
            let client = || Client::new(entry.config.mac, now, random);
            let _ = entry.dhcp.get_or_insert_with(|| {
                Box::new(Dhcp { client: client(), lease: None, own_mtu: None })
            });
            return Ok(None);
        }
        let Some(dhcp) = &entry.dhcp else { return Ok(None) };
        let release = dhcp.client.release();
        self.give_up_lease(index);
        if let Some(entry) = self.interfaces.get_mut(usize::from(index)) {
            entry.dhcp = None;
        }
        Ok(release.map(|message| (index, message)))
    }

    /// Some interface asks a server.
    #[must_use]
    pub(super) fn has_dhcp(&self) -> bool {
        self.interfaces.iter().any(|entry| entry.dhcp.is_some())
    }

    /// A server has spoken.
    pub(crate) fn dhcp_input(&mut self, index: u16, message: &[u8], now: Instant) {
        let entry = self.interfaces.get_mut(usize::from(index));
        if let Some(dhcp) = entry.and_then(|entry| entry.dhcp.as_mut()) {
            dhcp.client.input(message, now);
        }
    }

    /// Does what is due. `work.news` tells whether the workers must hear of something.
    pub(crate) fn attend_dhcp(
        &mut self,
        now: Instant,
        random: &mut dyn FnMut() -> u64,
    ) -> DhcpWork {
        let mut work = DhcpWork::default();
        for index in 1..u16::try_from(self.interfaces.len()).unwrap_or(u16::MAX) {
            let Some(entry) = self.interfaces.get_mut(usize::from(index)) else { continue };
            let is_up = entry.config.up;
            let Some(dhcp) = entry.dhcp.as_mut().filter(|_| is_up) else { continue };
            if dhcp.client.next_timeout().is_some_and(|due| due <= now) {
                dhcp.client.timeout(now, random());
            }
            let sent = core::iter::from_fn(|| dhcp.client.poll_transmit());
            work.messages.extend(sent.map(|message| (index, message)));
            if dhcp.client.take_changed() {
                let lease = dhcp.client.lease().copied();
                self.give_up_lease(index);
                if let Some(lease) = lease {
                    self.take_lease(index, lease);
                }
                work.news.push((index, lease));
            }
        }
        work
    }

    /// When a client has something to do next.
    #[must_use]
    pub(crate) fn next_dhcp(&self) -> Option<Instant> {
        let up = self.interfaces.iter().filter(|entry| entry.config.up);
        up.filter_map(|entry| entry.dhcp.as_ref()?.client.next_timeout()).min()
    }

    /// What is to be said to servers when the daemon ends.
    pub(crate) fn releases(&self) -> Vec<(u16, Outgoing)> {
        let clients =
            self.interfaces.iter().filter_map(|e| Some((e.config.index, e.dhcp.as_ref()?)));
        clients.filter_map(|(index, dhcp)| Some((index, dhcp.client.release()?))).collect()
    }

    fn take_lease(&mut self, index: u16, lease: Lease) {
        let name = self.name(index).to_owned();
        if let Err(errno) = self.add_address(&name, lease.address, lease.prefix_len) {
            tracing::error!("{name}: {}/{} by DHCP: {errno}", lease.address, lease.prefix_len);
            return;
        }
        if let Some(router) = lease.router
            && let Err(error) = self.rib.add(default_route(index, router))
        {
            tracing::warn!("{name}: router {router} by DHCP: {error}");
        }
        let before = self.interfaces.get(usize::from(index)).map(|entry| entry.config.mtu);
        let told = lease.mtu.filter(|mtu| before.is_some_and(|before| *mtu < before));
        if let Some(mtu) = told
            && let Err(errno) = self.set_mtu(&name, mtu)
        {
            tracing::warn!("{name}: MTU {mtu} by DHCP: {errno}");
        }
        if let Some(dhcp) =
            self.interfaces.get_mut(usize::from(index)).and_then(|e| e.dhcp.as_mut())
        {
            (dhcp.lease, dhcp.own_mtu) = (Some(lease), before.filter(|_| told.is_some()));
        }
    }

    fn give_up_lease(&mut self, index: u16) {
        let name = self.name(index).to_owned();
        let entry = self.interfaces.get_mut(usize::from(index));
        let Some(dhcp) = entry.and_then(|entry| entry.dhcp.as_mut()) else { return };
        let (lease, mtu) = (dhcp.lease.take(), dhcp.own_mtu.take());
        let Some(lease) = lease else { return };
        if let Some(router) = lease.router {
            let ours = default_route(index, router);
            if self.rib.route(ours.destination) == Some(&ours) {
                // It was just found.
                let _ = self.rib.delete(ours.destination);
            }
        }
        // The operator may have taken it away.
        let _ = self.delete_address(&name, lease.address);
        if let Some(mtu) = mtu {
            // It was in force before.
            let _ = self.set_mtu(&name, mtu);
        }
    }
}

fn default_route(interface: u16, router: Ipv4Addr) -> Route {
    Route {
        destination: Net::DEFAULT,
        next_hop: NextHop { interface, gateway: Some(router) },
        flags: RouteFlags::DYNAMIC,
    }
}
