//! A router says that another next hop is nearer (RFC 1122 3.2.2.2, RFC 4861 8). It is believed only if it is the
//! one by which packets to the destination go now, and only where nothing is passed on for others: whoever else
//! could say it would have our packets come to him.

use core::net::{IpAddr, Ipv6Addr};

use fib::NextHop;
use types::{DropReason, Instant};
use wire::{icmp, ndp};

use crate::command::Event;
use crate::hearing::Subject;
use crate::input::Received;
use crate::network::Destination;
use crate::worker::Worker;

/// What a router has said that is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirected {
    /// Interface of both routers.
    pub interface: u16,
    /// The router.
    pub from: IpAddr,
    /// The destination that it is about.
    pub to: IpAddr,
    /// The next hop that is nearer; `None`: the destination is on the link.
    pub via: Option<IpAddr>,
}

/// A next hop that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeadHop {
    /// Interface.
    pub interface: u16,
    /// Its address.
    pub address: IpAddr,
}

impl Worker {
    /// Neighbours have not answered: what routers have said of those is over.
    #[cold]
    pub(crate) fn hops_are_dead(&mut self, hops: &[DeadHop]) {
        for hop in hops.iter().filter(|hop| self.out.network.redirected.contains(*hop)) {
            self.events.send(Event::HopDead(*hop));
        }
    }

    pub(crate) fn redirected(
        &mut self,
        message: &icmp::Message<'_>,
        received: &Received,
        now: Instant,
    ) -> Result<(), DropReason> {
        let network = &self.out.network;
        let quoted = message.quoted()?;
        let (to, via) = (quoted.header.dst(), message.header.router());
        let (from, _) = received.ipv4().ok_or(DropReason::IcmpRedirect)?;
        let in_use = NextHop { interface: received.interface, gateway: Some(from) };
        let interface = network.interface(received.interface).ok_or(DropReason::IcmpRedirect)?;
        let what = |address| self.out.addresses.classify(address);
        let is_ours = what(quoted.header.src()) == Destination::Local;
        let others = [to, via].into_iter().all(|address| what(address) == Destination::Remote);
        let is_near = interface.addresses.iter().any(|own| own.is_near(via));
        let is_in_use = network.fib.way(to).is_some_and(|way| way.has(in_use));
        let believes = network.host.redirects_believed && !network.host.forward;
        if !(believes && is_ours && others && is_near && is_in_use && via != from) {
            return Err(DropReason::IcmpRedirect);
        }
        let via = Some(via).filter(|via| *via != to).map(Into::into);
        let interface = received.interface;
        self.follow(Redirected { interface, from: from.into(), to: to.into(), via }, now)
    }

    pub(crate) fn redirected6(
        &mut self,
        said: ndp::Redirect,
        from: Ipv6Addr,
        interface: u16,
        now: Instant,
    ) -> Result<(), DropReason> {
        let network = &self.out.network;
        let ndp::Redirect { target, destination } = said;
        let in_use = NextHop { interface, gateway: Some(from) };
        let what = |address| self.out.addresses.classify6(address, interface);
        let others = [target, destination].into_iter().all(|a| what(a) == Destination::Remote);
        let is_in_use = network.fib6.way(destination).is_some_and(|way| way.has(in_use));
        let believes = network.host.redirects6_believed && !network.host.forward6;
        if !(believes && others && is_in_use && target != from) {
            return Err(DropReason::NdpRedirect);
        }
        let via = Some(target).filter(|target| *target != destination).map(Into::into);
        self.follow(Redirected { interface, from: from.into(), to: destination.into(), via }, now)
    }

    fn follow(&mut self, said: Redirected, now: Instant) -> Result<(), DropReason> {
        if !self.hearing.permit(Subject::Redirects, now) {
            return Err(DropReason::ControlQueueFull);
        }
        self.events.send(Event::Redirected(said));
        Ok(())
    }
}
