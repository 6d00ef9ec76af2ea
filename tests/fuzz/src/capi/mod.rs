//! ppcapi called as a C program calls it, held against what ppcore says in Rust of the same bytes.
//!
//! Invariant: every argument stands at a [`Fence`], and every call is made again with each of them
//! broken.

mod decoding;
mod encoding;
mod guarded;

use std::ffi::CStr;
use std::net::{IpAddr, SocketAddr};

use ppcapi::{Address, Status};
use ppcore::{Addresses, Family};

pub(crate) use decoding::decodes;
pub(crate) use encoding::encodes;
pub(crate) use guarded::Fence;

/// In outputs that no function has written yet.
const JUNK: u8 = 0xA5;
const JUNK_LEN: usize = 77;

/// The name that a log would show.
fn name(status: Status) -> &'static str {
    let name = ppcapi::pp_status_name(status as i32);
    // SAFETY: it returns a static text that ends in a NUL.
    unsafe { CStr::from_ptr(name) }.to_str().expect("it is ASCII")
}

fn c_addresses(addresses: &Addresses) -> ppcapi::Addresses {
    let address = |addr: Option<SocketAddr>| {
        let mut address = Address::default();
        let Some(addr) = addr else { return address };
        match addr.ip() {
            IpAddr::V4(ip) => address.ip[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => address.ip = ip.octets(),
        }
        Address { port: addr.port(), ..address }
    };
    ppcapi::Addresses {
        family: c_family(addresses.family()),
        source: address(addresses.source()),
        destination: address(addresses.destination()),
    }
}

fn c_family(family: Family) -> u8 {
    match family {
        Family::Unspec => ppcapi::PP_FAMILY_UNSPEC,
        Family::Inet => ppcapi::PP_FAMILY_INET,
        Family::Inet6 => ppcapi::PP_FAMILY_INET6,
        Family::Unix => ppcapi::PP_FAMILY_UNIX,
    }
}
