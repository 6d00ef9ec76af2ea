//! The packages in the life of a host: installed, started, upgraded under a client, removed.
//!
//! In a fresh root of Debian, by chroot(8). There is no systemd in it: what the unit does is done here, and the tests of
//! the unit are in tests/e2e/systemd.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tools::cargo::run;

use super::peer::{Ended, Session, echo, free_port, output};
use crate::contents::{CONFIG, Contents};
use crate::release::Release;
use crate::target::Target;
use crate::{deb, rpm};

/// The oldest Debian that is looked after.
const SUITE: &str = "bookworm";

/// How often a start is asked whether it is over; one question takes some milliseconds.
const TRIES_MAX: u32 = 2_000;

/// Who installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Dpkg,
    Rpm,
}

impl Manager {
    fn extension(self) -> &'static str {
        match self {
            Self::Dpkg => "deb",
            Self::Rpm => "rpm",
        }
    }

    fn install(self, root: &Root, package: &Path) -> Result<()> {
        match self {
            Self::Dpkg => {
                fs::copy(package, root.0.join("ppserver.deb"))?;
                run(root.command("dpkg").args(["--install", "/ppserver.deb"]))
            }
            // A root of Debian has no package of rpm's that it could depend on.
            Self::Rpm => {
                let mut rpm = Command::new("rpm");
                rpm.arg("--root").arg(&root.0).args(["--upgrade", "--nodeps"]);
                run(rpm.arg(package))
            }
        }
    }

    /// Removes it, with what was configured where there is a word for that.
    fn remove(self, root: &Root) -> Result<()> {
        match self {
            Self::Dpkg => {
                run(root.command("dpkg").args(["--remove", "ppserver"]))?;
                if !root.0.join(CONFIG).exists() {
                    bail!("/{CONFIG} is gone, and was only to be so with --purge");
                }
                run(root.command("dpkg").args(["--purge", "ppserver"]))
            }
            Self::Rpm => {
                let mut rpm = Command::new("rpm");
                run(rpm.arg("--root").arg(&root.0).args(["--erase", "--nodeps", "ppserver"]))
            }
        }
    }
}

/// Lives through both packages.
///
/// # Errors
/// The first thing that is not as it should be.
pub(super) fn all(
    contents: &Contents<'_>,
    target: Target,
    release: &Release,
    out: &Path,
    dir: &Path,
) -> Result<()> {
    let base = dir.join("root.tar");
    let mut debootstrap = Command::new("mmdebstrap");
    debootstrap.args(["--variant=minbase", "--include=adduser", SUITE]).arg(&base);
    run(&mut debootstrap)?;
    let next = Release { revision: release.revision + 1, ..release.clone() };
    for manager in [Manager::Dpkg, Manager::Rpm] {
        println!("\n== installed, upgraded and removed by {manager:?}");
        let packed = match manager {
            Manager::Dpkg => deb::package(contents, target, &next)?,
            Manager::Rpm => rpm::package(contents, target, &next)?,
        };
        let second = dir.join(format!("next.{}", manager.extension()));
        fs::write(&second, packed)?;
        let root = Root::unpack(&base, dir.join(manager.extension()))?;
        let first = out.join(release.file(target, manager.extension()));
        live(manager, &root, &first, &second)?;
    }
    Ok(())
}

fn live(manager: Manager, root: &Root, first: &Path, second: &Path) -> Result<()> {
    manager.install(root, first)?;
    let config = root.0.join(CONFIG);
    run(root.command("ppserver").args(["check", "-c", "/etc/ppserver/ppserver.toml"]))?;
    // As the unit's RuntimeDirectory= does.
    let runtime = ["--directory", "--owner=ppserver", "--group=ppserver", "--mode=0700"];
    run(root.command("install").args(runtime).arg("/run/ppserver"))?;

    let proxy = free_port()?;
    let written = configuration(proxy, echo()?);
    fs::write(&config, &written)?;
    let mut running = root.start()?;
    let mut before = Session::open(proxy)?;
    let pid = root.pid()?;

    manager.install(root, second)?;
    before.goes_on().context("a client's session did not survive the upgrade")?;
    let mut after = Session::open(proxy)?;
    let upgraded = Serving(root.pid()?);
    if upgraded.0 == pid {
        bail!("process {pid} still serves: the upgrade of the package did not upgrade it");
    }
    if fs::read_to_string(&config)? != written {
        bail!("/{CONFIG} is not what was written there");
    }
    drop(before);
    let status = running.0.wait()?;
    println!("process {pid} handed over to {} and ended with {status}", upgraded.0);

    manager.remove(root)?;
    after.goes_on().context("the session of a proxy whose package is removed")?;
    for gone in ["usr/bin/ppserver", CONFIG] {
        if root.0.join(gone).exists() {
            bail!("/{gone} is still there");
        }
    }
    Ok(())
}

/// The process that took over, which is no child of ours.
struct Serving(u64);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = run(Command::new("kill").arg(self.0.to_string()));
    }
}

fn configuration(proxy: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "config_version = 1\n\n\
         [[listener]]\nname = \"edge\"\nbind = [\"{proxy}\"]\nupstream = \"echo\"\n\n\
         [upstream.echo]\nendpoints = [\"{upstream}\"]\n"
    )
}

/// A file system of its own.
struct Root(PathBuf);

impl Root {
    fn unpack(archive: &Path, dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir)?;
        run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&dir))?;
        Ok(Self(dir))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.0).arg(program).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Starts what the unit starts, as it does, and waits until it serves.
    fn start(&self) -> Result<Ended> {
        let mut command = Command::new("chroot");
        command.arg("--userspec=ppserver:ppserver").arg(&self.0);
        command.args(["/usr/bin/ppserver", "run", "-c", "/etc/ppserver/ppserver.toml"]);
        command.env("PPSERVER_ADMIN", "unix:/run/ppserver/admin.sock").stdin(Stdio::null());
        let mut running = Ended(command.spawn()?);
        for _ in 0..TRIES_MAX {
            if output(self.command("ppserver").arg("healthcheck")).is_ok() {
                return Ok(running);
            }
            if let Some(status) = running.0.try_wait()? {
                bail!("ppserver ended with {status}");
            }
        }
        bail!("ppserver did not become ready")
    }

    /// Who serves.
    fn pid(&self) -> Result<u64> {
        let status = output(self.command("ppserver").args(["status", "--json"]))?;
        let status: Value = serde_json::from_str(&status)?;
        status["pid"].as_u64().with_context(|| format!("no pid in {status}"))
    }
}
