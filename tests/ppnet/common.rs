//! The helpers of the other tests, without what starts `ppserver`: cargo tells its path only to the
//! tests of its own package.

#[path = "../common/deadline.rs"]
pub(crate) mod deadline;
#[path = "../common/payload.rs"]
pub(crate) mod payload;
#[path = "../common/process.rs"]
pub(crate) mod process;
#[path = "../common/socket.rs"]
pub(crate) mod socket;
#[path = "../common/wire.rs"]
pub(crate) mod wire;
