//! Sections to a draft: which keys there are, of what type, with which default and range.
//!
//! One function a table; those of listeners and upstreams have files of their own. Invariant: every
//! listed key is read exactly here, and a value that leaves is within the range its field
//! documents.

mod admin;
mod listener;
mod route;
mod upstream;

pub(super) use upstream::types_passed;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::codes::Code;
use super::diagnostics::{Diagnostics, Place, Quote};
use super::parse::{At, Section, Written, element_number, element_text, is_off, is_on};
use super::units::format_duration;
use super::validate::{self, Draft};
use super::{
    AccessLog, CONFIG_VERSION, Config, Host, Keepalive, Log, LoggedTlv, Output, Server, Splice,
    Tcp, Timeouts, defaults, foreign, keys, syntax,
};

/// A loop a CPU is enough, and no machine this runs on has more.
const WORKERS: RangeInclusive<usize> = 1..=256;
/// What `auto` stops at too.
const CONNECTIONS: RangeInclusive<usize> = 1..=262_144;
/// Longer than anybody waits; keeps every deadline within what a clock can add.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
pub(super) const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=DURATION_MAX;
/// Nobody's name server is asked more often than once a second.
const DNS: RangeInclusive<Duration> = Duration::from_secs(1)..=DURATION_MAX;
/// A drain may reset everybody at once.
pub(super) const GRACE: RangeInclusive<Duration> = Duration::ZERO..=DURATION_MAX;
/// The kernel's own limits, tcp(7): MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT.
const KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32_767);
const KEEPALIVE_COUNT: RangeInclusive<usize> = 1..=127;
const BACKLOG: RangeInclusive<usize> = 1..=65_535;
/// One page to what an unprivileged process may ask for, /proc/sys/fs/pipe-max-size.
const PIPE_BYTES: RangeInclusive<usize> = 4 << 10..=1 << 20;
const PIPES: RangeInclusive<usize> = 1..=65_536;
/// A TLV's type is a byte.
const TLV_TYPES: RangeInclusive<usize> = 0..=0xFF;
/// Long enough for a name, short enough for a label.
const NAME_BYTES_MAX: usize = 64;

/// Reads and checks the text of a file. An answer is of use only if no fault is an error.
pub(super) fn config(text: &str, host: Host, faults: &mut Diagnostics) -> Option<Config> {
    if foreign::report(text, faults) {
        return None;
    }
    syntax::document(text, host.variable, faults, |top, faults| {
        // Of another version not even the keys are known.
        if !is_known_version(top, faults) {
            return None;
        }
        top.check_keys(faults);
        let draft = draft(top, faults);
        validate::config(draft, host, faults)
    })
}

fn is_known_version(top: Section<'_, '_>, faults: &mut Diagnostics) -> bool {
    let example = format!("config_version = {CONFIG_VERSION}");
    let Some(value) = top.get("config_version") else {
        faults
            .add(Code::MissingKey, 0..0, "`config_version` is missing")
            .with_help(format!("put `{example}` at the top"));
        return true;
    };
    let any = 0..=usize::MAX;
    match element_number(value, "config_version", &any, &example, faults) {
        Some(CONFIG_VERSION) => true,
        Some(_) => {
            let message = "this version of ppserver reads config_version 1 only";
            faults
                .add(Code::NotSupported, value.span(), message)
                .with_help("nothing else in the file was looked at");
            false
        }
        None => false,
    }
}

fn draft(top: Section<'_, '_>, faults: &mut Diagnostics) -> Draft {
    let server = top.section("server", &keys::SERVER, faults);
    let timeouts = top.section("timeouts", &keys::TIMEOUTS, faults);
    let timeouts = self::timeouts(timeouts, &Timeouts::default(), faults);
    let log = top.section("log", &keys::LOG, faults);
    let access_log = top.section("access_log", &keys::ACCESS_LOG, faults);
    let tcp = top.section("tcp", &keys::TCP, faults);
    let splice = top.section("splice", &keys::SPLICE, faults);
    let example = "a [[listener]] header, in double brackets";
    let listeners = top.list("listener", example, faults).unwrap_or_default();
    // Something else than a list has been reported as such.
    let is_none = top.get("listener").is_none_or(|value| value.get_ref().is_array());
    if listeners.is_empty() && is_none {
        faults
            .add(
                Code::MissingKey,
                Place::Nowhere,
                "there is no [[listener]], so nothing would be served",
            )
            .with_help("add one with name, bind and upstream");
    }
    let upstreams = top.entries("upstream", "an [upstream.NAME] header", faults);
    let admin = top.section("admin", &keys::ADMIN, faults);
    Draft {
        server: server.written(self::server(server, faults)),
        admin: admin::admin(admin, faults),
        log: self::log(log, faults),
        access_log: access_log.written(self::access_log(access_log, faults)),
        tcp: self::tcp(tcp, faults),
        splice: splice.written(self::splice(splice, faults)),
        listeners: listeners
            .iter()
            .map(|value| listener::listener(value, &timeouts.value, faults))
            .collect(),
        timeouts,
        upstreams: upstreams
            .into_iter()
            .map(|(name, value)| upstream::upstream(&name, value, faults))
            .collect(),
    }
}

