//! `SO_BINDTODEVICE`, `SO_BINDTOIFINDEX`: sockets that are bound to an interface. `SO_SETFIB`: those that look at
//! another table of routes.

use inet::command::SocketOption;
use rustix::io::Errno;

use crate::connection::Connection;
use crate::control::{ConnectionId, Control, SocketKey};
use crate::network_state::NetworkState;
use crate::options::sol as o;

impl Control {
    /// `setsockopt()`. `None`: it is another option.
    ///
    /// # Errors
    /// `ENODEV`; `EPERM` for who would change what a socket is bound to; `EINVAL`.
    pub(crate) fn set_device(
        &mut self,
        id: ConnectionId,
        key: SocketKey,
        (level, name): (i32, i32),
        value: &[u8],
    ) -> Result<Option<SocketOption>, Errno> {
        let device = match (level, name) {
            (o::SOCKET, o::SO_BINDTODEVICE) => self.network.device_named(value)?,
            (o::SOCKET, o::SO_BINDTOIFINDEX) => NetworkState::device_numbered(value)?,
            (o::SOCKET, o::SO_SETFIB) => return self.set_fib(key, value).map(Some),
            _ => return Ok(None),
        };
        let entry = self.sockets.get(&key).ok_or(Errno::BADF)?;
        let (transport, local) = (entry.transport, entry.local());
        let mut values = *entry.values;
        let privileged = |c: &Connection| c.is_privileged(&self.facts.trusted);
        if values.device.interface().is_some() && !self.connections.get(&id).is_some_and(privileged)
        {
            return Err(Errno::PERM);
        }
        let device = device.in_table(values.device.table());
        values.device = device;
        self.set_values(key, values);
        if let Some(local) = local {
            self.ports.set_device(transport, local.port(), key.0, device);
        }
        if self.network.use_device(device) {
            self.publish_to_workers();
        }
        Ok(Some(SocketOption::Device(device)))
    }

    /// The table of routes by which a socket's packets go; it is for everybody to choose, as in FreeBSD.
    fn set_fib(&mut self, key: SocketKey, value: &[u8]) -> Result<SocketOption, Errno> {
        let number = i32::from_ne_bytes(*value.first_chunk().ok_or(Errno::INVAL)?);
        let number = u8::try_from(number).map_err(|_| Errno::INVAL)?;
        let mut values = *self.sockets.get(&key).ok_or(Errno::BADF)?.values;
        if self.network.use_table(number)? {
            self.publish_to_workers();
        }
        values.device = values.device.in_table(number);
        self.set_values(key, values);
        Ok(SocketOption::Device(values.device))
    }

    /// `getsockopt()`. `None`: it is another option.
    pub(crate) fn device_value(&self, key: SocketKey, level: i32, name: i32) -> Option<Vec<u8>> {
        let device = self.sockets.get(&key)?.values.device;
        match (level, name) {
            (o::SOCKET, o::SO_BINDTODEVICE) => {
                let mut value = Vec::new();
                if let Some(name) = device.interface().and_then(|i| self.network.name_of(i)) {
                    value.extend(name.bytes());
                    value.push(0);
                }
                Some(value)
            }
            (o::SOCKET, o::SO_BINDTOIFINDEX) => {
                let number = device.interface().map_or(0, |index| u32::from(index) + 1);
                Some(number.to_ne_bytes().to_vec())
            }
            (o::SOCKET, o::SO_SETFIB) => Some(u32::from(device.table()).to_ne_bytes().to_vec()),
            _ => None,
        }
    }
}
