//! The disagreements that are known: which peer, what it does, and whom the specification favours.

use std::fmt;

use Favours::{Nobody, Us};

/// Whom the specification favours, and where it says so.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Favours {
    Us(&'static str),
    /// It leaves the choice, or contradicts itself.
    Nobody(&'static str),
}

impl fmt::Display for Favours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Us(why) => write!(f, "us, spec {why}"),
            Nobody(why) => write!(f, "nobody, {why}"),
        }
    }
}

/// What a peer does where we do something else.
pub(crate) struct Row {
    pub(crate) peer: &'static str,
    /// By the first byte of the input.
    pub(crate) version: &'static str,
    pub(crate) favours: Favours,
    /// `accepts KIND` and `waits on KIND`: where we refuse with that kind of error.
    pub(crate) what: &'static [&'static str],
}

/// Finds the row of a disagreement.
pub(crate) fn find(peer: &str, version: &str, what: &str) -> Option<&'static Row> {
    let is_it = |row: &&Row| row.peer == peer && row.version == version && row.what.contains(&what);
    ALLOWED.iter().find(is_it)
}

const fn row(
    peer: &'static str,
    version: &'static str,
    favours: Favours,
    what: &'static [&'static str],
) -> Row {
    Row { peer, version, favours, what }
}

const CHECKSUM: Favours = Us("2.2.3: a wrong checksum ends the connection");
const LINE: Favours = Us("2.1: one blank, canonical numbers, CR LF within 107 bytes");
const LOCAL: Favours = Us("2.2: LOCAL must be accepted and its addresses discarded");
const EARLY: Favours = Nobody("no section says how early a bad header must be refused");
const PARTIAL: Favours = Nobody("2: a receiver may drop a partial header");

