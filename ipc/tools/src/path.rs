//! `iopkt path`: a path of a protocol module, `<run><prefix>/dev/NAME`, read and written.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use proto::path::{PATH_BYTES_MAX, PathAnswer, PathCall, PathReply};
use proto::{MESSAGE_MAX, paths};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::cli::{PathAction, PathArgs};
use crate::control::{ANSWER_TIME_MAX, dial, prefix};
use crate::fail::Failure;
use crate::output::escape;

/// Runs `path`.
pub(crate) fn main(sock: Option<String>, args: PathArgs) -> Result<(), Failure> {
    match args.action {
        PathAction::Read { name } => read(&mut Path::open(sock, &name)?),
        PathAction::Write { name, text } => {
            let data = match text {
                Some(text) => text.into_bytes(),
                None => standard_input()?,
            };
            write(&mut Path::open(sock, &name)?, &data)
        }
        PathAction::Ioctl { name, request, text } => {
            let data = text.unwrap_or_default().into_bytes();
            let call = PathCall::Ioctl { request, data, room: PATH_BYTES_MAX };
            print_data(&Path::open(sock, &name)?.data(&call)?)
        }
    }
}

/// An open path.
struct Path {
    name: String,
    socket: OwnedFd,
}

impl Path {
    fn open(sock: Option<String>, name: &str) -> Result<Self, Failure> {
        let path = if name.contains('/') {
            PathBuf::from(name)
        } else {
            paths::socket_path(&prefix(sock)).with_file_name(name)
        };
        let shown = escape(&path.to_string_lossy());
        let hint = "no protocol module serves it; see: iopkt modules";
        let socket =
            dial(&path).map_err(|errno| Failure::refused(&shown, errno.raw_os_error(), hint))?;
        let path = Self { name: shown, socket };
        match path.answer()? {
            PathReply::Opened => Ok(path),
            _ => Err(path.broken()),
        }
    }

    fn call(&mut self, call: &PathCall) -> Result<PathReply, Failure> {
        // Only an ioctl's text is not cut into parts.
        let bytes = proto::emit(call).map_err(|proto::MalformedMessage| {
            Failure::usage(format!("an ioctl takes at most {PATH_BYTES_MAX} bytes of text"))
        })?;
        let sent = send(&self.socket, &bytes, SendFlags::NOSIGNAL);
        let _all = sent.map_err(|errno| self.lost(errno))?;
        self.answer()
    }

    fn data(&mut self, call: &PathCall) -> Result<Vec<u8>, Failure> {
        match self.call(call)? {
            PathReply::Data(data) => Ok(data),
            _ => Err(self.broken()),
        }
    }

    fn answer(&self) -> Result<PathReply, Failure> {
        let mut buffer = vec![0; MESSAGE_MAX];
        let (_, len) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())
            .map_err(|errno| self.lost(errno))?;
        let PathAnswer(result) = proto::parse(buffer.get(..len).unwrap_or_default())
            .map_err(|proto::MalformedMessage| self.broken())?;
        result.map_err(|errno| self.failed(Errno::from_raw_os_error(errno)))
    }

    /// The connection has failed, not the module.
    fn lost(&self, errno: Errno) -> Failure {
        match errno {
            Errno::AGAIN => Failure::silent(self.name.as_ref(), ANSWER_TIME_MAX),
            errno => self.failed(errno),
        }
    }

    fn failed(&self, errno: Errno) -> Failure {
        Failure::refused(&self.name, errno.raw_os_error(), "the daemon's log may say more")
    }

    fn broken(&self) -> Failure {
        Failure::failed(format!("{}: what serves it is no io-pkt of this version", self.name))
    }
}

fn read(path: &mut Path) -> Result<(), Failure> {
    let mut offset = 0;
    loop {
        let data = path.data(&PathCall::Read { offset, len: PATH_BYTES_MAX })?;
        if data.is_empty() {
            return Ok(());
        }
        print_data(&data)?;
        offset += data.len() as u64;
    }
}

fn write(path: &mut Path, data: &[u8]) -> Result<(), Failure> {
    let mut offset = 0;
    while let Some(rest) = data.get(offset..).filter(|rest| !rest.is_empty()) {
        let part = rest.get(..PATH_BYTES_MAX as usize).unwrap_or(rest);
        let call = PathCall::Write { offset: offset as u64, data: part.to_vec() };
        match path.call(&call)? {
            PathReply::Written(count) if count > 0 => offset += count as usize,
            _ => return Err(path.broken()),
        }
    }
    Ok(())
}

fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut data = Vec::new();
    match std::io::stdin().lock().read_to_end(&mut data) {
        Ok(_) => Ok(data),
        Err(error) => Err(Failure::failed(format!("standard input: {error}"))),
    }
}

/// As it is: it may be anything.
fn print_data(data: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(data).and_then(|()| out.flush());
    written.map_err(|error| Failure::failed(format!("standard output: {error}")))
}
