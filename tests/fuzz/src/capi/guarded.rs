//! A C program's memory, with a page behind it or in front of it that nobody may touch: one byte too
//! many, read or written, is a fault, and libFuzzer keeps the input.

use std::cell::Cell;
use std::ffi::c_void;
use std::ops::Deref;
use std::{ptr, slice};

use ppcapi::Status;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

const PAGE: usize = 4096;
/// Enough for the longest header and the longest input.
const LEN_MAX: usize = 17 * PAGE;

thread_local! {
    /// What nobody uses now; it is never unmapped.
    static FREE: Cell<Vec<*mut u8>> = const { Cell::new(Vec::new()) };
}

/// Where the untouchable page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    Before,
    Behind,
}

/// Some `T` right at a fence, as C sees them: written through pointers, behind the compiler's back.
pub(crate) struct Guarded<T> {
    pages: *mut u8,
    at: *mut T,
    len: usize,
    pub(crate) fence: Fence,
}

impl<T: Copy> Guarded<T> {
    pub(crate) fn array(fence: Fence, values: &[T]) -> Self {
        let bytes = size_of_val(values);
        assert!(bytes <= LEN_MAX && align_of::<T>() <= PAGE);
        let mut free = FREE.take();
        let pages = free.pop().unwrap_or_else(map);
        FREE.set(free);
        let offset = if fence == Fence::Before { 0 } else { LEN_MAX - bytes };
        let at = pages.wrapping_add(offset).cast::<T>();
        // SAFETY: so many bytes are mapped there, nobody else uses them, and a page is aligned for any
        // T, whose size is a multiple of its alignment.
        unsafe { at.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        Self { pages, at, len: values.len(), fence }
    }

    pub(crate) fn one(fence: Fence, value: T) -> Self {
        Self::array(fence, &[value])
    }

    /// The pointer as an argument.
    pub(crate) fn arg(&self, kind: Kind) -> Arg {
        Arg { at: self.at.cast(), len: self.len, align: align_of::<T>(), kind }
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `array` has written so many T, and no C function is called while they are borrowed.
        unsafe { slice::from_raw_parts(self.at, self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let mut free = FREE.take();
        free.push(self.pages);
        FREE.set(free);
    }
}

/// Maps LEN_MAX bytes between two pages that stay untouchable.
fn map() -> *mut u8 {
    let len = PAGE + LEN_MAX + PAGE;
    // SAFETY: mmap(2): an anonymous mapping at an address of the kernel's choice disturbs nobody.
    let all =
        unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE) };
    let pages = all.expect("there is memory").wrapping_byte_add(PAGE);
    let rights = MprotectFlags::READ | MprotectFlags::WRITE;
    // SAFETY: mprotect(2): whole pages of the mapping above, which nobody uses yet.
    unsafe { mprotect(pages, LEN_MAX, rights) }.expect("they are mapped");
    pages.cast()
}

/// What a function makes of a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    One,
    OneOrNull,
    /// A pointer and a length.
    Array,
}

/// A pointer that a call passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arg {
    pub(crate) at: *mut c_void,
    pub(crate) len: usize,
    align: usize,
    kind: Kind,
}

impl Arg {
    /// Where NULL is good.
    pub(crate) const NULL: Self =
        Self { at: ptr::null_mut(), len: 0, align: 1, kind: Kind::OneOrNull };

    /// What must be refused in its place, and how.
    fn broken(self) -> impl Iterator<Item = (Self, Status)> {
        let null = Self { at: ptr::null_mut(), ..self };
        let odd = Self { at: self.at.wrapping_byte_add(1), ..self };
        let too_long = Self { len: usize::MAX, ..self };
        // Nothing is read or written through a pointer to nothing.
        let is_used = self.len > 0;
        [
            (is_used && self.kind != Kind::OneOrNull).then_some((null, Status::NullPointer)),
            (is_used && self.align > 1).then_some((odd, Status::Misaligned)),
            (is_used && self.kind == Kind::Array).then_some((too_long, Status::BadArgument)),
        ]
        .into_iter()
        .flatten()
    }
}

/// Makes a call, then again with each argument broken in turn: that is refused with the promised status,
/// or as the call was without it.
pub(crate) fn call<const N: usize>(
    args: [Arg; N],
    function: impl Fn([Arg; N]) -> Status,
) -> Status {
    let status = function(args);
    refuses(args, status, function);
    status
}

/// The second half of [`call`].
pub(crate) fn refuses<const N: usize>(
    args: [Arg; N],
    status: Status,
    function: impl Fn([Arg; N]) -> Status,
) {
    let is_refused = (status as i32) < 0;
    for (index, arg) in args.into_iter().enumerate() {
        for (broken, promised) in arg.broken() {
            let mut args = args;
            args[index] = broken;
            let got = function(args);
            assert!(got == promised || is_refused && got == status, "{index}: {broken:?}: {got:?}");
        }
    }
}
