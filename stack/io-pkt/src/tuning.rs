//! What the operator may set, under BSD's names: the one registry behind the configuration file,
//! `-p tcpip name=value` and `iopkt sysctl`.
//!
//! A change makes a new snapshot for the workers, as every other change of the network does.

mod table;

use core::time::Duration;

use autoconf::Temporary;
use inet::network::{HostSettings, TcpSettings};
use proto::table::TunableRow;
use tcp::Algorithm;
use types::nearest;

pub(crate) use table::{ECN, MINMSS, TUNABLES, by_number};

/// Connections that may wait at a listener, unless something else is asked for: current Linux's
/// `SOMAXCONN`.
const BACKLOG_MAX: u32 = 4096;
/// BSD's `SOMAXCONN`: io-pkt goes no lower.
pub(crate) const SOMAXCONN_MIN: u32 = 128;
/// A waiting connection is a record and a cell; 64 Ki of them fill the cells of a client.
pub(crate) const SOMAXCONN_MAX: u32 = 65_535;

/// What does not change while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    /// The name it was started by: `io-pkt-v4-hc`.
    pub(crate) ident: String,
    /// The host's name at the start; `None`: as the system has it now.
    pub(crate) hostname: Option<String>,
    /// Workers.
    pub(crate) workers: u16,
    /// Packet buffers.
    pub(crate) buffers: u32,
    /// Buffers that each worker keeps at hand.
    pub(crate) cache: u32,
}

impl Default for Fixed {
    fn default() -> Self {
        let cache = dpdk::MempoolOptions::default().cache;
        Self { ident: "io-pkt".into(), hostname: Some(hostname()), workers: 1, buffers: 0, cache }
    }
}

/// All settings.
#[derive(Clone, Debug)]
pub(crate) struct Tuning {
    /// Tables of routes.
    pub(crate) tables: u32,
    /// TCP, as the workers know it.
    pub(crate) tcp: TcpSettings,
    /// The rest of what the workers know.
    pub(crate) host: HostSettings,
    /// Most connections that may wait at a listener.
    pub(crate) somaxconn: u32,
    /// Congestion control of new sockets.
    pub(crate) congestion: Algorithm,
    /// Time to live of new sockets' packets.
    pub(crate) ttl: u8,
    /// Routers are believed on every link (RFC 4861 6.2.1).
    pub(crate) accept_routers: bool,
    /// Probes for an IPv6 address before it is used (RFC 4862 5.1).
    pub(crate) dad_count: u8,
    /// Addresses that nobody has given are used before that is over.
    pub(crate) optimistic: bool,
    /// Beside each address of an advertised prefix there is one that changes (RFC 8981).
    pub(crate) use_temporary: bool,
    /// Those are taken for what begins here.
    pub(crate) prefer_temporary: bool,
    /// Seconds for which one is used for what begins.
    pub(crate) temporary_preferred_s: u32,
    /// Seconds after which one is gone.
    pub(crate) temporary_valid_s: u32,
    /// What stable identifiers are made from (RFC 7217); `None`: what the machine is known by.
    pub(crate) stable_secret: Option<[u8; 16]>,
    /// What only the command line decides.
    pub(crate) fixed: Fixed,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            tables: 1,
            tcp: TcpSettings::default(),
            host: HostSettings::default(),
            somaxconn: BACKLOG_MAX,
            congestion: Algorithm::default(),
            ttl: inet::limits::TTL,
            accept_routers: false,
            dad_count: 1,
            optimistic: false,
            use_temporary: false,
            prefer_temporary: true,
            temporary_preferred_s: 86_400,
            temporary_valid_s: 172_800,
            stable_secret: None,
            fixed: Fixed::default(),
        }
    }
}

impl Tuning {
    /// How long addresses that change are used, if there are to be some.
    pub(crate) fn temporary(&self) -> Option<Temporary> {
        let lives = [self.temporary_preferred_s, self.temporary_valid_s];
        let [preferred, valid] = lives.map(|seconds| Duration::from_secs(seconds.into()));
        self.use_temporary.then_some(Temporary { preferred, valid })
    }
}

/// How a tunable is written.
#[derive(Clone, Copy, Debug)]
enum Write {
    /// Not at all.
    Never,
    /// A number from the least to the most.
    Number((u32, u32), fn(&mut Tuning, u32)),
    /// Text; `Err` is a sentence that says what to write instead.
    Text(fn(&mut Tuning, &str) -> Result<(), &'static str>),
}

/// One tunable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tunable {
    /// BSD's name.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) text: &'static str,
    read: fn(&Tuning) -> String,
    write: Write,
}

impl Tunable {
    /// What it tells.
    pub(crate) fn value(&self, tuning: &Tuning) -> String {
        (self.read)(tuning)
    }
}

