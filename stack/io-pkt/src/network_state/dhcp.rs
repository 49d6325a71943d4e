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

impl Dhcp {
    /// A server has given an address, and it is in force.
    pub(super) const fn has_lease(&self) -> bool {
        self.lease.is_some()
    }
}

impl NetworkState {
    /// An interface asks a server for its address, or no longer: then there may be something to say to
    /// the server.
    ///
    /// # Errors
    /// `ENXIO`; `EOPNOTSUPP` for `lo0`; `EBUSY` for a port of an aggregated link, which has no addresses.
    pub(crate) fn set_dhcp(
        &mut self,
        name: &str,
        on: bool,
        (now, random): (Instant, u64),
    ) -> Result<Option<(u16, Outgoing)>, Errno> {
        let index = self.index(name)?;
        if index == LOOPBACK {
            return Err(Errno::OPNOTSUPP);
        }
        if on && self.is_joined(index) {
            return Err(Errno::BUSY);
        }
        let entry = self.entry(name)?;
        if on {
            let client = || Client::new(entry.config.mac, now, random);
            let _ = entry.dhcp.get_or_insert_with(|| {
                Box::new(Dhcp { client: client(), lease: None, own_mtu: None })
            });
            return Ok(None);
        }
        let Some(dhcp) = &entry.dhcp else { return Ok(None) };
        let release = dhcp.client.release();
        let _ = self.give_up_lease(index);
        if let Some(entry) = self.interfaces.get_mut(usize::from(index)) {
            entry.dhcp = None;
        }
        Ok(release.map(|message| (index, message)))
    }

    /// A server has spoken.
    pub(crate) fn dhcp_input(&mut self, index: u16, message: &[u8], now: Instant) {
        if let Some(dhcp) = self.dhcp_mut(index) {
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
            if dhcp.client.take_changed() {
                let lease = dhcp.client.lease().copied();
                let had_one = self.give_up_lease(index);
                let taken = lease.filter(|lease| self.take_lease(index, lease));
                if had_one || taken.is_some() {
                    work.news.push((index, taken));
                }
                if taken.is_none()
                    && let Some(dhcp) = self.dhcp_mut(index)
                {
                    // Without a lease there is nothing to decline.
                    dhcp.client.decline(now);
                }
            }
            let Some(dhcp) = self.dhcp_mut(index) else { continue };
            let sent = core::iter::from_fn(|| dhcp.client.poll_transmit());
            work.messages.extend(sent.map(|message| (index, message)));
        }
        work
    }

    fn dhcp_mut(&mut self, index: u16) -> Option<&mut Dhcp> {
        self.interfaces.get_mut(usize::from(index))?.dhcp.as_deref_mut()
    }

    /// An interface is up again: it may be on another link.
    pub(super) fn restart_dhcp(&mut self, index: u16) {
        if let Some(dhcp) = self.dhcp_mut(index) {
            dhcp.client.restart();
        }
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

    /// `false`: its address can't be ours.
    fn take_lease(&mut self, index: u16, lease: &Lease) -> bool {
        let name = self.name(index).to_owned();
        if let Err(errno) = self.add_address(&name, lease.address, lease.prefix_len) {
            let (address, len) = (lease.address, lease.prefix_len);
            tracing::error!("{name}: {address}/{len} by DHCP: {errno}; it is declined");
            return false;
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
        if let Some(dhcp) = self.dhcp_mut(index) {
            (dhcp.lease, dhcp.own_mtu) = (Some(*lease), before.filter(|_| told.is_some()));
        }
        true
    }

    /// `false`: there was none.
    fn give_up_lease(&mut self, index: u16) -> bool {
        let name = self.name(index).to_owned();
        let Some(dhcp) = self.dhcp_mut(index) else { return false };
        let (lease, mtu) = (dhcp.lease.take(), dhcp.own_mtu.take());
        let Some(lease) = lease else { return false };
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
        true
    }
}

fn default_route(interface: u16, router: Ipv4Addr) -> Route {
    Route {
        destination: Net::DEFAULT,
        next_hop: NextHop { interface, gateway: Some(router) },
        flags: RouteFlags::DYNAMIC,
        mtu: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::with_links;
    use super::*;
    use core::time::Duration;

    const OURS: Ipv4Addr = Ipv4Addr::new(198, 18, 77, 50);
    const OFFER: u8 = 2;
    const ACK: u8 = 5;

    /// What a server of 198.18.77.1 says to a message: 100 s for an address of 24 bits.
    fn answer(to: &Outgoing, kind: u8) -> Vec<u8> {
        let mut bytes = to.message[..240].to_vec();
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&OURS.octets());
        bytes.extend([53, 1, kind, 54, 4, 198, 18, 77, 1, 1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 0]);
        bytes.extend([100, 255]);
        bytes
    }

    fn kind(of: &Outgoing) -> u8 {
        of.message[242]
    }

    fn attend(state: &mut NetworkState, second: u64) -> DhcpWork {
        state.attend_dhcp(Instant::ZERO + Duration::from_secs(second), &mut || 1000)
    }

    /// A link whose server has given an address; what came of that.
    fn asked(state: &mut NetworkState) -> DhcpWork {
        let _ = state.set_dhcp("tap1", true, (Instant::ZERO, 7 << 32)).unwrap();
        for said in [OFFER, ACK] {
            let work = attend(state, 0);
            let (index, message) = work.messages.first().unwrap();
            state.dhcp_input(*index, &answer(message, said), Instant::ZERO);
        }
        attend(state, 0)
    }

    #[test]
    fn an_address_that_is_there_already_is_declined() {
        let mut state = with_links(2);
        let _ = state.add_address("tap2", OURS, 24).unwrap();
        let work = asked(&mut state);
        assert!(work.news.is_empty(), "{:?}", work.news);
        let kinds: Vec<u8> = work.messages.iter().map(|(_, message)| kind(message)).collect();
        assert_eq!(kinds, [4]);
        assert!(attend(&mut state, 5).news.is_empty(), "there was no lease that could end");
        assert_eq!(kind(&attend(&mut state, 11).messages[0].1), 1, "another, please");
    }

    #[test]
    fn an_interface_that_comes_up_again_asks_at_once_and_keeps_its_address_meanwhile() {
        let mut state = with_links(1);
        let work = asked(&mut state);
        assert_eq!(work.news.len(), 1);
        state.set_up("tap1", true).unwrap();
        assert!(attend(&mut state, 1).messages.is_empty(), "it was up");
        state.set_up("tap1", false).unwrap();
        state.set_up("tap1", true).unwrap();
        let work = attend(&mut state, 2);
        assert_eq!((kind(&work.messages[0].1), work.news.len()), (3, 0));
        assert!(state.has_address(OURS));
    }
}
