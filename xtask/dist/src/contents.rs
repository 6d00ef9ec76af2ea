//! What is delivered, and where each format has it.
//!
//! One list for all of them: a new file is one more line of [`Contents::entries`].

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::archive::{Entry, gzip};
use crate::crates::Crates;
use crate::licences;

/// The shells that commands are completed in.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Where units and packages have the configuration.
pub(crate) const CONFIG: &str = "etc/ppserver/ppserver.toml";
pub(crate) const LICENCES: &str = "usr/share/licenses/ppserver";

/// Where files go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout<'a> {
    /// All below one directory of this name, to be copied from there.
    Archive(&'a str),
    /// As Debian and Ubuntu have it.
    Debian,
    /// As Fedora, RHEL and openSUSE have it.
    Rpm,
    /// The program, and nothing that it does not need to run.
    Image,
}

/// What the program says of itself: the same for each target.
#[derive(Debug)]
pub(crate) struct Generated {
    /// Name and text of each manual page.
    pages: Vec<(String, Vec<u8>)>,
    /// In the order of [`SHELLS`].
    completions: [Vec<u8>; SHELLS.len()],
}

/// Asks the program for manual pages and completions.
///
/// # Errors
/// When it does not answer, or a page cannot be read.
pub(crate) fn generated(program: &Path) -> Result<Generated> {
    let dir = tools::target_dir().join("dist-man");
    // Of the pages that an older program wrote, none is left.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    output(Command::new(program).args(["man", "--out"]).arg(&dir))?;
    let mut pages = Vec::new();
    for page in fs::read_dir(&dir)? {
        let page = page?;
        pages.push((page.file_name().to_string_lossy().into_owned(), fs::read(page.path())?));
    }
    if pages.is_empty() {
        bail!("`ppserver man --out` wrote no page");
    }
    pages.sort();
    let mut completions = [const { Vec::new() }; SHELLS.len()];
    for (script, shell) in completions.iter_mut().zip(SHELLS) {
        *script = output(Command::new(program).args(["completions", shell]))?;
    }
    Ok(Generated { pages, completions })
}

