//! A test that needs a network of its own: it runs once more, inside.

use std::env;
use std::process::Command;
use std::thread;

use crate::common::process::require_program;

/// Set in the run inside the namespaces.
const INSIDE: &str = "PPSERVER_TEST_NETNS";

/// Runs a test in network and mount namespaces of its own, which takes root.
#[track_caller]
pub(crate) fn in_a_namespace(test: fn()) {
    if env::var_os(INSIDE).is_some() {
        return test();
    }
    let unshare =
        require_program("unshare", "apt-get install -y --no-install-recommends util-linux");
    require_program("ip", "apt-get install -y --no-install-recommends iproute2");
    let name = thread::current().name().expect("a test's thread has its name").to_owned();
    let this = env::current_exe().expect("the test binary has a path");
    let output = Command::new(unshare)
        .args(["--net", "--mount", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(this)
        .args(["--exact", "--nocapture", &name])
        .env(INSIDE, "1")
        .output()
        .expect("unshare can be run");
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "in a network namespace, which needs root:\n{text}");
    assert!(text.contains("1 passed"), "another test was run, or none:\n{text}");
}
