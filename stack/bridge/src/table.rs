//! Where stations are (IEEE 802.1D 7.8, 7.9).
//!
//! ```text
//!   source of a frame ──► learn(): new, moved, heard again, known, refused
//!   destination       ──► find(): a port, or nothing: then the frame goes everywhere
//! ```
//! With several workers each has a table of its own; what one has learned it tells the others
//! ([`Change::is_news`]), who [`hear`](Table::hear) of it.

use core::time::Duration;

use hashbrown::HashTable;
use types::{Instant, MacAddr};

use crate::limits::{MOVES_MAX, MOVES_TIME, REFRESH_PARTS, STATIONS, SWEEP_EVERY, TIMEOUT};

/// Key of the table's hash: who does not know it can't choose addresses that fall together.
#[derive(Clone, Copy)]
pub struct Secret(pub [u64; 2]);

impl Secret {
    /// An address, mixed with the key.
    #[inline]
    fn hash(self, mac: MacAddr) -> u64 {
        let [a, b, c, d, e, f] = mac.0;
        self.mix(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// A word, mixed with the key.
    #[inline]
    pub(crate) fn mix(self, word: u64) -> u64 {
        let Self([before, by]) = self;
        // The second product spreads what a weak key leaves together.
        fold(fold(word ^ before, by | 1), 0x9e37_79b9_7f4a_7c15)
    }
}

/// Both halves of a product.
#[inline]
fn fold(word: u64, by: u64) -> u64 {
    let product = u128::from(word).wrapping_mul(u128::from(by));
    let [high, low] = [product >> 64, product & u128::from(u64::MAX)];
    u64::try_from(high ^ low).unwrap_or(0)
}

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret")
    }
}

/// What the operator has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most stations (`maxaddr`); static ones are not refused.
    pub stations_max: u32,
    /// Most of them at one port (`ifmaxaddr`); 0: no such limit.
    pub port_max: u32,
    /// How long a silent station is known (`timeout`); `None`: for ever.
    pub timeout: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { stations_max: STATIONS, port_max: 0, timeout: Some(TIMEOUT) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Station {
    mac: MacAddr,
    port: u16,
    seen: Instant,
    moving_since: Instant,
    moves: u8,
    pinned: bool,
}

/// What the source of a frame has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: the station is where it was.
    None,
    /// It had not been heard for a while.
    Refreshed,
    /// It is new.
    New,
    /// It was at another port.
    Moved,
    /// It is not taken in, but the frame may pass.
    Unlearned,
}

impl Change {
    /// The other workers are to hear of it.
    #[must_use]
    pub const fn is_news(self) -> bool {
        matches!(self, Self::Refreshed | Self::New | Self::Moved)
    }
}

/// Why a frame is not to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its source is a static address of another port.
    Static,
    /// Its source moves too often.
    Moving,
    /// Its source is the bridge itself.
    Own,
}

/// A station, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its address.
    pub mac: MacAddr,
    /// Its port.
    pub port: u16,
    /// It is static.
    pub pinned: bool,
    /// How long ago it was noted that it was heard.
    pub age: Duration,
}

/// The stations of a bridge.
#[derive(Debug)]
pub struct Table {
    secret: Secret,
    settings: Settings,
    refresh: Duration,
    /// Addresses of the bridge and its ports.
    own: Box<[MacAddr]>,
    stations: HashTable<Station>,
    /// Stations by port.
    at_ports: Vec<u32>,
    swept: Instant,
}

impl Table {
    /// No stations yet.
    #[must_use]
    pub fn new(secret: Secret, settings: Settings) -> Self {
        let mut table = Self {
            secret,
            settings,
            refresh: Duration::ZERO,
            own: Box::default(),
            stations: HashTable::new(),
            at_ports: Vec::new(),
            swept: Instant::ZERO,
        };
        table.set(settings);
        table
    }

