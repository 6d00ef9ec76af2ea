//! The real programs that tests need: which they are, whether they are here, getting them.
//!
//! Not a test: a test that needs a program looks for it itself and fails without it. Invariant: a
//! missing program is installed or is an error with the line that installs it, never a skip; and an
//! installed server is never started as a service of this machine.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tools::{cargo, programs};

/// How a package is recognised as installed.
#[derive(Debug)]
enum Probe {
    /// A program of this name, where programs are.
    Program(&'static str),
    /// One of these paths exists.
    AnyOf(&'static [&'static str]),
}

/// A package that tests need.
#[derive(Debug)]
struct Peer {
    /// Its name in Debian and Ubuntu.
    package: &'static str,
    probe: Probe,
    used_for: &'static str,
}

/// Every program the tests need; another one is one more row.
const PEERS: &[Peer] = &[
    Peer {
        package: "haproxy",
        probe: Probe::Program("haproxy"),
        used_for: "the load balancer in front of us: send-proxy and send-proxy-v2",
    },
    Peer {
        package: "nginx",
        probe: Probe::Program("nginx"),
        used_for: "the web server behind us: listen ... proxy_protocol",
    },
    Peer {
        package: "libnginx-mod-stream",
        probe: Probe::AnyOf(&[
            "/usr/lib/nginx/modules/ngx_stream_module.so",
            "/usr/lib64/nginx/modules/ngx_stream_module.so",
        ]),
        used_for: "nginx as a sender: proxy_protocol in its stream module",
    },
    Peer {
        package: "dnsdist",
        probe: Probe::Program("dnsdist"),
        used_for: "the DNS balancer in front of us: v2 in each datagram, and over TCP",
    },
    Peer {
        package: "unbound",
        probe: Probe::Program("unbound"),
        used_for: "the DNS server behind us: proxy-protocol-port",
    },
    Peer {
        package: "pdns-recursor",
        probe: Probe::Program("pdns_recursor"),
        used_for: "another DNS server behind us: proxy-protocol-from",
    },
    Peer { package: "knot", probe: Probe::Program("knotd"), used_for: "a third: proxy-allowlist" },
    Peer {
        package: "dnsperf",
        probe: Probe::Program("dnsperf"),
        used_for: "the DNS client that asks 100,000 times",
    },
    Peer {
        package: "rsyslog",
        probe: Probe::Program("rsyslogd"),
        used_for: "the syslog server behind us: imudp",
    },
    Peer {
        package: "ethtool",
        probe: Probe::Program("ethtool"),
        used_for: "takes offloads from a link: tests/e2e/udp/link.rs",
    },
    Peer {
        package: "knot-dnsutils",
        probe: Probe::Program("kdig"),
        used_for: "the DNS client: kdig, with and without v2 of its own",
    },
    Peer {
        package: "squid",
        probe: Probe::Program("squid"),
        used_for: "the forward proxy behind us: require-proxy-header",
    },
    Peer {
        package: "postfix",
        probe: Probe::Program("postfix"),
        used_for: "the SMTP server behind us: smtpd_upstream_proxy_protocol, tests/interop/checks",
    },
    Peer {
        package: "dovecot-imapd",
        probe: Probe::AnyOf(&["/usr/lib/dovecot/imap"]),
        used_for: "the IMAP server behind us: haproxy = yes, tests/interop/checks",
    },
    Peer {
        package: "bird2",
        probe: Probe::Program("bird"),
        used_for: "announces an address of two nodes to a router: tests/recipes/ecmp",
    },
    Peer {
        package: "procps",
        probe: Probe::Program("sysctl"),
        used_for: "makes a router of a network namespace: tests/recipes/ecmp",
    },
    Peer {
        package: "strace",
        probe: Probe::Program("strace"),
        used_for: "an error from any system call: tests/e2e/torment",
    },
    Peer {
        package: "iproute2",
        probe: Probe::Program("ip"),
        used_for: "network namespaces, and hosts in them: tests/e2e and recipes",
    },
    Peer {
        package: "dnsmasq-base",
        probe: Probe::Program("dnsmasq"),
        used_for: "a name server whose answers change: tests/e2e/names",
    },
    Peer {
        package: "systemd",
        probe: Probe::Program("systemd-analyze"),
        used_for: "runs our units, and says how exposed they are: tests/e2e/systemd and life/host",
    },
    Peer {
        package: "prometheus",
        probe: Probe::Program("promtool"),
        used_for: "scrapes and queries our metrics, tests our alert rules: tests/prometheus",
    },
    Peer {
        package: "chromium",
        probe: Probe::Program("chromium"),
        used_for: "shows the dashboard as a browser does: tests/dashboard",
    },
    Peer {
        package: "openssh-server",
        probe: Probe::Program("sshd"),
        used_for: "a server without PROXY support: tests/e2e/transparent and tests/interop/probe.rs",
    },
    Peer {
        package: "tmux",
        probe: Probe::Program("tmux"),
        used_for: "the terminal of `ppserver top`: tests/e2e/admin/top",
    },
    Peer { package: "golang-go", probe: Probe::Program("go"), used_for: "builds the Go peer" },
    Peer {
        package: "golang-github-pires-go-proxyproto-dev",
        probe: Probe::AnyOf(&["/usr/share/gocode/src/github.com/pires/go-proxyproto"]),
        used_for: "the Go library at both ends: its decoder and its encoder",
    },
    Peer {
        package: "curl",
        probe: Probe::Program("curl"),
        used_for: "the first client anyone tries: --haproxy-protocol",
    },
    Peer {
        package: "openssl",
        probe: Probe::Program("openssl"),
        used_for: "certificates, and ClientHellos as its s_client writes them: tests/interop/tls.rs",
    },
    Peer {
        package: "man-db",
        probe: Probe::Program("man"),
        used_for: "reads our manual pages: tests/cli/generated.rs",
    },
    Peer { package: "gcc", probe: Probe::Program("gcc"), used_for: "C programs on ppcapi" },
    Peer { package: "g++", probe: Probe::Program("g++"), used_for: "its header read as C++" },
    Peer {
        package: "pkgconf",
        probe: Probe::Program("pkg-config"),
        used_for: "finds ppcapi as C programs do",
    },
    Peer {
        package: "valgrind",
        probe: Probe::Program("valgrind"),
        used_for: "callgrind counts the instructions of the step of that name",
    },
    Peer { package: "g++", probe: Probe::Program("c++"), used_for: "builds libFuzzer: step fuzz" },
];

