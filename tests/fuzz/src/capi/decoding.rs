//! The way in: streams, datagrams, names and walks.

use std::ptr;

use ppcapi::{Answer, DecoderState, Name, PP_DECODER_SIZE, Ssl, Status, Text, Tlv, Tlvs};
use ppcore::tlv::{self, ValueError, View};
use ppcore::{Command, Decoded, Decoder, Error, Transport, UnixAddr, Version};

use super::guarded::{Arg, Fence, Guarded, Kind, call, refuses};
use super::{JUNK, JUNK_LEN, c_addresses, c_family, name};
use crate::{naive, subject};

/// pp_decode or pp_finish.
type Judge = unsafe extern "C" fn(*mut DecoderState, *const u8, usize, *mut Answer) -> Status;

/// Decodes growing prefixes of a stream, which then ends, and the same bytes as a datagram.
pub(crate) fn decodes(
    fence: Fence,
    options: &naive::Options,
    input: &[u8],
    prefixes: impl IntoIterator<Item = usize>,
) {
    // What C cannot ask for: 0 is any length.
    let options = &naive::Options { max_v2_len: options.max_v2_len.max(1), ..*options };
    let rust_options = subject::options(options);
    let c_options = Guarded::one(fence, c_options(options));
    // The default ones may be left out.
    let is_default = *options == naive::Options::default();
    let options = if is_default { Arg::NULL } else { c_options.arg(Kind::OneOrNull) };
    let mut decoder = Guarded::one(fence, DecoderState { opaque: [JUNK; PP_DECODER_SIZE] });
    let status = judge(ppcapi::pp_decode, &decoder, &Guarded::array(fence, input)).0;
    assert_eq!(status, Status::NotInitialised);
    let status = call([decoder.arg(Kind::One), options], |[decoder, options]| {
        // SAFETY: room for a decoder, and options or NULL; what is broken is refused.
        unsafe { ppcapi::pp_decoder_init(decoder.at.cast(), options.at.cast()) }
    });
    assert_eq!(status, Status::Ok);
    let mut rust = Decoder::new(rust_options);
    for len in prefixes {
        // It may be moved, and so may the bytes.
        decoder = Guarded::one(fence, decoder[0]);
        let received = Guarded::array(fence, &input[..len]);
        let told = judge(ppcapi::pp_decode, &decoder, &received);
        assert_told(told, rust.decode(&input[..len]));
    }
    let received = Guarded::array(fence, input);
    let ended = rust.finish(input);
    assert_told(judge(ppcapi::pp_finish, &decoder, &received), ended);
    if let Ok(Decoded::Header(header)) = ended {
        walk(fence, &header, &received);
    }
    datagram(fence, options, rust_options, &received);
    spp(fence, &received);
    unix_names(fence, &received);
}

fn judge(
    function: Judge,
    decoder: &Guarded<DecoderState>,
    received: &Guarded<u8>,
) -> (Status, Answer) {
    let answer = Guarded::one(decoder.fence, junk_answer());
    let args = [decoder.arg(Kind::One), received.arg(Kind::Array), answer.arg(Kind::One)];
    let function = |[decoder, received, answer]: [Arg; 3]| {
        // SAFETY: a decoder, so many bytes, room for an answer; what is broken is refused.
        unsafe { function(decoder.at.cast(), received.at.cast(), received.len, answer.at.cast()) }
    };
    let told = (function(args), answer[0]);
    if told.0 == Status::NotInitialised {
        assert_eq!(told.1, Answer::default());
    }
    // A refusal writes zeros over the answer.
    refuses(args, told.0, function);
    told
}

fn datagram(fence: Fence, options: Arg, rust: ppcore::Options, received: &Guarded<u8>) {
    let answer = Guarded::one(fence, junk_answer());
    let args = [options, received.arg(Kind::Array), answer.arg(Kind::One)];
    let function = |[options, bytes, answer]: [Arg; 3]| {
        let (options, answer) = (options.at.cast(), answer.at.cast());
        // SAFETY: options or NULL, so many bytes, room for an answer; what is broken is refused.
        unsafe { ppcapi::pp_decode_datagram(options, bytes.at.cast(), bytes.len, answer) }
    };
    let told = (function(args), answer[0]);
    assert_told(told, ppcore::decode_datagram(rust, received));
    refuses(args, told.0, function);
}