fn server(section: Section<'_, '_>, faults: &mut Diagnostics) -> Server {
    let default = Server::default();
    Server {
        workers: section.count("workers", WORKERS, default.workers, faults),
        max_connections: section.count(
            "max_connections",
            CONNECTIONS,
            default.max_connections,
            faults,
        ),
        shutdown_grace: section.duration("shutdown_grace", GRACE, default.shutdown_grace, faults),
        lame_duck: section.duration("lame_duck", GRACE, default.lame_duck, faults),
    }
}

fn log(section: Section<'_, '_>, faults: &mut Diagnostics) -> Log {
    let default = Log::default();
    section.only_word("output", defaults::LOG_OUTPUT, &["syslog", "journald", "file:"], faults);
    Log {
        level: section.choice("level", default.level, faults),
        format: section.choice("format", default.format, faults),
    }
}

fn access_log(section: Section<'_, '_>, faults: &mut Diagnostics) -> AccessLog {
    let default = AccessLog::default();
    AccessLog {
        state: section.toggle("enabled", default.state, faults),
        output: section
            .text("output", "output = \"stdout\"", faults)
            .and_then(|text| access_output("output", text, ACCESS_OUTPUTS, faults))
            .unwrap_or(default.output),
        format: section.choice("format", default.format, faults),
        probes: section.toggle("log_probes", default.probes, faults),
        tlvs: logged_tlvs(section, faults),
    }
}

/// Names and numbers, each TLV once.
fn logged_tlvs(section: Section<'_, '_>, faults: &mut Diagnostics) -> Vec<LoggedTlv> {
    let example = "tlvs = [\"authority\", 0xE1]";
    let mut tlvs = Vec::new();
    for value in section.list("tlvs", example, faults).unwrap_or_default() {
        let tlv = if value.get_ref().is_str() {
            let text = element_text(value, "tlvs", example, faults);
            text.and_then(|text| logged_tlv(&text, faults))
        } else {
            let number = element_number(value, "tlvs", &TLV_TYPES, example, faults);
            number.and_then(|number| u8::try_from(number).ok()).map(LoggedTlv::Type)
        };
        tlvs.extend(tlv.filter(|tlv| !tlvs.contains(tlv)));
    }
    tlvs
}

fn logged_tlv(text: &At<&str>, faults: &mut Diagnostics) -> Option<LoggedTlv> {
    let tlv = LoggedTlv::of_name(text.value);
    if tlv.is_none() {
        let names: Vec<_> = LoggedTlv::names().collect();
        faults
            .add(Code::BadValue, text.place.clone(), format!("no TLV is called `{}`", text.value))
            .with_help(format!("there are {}, and the numbers 0x00 to 0xFF", names.join(", ")))
            .with_nearest(text.value, names, Quote::Double);
    }
    tlv
}

/// What [`access_output`] takes.
pub(super) const ACCESS_OUTPUTS: &str = "\"stdout\", \"stderr\", \"file:PATH\"";

/// Where an access log goes, by the text of `key`, which takes `words`.
pub(super) fn access_output(
    key: &str,
    text: At<&str>,
    words: &str,
    faults: &mut Diagnostics,
) -> Option<Output> {
    match (text.value, text.value.strip_prefix("file:")) {
        ("stdout", _) => Some(Output::Stdout),
        ("stderr", _) => Some(Output::Stderr),
        (_, Some(path)) if !path.is_empty() && !path.contains('\0') => {
            Some(Output::File(PathBuf::from(path)))
        }
        (other, _) => {
            let message = format!("`{key}` cannot be \"{other}\"");
            faults.add(Code::BadValue, text.place, message).with_help(format!("one of {words}"));
            None
        }
    }
}

fn tcp(section: Section<'_, '_>, faults: &mut Diagnostics) -> Tcp {
    let default = Tcp::default();
    let keepalive = keepalive_section(section, faults);
    Tcp {
        nodelay: section.toggle("nodelay", default.nodelay, faults),
        keepalive: self::keepalive(keepalive, &default.keepalive, faults),
        defer_accept: section.toggle("defer_accept", default.defer_accept, faults),
        backlog: small(section, "backlog", BACKLOG, default.backlog, faults),
    }
}

