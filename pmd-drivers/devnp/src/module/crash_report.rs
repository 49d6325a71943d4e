//! What is said of a crash, in one line: which fault, at which address, in the code of which file,
//! on which thread. Written in a signal handler: no memory is asked for, no lock taken.

use core::ffi::c_void;
use core::fmt::{self, Write as _};

/// The longest report.
const LINE: usize = 512;
/// What is read of the process's map at once: longer than any line of it.
const MAP: usize = 1024;

/// Text of limited length; what is too long is cut.
pub(super) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    const EMPTY: Self = Self { bytes: [0; N], len: 0 };

    pub(super) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, bytes: &[u8]) {
        let free = self.bytes.get_mut(self.len..).unwrap_or_default();
        let fits = bytes.len().min(free.len());
        for (to, from) in free.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.len += fits;
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// What the kernel says of a fault.
pub(super) struct Fault {
    name: &'static str,
    /// The address that could not be used.
    address: usize,
    /// The instruction.
    code: usize,
    /// Somebody sent the signal: there was no fault.
    sender: Option<i32>,
}

impl Fault {
    /// # Safety
    /// A signal handler's arguments, in the handler.
    pub(super) unsafe fn read(
        name: &'static str,
        info: *const libc::siginfo_t,
        context: *const c_void,
    ) -> Self {
        // SAFETY: by this function's contract; null is none.
        let info = unsafe { info.as_ref() };
        // SAFETY: the member that faults set, else the bits of another one.
        let address = info.map_or(0, |info| unsafe { info.si_addr() } as usize);
        let sent = info.filter(|info| matches!(info.si_code, libc::SI_USER | libc::SI_TKILL));
        // SAFETY: the member that is set when somebody has sent the signal.
        let sender = sent.map(|info| unsafe { info.si_pid() });
        // SAFETY: by this function's contract.
        let context = unsafe { context.cast::<libc::ucontext_t>().as_ref() };
        Self { name, address, code: context.map_or(0, instruction), sender }
    }
}

#[cfg(target_arch = "x86_64")]
fn instruction(context: &libc::ucontext_t) -> usize {
    let registers = &context.uc_mcontext.gregs;
    let at = usize::try_from(libc::REG_RIP).unwrap_or(usize::MAX);
    registers.get(at).map_or(0, |value| usize::try_from(*value).unwrap_or(0))
}

#[cfg(target_arch = "aarch64")]
fn instruction(context: &libc::ucontext_t) -> usize {
    usize::try_from(context.uc_mcontext.pc).unwrap_or(0)
}

/// The report.
pub(super) fn line(fault: &Fault, stopped: usize) -> Text<LINE> {
    let mut text = Text::<LINE>::EMPTY;
    // A text that is full says so to nobody.
    let _ = write!(text, "io-pkt: {}", fault.name);
    let _ = match fault.sender {
        Some(pid) => write!(text, " sent by process {pid}"),
        None => write!(text, " at address {:#x}", fault.address),
    };
    text.push(b", in ");
    match object_at(fault.code) {
        Some((file, offset)) => {
            text.push(file.as_bytes());
            let _ = write!(text, "+{offset:#x}");
        }
        None => {
            let _ = write!(text, "code at {:#x}", fault.code);
        }
    }
    text.push(b", thread ");
    text.push(thread_name().split(|byte| *byte == 0).next().unwrap_or_default());
    let _ = writeln!(text, ": {stopped} port(s) stopped by their modules, aborting");
    text
}

/// The calling thread's name, with its terminator.
fn thread_name() -> [u8; 16] {
    let mut name = [0_u8; 16];
    // SAFETY: room for the 16 bytes that the kernel writes, terminator included. If it fails, the name
    // stays empty.
    let _ = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    name
}

/// The file whose code this is, and the place in it.
fn object_at(code: usize) -> Option<(Text<256>, usize)> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: a C string; open is allowed in a handler.
    let file = unsafe { libc::open(c"/proc/self/maps".as_ptr(), flags) };
    if file < 0 {
        return None;
    }
    let mut chunk = [0_u8; MAP];
    let mut line = Text::<MAP>::EMPTY;
    loop {
        // SAFETY: room for as many bytes; read is allowed in a handler.
        let read = unsafe { libc::read(file, chunk.as_mut_ptr().cast(), chunk.len()) };
        let read = usize::try_from(read).unwrap_or(0);
        if read == 0 {
            return None;
        }
        for byte in chunk.get(..read).unwrap_or_default() {
            if *byte != b'\n' {
                line.push(&[*byte]);
                continue;
            }
            if let Some(found) = place_in(line.as_bytes(), code) {
                return Some(found);
            }
            line.len = 0;
        }
    }
}

/// `55d0c0000000-55d0c0200000 r-xp 00042000 fe:00 1234    /usr/sbin/io-pkt`
fn place_in(line: &[u8], code: usize) -> Option<(Text<256>, usize)> {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let mut range = words.next()?.split(|byte| *byte == b'-');
    let (from, to) = (hex(range.next()?)?, hex(range.next()?)?);
    let offset = hex(words.nth(1)?)?;
    if !(from..to).contains(&code) {
        return None;
    }
    let mut file = Text::EMPTY;
    file.push(words.nth(2).unwrap_or(b"memory"));
    Some((file, code.wrapping_sub(from).wrapping_add(offset)))
}

fn hex(word: &[u8]) -> Option<usize> {
    usize::from_str_radix(str::from_utf8(word).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_map_says_whose_code_it_is() {
        let line = b"7f00a000-7f00c000 r-xp 00001000 fe:00 99    /lib/devnp-x.so";
        let (file, offset) = place_in(line, 0x7f00_a123).unwrap();
        assert_eq!((file.as_bytes(), offset), (&b"/lib/devnp-x.so"[..], 0x1123));
        assert!(place_in(line, 0x7f00_c000).is_none());
        assert!(place_in(b"", 1).is_none());
    }

    #[test]
    fn a_report_names_the_fault_the_file_and_the_thread() {
        let code = line as *const () as usize;
        let fault = Fault { name: "SIGSEGV", address: 16, code, sender: None };
        let report = line(&fault, 2);
        let text = str::from_utf8(report.as_bytes()).unwrap();
        assert!(text.starts_with("io-pkt: SIGSEGV at address 0x10, in /"), "{text}");
        assert!(text.contains("/devnp-") && text.contains("+0x"), "{text}");
        assert!(text.ends_with(": 2 port(s) stopped by their modules, aborting\n"), "{text}");
        let sent = Fault { sender: Some(7), code: 1, ..fault };
        let report = line(&sent, 0);
        let text = str::from_utf8(report.as_bytes()).unwrap();
        assert!(text.starts_with("io-pkt: SIGSEGV sent by process 7, in code at 0x1,"), "{text}");
    }

    #[test]
    fn a_text_that_is_too_long_is_cut() {
        let mut text = Text::<4>::EMPTY;
        text.push(b"abc");
        text.push(b"def");
        assert_eq!(text.as_bytes(), b"abcd");
    }
}
