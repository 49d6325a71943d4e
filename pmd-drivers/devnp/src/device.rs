//! Which DPDK device a driver's name means, and with which arguments it is made.

use dpdk::plugin;
use types::MacAddr;

use crate::limits::KERNEL_NAME_MAX;
use crate::mac;
use crate::options::Settings;

/// What is given to DPDK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// `net_tap`, or the PCI address.
    pub(crate) driver: String,
    /// `vdev` or `pci`.
    pub(crate) bus: &'static str,
    /// `net_tap0`, or the PCI address.
    pub(crate) name: String,
    /// `key=value,…`.
    pub(crate) args: String,
    /// The kernel interface on or behind the device.
    pub(crate) kernel_interface: Option<String>,
}

/// `0000:03:00.0`, if the text is a PCI address with or without its domain.
#[must_use]
pub fn pci_address(text: &str) -> Option<String> {
    let hex = |text: &str, len| text.len() == len && text.chars().all(|c| c.is_ascii_hexdigit());
    let full = if text.matches(':').count() == 1 { format!("0000:{text}") } else { text.into() };
    let mut parts = full.splitn(3, ':');
    let (domain, bus, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let (slot, function) = rest.split_once('.')?;
    (hex(domain, 4) && hex(bus, 2) && hex(slot, 2) && hex(function, 1))
        .then(|| full.to_ascii_lowercase())
}

/// Drivers of no device, which copy each frame or pass it on as it is, wherever it lies.
const SOFTWARE: [&str; 6] =
    ["net_tap", "net_af_packet", "net_pcap", "net_null", "net_ring", "net_memif"];

/// `net_tap` for `tap`.
pub(crate) fn driver_name(text: &str) -> String {
    if text.starts_with("net_") || text.starts_with("eth_") {
        return text.into();
    }
    format!("net_{text}")
}

impl Device {
    /// Does the driver take packets wherever they lie, and not only in memory that DPDK has told a device of?
    pub(crate) fn copies_frames(&self) -> bool {
        SOFTWARE.contains(&self.driver.as_str()) && !self.args.contains("zero-copy")
    }

    pub(crate) fn pci(address: String, settings: &Settings) -> Self {
        Self {
            driver: address.clone(),
            bus: "pci",
            name: address,
            args: settings.device_text(),
            kernel_interface: None,
        }
    }

    /// The virtual device `driver` number `unit`. `stack_mac` is the stack's address on a tap.
    pub(crate) fn virtual_device(
        driver: &str,
        unit: u32,
        settings: &Settings,
        stack_mac: MacAddr,
    ) -> Self {
        let mut args = settings.device.clone();
        // Elsewhere `iface=` is something else: a socket's path for net_vhost.
        let has_interface = matches!(driver, "net_tap" | "net_af_packet" | "net_af_xdp");
        let iface = settings.device_option("iface").filter(|_| has_interface);
        let mut kernel_interface = iface.map(Into::into);
        if driver == "net_tap" {
            let name: String = kernel_interface.unwrap_or_else(|| format!("iop{unit}"));
            args.retain(|(key, _)| key != "iface");
            args.push(("iface".into(), Some(name.clone())));
            // The driver's own `mac=` is the address of the kernel's end. The stack is another
            // station on the same wire, so it has another address, which the driver need not
            // know: everything that the kernel sends arrives.
            args.push(("mac".into(), Some(mac::kernel_side(stack_mac).to_string())));
            kernel_interface = Some(name);
        }
        Self {
            driver: driver.into(),
            bus: "vdev",
            name: format!("{driver}{unit}"),
            args: Settings { device: args, ..Settings::default() }.device_text(),
            kernel_interface,
        }
    }

    /// The first option that the driver does not know, and what it knows. Some drivers (net_tap)
    /// would forget all their options over one that they don't know, without a word.
    pub(crate) fn unknown_option(&self, settings: &Settings) -> Option<(String, String)> {
        let known = plugin::options_of(&self.driver)?;
        let keys = settings.device.iter().map(|(key, _)| key);
        // Some drivers leave no space between their options, so the text is not taken apart.
        let mut unknown = keys.filter(|key| !known.contains(&format!("{key}=")));
        unknown.next().map(|key| (key.clone(), known))
    }

    /// Whether the driver needs its kernel interface to exist before.
    pub(crate) fn needs_kernel_interface(&self) -> bool {
        matches!(self.driver.as_str(), "net_af_packet" | "net_af_xdp")
    }

    /// The kernel interface's name, if the kernel could not have it.
    pub(crate) fn bad_kernel_name(&self) -> Option<&str> {
        let name = self.kernel_interface.as_deref()?;
        let bad = name.is_empty()
            || name.len() > KERNEL_NAME_MAX
            || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
        bad.then_some(name)
    }
}

/// The drivers on this machine with names like `unknown`, closest first.
pub(crate) fn similar(unknown: &str) -> Vec<String> {
    let drivers = plugin::drivers();
    let near = types::alike(unknown, drivers.iter().map(String::as_str));
    near.into_iter().take(3).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::DriverSpec;

    #[test]
    fn pci_addresses_are_told_from_names() {
        assert_eq!(pci_address("0000:03:00.0").as_deref(), Some("0000:03:00.0"));
        assert_eq!(pci_address("03:0A.1").as_deref(), Some("0000:03:0a.1"));
        for name in ["tap", "net_tap", "0000:03:00", "03:00.x", "3:0.0", ""] {
            assert_eq!(pci_address(name), None, "{name}");
        }
    }

    #[test]
    fn a_tap_gets_a_kernel_interface_with_an_address_of_its_own() {
        let spec = DriverSpec::parse("tap", "mac=020000000001").unwrap();
        let settings = Settings::of(&spec).unwrap();
        let device = Device::virtual_device("net_tap", 1, &settings, settings.mac.unwrap());
        assert_eq!(device.name, "net_tap1");
        assert_eq!(device.args, "iface=iop1,mac=02:80:00:00:00:01");
        assert_eq!(device.kernel_interface.as_deref(), Some("iop1"));
    }
}
