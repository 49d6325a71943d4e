//! What the operator wrote after `-d`.

use crate::options::Settings;

/// A driver and its options: `-d tap mac=020000000001,mtu=1400,iface=eth7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverSpec {
    /// The driver's name (`tap`, `net_tap`, `pair`), a module's path, or a PCI address.
    pub name: String,
    /// The options in order, with their values where they have one.
    pub options: Vec<(String, Option<String>)>,
}

impl DriverSpec {
    /// Splits `options` at commas into `key` and `key=value`, and checks those that io-pkt knows.
    /// Empty options are skipped, so a trailing comma does no harm.
    ///
    /// # Errors
    /// An empty driver name, an option without a name, a missing or malformed value.
    pub fn parse(name: &str, options: &str) -> Result<Self, SpecError> {
        let name = name.trim();
        // A path begins with a slash; a name has none.
        let path = name.starts_with('/');
        let bad = name.contains([',', '\0']) || (!path && name.contains('/'));
        if name.is_empty() || bad || options.contains('\0') {
            return Err(SpecError::Name { name: name.into() });
        }
        let pieces = options.split(',').map(str::trim).filter(|piece| !piece.is_empty());
        let options = pieces.map(split).collect::<Result<Vec<_>, _>>()?;
        let spec = Self { name: name.into(), options };
        let _checked = Settings::of(&spec)?;
        Ok(spec)
    }
}

fn split(piece: &str) -> Result<(String, Option<String>), SpecError> {
    let (key, value) = match piece.split_once('=') {
        Some((key, value)) => (key.trim(), Some(value.trim().to_owned())),
        None => (piece, None),
    };
    if key.is_empty() {
        return Err(SpecError::Nameless { option: piece.into() });
    }
    Ok((key.to_owned(), value))
}

/// The text after `-d` is not right. Always the operator's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not a name a driver could have.
    #[error("{name:?} is not the name of a driver; write tap, net_pcap or 0000:03:00.0")]
    Name {
        /// What was written.
        name: String,
    },
    /// `=value` alone.
    #[error("the option {option:?} has no name; write key=value")]
    Nameless {
        /// What was written.
        option: String,
    },
    /// An option that needs a value has none.
    #[error("the option {option} needs a value: {option}={example}")]
    MissingValue {
        /// The option.
        option: String,
        /// A value it could have.
        example: &'static str,
    },
    /// An option's value makes no sense.
    #[error("{option}={value}: not {expected}; write {option}={example}")]
    Value {
        /// The option.
        option: String,
        /// What was written.
        value: String,
        /// What it should be.
        expected: &'static str,
        /// A value it could have.
        example: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use types::MacAddr;

    use super::*;

    #[test]
    fn options_are_split_at_commas_and_the_first_equals_sign() {
        let spec = DriverSpec::parse("pcap", "rx_pcap=a=b.pcap, infinite_rx ,verbose,").unwrap();
        let expected = [("rx_pcap", Some("a=b.pcap")), ("infinite_rx", None), ("verbose", None)];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(spec.options, expected);
    }

    #[test]
    fn known_options_are_consumed_and_the_rest_is_the_drivers() {
        let text = "mac=020000000001,mtu=1400,irq=5,iface=eth7,lan=3,promiscuous,remote";
        let settings = Settings::of(&DriverSpec::parse("tap", text).unwrap()).unwrap();
        assert_eq!(settings.mac, Some(MacAddr([2, 0, 0, 0, 0, 1])));
        assert_eq!(settings.mtu, Some(1400));
        assert_eq!(settings.unit, Some(3));
        assert!(settings.promiscuous);
        assert_eq!(settings.ignored, ["irq=5"]);
        let device = [("iface".to_owned(), Some("eth7".to_owned())), ("remote".to_owned(), None)];
        assert_eq!(settings.device, device);
    }

    #[test]
    fn every_option_of_io_pkts_drivers_is_taken() {
        let valued = "ioport irq smem smemsz dma vid did pci lan duplex speed media connector \
            deviceindex phy memrange iorange iftype uptype mru unit bustype busindex busdevice \
            busvendor";
        for name in valued.split_whitespace() {
            assert!(DriverSpec::parse("tap", &format!("{name}=1")).is_ok(), "{name}");
            let without = DriverSpec::parse("tap", name);
            assert!(matches!(without, Err(SpecError::MissingValue { .. })), "{name}");
        }
        let others = "mac=020000000001,mtu=1400,name=en,nomulticast,promiscuous,verbose=2,verbose,\
            priority=21,memrange=0xd0000000:4096";
        let settings = Settings::of(&DriverSpec::parse("tap", others).unwrap()).unwrap();
        assert_eq!(settings.ignored, ["memrange=0xd0000000:4096"]);
        assert_eq!(settings.device, []);
    }

    #[test]
    fn a_missing_value_is_refused_with_an_example() {
        let error = DriverSpec::parse("tap", "mac").unwrap_err();
        assert_eq!(error.to_string(), "the option mac needs a value: mac=020000000001");
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for options in ["mac=0200", "mac=ff:ff:ff:ff:ff:ff", "mtu=0", "mtu=70000", "unit=-1", "=1"]
        {
            assert!(DriverSpec::parse("tap", options).is_err(), "{options}");
        }
        assert!(DriverSpec::parse("", "").is_err());
    }
}
