//! The C header is what the Rust definitions say.
#![expect(clippy::tests_outside_test_module, reason = "an integration test is one")]

use std::path::Path;
use std::{env, fs};

/// `LSM_HEADER=write cargo test -p lsm-abi` writes the header anew.
#[test]
fn the_header_is_generated_from_the_definitions() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = crate_folder.join("../include/iopkt/lsm.h");
    let mut config = cbindgen::Config::from_file(crate_folder.join("cbindgen.toml")).unwrap();
    // C has no modules: the constants need a prefix.
    let source = fs::read_to_string(crate_folder.join("src/lib.rs")).unwrap();
    for name in source.split("pub const ").skip(1).filter_map(|rest| rest.split(':').next()) {
        let _ = config.export.rename.insert(name.into(), format!("LSM_{name}"));
    }
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(crate_folder.join("src/lib.rs"))
        .generate()
        .unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).unwrap();
    if env::var_os("LSM_HEADER").is_some_and(|value| value == "write") {
        fs::create_dir_all(header.parent().unwrap()).unwrap();
        fs::write(&header, &text).unwrap();
    }
    let checked_in = fs::read_to_string(&header).unwrap_or_default();
    assert_eq!(checked_in, text, "write it anew: LSM_HEADER=write cargo test -p lsm-abi");
}