fn spp(fence: Fence, received: &Guarded<u8>) {
    let junk = ppcapi::Addresses { family: JUNK, ..Default::default() };
    let read = Guarded::one(fence, junk);
    let status = call([received.arg(Kind::Array), read.arg(Kind::One)], |[bytes, addresses]| {
        // SAFETY: so many bytes, room for addresses; what is broken is refused.
        unsafe { ppcapi::pp_spp_decode(bytes.at.cast(), bytes.len, addresses.at.cast()) }
    });
    let expected = match ppcore::spp::decode(received) {
        Ok(addresses) => ("ok", c_addresses(&addresses)),
        Err(error) => (error.kind().name(), junk),
    };
    assert_eq!((name(status), read[0]), expected);
}

fn unix_names(fence: Fence, received: &Guarded<u8>) {
    let junk = Name { at: ptr::null(), len: JUNK_LEN, is_abstract: JUNK };
    let [source, destination] = [Guarded::one(fence, junk), Guarded::one(fence, junk)];
    let args = [received.arg(Kind::Array), source.arg(Kind::One), destination.arg(Kind::One)];
    let status = call(args, |[bytes, source, destination]| {
        let (source, destination) = (source.at.cast(), destination.at.cast());
        // SAFETY: so many bytes, room for two names; what is broken is refused.
        unsafe { ppcapi::pp_unix_names(bytes.at.cast(), bytes.len, source, destination) }
    });
    let options = ppcore::Options::new().crc32c(ppcore::Crc32cPolicy::Ignore);
    let names = match Decoder::new(options).decode(received) {
        Ok(Decoded::Header(header)) => header.unix(received),
        _ => None,
    };
    match names {
        Some(names) => {
            assert_eq!(status, Status::Ok);
            assert_eq!(
                (read_name(&source[0], received), read_name(&destination[0], received)),
                names
            );
        }
        None => {
            assert_eq!(status, Status::BadArgument);
            assert_eq!((source[0].len, destination[0].len), (JUNK_LEN, JUNK_LEN));
        }
    }
}

fn read_name<'a>(name: &Name, received: &'a [u8]) -> UnixAddr<'a> {
    if name.at.is_null() {
        assert_eq!((name.len, name.is_abstract), (0, 0));
        return UnixAddr::Unnamed;
    }
    let at = name.at.addr() - received.as_ptr().addr();
    let bytes = &received[at..at + name.len];
    if name.is_abstract == 0 { UnixAddr::Path(bytes) } else { UnixAddr::Abstract(bytes) }
}

fn walk(fence: Fence, header: &ppcore::Header, received: &Guarded<u8>) {
    let begun =
        Guarded::one(fence, Tlvs { rest: ptr::null(), rest_len: JUNK_LEN, offset: JUNK_LEN });
    let c_header = Guarded::one(fence, c_header(header));
    let begin = |[begun, header, bytes]: [Arg; 3]| {
        let (begun, header) = (begun.at.cast(), header.at.cast());
        // SAFETY: room for a walk, a header, so many bytes; what is broken is refused.
        unsafe { ppcapi::pp_tlvs_init(begun, header, bytes.at.cast(), bytes.len) }
    };
    let [begun_arg, header_arg] = [begun.arg(Kind::One), c_header.arg(Kind::One)];
    let short = Guarded::array(fence, &received[..header.len() - 1]);
    let status = begin([begun_arg, header_arg, short.arg(Kind::Array)]);
    assert_eq!((status, begun[0].offset), (Status::BadArgument, JUNK_LEN));
    let status = call([begun_arg, header_arg, received.arg(Kind::Array)], begin);
    assert_eq!(status, Status::Ok);
    assert_walk(fence, begun[0], header.tlvs(received));
}