/// `[tcp.keepalive]`, which other proxies switch on and off.
fn keepalive_section<'a, 'i>(tcp: Section<'a, 'i>, faults: &mut Diagnostics) -> Section<'a, 'i> {
    let told = match tcp.get("keepalive") {
        Some(value) if is_off(value) => Some((value, "has no off", *KEEPALIVE.end())),
        Some(value) if is_on(value) => Some((value, "is always on", Keepalive::default().idle)),
        Some(_) | None => None,
    };
    let Some((value, message, idle)) = told else {
        return tcp.section("keepalive", &keys::KEEPALIVE, faults);
    };
    let idle = format_duration(idle);
    faults
        .add(Code::BadValue, value.span(), format!("`keepalive` {message}"))
        .with_help(format!("say when to ask: keepalive = {{ idle = \"{idle}\" }}"));
    Section::absent(&keys::KEEPALIVE)
}

fn keepalive(section: Section<'_, '_>, default: &Keepalive, faults: &mut Diagnostics) -> Keepalive {
    let mut seconds = |key: &str, default: Duration| {
        let duration = section.duration(key, KEEPALIVE, default, faults);
        if duration.subsec_nanos() != 0 {
            let span = section.get(key).map(Spanned::span);
            faults
                .add(Code::BadValue, span, format!("`{key}` is counted in whole seconds"))
                .with_help(format!("for example {key} = \"{}s\"", duration.as_secs().max(1)));
        }
        duration
    };
    Keepalive {
        idle: seconds("idle", default.idle),
        interval: seconds("interval", default.interval),
        count: small(section, "count", KEEPALIVE_COUNT, default.count, faults),
    }
}

/// A number whose range fits a `u32`.
fn small(
    section: Section<'_, '_>,
    key: &str,
    range: RangeInclusive<usize>,
    default: u32,
    faults: &mut Diagnostics,
) -> u32 {
    let wide = usize::try_from(default).expect("Linux has no 16-bit usize");
    let number = section.number(key, range, wide, faults);
    u32::try_from(number).expect("the range ends below 2^32")
}

fn splice(section: Section<'_, '_>, faults: &mut Diagnostics) -> Splice {
    let default = Splice::default();
    Splice {
        mode: section.choice("mode", default.mode, faults),
        pipe_bytes: section.size("pipe_size", PIPE_BYTES, default.pipe_bytes, faults),
        max_pipes: section.count("max_pipes", PIPES, default.max_pipes, faults),
    }
}

fn timeouts(
    section: Section<'_, '_>,
    base: &Timeouts,
    faults: &mut Diagnostics,
) -> Written<Timeouts> {
    section.written(Timeouts {
        header: section.duration("header", TIMEOUT, base.header, faults),
        tls_hello: section.duration("tls_hello", TIMEOUT, base.tls_hello, faults),
        connect: section.duration("connect", TIMEOUT, base.connect, faults),
        idle: section.duration("idle", TIMEOUT, base.idle, faults),
        half_closed: section.duration("half_closed", TIMEOUT, base.half_closed, faults),
        flow: section.duration("flow", TIMEOUT, base.flow, faults),
        flow_unanswered: section.duration("flow_unanswered", TIMEOUT, base.flow_unanswered, faults),
    })
}

/// A string that must be there.
fn required(
    section: Section<'_, '_>,
    key: &str,
    example: &str,
    faults: &mut Diagnostics,
) -> Option<At<String>> {
    if section.is_lacking(key) {
        missing(section, key, example, faults);
    }
    let text = section.text(key, example, faults)?;
    Some(At::new(text.value.to_owned(), text.place))
}

fn missing(section: Section<'_, '_>, key: &str, example: &str, faults: &mut Diagnostics) {
    faults
        .add(Code::MissingKey, section.span(), format!("`{key}` is missing"))
        .with_help(format!("add {example}"));
}

/// Names go into logs and into `[upstream.NAME]`, so they need no quoting in either.
fn is_name(name: &At<String>, faults: &mut Diagnostics) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_name =
        (1..=NAME_BYTES_MAX).contains(&name.value.len()) && name.value.bytes().all(is_plain);
    if !is_name {
        faults
            .add(Code::BadValue, name.place.clone(), "this cannot be a name")
            .with_help(format!("1 to {NAME_BYTES_MAX} letters, digits, `-` and `_`"));
    }
    is_name
}

fn not_empty(
    section: Section<'_, '_>,
    key: &str,
    list: &[Spanned<DeValue<'_>>],
    example: &str,
    faults: &mut Diagnostics,
) {
    if list.is_empty() {
        let span = section.get(key).map(Spanned::span);
        faults
            .add(Code::BadValue, span, format!("`{key}` is empty"))
            .with_help(format!("for example {example}"));
    }
}
