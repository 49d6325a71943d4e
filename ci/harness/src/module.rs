//! Protocol modules in C, as a stranger would compile them.

use std::path::Path;
use std::process::Command;

/// Makes a module of a file in `tests`; where in `folder` it is.
///
/// # Errors
/// What the compiler has said.
pub fn compile(source: &str, folder: &str) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let to = format!("{folder}/lsm-{source}.so");
    let output = Command::new("cc")
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"])
        .arg(root.join("pmd-drivers/include"))
        .arg("-I")
        .arg(root.join("stack/include"))
        .args(["-o", &to])
        .arg(root.join("ci/harness/tests").join(source))
        .output()
        .map_err(|e| format!("cc: {e}; install a C compiler"))?;
    if output.status.success() {
        Ok(to)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
