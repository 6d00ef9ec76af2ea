//! Files with endpoints: a line each, `ADDR [weight=N] [backup]`, and comments from `#` on.
//!
//! Addresses only: a name in it would be followed by somebody who may not write the configuration. Invariant: a file
//! is taken as a whole or not at all.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use super::found::{FOUND_MAX, Found, sorted};
use crate::config::{Endpoint, WEIGHT_MAX};
use crate::core::addr::Addr;

/// Far more than so many lines of addresses take.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Watches the directories of files: a file that is replaced is another one, under the same name.
#[derive(Debug)]
pub(super) struct Files {
    watched: Mutex<Watched>,
    /// Told of each change in one of them.
    changed: watch::Receiver<()>,
}

#[derive(Debug)]
struct Watched {
    /// `None` where the system gives none: then files are only looked at now and then.
    watcher: Option<RecommendedWatcher>,
    teller: watch::Sender<()>,
    /// Directories, each once; they stay watched.
    dirs: HashSet<PathBuf>,
}

impl Files {
    pub(super) fn new() -> Self {
        let (teller, changed) = watch::channel(());
        let watched = Watched { watcher: None, teller, dirs: HashSet::new() };
        Self { watched: Mutex::new(watched), changed }
    }

    /// Returns where changes are told.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.clone()
    }

    /// Reads a file, whose directory is watched from before on. Blocks.
    ///
    /// # Errors
    /// When it cannot be read or used; the text says why.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<Found>, String> {
        self.watch(path);
        let mut bytes = Vec::new();
        let len = File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error: io::Error| error.to_string())?;
        if u64::try_from(len).is_ok_and(|len| len > FILE_BYTES_MAX) {
            return Err(format!("it is longer than {FILE_BYTES_MAX} bytes"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string())?;
        parse(text)
    }

    fn watch(&self, path: &Path) {
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            Some(_) | None => Path::new("."),
        };
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.dirs.contains(dir) {
            return;
        }
        if watched.watcher.is_none() {
            let teller = watched.teller.clone();
            let tell = move |event: notify::Result<Event>| {
                if event.is_ok_and(|event| is_change(event.kind)) {
                    teller.send_replace(());
                }
            };
            watched.watcher = notify::recommended_watcher(tell).ok();
        }
        let begin =
            |watcher: &mut RecommendedWatcher| watcher.watch(dir, RecursiveMode::NonRecursive);
        // What cannot be watched is looked at now and then.
        if watched.watcher.as_mut().is_some_and(|watcher| begin(watcher).is_ok()) {
            watched.dirs.insert(dir.to_owned());
        }
    }
}

/// Whether a file may say something else now: not while somebody still writes to it.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Modify(ModifyKind::Name(_)) => true,
        EventKind::Any | EventKind::Access(_) | EventKind::Modify(_) | EventKind::Other => false,
    }
}

fn parse(text: &str) -> Result<Vec<Found>, String> {
    let mut all = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let found = endpoint(line).map_err(|why| format!("line {}: {why}", at + 1))?;
        if all.iter().any(|other: &Found| other.addr == found.addr) {
            return Err(format!("line {}: {} is there twice", at + 1, found.addr));
        }
        all.push(found);
    }
    match all.len() {
        0 => Err("it names no endpoint".to_owned()),
        1..=FOUND_MAX => Ok(sorted(all)),
        more => Err(format!("it has {more} endpoints, and at most {FOUND_MAX} are taken")),
    }
}

fn endpoint(line: &str) -> Result<Found, String> {
    let mut words = line.split_whitespace();
    let text = words.next().unwrap_or_default();
    let addr = match text.parse() {
        Ok(Endpoint::Addr(Addr::Inet(addr))) => addr,
        // Whoever may write the file may not have us connect to any socket of this host.
        Ok(Endpoint::Addr(Addr::Unix(_))) => {
            return Err(format!("`{text}` is a UNIX socket, and only addresses stand in a file"));
        }
        Ok(Endpoint::Name { .. } | Endpoint::Srv(_) | Endpoint::File(_)) => {
            return Err(format!("`{text}` is a name, and only addresses stand in a file"));
        }
        Err(error) => return Err(format!("`{text}` is no endpoint: {error}")),
    };
    let mut found = Found::plain(addr);
    for word in words {
        if word == "backup" {
            found.is_backup = true;
        } else if let Some(number) = word.strip_prefix("weight=") {
            let weight = number.parse().ok().filter(|weight| *weight <= WEIGHT_MAX);
            found.weight =
                weight.ok_or_else(|| format!("a weight is a number from 0 to {WEIGHT_MAX}"))?;
        } else {
            return Err(format!("`{word}` is neither `weight=N` nor `backup`"));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_endpoint_with_its_options() {
        let text =
            "# web\n10.0.0.2:80 weight=3   # the big one\n\n [fd00::7]:80\tbackup\n10.0.0.1:80\n";
        let expected = vec![
            Found::plain("10.0.0.1:80".parse().unwrap()),
            Found { weight: 3, ..Found::plain("10.0.0.2:80".parse().unwrap()) },
            Found { is_backup: true, ..Found::plain("[fd00::7]:80".parse().unwrap()) },
        ];
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn the_file_of_the_documentation_is_read() {
        const PAGE: &str = include_str!("../../../../../docs/upstreams.md");
        let (_, rest) = PAGE.split_once("```text\n").unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        assert_eq!(parse(text).unwrap().len(), 3);
    }

    #[test]
    fn a_bad_line_refuses_the_whole_and_is_named() {
        for (line, why) in [
            ("web:80", "line 2: `web:80` is a name, and only addresses stand in a file"),
            ("10.0.0.1", "line 2: `10.0.0.1` is no endpoint: the port is missing"),
            ("0.0.0.0:80", "line 2: `0.0.0.0:80` is no endpoint: it is the address of no host"),
            ("10.0.0.1:80 weight=1001", "line 2: a weight is a number from 0 to 1000"),
            ("10.0.0.1:80 weight", "line 2: `weight` is neither `weight=N` nor `backup`"),
            ("10.0.0.9:80", "line 2: 10.0.0.9:80 is there twice"),
        ] {
            assert_eq!(parse(&format!("10.0.0.9:80\n{line}\n")), Err(why.to_owned()));
        }
        assert_eq!(parse("# nobody\n"), Err("it names no endpoint".to_owned()));
        let many: String = (0..257).map(|port| format!("10.0.0.1:{}\n", port + 1)).collect();
        let why = "it has 257 endpoints, and at most 256 are taken";
        assert_eq!(parse(&many), Err(why.to_owned()));
    }

    #[test]
    fn what_is_too_long_or_no_text_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web");
        let files = Files::new();
        assert!(files.read(&path).unwrap_err().contains("No such file"));
        std::fs::write(&path, [b'#'; 65 << 10]).unwrap();
        assert_eq!(files.read(&path).unwrap_err(), "it is longer than 65536 bytes");
        std::fs::write(&path, b"\xff").unwrap();
        assert!(files.read(&path).unwrap_err().contains("utf-8"));
    }
}
