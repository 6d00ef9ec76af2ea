//! Where programs are: in PATH, and where servers are installed.

use std::path::PathBuf;

/// Where servers are installed but a plain user's PATH does not look.
const SERVER_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Returns the directories where programs are, in the order of the search.
pub fn dirs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(SERVER_DIRS.iter().map(PathBuf::from)).collect()
}

/// Finds a program by its name.
pub fn find(name: &str) -> Option<PathBuf> {
    dirs().into_iter().map(|dir| dir.join(name)).find(|candidate| candidate.is_file())
}
