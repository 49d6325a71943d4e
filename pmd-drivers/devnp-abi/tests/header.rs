//! The C header of an ABI is what its Rust definitions say. Each crate NAME-abi has this as its test.
#![expect(clippy::tests_outside_test_module, reason = "an integration test is one")]

use std::path::Path;
use std::{env, fs};

/// `NAME_HEADER=write cargo test -p NAME-abi` writes the header anew.
#[test]
fn the_header_is_generated_from_the_definitions() {
    let package = env!("CARGO_PKG_NAME");
    let name = package.strip_suffix("-abi").unwrap();
    let prefix = name.to_uppercase();
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = crate_folder.join(format!("../include/iopkt/{name}.h"));
    let mut config = cbindgen::Config::from_file(crate_folder.join("cbindgen.toml")).unwrap();
    // C has no modules: the constants need a prefix.
    let folder = fs::read_dir(crate_folder.join("src")).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        let source = fs::read_to_string(file).unwrap();
        for name in source.split("pub const ").skip(1).filter_map(|rest| rest.split(':').next()) {
            let _ = config.export.rename.insert(name.into(), format!("{prefix}_{name}"));
        }
    }
    let builder =
        files.iter().fold(cbindgen::Builder::new(), |builder, file| builder.with_src(file));
    let bindings = builder.with_config(config).generate().unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).unwrap();
    let write = format!("{prefix}_HEADER");
    if env::var_os(&write).is_some_and(|value| value == "write") {
        fs::write(&header, &text).unwrap();
    }
    let checked_in = fs::read_to_string(&header).unwrap_or_default();
    assert_eq!(checked_in, text, "write it anew: {write}=write cargo test -p {package}");
}
