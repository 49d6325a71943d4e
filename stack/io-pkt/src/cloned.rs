//! Interfaces that are made of others, as the configuration has them.

use rustix::io::Errno;

use crate::config::{Config, Vlan};
use crate::control::Control;

impl Control {
    /// Makes the VLANs of the configuration. One that fails is reported and left out; returns how many.
    pub(crate) fn make_cloned(&mut self, config: &Config) -> usize {
        let mut failed = 0;
        for (name, vlan) in in_order(config) {
            if let Err(errno) = self.make_vlan(name, vlan) {
                let hint = match errno {
                    Errno::NXIO => "there is no interface of the name after vlanif",
                    Errno::INVAL => {
                        "names are vlan0, vlan1, …, VLANs from 1 to 4094, priorities to 7"
                    }
                    Errno::EXIST => "its link has an interface in this VLAN",
                    Errno::MLINK => "a frame has two tags at most",
                    _ => "see iopkt ifconfig",
                };
                tracing::error!("[vlan.{name}]: {errno}; {hint}");
                failed += 1;
                continue;
            }
            let automatic = (vlan.accept_rtadv, vlan.dhcp);
            failed += usize::from(self.address_interface(name, &vlan.address, automatic).is_some());
        }
        failed
    }

    fn make_vlan(&mut self, name: &str, vlan: &Vlan) -> Result<(), Errno> {
        self.network.create(name, self.worker_count())?;
        self.network.set_vlan(name, Some(&vlan.asked()))?;
        self.publish();
        Ok(())
    }
}

/// First those over interfaces that are there already.
fn in_order(config: &Config) -> impl Iterator<Item = (&String, &Vlan)> {
    let over_another = |(_, vlan): &(&String, &Vlan)| config.vlans.contains_key(&vlan.vlanif);
    let (later, first): (Vec<_>, Vec<_>) = config.vlans.iter().partition(over_another);
    first.into_iter().chain(later)
}
