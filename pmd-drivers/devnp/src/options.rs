//! The options that io-pkt itself knows.

use types::MacAddr;

use crate::spec::{DriverSpec, SpecError};

/// Options of QNX drivers that mean nothing to a DPDK device: resources that the bus assigns, and how its parts
/// are wired.
const IGNORED: [&str; 21] = [
    "ioport",
    "irq",
    "smem",
    "smemsz",
    "dma",
    "vid",
    "did",
    "pci",
    "mru",
    "media",
    "connector",
    "deviceindex",
    "phy",
    "memrange",
    "iorange",
    "iftype",
    "uptype",
    "bustype",
    "busindex",
    "busdevice",
    "busvendor",
];

/// Options of every driver: the stack's, then those taken here.
const COMMON: [&str; 12] = [
    "address=",
    "accept_rtadv",
    "dhcp",
    "mac=",
    "mtu=",
    "name=",
    "unit=",
    "speed=",
    "duplex=",
    "tso=",
    "promiscuous",
    "nomulticast",
];

/// Why an option is none, for a driver whose own text about its options is `known`.
pub(crate) fn no_such_option(option: &str, known: &str) -> String {
    // Between the options of a driver stands anything but what a name is made of.
    let own = known.split('=').filter_map(|text| {
        text.rsplit(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-')).next()
    });
    let common = COMMON.iter().map(|text| text.trim_end_matches('='));
    let near = types::nearest(option, common.chain(own.filter(|name| !name.is_empty())));
    let near = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
    let common = COMMON.join(" ");
    format!("there is no option {option}={near}, but {known}, and for every driver {common}")
}

/// A driver's options by their meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `mac=`: the stack's address on this port.
    pub(crate) mac: Option<MacAddr>,
    /// `mtu=`.
    pub(crate) mtu: Option<u16>,
    /// `name=`: the base of the interface's name.
    pub(crate) name: Option<String>,
    /// `unit=` or `lan=`: its number.
    pub(crate) unit: Option<u32>,
    /// `speed=`, in Mbit/s: what the wire is to have, whatever the other end has.
    pub(crate) speed_mbps: Option<u32>,
    /// `duplex=1` or `duplex=0`, with `speed=`.
    pub(crate) full_duplex: Option<bool>,
    /// `tso=on` or `tso=off`: the port cuts TCP segments, or the stack does.
    pub(crate) tso: Option<bool>,
    /// `promiscuous`.
    pub(crate) promiscuous: bool,
    /// `nomulticast`.
    pub(crate) nomulticast: bool,
    /// Options without a meaning here, as written.
    pub(crate) ignored: Vec<String>,
    /// The driver's own.
    pub(crate) device: Vec<(String, Option<String>)>,
}

impl Settings {
    pub(crate) fn of(spec: &DriverSpec) -> Result<Self, SpecError> {
        let mut settings = Self::default();
        for (key, value) in &spec.options {
            settings.set(key, value.as_deref())?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), SpecError> {
        match key {
            "mac" => self.mac = Some(mac(key, value)?),
            "mtu" => self.mtu = Some(number(key, value, "an MTU from 68 to 65535", "1500")?),
            "unit" | "lan" => self.unit = Some(number(key, value, "a unit number", "0")?),
            "name" => self.name = Some(name(key, value)?),
            "speed" => self.speed_mbps = Some(number(key, value, "a speed in Mbit/s", "1000")?),
            "duplex" => self.full_duplex = Some(duplex(key, value)?),
            "tso" => self.tso = Some(switch(key, value)?),
            "promiscuous" => self.promiscuous = true,
            "nomulticast" => self.nomulticast = true,
            // Verbosity is the daemon's own; the priority of a poll-mode driver's thread is the
            // worker's.
            "verbose" | "priority" => {}
            key if IGNORED.contains(&key) => {
                let _ = required(key, value, "0")?;
                self.ignored
                    .push(value.map_or_else(|| key.into(), |value| format!("{key}={value}")));
            }
            key => self.device.push((key.into(), value.map(Into::into))),
        }
        if self.mtu.is_some_and(|mtu| mtu < 68) {
            // RFC 791: every network carries 68 bytes.
            return Err(wrong(key, value, "an MTU from 68 to 65535", "1500"));
        }
        Ok(())
    }

    /// The driver's own options in one text.
    pub(crate) fn device_text(&self) -> String {
        let text = |(key, value): &(String, Option<String>)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        };
        self.device.iter().map(text).collect::<Vec<_>>().join(",")
    }

