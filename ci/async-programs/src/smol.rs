//! A client on async-io, which takes the library's sockets as they are.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};

use async_io::Async;
use futures_lite::future::{block_on, try_zip};
use io_pkt_client::TcpStream;

use crate::LEN;

/// Sends and reads back at the same time.
pub(crate) fn round_trip(address: SocketAddr) -> io::Result<()> {
    let stream = Async::new(TcpStream::connect_nonblocking(address)?)?;
    let sent: Vec<u8> = (0..LEN).map(|at| at.to_le_bytes()[0]).collect();
    let write = async {
        stream.writable().await?;
        if let Some(error) = stream.get_ref().take_error()? {
            return Err(error);
        }
        let mut rest = sent.as_slice();
        while !rest.is_empty() {
            let len = stream.write_with(|mut stream| stream.write(rest)).await?;
            rest = rest.get(len..).unwrap_or_default();
        }
        stream.get_ref().shutdown(Shutdown::Write)
    };
    let read = async {
        stream.writable().await?;
        let (mut came, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let len = stream.read_with(|mut stream| stream.read(&mut buffer)).await?;
            if len == 0 {
                return Ok(came);
            }
            came.extend_from_slice(buffer.get(..len).unwrap_or_default());
        }
    };
    let ((), came) = block_on(try_zip(write, read))?;
    println!(
        "{} of {} bytes are the same",
        came.iter().zip(&sent).filter(|(a, b)| a == b).count(),
        sent.len()
    );
    Ok(())
}
