//! One check of one endpoint: a connect, our header, and what is said and answered behind it; or a datagram, and another.
//!
//! Knows no schedule, and not what follows. Invariant: it is over in its time, and what it holds of an answer is no
//! longer than what is expected.

use std::io;
use std::time::Duration;

use pptrust::SocketAddrs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::Target;
use crate::config::{Exchange, Protocol};
use crate::control::reach::{self, Stream, Unreached};
use crate::core::check_result::CheckResult;

/// Bytes of an answer that are shown where they are not what was expected.
const SHOWN_MAX: usize = 32;

/// Checks an endpoint. Returns how long it took.
///
/// # Errors
/// Why it has failed.
pub(super) async fn check(target: &Target) -> Result<Duration, Unreached> {
    let began = Instant::now();
    let attempt = async {
        match target.protocol {
            Protocol::Udp => ask(target).await,
            Protocol::Tcp => attempt(target).await,
        }
    };
    let checked = timeout(target.policy.timeout, attempt).await;
    checked.unwrap_or_else(|_| Err(Unreached::late())).map(|()| began.elapsed())
}

async fn attempt(target: &Target) -> Result<(), Unreached> {
    let policy = &target.policy;
    let mut reached = reach::connect(target.name.1, target.from, policy.timeout).await?;
    let addrs = reached.addrs().map_err(|error| Unreached::of(&error))?;
    let socket = reached.stream();
    let mut said = target.hello.bytes(addrs);
    if let Some(Exchange { send, .. }) = &policy.exchange {
        said.extend(send);
    }
    if !said.is_empty() {
        socket.write_all(&said).await.map_err(|error| broken(&error))?;
    }
    match &policy.exchange {
        Some(Exchange { expect, .. }) => answered(socket, expect).await,
        None => Ok(()),
    }
}

/// Sends a datagram, and takes what comes first for the answer.
async fn ask(target: &Target) -> Result<(), Unreached> {
    let Some(Exchange { send, expect }) = &target.policy.exchange else { return Ok(()) };
    let failed = |error: io::Error| Unreached::of(&error);
    let socket = reach::open(target.name.1, target.from)?;
    let own = socket.local_addr().map_err(failed)?;
    let local = socket.peer_addr().map_err(failed)?;
    let header = target.hello.bytes(Some(SocketAddrs { peer: own, local }));
    socket.send(&[&header[..], send].concat()).await.map_err(failed)?;
    let mut begins = if target.hello.comes_back() { header } else { Vec::new() };
    begins.extend(expect);
    // The rest of it is nobody's.
    let mut answer = vec![0; begins.len().max(SHOWN_MAX)];
    let len = socket.recv(&mut answer).await.map_err(failed)?;
    if answer[..len].starts_with(&begins) {
        return Ok(());
    }
    Err(otherwise(&answer[..len], "which is not what was expected"))
}

/// Reads until what was expected has come, or something else has.
async fn answered(socket: &mut dyn Stream, expect: &[u8]) -> Result<(), Unreached> {
    // Where nothing is expected any byte will do.
    let mut answer = vec![0; expect.len().max(1)];
    let mut len = 0;
    while len < answer.len() {
        match socket.read(&mut answer[len..]).await {
            Ok(0) if len == 0 => return Err(unexpected("it closed without an answer".to_owned())),
            Ok(0) => return Err(otherwise(&answer[..len], "and closed")),
            Ok(count) => len += count,
            Err(error) => return Err(broken(&error)),
        }
        let agreed = len.min(expect.len());
        if answer[..agreed] != expect[..agreed] {
            return Err(otherwise(&answer[..len], "which is not what was expected"));
        }
    }
    Ok(())
}

fn otherwise(answer: &[u8], how: &str) -> Unreached {
    let shown = &answer[..answer.len().min(SHOWN_MAX)];
    unexpected(format!("it answered \"{}\", {how}", shown.escape_ascii()))
}

fn unexpected(why: String) -> Unreached {
    Unreached { result: CheckResult::Unexpected, why }
}

