//! Addresses of sockets on the wire, with the link of those that need one: serde's own form leaves it out.

use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// For `#[serde(with = "address")]`.
///
/// # Errors
/// The serializer's.
pub(crate) fn serialize<S: Serializer>(address: &SocketAddr, to: S) -> Result<S::Ok, S::Error> {
    let scope = match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    };
    (address.ip(), address.port(), scope).serialize(to)
}

/// For `#[serde(with = "address")]`.
///
/// # Errors
/// The deserializer's.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let (ip, port, scope) = <(IpAddr, u16, u32)>::deserialize(from)?;
    let mut address = SocketAddr::new(ip, port);
    if let SocketAddr::V6(v6) = &mut address {
        v6.set_scope_id(scope);
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use crate::Reply;

    #[test]
    fn an_address_keeps_its_link() {
        for name in ["198.18.77.1:7", "[fe80::1%3]:9", "[::]:0"] {
            let reply = Reply::Name(name.parse().unwrap());
            assert_eq!(crate::parse::<Reply>(&crate::emit(&reply).unwrap()).unwrap(), reply);
        }
    }
}
