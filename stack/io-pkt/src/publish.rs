//! What the control plane tells everybody: a new configuration to the workers, and to clients that there is one.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use inet::command::{Command, DeadHop, Redirected};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use shm::WorkersPage;

use crate::control::Control;

/// The page that all clients see.
pub(crate) struct SharedPage {
    page: Arc<WorkersPage>,
    /// What clients get of it.
    pub(crate) file: OwnedFd,
    generation: u64,
}

impl SharedPage {
    /// # Errors
    /// The kernel's.
    pub(crate) fn create(workers: u16) -> Result<Self, Errno> {
        let (page, file) = WorkersPage::create(workers)?;
        // From the time since the machine was started on, no two daemons have the same.
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let generation = seconds.saturating_mul(1_000_000_000);
        Ok(Self { page: Arc::new(page), file, generation })
    }

    /// The page, for a worker to say there that it sleeps.
    pub(crate) fn page(&self) -> Arc<WorkersPage> {
        Arc::clone(&self.page)
    }

    /// Interfaces or routes are others now.
    fn network_has_changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.page.set_network_generation(self.generation);
    }
}

impl Control {
    /// Publishes the present configuration.
    pub(crate) fn publish(&mut self) {
        self.publish_to_workers();
        self.page.network_has_changed();
        self.members.network_changed();
        self.monitors.network_changed();
        self.network_changed();
    }

    /// Goes on with a load of many routes, and ends what routers have said of some.
    pub(crate) fn attend_routes(&mut self) {
        let now = self.now();
        if self.network.attend_load(now) | self.network.end_redirects(now) {
            self.publish();
        }
    }

    /// A router names a nearer next hop.
    pub(crate) fn redirected(&mut self, said: &Redirected) {
        if self.network.redirect(said, self.now()) {
            self.publish();
        }
    }

    /// The nearer one does not answer: packets go by the router that named it again.
    pub(crate) fn hop_dead(&mut self, hop: DeadHop) {
        if self.network.end_redirects_by(hop) {
            self.publish();
        }
    }

    /// With several workers each must know who has sockets of a UDP port.
    pub(crate) fn publish_udp_owner(
        &mut self,
        local: SocketAddr,
        v6_only: bool,
        owner: (u16, bool),
    ) {
        if self.workers.len() > 1 {
            let (owner, bound) = owner;
            for worker in 0..self.worker_count() {
                self.command(worker, Command::UdpOwner { local, v6_only, owner, bound });
            }
        }
    }

    pub(crate) fn publish_to_workers(&mut self) {
        self.network.fit_tables();
        let network = Arc::new(self.network.publish());
        for worker in 0..self.worker_count() {
            self.command(worker, Command::Network(Arc::clone(&network)));
        }
    }
}
