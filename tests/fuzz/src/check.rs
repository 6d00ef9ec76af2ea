//! The properties, one function each; a property that does not hold panics.

use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use ppcore::tlv::TLV_HEADER_LEN;
use ppcore::{Decoded, Decoder};
use ppserver::config::AccessLogFormat;
use ppserver::core::connection_id::ConnectionIds;
use ppserver::core::intent::Intent;
use ppserver::data::datagrams_fuzzed;
use ppserver::telemetry::access_log::Record;

use crate::capi::Fence;
use crate::naive::{self, Answer, Input, Options};
use crate::{batches, capi, choose, cuts, layout, round_trip, routes, seeds, subject, views};

/// The answer to the whole input is the oracle's.
pub fn decode(data: &[u8]) {
    let Some((options, input)) = choose(data) else { return };
    cuts::check_prefixes(input, &options, [input.len()]);
}

/// Whatever comes to a door is answered in HTTP or not at all, and changes nothing through TCP.
pub fn admin(data: &[u8]) {
    let answers = ppserver::control::fuzzed::answer(data);
    assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."), "{data:02x?}");
}

/// Whatever a capture holds is told as text that a terminal may show and as lines of JSON; and bytes are read back
/// from what xxd prints of them.
pub fn capture(data: &[u8]) {
    let [text, json] = ppserver::cli::explain_capture(data);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    for line in json.lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line.is_object()),
            "{line}"
        );
    }
    // Whatever it is, as a text.
    let _ = ppserver::cli::unhex(data);
    let rows = data.chunks(16).enumerate().map(|(index, row)| {
        let pairs =
            row.chunks(2).map(|pair| pair.iter().map(|byte| format!("{byte:02x}")).collect());
        let pairs: Vec<String> = pairs.collect();
        let shown = |&byte: &u8| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' };
        let shown: String = row.iter().map(shown).collect();
        format!("{:08x}: {:<39}  {shown}\n", index * 16, pairs.join(" "))
    });
    let dump: String = rows.collect();
    assert_eq!(ppserver::cli::unhex(dump.as_bytes()).as_deref(), Some(data), "{dump}");
}

/// The answers are the oracle's however the bytes are cut, wherever they end. The last byte of the
/// input seeds the cuts.
pub fn split(data: &[u8]) {
    let Some((options, input)) = choose(data) else { return };
    let Some((&salt, input)) = input.split_last() else { return };
    let chunks = chunks(salt, input.len());
    cuts::check_prefixes(input, &options, prefixes(&chunks, input.len()));
    cuts::check_collector(input, &options, chunks);
    cuts::check_need(input, &options);
    cuts::check_ends(input, &options);
}

/// Cuts of 1 to 16 bytes at first: headers break where fields do. Then longer ones, so that the longest
/// header takes no longer than a few hundred answers of the oracle. Without salt there is none.
fn chunks(salt: u8, len: usize) -> Vec<usize> {
    let mut state = u32::from(salt);
    let next = |index| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let longest = if index < 64 { 16 } else { 16 + len / 64 };
        1 + usize::try_from(state >> 16).expect("16 bits") % longest
    };
    (0..len).map(next).take(if salt == 0 { 0 } else { len }).collect()
}

/// Where those chunks end, and the whole.
fn prefixes(chunks: &[usize], len: usize) -> Vec<usize> {
    let ends = chunks.iter().scan(0, |at, chunk| {
        *at += chunk;
        (*at < len).then_some(*at)
    });
    ends.chain([len]).collect()
}

/// A datagram stands alone, in either format; what SPP reads, it writes.
pub fn datagram(data: &[u8]) {
    let Some((options, input)) = choose(data) else { return };
    for kind in [Input::Datagram, Input::Spp] {
        let options = Options { input: kind, ..options };
        let (got, expected) = (subject::decode(input, &options), naive::decode(input, &options));
        cuts::assert_agreed(&got, &expected, || format!("{options:?} for {input:02x?}"));
    }
    if let Ok(addresses) = ppcore::spp::decode(input) {
        let mut out = [0; ppcore::spp::LEN];
        assert_eq!(ppcore::spp::encode(&mut out, &addresses), Ok(out.len()));
        assert_eq!(out, input[..out.len()]);
    }
}

