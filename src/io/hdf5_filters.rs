//! Decoders of the compressions that detectors put into HDF5 chunks and that the HDF5 reader does not bring along: LZF
//! (filter 32000), LZ4 (32004) and bitshuffle with LZ4 (32008).
//!
//! Each takes its input as it is: a declared size beyond what the compressed bytes can expand to is an error before
//! memory is allocated, and no stream can write beyond the size that was declared.
//!
//! # References
//! - LZ4: "LZ4 Block Format Description", Y. Collet; framing in HDF5: The HDF Group, "LZ4 filter", registered filters.
//! - Bitshuffle: Masui et al., Astronomy and Computing 12 (2015) 181, §3; the layout of a chunk is in its registration.
//! - LZF: format notes of LibLZF, M. Lehmann.

/// What is wrong with a chunk.
pub(crate) type Wrong = String;

/// LZ4 turns 1 byte into at most 255, LZF 3 bytes into at most 264.
const LZ4_EXPANSION: usize = 255;
const LZF_EXPANSION: usize = 88;

/// Decodes one LZ4 block to exactly `len` bytes, appended to `out`.
///
/// A block is a row of sequences: a token (4 bits of literal count, 4 bits of match length − 4), more length bytes
/// while they are 255, the literals, a distance of 2 bytes (little-endian) back into the output, more length bytes. The
/// last has no match.
fn lz4_block(mut input: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let start = out.len();
    let end = start + len;
    loop {
        let token = next(&mut input)?;
        let literals = lz4_length(token >> 4, &mut input)?;
        if literals > input.len() || literals > end - out.len() {
            return Err(format!("LZ4: {literals} literals, {} bytes left", input.len()));
        }
        let (now, rest) = input.split_at(literals);
        out.extend_from_slice(now);
        input = rest;
        if input.is_empty() {
            break;
        }
        let distance = usize::from(u16::from_le_bytes([next(&mut input)?, next(&mut input)?]));
        let length = lz4_length(token & 15, &mut input)? + 4;
        if distance == 0 || distance > out.len() - start || length > end - out.len() {
            return Err(format!("LZ4: match of {length} bytes at distance {distance}"));
        }
        copy_back(out, distance, length);
    }
    if out.len() != end {
        return Err(format!("LZ4: block gave {} bytes, expected {len}", out.len() - start));
    }
    Ok(())
}

fn lz4_length(nibble: u8, input: &mut &[u8]) -> Result<usize, Wrong> {
    let mut length = usize::from(nibble);
    if nibble == 15 {
        loop {
            let more = next(input)?;
            length += usize::from(more);
            if more != 255 {
                break;
            }
        }
    }
    Ok(length)
}

/// Appends `length` bytes that begin `distance` before the end; source and target may overlap.
fn copy_back(out: &mut Vec<u8>, distance: usize, length: usize) {
    let from = out.len() - distance;
    for i in 0..length {
        out.push(out[from + i]);
    }
}

fn next(input: &mut &[u8]) -> Result<u8, Wrong> {
    let (&first, rest) = input.split_first().ok_or_else(|| "the chunk ends early".to_string())?;
    *input = rest;
    Ok(first)
}

/// `n` bytes from the front.
fn take<'a>(input: &mut &'a [u8], n: usize) -> Result<&'a [u8], Wrong> {
    let (now, rest) = input.split_at_checked(n).ok_or_else(|| format!("the chunk ends early: {n} bytes wanted"))?;
    *input = rest;
    Ok(now)
}

fn be32(input: &mut &[u8]) -> Result<usize, Wrong> {
    Ok(u32::from_be_bytes(take(input, 4)?.try_into().expect("4 bytes")) as usize)
}

/// A declared size: 8 bytes, big-endian; refused when `input` cannot expand to it.
fn declared_size(input: &mut &[u8], expansion: usize) -> Result<usize, Wrong> {
    let declared = u64::from_be_bytes(take(input, 8)?.try_into().expect("8 bytes"));
    match usize::try_from(declared) {
        Ok(n) if n <= input.len().saturating_mul(expansion) => Ok(n),
        _ => Err(format!("{} bytes cannot unpack to the declared {declared}", input.len())),
    }
}

