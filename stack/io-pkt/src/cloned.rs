//! Interfaces that are made of others, as the configuration has them.

use rustix::io::Errno;

use crate::config::{Bridge, Config, Lagg, Vlan};
use crate::control::Control;

impl Control {
    /// Makes the aggregated links, bridges and VLANs of the configuration: what is over another one after that. One
    /// that fails is reported and left out; returns how many.
    pub(crate) fn make_cloned(&mut self, config: &Config) -> usize {
        let over =
            |name: &String| config.bridges.contains_key(name) || config.vlans.contains_key(name);
        let (later, first): (Vec<_>, Vec<_>) =
            config.vlans.iter().partition(|(_, vlan)| over(&vlan.vlanif));
        let mut failed = config.laggs.iter().filter(|(name, l)| !self.make_lagg(name, l)).count();
        failed += first.into_iter().filter(|(name, v)| !self.make_vlan(name, v)).count();
        failed += config.bridges.iter().filter(|(name, b)| !self.make_bridge(name, b)).count();
        failed + later.into_iter().filter(|(name, v)| !self.make_vlan(name, v)).count()
    }

    fn make_vlan(&mut self, name: &str, vlan: &Vlan) -> bool {
        if !self.make(name, "vlan", "names are vlan0, vlan1, …") {
            return false;
        }
        if let Err(errno) = self.network.set_vlan(name, Some(&vlan.asked())) {
            let hint = match errno {
                Errno::NXIO => "there is no interface of the name after vlanif",
                Errno::INVAL => "VLANs are from 1 to 4094, priorities to 7",
                Errno::EXIST => "its link has an interface in this VLAN",
                Errno::MLINK => "a frame has two tags at most",
                _ => "see iopkt ifconfig",
            };
            tracing::error!("[vlan.{name}]: {errno}; {hint}");
            return self.unmake(name);
        }
        self.publish();
        let automatic = (vlan.accept_rtadv, vlan.dhcp);
        self.address_interface(name, &vlan.address, automatic).is_none()
    }

    fn make_lagg(&mut self, name: &str, lagg: &Lagg) -> bool {
        if !self.make(name, "lagg", "names are lagg0, lagg1, …") {
            return false;
        }
        for verb in lagg.verbs() {
            if let Err(errno) = self.change_lagg(name, &verb) {
                tracing::error!(
                    "[lagg.{name}]: {verb:?}: {errno}; a port is an interface with a driver, without addresses, and of nothing else"
                );
                return self.unmake(name);
            }
        }
        self.publish();
        let automatic = (lagg.accept_rtadv, lagg.dhcp);
        self.address_interface(name, &lagg.address, automatic).is_none()
    }

    fn make_bridge(&mut self, name: &str, bridge: &Bridge) -> bool {
        if !self.make(name, "bridge", "names are bridge0, bridge1, …") {
            return false;
        }
        // It was just made.
        let _ = self.network.set_up(name, true);
        for verb in bridge.verbs() {
            if let Err(errno) = self.change_bridge(name, &verb) {
                tracing::error!("[bridge.{name}]: {verb:?}: {errno}; see iopkt brconfig --help");
                return self.unmake(name);
            }
        }
        self.publish();
        let automatic = (bridge.accept_rtadv, bridge.dhcp);
        self.address_interface(name, &bridge.address, automatic).is_none()
    }

    /// `false`: there is none now.
    fn make(&mut self, name: &str, kind: &str, hint: &str) -> bool {
        let is_its = name.starts_with(kind).then_some(()).ok_or(Errno::INVAL);
        let made = is_its.and_then(|()| self.network.create(name, self.worker_count()));
        if let Err(errno) = made {
            tracing::error!("[{kind}.{name}]: {errno}; {hint}");
        }
        made.is_ok()
    }

    /// Takes one out that is not as it is wanted: half of it would keep others' interfaces. `false`, as its maker
    /// says then.
    fn unmake(&mut self, name: &str) -> bool {
        if let Ok(index) = self.network.index(name) {
            let _ = self.network.remove_cloned(index);
            self.publish();
        }
        false
    }
}
