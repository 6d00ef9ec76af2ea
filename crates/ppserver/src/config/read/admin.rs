//! `[admin]`.

use crate::config::address;
use crate::config::diagnostics::Diagnostics;
use crate::config::parse::{At, Section};
use crate::config::validate::AdminDraft;

/// An empty text is a door that is not there.
pub(super) fn admin(section: Section<'_, '_>, faults: &mut Diagnostics) -> AdminDraft {
    AdminDraft {
        listen: text(section, "listen", "listen = \"127.0.0.1:9464\"", faults)
            .and_then(|text| address::listen(text, faults)),
        socket: text(section, "socket", "socket = \"/run/ppserver/admin.sock\"", faults)
            .and_then(|text| address::socket_path(text, faults))
            .map(|path| path.value),
    }
}

fn text<'a>(
    section: Section<'a, '_>,
    key: &str,
    example: &str,
    faults: &mut Diagnostics,
) -> Option<At<&'a str>> {
    section.text(key, example, faults).filter(|text| !text.value.is_empty())
}
