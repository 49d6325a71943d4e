//! The checksum of an LWL4 frame: CRC-32/MPEG-2, but from 0.
//!
//! Polynomial 0x04c11db7, most significant bit first, no inversion at the end.

/// What a byte at the top of the register makes of it.
const TABLE: [u32; 256] = table();

/// Carries `crc` on over `bytes`; begin with 0.
pub(crate) fn carry_on(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        let [top, ..] = crc.to_be_bytes();
        let entry = TABLE.get(usize::from(top ^ byte)).copied().unwrap_or(0);
        (crc << 8) ^ entry
    })
}

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0_usize;
    let mut start = 0_u32;
    while at < table.len() {
        let mut crc = start;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & (1 << 31) == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
        start = start.wrapping_add(1 << 24);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The catalogue's check value of CRC-32/MPEG-2 is 0x0376e6e7 for a register that begins with ones.
    #[test]
    fn the_polynomial_is_the_catalogue_s() {
        assert_eq!(carry_on(u32::MAX, b"123456789"), 0x0376_e6e7);
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        assert_eq!(carry_on(carry_on(0, b"1234"), b"56789"), carry_on(0, b"123456789"));
    }
}
