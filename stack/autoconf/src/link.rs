//! A link's addresses and what is known of it.

use core::net::Ipv6Addr;
use core::time::Duration;
use std::collections::VecDeque;

use types::{Instant, MacAddr};
use wire::ndp::{Ndp, NdpOption};

use crate::address::{Origin, Own, Probe, State};
use crate::advertisement::{OnLink, Router};
use crate::limits::{
    FIRST_DELAY_MAX, PROBES_MAX, RETRANS_TIMER, SOLICITATION_INTERVAL, SOLICITATIONS_MAX,
};
use crate::router::Advertising;
use crate::stable::{Identity, link_local};
use crate::temporary::{Renewal, Temporary};

/// What the operator has decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Routers are believed, and asked for. Not on a link that the host is a router of.
    pub accept: bool,
    /// We are a router of the link, and hosts are told.
    pub advertise: bool,
    /// Probes for each address before it is used; 0: it is used at once.
    pub dad_count: u8,
    /// Those that nobody has given are used meanwhile, where there is no other (RFC 4429).
    pub optimistic: bool,
    /// Beside each stable address of a prefix there is one that changes.
    pub temporary: Option<Temporary>,
}

/// A message for the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Has anybody this address? From the unspecified address (RFC 4862 5.4.2).
    Probe {
        /// The address.
        target: Ipv6Addr,
        /// What it is known by when it comes back (RFC 7527).
        nonce: [u8; 6],
    },
    /// Who is a router (RFC 4861 6.3.7)?
    Solicitation {
        /// From here; `None`: there is no address yet.
        source: Option<Ipv6Addr>,
    },
    /// We are a router, or no longer (RFC 4861 6.2.3). From the link's own address, to everybody.
    Advertisement {
        /// We are one.
        is_router: bool,
    },
}

/// What has happened, for a log and for neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nobody else has the address: it is in use.
    Usable(Ipv6Addr),
    /// Another station has the address, this one if it has said so.
    Duplicate(Ipv6Addr, Option<MacAddr>),
    /// The address is past its time, and gone.
    Expired(Ipv6Addr),
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Addresses that another station had.
    pub duplicates: u64,
    /// Router advertisements that were believed.
    pub advertisements: u64,
    /// Routers, prefixes and addresses beyond the limits.
    pub refused: u64,
}

/// Solicitations that are under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Soliciting {
    left: u8,
    /// `None`: not begun.
    due: Option<Instant>,
}

/// One link, as IPv6 sees it.
#[derive(Debug)]
pub struct Link {
    pub(crate) name: String,
    mac: MacAddr,
    pub(crate) identity: Identity,
    pub(crate) settings: Settings,
    up: bool,
    runs: bool,
    pub(crate) own: Vec<Own>,
    pub(crate) routers: Vec<Router>,
    pub(crate) prefixes: Vec<OnLink>,
    pub(crate) soliciting: Option<Soliciting>,
    pub(crate) advertising: Option<Advertising>,
    pub(crate) renewal: Renewal,
    pub(crate) mtu: Option<u16>,
    pub(crate) hop_limit: Option<u8>,
    pub(crate) retrans: Duration,
    pub(crate) out: VecDeque<Message>,
    pub(crate) news: Vec<News>,
    pub(crate) changed: bool,
    pub(crate) counts: Counts,
}

impl Link {
    /// A link that is up, where nothing is known yet.
    #[must_use]
    pub fn new(name: &str, mac: MacAddr, identity: Identity) -> Self {
        Self {
            name: name.into(),
            mac,
            identity,
            settings: Settings::default(),
            up: true,
            runs: true,
            own: Vec::new(),
            routers: Vec::new(),
            prefixes: Vec::new(),
            soliciting: None,
            advertising: None,
            renewal: Renewal::default(),
            mtu: None,
            hop_limit: None,
            retrans: RETRANS_TIMER,
            out: VecDeque::new(),
            news: Vec::new(),
            changed: false,
            counts: Counts::default(),
        }
    }

