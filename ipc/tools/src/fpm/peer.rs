//! Whose connection it is: the kernel knows the user of each socket of this host.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};

use crate::fail::Failure;

/// The users who may give routes: root, this process's, and the routing daemons' or another.
pub(super) fn trusted(named: Option<&str>) -> Result<Vec<u32>, Failure> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let own = rustix::process::geteuid().as_raw();
    let other = match named {
        None => lookup(&passwd, "frr"),
        Some(name) => {
            Some(name.parse().ok().or_else(|| lookup(&passwd, name)).ok_or_else(|| {
                Failure::usage(format!(
                    "--user {name}: there is no such user; give a name or a number"
                ))
            })?)
        }
    };
    Ok([0, own].into_iter().chain(other).collect())
}

fn lookup(passwd: &str, name: &str) -> Option<u32> {
    let mut lines = passwd.lines().map(|line| line.split(':'));
    let mut fields = lines.find(|fields| fields.clone().next() == Some(name))?;
    fields.nth(2)?.parse().ok()
}

/// The user of the socket at the other end.
///
/// # Errors
/// It is no socket of this host, or the kernel does not say.
pub(super) fn owner(stream: &TcpStream) -> io::Result<u32> {
    let (theirs, ours) = (stream.peer_addr()?, stream.local_addr()?);
    let file = if theirs.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    let table = fs::read_to_string(file)?;
    let absent = || io::Error::new(io::ErrorKind::NotFound, format!("{file} does not have it"));
    find(&table, theirs, ours).ok_or_else(absent)
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid …`
fn find(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let (local, remote) = (written(local), written(remote));
    let mut rows = table.lines().map(str::split_ascii_whitespace);
    let mut row = rows.find(|row| {
        let mut fields = row.clone().skip(1);
        fields.next() == Some(&local) && fields.next() == Some(&remote)
    })?;
    row.nth(7)?.parse().ok()
}

/// As the kernel writes it: words of four bytes in the machine's order.
fn written(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).filter_map(|word| word.first_chunk().copied());
    let text: String = words.map(|word| format!("{:08X}", u32::from_ne_bytes(word))).collect();
    format!("{text}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_connection_of_ours_is_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        assert_eq!(owner(&stream).unwrap(), rustix::process::geteuid().as_raw());
    }

    #[test]
    fn a_connection_that_is_not_there_is_nobodys() {
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:1234 0100007F:0A3C 01 00000000:00000000 \
                     00:00000000 00000000  1000        0 1 1 0\n";
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        if cfg!(target_endian = "little") {
            assert_eq!(find(table, at(0x1234), at(2620)), Some(1000));
        }
        assert_eq!(find(table, at(0x1235), at(2620)), None);
    }

    #[test]
    fn users_are_found_by_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nfrr:x:107:115::/nonexistent:/bin/false\n";
        assert_eq!(lookup(passwd, "frr"), Some(107));
        assert_eq!(lookup(passwd, "fr"), None);
    }
}