/// What a target's packages hold.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    program: Vec<u8>,
    generated: &'a Generated,
    third_parties: String,
    licences: [(&'static str, Vec<u8>); 2],
    readme: Vec<u8>,
    changelog: Vec<u8>,
    config: Vec<u8>,
    service: String,
    socket: String,
    user: Vec<u8>,
}

impl<'a> Contents<'a> {
    /// Reads all of it.
    ///
    /// # Errors
    /// When a file cannot be read, or a licence is missing.
    pub(crate) fn read(program: &Path, generated: &'a Generated, crates: &Crates) -> Result<Self> {
        Ok(Self {
            program: read(program)?,
            generated,
            third_parties: licences::third_parties(crates)?,
            licences: [
                ("LICENSE-APACHE", read("LICENSE-APACHE")?),
                ("LICENSE-MIT", read("LICENSE-MIT")?),
            ],
            readme: read("README.md")?,
            changelog: read("CHANGELOG.md")?,
            config: read("docs/ppserver.toml")?,
            service: String::from_utf8(read("packaging/systemd/ppserver.service")?)?,
            socket: String::from_utf8(read("packaging/systemd/ppserver.socket")?)?,
            user: read("packaging/sysusers.conf")?,
        })
    }

    /// The files, as a format has them.
    pub(crate) fn entries(&self, layout: Layout<'_>) -> Vec<Entry> {
        match layout {
            Layout::Archive(name) => self.archive(name),
            Layout::Debian => {
                let doc = "usr/share/doc/ppserver";
                let mut entries = self.installed("usr/share/zsh/vendor-completions/_ppserver");
                entries.extend([
                    Entry::new(format!("{doc}/README.md"), self.readme.as_slice()),
                    Entry::new(
                        format!("{doc}/examples/ppserver.socket"),
                        for_a_package(&self.socket),
                    ),
                ]);
                entries
            }
            Layout::Rpm => {
                let doc = "usr/share/doc/ppserver";
                let mut entries = self.installed("usr/share/zsh/site-functions/_ppserver");
                entries.extend(self.with_licences(LICENCES));
                entries.extend([
                    Entry::new(format!("{doc}/README.md"), self.readme.as_slice()),
                    Entry::new(format!("{doc}/CHANGELOG.md"), self.changelog.as_slice()),
                    Entry::new(format!("{doc}/ppserver.socket"), for_a_package(&self.socket)),
                ]);
                entries
            }
            Layout::Image => {
                let mut entries = self.with_licences(LICENCES);
                entries.push(Entry::program("usr/bin/ppserver", self.program.as_slice()));
                entries
            }
        }
    }

    pub(crate) fn changelog(&self) -> &[u8] {
        &self.changelog
    }

    pub(crate) fn third_parties(&self) -> &str {
        &self.third_parties
    }

    /// Whose licence an own one is; the other is common to all.
    pub(crate) fn licence_mit(&self) -> String {
        String::from_utf8_lossy(&self.licences[1].1).into_owned()
    }

    fn archive(&self, name: &str) -> Vec<Entry> {
        let mut entries = self.with_licences(name);
        let mut add =
            |path: &str, bytes: &[u8]| entries.push(Entry::new(format!("{name}/{path}"), bytes));
        add("README.md", &self.readme);
        add("CHANGELOG.md", &self.changelog);
        add("ppserver.toml", &self.config);
        add("systemd/ppserver.service", self.service.as_bytes());
        add("systemd/ppserver.socket", self.socket.as_bytes());
        for (page, text) in &self.generated.pages {
            add(&format!("man/man1/{page}"), text);
        }
        let [bash, zsh, fish] = &self.generated.completions;
        add("completions/ppserver.bash", bash);
        add("completions/_ppserver", zsh);
        add("completions/ppserver.fish", fish);
        entries.push(Entry::program(format!("{name}/ppserver"), self.program.as_slice()));
        entries
    }

    /// What all distributions have in the same place, and the completions of zsh, which they do not.
    fn installed(&self, zsh_path: &str) -> Vec<Entry> {
        let [bash, zsh, fish] = &self.generated.completions;
        let mut entries = vec![
            Entry::program("usr/bin/ppserver", self.program.as_slice()),
            Entry::new(CONFIG, self.config.as_slice()),
            Entry::new("usr/lib/systemd/system/ppserver.service", for_a_package(&self.service)),
            Entry::new("usr/lib/sysusers.d/ppserver.conf", self.user.as_slice()),
            Entry::new("usr/share/bash-completion/completions/ppserver", bash.as_slice()),
            Entry::new(zsh_path, zsh.as_slice()),
            Entry::new("usr/share/fish/vendor_completions.d/ppserver.fish", fish.as_slice()),
        ];
        entries.extend(self.generated.pages.iter().map(|(page, text)| {
            let text = gzip(text).expect("memory takes what is written to it");
            Entry::new(format!("usr/share/man/man1/{page}.gz"), text)
        }));
        entries
    }

    fn with_licences(&self, dir: &str) -> Vec<Entry> {
        let own = self.licences.iter();
        let mut entries: Vec<Entry> =
            own.map(|(name, text)| Entry::new(format!("{dir}/{name}"), text.as_slice())).collect();
        entries.push(Entry::new(
            format!("{dir}/THIRD-PARTY-LICENSES.txt"),
            self.third_parties.as_bytes(),
        ));
        entries
    }
}

/// A unit as a package brings it.
fn for_a_package(unit: &str) -> String {
    unit.replace("/usr/local/bin", "/usr/bin").replace(", to be put into /etc/systemd/system", "")
}

pub(crate) fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{command:?} does not start"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_has_the_program_once_and_no_path_twice() {
        let generated = Generated {
            pages: vec![("ppserver.1".to_owned(), Vec::new())],
            completions: [const { Vec::new() }; SHELLS.len()],
        };
        let contents = Contents {
            program: b"a program".to_vec(),
            generated: &generated,
            third_parties: String::new(),
            licences: [("LICENSE-APACHE", Vec::new()), ("LICENSE-MIT", Vec::new())],
            readme: Vec::new(),
            changelog: Vec::new(),
            config: Vec::new(),
            service: String::new(),
            socket: String::new(),
            user: Vec::new(),
        };
        for layout in [Layout::Archive("x"), Layout::Debian, Layout::Rpm, Layout::Image] {
            let mut entries = contents.entries(layout);
            let programs: Vec<_> = entries.iter().filter(|entry| entry.mode == 0o755).collect();
            assert_eq!(programs.len(), 1, "{layout:?}");
            assert_eq!(programs[0].bytes, b"a program");
            let count = entries.len();
            entries.sort_by(|a, b| a.path.cmp(&b.path));
            entries.dedup_by(|a, b| a.path == b.path);
            assert_eq!(entries.len(), count, "{layout:?}");
        }
    }

    #[test]
    fn a_unit_of_a_package_names_the_paths_of_the_package_alone() {
        let unit = include_str!("../../../packaging/systemd/ppserver.service");
        let packaged = for_a_package(unit);
        assert!(
            packaged.contains("ExecStart=/usr/bin/ppserver run -c /etc/ppserver/ppserver.toml")
        );
        assert!(packaged.contains("ExecReload=/usr/bin/ppserver reload"), "{packaged}");
        for gone in ["/usr/local", "/etc/systemd"] {
            assert!(unit.contains(gone) && !packaged.contains(gone), "{gone}");
        }
    }
}
