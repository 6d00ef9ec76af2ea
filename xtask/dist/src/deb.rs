//! The package for Debian and Ubuntu: deb(5), an ar archive of two tars.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use md5::{Digest, Md5};

use crate::archive::{Entry, gzip, hex, tar};
use crate::contents::{CONFIG, Contents, Layout, read};
use crate::release::{MAINTAINER, Release};
use crate::target::Target;

const DESCRIPTION: &str = "\
layer-4 proxy that speaks the PROXY protocol on both sides
 ppserver takes TCP connections and UDP datagrams from load balancers, believes
 the PROXY protocol header of those that are trusted, and passes the client's
 address on to servers: as a header of version 1 or 2, as the source address,
 or as a line of its log.
 .
 It is restarted, reloaded and upgraded without losing a connection.
";

/// What dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Writes it.
///
/// # Errors
/// When a file of packaging/debian cannot be read.
pub(crate) fn package(
    contents: &Contents<'_>,
    target: Target,
    release: &Release,
) -> Result<Vec<u8>> {
    let mut entries = contents.entries(Layout::Debian);
    let doc = "usr/share/doc/ppserver";
    entries.extend([
        Entry::new(format!("{doc}/copyright"), copyright(contents)),
        Entry::new(format!("{doc}/changelog.gz"), gzip(contents.changelog())?),
        Entry::new(format!("{doc}/changelog.Debian.gz"), gzip(changelog(release).as_bytes())?),
        Entry::new(
            format!("{doc}/THIRD-PARTY-LICENSES.gz"),
            gzip(contents.third_parties().as_bytes())?,
        ),
        Entry::new(
            "usr/share/lintian/overrides/ppserver",
            read("packaging/debian/lintian-overrides")?,
        ),
    ]);
    entries.sort_by(|a, b| a.path.cmp(&b.path));

    let mut control = vec![
        Entry::new("control", control(&entries, target, release)),
        Entry::new("conffiles", format!("/{CONFIG}\n")),
        Entry::new("md5sums", md5sums(&entries)),
    ];
    for script in SCRIPTS {
        control.push(Entry::program(script, read(format!("packaging/debian/{script}"))?));
    }
    let epoch = release.epoch;
    ar(
        &[
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar.gz", gzip(&tar(&control, "./", epoch)?)?),
            ("data.tar.gz", gzip(&tar(&entries, "./", epoch)?)?),
        ],
        epoch,
    )
}

fn control(entries: &[Entry], target: Target, release: &Release) -> String {
    let kib: usize = entries.iter().map(|entry| entry.bytes.len().div_ceil(1024)).sum();
    format!(
        "Package: ppserver\n\
         Version: {}\n\
         Architecture: {}\n\
         Maintainer: {MAINTAINER}\n\
         Installed-Size: {kib}\n\
         Depends: adduser\n\
         Section: net\n\
         Priority: optional\n\
         Description: {DESCRIPTION}",
        release.packaged(),
        target.debian(),
    )
}

fn md5sums(entries: &[Entry]) -> String {
    // dpkg knows conffiles by sums of its own.
    let entries = entries.iter().filter(|entry| entry.path != CONFIG);
    entries.fold(String::new(), |mut lines, entry| {
        let _ = writeln!(lines, "{}  {}", hex(&Md5::digest(&entry.bytes)), entry.path);
        lines
    })
}

/// As policy 12.5 asks for it: ours here, the others' beside it.
fn copyright(contents: &Contents<'_>) -> String {
    format!(
        "ppserver is licensed under the MIT licence or the Apache License, version 2.0, at your option.\n\n\
         On Debian systems the text of the Apache License, version 2.0, is in\n\
         /usr/share/common-licenses/Apache-2.0. The MIT licence:\n\n{}\n\
         The licences of the crates and libraries that are linked into it are in\n\
         /usr/share/doc/ppserver/THIRD-PARTY-LICENSES.gz.\n",
        contents.licence_mit().trim_end()
    )
}

fn changelog(release: &Release) -> String {
    format!(
        "ppserver ({}) unstable; urgency=medium\n\n  \
         * Version {}; see changelog.gz.\n\n \
         -- {MAINTAINER}  {}\n",
        release.packaged(),
        release.version,
        release.date
    )
}

/// An archive of ar(5): for each member a header of 60 bytes, and an even number of bytes.
fn ar(members: &[(&str, Vec<u8>)], epoch: u32) -> Result<Vec<u8>> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, member) in members {
        let size = member.len();
        let header = format!("{name:<16}{epoch:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, "100644");
        let header = Some(header).filter(|header| header.len() == 60);
        bytes.extend(header.with_context(|| format!("{name} is too large for an ar"))?.bytes());
        bytes.extend(member);
        if !size.is_multiple_of(2) {
            bytes.push(b'\n');
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_headers_of_sixty_bytes_and_begin_at_even_places() {
        let bytes = ar(&[("a", b"x".to_vec()), ("b", b"yz".to_vec())], 86_400).unwrap();
        let header = "a               86400       0     0     100644  1         `\n";
        assert_eq!(String::from_utf8_lossy(&bytes[8..68]), header);
        assert_eq!(&bytes[68..72], b"x\nb ");
        assert_eq!(bytes.len(), 8 + 60 + 2 + 60 + 2);
    }

    #[test]
    fn sums_are_those_of_md5sum_and_leave_the_configuration_out() {
        let entries = [Entry::new(CONFIG, "x"), Entry::new("usr/a", "")];
        assert_eq!(md5sums(&entries), "d41d8cd98f00b204e9800998ecf8427e  usr/a\n");
    }
}