fn with_capacity(n: usize) -> Result<Vec<u8>, Wrong> {
    let mut out = Vec::new();
    out.try_reserve_exact(n).map_err(|_| format!("no memory for {n} bytes"))?;
    Ok(out)
}

/// Filter 32004: total size (8 bytes, big-endian), block size (4), then blocks of compressed size (4) and LZ4 block; a
/// block whose compressed size is its size is stored as it is.
pub(crate) fn lz4(mut input: &[u8]) -> Result<Vec<u8>, Wrong> {
    let total = declared_size(&mut input, LZ4_EXPANSION)?;
    let block = be32(&mut input)?;
    if block == 0 && total > 0 {
        return Err("LZ4: block size 0".into());
    }
    let mut out = with_capacity(total)?;
    while out.len() < total {
        let len = block.min(total - out.len());
        let compressed = be32(&mut input)?;
        let bytes = take(&mut input, compressed)?;
        if compressed == len {
            out.extend_from_slice(bytes);
        } else {
            lz4_block(bytes, len, &mut out)?;
        }
    }
    Ok(out)
}

/// Filter 32008. Options: versions (2), element size, block size in elements (0: the default), compression (0 none, 2
/// LZ4).
///
/// With LZ4 the chunk is: total size (8 bytes, big-endian), block size in bytes (4), then blocks of compressed size (4)
/// and LZ4 block, each bit-transposed before it was compressed. The last block holds the rest rounded down to 8
/// elements; fewer than 8 elements at the end are stored as they are.
pub(crate) fn bitshuffle(options: &[u32], element_size: usize, mut input: &[u8]) -> Result<Vec<u8>, Wrong> {
    let size = options.get(2).map_or(element_size, |&s| s as usize);
    if size == 0 || size > 1 << 16 {
        return Err(format!("bitshuffle: element size {size}"));
    }
    let compressed = match options.get(4) {
        None | Some(0) => false,
        Some(2) => true,
        Some(other) => return Err(format!("bitshuffle: compression {other} (2 is LZ4)")),
    };
    let (total, block) = if compressed {
        let total = declared_size(&mut input, LZ4_EXPANSION)?;
        (total, be32(&mut input)?)
    } else {
        let default = default_block(size);
        (input.len(), options.get(3).map_or(default, |&n| if n == 0 { default } else { n as usize * size }))
    };
    if block == 0 || block % (8 * size) != 0 {
        return Err(format!("bitshuffle: block of {block} bytes for elements of {size}"));
    }

    let mut out = with_capacity(total)?;
    let mut shuffled = Vec::new();
    let whole = total - total % (8 * size);
    while out.len() < whole {
        let len = block.min(whole - out.len());
        if compressed {
            let packed = be32(&mut input)?;
            shuffled.clear();
            shuffled.try_reserve_exact(len).map_err(|_| format!("no memory for {len} bytes"))?;
            lz4_block(take(&mut input, packed)?, len, &mut shuffled)?;
            unshuffle_bits(&shuffled, size, &mut out);
        } else {
            unshuffle_bits(take(&mut input, len)?, size, &mut out);
        }
    }
    out.extend_from_slice(take(&mut input, total - whole)?);
    Ok(out)
}

/// The block that the filter takes when none is stated: 8 KiB in multiples of 8 elements, but at least 128 elements.
fn default_block(size: usize) -> usize {
    (8192 / size / 8 * 8).max(128) * size
}

