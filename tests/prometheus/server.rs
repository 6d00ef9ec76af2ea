//! Prometheus itself: started to scrape one address every 100 ms, and asked by its HTTP interface.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::INSTALL;
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::process::{Proc, require_program};
use crate::common::socket::ReservedPort;

pub(crate) struct Prometheus {
    proc: Proc,
    port: ReservedPort,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts one, and waits until it answers.
    #[track_caller]
    pub(crate) fn scraping(target: SocketAddr) -> Prometheus {
        let (dir, port) = (TempDir::new().expect("a temporary directory"), ReservedPort::new());
        let file = dir.path().join("prometheus.yml");
        let text = format!(
            "scrape_configs:\n  - job_name: ppserver\n    scrape_interval: 100ms\n    \
             scrape_timeout: 100ms\n    static_configs:\n      - targets: ['{target}']\n"
        );
        fs::write(&file, text).expect("a file in it can be written");
        let mut command = Command::new(require_program("prometheus", INSTALL));
        command.arg("--config.file").arg(&file);
        command.arg("--storage.tsdb.path").arg(dir.path().join("data"));
        command.arg(format!("--web.listen-address={}", port.addr()));
        let proc = Proc::spawn("prometheus", &mut command);
        let prometheus = Prometheus { proc, port, _dir: dir };
        let ready = poll_for(PATIENCE, || prometheus.get("/-/ready"));
        assert!(ready.is_some(), "it is not ready\n{}", prometheus.transcript());
        prometheus
    }

    /// Whether it has scraped often enough for rates.
    pub(crate) fn has_scrapes(&self) -> bool {
        !self.query("count_over_time(up{job=\"ppserver\"}[1m]) > 3 and up == 1").is_empty()
    }

    #[track_caller]
    pub(crate) fn wait_for_scrapes(&self) {
        let found = poll_for(PATIENCE, || self.has_scrapes().then_some(()));
        found.unwrap_or_else(|| panic!("it does not scrape\n{}", self.transcript()));
    }

    /// Waits until a query has an answer.
    #[track_caller]
    pub(crate) fn wait_for(&self, query: &str) {
        let found = poll_for(PATIENCE, || (!self.query(query).is_empty()).then_some(()));
        found.unwrap_or_else(|| panic!("never: {query}\n{}", self.transcript()));
    }

    /// The one number that answers a query.
    #[track_caller]
    pub(crate) fn number(&self, query: &str) -> u64 {
        let answer = self.query(query);
        let number = answer.first().and_then(|series| series["value"][1].as_str()?.parse().ok());
        number.unwrap_or_else(|| panic!("{query}: {answer:?}"))
    }

    /// The series that answer a query.
    #[track_caller]
    pub(crate) fn query(&self, query: &str) -> Vec<Value> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={escaped}"));
        let answer = answer.unwrap_or_else(|| panic!("{query} is refused"));
        let answer: Value = serde_json::from_str(&answer).expect("it answers in JSON");
        answer["data"]["result"].as_array().expect("a list of series").clone()
    }

    /// The names of all metrics.
    #[track_caller]
    pub(crate) fn names(&self) -> Vec<String> {
        let answer = self.get("/api/v1/label/__name__/values").expect("it knows names");
        let answer: Value = serde_json::from_str(&answer).expect("it answers in JSON");
        let names = answer["data"].as_array().expect("a list").iter();
        names.map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    pub(crate) fn transcript(&self) -> String {
        self.proc.transcript()
    }

    /// The body of an answer that is 200.
    fn get(&self, path: &str) -> Option<String> {
        let mut socket = TcpStream::connect(self.port.addr()).ok()?;
        // Of version 1.0: the body ends with the connection.
        write!(socket, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split(' ').nth(1).filter(|code| *code == "200")?;
        Some(body.to_owned())
    }
}
