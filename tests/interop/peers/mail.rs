//! Mail servers that require a header: Postfix, which speaks SMTP, and Dovecot, which speaks IMAP.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use tempfile::TempDir;

use crate::common::process::Proc;
use crate::common::socket::ReservedPort;
use crate::peers::{peer, require_path, wait_for_listener};

/// A running mail server.
pub(crate) struct MailServer {
    _proc: Proc,
    port: ReservedPort,
    _dir: TempDir,
}

impl MailServer {
    /// Starts Postfix, which has to be done as root; its port takes SMTP behind a header.
    #[track_caller]
    pub(crate) fn postfix() -> MailServer {
        let (dir, port) = (shared_dir(), ReservedPort::new());
        let path = dir.path().display();
        let main = format!(
            "compatibility_level = 3.6\n\
             queue_directory = {path}/queue\n\
             data_directory = {path}/data\n\
             maillog_file = /dev/stdout\n\
             inet_protocols = ipv4\n\
             myhostname = interop.invalid\n\
             mydestination =\n\
             alias_maps =\n\
             local_recipient_maps =\n\
             smtpd_upstream_proxy_protocol = haproxy\n"
        );
        let services = format!(
            "{} inet n - n - - smtpd\n\
             postlog unix-dgram n - n - 1 postlogd\n\
             rewrite unix - - n - - trivial-rewrite\n\
             anvil unix - - n - 1 anvil\n",
            port.addr()
        );
        for (file, text) in [("main.cf", main), ("master.cf", services)] {
            fs::write(dir.path().join(file), text).expect("a file in it can be written");
        }
        let [queue, data] = ["queue", "data"].map(|inner| dir.path().join(inner));
        fs::create_dir(&queue).expect("a directory in it can be made");
        fs::create_dir(&data).expect("a directory in it can be made");
        let owner = fs::metadata(require_path("/var/lib/postfix")).expect("it is there").uid();
        chown(&data, Some(owner), None).expect("only root may start Postfix");
        let mut check = Command::new(peer("postfix"));
        let made = check.arg("-c").arg(dir.path()).arg("check").output();
        let made = made.expect("postfix can be run");
        assert!(made.status.success(), "it makes its queue: {made:?}");
        let master = require_path("/usr/lib/postfix/sbin/master");
        let mut command = Command::new(master);
        let mut proc = Proc::spawn("postfix", command.arg("-d").arg("-c").arg(dir.path()));
        wait_for_listener(&mut proc, port.addr());
        MailServer { _proc: proc, port, _dir: dir }
    }

    /// Starts Dovecot; its port takes IMAP behind a header.
    #[track_caller]
    pub(crate) fn dovecot() -> MailServer {
        let (dir, port) = (shared_dir(), ReservedPort::new());
        let path = dir.path().display();
        let text = format!(
            "base_dir = {path}/run\n\
             state_dir = {path}/state\n\
             log_path = /dev/stderr\n\
             protocols = imap\n\
             ssl = no\n\
             haproxy_trusted_networks = 127.0.0.0/8\n\
             passdb {{\n  driver = static\n  args = nopassword=y\n}}\n\
             userdb {{\n  driver = static\n  args = uid=nobody gid=nogroup home=/nonexistent\n}}\n\
             service imap-login {{\n  chroot =\n\
             \x20 inet_listener imap {{\n    address = {}\n    port = {}\n    haproxy = yes\n  }}\n\
             \x20 inet_listener imaps {{\n    port = 0\n  }}\n}}\n",
            port.addr().ip(),
            port.addr().port(),
        );
        let config = dir.path().join("dovecot.conf");
        fs::write(&config, text).expect("a file in it can be written");
        require_path("/usr/lib/dovecot/imap");
        let mut command = Command::new(peer("dovecot"));
        let mut proc = Proc::spawn("dovecot", command.args(["-F", "-c"]).arg(&config));
        wait_for_listener(&mut proc, port.addr());
        MailServer { _proc: proc, port, _dir: dir }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }
}

/// A directory for processes that become other users.
#[track_caller]
fn shared_dir() -> TempDir {
    let dir = TempDir::new().expect("a temporary directory can be made");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("it is ours");
    dir
}
