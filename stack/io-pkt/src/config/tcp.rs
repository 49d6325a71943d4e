//! `[tcp]`.

use inet::network::TcpSettings;
use serde::Deserialize;

use crate::tuning::{ECN, MINMSS, by_number};

/// `[tcp]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcpSection {
    /// A peer's MSS below this one counts as this one [default: 536]. Lower it for peers that really
    /// take no 576-byte datagrams.
    #[serde(default)]
    pub mss_floor: MssFloor,
    /// ECN in the numbers of Linux's `tcp_ecn` [default: 2].
    #[serde(default)]
    pub ecn: Ecn,
    /// Pace CUBIC and NewReno too, as BBR always is [default: false].
    #[serde(default)]
    pub pacing: bool,
    /// Tell peers of `TCP_USER_TIMEOUT` and believe theirs (RFC 5482) [default: false].
    #[serde(default)]
    pub user_timeout_option: bool,
    /// SYN cookies [default: auto].
    #[serde(default, with = "SynCookies")]
    pub syncookies: tcp::SynCookies,
    /// Key of Fast Open cookies, 32 hexadecimal digits, dashes as you like: servers behind one address
    /// need the same [default: a secret of the daemon's own, a new one at each start].
    pub fast_open_key: Option<FastOpenKey>,
}

impl TcpSection {
    /// In the stack's words.
    #[must_use]
    pub(crate) fn settings(&self) -> TcpSettings {
        TcpSettings {
            mss_floor: self.mss_floor.0,
            ecn: self.ecn.0,
            pacing: self.pacing,
            user_timeout_option: self.user_timeout_option,
            syn_cookies: self.syncookies,
            fast_open_key: self.fast_open_key.map(|key| key.0),
            ..TcpSettings::default()
        }
    }
}

/// Least MSS of peers, within the limits of `net.inet.tcp.minmss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub(crate) struct MssFloor(u16);

impl Default for MssFloor {
    fn default() -> Self {
        Self(tcp::limits::MSS_FLOOR)
    }
}

impl TryFrom<u16> for MssFloor {
    type Error = String;
    fn try_from(mss: u16) -> Result<Self, Self::Error> {
        let (least, most) = MINMSS;
        let wrong = || format!("write a number from {least} to {most}");
        Some(mss)
            .filter(|mss| (least..=most).contains(&u32::from(*mss)))
            .map(Self)
            .ok_or_else(wrong)
    }
}

/// Explicit congestion notification, by the number of `net.inet.tcp.ecn.enable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub(crate) struct Ecn(tcp::EcnMode);

impl TryFrom<u8> for Ecn {
    type Error = &'static str;
    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0..=2 => Ok(Self(by_number(ECN, number.into()))),
            _ => Err("write 0 (never), 1 (ask) or 2 (accept)"),
        }
    }
}

/// When SYNs are answered with cookies, in words: how [`tcp::SynCookies`] is read.
#[derive(Deserialize)]
#[serde(remote = "tcp::SynCookies", rename_all = "lowercase")]
enum SynCookies {
    Off,
    Auto,
    Always,
}

/// 16 bytes, as text of 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct FastOpenKey(pub [u8; 16]);

impl TryFrom<String> for FastOpenKey {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.replace('-', "");
        let is_key = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| is_key);
        number.map(|number| Self(number.to_be_bytes())).ok_or("write 32 hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::tuning::Tuning;

    #[test]
    fn what_the_tcp_section_says_is_what_its_tunable_tells() {
        let text = "[tcp]\nmss_floor = 88\necn = 1\npacing = true\nuser_timeout_option = true\n\
                    syncookies = \"always\"\nfast_open_key = \"00112233445566778899aabbccddeeff\"\n";
        let config: Config = toml::from_str(text).unwrap();
        let tuning = Tuning { tcp: config.tcp.settings(), ..Tuning::default() };
        let rows = tuning.rows();
        for (name, value) in [
            ("net.inet.tcp.minmss", "88"),
            ("net.inet.tcp.ecn.enable", "1"),
            ("net.inet.tcp.pacing", "1"),
            ("net.inet.tcp.user_timeout_option", "1"),
            ("net.inet.tcp.syncookies", "2"),
            ("net.inet.tcp.fastopen.setkey", "1"),
        ] {
            assert_eq!(rows.iter().find(|row| row.name == name).unwrap().value, value, "{name}");
        }
    }
}
