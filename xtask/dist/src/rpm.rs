//! The package for Fedora, RHEL and openSUSE, by the crate `rpm`.

use ::rpm::{
    BuildConfig, CompressionWithLevel, Dependency, FileOptions, PackageBuilder, Scriptlet,
};
use anyhow::Result;

use crate::contents::{CONFIG, Contents, LICENCES, Layout, read};
use crate::release::{MAINTAINER, Release};
use crate::target::Target;

const SUMMARY: &str = "Layer-4 proxy that speaks the PROXY protocol on both sides";
const DESCRIPTION: &str = "\
ppserver takes TCP connections and UDP datagrams from load balancers, believes
the PROXY protocol header of those that are trusted, and passes the client's
address on to servers: as a header of version 1 or 2, as the source address, or
as a line of its log. It is restarted, reloaded and upgraded without losing a
connection.";

/// Writes it.
///
/// # Errors
/// When a file of packaging/rpm cannot be read, or one cannot be packed.
pub(crate) fn package(
    contents: &Contents<'_>,
    target: Target,
    release: &Release,
) -> Result<Vec<u8>> {
    let script = |name: &str| -> Result<Scriptlet> {
        Ok(Scriptlet::new(String::from_utf8(read(format!("packaging/rpm/{name}"))?)?))
    };
    let licence = "MIT OR Apache-2.0";
    let mut builder =
        PackageBuilder::new("ppserver", release.version, licence, target.rpm(), SUMMARY);
    let config = BuildConfig::v4().source_date(release.epoch);
    builder
        .using_config(config.compression(CompressionWithLevel::Gzip(9)))
        .release(release.revision.to_string())
        .description(DESCRIPTION)
        .packager(MAINTAINER)
        .group("System/Daemons")
        .build_host("localhost")
        .requires(Dependency::script_pre("/usr/sbin/useradd"))
        .pre_install_script(script("pre")?)
        .post_install_script(script("post")?)
        .pre_uninstall_script(script("preun")?)
        .post_uninstall_script(script("postun")?)
        .add_changelog_entry(
            format!("{MAINTAINER} - {}", release.packaged()),
            format!("- Version {}; see CHANGELOG.md", release.version),
            release.epoch,
        );
    let mut entries = contents.entries(Layout::Rpm);
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    for entry in entries {
        let options =
            FileOptions::new(format!("/{}", entry.path)).permissions(u16::try_from(entry.mode)?);
        let options = if entry.path == CONFIG {
            options.config().noreplace()
        } else if entry.path.starts_with(LICENCES) {
            options.license()
        } else if entry.path.starts_with("usr/share/doc/")
            || entry.path.starts_with("usr/share/man/")
        {
            options.doc()
        } else {
            options
        };
        builder.with_file_contents(entry.bytes, options)?;
    }
    for dir in ["/etc/ppserver", "/usr/share/doc/ppserver", "/usr/share/licenses/ppserver"] {
        builder.with_dir_entry(FileOptions::dir(dir).permissions(0o755))?;
    }
    let mut bytes = Vec::new();
    builder.build()?.write(&mut bytes)?;
    Ok(bytes)
}
