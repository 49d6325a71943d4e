//! Calls of a node that are under way together: reads of one request, and writes whose answers nobody has waited
//! for yet.
//!
//! A call takes as long as a message to the node and back, however short it is. A program that writes gets its
//! answer when the piece is on its way; what has become of it is told by the next write, or at the latest when the
//! file is closed, as by other network file systems. Whatever else is asked of that file waits until its
//! pieces have arrived.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::qnet::{FILE_BYTES_MAX, FileCall, FileReply};
use rustix::io::Errno;

use crate::qnet::door::{Doors, UnderWay};

/// Calls for one file under way: twice what a node does at a time for another, so that its next ones are there.
const CALLS_MAX: usize = 16;

/// The node's name, and the path there.
pub(crate) fn split(path: &str) -> Result<(&str, &str), Errno> {
    let (node, path) = path.split_once('/').unwrap_or((path, ""));
    if node.is_empty() { Err(Errno::PERM) } else { Ok((node, path)) }
}

/// Reads `len` bytes of a file, fewer at its end.
pub(crate) fn read(doors: &Doors, path: &str, offset: u64, len: u32) -> Result<Vec<u8>, Errno> {
    let (node, file) = split(path)?;
    let mut data = Vec::with_capacity(len as usize);
    let (mut under_way, mut asked) = (VecDeque::new(), 0_u32);
    loop {
        while asked < len && under_way.len() < CALLS_MAX {
            let part = (len - asked).min(FILE_BYTES_MAX);
            let offset = offset.saturating_add(asked.into());
            let call = FileCall::Read { path: file.to_owned(), offset, len: part };
            match doors.begin(node, &call) {
                Ok(begun) => under_way.push_back((begun, part as usize)),
                // There may be one again when another call is done.
                Err(_) if !under_way.is_empty() => break,
                Err(errno) => return Err(errno),
            }
            asked += part;
        }
        let Some((begun, part)) = under_way.pop_front() else { return Ok(data) };
        match doors.end(begun)? {
            FileReply::Data(read) if read.len() <= part => {
                let short = read.len() < part;
                data.extend(read);
                if short {
                    return Ok(data);
                }
            }
            _ => return Err(Errno::PROTO),
        }
    }
}

/// A piece that is on its way.
#[derive(Debug)]
struct Piece {
    begun: UnderWay,
    offset: u64,
    data: Vec<u8>,
}

/// What is written to one file.
#[derive(Debug, Default)]
struct Writes {
    pieces: VecDeque<Piece>,
    /// Why an earlier piece is not there; whoever writes or closes next is told.
    failed: Option<Errno>,
}

/// Writes under way, by file.
#[derive(Debug, Default)]
pub(crate) struct Behind(Mutex<BTreeMap<String, Arc<Mutex<Writes>>>>);

impl Behind {
    /// Sends what is to be written.
    ///
    /// # Errors
    /// It can't be sent, or an earlier piece has not been written.
    pub(crate) fn write(
        &self,
        doors: &Doors,
        path: &str,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Errno> {
        let writes = Arc::clone(self.files().entry(path.to_owned()).or_default());
        let mut writes = lock(&writes);
        let mut offset = offset;
        for part in data.chunks(FILE_BYTES_MAX as usize) {
            writes.write(doors, path, offset, part);
            offset = offset.saturating_add(part.len() as u64);
        }
        writes.failed.take().map_or(Ok(()), Err)
    }

    /// Waits until everything that was written to a file is there.
    pub(crate) fn settle(&self, doors: &Doors, path: &str) {
        let writes = self.files().get(path).cloned();
        if let Some(writes) = writes {
            lock(&writes).settle(doors, path);
        }
    }

    /// Waits until everything that was written is there.
    pub(crate) fn settle_all(&self, doors: &Doors) {
        let paths: Vec<String> = self.files().keys().cloned().collect();
        paths.iter().for_each(|path| self.settle(doors, path));
    }

    /// As [`settle`](Self::settle), and tells whether it is there.
    ///
    /// # Errors
    /// A piece has not been written.
    pub(crate) fn finish(&self, doors: &Doors, path: &str) -> Result<(), Errno> {
        let Some(writes) = self.files().get(path).cloned() else { return Ok(()) };
        let mut one = lock(&writes);
        one.settle(doors, path);
        let failed = one.failed.take();
        drop(one);
        let mut files = self.files();
        // Nobody but this call and the table has it, so nobody writes.
        if Arc::strong_count(&writes) == 2 {
            let _ = files.remove(path);
        }
        failed.map_or(Ok(()), Err)
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Mutex<Writes>>>> {
        lock(&self.0)
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writes {
    fn write(&mut self, doors: &Doors, path: &str, offset: u64, data: &[u8]) {
        let end = offset.saturating_add(data.len() as u64);
        let overlaps = |piece: &Piece| {
            piece.offset < end && offset < piece.offset.saturating_add(piece.data.len() as u64)
        };
        // Calls by different doors may overtake each other.
        if self.pieces.iter().any(overlaps) {
            self.settle(doors, path);
        }
        loop {
            if self.pieces.len() < CALLS_MAX {
                match begin(doors, path, offset, data) {
                    Ok(begun) => {
                        return self.pieces.push_back(Piece { begun, offset, data: data.to_vec() });
                    }
                    Err(errno) if self.pieces.is_empty() => return self.fail(errno),
                    // There may be a door again when another call is done.
                    Err(_) => {}
                }
            }
            self.end_first(doors, path);
        }
    }

    fn settle(&mut self, doors: &Doors, path: &str) {
        while !self.pieces.is_empty() {
            self.end_first(doors, path);
        }
    }

    fn end_first(&mut self, doors: &Doors, path: &str) {
        let Some(Piece { begun, mut offset, data }) = self.pieces.pop_front() else { return };
        let (mut rest, mut reply) = (&data[..], doors.end(begun));
        loop {
            let written = match reply {
                Ok(FileReply::Written(count)) if (1..=rest.len()).contains(&(count as usize)) => {
                    count
                }
                Ok(_) => return self.fail(Errno::PROTO),
                Err(errno) => return self.fail(errno),
            };
            rest = rest.get(written as usize..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            // A disk that is full, for example, takes a part and then says why.
            offset = offset.saturating_add(written.into());
            reply = begin(doors, path, offset, rest).and_then(|begun| doors.end(begun));
        }
    }

    fn fail(&mut self, errno: Errno) {
        let _first = self.failed.get_or_insert(errno);
    }
}

fn begin(doors: &Doors, path: &str, offset: u64, data: &[u8]) -> Result<UnderWay, Errno> {
    let (node, path) = split(path)?;
    doors.begin(node, &FileCall::Write { path: path.to_owned(), offset, data: data.to_vec() })
}

#[cfg(test)]
mod tests;
