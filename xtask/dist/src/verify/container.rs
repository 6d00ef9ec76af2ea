//! The image, run by podman(1) with a root that nobody can write to.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tools::cargo::run as run_command;

use super::below;
use super::peer::{Session, echo, free_port, output};
use crate::release::Release;

const NAME: &str = "ppserver-verify";
/// How often its health is asked for; podman takes a tenth of a second for it.
const TRIES_MAX: u32 = 100;

/// Loads it, runs it in front of a server, asks for its health, stops it.
///
/// # Errors
/// When one of these does not go as it should.
pub(super) fn run(image: &Path, release: &Release, dir: &Path) -> Result<()> {
    println!("\n== the image, by podman");
    let storage = below(dir, "storage")?;
    let podman = || {
        let mut podman = Command::new("podman");
        podman.args(["--runtime=runc", "--cgroup-manager=cgroupfs", "--storage-driver=vfs"]);
        podman.arg("--root").arg(&storage).arg("--runroot").arg(dir.join("run"));
        // There need not be a systemd that asks for health: this does.
        podman.env("DISABLE_HC_SYSTEMD", "true");
        podman
    };
    // As an OCI layout, and as what Docker loads, with the health check that OCI does not know.
    run_command(podman().args(["load", "--input"]).arg(image))?;
    run_command(podman().arg("pull").arg(format!("docker-archive:{}", image.display())))?;
    let [proxy, admin] = [free_port()?, free_port()?];
    let config = dir.join("image.toml");
    fs::write(
        &config,
        format!(
            "config_version = 1\n\n\
             [[listener]]\nname = \"edge\"\nbind = [\"{proxy}\"]\nupstream = \"echo\"\n\n\
             [upstream.echo]\nendpoints = [\"{}\"]\n",
            echo()?
        ),
    )?;
    let mount = format!("{}:/etc/ppserver/ppserver.toml:ro", config.display());
    let mut start = podman();
    start.args(["run", "--detach", "--read-only", "--read-only-tmpfs=false", "--name", NAME]);
    start.args(["--network=host", "--volume", &mount]);
    // Podman's own are higher than a limited root may set.
    start.args(["--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"]);
    start.args(["--env", &format!("PPSERVER_ADMIN={admin}")]);
    run_command(start.arg(format!("localhost/ppserver:{}", release.version)))?;
    let tried = (|| {
        let healthy = (0..TRIES_MAX).any(|_| {
            let asked = podman().args(["healthcheck", "run", NAME]).output();
            asked.is_ok_and(|asked| asked.status.success())
        });
        if !healthy {
            let state = output(podman().args(["inspect", "--format={{.State.Status}}", NAME]))?;
            bail!("{}, not healthy: {}", state.trim(), output(podman().args(["logs", NAME]))?);
        }
        Session::open(proxy).map(drop)
    })();
    let user = output(podman().args(["inspect", "--format={{.Config.User}}", NAME]))?;
    run_command(podman().args(["stop", "--time=30", NAME]))?;
    let code = output(podman().args(["inspect", "--format={{.State.ExitCode}}", NAME]))?;
    run_command(podman().args(["rm", NAME]))?;
    tried.context("the container")?;
    println!("healthy as {}, and ended with {}", user.trim(), code.trim());
    if code.trim() != "0" || user.trim().starts_with('0') {
        bail!("a container runs as nobody, and ends in peace with SIGTERM");
    }
    Ok(())
}
