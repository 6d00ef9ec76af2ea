//! Archives without chance in them: tar sorted by path, of one owner and one date; gzip without a date.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// A file of an archive or a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Without a slash in front.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Entry {
    pub(crate) fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode: 0o644, bytes: bytes.into() }
    }

    pub(crate) fn program(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { mode: 0o755, ..Self::new(path, bytes) }
    }
}

/// Writes the entries, each directory in front of what is in it, `prefix` in front of each path.
///
/// # Errors
/// When a path is too long for the format.
pub(crate) fn tar(entries: &[Entry], prefix: &str, epoch: u32) -> Result<Vec<u8>> {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut builder = Builder::new(Vec::new());
    for dir in directories(&entries) {
        let path = format!("{prefix}{dir}/");
        append(&mut builder, &path, EntryType::Directory, 0o755, &[], epoch)?;
    }
    for entry in entries {
        let path = format!("{prefix}{}", entry.path);
        append(&mut builder, &path, EntryType::Regular, entry.mode, &entry.bytes, epoch)?;
    }
    builder.into_inner().context("the end of a tar")
}

fn append(
    builder: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    mode: u32,
    bytes: &[u8],
    epoch: u32,
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(u64::try_from(bytes.len())?);
    header.set_mtime(epoch.into());
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    // `set_path` drops the `./` that a .deb has in front.
    let name = &mut header.as_old_mut().name;
    let room = name.get_mut(..path.len()).with_context(|| format!("{path} is too long"))?;
    room.copy_from_slice(path.as_bytes());
    header.set_cksum();
    builder.append(&header, bytes).with_context(|| format!("{path} into a tar"))
}

/// All directories of the entries, each behind the one that it is in.
fn directories(entries: &[&Entry]) -> BTreeSet<String> {
    let parents = |path: &str| -> Vec<String> {
        path.match_indices('/').map(|(end, _)| path[..end].to_owned()).collect()
    };
    entries.iter().flat_map(|entry| parents(&entry.path)).collect()
}

/// Compresses, with no name and no date.
///
/// # Errors
/// Never: memory takes what is written to it.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_stand_before_what_is_in_them_and_nothing_depends_on_the_order_given() {
        let entries = [Entry::program("usr/bin/b", "b"), Entry::new("etc/a", "a")];
        let mut reversed = entries.clone();
        reversed.reverse();
        let bytes = tar(&entries, "./", 7).unwrap();
        assert_eq!(bytes, tar(&reversed, "./", 7).unwrap());

        let mut archive = tar::Archive::new(bytes.as_slice());
        let listed: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let header = entry.unwrap().header().clone();
                let path = String::from_utf8(header.path_bytes().into_owned()).unwrap();
                (path, header.mode().unwrap(), header.mtime().unwrap())
            })
            .collect();
        let expected = [
            ("./etc/", 0o755),
            ("./usr/", 0o755),
            ("./usr/bin/", 0o755),
            ("./etc/a", 0o644),
            ("./usr/bin/b", 0o755),
        ];
        assert_eq!(listed, expected.map(|(path, mode)| (path.to_owned(), mode, 7)));
    }

    #[test]
    fn a_path_beyond_the_format_is_an_error_that_names_it() {
        let long = "x".repeat(101);
        let error = tar(&[Entry::new(&long, "")], "", 0).expect_err("a tar has 100 bytes for it");
        assert!(error.to_string().contains(&long), "{error}");
    }

    #[test]
    fn gzip_says_neither_when_nor_where() {
        let bytes = gzip(b"x").unwrap();
        // RFC 1952: magic, method, no flags, and no time.
        assert_eq!(bytes[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn the_sum_of_nothing_is_that_of_fips_180() {
        let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), sum);
    }
}
