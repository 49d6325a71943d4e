//! What tools may ask of a driver: its address, what it receives, its counters, commands of its own.

use devnp::{Capabilities, Media, Port, PortError};
use proto::table::{NicCounter, NicRow};
use proto::{ReceiveMode, Reply};
use rustix::io::Errno;
use types::MacAddr;

use crate::control::Control;

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn errno(error: PortError) -> Errno {
    Errno::from_raw_os_error(error.errno())
}

impl Control {
    /// Changes an interface's MAC address and tells the link.
    ///
    /// # Errors
    /// `ENXIO`, `EINVAL`, the driver's.
    pub(crate) fn set_mac(&mut self, name: &str, mac: MacAddr) -> Result<(), Errno> {
        let interface = self.network.set_mac(name, mac)?;
        self.publish();
        self.announce_over(interface);
        Ok(())
    }

    /// Gives an interface another name.
    ///
    /// # Errors
    /// As for [`proto::Request::Rename`].
    pub(crate) fn rename(&mut self, interface: &str, name: &str) -> Result<(), Errno> {
        // A filter, say, that was there for this interface would let everything through, and qnet with bind= lose
        // its link.
        if self.protocols.know_by_name(interface) {
            return Err(Errno::BUSY);
        }
        self.network.rename(interface, name)?;
        tracing::info!("{interface} is called {name} from now on");
        Ok(())
    }

    /// Changes what an interface receives.
    ///
    /// # Errors
    /// `ENXIO`, the driver's.
    pub(crate) fn set_receive(
        &mut self,
        name: &str,
        mode: ReceiveMode,
        on: bool,
    ) -> Result<(), Errno> {
        match mode {
            ReceiveMode::Promiscuous => self.network.set_promiscuous(name, on),
            ReceiveMode::AllMulticast => {
                self.network.port_by_name(name)?.set_allmulticast(on).map_err(errno)
            }
        }
    }

    /// A command of the driver's own.
    ///
    /// # Errors
    /// `ENXIO`, `EOPNOTSUPP`, `EMSGSIZE`, the driver's.
    pub(crate) fn driver_command(
        &mut self,
        name: &str,
        command: u32,
        mut data: Vec<u8>,
    ) -> Result<Reply, Errno> {
        let port = self.network.port_by_name(name)?;
        port.command(command, &mut data).map_err(errno)?;
        Ok(Reply::Value(data))
    }

    /// What a driver knows of its device.
    ///
    /// # Errors
    /// `ENXIO`, `EOPNOTSUPP` for `lo0`.
    pub(crate) fn nic_row(&mut self, name: &str) -> Result<NicRow, Errno> {
        let port = self.network.port_by_name(name)?;
        let link = port.link().ok();
        let (promiscuous, all_multicast) = port.receives();
        let counter = |(name, value): (&str, u64)| NicCounter { name: name.into(), value };
        Ok(NicRow {
            interface: port.name().into(),
            driver: port.driver().into(),
            mac: port.mac(),
            mtu: port.mtu(),
            link: link.is_some_and(|link| link.up),
            speed_mbps: link.and_then(|link| link.speed_mbps).unwrap_or(0),
            full_duplex: link.is_some_and(|link| link.full_duplex),
            media: port.media().into_iter().map(media_word).collect(),
            queues: Port::rx_queues(port),
            capabilities: capabilities(port.capabilities()),
            promiscuous,
            all_multicast,
            counters: port.nic_counters().into_iter().map(counter).collect(),
        })
    }
}

/// As BSD calls a speed on copper; drivers don't say what the wire is made of.
fn media_word(media: Media) -> String {
    let name = match media.speed_mbps {
        100 => "100baseTX".into(),
        mbps @ 10_000.. => format!("{}GbaseT", mbps / 1000),
        mbps => format!("{mbps}baseT"),
    };
    format!("{name} {}", if media.full_duplex { "full-duplex" } else { "half-duplex" })
}

/// By BSD's names, where it has one.
fn capabilities(of: Capabilities) -> Vec<String> {
    let all = [
        ("ip4csum", of.ipv4_checksum),
        ("tcp4csum", of.tcp_checksum),
        ("udp4csum", of.udp_checksum),
        ("tso4", of.tso_buffers_max > 0),
        ("chains", of.multi_segment),
        ("loans", of.loans),
    ];
    all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name.into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_the_names_that_clients_know() {
        assert!(devnp::counter_names().eq(proto::table::NIC_COUNTERS));
    }

    #[test]
    fn speeds_have_bsds_names() {
        let word = |speed_mbps, full_duplex| media_word(Media { speed_mbps, full_duplex });
        assert_eq!(word(10, false), "10baseT half-duplex");
        assert_eq!(word(100, true), "100baseTX full-duplex");
        assert_eq!(word(1000, true), "1000baseT full-duplex");
        assert_eq!(word(25_000, true), "25GbaseT full-duplex");
    }
}
