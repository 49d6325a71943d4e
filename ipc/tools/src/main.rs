//! `iopkt`: the tools of a running io-pkt in one binary.
#![forbid(unsafe_code)]

fn main() {}