/// A connection that stood is broken.
fn broken(error: &io::Error) -> Unreached {
    if [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&error.kind()) {
        let why = "it reset the connection behind our first bytes".to_owned();
        return Unreached { result: CheckResult::Reset, why };
    }
    Unreached::of(error)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::super::hello::Hello;
    use super::super::tests::{policy, target};
    use super::*;

    /// Checks somebody who reads what is said, answers, and closes or resets; returns what it came to.
    async fn checked(
        exchange: (&[u8], &[u8]),
        answer: &'static [u8],
        then: Then,
    ) -> Result<Duration, Unreached> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let said = [b"PROXY UNKNOWN\r\n", exchange.0].concat();
        let len = said.len();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut read = vec![0; len];
            socket.read_exact(&mut read).await.unwrap();
            // In pieces of one byte.
            for byte in answer {
                socket.write_all(&[*byte]).await.unwrap();
            }
            match then {
                Then::Close => {}
                Then::Reset => {
                    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
                }
                Then::Wait => drop(socket.read(&mut [0]).await),
            }
            read
        });
        let outcome = check(&to(addr, exchange, Duration::from_secs(10))).await;
        assert_eq!(server.await.unwrap(), said);
        outcome
    }

    enum Then {
        Close,
        Reset,
        Wait,
    }

    fn to(addr: SocketAddr, (send, expect): (&[u8], &[u8]), timeout: Duration) -> Target {
        let exchange = Some(Exchange { send: send.to_vec(), expect: expect.to_vec() });
        let interval = Duration::from_secs(1);
        let mut target = target(addr.port(), interval);
        target.hello = Hello::Fixed(b"PROXY UNKNOWN\r\n".to_vec());
        target.policy = crate::config::CheckPolicy { exchange, timeout, ..policy(interval) }.into();
        target
    }

    #[tokio::test]
    async fn an_answer_passes_by_its_first_bytes() {
        for (exchange, answer) in [
            ((&b"PING\r\n"[..], &b"+PONG"[..]), &b"+PONG\r\n"[..]),
            ((b"", b"220 "), b"220 mail.example ESMTP\r\n"),
            ((b"", b""), b"\0"),
        ] {
            let outcome = checked(exchange, answer, Then::Wait).await;
            assert!(outcome.is_ok(), "{exchange:?} {outcome:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_expected_fails_and_is_shown() {
        let expect = (&b""[..], &b"+PONG"[..]);
        for (answer, then, result, why) in [
            (
                &b"+PONK\r\n"[..],
                Then::Wait,
                CheckResult::Unexpected,
                "it answered \"+PONK\", which is not what was expected",
            ),
            (b"+PO", Then::Close, CheckResult::Unexpected, "it answered \"+PO\", and closed"),
            (b"", Then::Close, CheckResult::Unexpected, "it closed without an answer"),
            (
                b"",
                Then::Reset,
                CheckResult::Reset,
                "it reset the connection behind our first bytes",
            ),
        ] {
            let failed = checked(expect, answer, then).await.unwrap_err();
            assert_eq!((failed.result, &*failed.why), (result, why));
        }
    }

    /// Asks somebody who answers a datagram with another, and has the header come back if that is asked for.
    async fn asked(
        expect: &[u8],
        answer: &'static [u8],
        spp: bool,
    ) -> (Vec<u8>, Result<Duration, Unreached>) {
        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut target =
            to(socket.local_addr().unwrap(), (b"who", expect), Duration::from_secs(10));
        target.protocol = Protocol::Udp;
        let header = if spp { ppcore::spp::LEN } else { b"PROXY UNKNOWN\r\n".len() };
        if spp {
            let send = pptrust::Outgoing::Spp { destination: pptrust::Destination::Original };
            target.hello = Hello::new(send, crate::config::CheckHeader::Auto, Protocol::Udp);
        }
        let server = tokio::spawn(async move {
            let mut question = [0; 99];
            let (len, peer) = socket.recv_from(&mut question).await.unwrap();
            let echoed = if spp { &question[..header] } else { b"" };
            socket.send_to(&[echoed, answer].concat(), peer).await.unwrap();
            question[header..len].to_vec()
        });
        let outcome = check(&target).await;
        (server.await.unwrap(), outcome)
    }

    #[tokio::test]
    async fn a_datagram_is_answered_by_one_that_begins_as_expected() {
        for spp in [false, true] {
            for (expect, answer) in [(&b"+PONG"[..], &b"+PONG and more"[..]), (b"", b"")] {
                let (question, outcome) = asked(expect, answer, spp).await;
                assert_eq!(question, b"who");
                assert!(outcome.is_ok(), "{outcome:?}");
            }
            let failed = asked(b"+PONG", b"+PON", spp).await.1.unwrap_err();
            assert_eq!(failed.result, CheckResult::Unexpected, "{failed:?}");
        }
    }

    #[tokio::test]
    async fn where_nobody_takes_datagrams_is_refused() {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut target = to(socket.local_addr().unwrap(), (b"?", b""), Duration::from_secs(10));
        target.protocol = Protocol::Udp;
        drop(socket);
        let refused = check(&target).await.unwrap_err();
        assert_eq!(refused.result, CheckResult::Refused, "{refused:?}");
    }

    #[tokio::test]
    async fn silence_fails_when_the_time_is_over() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let outcome = check(&to(addr, (b"", b"+"), Duration::from_millis(20))).await;
        assert_eq!(outcome.unwrap_err(), Unreached::late());
    }
}