/// Each datagram of a batch, alone or in an aggregate, goes along its own client's flow without its header, in order, or
/// nowhere.
#[expect(clippy::disallowed_methods, reason = "a test's epoch")]
pub fn batch(data: &[u8]) {
    let Some((taken, room, messages)) = batches::batch(data) else { return };
    let became = datagrams_fuzzed::relayed(taken, room, &messages, Instant::now());
    batches::judge(taken, room, &messages, &became);
}

/// The walk over TLVs tiles them without a gap, ends, and each value is
/// read as the oracle reads it.
pub fn tlvs(data: &[u8]) {
    let Ok(len) = u16::try_from(12 + data.len()) else { return };
    // With addresses: a header without them has no framing errors at all.
    let head = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &len.to_be_bytes(), &[1; 12]].concat();
    let bytes = [&head, data].concat();
    let options = ppcore::Options::new().crc32c(ppcore::Crc32cPolicy::Ignore).v2_len_max(u16::MAX);
    let Ok(Decoded::Header(header)) = Decoder::new(options).decode(&bytes) else {
        panic!("TLVs refuse a header that is to be lenient: {bytes:02x?}");
    };
    let oracle = Options { verify_crc: false, ..Options::default() };
    let Answer::Ok(expected) = naive::decode(&bytes, &oracle) else { panic!("so does the oracle") };
    let mut walk = header.tlvs(&bytes);
    let mut next_at = head.len();
    for (kind, value) in &expected.tlvs {
        let tlv = walk.next().expect("the oracle found one").expect("a good one");
        assert_eq!((tlv.kind(), tlv.value(), tlv.offset()), (*kind, &value[..], next_at));
        assert_eq!(tlv.value_offset(), next_at + TLV_HEADER_LEN);
        next_at = tlv.value_offset() + value.len();
        assert_eq!(views::words(tlv.view()), views::read(*kind, value), "type {kind:02x}");
    }
    match (walk.next(), expected.tlv_error) {
        (None, None) => assert_eq!(next_at, bytes.len()),
        (Some(Err(error)), Some(kind)) => assert_eq!(error.kind().name(), kind),
        (got, expected) => panic!("{got:?}, and the oracle: {expected:?}"),
    }
    assert!(walk.next().is_none(), "an ended walk stays ended");
}

/// What is written is read back, for every size of the caller's slice.
pub fn round_trip(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    // One that has run out yields zeros; only an impossible bound is an error.
    written_and_read(&mut choices).expect("every bound is possible");
}

fn written_and_read(choices: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    match choices.int_in_range(0..=7_u8)? {
        0 => round_trip::spp(&layout::addresses(choices)?),
        1..3 => round_trip::v1(&layout::addresses(choices)?),
        _ => round_trip::v2(&layout::start(choices)?, &layout::pieces(choices)?),
    }
    Ok(())
}

/// The C ABI answers as ppcore does and touches nothing beside what it is given. Two of the flags that
/// choose no option choose what is done.
pub fn capi(data: &[u8]) {
    let Some((options, input)) = choose(data) else { return };
    let fence = if data[0] & 0x80 == 0 { Fence::Behind } else { Fence::Before };
    if data[0] & 0x40 != 0 {
        let written = capi::encodes(fence, &mut Unstructured::new(input));
        return written.expect("every bound is possible");
    }
    let Some((&salt, input)) = input.split_last() else { return };
    capi::decodes(fence, &options, input, prefixes(&chunks(salt, input.len()), input.len()));
}

/// What an input begins with that is no configuration but edits of a good one.
pub const EDITS: u8 = b'~';

/// What a ClientHello asks for does not hang on how it is cut, is what TLS allows, and is read to a bound. The last byte
/// of the input seeds the cuts.
pub fn hello(data: &[u8]) {
    let Some((&salt, payload)) = data.split_last() else { return };
    let (sni, alpn, read) = ppserver::data::asked(payload, [payload.len()]);
    let cut =
        ppserver::data::asked(payload, prefixes(&chunks(salt | 1, payload.len()), payload.len()));
    assert_eq!((&sni, &alpn), (&cut.0, &cut.1), "{payload:02x?}");
    assert!(read <= 20 << 10 && cut.2 <= read, "{read}");
    assert!(sni.is_none_or(|name| (1..=253).contains(&name.len()) && name.is_ascii()));
    assert!(alpn.iter().all(|name| (1..=255).contains(&name.len())));
}

