//! Bytes that a seed determines, so that whoever receives them can check each.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use clap::ValueEnum;
use harness::frame::Random;

use crate::CHUNK;
use crate::client::connect;
use crate::sockets::{Kind, Stream};

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Way {
    Send,
    Receive,
}

/// The bytes of one stream: every reader can tell what the writer must have written.
struct Content {
    random: Random,
    left: u64,
}

impl Content {
    fn new(seed: u64, len: u64) -> Self {
        Self { random: Random::new(seed), left: len }
    }

    /// The next bytes; empty at the end.
    fn next(&mut self, chunk: &mut [u8; CHUNK]) -> usize {
        for word in chunk.as_chunks_mut().0 {
            *word = self.random.number().to_le_bytes();
        }
        let len = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
        self.left -= len as u64;
        len
    }

    fn write(mut self, stream: &mut Stream) -> io::Result<()> {
        let mut chunk = [0; CHUNK];
        loop {
            match self.next(&mut chunk) {
                0 => return Ok(()),
                len => stream.write_all(&chunk[..len])?,
            }
        }
    }

    /// Reads to the end and compares.
    fn check(mut self, stream: &mut Stream) -> io::Result<()> {
        let (mut want, mut got) = ([0; CHUNK], [0; CHUNK]);
        loop {
            let len = self.next(&mut want);
            if len == 0 {
                return Ok(());
            }
            stream.read_exact(&mut got[..len])?;
            if want[..len] != got[..len] {
                return Err(io::Error::new(ErrorKind::InvalidData, "other bytes than were sent"));
            }
        }
    }
}

/// The server's side of `verify`: seed and length, then the bytes, then an OK from the receiver.
pub(crate) fn serve_verify(stream: &mut Stream, way: Way) -> io::Result<()> {
    let mut words = [[0; 8]; 2];
    for word in &mut words {
        stream.read_exact(word)?;
    }
    let [seed, len] = words.map(u64::from_le_bytes);
    match way {
        Way::Send => Content::new(seed, len).check(stream)?,
        Way::Receive => Content::new(seed, len).write(stream)?,
    }
    stream.write_all(b"!")
}

fn verify_stream(kind: Kind, address: SocketAddr, way: Way, seed: u64, len: u64) -> io::Result<()> {
    let what = match way {
        Way::Send => b'v',
        Way::Receive => b'w',
    };
    let mut stream = connect(kind, address, what)?;
    stream.write_all(&seed.to_le_bytes())?;
    stream.write_all(&len.to_le_bytes())?;
    match way {
        Way::Send => Content::new(seed, len).write(&mut stream)?,
        Way::Receive => Content::new(seed, len).check(&mut stream)?,
    }
    stream.shutdown_write()?;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest)?;
    if rest != *b"!" {
        return Err(io::Error::new(ErrorKind::InvalidData, "the server did not agree"));
    }
    Ok(())
}

pub(crate) fn verify(
    kind: Kind,
    address: SocketAddr,
    way: Way,
    streams: u64,
    mib: u64,
) -> io::Result<()> {
    let len = (mib << 20) / streams.max(1);
    let started = Instant::now();
    let threads: Vec<_> = (0..streams)
        .map(|n| std::thread::spawn(move || verify_stream(kind, address, way, n, len)))
        .collect();
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a thread panicked"))??;
    }
    let gbit = (len * streams) as f64 * 8.0 / started.elapsed().as_secs_f64() / 1e9;
    println!("gbit {gbit:.4}");
    Ok(())
}
