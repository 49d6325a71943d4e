//! Clients of a world beside its first.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use inet::Pools;
use inet::command::Command;
use shm::{Arena, ClientFiles, ClientMap, Share, SlotFiles, WorkersPage};

use crate::World;

/// Number of a client that is hostile.
const ENEMY: u16 = 1;
/// Packets that it may be lent where packets are lent: so few that they end.
const ENEMY_LOANS: u32 = 16;

impl World {
    /// One more client; its number.
    ///
    /// # Errors
    /// What the kernel refused, as text.
    pub fn add_client(&mut self) -> Result<u16, String> {
        self.add_client_of(Share::default())
    }

    /// One more client, whose user has this share; its number.
    ///
    /// # Errors
    /// What the kernel refused, as text.
    pub fn add_client_of(&mut self, share: impl Into<Arc<Share>>) -> Result<u16, String> {
        let (lane, map, write) = attach_client(&self.arena, share.into(), &self.pools)?;
        self.others.push(map);
        self.written.push(write);
        let client = u16::try_from(self.others.len()).map_err(|e| e.to_string())?;
        self.send(Command::Attach { client, lane });
        self.breathe();
        Ok(client)
    }

    /// A client that has its memory as files, to write into them what the library never would; its number. There
    /// is one at a time: the next takes its place once it is detached.
    ///
    /// # Errors
    /// What the kernel refused, as text.
    pub fn add_enemy(&mut self) -> Result<(u16, SlotFiles), String> {
        let loans = if self.pools.shown.is_some() { ENEMY_LOANS } else { 0 };
        let share = Arc::new(Share::default().lending(loans));
        let (slot, files) = self.arena.attach(1, share).map_err(|e| e.to_string())?;
        let lane = slot.lane(0).ok_or("no lane")?;
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|e| e.to_string());
        let own = SlotFiles { read: copy(&files.read)?, write: copy(&files.write)? };
        self.others = vec![map_client(files, None)?];
        self.send(Command::Attach { client: ENEMY, lane });
        self.breathe();
        Ok((ENEMY, own))
    }

    /// A client that was added writes into the memory that it may write.
    ///
    /// # Errors
    /// The kernel's refusal, as text.
    pub fn scribble(&self, client: u16, at: u64, bytes: &[u8]) -> Result<(), String> {
        let file = usize::from(client).checked_sub(1).and_then(|other| self.written.get(other));
        let written = rustix::io::pwrite(file.ok_or("no such client")?, bytes, at);
        written.map(|_| ()).map_err(|e| e.to_string())
    }
}

/// A client's memory, from both sides.
pub(crate) fn attach_client(
    arena: &Arc<Arena>,
    share: Arc<Share>,
    pools: &Pools,
) -> Result<(shm::Lane, Arc<ClientMap>, OwnedFd), String> {
    let packets = pools.shown.as_ref().filter(|_| share.lends());
    let packets = packets.map(|shown| shown.memory().file().try_clone_to_owned());
    let packets = packets.transpose().map_err(|e| e.to_string())?;
    let (slot, files) = arena.attach(1, share).map_err(|e| e.to_string())?;
    let lane = slot.lane(0).ok_or("no lane")?;
    let write = files.write.try_clone().map_err(|e| e.to_string())?;
    Ok((lane, map_client(files, packets)?, write))
}

/// A client's own mapping of its memory.
fn map_client(files: SlotFiles, packets: Option<OwnedFd>) -> Result<Arc<ClientMap>, String> {
    let (_page, workers) = WorkersPage::create(1).map_err(|e| e.to_string())?;
    let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK);
    let doorbells = vec![bell.map_err(|e| e.to_string())?];
    let SlotFiles { read, write } = files;
    let files = ClientFiles { read, write, workers, packets, doorbells };
    ClientMap::map(files).map_err(|e| e.to_string())
}
