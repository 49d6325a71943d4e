//! How much comes along with the client library.

use std::collections::BTreeSet;
use std::process::Command;

/// Crates, without the features for event loops.
const MOST: usize = 30;

#[test]
fn the_client_has_few_dependencies_and_none_of_dpdk() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", "io-pkt-client", "-e", "normal", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    let names: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    let count = names.len() - 1;
    println!("{count} dependencies: {names:?}");
    assert!(count <= MOST, "{count} dependencies: {names:?}");
    assert!(!names.iter().any(|name| name.contains("dpdk") || *name == "tokio"), "{names:?}");
}