/// Why a tunable is not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    /// There is none of that name.
    #[error("no such tunable{}; see: iopkt sysctl -a", meant(.0))]
    Unknown(Option<&'static str>),
    /// It tells, and is told by nobody.
    #[error("it can only be read")]
    ReadOnly,
    /// Not what it takes.
    #[error("{0}")]
    Wrong(String),
}

fn meant(near: &Option<&str>) -> String {
    near.map(|name| format!(", did you mean {name}?")).unwrap_or_default()
}

/// A tunable by its name.
pub(crate) fn find(name: &str) -> Option<&'static Tunable> {
    TUNABLES.iter().find(|tunable| tunable.name == name)
}

impl Tuning {
    /// Those of a daemon that starts with so many workers and packet buffers.
    #[must_use]
    pub(crate) fn at_start(&self, workers: u16, buffers: u32) -> Self {
        let mut tuning = self.clone();
        (tuning.fixed.workers, tuning.fixed.buffers) = (workers, buffers);
        tuning
    }

    /// Sets a tunable by its name.
    ///
    /// # Errors
    /// Why it stays as it is.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), SetError> {
        let tunable = find(name)
            .ok_or_else(|| SetError::Unknown(nearest(name, TUNABLES.iter().map(|t| t.name))))?;
        match tunable.write {
            Write::Never => Err(SetError::ReadOnly),
            Write::Number((least, most), set) => {
                let number = value.parse().ok().filter(|n| (least..=most).contains(n));
                let wrong = || SetError::Wrong(format!("write a number from {least} to {most}"));
                set(self, number.ok_or_else(wrong)?);
                Ok(())
            }
            Write::Text(set) => set(self, value).map_err(|what| SetError::Wrong(what.into())),
        }
    }

    /// All tunables as the tools show them.
    pub(crate) fn rows(&self) -> Vec<TunableRow> {
        let row = |tunable: &Tunable| TunableRow {
            name: tunable.name.into(),
            value: tunable.value(self),
            writable: !matches!(tunable.write, Write::Never),
            text: tunable.text.into(),
        };
        TUNABLES.iter().map(row).collect()
    }
}

/// The system's name for this host.
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tuning: &Tuning, name: &str) -> String {
        find(name).unwrap().value(tuning)
    }

    #[test]
    fn names_are_in_order_and_there_once() {
        let names: Vec<_> = TUNABLES.iter().map(|t| t.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }

    #[test]
    fn what_is_written_is_read_again_and_nothing_beyond_the_limits() {
        for tunable in TUNABLES {
            let Write::Number((least, most), _) = tunable.write else { continue };
            let mut tuning = Tuning::default();
            for number in [least, most] {
                assert_eq!(tuning.set(tunable.name, &number.to_string()), Ok(()));
                assert_eq!(value(&tuning, tunable.name), number.to_string(), "{}", tunable.name);
            }
            for beyond in [i64::from(least) - 1, i64::from(most) + 1] {
                let set = tuning.set(tunable.name, &beyond.to_string());
                assert!(matches!(set, Err(SetError::Wrong(_))), "{} = {beyond}", tunable.name);
            }
            assert!(matches!(tuning.set(tunable.name, "x"), Err(SetError::Wrong(_))));
            assert_eq!(value(&tuning, tunable.name), most.to_string());
        }
    }

    #[test]
    fn what_only_tells_says_so() {
        let mut tuning = Tuning::default();
        assert_eq!(tuning.set("kern.ident", "x"), Err(SetError::ReadOnly));
        assert_eq!(value(&tuning, "kern.ident"), "io-pkt");
    }

    #[test]
    fn a_wrong_name_gets_the_nearest() {
        let error = Tuning::default().set("net.inet.tcp.ecn.enabled", "1").unwrap_err();
        assert!(error.to_string().contains("did you mean net.inet.tcp.ecn.enable?"), "{error}");
        let error = Tuning::default().set("zzz", "1").unwrap_err();
        assert_eq!(error.to_string(), "no such tunable; see: iopkt sysctl -a");
    }

    #[test]
    fn congestion_control_is_chosen_by_name() {
        let mut tuning = Tuning::default();
        assert_eq!(tuning.set("net.inet.tcp.congctl.selected", "bbr"), Ok(()));
        assert_eq!(tuning.congestion, Algorithm::Bbr);
        let error = tuning.set("net.inet.tcp.congctl.selected", "vegas").unwrap_err();
        assert_eq!(error.to_string(), "write cubic, reno or bbr");
    }

    #[test]
    fn the_fast_open_key_is_not_told() {
        let mut tuning = Tuning::default();
        let key = "00112233445566778899aabbccddeeff";
        assert_eq!(tuning.set("net.inet.tcp.fastopen.setkey", key), Ok(()));
        assert_eq!(value(&tuning, "net.inet.tcp.fastopen.setkey"), "1");
        let error = tuning.set("net.inet.tcp.fastopen.setkey", "12").unwrap_err();
        assert_eq!(error.to_string(), "write 32 hexadecimal digits");
    }
}
