//! `mail`: a real Postfix and a real Dovecot, to whom clients are who the balancer says they are.

use std::process::{Command, Output};

use crate::common::process::Stream;
use crate::namespace::in_a_namespace;
use crate::rig::{Host, Recipe, internet, ran, sh, succeeded};

const CLIENT: &str = "203.0.113.7";

/// What a mail host has before it is put behind a balancer: Debian's services, and mail that is thrown away.
const POSTFIX: &str = "
    cp -a /etc/postfix /run/etc-postfix
    mount --bind /run/etc-postfix /etc/postfix
    mount -t tmpfs -o mode=755 tmpfs /var/spool/postfix
    mount -t tmpfs -o mode=755 tmpfs /var/lib/postfix
    chown postfix /var/lib/postfix
    cp /usr/share/postfix/master.cf.dist /etc/postfix/master.cf
    cat > /etc/postfix/main.cf <<END
compatibility_level = 3.6
maillog_file = /dev/stdout
myhostname = mail.example.com
mydestination = example.com
mynetworks = 127.0.0.0/8
local_recipient_maps =
local_transport = discard:
alias_maps =
smtpd_peername_lookup = no
END
    postfix check";

const DOVECOT: &str = "
    mount -t tmpfs -o mode=755 tmpfs /etc/dovecot
    mkdir -m 777 /run/mail
    mkdir /etc/dovecot/conf.d
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=mail.example.com \
        -keyout /etc/dovecot/key.pem -out /etc/dovecot/cert.pem 2> /dev/null
    cat > /etc/dovecot/dovecot.conf <<END
log_path = /dev/stderr
protocols = imap
ssl = required
ssl_cert = </etc/dovecot/cert.pem
ssl_key = </etc/dovecot/key.pem
mail_location = maildir:/run/mail/%u
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=/run/mail
}
!include conf.d/*.conf
END";

#[test]
fn postfix_and_dovecot_take_clients_for_who_the_balancer_says_they_are() {
    in_a_namespace(|| {
        let recipe = Recipe::named("mail");
        internet(&[CLIENT]);
        let balancer = Host::with("balancer", &["10.0.0.2", "192.0.2.1"]);
        let mail = Host::with("mail", &["10.0.0.10"]);
        sh(POSTFIX);
        succeeded(Command::new("sh").arg(recipe.file("postfix.sh")));
        sh(DOVECOT);
        sh(&format!("cp {} /etc/dovecot/conf.d/99-ppserver.conf", recipe.file("dovecot.conf")));
        let postfix = mail.start(10025, "/usr/lib/postfix/sbin/master", &["-d"]);
        let dovecot = mail.start(10993, "dovecot", &["-F"]);
        let _ours = mail.ppserver(&recipe.file("ppserver.toml"));
        let _haproxy = balancer.start(993, "haproxy", &["-db", "-f", &recipe.file("haproxy.cfg")]);

        let taken = send("postmaster@example.com");
        assert!(taken.status.success(), "{taken:?}");
        let line = format!("client=unknown[{CLIENT}]");
        postfix.wait_for_line(Stream::Stdout, &line, |said| said.contains(&line).then_some(()));
        // To the socket he is 127.0.0.1, which may send mail to anybody.
        let refused = send("somebody@example.net");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("454"), "{said}");

        succeeded(curl().args(["-k", "--user", "somebody:secret", "imaps://192.0.2.1/"]));
        dovecot.wait_for_line(Stream::Stderr, "a login", |said| {
            let words = ["Login: user=<somebody>", &format!("rip={CLIENT}"), "lip=192.0.2.1"];
            words.iter().all(|word| said.contains(word)).then_some(())
        });
    });
}

fn curl() -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-q", "-sS", "--max-time", "20", "--interface", CLIENT]);
    curl
}

#[track_caller]
fn send(recipient: &str) -> Output {
    let mut curl = curl();
    curl.args(["smtp://192.0.2.1/client.example.org", "--mail-from", "somebody@example.org"]);
    ran(curl.args(["--mail-rcpt", recipient, "-T", "/etc/hostname"]))
}
