//! x86-64 Linux without libc: an entry, an exit, and the memory functions that compiled code calls
//! by name.
//!
//! The memory functions are single instructions, because a loop that copies bytes may itself be
//! compiled into a call of `memcpy`. Elsewhere they come with the target's `compiler_builtins`.

use core::arch::{asm, global_asm};

global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym start,
);

extern "C" fn start() -> ! {
    exit(crate::run())
}

pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: exit_group(2) takes a number and does not return.
    unsafe { asm!("syscall", in("rax") 231, in("edi") code, options(noreturn, nostack)) }
}

/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller gives `len` readable and as many writable bytes that do not overlap.
    unsafe {
        asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As memmove(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= len {
        // SAFETY: a copy upwards is right when the target does not begin inside the source.
        return unsafe { memcpy(to, from, len) };
    }
    let last = len.wrapping_sub(1);
    // SAFETY: as above, from the last byte down; `len` is not 0 here.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") len => _,
            inout("rdi") to.wrapping_add(last) => _, inout("rsi") from.wrapping_add(last) => _,
            options(nostack));
    }
    to
}

/// # Safety
/// As memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, len: usize) -> *mut u8 {
    // SAFETY: the caller gives `len` writable bytes.
    unsafe {
        asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("eax") byte,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    let above: u8;
    let below: u8;
    // SAFETY: the caller gives `len` readable bytes at both; `cmp` of a register with itself makes
    // them equal when there are none.
    unsafe {
        asm!("cmp rcx, rcx", "repe cmpsb", "seta {above}", "setb {below}",
            inout("rcx") len => _, inout("rsi") left => _, inout("rdi") right => _,
            above = out(reg_byte) above, below = out(reg_byte) below,
            options(nostack, readonly));
    }
    i32::from(above) - i32::from(below)
}

/// # Safety
/// As bcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    // SAFETY: the caller gives what memcmp asks for.
    unsafe { memcmp(left, right, len) }
}