/// A condition holds where a slow reading of it does, and who covers another holds wherever that one does.
pub fn route(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    routes::compared(&mut choices).expect("every bound is possible");
}

/// Any text is judged without a panic, its report can be shown in every form, and a good one reads
/// back as it is printed.
pub fn config(data: &[u8]) {
    match data.split_first() {
        Some((&EDITS, edits)) => {
            let mut choices = Unstructured::new(edits);
            let edited = layout::edited(&seeds::EVERY_KEY, &seeds::WORDS, &mut choices);
            config_file(&edited.expect("every bound is possible"));
        }
        _ => config_file(data),
    }
}

fn config_file(data: &[u8]) {
    use ppserver::config::{Colour, Host, from_bytes};
    let outcome = from_bytes("f.toml".to_owned(), data, Host::default());
    let report = outcome.as_ref().map_or_else(|report| report, |loaded| &loaded.warnings);
    assert_eq!(outcome.is_ok(), !report.has_errors());
    let (errors, warnings) = report.to_json();
    assert_eq!(errors.len() + warnings.len() == 0, report.is_empty());
    assert_eq!(report.render(Colour::Off).is_empty(), report.is_empty());
    if let Ok(loaded) = &outcome {
        let printed = loaded.config.to_string();
        let again = from_bytes("f.toml".to_owned(), printed.as_bytes(), Host::default());
        assert_eq!(again.expect("what is printed is good").config, loaded.config);
    }
}

/// A session meets what the bytes choose, and the simulator's oracles judge each step.
pub fn session(data: &[u8]) {
    ppserver::core::simulate(data);
}

/// A sender's bytes are shown without a control byte, and what is quoted can be told from every
/// other value. No byte of it comes into the access log as it is.
pub fn escape(data: &[u8]) {
    let Some((_, data)) = choose(data) else { return };
    let (quoted, explanation) = (ppserver::cli::quote(data), ppserver::cli::explain(data));
    assert!(explanation.chars().all(|c| c == '\n' || !c.is_control()), "{explanation:?}");
    assert!(quoted.chars().all(is_shown_as_it_is), "{quoted:?}");
    // Longer values are cut, aloud.
    if !quoted.ends_with("see --json") {
        let inside = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        assert_eq!(unquoted(inside.expect("it stands in quotes")), data, "{quoted}");
    }
    let hex = ppserver::telemetry::log::first_bytes(data);
    assert!(hex.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'.'), "{hex}");
    if let Ok(Decoded::Header(header)) = Decoder::new(ppcore::Options::new()).decode(data)
        && let Some(client) = header.addresses().source()
    {
        access_log(client, &String::from_utf8_lossy(data));
    }
}

/// A line is one line, and in JSON one object, whoever the client says he is; even a name that no
/// configuration could hold stays in its field.
fn access_log(client: std::net::SocketAddr, name: &str) {
    let record = Record {
        id: ConnectionIds::new(0, Duration::ZERO).name_next(),
        listener: name,
        intent: &Intent::plain(client.into()),
        route: Some(1),
        sni: Some(name),
        upstream: "web",
        endpoint: Some(client.into()),
        bytes_in: 1,
        bytes_out: u64::MAX,
        duration_ms: 3,
        end: "done",
        tlvs: &[],
    };
    let line = |format| {
        let line = record.to_line(format, Duration::from_millis(1_500));
        let line = line.strip_suffix('\n').expect("it ends in a line end");
        assert!(!line.bytes().any(|byte| byte < b' '), "{line:?}");
        line.to_owned()
    };
    let object = line(AccessLogFormat::Json);
    let fields: serde_json::Value = serde_json::from_str(&object).expect("it is JSON");
    assert_eq!(fields["client"], client.to_string());
    assert_eq!(fields["listener"], name);
    let [upstream, end] = [&fields["upstream"], &fields["end"]];
    assert_eq!((upstream, end), (&"web".into(), &"done".into()));
    assert!(line(AccessLogFormat::Logfmt).contains(&format!(" client={client} ")));
}

fn is_shown_as_it_is(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric()
}

/// The inverse that shows that quoting loses nothing.
fn unquoted(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some('x')) => {
                let digits: String = rest.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two hex digits"));
            }
            ('\\', Some(escaped)) => bytes.push(u8::try_from(escaped).expect("ASCII")),
            (c, _) => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}
