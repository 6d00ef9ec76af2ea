//! The `decode --json` contract: one object, always all of its keys.
//!
//! Scripts read it, so a name or a meaning never changes. Invariant: what does not apply is `null`
//! (`[]` for the TLVs), never left out.

use ppcore::{
    Addresses, Command, Crc32cStatus, ErrorKind, Family, Header, Transport, UnixAddr, tlv,
};
use serde::Serialize;

use super::{Format, Outcome, Verdict};
use crate::cli::hex;

/// Prints a verdict as one line of JSON.
pub(super) fn json(verdict: &Verdict, input: &[u8]) -> String {
    let report = Report::new(verdict, input);
    serde_json::to_string(&report).expect("strings, numbers and lists always serialise") + "\n"
}

#[derive(Debug, Serialize)]
struct Report {
    result: &'static str,
    version: Option<VersionField>,
    command: Option<&'static str>,
    family: Option<&'static str>,
    transport: Option<&'static str>,
    src: Option<String>,
    dst: Option<String>,
    consumed: Option<usize>,
    tlvs: Vec<TlvField>,
    tlv_error: Option<&'static str>,
    crc: Option<&'static str>,
    need: Option<usize>,
    error: Option<ErrorField>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum VersionField {
    Number(u8),
    Name(&'static str),
}

#[derive(Debug, Serialize)]
struct TlvField {
    #[serde(rename = "type")]
    kind: u8,
    name: &'static str,
    value_hex: String,
}

#[derive(Debug, Serialize)]
struct ErrorField {
    kind: &'static str,
    message: String,
    offset: usize,
}

impl Report {
    fn new(verdict: &Verdict, input: &[u8]) -> Self {
        let version = verdict.format.map(|format| match format {
            Format::V1 => VersionField::Number(1),
            Format::V2 => VersionField::Number(2),
            Format::Spp => VersionField::Name("spp"),
        });
        let empty = Self {
            result: verdict.outcome.name(),
            version,
            command: None,
            family: None,
            transport: None,
            src: None,
            dst: None,
            consumed: None,
            tlvs: Vec::new(),
            tlv_error: None,
            crc: None,
            need: None,
            error: None,
        };
        match &verdict.outcome {
            Outcome::Header(header) => empty.with_header(header, input),
            Outcome::Spp(addresses) => Self {
                command: Some(Command::Proxy.name()),
                family: Some(family_name(addresses.family())),
                transport: Some(transport_name(Transport::Dgram)),
                src: addresses.source().map(|addr| addr.to_string()),
                dst: addresses.destination().map(|addr| addr.to_string()),
                consumed: Some(ppcore::spp::LEN),
                crc: Some(crc_name(Crc32cStatus::Absent)),
                ..empty
            },
            Outcome::Need(need) => Self { need: Some(*need), ..empty },
            Outcome::Refused(error) => {
                let error = ErrorField {
                    kind: error.kind().name(),
                    message: error.kind().to_string(),
                    offset: error.offset(),
                };
                Self {
                    crc: verdict.outcome.refused_crc().map(crc_name),
                    error: Some(error),
                    ..empty
                }
            }
        }
    }

    fn with_header(mut self, header: &Header, input: &[u8]) -> Self {
        self.command = Some(header.command().name());
        self.family = Some(family_name(header.family()));
        self.transport = Some(transport_name(header.transport()));
        (self.src, self.dst) = endpoints(header, input);
        self.consumed = Some(header.len());
        for tlv in header.tlvs(input) {
            match tlv {
                Ok(tlv) => self.tlvs.push(TlvField {
                    kind: tlv.kind(),
                    name: tlv::name(tlv.kind()),
                    value_hex: hex::format(tlv.value()),
                }),
                Err(error) => self.tlv_error = Some(error.kind().name()),
            }
        }
        self.crc = Some(crc_name(header.crc32c(input)));
        self
    }
}

impl Outcome {
    /// Returns the contract's word for it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Header(_) | Self::Spp(_) => "ok",
            Self::Need(_) => "incomplete",
            Self::Refused(error) if error.kind() == ErrorKind::NotProxy => "not_proxy",
            Self::Refused(_) => "error",
        }
    }

    /// Returns what the refusal says of the checksum, if it is about it.
    fn refused_crc(&self) -> Option<Crc32cStatus> {
        let Self::Refused(error) = self else { return None };
        let kind = error.kind();
        if kind == ErrorKind::CrcMismatch {
            Some(Crc32cStatus::Mismatch)
        } else if matches!(kind, ErrorKind::CrcBadLength | ErrorKind::CrcDuplicate) {
            Some(Crc32cStatus::Malformed)
        } else {
            None
        }
    }
}

/// Returns source and destination in the contract's notation.
fn endpoints(header: &Header, input: &[u8]) -> (Option<String>, Option<String>) {
    match header.addresses() {
        Addresses::None => (None, None),
        addresses @ (Addresses::Inet { .. } | Addresses::Inet6 { .. }) => (
            addresses.source().map(|addr| addr.to_string()),
            addresses.destination().map(|addr| addr.to_string()),
        ),
        Addresses::Unix => header.unix(input).map_or((None, None), |(source, destination)| {
            (Some(unix_name(&source)), Some(unix_name(&destination)))
        }),
    }
}

/// A path need not be UTF-8: each byte becomes the code point of its number, so that none is lost.
fn unix_name(addr: &UnixAddr<'_>) -> String {
    match addr {
        UnixAddr::Unnamed => "unix:".to_owned(),
        UnixAddr::Path(path) => {
            "unix:".chars().chain(path.iter().copied().map(char::from)).collect()
        }
        UnixAddr::Abstract(name) => format!("unix-abstract:{}", hex::format(name)),
    }
}

/// Returns the contract's word for a family.
pub(super) const fn family_name(family: Family) -> &'static str {
    match family {
        Family::Unspec => "UNSPEC",
        Family::Inet => "INET",
        Family::Inet6 => "INET6",
        Family::Unix => "UNIX",
    }
}

/// Returns the contract's word for a transport.
pub(super) const fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Unspec => "UNSPEC",
        Transport::Stream => "STREAM",
        Transport::Dgram => "DGRAM",
    }
}

/// Returns the contract's word for a checksum's state.
pub(super) const fn crc_name(status: Crc32cStatus) -> &'static str {
    match status {
        Crc32cStatus::Absent => "absent",
        Crc32cStatus::Valid => "valid",
        Crc32cStatus::Mismatch => "mismatch",
        Crc32cStatus::Malformed => "malformed",
    }
}
