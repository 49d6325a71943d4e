//! Inputs that failed once, and inputs that found faults planted on purpose: all pass.

/// Bytes from hexadecimal digits.
fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// A window scale written with another shift.
#[test]
fn options_read_back() {
    fuzz_targets::options(&hex("02"));
}

/// A cookie that did not cover the peer's sequence number.
#[test]
fn a_cookie_covers_the_sequence_number() {
    let start = "0".repeat(87);
    fuzz_targets::cookie(&hex(&format!("{start}1040401000004000003020003")));
}

/// Text stored one byte beyond its place.
#[test]
fn text_is_delivered_in_order() {
    let start = "0".repeat(48);
    let rest = "e7f426e5ff4ac7c6f44d2f5d11f7236341dee62a0b474069425963078877bd0e0100";
    fuzz_targets::endpoint(&hex(&format!("{start}{rest}")));
}