pub(crate) const ALLOWED: &[Row] = &[
    row(
        "haproxy-protocol",
        "v1",
        LINE,
        &[
            "accepts v1_bad_dst_addr",
            "accepts v1_bad_dst_port",
            "accepts v1_bad_src_addr",
            "accepts v1_bad_src_port",
            "accepts v1_missing_field",
        ],
    ),
    row(
        "haproxy-protocol",
        "v1",
        Us("2.1: behind UNKNOWN everything up to CR LF is ignored"),
        &["refuses header"],
    ),
    row("haproxy-protocol", "v1", PARTIAL, &["refuses incomplete"]),
    row(
        "haproxy-protocol",
        "v1",
        EARLY,
        &[
            "waits on v1_bad_dst_addr",
            "waits on v1_bad_dst_port",
            "waits on v1_bad_protocol",
            "waits on v1_bad_src_addr",
            "waits on v1_bad_src_port",
            "waits on v1_extra_field",
            "waits on v1_missing_field",
        ],
    ),
    row(
        "haproxy-protocol",
        "v1",
        Us("2.1: a line that cannot end within 107 bytes is none"),
        &["waits on v1_too_long"],
    ),
    row(
        "haproxy-protocol",
        "v2",
        CHECKSUM,
        &["accepts crc_bad_length", "accepts crc_duplicate", "accepts crc_mismatch"],
    ),
    row(
        "haproxy-protocol",
        "v2",
        Us("2.2: the length must hold the addresses"),
        &["accepts v2_addr_too_short"],
    ),
    row("haproxy-protocol", "v2", LOCAL, &["refuses header"]),
    row("haproxy-protocol", "v2", PARTIAL, &["refuses incomplete"]),
    row(
        "haproxy-protocol",
        "v2",
        EARLY,
        &["waits on crc_bad_length", "waits on crc_duplicate", "waits on v2_addr_too_short"],
    ),
    row(
        "ppp",
        "v1",
        LINE,
        &[
            "accepts incomplete",
            "accepts v1_bad_dst_port",
            "accepts v1_extra_field",
            "accepts v1_too_long",
        ],
    ),
    row(
        "ppp",
        "v1",
        Us("2.1: behind UNKNOWN everything up to CR LF is ignored"),
        &["refuses header"],
    ),
    row("ppp", "v1", PARTIAL, &["refuses incomplete"]),
    row("ppp", "v1", Us("2.1: the line is whole"), &["waits on header"]),
    row(
        "ppp",
        "v1",
        EARLY,
        &[
            "waits on not_proxy",
            "waits on v1_bad_dst_addr",
            "waits on v1_bad_dst_port",
            "waits on v1_bad_line_end",
            "waits on v1_bad_src_addr",
            "waits on v1_bad_src_port",
            "waits on v1_expected_space",
            "waits on v1_extra_field",
            "waits on v1_missing_field",
        ],
    ),
    row(
        "ppp",
        "v1",
        Us("2.1: a line that cannot end within 107 bytes is none"),
        &["waits on v1_too_long"],
    ),
    row(
        "ppp",
        "v2",
        CHECKSUM,
        &["accepts crc_bad_length", "accepts crc_duplicate", "accepts crc_mismatch"],
    ),
    row(
        "ppp",
        "v2",
        Us("2.2: with LOCAL the addresses are those of the socket"),
        &["other addresses"],
    ),
    row("ppp", "v2", LOCAL, &["refuses header"]),
    row("ppp", "v2", PARTIAL, &["refuses incomplete"]),
    row(
        "ppp",
        "v2",
        EARLY,
        &[
            "waits on crc_bad_length",
            "waits on crc_duplicate",
            "waits on v2_bad_command",
            "waits on v2_bad_family",
            "waits on v2_bad_transport",
            "waits on v2_bad_version",
        ],
    ),
    row(
        "proxy-header",
        "v1",
        LINE,
        &[
            "accepts v1_bad_dst_port",
            "accepts v1_bad_protocol",
            "accepts v1_bad_src_port",
            "accepts v1_expected_space",
            "accepts v1_too_long",
        ],
    ),
    row(
        "proxy-header",
        "v1",
        EARLY,
        &[
            "waits on not_proxy",
            "waits on v1_bad_dst_addr",
            "waits on v1_bad_dst_port",
            "waits on v1_bad_line_end",
            "waits on v1_bad_protocol",
            "waits on v1_bad_src_addr",
            "waits on v1_bad_src_port",
            "waits on v1_expected_space",
            "waits on v1_extra_field",
            "waits on v1_missing_field",
        ],
    ),
    row(
        "proxy-header",
        "v1",
        Us("2.1: a line that cannot end within 107 bytes is none"),
        &["waits on v1_too_long"],
    ),
    row(
        "proxy-header",
        "v2",
        CHECKSUM,
        &["accepts crc_bad_length", "accepts crc_duplicate", "accepts crc_mismatch"],
    ),
    row("proxy-header", "v2", LOCAL, &["refuses header", "waits on header"]),
    row(
        "proxy-header",
        "v2",
        EARLY,
        &[
            "waits on crc_bad_length",
            "waits on crc_duplicate",
            "waits on not_proxy",
            "waits on v2_addr_too_short",
            "waits on v2_bad_command",
            "waits on v2_bad_family",
            "waits on v2_bad_transport",
            "waits on v2_bad_version",
        ],
    ),
    row(
        "proxy-protocol",
        "v1",
        LINE,
        &[
            "accepts v1_bad_dst_port",
            "accepts v1_bad_line_end",
            "accepts v1_bad_protocol",
            "accepts v1_missing_field",
            "accepts v1_too_long",
        ],
    ),
    row("proxy-protocol", "v1", Us("2: whoever reaches the port chooses the bytes"), &["panics"]),
    row("proxy-protocol", "v1", PARTIAL, &["refuses incomplete"]),
    row(
        "proxy-protocol",
        "v2",
        CHECKSUM,
        &["accepts crc_bad_length", "accepts crc_duplicate", "accepts crc_mismatch"],
    ),
    row(
        "proxy-protocol",
        "v2",
        Us("2.2: with LOCAL the addresses are those of the socket"),
        &["other addresses"],
    ),
    row("proxy-protocol", "v2", Us("2: whoever reaches the port chooses the bytes"), &["panics"]),
    row("proxy-protocol", "v2", LOCAL, &["refuses header"]),
    row("proxy-protocol", "v2", PARTIAL, &["refuses incomplete"]),
    row(
        "proxy-protocol-codec",
        "v1",
        LINE,
        &[
            "accepts v1_bad_dst_addr",
            "accepts v1_bad_dst_port",
            "accepts v1_bad_line_end",
            "accepts v1_bad_protocol",
            "accepts v1_bad_src_addr",
            "accepts v1_bad_src_port",
            "accepts v1_expected_space",
            "accepts v1_extra_field",
            "accepts v1_missing_field",
        ],
    ),
    row(
        "proxy-protocol-codec",
        "v1",
        Us("2: payload may follow in the same segment"),
        &["refuses header"],
    ),
    row("proxy-protocol-codec", "v1", PARTIAL, &["refuses incomplete"]),
    row(
        "proxy-protocol-codec",
        "v2",
        CHECKSUM,
        &["accepts crc_bad_length", "accepts crc_duplicate", "accepts crc_mismatch"],
    ),
    row(
        "proxy-protocol-codec",
        "v2",
        Nobody("2.2: a receiver may read or refuse a family without a transport"),
        &["other addresses"],
    ),
    row(
        "proxy-protocol-codec",
        "v2",
        Us("2: payload may follow in the same segment"),
        &["refuses header"],
    ),
    row("proxy-protocol-codec", "v2", PARTIAL, &["refuses incomplete"]),
    row(
        "proxy-protocol-codec",
        "v2",
        EARLY,
        &[
            "waits on crc_bad_length",
            "waits on crc_duplicate",
            "waits on v2_addr_too_short",
            "waits on v2_bad_command",
            "waits on v2_bad_family",
            "waits on v2_bad_transport",
            "waits on v2_bad_version",
        ],
    ),
    row(
        "proxy-protocol-rs",
        "v1",
        LINE,
        &["accepts v1_bad_dst_port", "accepts v1_bad_line_end", "accepts v1_bad_src_port"],
    ),
    row(
        "proxy-protocol-rs",
        "v1",
        Us("2.1: behind UNKNOWN everything up to CR LF is ignored"),
        &["refuses header"],
    ),
    row(
        "proxy-protocol-rs",
        "v1",
        EARLY,
        &[
            "waits on not_proxy",
            "waits on v1_bad_dst_addr",
            "waits on v1_bad_dst_port",
            "waits on v1_bad_line_end",
            "waits on v1_bad_protocol",
            "waits on v1_bad_src_addr",
            "waits on v1_bad_src_port",
            "waits on v1_extra_field",
            "waits on v1_missing_field",
        ],
    ),
    row(
        "proxy-protocol-rs",
        "v1",
        Us("2.1: a line that cannot end within 107 bytes is none"),
        &["waits on v1_too_long"],
    ),
    row(
        "proxy-protocol-rs",
        "v2",
        Nobody("2.2.3 against 2.2: a wrong checksum in a LOCAL header, whose block is discarded"),
        &["accepts crc_bad_length", "accepts crc_duplicate", "accepts crc_mismatch"],
    ),
    row(
        "proxy-protocol-rs",
        "v2",
        Nobody("2.2: a receiver may refuse UNSPEC"),
        &["refuses header"],
    ),
    row(
        "proxy-protocol-rs",
        "v2",
        EARLY,
        &[
            "waits on crc_bad_length",
            "waits on crc_duplicate",
            "waits on not_proxy",
            "waits on v2_addr_too_short",
            "waits on v2_bad_command",
            "waits on v2_bad_family",
            "waits on v2_bad_transport",
            "waits on v2_bad_version",
        ],
    ),
    row(
        "proxyproto",
        "v1",
        LINE,
        &[
            "accepts not_proxy",
            "accepts v1_bad_dst_addr",
            "accepts v1_bad_dst_port",
            "accepts v1_bad_line_end",
            "accepts v1_bad_protocol",
            "accepts v1_bad_src_addr",
            "accepts v1_bad_src_port",
            "accepts v1_extra_field",
        ],
    ),
    row(
        "proxyproto",
        "v1",
        EARLY,
        &[
            "waits on not_proxy",
            "waits on v1_bad_dst_addr",
            "waits on v1_bad_dst_port",
            "waits on v1_bad_line_end",
            "waits on v1_bad_protocol",
            "waits on v1_bad_src_addr",
            "waits on v1_bad_src_port",
            "waits on v1_extra_field",
            "waits on v1_missing_field",
        ],
    ),
    row(
        "proxyproto",
        "v1",
        Us("2.1: a line that cannot end within 107 bytes is none"),
        &["waits on v1_too_long"],
    ),
    row(
        "proxyproto",
        "v2",
        CHECKSUM,
        &["accepts crc_bad_length", "accepts crc_duplicate", "accepts crc_mismatch"],
    ),
    row(
        "proxyproto",
        "v2",
        Us("2.2: with LOCAL the addresses are those of the socket"),
        &["other addresses"],
    ),
    row("proxyproto", "v2", LOCAL, &["refuses header"]),
    row("proxyproto", "v2", PARTIAL, &["refuses incomplete"]),
];
