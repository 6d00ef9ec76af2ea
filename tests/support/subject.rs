//! ppcore's answers in the oracle's words, so that the two can be compared as values.
//!
//! It decides nothing: every field is what ppcore's public interface says.

use std::net::SocketAddr;

use ppcore::{
    Crc32cPolicy, Crc32cStatus, Decoded, Decoder, Error, ErrorKind, Presence, TlvFraming, UnixAddr,
    Unspec, V1Families, Versions,
};

use crate::naive::{self, Answer, Input};

/// The same configuration for ppcore.
pub(crate) fn options(options: &naive::Options) -> ppcore::Options {
    let versions = match (options.v1, options.v2) {
        (true, true) => Versions::Both,
        (true, false) => Versions::V1,
        (false, true) => Versions::V2,
        (false, false) => panic!("ppcore always takes some version"),
    };
    let crc32c = match (options.verify_crc, options.require_crc) {
        (false, _) => Crc32cPolicy::Ignore,
        (true, false) => Crc32cPolicy::Verify,
        (true, true) => Crc32cPolicy::Require,
    };
    let pick = |flag: bool| usize::from(flag);
    ppcore::Options::new()
        .versions(versions)
        .v1_families([V1Families::Strict, V1Families::Mixed][pick(options.mixed_v1)])
        .v2_len_max(u16::try_from(options.max_v2_len).expect("the field has 16 bits"))
        .crc32c(crc32c)
        .tlv_framing([TlvFraming::Lazy, TlvFraming::Strict][pick(options.strict_tlv)])
        .unspec([Unspec::Accept, Unspec::Reject][pick(options.reject_unspec)])
        .presence([Presence::Required, Presence::Optional][pick(options.optional)])
}

/// What ppcore says to all of `input` at once.
pub(crate) fn decode(input: &[u8], asked: &naive::Options) -> Answer {
    let mut decoder = Decoder::new(options(asked));
    let decoded = match asked.input {
        Input::Open => decoder.decode(input),
        Input::Closed => decoder.finish(input),
        Input::Datagram => {
            // The function keeps its decoder to itself; this one is asked for the version only.
            let _ = decoder.decode(input);
            ppcore::decode_datagram(options(asked), input)
        }
        Input::Spp => return spp(input),
    };
    answer(decoded, decoder.version(input), input)
}

/// One answer of a decoder, with the version it is on.
pub(crate) fn answer(
    decoded: Result<Decoded, Error>,
    version: Option<ppcore::Version>,
    received: &[u8],
) -> Answer {
    let version = version.map(version_name);
    match decoded {
        Ok(Decoded::Header(header)) => Answer::Ok(Box::new(fields(&header, received))),
        Ok(Decoded::Need(need)) => Answer::Incomplete { version, need },
        Ok(Decoded::Absent) => Answer::Absent,
        Err(error) if error.kind() == ErrorKind::NotProxy => {
            Answer::NotProxy { offset: error.offset() }
        }
        Err(error) => Answer::Error { version, kind: error.kind().name(), offset: error.offset() },
    }
}

fn fields(header: &ppcore::Header, received: &[u8]) -> naive::Header {
    let (src, dst) = match header.unix(received) {
        Some((source, destination)) => (Some(unix(source)), Some(unix(destination))),
        None => {
            let text = |addr: SocketAddr| addr.to_string();
            (header.source().map(text), header.destination().map(text))
        }
    };
    let mut tlvs = Vec::new();
    let mut tlv_error = None;
    for tlv in header.tlvs(received) {
        assert_eq!(tlv_error, None, "the walk goes on behind its error");
        match tlv {
            Ok(tlv) => tlvs.push((tlv.kind(), tlv.value().to_vec())),
            Err(error) => tlv_error = Some(error.kind().name()),
        }
    }
    naive::Header {
        version: version_name(header.version()),
        command: match header.command() {
            ppcore::Command::Proxy => "PROXY",
            ppcore::Command::Local => "LOCAL",
            ppcore::Command::Unknown => "UNKNOWN",
        },
        family: family(header.family()),
        transport: match header.transport() {
            ppcore::Transport::Unspec => "UNSPEC",
            ppcore::Transport::Stream => "STREAM",
            ppcore::Transport::Dgram => "DGRAM",
        },
        src,
        dst,
        consumed: header.len(),
        tlvs,
        tlv_error,
        crc: match header.crc32c(received) {
            Crc32cStatus::Absent => "absent",
            Crc32cStatus::Valid => "valid",
            Crc32cStatus::Mismatch => "mismatch",
            Crc32cStatus::Malformed => "malformed",
        },
    }
}

fn spp(datagram: &[u8]) -> Answer {
    let addresses = match ppcore::spp::decode(datagram) {
        Ok(addresses) => addresses,
        Err(error) if error.kind() == ErrorKind::NotProxy => {
            return Answer::NotProxy { offset: error.offset() };
        }
        Err(error) => {
            let version = datagram.starts_with(&ppcore::spp::MAGIC).then_some("spp");
            return Answer::Error { version, kind: error.kind().name(), offset: error.offset() };
        }
    };
    Answer::Ok(Box::new(naive::Header {
        version: "spp",
        command: "PROXY",
        family: family(addresses.family()),
        transport: "DGRAM",
        src: addresses.source().map(|source| source.to_string()),
        dst: addresses.destination().map(|destination| destination.to_string()),
        consumed: ppcore::spp::LEN,
        tlvs: Vec::new(),
        tlv_error: None,
        crc: "absent",
    }))
}

fn version_name(version: ppcore::Version) -> &'static str {
    match version {
        ppcore::Version::V1 => "1",
        ppcore::Version::V2 => "2",
    }
}

fn family(family: ppcore::Family) -> &'static str {
    match family {
        ppcore::Family::Unspec => "UNSPEC",
        ppcore::Family::Inet => "INET",
        ppcore::Family::Inet6 => "INET6",
        ppcore::Family::Unix => "UNIX",
    }
}

/// The text that `decode --json` shows for a UNIX name.
fn unix(addr: UnixAddr<'_>) -> String {
    match addr {
        UnixAddr::Unnamed => "unix:".to_owned(),
        UnixAddr::Path(path) => {
            format!("unix:{}", path.iter().copied().map(char::from).collect::<String>())
        }
        UnixAddr::Abstract(name) => {
            let hex: Vec<String> = name.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("unix-abstract:{}", hex.concat())
        }
    }
}
