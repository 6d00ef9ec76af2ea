//! A Cortex-M4 without an operating system: the vector table and an exit by semihosting.
//!
//! Where things lie is `thumbv7em.ld`'s to say. Nothing is copied or zeroed at the start: the linker
//! script refuses a program with variables.

use core::arch::{asm, global_asm};

// Armv7-M Architecture Reference Manual, B1.5.3: the stack pointer, the entry, then the exceptions.
global_asm!(
    ".section .vectors, \"a\"",
    ".word stack_top",
    ".word {reset}",
    ".rept 14",
    ".word {fault}",
    ".endr",
    reset = sym reset,
    fault = sym fault,
);

extern "C" fn reset() -> ! {
    exit(crate::run())
}

extern "C" fn fault() -> ! {
    exit(102)
}

/// Why a program ends, "Semihosting for AArch32 and AArch64" 7.5: it chose to, with an exit code.
const APPLICATION_EXIT: u32 = 0x2_0026;
/// The call that takes a reason and a code, in two words: SYS_EXIT_EXTENDED.
const EXIT_EXTENDED: u32 = 0x20;

pub(crate) fn exit(code: i32) -> ! {
    let reason = [APPLICATION_EXIT, code.cast_unsigned()];
    loop {
        // SAFETY: a debugger or an emulator reads the two words and ends the program; with neither
        // the processor takes a fault and comes back here.
        unsafe {
            asm!("bkpt 0xab", inout("r0") EXIT_EXTENDED => _, in("r1") &raw const reason,
                options(nostack, readonly));
        }
    }
}
