//! Pointers into references: the checks that can be made, and the promises that cannot.
#![expect(unsafe_code, reason = "a pointer from C is a promise of its caller")]

use std::slice;

use crate::status::Status;

/// Checks what can be checked of a pointer to one `T`.
fn check<T>(at: *const T) -> Result<(), Status> {
    if at.is_null() {
        return Err(Status::NullPointer);
    }
    if !at.is_aligned() {
        return Err(Status::Misaligned);
    }
    Ok(())
}

/// # Safety
/// `at`, unless NULL or misaligned, points to a readable `T` that nobody changes during `'a`.
pub(crate) unsafe fn get<'a, T>(at: *const T) -> Result<&'a T, Status> {
    check(at)?;
    // SAFETY: neither NULL nor misaligned; the rest is this function's own contract.
    Ok(unsafe { &*at })
}

/// # Safety
/// `at`, unless NULL or misaligned, points to a writable `T` that nobody else uses during `'a`.
pub(crate) unsafe fn get_mut<'a, T>(at: *mut T) -> Result<&'a mut T, Status> {
    check(at)?;
    // SAFETY: neither NULL nor misaligned; the rest is this function's own contract.
    Ok(unsafe { &mut *at })
}

/// Stores a value where nothing need have been before.
///
/// # Safety
/// `at`, unless NULL or misaligned, points to room for a `T` that nobody else uses meanwhile.
pub(crate) unsafe fn put<T>(at: *mut T, value: T) -> Result<(), Status> {
    check(at)?;
    // SAFETY: neither NULL nor misaligned; the rest is this function's own contract.
    unsafe { at.write(value) };
    Ok(())
}

/// Returns `len` values; NULL is good for none.
///
/// # Safety
/// `at`, unless NULL or misaligned, points to `len` readable `T` that nobody changes during `'a`.
pub(crate) unsafe fn all<'a, T>(at: *const T, len: usize) -> Result<&'a [T], Status> {
    if len == 0 {
        return Ok(&[]);
    }
    check(at)?;
    check_len::<T>(len)?;
    // SAFETY: neither NULL nor misaligned, and no longer than an object can be; the rest is this
    // function's own contract.
    Ok(unsafe { slice::from_raw_parts(at, len) })
}

/// Returns room for `len` bytes; NULL is good for none.
///
/// # Safety
/// `at`, unless NULL, points to `len` writable bytes that nobody else uses during `'a`.
pub(crate) unsafe fn room<'a>(at: *mut u8, len: usize) -> Result<&'a mut [u8], Status> {
    if len == 0 {
        return Ok(&mut []);
    }
    check(at)?;
    check_len::<u8>(len)?;
    // SAFETY: not NULL and no longer than an object can be; the rest is this function's own contract.
    // The bytes may be uninitialised for the caller; they come from another program, to which the
    // compiler of this one sees no further.
    Ok(unsafe { slice::from_raw_parts_mut(at, len) })
}

/// No object is longer than `isize::MAX` bytes: a negative number turned into a length, say.
fn check_len<T>(len: usize) -> Result<(), Status> {
    match len.checked_mul(size_of::<T>()) {
        Some(bytes) if bytes <= isize::MAX.unsigned_abs() => Ok(()),
        Some(_) | None => Err(Status::BadArgument),
    }
}
