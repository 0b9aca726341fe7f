//! Memory for millions: asked for before it is needed, in large pages.

use std::ops::Range;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Fetches some bytes of a value into the cache, those that it has, without waiting.
#[inline(always)]
#[allow(
    unsafe_code,
    reason = "reading instead waits for the memory: half the events per second at a million actors"
)]
pub fn prefetch<T: ?Sized>(value: &T, bytes: Range<usize>) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        for offset in (bytes.start..bytes.end.min(size_of_val(value))).step_by(LINE) {
            // SAFETY: a prefetch reads nothing and cannot fault; the address is within `value`.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(offset)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, bytes);
}

/// Lets the system give memory in large pages, what a vector has room for included: with pages of
/// 4 KiB the tables of pages themselves do not fit into the caches. It is advice, and changes
/// nothing else.
#[allow(
    unsafe_code,
    reason = "a tenth to three tenths more events per second at a million actors"
)]
pub fn advise_large_pages<T>(memory: &mut Vec<T>) {
    /// Less than this is not worth the call.
    const WORTH_IT: usize = 8 << 20;
    /// Advice goes to whole pages.
    const PAGE: usize = 4096;
    let bytes = memory.capacity() * size_of::<T>();
    if bytes < WORTH_IT {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        use std::ptr::NonNull;

        use nix::sys::mman::{MmapAdvise, madvise};

        let start = memory.as_mut_ptr().cast::<u8>();
        let offset = start.align_offset(PAGE);
        let length = (bytes - offset) / PAGE * PAGE;
        // SAFETY: the range lies within the vector's memory.
        let start = NonNull::new(unsafe { start.add(offset) });
        if let Some(start) = start {
            // SAFETY: this advice changes neither what the memory holds nor who may use it.
            let advised = unsafe { madvise(start.cast(), length, MmapAdvise::MADV_HUGEPAGE) };
            // A system without them goes on with small ones.
            let _ = advised;
        }
    }
}

/// Has the system move what was allocated in many small pieces into large pages, for the same
/// reason. It is advice, and changes nothing else.
#[allow(
    unsafe_code,
    reason = "a tenth more events per second at a million actors"
)]
pub fn collapse_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use nix::libc::{MADV_COLLAPSE, madvise};

        /// Less than this is not worth the call.
        const WORTH_IT: usize = 64 << 20;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let heap = maps.lines().find(|line| line.ends_with("[heap]"));
        let range = heap.and_then(|line| line.split(' ').next()?.split_once('-'));
        let address = |hex| usize::from_str_radix(hex, 16).ok();
        let range = range.and_then(|(start, end)| Some(address(start)?..address(end)?));
        if let Some(range) = range.filter(|range| range.len() >= WORTH_IT) {
            let start = std::ptr::without_provenance_mut(range.start);
            // SAFETY: this advice changes neither what the memory holds nor who may use it.
            let advised = unsafe { madvise(start, range.len(), MADV_COLLAPSE) };
            // A system without large pages goes on with small ones.
            let _ = advised;
        }
    }
}
