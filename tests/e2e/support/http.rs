//! The least of HTTP that a test of the admin doors needs: one request a connection, read to its end.

use std::fmt;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::common::deadline::{PATIENCE, poll_for};

/// Where a server answers.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A connection to a door.
pub(crate) trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Door::Tcp(addr) => addr.fmt(f),
            Door::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Door {
    /// Opens a connection, whose reads have a bound.
    #[track_caller]
    pub(crate) fn connect(&self) -> Box<dyn Stream> {
        match self {
            Door::Tcp(addr) => {
                let stream = TcpStream::connect(addr).expect("the door is open");
                stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
                Box::new(stream)
            }
            Door::Unix(path) => {
                let stream = UnixStream::connect(path).expect("the door is open");
                stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
                Box::new(stream)
            }
        }
    }

    /// Listens to what happens from now on.
    #[track_caller]
    pub(crate) fn events(&self) -> Events {
        let mut stream = self.connect();
        let asked = stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        asked.expect("the door is open");
        let mut events = Events(BufReader::new(stream).lines());
        assert_eq!(events.lines().next().as_deref(), Some("HTTP/1.1 200 OK"));
        // The first one says that somebody listens.
        assert!(events.lines().any(|line| line == ": still here"));
        events
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str) -> Answer {
        self.ask("POST", path, "")
    }

    /// Asks with further fields in the head, each with its line end.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, fields: &str) -> Answer {
        let host = if fields.contains("Host:") { "" } else { "Host: localhost\r\n" };
        let head = format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{fields}\r\n");
        let mut stream = self.connect();
        stream.write_all(head.as_bytes()).expect("a request is taken");
        Answer::read(stream)
    }
}

impl Answer {
    /// Reads to the end of the connection.
    #[track_caller]
    pub(crate) fn read(mut stream: impl Read) -> Answer {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer ends");
        let text = String::from_utf8(bytes).expect("an answer is text");
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Answer {
            status: status.expect("the first line has a status"),
            head: head.to_owned(),
            body: if is_chunked { dechunked(body) } else { body.to_owned() },
        }
    }

    /// The body, which must be JSON, behind this status.
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// The events of a door.
pub(crate) struct Events(Lines<BufReader<Box<dyn Stream>>>);

impl Events {
    fn lines(&mut self) -> impl Iterator<Item = String> {
        self.0.by_ref().map(|line| line.expect("it is read until it ends"))
    }

    /// Waits for the next one of this name, and returns what it says.
    #[track_caller]
    pub(crate) fn next(&mut self, name: &str) -> Value {
        assert!(self.lines().any(|line| line == format!("event: {name}")), "{name} comes");
        let data = self.lines().next().expect("an event is whole");
        let data = data.strip_prefix("data: ").expect("it has data");
        serde_json::from_str(data).expect("it is JSON")
    }

    /// Waits until they end, and returns the last line.
    #[track_caller]
    pub(crate) fn last_line(mut self) -> Option<String> {
        self.lines().last()
    }
}

/// Waits until no gauge of connections counts any.
#[track_caller]
pub(crate) fn assert_gauges_at_rest(door: &Door) {
    const GAUGES: [&str; 2] =
        ["ppserver_connections_active{", "ppserver_endpoint_connections_active{"];
    let counting = || {
        let metrics = door.get("/metrics").body;
        let gauges = metrics.lines().filter(|line| GAUGES.iter().any(|it| line.starts_with(it)));
        gauges.filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect::<Vec<_>>()
    };
    let at_rest = poll_for(PATIENCE, || counting().is_empty().then_some(()));
    assert!(at_rest.is_some(), "{:?}", counting());
}

/// RFC 9112 7.1, without extensions.
fn dechunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((len, rest)) = body.split_once("\r\n") {
        let len = usize::from_str_radix(len, 16).expect("a chunk has its length");
        if len == 0 {
            return whole;
        }
        whole.push_str(&rest[..len]);
        body = &rest[len + 2..];
    }
    panic!("the last chunk is missing behind {} bytes", whole.len());
}
