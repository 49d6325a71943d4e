//! Another node: who it is, and the paths to it.

use types::Instant;

use crate::config::{Address, LinkId};
use crate::limits::{PATHS_MAX, PINGS, RETIRED, STRIKES};
use crate::names::Fqnn;

/// The number of a node here. Numbers are given anew when a node has been forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u16);

/// A way to a node: an interface of ours and an address of its.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) link: LinkId,
    pub(crate) address: Address,
    pub(crate) frame_len_max: usize,
    /// Frames arrive there, as far as we know.
    pub(crate) up: bool,
    /// Frames lost since one was acknowledged.
    pub(crate) strikes: u32,
    pub(crate) heard: Instant,
    /// Pings since one was answered, and what the answer has to say.
    pub(crate) pings: u32,
    pub(crate) token: u32,
}

/// Another node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: Fqnn,
    /// Our number there, 0 before it told us.
    pub(crate) number_there: u16,
    /// A path keeps its place: connections count what is in flight by it.
    pub(crate) paths: Vec<Path>,
    pub(crate) heard: Instant,
    /// Connections of theirs that are over, the latest last.
    retired: Vec<u32>,
}

impl Node {
    pub(crate) fn new(name: Fqnn, now: Instant) -> Self {
        Self { name, number_there: 0, paths: Vec::new(), heard: now, retired: Vec::new() }
    }

    /// A frame has come this way. A way that is new takes a free place or that of one that is down; returns
    /// its place and whether it is new, or `None` if there is none.
    pub(crate) fn heard(
        &mut self,
        link: LinkId,
        address: Address,
        frame_len_max: usize,
        now: Instant,
    ) -> Option<(usize, bool)> {
        self.heard = now;
        let same = |path: &Path| path.link == link && path.address == address;
        if let Some(at) = self.paths.iter().position(same) {
            if let Some(path) = self.paths.get_mut(at) {
                path.heard = now;
            }
            return Some((at, false));
        }
        let path = Path {
            link,
            address,
            frame_len_max,
            up: true,
            strikes: 0,
            heard: now,
            pings: 0,
            token: 0,
        };
        if self.paths.len() < PATHS_MAX {
            self.paths.push(path);
            return Some((self.paths.len().saturating_sub(1), true));
        }
        let at = self.paths.iter().position(|path| !path.up)?;
        *self.paths.get_mut(at)? = path;
        Some((at, true))
    }

    /// A connection of theirs is over and must not begin again.
    pub(crate) fn retire(&mut self, connection: u32) {
        if self.retired.len() >= RETIRED {
            drop(self.retired.drain(..1));
        }
        self.retired.push(connection);
    }

    pub(crate) fn is_retired(&self, connection: u32) -> bool {
        self.retired.contains(&connection)
    }
}

impl Path {
    /// A frame that went this way was acknowledged.
    pub(crate) fn works(&mut self) {
        self.strikes = 0;
    }

    /// A frame that went this way is lost.
    pub(crate) fn strike(&mut self) {
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes >= STRIKES {
            self.up = false;
        }
    }

    /// A ping goes out, or is not answered.
    pub(crate) fn pinged(&mut self, token: u32) {
        self.token = token;
        self.pings = self.pings.saturating_add(1);
        if self.pings > PINGS {
            self.up = false;
        }
    }

    /// A ping is answered: returns whether that brings the path up.
    pub(crate) fn answered(&mut self, token: u32) -> bool {
        if self.pings == 0 || token != self.token {
            return false;
        }
        self.pings = 0;
        self.strikes = 0;
        !core::mem::replace(&mut self.up, true)
    }
}
