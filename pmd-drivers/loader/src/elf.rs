//! A look at a shared object before the dynamic linker maps it: one that is cut short would make the
//! linker read beyond the file's end, which is SIGBUS.

/// The header of an ELF file of 64 bits.
const HEADER: usize = 64;
/// One of its program headers.
const SEGMENT: usize = 56;
/// `ET_DYN`: a shared object.
const SHARED_OBJECT: u16 = 3;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// Whether the file is a shared object of this machine with all its parts.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn check(file: &[u8]) -> Result<(), String> {
    let short = || format!("it is cut short: {} bytes", file.len());
    let header = file.get(..HEADER).ok_or_else(short)?;
    // 64 bits, little-endian.
    if !header.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return Err("not an ELF file of 64 bits".into());
    }
    if half(header, 16) != Some(SHARED_OBJECT) {
        return Err("not a shared object".into());
    }
    if half(header, 18) != Some(MACHINE) {
        return Err("made for another machine".into());
    }
    let at = word(header, 32).ok_or_else(short)?;
    let count = half(header, 56).unwrap_or(0);
    for n in 0..usize::from(count) {
        let from = at.checked_add(n * SEGMENT).ok_or_else(short)?;
        let segment = from.checked_add(SEGMENT).and_then(|to| file.get(from..to));
        let segment = segment.ok_or_else(short)?;
        let (offset, len) = (word(segment, 8), word(segment, 32));
        let end = offset.zip(len).and_then(|(offset, len)| offset.checked_add(len));
        if end.is_none_or(|end| end > file.len()) {
            return Err(short());
        }
    }
    // The sections come last: without them something is missing.
    let sections = word(header, 40).zip(half(header, 58).zip(half(header, 60)));
    let end = sections.and_then(|(at, (size, count))| {
        at.checked_add(usize::from(size).checked_mul(usize::from(count))?)
    });
    if end.is_none_or(|end| end > file.len()) { Err(short()) } else { Ok(()) }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let value = bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)?;
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test binary itself is a position-independent executable: a shared object to ELF.
    fn sample() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_whole_file_passes() {
        assert_eq!(check(&sample()), Ok(()));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let file = sample();
        for len in [0, 1, 63, 64, 100, 4096, file.len() / 2, file.len() - 1] {
            assert!(check(&file[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        assert!(check(&[b'#'; 4096]).is_err());
        let mut file = sample();
        file[18] ^= 0xff;
        assert_eq!(check(&file), Err("made for another machine".into()));
    }
}
