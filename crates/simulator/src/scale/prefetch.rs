//! Asking for memory before it is needed.

/// Bytes of a cache line.
const LINE: usize = 64;

/// Fetches the first `bytes` of a value into the cache, no more than it has, without waiting.
#[inline(always)]
#[allow(
    unsafe_code,
    reason = "reading instead waits for the memory: half the events per second at a million actors"
)]
pub fn prefetch<T: ?Sized>(value: &T, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        for offset in (0..bytes.min(size_of_val(value))).step_by(LINE) {
            // SAFETY: a prefetch reads nothing and cannot fault; the address is within `value`.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, bytes);
}