/// Seconds to wait for another package manager at work; long enough for an unattended upgrade.
const APT_LOCK_SECONDS: &str = "DPkg::Lock::Timeout=300";

/// Makes sure that every peer is installed.
///
/// # Errors
/// When one is missing and cannot be installed from here; the text has the line that does it.
pub(crate) fn ensure() -> Result<()> {
    let missing = missing(PEERS, &programs::dirs());
    if missing.is_empty() {
        println!("all {} are installed", PEERS.len());
        return Ok(());
    }
    for peer in &missing {
        println!("missing: {:<38} ({})", peer.package, peer.used_for);
    }
    if let Err(obstacle) = may_install() {
        bail!("{}", refusal(&missing, &obstacle));
    }
    install(&missing)?;
    let left = self::missing(PEERS, &programs::dirs());
    if !left.is_empty() {
        bail!("{}", refusal(&left, "apt-get said it had installed them, yet they are not found"));
    }
    Ok(())
}

/// The peers that are not found, in the order of the table.
fn missing<'a>(peers: &'a [Peer], dirs: &[PathBuf]) -> Vec<&'a Peer> {
    let is_here = |peer: &&Peer| match peer.probe {
        Probe::Program(name) => dirs.iter().any(|dir| dir.join(name).is_file()),
        Probe::AnyOf(paths) => paths.iter().any(|path| Path::new(path).exists()),
    };
    peers.iter().filter(|peer| !is_here(peer)).collect()
}

/// Whether this process can install packages; the error is the reason why not.
fn may_install() -> std::result::Result<(), String> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_debian_like(&release) {
        return Err("this is neither Debian nor Ubuntu".to_owned());
    }
    if programs::find("apt-get").is_none() {
        return Err("there is no apt-get".to_owned());
    }
    // The owner of /proc/self is the effective user.
    if fs::metadata("/proc/self").map_or(u32::MAX, |own| own.uid()) != 0 {
        return Err("only root may install packages".to_owned());
    }
    Ok(())
}

fn is_debian_like(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split(' '))
        .any(|id| id == "debian" || id == "ubuntu")
}

fn refusal(missing: &[&Peer], obstacle: &str) -> String {
    format!(
        "the tests need programs that are not here, and they are not installed for you because \
         {obstacle}.\nOn Debian or Ubuntu:\n    sudo apt-get update && sudo apt-get install -y \
         --no-install-recommends {}",
        packages(missing).join(" ")
    )
}

fn packages(peers: &[&Peer]) -> Vec<&'static str> {
    peers.iter().map(|peer| peer.package).collect()
}

fn install(missing: &[&Peer]) -> Result<()> {
    let _policy = NoServices::in_force(Path::new(POLICY), ask)?;
    cargo::run(apt_get().arg("update"))?;
    let words = ["install", "-y", "--no-install-recommends"];
    cargo::run(apt_get().args(words).args(packages(missing)))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", APT_LOCK_SECONDS]);
    command
}

