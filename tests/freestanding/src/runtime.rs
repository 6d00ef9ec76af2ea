//! What a program without std needs on every platform: a panic handler.
//!
//! The rest, an entry and an exit, is the platform's file.

/// Ends in an instruction with an effect, so that the optimiser cannot take a panic for nothing.
/// Never inlined and named for what it means: whatever becomes of the functions in between, a
/// program that can panic has this symbol.
#[inline(never)]
fn panic_is_reachable() -> ! {
    crate::platform::exit(101)
}

#[panic_handler]
fn on_panic(_: &core::panic::PanicInfo<'_>) -> ! {
    panic_is_reachable()
}
