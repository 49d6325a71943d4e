//! IEEE 802 MAC-48 addresses.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// A MAC-48 address in transmission order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// 00:00:00:00:00:00.
    pub const ZERO: Self = Self([0; 6]);

    /// Group bit of the first octet: multicast and broadcast.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Exactly the broadcast address.
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        matches!(self.0, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
    }

    /// Usable as a source address: neither group nor zero.
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        !self.is_group() && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a MAC address: six pairs of hex digits, with or without `:` or `-` between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseMacError;

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address: write 02:00:00:00:00:01 or 020000000001")
    }
}

impl core::error::Error for ParseMacError {}

impl FromStr for MacAddr {
    type Err = ParseMacError;
    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let mut octets = [0_u8; 6];
        let separator = match text.len() {
            12 => None,
            17 => text.chars().nth(2).filter(|c| matches!(c, ':' | '-')),
            _ => return Err(ParseMacError),
        };
        if text.len() == 17 && separator.is_none() {
            return Err(ParseMacError);
        }
        let mut digits = text.chars();
        for (i, octet) in octets.iter_mut().enumerate() {
            if i > 0 && separator.is_some() && digits.next() != separator {
                return Err(ParseMacError);
            }
            let mut nibble = || digits.next().and_then(|c| c.to_digit(16)).ok_or(ParseMacError);
            *octet = u8::try_from(nibble()? << 4 | nibble()?).map_err(|_| ParseMacError)?;
        }
        Ok(Self(octets))
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddr {
    type Error = ParseMacError;
    fn try_from(text: String) -> Result<Self, ParseMacError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_spellings_parse_to_the_same_address() {
        let expected = MacAddr([0x02, 0, 0, 0xab, 0xcd, 0x01]);
        for text in ["02:00:00:ab:cd:01", "02-00-00-AB-CD-01", "020000abcd01"] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "02:00:00:ab:cd", "02:00:00:ab:cd:0g", "02:00-00:ab:cd:01", "0200:00:ab:cd:01x"]
        {
            assert_eq!(text.parse::<MacAddr>(), Err(ParseMacError), "{text}");
        }
    }
}
