//! Number formats of stored weights: bf16, FP8 (E4M3, E5M2), FP4 (E2M1) and the power-of-two block scale E8M0.
//!
//! These are the semantics everything else is held to: decoding is exact, encoding rounds to nearest with ties to
//! the even code and saturates at the largest finite number, as the device's `cvt.rn.satfinite` does. Weight matrices
//! are dequantised a row at a time with [`fp8_row`] and [`mxfp4_row`].

/// Rows and columns of a block that shares one FP8 scale.
pub const FP8_BLOCK: usize = 128;
/// Columns that share one E8M0 scale in MXFP4.
pub const MXFP4_BLOCK: usize = 32;

/// The magnitudes of the eight positive E2M1 codes.
pub const E2M1_MAGNITUDES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The number an E2M1 code (low four bits; the high four are ignored) stands for. Bit 3 is the sign.
pub fn e2m1_decode(code: u8) -> f32 {
    let magnitude = E2M1_MAGNITUDES[usize::from(code & 7)];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

/// The nearest E2M1 code: ties to even, beyond ±6 saturated; NaN becomes +6, since the format has none.
pub fn e2m1_encode(x: f32) -> u8 {
    if x.is_nan() {
        return 7;
    }
    let sign = if x.is_sign_negative() { 8 } else { 0 };
    let a = x.abs();
    // The midpoints between neighbours; a tie goes to the even code of the two.
    let code = if a <= 0.25 {
        0
    } else if a < 0.75 {
        1
    } else if a <= 1.25 {
        2
    } else if a < 1.75 {
        3
    } else if a <= 2.5 {
        4
    } else if a < 3.5 {
        5
    } else if a <= 5.0 {
        6
    } else {
        7
    };
    sign | code
}

/// The scale an E8M0 byte stands for: 2^(byte − 127), NaN for 255. Byte 0 is 2^−127, a subnormal.
pub fn e8m0_decode(byte: u8) -> f32 {
    match byte {
        0 => f32::from_bits(0x0040_0000),
        255 => f32::NAN,
        b => f32::from_bits(u32::from(b) << 23),
    }
}

/// The largest E8M0 scale not above |x| (exact for powers of two); 0 below 2^−127, 254 for infinity, 255 for NaN.
pub fn e8m0_encode(x: f32) -> u8 {
    if x.is_nan() {
        return 255;
    }
    // The exponent field is the answer for normal numbers; of the subnormals only [2^-127, 2^-126) is in reach, byte 0.
    (((x.abs().to_bits() >> 23) & 255) as u8).min(254)
}

/// A small float with `E` exponent bits, `M` mantissa bits and the given bias, from the bits without their sign.
fn small_float(bits: u8, mantissa_bits: u32, bias: i32) -> f32 {
    let exponent = i32::from(bits) >> mantissa_bits;
    let mantissa = f32::from(bits & ((1 << mantissa_bits) - 1));
    let unit = (2.0f32).powi(-(mantissa_bits as i32));
    if exponent == 0 {
        mantissa * unit * (2.0f32).powi(1 - bias)
    } else {
        (1.0 + mantissa * unit) * (2.0f32).powi(exponent - bias)
    }
}

/// Rounds a non-negative number to a small float's bits, ties to even, saturating at `largest`.
fn small_float_encode(a: f32, mantissa_bits: u32, bias: i32, largest: u8) -> u8 {
    // f64 holds every f32 and its quotient by a power of two, so the only rounding is the one meant.
    let a = f64::from(a);
    let exponent = if a == 0.0 { 1 - bias } else { (a.log2().floor() as i32).clamp(1 - bias, 127) };
    // f32 neighbours of a power of two are far enough apart for an f64 logarithm to tell them.
    let unit = (2.0f64).powi(exponent - mantissa_bits as i32);
    let steps = (a / unit).round_ties_even();
    let code = f64::from((exponent + bias - 1) << mantissa_bits) + steps;
    if code >= f64::from(largest) { largest } else { code as u8 }
}

/// The number an E4M3 code stands for (bias 7, no infinity, NaN for 0x7f and 0xff).
pub fn e4m3_decode(code: u8) -> f32 {
    let bits = code & 0x7f;
    let magnitude = if bits == 0x7f { f32::NAN } else { small_float(bits, 3, 7) };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The nearest E4M3 code, ties to even, saturating at ±448; NaN gives 0x7f.
pub fn e4m3_encode(x: f32) -> u8 {
    if x.is_nan() {
        return 0x7f;
    }
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    sign | small_float_encode(x.abs(), 3, 7, 0x7e)
}

/// The number an E5M2 code stands for (bias 15; 0x7c is infinity, above it NaN).
pub fn e5m2_decode(code: u8) -> f32 {
    let bits = code & 0x7f;
    let magnitude = match bits {
        0x7c => f32::INFINITY,
        0x7d..=0x7f => f32::NAN,
        _ => small_float(bits, 2, 15),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The nearest E5M2 code, ties to even, saturating at ±57344 (infinity too); NaN gives 0x7f.
pub fn e5m2_encode(x: f32) -> u8 {
    if x.is_nan() {
        return 0x7f;
    }
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    sign | small_float_encode(x.abs(), 2, 15, 0x7b)
}

/// The number a bf16 bit pattern stands for.
pub fn bf16_decode(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bf16 bit pattern, ties to even; NaN stays a quiet NaN of the same sign.
pub fn bf16_encode(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    let round = 0x7fff + ((bits >> 16) & 1);
    ((bits + round) >> 16) as u16
}

/// Rounds a number to the nearest bf16.
pub fn bf16_round(x: f32) -> f32 {
    bf16_decode(bf16_encode(x))
}

/// Decodes a row of little-endian bf16: `bytes` holds 2·K bytes, `out` K numbers. The shorter one bounds the work.
pub fn bf16_row(bytes: &[u8], out: &mut [f32]) {
    for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        *o = bf16_decode(u16::from_le_bytes([b[0], b[1]]));
    }
}

/// Dequantises a row of E4M3 codes: `codes` `[K]`, `scales` [⌈K/128⌉], `out` `[K]` = code × scale, rounded once to f32.
pub fn fp8_row(codes: &[u8], scales: &[f32], out: &mut [f32]) {
    let blocks = out.chunks_mut(FP8_BLOCK).zip(codes.chunks(FP8_BLOCK));
    for ((out, codes), &scale) in blocks.zip(scales) {
        for (o, &c) in out.iter_mut().zip(codes) {
            *o = e4m3_decode(c) * scale;
        }
    }
}

/// Dequantises a row of MXFP4: `codes` [K/2] (low nibble = even column), `scales` [K/32] E8M0, `out` `[K]`.
pub fn mxfp4_row(codes: &[u8], scales: &[u8], out: &mut [f32]) {
    let blocks = out.chunks_mut(MXFP4_BLOCK).zip(codes.chunks(MXFP4_BLOCK / 2));
    for ((out, codes), &scale) in blocks.zip(scales) {
        let scale = e8m0_decode(scale);
        for (o, &c) in out.chunks_exact_mut(2).zip(codes) {
            o[0] = e2m1_decode(c) * scale;
            o[1] = e2m1_decode(c >> 4) * scale;
        }
    }
}

/// Quantises one MXFP4 block. The scale is 2^(⌊log2 amax⌋ − 2), so that the largest code of the block is 4 or 6; gives
/// the E8M0 byte and 16 bytes of codes, low nibble first.
pub fn mxfp4_encode_block(values: &[f32; MXFP4_BLOCK]) -> (u8, [u8; MXFP4_BLOCK / 2]) {
    let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let scale = e8m0_encode(largest).saturating_sub(2);
    let unit = f64::from(e8m0_decode(scale));
    let code = |v: f32| e2m1_encode((f64::from(v) / unit) as f32);
    let mut codes = [0; MXFP4_BLOCK / 2];
    for (byte, pair) in codes.iter_mut().zip(values.chunks_exact(2)) {
        *byte = code(pair[0]) | code(pair[1]) << 4;
    }
    (scale, codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code whose value is nearest to `x`, the even one of two, found by trying all.
    fn nearest(x: f32, codes: std::ops::RangeInclusive<u8>, decode: fn(u8) -> f32) -> u8 {
        // Far above all codes, distances would be equal by rounding.
        let x = f64::from(x.abs()).min(1e6);
        let distance = |c: u8| (f64::from(decode(c)) - x).abs();
        let best = codes.min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1))));
        best.unwrap_or(0)
    }

    /// Numbers over the whole f32 range, and around every code and every midpoint of two codes.
    fn trials(codes: std::ops::RangeInclusive<u8>, decode: fn(u8) -> f32) -> Vec<f32> {
        let mut out: Vec<f32> = (0..=0x7f7f_ffffu32).step_by(99_991).map(f32::from_bits).collect();
        for c in codes {
            let (a, b) = (decode(c), decode(c.saturating_add(1)));
            for x in [a, (a + b) / 2.0] {
                out.extend([x, f32::from_bits(x.to_bits() + 1), f32::from_bits(x.to_bits().saturating_sub(1))]);
            }
        }
        out.retain(|x| x.is_finite());
        out
    }

    #[test]
    fn e2m1_is_exhaustively_right() {
        let values: Vec<f32> = (0..8).map(e2m1_decode).collect();
        assert_eq!(values, E2M1_MAGNITUDES);
        for code in 0..16u8 {
            assert_eq!(e2m1_encode(e2m1_decode(code)), code);
            assert_eq!(e2m1_decode(code ^ 8), -e2m1_decode(code));
        }
        for x in trials(0..=6, e2m1_decode) {
            assert_eq!(e2m1_encode(x), nearest(x, 0..=7, e2m1_decode), "{x}");
            assert_eq!(e2m1_encode(-x), 8 | e2m1_encode(x), "{x}");
        }
        assert_eq!(e2m1_encode(f32::INFINITY), 7);
    }

    #[test]
    fn e8m0_is_exhaustively_right() {
        for byte in 0..255u8 {
            assert_eq!(f64::from(e8m0_decode(byte)), (2.0f64).powi(i32::from(byte) - 127));
            assert_eq!(e8m0_encode(e8m0_decode(byte)), byte);
            assert_eq!(e8m0_encode(e8m0_decode(byte) * 1.5), byte);
        }
        assert!(e8m0_decode(255).is_nan());
        assert_eq!(e8m0_encode(f32::NAN), 255);
        assert_eq!(e8m0_encode(f32::INFINITY), 254);
    }

    #[test]
    fn e4m3_is_exhaustively_right() {
        assert_eq!([0x01, 0x08, 0x38, 0x7e].map(e4m3_decode), [1.0 / 512.0, 1.0 / 64.0, 1.0, 448.0]);
        assert!(e4m3_decode(0x7f).is_nan() && e4m3_decode(0xff).is_nan());
        for code in (0..=255u8).filter(|c| c & 0x7f != 0x7f) {
            assert_eq!(e4m3_encode(e4m3_decode(code)), code);
        }
        for x in trials(0..=0x7d, e4m3_decode) {
            assert_eq!(e4m3_encode(x), nearest(x, 0..=0x7e, e4m3_decode), "{x}");
        }
        assert_eq!(e4m3_encode(f32::NEG_INFINITY), 0xfe);
    }

    #[test]
    fn e5m2_is_the_upper_byte_of_f16() {
        for code in 0..=255u8 {
            let (ours, f16) = (e5m2_decode(code), half::f16::from_bits(u16::from(code) << 8).to_f32());
            assert!(ours == f16 || ours.is_nan() && f16.is_nan(), "{code}");
            if ours.is_finite() {
                assert_eq!(e5m2_encode(ours), code);
            }
        }
        for x in trials(0..=0x7a, e5m2_decode) {
            assert_eq!(e5m2_encode(x), nearest(x, 0..=0x7b, e5m2_decode), "{x}");
        }
    }

    #[test]
    fn bf16_is_that_of_half() {
        for bits in 0..=u16::MAX {
            let (ours, half) = (bf16_decode(bits), half::bf16::from_bits(bits).to_f32());
            assert!(ours == half || ours.is_nan() && half.is_nan());
        }
        for bits in (0..=u32::MAX).step_by(251) {
            let x = f32::from_bits(bits);
            assert_eq!(bf16_encode(x), half::bf16::from_f32(x).to_bits(), "{bits:#x}");
        }
    }

    #[test]
    fn rows_are_dequantised_by_their_blocks() {
        let mut out = [0.0; 200];
        fp8_row(&[0x38; 200], &[2.0, 4.0], &mut out);
        assert!(out[..128].iter().all(|&x| x == 2.0) && out[128..].iter().all(|&x| x == 4.0));
        let mut out = [0.0; 64];
        let codes: Vec<u8> = (0..32).map(|i| if i < 16 { 0x52 } else { 0xa1 }).collect();
        mxfp4_row(&codes, &[128, 126], &mut out);
        assert_eq!([out[0], out[1], out[32], out[33]], [2.0, 6.0, 0.25, -0.5]);
    }

    #[test]
    fn a_block_of_fp4_survives_encoding() {
        let values: [f32; 32] = std::array::from_fn(|i| e2m1_decode(i as u8 % 16) * 0.125);
        let (scale, codes) = mxfp4_encode_block(&values);
        let mut back = [0.0; 32];
        mxfp4_row(&codes, &[scale], &mut back);
        assert_eq!(back, values);
        assert_eq!(mxfp4_encode_block(&[0.0; 32]), (0, [0; 16]));
    }
}
