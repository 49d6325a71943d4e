//! `[quota]`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Limits of one user, or of all who have none of their own. In the file, what is not said is the default's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Connections to the control socket [default: 1024].
    pub connections: Option<u32>,
    /// Clients: each has 64 MiB of address space, of 512 [default: 128].
    pub clients: Option<u32>,
    /// Sockets [default: 16384, or a quarter of the daemon's descriptors if that is less].
    pub sockets: Option<u32>,
    /// Listening sockets, of 4096 [default: 1024].
    pub listeners: Option<u32>,
    /// Bytes of receive buffers that hold something [default: 256 MiB].
    pub memory: Option<u64>,
    /// Datagrams and full segments that are sent a second [default: 500000].
    pub packets_per_s: Option<u32>,
    /// Requests to the control socket a second [default: 20000].
    pub requests_per_s: Option<u32>,
    /// Received packets that may be lent to it, to be read where they lie [default: 0]. Its clients can read all
    /// that is received then.
    pub loans: Option<u32>,
}

/// `[quota]`, and `[quota.user.NAME]` for one user by name or number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Table")]
pub(crate) struct QuotaSection {
    /// For everybody else but root.
    all: Limits,
    /// For one user.
    user: BTreeMap<Owner, Limits>,
}

impl TryFrom<toml::Table> for QuotaSection {
    type Error = toml::de::Error;
    fn try_from(mut table: toml::Table) -> Result<Self, Self::Error> {
        let user = table.remove("user").map(toml::Value::try_into).transpose()?;
        Ok(Self { all: table.try_into()?, user: user.unwrap_or_default() })
    }
}

/// A user by name or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Owner(u32);

impl TryFrom<String> for Owner {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let named = || nix::unistd::User::from_name(&text).ok().flatten();
        let uid = text.parse().ok().or_else(|| named().map(|user| user.uid.as_raw()));
        uid.map(Self).ok_or_else(|| format!("there is no user {text:?}; write a name or a number"))
    }
}

impl QuotaSection {
    /// May packets be lent to anybody?
    pub(crate) fn lends(&self) -> bool {
        let all = core::iter::once(&self.all).chain(self.user.values());
        all.filter_map(|limits| limits.loans).any(|loans| loans > 0)
    }

    /// What a user may have of a daemon with so many descriptors, of which it can't promise more. Root
    /// has no limits but its own.
    pub(crate) fn limits(&self, uid: u32, descriptors: u32) -> Limits {
        let own = self.user.get(&Owner(uid)).copied().unwrap_or_default();
        if uid == 0 { own } else { own.or(self.all).or(Limits::of_everybody(descriptors)) }
    }
}

impl Limits {
    /// What is not said here is said there.
    fn or(self, other: Self) -> Self {
        Self {
            connections: self.connections.or(other.connections),
            clients: self.clients.or(other.clients),
            sockets: self.sockets.or(other.sockets),
            listeners: self.listeners.or(other.listeners),
            memory: self.memory.or(other.memory),
            packets_per_s: self.packets_per_s.or(other.packets_per_s),
            requests_per_s: self.requests_per_s.or(other.requests_per_s),
            loans: self.loans.or(other.loans),
        }
    }

    /// More than a program needs, and so little that some users together leave room for another.
    fn of_everybody(descriptors: u32) -> Self {
        Self {
            connections: Some(1024),
            clients: Some(128),
            sockets: Some((descriptors / 4).min(16_384)),
            listeners: Some(1024),
            memory: Some(256 << 20),
            packets_per_s: Some(500_000),
            requests_per_s: Some(20_000),
            loans: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> QuotaSection {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_user_has_its_own_limits_then_those_of_all_then_the_defaults() {
        let section = section(
            "sockets = 7\nmemory = 5\n[user.1000]\nsockets = 9\n[user.root]\nclients = 1\n",
        );
        let [one, other, root] = [1000, 1001, 0].map(|uid| section.limits(uid, 1_000_000));
        assert_eq!((one.sockets, one.memory, one.clients), (Some(9), Some(5), Some(128)));
        assert_eq!((other.sockets, other.memory), (Some(7), Some(5)));
        assert_eq!(root, Limits { clients: Some(1), ..Limits::default() });
    }

    #[test]
    fn each_limit_is_the_one_of_its_name() {
        let names =
            ["connections", "clients", "sockets", "listeners", "packets_per_s", "requests_per_s"];
        for (at, name) in names.into_iter().enumerate() {
            let got = section(&format!("[user.1]\n{name} = 3\n[user.2]\nmemory = 4\n"));
            let of = |uid| {
                let l = got.limits(uid, 0);
                let all = [l.connections, l.clients, l.sockets, l.listeners];
                (all.into_iter().chain([l.packets_per_s, l.requests_per_s]).collect(), l.memory)
            };
            let usual = [1024, 128, 0, 1024, 500_000, 20_000].map(Some);
            let mut expected: Vec<_> = usual.to_vec();
            assert_eq!(of(2), (expected.clone(), Some(4)));
            expected[at] = Some(3);
            assert_eq!(of(1), (expected, Some(256 << 20)), "{name}");
        }
    }

    #[test]
    fn a_daemon_of_few_descriptors_promises_one_user_a_quarter_of_them() {
        assert_eq!(section("").limits(1, 1024).sockets, Some(256));
        assert_eq!(section("").limits(1, 1_000_000).sockets, Some(16_384));
    }

    #[test]
    fn packets_are_lent_to_nobody_who_is_not_named() {
        let some = section("sockets = 7\n[user.1000]\nloans = 512\n");
        let loans = [0, 1000, 1001].map(|uid| some.limits(uid, 1_000_000).loans);
        assert_eq!((loans, some.lends()), ([None, Some(512), None], true));
        assert!(!section("sockets = 7\n[user.1000]\nloans = 0\n").lends());
    }

    #[test]
    fn mistakes_are_told() {
        let wrong = |text: &str| toml::from_str::<QuotaSection>(text).unwrap_err().to_string();
        assert!(wrong("[user.no-such-user]\nsockets = 1\n").contains("write a name or a number"));
        assert!(
            wrong("socket = 1\n").contains("unknown field `socket`"),
            "{}",
            wrong("socket = 1\n")
        );
        assert!(wrong("[user.root]\nsocket = 1\n").contains("unknown field"));
    }
}
