//! Binds the targets to bolero: its random engine in an ordinary test run, where the corpora in
//! `__fuzz__` come first; libFuzzer under `ci/fuzz --guided`.

use bolero::generator::ValueGenerator;
use bolero::{check, produce};

/// Inputs of up to so many bytes.
fn bytes(len_max: usize) -> impl ValueGenerator<Output = Vec<u8>> {
    produce::<Vec<u8>>().with().len(0..=len_max)
}

#[test]
fn parsers() {
    check!().with_generator(bytes(200)).for_each(|input| fuzz_targets::parsers(input));
}

#[test]
fn links() {
    check!().with_generator(bytes(400)).for_each(|input| fuzz_targets::links(input));
}

#[test]
fn options() {
    check!().with_generator(bytes(80)).for_each(|input| fuzz_targets::options(input));
}

#[test]
fn routing() {
    check!().with_generator(bytes(300)).for_each(|input| fuzz_targets::routing(input));
}

#[test]
fn cookie() {
    check!().with_generator(bytes(120)).for_each(|input| fuzz_targets::cookie(input));
}

#[test]
fn endpoint() {
    check!().with_generator(bytes(600)).for_each(|input| fuzz_targets::endpoint(input));
}