    /// Other settings; what is beyond them goes when it is past its time.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
        // What never ages is noted every half minute, so that tables of several workers agree.
        let ages = settings.timeout.unwrap_or(TIMEOUT);
        self.refresh = ages.checked_div(REFRESH_PARTS).unwrap_or(ages);
    }

    /// The addresses of the bridge and its ports: who sends from one of them becomes no station, else he
    /// would get what is for this host.
    pub fn set_own(&mut self, own: &[MacAddr]) {
        if *self.own != *own {
            self.own = own.into();
            self.retain(|s| s.pinned || !own.contains(&s.mac));
        }
    }

    /// The port of a station.
    #[inline]
    #[must_use]
    pub fn find(&self, mac: MacAddr, now: Instant) -> Option<u16> {
        let station = self.stations.find(self.secret.hash(mac), |s| s.mac == mac)?;
        self.is_known(station, now).then_some(station.port)
    }

    /// A frame from this station has come in by this port.
    ///
    /// # Errors
    /// The frame is not to pass.
    #[inline]
    pub fn learn(&mut self, mac: MacAddr, port: u16, now: Instant) -> Result<Change, Refusal> {
        let Some(station) = self.stations.find_mut(self.secret.hash(mac), |s| s.mac == mac) else {
            return self.take_in(mac, port, now);
        };
        if station.port == port {
            if now.since(station.seen) < self.refresh || station.pinned {
                return Ok(Change::None);
            }
            station.seen = now;
            return Ok(Change::Refreshed);
        }
        let from = station.port;
        let moved = station.move_to(port, now);
        if moved.is_ok() {
            self.count(from, port);
        }
        moved
    }

    /// Another worker has learned where a station is.
    pub fn hear(&mut self, mac: MacAddr, port: u16, now: Instant) {
        match self.stations.find_mut(self.secret.hash(mac), |s| s.mac == mac) {
            None => {
                let _ = self.take_in(mac, port, now);
            }
            // It had its chance to be refused where it was heard.
            Some(station) if !station.pinned => {
                let from = station.port;
                (station.port, station.seen) = (port, now);
                self.count(from, port);
            }
            Some(_) => {}
        }
    }

    #[cold]
    fn take_in(&mut self, mac: MacAddr, port: u16, now: Instant) -> Result<Change, Refusal> {
        if self.own.contains(&mac) {
            return Err(Refusal::Own);
        }
        if self.is_full() && now.since(self.swept) >= SWEEP_EVERY {
            self.swept = now;
            self.age(now);
        }
        let at_port = self.at_ports.get(usize::from(port)).copied().unwrap_or(0);
        let most = self.settings.port_max;
        if self.is_full() || (most > 0 && at_port >= most) {
            return Ok(Change::Unlearned);
        }
        self.put(mac, port, now, false);
        Ok(Change::New)
    }

    fn is_full(&self) -> bool {
        self.stations.len() >= usize::try_from(self.settings.stations_max).unwrap_or(usize::MAX)
    }

    /// A station is at another port than before.
    #[cold]
    fn count(&mut self, from: u16, to: u16) {
        if let Some(count) = self.at_ports.get_mut(usize::from(from)) {
            *count = count.saturating_sub(1);
        }
        self.count_one(to);
    }

    fn count_one(&mut self, port: u16) {
        let place = usize::from(port);
        if self.at_ports.len() <= place {
            self.at_ports.resize(place.saturating_add(1), 0);
        }
        if let Some(count) = self.at_ports.get_mut(place) {
            *count = count.saturating_add(1);
        }
    }

    /// Keeps some stations only.
    fn retain(&mut self, keep: impl Fn(&Station) -> bool) {
        self.at_ports.clear();
        let mut left = Vec::new();
        self.stations.retain(|station| {
            let stays = keep(station);
            if stays {
                left.push(station.port);
            }
            stays
        });
        left.into_iter().for_each(|port| self.count_one(port));
    }

    fn put(&mut self, mac: MacAddr, port: u16, now: Instant, pinned: bool) {
        let secret = self.secret;
        let station = Station { mac, port, seen: now, moving_since: now, moves: 0, pinned };
        let _ = self.stations.insert_unique(secret.hash(mac), station, |s| secret.hash(s.mac));
        self.count_one(port);
    }

    /// A static station: it does not age and does not move.
    pub fn pin(&mut self, mac: MacAddr, port: u16) {
        self.forget(mac);
        self.put(mac, port, Instant::ZERO, true);
    }

    /// Forgets a station, static or not.
    pub fn forget(&mut self, mac: MacAddr) {
        if let Ok(entry) = self.stations.find_entry(self.secret.hash(mac), |s| s.mac == mac) {
            let (station, _) = entry.remove();
            if let Some(count) = self.at_ports.get_mut(usize::from(station.port)) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// Forgets all stations, or those that are not static.
    pub fn flush(&mut self, statics_too: bool) {
        self.retain(|s| s.pinned && !statics_too);
    }

    /// Forgets what was learned at some ports, in one walk.
    pub fn flush_ports(&mut self, ports: &[u16]) {
        let mut goes = vec![false; self.at_ports.len()];
        for port in ports {
            if let Some(goes) = goes.get_mut(usize::from(*port)) {
                *goes = true;
            }
        }
        let goes = |port: u16| goes.get(usize::from(port)).copied().unwrap_or(false);
        self.retain(|s| s.pinned || !goes(s.port));
    }

    /// Forgets stations that have been silent for too long.
    pub fn age(&mut self, now: Instant) {
        let timeout = self.settings.timeout;
        self.retain(|s| s.pinned || timeout.is_none_or(|t| now.since(s.seen) < t));
    }

    fn is_known(&self, station: &Station, now: Instant) -> bool {
        station.pinned || self.settings.timeout.is_none_or(|t| now.since(station.seen) < t)
    }

    /// Stations that are known now.
    pub fn rows(&self, now: Instant) -> impl Iterator<Item = Row> + '_ {
        let known = self.stations.iter().filter(move |s| self.is_known(s, now));
        known.map(move |s| Row {
            mac: s.mac,
            port: s.port,
            pinned: s.pinned,
            age: if s.pinned { Duration::ZERO } else { now.since(s.seen) },
        })
    }

    /// How many stations there are, those past their time with them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stations.len()
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stations.is_empty()
    }
}

impl Station {
    /// It is heard at another port.
    #[cold]
    fn move_to(&mut self, port: u16, now: Instant) -> Result<Change, Refusal> {
        if self.pinned {
            return Err(Refusal::Static);
        }
        if now.since(self.moving_since) >= MOVES_TIME {
            (self.moving_since, self.moves) = (now, 0);
        }
        if self.moves >= MOVES_MAX {
            return Err(Refusal::Moving);
        }
        self.moves = self.moves.saturating_add(1);
        (self.port, self.seen) = (port, now);
        Ok(Change::Moved)
    }
}

#[cfg(test)]
mod tests;
