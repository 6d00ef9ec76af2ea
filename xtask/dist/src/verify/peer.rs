//! Both ends of a proxy that is tried: a server that sends back what it is sent, and clients of it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// What any answer may take; an emulated processor is slow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a server on loopback that sends back what it is sent, and ends with this process.
///
/// # Errors
/// When there is no port.
pub(super) fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
    Ok(addr)
}

/// Returns a port of loopback that was free a moment ago.
///
/// # Errors
/// When there is none.
pub(super) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A connection through the proxy to [`echo`].
pub(super) struct Session(TcpStream);

impl Session {
    /// # Errors
    /// When nobody answers.
    pub(super) fn open(proxy: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(proxy).with_context(|| format!("connecting to {proxy}"))?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut session = Self(stream);
        session.goes_on()?;
        Ok(session)
    }

    /// # Errors
    /// When what was sent does not come back.
    pub(super) fn goes_on(&mut self) -> Result<()> {
        let sent = *b"still here";
        let mut came = [0; 10];
        self.0.write_all(&sent)?;
        self.0.read_exact(&mut came).context("the session is over")?;
        if came != sent {
            bail!("{came:?} came back for {sent:?}");
        }
        Ok(())
    }
}

/// Runs `ppserver demo`, is a client of it behind a balancer, and ends it.
///
/// # Errors
/// When the upstream does not see the client, or the end is not one in peace.
pub(super) fn demonstrate(ppserver: &mut Command) -> Result<()> {
    let child = ppserver.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut demo = Ended(child.context("`ppserver demo` does not start")?);
    let stdout = demo.0.stdout.take().context("its stdout is a pipe")?;
    let mut first = String::new();
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut first)?;
    // `curl --haproxy-protocol http://127.0.0.1:8080/`
    let proxy = first.trim().rsplit("http://").next().map(|url| url.trim_end_matches('/'));
    let proxy = proxy.and_then(|addr| addr.parse::<SocketAddr>().ok());
    let proxy = proxy.with_context(|| format!("no address in the demo's first line: {first}"))?;

    let mut client = TcpStream::connect(proxy)?;
    client.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    client.write_all(b"PROXY TCP4 198.51.100.9 192.0.2.1 4321 80\r\nGET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    if !answer.contains("198.51.100.9") {
        bail!("the demo's upstream does not see its client: {answer}");
    }
    demo.terminate()?;
    // Or its last lines would find a closed pipe.
    io::copy(&mut stdout, &mut io::sink())?;
    let status = demo.0.wait()?;
    if !status.success() {
        bail!("`ppserver demo` ended with {status}");
    }
    println!("the upstream of `ppserver demo` saw 198.51.100.9");
    Ok(())
}

/// A process that does not outlive its owner.
pub(super) struct Ended(pub(super) Child);

impl Ended {
    /// # Errors
    /// When it cannot be signalled.
    pub(super) fn terminate(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.0), Signal::TERM)?)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command says.
///
/// # Errors
/// When it fails.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} does not start"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