/// Undoes the bit transposition of one block and appends it.
///
/// The block holds, for byte b of the elements and bit k of that byte, a row of n/8 bytes whose bit i (lowest first) is
/// that bit of element i: 8·size rows. Eight elements are one byte of each of 8 rows, an 8 × 8 bit matrix that is
/// transposed at once.
fn unshuffle_bits(block: &[u8], size: usize, out: &mut Vec<u8>) {
    let row = block.len() / (8 * size);
    let start = out.len();
    out.resize(start + block.len(), 0);
    let target = &mut out[start..];
    for b in 0..size {
        let rows = &block[8 * b * row..8 * (b + 1) * row];
        for i in 0..row {
            let bits = transpose_8x8(std::array::from_fn(|k| rows[k * row + i]));
            for (k, &byte) in bits.iter().enumerate() {
                target[(8 * i + k) * size + b] = byte;
            }
        }
    }
}

/// Bit j of byte i becomes bit i of byte j: blocks of 1, 2 and 4 bits off the diagonal change places.
fn transpose_8x8(bytes: [u8; 8]) -> [u8; 8] {
    let mut x = u64::from_le_bytes(bytes);
    for (shift, mask) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)] {
        let t = (x ^ (x >> shift)) & mask;
        x ^= t ^ (t << shift);
    }
    x.to_le_bytes()
}

