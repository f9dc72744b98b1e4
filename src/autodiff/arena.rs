//! One arena: where each buffer lies, and how several of them are borrowed at once without `unsafe`.

use std::ops::Range;

/// Offsets are multiples of this many words, so that buffers start on the lines of the cache.
const ALIGN: usize = 16;

/// A buffer of the plan: its length in words, and the first and last step at which it is alive.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub len: usize,
    pub first: usize,
    pub last: usize,
    pub offset: usize,
}

/// Gives every buffer an offset at or above `base`, such that buffers which are alive at the same step do not overlap.
/// Returns the length of the arena; `None` where it overflows.
///
/// Largest first, each at the lowest place that is free during its life. The problem is NP-hard; this order is within a
/// few per cent of the lower bound for chains and U-nets.
///
/// # References
/// Y. Pisarchyk, J. Lee, arXiv:2001.03288 (2020), algorithm 3 (greedy by size for offset calculation).
pub(crate) fn place(buffers: &mut [Buffer], base: usize) -> Option<usize> {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].len), buffers[i].first, i));
    // Sorted by offset.
    let mut placed: Vec<usize> = Vec::with_capacity(buffers.len());
    let base = base.checked_next_multiple_of(ALIGN)?;
    let mut total = base;
    for &i in &order {
        let mut at = base;
        for &j in &placed {
            let (a, b) = (&buffers[i], &buffers[j]);
            if a.first > b.last || b.first > a.last {
                continue;
            }
            if at.checked_add(a.len)? <= b.offset {
                break;
            }
            at = at.max((b.offset + b.len).checked_next_multiple_of(ALIGN)?);
        }
        buffers[i].offset = at;
        total = total.max(at.checked_add(buffers[i].len)?);
        let position = placed.partition_point(|&j| buffers[j].offset <= at);
        placed.insert(position, i);
    }
    Some(total)
}

/// The most buffers that one step can touch: 16 inputs with their gradients, output, its gradient, tape, scratch.
pub(crate) const MAX_PARTS: usize = 2 * super::MAX_INPUTS + 4;

/// Cuts the arena into the given ranges, which are sorted and do not overlap.
pub(crate) fn split<'a, T>(mut arena: &'a mut [T], ranges: &[Range<usize>]) -> [&'a mut [T]; MAX_PARTS] {
    let mut parts: [&mut [T]; MAX_PARTS] = std::array::from_fn(|_| Default::default());
    let mut at = 0;
    for (part, range) in parts.iter_mut().zip(ranges) {
        let (_, rest) = std::mem::take(&mut arena).split_at_mut(range.start - at);
        (*part, arena) = rest.split_at_mut(range.len());
        at = range.end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn buffers_alive_together_do_not_overlap_and_a_chain_needs_two() {
        for seed in 0..50 {
            let mut r = rng::stream(seed, 0);
            let mut buffers: Vec<Buffer> = (0..60)
                .map(|_| {
                    let first = rng::below(&mut r, 40);
                    Buffer { len: 1 + rng::below(&mut r, 300), first, last: first + rng::below(&mut r, 20), offset: 0 }
                })
                .collect();
            let total = place(&mut buffers, 7).unwrap();
            for (i, a) in buffers.iter().enumerate() {
                assert!(a.offset >= 16 && a.offset % ALIGN == 0 && a.offset + a.len <= total);
                for b in &buffers[..i] {
                    let together = a.first <= b.last && b.first <= a.last;
                    let overlap = a.offset < b.offset + b.len && b.offset < a.offset + a.len;
                    assert!(!(together && overlap), "{a:?} {b:?}");
                }
            }
        }
        let mut chain: Vec<Buffer> = (0..10).map(|i| Buffer { len: 32, first: i, last: i + 1, offset: 0 }).collect();
        assert_eq!(place(&mut chain, 0), Some(64));
    }

    #[test]
    fn parts_are_the_ranges() {
        let mut arena: Vec<usize> = (0..20).collect();
        let parts = split(&mut arena, &[2..5, 5..6, 10..20]);
        assert_eq!(
            (&*parts[0], &*parts[1], &*parts[2], parts[3].len()),
            (&[2, 3, 4][..], &[5][..], &[10, 11, 12, 13, 14, 15, 16, 17, 18, 19][..], 0)
        );
    }
}
