//! The fast sum against RFC 1071's definition.

use core::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use wire::Checksum;
use wire::checksum::{update_u16, update_u32};

/// RFC 1071, 1: the definition, word by word.
fn naive_sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |sum: u16, word| {
        let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

/// Bytes that make carries likely: many of them 0xff or 0.
fn bytes(len_max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0xff_u8), Just(0_u8), any::<u8>()], 0..=len_max)
}

proptest! {
    #[test]
    fn fast_sum_is_the_definition(bytes in bytes(400)) {
        prop_assert_eq!(Checksum::new().sum(&bytes).folded(), naive_sum(&bytes));
    }

    #[test]
    fn pieces_at_any_offset_sum_to_the_whole(
        bytes in bytes(300), cuts in vec(any::<Index>(), 0..8)
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]);
        let sum = pieces.fold(Checksum::new(), Checksum::sum);
        prop_assert_eq!(sum.folded(), naive_sum(&bytes));
    }

    #[test]
    fn alignment_does_not_matter(bytes in bytes(300), shift in 0_usize..16) {
        let mut shifted = vec![0xa5; shift];
        shifted.extend_from_slice(&bytes);
        prop_assert_eq!(Checksum::new().sum(&shifted[shift..]).folded(), naive_sum(&bytes));
    }

    #[test]
    fn words_sum_like_their_bytes(a in any::<u16>(), b in any::<u32>()) {
        let bytes = [&a.to_be_bytes()[..], &b.to_be_bytes()].concat();
        prop_assert_eq!(Checksum::new().add_u16(a).add_u32(b).folded(), naive_sum(&bytes));
    }

    #[test]
    fn pseudo_header_sums_like_its_bytes(
        src in any::<Ipv4Addr>(), dst in any::<Ipv4Addr>(), protocol in any::<u8>(), len in any::<u16>()
    ) {
        // RFC 9293, 3.1: source, destination, zero, protocol, length.
        let [high, low] = len.to_be_bytes();
        let bytes = [&src.octets()[..], &dst.octets(), &[0, protocol, high, low]].concat();
        let pseudo = Checksum::pseudo_v4(src, dst, protocol, len);
        prop_assert_eq!(pseudo.folded(), naive_sum(&bytes));
    }

    #[test]
    fn bytes_with_their_checksum_are_valid_and_a_flipped_bit_is_not(
        mut bytes in bytes(200).prop_filter("room", |b| b.len() >= 2), bit in any::<Index>()
    ) {
        bytes[..2].fill(0);
        let checksum = Checksum::new().sum(&bytes).finish();
        bytes[..2].copy_from_slice(&checksum.to_be_bytes());
        prop_assert!(Checksum::new().sum(&bytes).is_valid());
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!Checksum::new().sum(&bytes).is_valid());
    }

    #[test]
    fn an_update_equals_a_new_sum(
        mut bytes in vec(any::<u8>(), 8..64), u16_new in any::<u16>(), u32_new in any::<u32>()
    ) {
        // A checksummed header is never all zeros; that keeps the two zeros of RFC 1624, 3 apart.
        bytes[0] = 0x45;
        let before = Checksum::new().sum(&bytes).finish();

        let u16_old = u16::from_be_bytes([bytes[2], bytes[3]]);
        bytes[2..4].copy_from_slice(&u16_new.to_be_bytes());
        let after = update_u16(before, u16_old, u16_new);
        prop_assert_eq!(after, Checksum::new().sum(&bytes).finish());

        let u32_old = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        bytes[4..8].copy_from_slice(&u32_new.to_be_bytes());
        let after = update_u32(after, u32_old, u32_new);
        prop_assert_eq!(after, Checksum::new().sum(&bytes).finish());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn fast_sum_of_long_buffers_is_the_definition(bytes in bytes(70_000)) {
        prop_assert_eq!(Checksum::new().sum(&bytes).folded(), naive_sum(&bytes));
    }

    #[test]
    fn a_copy_is_exact_and_summed(src in bytes(10_000), before in bytes(3)) {
        let mut dst = vec![0; src.len()];
        let sum = Checksum::new().sum(&before).copy_and_sum(&mut dst, &src);
        prop_assert_eq!(&dst, &src);
        prop_assert_eq!(sum.unwrap().folded(), naive_sum(&[before, src].concat()));
    }
}

#[test]
fn every_short_length_is_summed_to_its_last_byte() {
    for len in 0..200 {
        let bytes: Vec<u8> = (0..len).map(|i| 255 - i).collect();
        assert_eq!(Checksum::new().sum(&bytes).folded(), naive_sum(&bytes), "{len} bytes");
    }
}

#[test]
fn extremes_fold_to_the_right_zero() {
    assert_eq!(Checksum::new().finish(), 0xffff);
    assert_eq!(Checksum::new().sum(&[0; 1500]).finish(), 0xffff);
    assert_eq!(Checksum::new().sum(&[0xff; 1500]).finish(), 0);
    assert_eq!(Checksum::new().sum(&[0xff; 65_535]).folded(), naive_sum(&[0xff; 65_535]));
    assert!(!Checksum::new().sum(&[0; 20]).is_valid());
}

#[test]
fn update_example_of_rfc_1624() {
    // RFC 1624, 4: a field changes from 0x5555 to 0x3285, where RFC 1141's method gave 0xffff.
    assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
}

#[test]
fn a_copy_of_another_length_does_nothing() {
    let mut dst = [7; 3];
    assert!(Checksum::new().copy_and_sum(&mut dst, &[1, 2, 3, 4]).is_none());
    assert!(Checksum::new().copy_and_sum(&mut dst, &[1, 2]).is_none());
    assert_eq!(dst, [7; 3]);
}