/// Filter 32000. Options: revisions (2), size of the chunk in bytes.
///
/// A control byte c < 32: c + 1 literals follow. Else the upper 3 bits give the match length − 2 (7: one more byte is
/// added), the lower 5 bits and the next byte its distance − 1.
pub(crate) fn lzf(options: &[u32], mut input: &[u8]) -> Result<Vec<u8>, Wrong> {
    let possible = input.len().saturating_mul(LZF_EXPANSION);
    let declared = options.get(2).map_or(possible, |&n| n as usize);
    if declared > possible {
        return Err(format!("LZF: {} bytes cannot unpack to the declared {declared}", input.len()));
    }
    let mut out = with_capacity(declared)?;
    while !input.is_empty() {
        let c = usize::from(next(&mut input)?);
        if c < 32 {
            if c + 1 > declared - out.len() {
                return Err(format!("LZF: more than the declared {declared} bytes"));
            }
            out.extend_from_slice(take(&mut input, c + 1)?);
            continue;
        }
        let mut length = (c >> 5) + 2;
        if c >> 5 == 7 {
            length += usize::from(next(&mut input)?);
        }
        let distance = ((c & 31) << 8 | usize::from(next(&mut input)?)) + 1;
        if distance > out.len() || length > declared - out.len() {
            return Err(format!("LZF: match of {length} bytes at distance {distance}"));
        }
        copy_back(&mut out, distance, length);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, as the format is described.
    fn shuffle_naive(data: &[u8], size: usize) -> Vec<u8> {
        let n = data.len() / size;
        let mut out = vec![0; data.len()];
        for b in 0..size {
            for k in 0..8 {
                for i in 0..n {
                    let bit = data[i * size + b] >> k & 1;
                    out[(8 * b + k) * (n / 8) + i / 8] |= bit << (i % 8);
                }
            }
        }
        out
    }

    /// A block of literals only: legal LZ4.
    fn lz4_literals(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if data.len() < 15 {
            out.push((data.len() as u8) << 4);
        } else {
            out.push(15 << 4);
            let mut rest = data.len() - 15;
            while rest >= 255 {
                out.push(255);
                rest -= 255;
            }
            out.push(rest as u8);
        }
        out.extend(data);
        out
    }

    #[test]
    fn lz4_matches_may_overlap_their_output() {
        // "ab", then 10 bytes from distance 2, then "c".
        let block = [0x26, b'a', b'b', 2, 0, 0x10, b'c'];
        let mut out = vec![9, 9];
        lz4_block(&block, 13, &mut out).unwrap();
        assert_eq!(&out[2..], b"ababababababc");
        // A distance that reaches before the block, and one of zero.
        assert!(lz4_block(&[0x26, b'a', b'b', 3, 0, 0x10, b'c'], 13, &mut vec![9, 9]).is_err());
        assert!(lz4_block(&[0x26, b'a', b'b', 0, 0, 0x10, b'c'], 13, &mut vec![9, 9]).is_err());
        for n in 0..block.len() {
            assert!(lz4_block(&block[..n], 13, &mut Vec::new()).is_err());
        }
        assert!(lz4_block(&block, 12, &mut Vec::new()).is_err());
        assert!(lz4_block(&block, 14, &mut Vec::new()).is_err());
    }

    #[test]
    fn lzf_literals_and_matches() {
        // "abc", 3 bytes from distance 3, 9 + 4 bytes from distance 1.
        let stream = [2, b'a', b'b', b'c', 1 << 5, 2, 7 << 5, 4, 0];
        let options = [4, 0x0105, 19];
        assert_eq!(lzf(&options, &stream).unwrap(), b"abcabcccccccccccccc"[..19]);
        assert!(lzf(&[4, 0x0105, 18], &stream).is_err());
        assert!(lzf(&options, &[1 << 5, 0]).is_err(), "a match before the first byte");
        assert!(lzf(&[4, 0x0105, u32::MAX], &stream).is_err(), "a size that cannot be");
        for n in 1..stream.len() {
            assert_ne!(lzf(&options, &stream[..n]).ok().as_deref(), Some(&b"abcabcccccccccccccc"[..]));
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_errors() {
        let mut chunk = u64::MAX.to_be_bytes().to_vec();
        chunk.extend([0, 0, 0, 64, 0, 0, 0, 0]);
        assert!(lz4(&chunk).is_err());
        assert!(bitshuffle(&[0, 2, 2, 0, 2], 2, &chunk).is_err());
        let mut empty_block = 8u64.to_be_bytes().to_vec();
        empty_block.extend([0; 12]);
        assert!(lz4(&empty_block).is_err());
        assert!(bitshuffle(&[0, 2, 2, 0, 2], 2, &empty_block).is_err());
        assert!(bitshuffle(&[0, 2, 0, 0, 2], 2, &empty_block).is_err());
        assert!(bitshuffle(&[0, 2, 2, 0, 3], 2, &empty_block).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn unshuffling_undoes_the_naive_shuffle(rows in 1usize..9, size in prop::sample::select(vec![1usize, 2, 3, 4, 8, 16]), seed: u64) {
            let mut state = seed;
            let data: Vec<u8> = (0..rows * 8 * size)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            let mut out = vec![1, 2, 3];
            unshuffle_bits(&shuffle_naive(&data, size), size, &mut out);
            prop_assert_eq!(&out[3..], &data[..]);
        }

        #[test]
        fn chunks_of_blocks_and_a_rest_come_back(n in 0usize..200, size in prop::sample::select(vec![1usize, 2, 4, 8])) {
            let data: Vec<u8> = (0..n * size).map(|i| (i * i / 7 + i) as u8).collect();
            let block = 32 * size;
            let whole = n / 8 * 8 * size;
            let mut chunk = ((n * size) as u64).to_be_bytes().to_vec();
            chunk.extend((block as u32).to_be_bytes());
            for part in data[..whole].chunks(block) {
                let packed = lz4_literals(&shuffle_naive(part, size));
                chunk.extend((packed.len() as u32).to_be_bytes());
                chunk.extend(packed);
            }
            chunk.extend(&data[whole..]);
            prop_assert_eq!(bitshuffle(&[0, 2, size as u32, 0, 2], size, &chunk).unwrap(), data.clone());
            for end in 0..chunk.len() {
                prop_assert!(bitshuffle(&[0, 2, size as u32, 0, 2], size, &chunk[..end]).is_err());
            }

            let mut plain = Vec::new();
            for part in data[..whole].chunks(block) {
                plain.extend(shuffle_naive(part, size));
            }
            plain.extend(&data[whole..]);
            prop_assert_eq!(bitshuffle(&[0, 2, size as u32, 32, 0], size, &plain).unwrap(), data);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), declared in 0u32..2000) {
            let mut chunk = u64::from(declared).to_be_bytes().to_vec();
            chunk.extend(&bytes);
            let _ = lz4(&chunk);
            let _ = bitshuffle(&[0, 2, 2, 0, 2], 2, &chunk);
            let _ = lzf(&[4, 0x0105, declared], &bytes);
        }
    }
}