/// Walks to the end, into each SSL value too; `rust` walks over the same bytes.
fn assert_walk(fence: Fence, begun: Tlvs, rust: tlv::Tlvs<'_>) {
    let walk = Guarded::one(fence, begun);
    let junk = Tlv {
        kind: JUNK,
        value_status: Status::End,
        value: ptr::null(),
        value_len: JUNK_LEN,
        offset: JUNK_LEN,
    };
    let next = |[walk, tlv]: [Arg; 2]| {
        // SAFETY: a walk whose bytes still stand, room for a TLV; what is broken is refused.
        unsafe { ppcapi::pp_tlvs_next(walk.at.cast(), tlv.at.cast()) }
    };
    for found in rust.map(Some).chain([None]) {
        let (before, read) = (Guarded::one(fence, walk[0]), Guarded::one(fence, junk));
        let status = next([walk.arg(Kind::One), read.arg(Kind::One)]);
        match found {
            Some(Ok(tlv)) => {
                assert_eq!(status, Status::Ok);
                refuses([before.arg(Kind::One), read.arg(Kind::One)], status, next);
                let c = read[0];
                assert_eq!((c.kind, c.offset), (tlv.kind(), tlv.offset()));
                assert_eq!((c.value, c.value_len), (tlv.value().as_ptr(), tlv.value().len()));
                assert_eq!(name(c.value_status), rule(tlv.view()));
                ssl(&read, &tlv);
                says(&read, &tlv);
            }
            Some(Err(error)) => assert_eq!(name(status), error.kind().name()),
            None => assert_eq!(status, Status::End),
        }
    }
}

fn ssl(read: &Guarded<Tlv>, tlv: &tlv::Tlv<'_>) {
    let tlvs = Tlvs { rest: ptr::null(), rest_len: JUNK_LEN, offset: JUNK_LEN };
    let inside = Guarded::one(read.fence, Ssl { client: JUNK, verify: u32::MAX, tlvs });
    let status = call([read.arg(Kind::One), inside.arg(Kind::One)], |[tlv, ssl]| {
        // SAFETY: a TLV whose bytes still stand, room for what is in it; what is broken is refused.
        unsafe { ppcapi::pp_tlv_ssl(tlv.at.cast(), ssl.at.cast()) }
    });
    match (tlv.kind(), tlv.value()) {
        (tlv::SSL, &[client, a, b, c, d, ref inner @ ..]) => {
            assert_eq!(status, Status::Ok);
            let c_ssl = inside[0];
            assert_eq!((c_ssl.client, c_ssl.verify), (client, u32::from_be_bytes([a, b, c, d])));
            let rust = tlv::Tlvs::new(inner, tlv.value_offset() + 5);
            assert_walk(read.fence, c_ssl.tlvs, rust);
        }
        (tlv::SSL, _) => assert_eq!(status, Status::TlvValueLength),
        _ => assert_eq!(status, Status::BadArgument),
    }
}

/// A value as text, and as a number.
fn says(read: &Guarded<Tlv>, tlv: &tlv::Tlv<'_>) {
    let text = Guarded::one(read.fence, Text { at: ptr::null(), len: JUNK_LEN });
    let status = call([read.arg(Kind::One), text.arg(Kind::One)], |[tlv, text]| {
        // SAFETY: a TLV whose bytes still stand, room for a text; what is broken is refused.
        unsafe { ppcapi::pp_tlv_text(tlv.at.cast(), text.at.cast()) }
    });
    let is_text = match tlv.view() {
        Ok(View::Alpn(_) | View::Authority(_) | View::Netns(_) | View::AwsVpcEndpoint(_)) => true,
        Ok(View::Other(_)) => (tlv::SSL_VERSION..=tlv::SSL_SIG_SCHEME).contains(&tlv.kind()),
        _ => false,
    };
    if is_text {
        // The id of a VPC endpoint stands behind its subtype.
        let skipped = usize::from(tlv.kind() == tlv::AWS);
        let expected = &tlv.value()[skipped..];
        assert_eq!(
            (name(status), text[0].at, text[0].len),
            ("ok", expected.as_ptr(), expected.len())
        );
    } else {
        assert_eq!(
            name(status),
            tlv.view().map_or_else(|error| rule(Err(error)), |_| "bad_argument")
        );
    }
    let number = Guarded::one(read.fence, u64::MAX);
    let status = call([read.arg(Kind::One), number.arg(Kind::One)], |[tlv, number]| {
        // SAFETY: a TLV whose bytes still stand, room for a number; what is broken is refused.
        unsafe { ppcapi::pp_tlv_number(tlv.at.cast(), number.at.cast()) }
    });
    let expected = match tlv.view() {
        Ok(View::Crc32c(sum)) => ("ok", u64::from(sum)),
        Ok(View::Gcp(id)) => ("ok", id),
        Ok(View::AzureLinkId(id)) => ("ok", u64::from(id)),
        Ok(_) => ("bad_argument", u64::MAX),
        Err(error) => (rule(Err(error)), u64::MAX),
    };
    assert_eq!((name(status), number[0]), expected);
}