    /// The value of one of the driver's own options.
    pub(crate) fn device_option(&self, key: &str) -> Option<&str> {
        self.device.iter().find(|(name, _)| name == key)?.1.as_deref()
    }
}

fn required<'a>(
    key: &str,
    value: Option<&'a str>,
    example: &'static str,
) -> Result<&'a str, SpecError> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| SpecError::MissingValue { option: key.into(), example })
}

fn wrong(
    key: &str,
    value: Option<&str>,
    expected: &'static str,
    example: &'static str,
) -> SpecError {
    let value = value.unwrap_or_default().to_owned();
    SpecError::Value { option: key.into(), value, expected, example }
}

fn number<T: core::str::FromStr>(
    key: &str,
    value: Option<&str>,
    expected: &'static str,
    example: &'static str,
) -> Result<T, SpecError> {
    let text = required(key, value, example)?;
    text.parse().map_err(|_| wrong(key, value, expected, example))
}

fn switch(key: &str, value: Option<&str>) -> Result<bool, SpecError> {
    match required(key, value, "on")? {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(wrong(key, value, "on or off", "on")),
    }
}

fn duplex(key: &str, value: Option<&str>) -> Result<bool, SpecError> {
    match required(key, value, "1")? {
        "1" | "full" => Ok(true),
        "0" | "half" => Ok(false),
        _ => Err(wrong(key, value, "1 (full) or 0 (half)", "1")),
    }
}

fn mac(key: &str, value: Option<&str>) -> Result<MacAddr, SpecError> {
    const EXAMPLE: &str = "020000000001";
    let text = required(key, value, EXAMPLE)?;
    let mac = text.parse::<MacAddr>().ok().filter(|mac| mac.is_unicast());
    mac.ok_or_else(|| wrong(key, value, "the MAC address of one station", EXAMPLE))
}

/// The base of an interface's name: letters, digits, `-` and `_`, ending in no digit, so that the
/// unit can be told from it.
fn name(key: &str, value: Option<&str>) -> Result<String, SpecError> {
    let text = required(key, value, "en")?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.chars().all(fits) && !text.ends_with(|c: char| c.is_ascii_digit()) && text.len() <= 11 {
        return Ok(text.into());
    }
    Err(wrong(key, value, "up to 11 letters, digits, - and _, not ending in a digit", "en"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_has_a_speed_and_ways() {
        let of = |text| DriverSpec::parse("tap", text).and_then(|spec| Settings::of(&spec));
        let told = of("speed=100,duplex=0").unwrap();
        assert_eq!((told.speed_mbps, told.full_duplex), (Some(100), Some(false)));
        assert_eq!(of("duplex=full").unwrap().full_duplex, Some(true));
        for wrong in ["speed=fast", "speed=-1", "duplex=2", "duplex="] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_option_that_nobody_has_is_answered_with_those_there_are() {
        let known = "iface=<string>mac=<fixed>remote=<string>";
        for (wrong, meant) in [("addres", "address"), ("ifase", "iface"), ("remot", "remote")] {
            let why = no_such_option(wrong, known);
            assert!(why.contains(&format!("did you mean {meant}?")), "{why}");
            assert!(why.contains(known) && why.contains("address= ") && why.contains("mtu="));
        }
        assert!(!no_such_option("frobnicate", known).contains("did you mean"));
    }
}