/// Debian's hook that maintainer scripts ask before they start a service, under systemd and
/// without it; exit code 101 means no. See invoke-rc.d(8), deb-systemd-invoke(1p).
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_REFUSES: i32 = 101;

/// Says whose file it is, so that one left by a killed run is known as ours by the next.
const POLICY_TEXT: &str = "#!/bin/sh\n# Written by `cargo xtask test` for the time of an install: \
     servers installed for tests are not started as services. Safe to delete.\nexit 101\n";

/// While it lives, installing a server does not start it: tests run their own copies on ports of
/// their own, and a machine must not begin to listen on port 80 because somebody ran its tests.
#[derive(Debug)]
struct NoServices {
    /// The hook to remove again; none when the machine had one already.
    ours: Option<PathBuf>,
}

impl NoServices {
    /// `ask` runs a hook that is not ours and returns its exit code.
    fn in_force(hook: &Path, ask: impl FnOnce(&Path) -> Result<Option<i32>>) -> Result<Self> {
        if fs::read_to_string(hook).is_ok_and(|text| text != POLICY_TEXT) {
            if ask(hook)? != Some(POLICY_REFUSES) {
                bail!(
                    "{} is this machine's own and lets services start; install the packages by \
                     hand and stop their services",
                    hook.display()
                );
            }
            return Ok(Self { ours: None });
        }
        let guard = Self { ours: Some(hook.to_owned()) };
        fs::write(hook, POLICY_TEXT).with_context(|| format!("writing {}", hook.display()))?;
        fs::set_permissions(hook, fs::Permissions::from_mode(0o755))?;
        Ok(guard)
    }
}

fn ask(hook: &Path) -> Result<Option<i32>> {
    let mut command = Command::new(hook);
    command.args(["nginx", "start"]).stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.status().with_context(|| format!("{} does not run", hook.display()))?;
    Ok(status.code())
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(hook) = &self.ours
            && let Err(error) = fs::remove_file(hook)
        {
            eprintln!("warning: {} stays behind, delete it: {error}", hook.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[Peer] = &[
        Peer { package: "a-server", probe: Probe::Program("a-server"), used_for: "x" },
        Peer { package: "a-library", probe: Probe::AnyOf(&["/nowhere/a-library"]), used_for: "y" },
    ];

    #[test]
    fn what_is_not_found_is_missing_and_named_in_the_install_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a-server"), "").unwrap();
        let found = missing(TWO, &[dir.path().to_owned()]);
        assert_eq!(packages(&found), ["a-library"]);

        let text = refusal(&missing(TWO, &[]), "of a reason");
        assert!(text.contains("--no-install-recommends a-server a-library"), "{text}");
        assert!(text.contains("because of a reason"), "{text}");
    }

    #[test]
    fn the_readme_names_every_package_that_is_installed() {
        let readme = include_str!("../../README.md");
        for package in packages(&PEERS.iter().collect::<Vec<_>>()) {
            assert!(readme.contains(&format!("`{package}`")), "{package}");
        }
    }

    #[test]
    fn debian_ubuntu_and_their_children_are_recognised_and_others_are_not() {
        assert!(is_debian_like("NAME=\"x\"\nID=debian\n"));
        assert!(is_debian_like("ID=pop\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian_like("ID=fedora\nHOME_URL=\"https://debian.org\"\n"));
        assert!(!is_debian_like(""));
    }

    #[test]
    fn the_hook_refuses_services_while_it_lives_and_is_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let hook = dir.path().join("policy-rc.d");
        // The second round finds the file that a killed first run would have left.
        for left_over in [false, true] {
            if left_over {
                fs::write(&hook, POLICY_TEXT).unwrap();
            }
            let guard = NoServices::in_force(&hook, |_| bail!("ours is not asked")).unwrap();
            let text = fs::read_to_string(&hook).unwrap();
            assert!(text.ends_with("exit 101\n"), "{text}");
            assert_eq!(fs::metadata(&hook).unwrap().mode() & 0o777, 0o755);
            drop(guard);
            assert!(!hook.exists());
        }
    }

    #[test]
    fn a_machines_own_hook_is_kept_and_must_refuse() {
        let dir = tempfile::tempdir().unwrap();
        let hook = dir.path().join("policy-rc.d");
        fs::write(&hook, "the machine's own").unwrap();
        for (code, accepted) in [(101, true), (0, false)] {
            let policy = NoServices::in_force(&hook, |_| Ok(Some(code)));
            assert_eq!(policy.is_ok(), accepted, "exit {code}");
            drop(policy);
            assert_eq!(fs::read_to_string(&hook).unwrap(), "the machine's own");
        }
    }
}