/// What the name of a status says of a value.
fn rule(view: Result<View<'_>, ValueError>) -> &'static str {
    match view {
        Ok(_) => "ok",
        Err(ValueError::Length) => "tlv_value_length",
        Err(ValueError::Text) => "tlv_value_text",
        Err(ValueError::NoSslVersion) => "tlv_no_ssl_version",
        Err(ValueError::Framing(kind)) => kind.name(),
        Err(other) => panic!("a rule without a status: {other:?}"),
    }
}

#[track_caller]
fn assert_told((status, answer): (Status, Answer), rust: Result<Decoded, Error>) {
    let nothing = Answer::default();
    let expected = match rust {
        Ok(Decoded::Header(header)) => ("ok", Answer { header: c_header(&header), ..nothing }),
        Ok(Decoded::Need(need)) => ("need", Answer { need, ..nothing }),
        Ok(Decoded::Absent) => ("absent", nothing),
        Err(error) => (error.kind().name(), Answer { offset: error.offset(), ..nothing }),
    };
    assert_eq!((name(status), answer), expected);
}

fn c_options(options: &naive::Options) -> ppcapi::Options {
    ppcapi::Options {
        versions: match (options.v1, options.v2) {
            (true, false) => ppcapi::PP_VERSIONS_V1,
            (false, true) => ppcapi::PP_VERSIONS_V2,
            _ => ppcapi::PP_VERSIONS_BOTH,
        },
        crc32c: match (options.require_crc, options.verify_crc) {
            (true, _) => ppcapi::PP_CRC32C_REQUIRE,
            (false, true) => ppcapi::PP_CRC32C_VERIFY,
            (false, false) => ppcapi::PP_CRC32C_IGNORE,
        },
        mixed_v1_families: u8::from(options.mixed_v1),
        strict_tlvs: u8::from(options.strict_tlv),
        reject_unspec: u8::from(options.reject_unspec),
        may_be_absent: u8::from(options.optional),
        v2_len_max: u16::try_from(options.max_v2_len).expect("the field has 16 bits"),
    }
}

fn junk_answer() -> Answer {
    Answer { need: JUNK_LEN, offset: JUNK_LEN, ..Answer::default() }
}

/// By hand: what ppcapi makes of a header is what is on trial.
fn c_header(header: &ppcore::Header) -> ppcapi::Header {
    ppcapi::Header {
        len: header.len(),
        tlvs_offset: header.tlvs_offset(),
        version: match header.version() {
            Version::V1 => 1,
            Version::V2 => 2,
        },
        command: match header.command() {
            Command::Local => ppcapi::PP_COMMAND_LOCAL,
            Command::Proxy => ppcapi::PP_COMMAND_PROXY,
            Command::Unknown => ppcapi::PP_COMMAND_UNKNOWN,
        },
        family: c_family(header.family()),
        transport: match header.transport() {
            Transport::Unspec => ppcapi::PP_TRANSPORT_UNSPEC,
            Transport::Stream => ppcapi::PP_TRANSPORT_STREAM,
            Transport::Dgram => ppcapi::PP_TRANSPORT_DGRAM,
        },
        addresses: c_addresses(header.addresses()),
    }
}