    /// All addresses, in the order in which they came.
    pub fn addresses(&self) -> impl Iterator<Item = &Own> + '_ {
        self.own.iter()
    }

    /// Prefixes on the link, with their lengths.
    pub fn prefixes(&self) -> impl Iterator<Item = (Ipv6Addr, u8)> + '_ {
        self.prefixes.iter().map(|prefix| (prefix.prefix, prefix.len))
    }

    /// The router for packets to everywhere: of those preferred most the one known longest
    /// (RFC 4861 6.3.6, RFC 4191 3.2).
    #[must_use]
    pub fn default_router(&self) -> Option<Ipv6Addr> {
        let most = self.routers.iter().map(|router| router.preference).max()?;
        let best = self.routers.iter().find(|router| router.preference == most);
        best.map(|router| router.address)
    }

    /// The MTU that a router has told.
    #[must_use]
    pub fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    /// Hops of new packets, as a router has told.
    #[must_use]
    pub fn hop_limit(&self) -> Option<u8> {
        self.hop_limit
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Routers are believed here.
    #[must_use]
    pub fn accepts(&self) -> bool {
        self.settings.accept && self.up
    }

    /// The operator wants an address. The caller has seen to it that there is none like it.
    pub fn add(&mut self, address: Ipv6Addr, prefix_len: u8) {
        self.insert(Own::new(address, prefix_len, Origin::Operator));
    }

    /// An address of the link itself, of its station's (RFC 4291 2.1), unless there is one.
    pub fn add_link_local(&mut self) {
        if !self.own.iter().any(|own| own.address.is_unicast_link_local()) {
            self.insert(Own::new(link_local(self.mac), 64, Origin::Link));
        }
    }

    /// The operator wants an address no longer. `None`: there is none like it.
    pub fn remove(&mut self, address: Ipv6Addr) -> Option<Own> {
        let at = self.own.iter().position(|own| own.address == address)?;
        self.changed = true;
        Some(self.own.remove(at))
    }

    /// The station has another address.
    pub fn set_mac(&mut self, mac: MacAddr) {
        self.mac = mac;
    }

    /// The operator has decided something else.
    pub fn set(&mut self, settings: Settings) {
        let settings = Settings { dad_count: settings.dad_count.min(PROBES_MAX), ..settings };
        let before = core::mem::replace(&mut self.settings, settings);
        self.changed |= before != settings;
        if settings.accept && !before.accept {
            self.add_link_local();
            self.solicit();
        }
        if settings.temporary != before.temporary {
            self.renewal = Renewal { next: Some(Instant::ZERO), taken: 0 };
        }
        if settings.advertise != before.advertise {
            self.set_advertising(settings.advertise);
        }
        if before.accept && !settings.accept {
            self.forget();
            self.own.retain(|own| !own.origin.is_told());
        }
    }

    /// The interface is up, or down. Coming up, all begins anew: it may be another link.
    pub fn set_up(&mut self, up: bool) {
        if core::mem::replace(&mut self.up, up) == up {
            return;
        }
        self.forget();
        if !up {
            self.own.retain(|own| !own.origin.is_told());
            return;
        }
        self.begin();
    }

    /// The link can be sent by, or no longer: one of several ports waits for what their other end says. While it
    /// can't, nothing is asked and no address becomes usable; what is known stays. When it can again, addresses
    /// are looked for anew (RFC 4862 5.4). `true`: they are.
    pub fn set_running(&mut self, runs: bool) -> bool {
        let begins = !core::mem::replace(&mut self.runs, runs) && runs;
        if begins && self.up {
            self.begin();
        }
        begins
    }

    fn begin(&mut self) {
        for own in core::mem::take(&mut self.own) {
            self.insert(Own { probe: Probe::default(), ..own });
        }
        if self.settings.accept {
            self.solicit();
        }
        self.advertise_anew();
    }

    /// What routers have told no longer counts.
    fn forget(&mut self) {
        self.routers.clear();
        self.prefixes.clear();
        (self.mtu, self.hop_limit, self.retrans) = (None, None, RETRANS_TIMER);
        self.soliciting = None;
        self.renewal = Renewal::default();
        self.changed = true;
    }

    fn solicit(&mut self) {
        self.soliciting = Some(Soliciting { left: SOLICITATIONS_MAX, due: None });
    }

    pub(crate) fn insert(&mut self, mut own: Own) {
        if self.settings.dad_count == 0 {
            own.state = State::Preferred;
            self.news.push(News::Usable(own.address));
        } else {
            own.state = self.unsure(own.origin);
        }
        self.own.push(own);
        self.changed = true;
    }

    /// What an address may be used for before anybody has been asked. Two stations are given the same one by a person
    /// more often than they make the same (RFC 4429 3.1).
    pub(crate) const fn unsure(&self, origin: Origin) -> State {
        match origin {
            Origin::Link | Origin::Advertised | Origin::Temporary if self.settings.optimistic => {
                State::Optimistic
            }
            _ => State::Tentative,
        }
    }

    /// A message of neighbour discovery that is not for the workers alone.
    pub fn hear(&mut self, source: Ipv6Addr, message: &Ndp<'_>, now: Instant) {
        match message {
            Ndp::RouterAdvertisement(said, options) => {
                self.advertised(source, said, *options, now);
            }
            Ndp::RouterSolicitation(_) => self.router_wanted(),
            Ndp::NeighborSolicitation(target, options) if source.is_unspecified() => {
                let nonce = options.into_iter().find_map(|option| match option {
                    NdpOption::Nonce(nonce) => Some(nonce),
                    _ => None,
                });
                self.solicited(*target, nonce, now);
            }
            Ndp::NeighborAdvertisement(what, options) => {
                self.taken(what.target, options.target_link_layer(), now);
            }
            _ => {}
        }
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant, random: &mut dyn FnMut() -> u64) {
        if !self.up || !self.runs {
            return;
        }
        self.probe(now, random);
        self.expire(now);
        self.make_temporary(now, random);
        self.advertise(now, random);
        let Some(soliciting) = self.soliciting else { return };
        self.soliciting = match soliciting.due {
            None => {
                let due = now + below(FIRST_DELAY_MAX, random());
                Some(Soliciting { due: Some(due), ..soliciting })
            }
            Some(due) if due > now => Some(soliciting),
            Some(_) => {
                let local = |own: &&Own| {
                    own.address.is_unicast_link_local() && own.state == State::Preferred
                };
                let source = self.own.iter().find(local).map(|own| own.address);
                self.out.push_back(Message::Solicitation { source });
                let left = soliciting.left.saturating_sub(1);
                let due = Some(now + SOLICITATION_INTERVAL);
                (left > 0).then_some(Soliciting { left, due })
            }
        };
    }

    fn expire(&mut self, now: Instant) {
        let Self { own, routers, prefixes, news, changed, .. } = self;
        let before = (own.len(), routers.len(), prefixes.len());
        own.retain(|own| {
            let stays = own.valid_until > now;
            if !stays {
                news.push(News::Expired(own.address));
            }
            stays
        });
        routers.retain(|router| router.until > now);
        prefixes.retain(|prefix| prefix.until > now);
        *changed |= before != (own.len(), routers.len(), prefixes.len());
        for own in own.iter_mut().filter(|own| own.state == State::Preferred) {
            own.state = own.lived(now);
            *changed |= own.state != State::Preferred;
        }
    }

    /// When [`Link::timeout`] has something to do next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.up || !self.runs {
            return None;
        }
        let own = self.own.iter().map(Own::due);
        let routers = self.routers.iter().map(|router| router.until);
        let prefixes = self.prefixes.iter().map(|prefix| prefix.until);
        let soliciting = self.soliciting.map(|what| what.due.unwrap_or(Instant::ZERO));
        let all = own.chain(routers).chain(prefixes).chain(soliciting);
        let all = all.chain(self.next_advertisement()).chain(self.renewal.next);
        all.min().filter(|due| *due != Instant::FAR_FUTURE)
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Message> {
        self.out.pop_front()
    }

    /// What has happened since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        core::mem::take(&mut self.news)
    }

    /// Whether addresses, routes, MTU or hop limit are others than at the last call.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }
}

/// A part of a time, by a random number.
pub(crate) fn below(most: Duration, random: u64) -> Duration {
    let nanos = types::nanos(most);
    Duration::from_nanos(random.checked_rem(nanos).unwrap_or(0))
}
