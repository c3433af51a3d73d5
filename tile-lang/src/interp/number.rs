//! Number formats: decoding stored bytes to f32 and rounding f32 to what a narrower format can hold.

use crate::dtype::DType;

/// f32 of every code of an FP8 format with `mantissa` bits of fraction.
const fn fp8_table(mantissa: u32, has_infinity: bool) -> [f32; 256] {
    let exponent_bits = 7 - mantissa;
    let bias = (1i32 << (exponent_bits - 1)) - 1;
    let mut table = [0.0; 256];
    let mut code = 0usize;
    while code < 256 {
        let sign = (code as u32 >> 7) << 31;
        let exponent = (code as u32 >> mantissa) & ((1 << exponent_bits) - 1);
        let fraction = code as u32 & ((1 << mantissa) - 1);
        let top = (1 << exponent_bits) - 1;
        let bits = if exponent == top && has_infinity {
            if fraction == 0 { 0x7f80_0000 } else { 0x7fc0_0000 }
        } else if exponent == top && fraction == (1 << mantissa) - 1 && !has_infinity {
            0x7fc0_0000
        } else if exponent == 0 {
            // A subnormal: fraction · 2^(1 − bias − mantissa), exact in f32.
            let unit = f32::from_bits(((1 - bias - mantissa as i32 + 127) as u32) << 23);
            (fraction as f32 * unit).to_bits()
        } else {
            (((exponent as i32 - bias + 127) as u32) << 23) | (fraction << (23 - mantissa))
        };
        table[code] = f32::from_bits(bits | sign);
        code += 1;
    }
    table
}

const fn e8m0_table() -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut code = 0usize;
    while code < 256 {
        table[code] = f32::from_bits(match code {
            0 => 1 << 22,
            255 => 0x7fc0_0000,
            c => (c as u32) << 23,
        });
        code += 1;
    }
    table
}

/// Values of the codes of `e4m3`.
pub(super) static E4M3: [f32; 256] = fp8_table(3, false);
/// Values of the codes of `e5m2`.
pub(super) static E5M2: [f32; 256] = fp8_table(2, true);
/// Values of the codes of `e8m0`.
pub(super) static E8M0: [f32; 256] = e8m0_table();
/// Values of the codes of `e2m1`.
pub(super) static E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];
/// Both values of a byte of `e2m1`, low nibble first.
pub(super) static E2M1_PAIRS: [[f32; 2]; 256] = {
    let mut table = [[0.0; 2]; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = [E2M1[code & 15], E2M1[code >> 4]];
        code += 1;
    }
    table
};

/// Rounds to the nearest bf16, ties to even.
#[inline(always)]
pub fn round_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
    f32::from_bits(if x.is_nan() { 0x7fff_0000 } else { rounded })
}

/// Rounds to the nearest tf32 as `cvt.rna.tf32.f32` does: 10 bits of fraction, ties away from zero.
#[inline(always)]
pub fn round_tf32(x: f32) -> f32 {
    if x.is_nan() { x } else { f32::from_bits(x.to_bits().wrapping_add(1 << 12) & !0x1fff) }
}

/// Rounds to the nearest f16, ties to even; too large becomes infinite.
#[inline]
pub fn round_f16(x: f32) -> f32 {
    half::f16::from_f32(x).to_f32()
}

/// Rounds to the nearest e4m3, ties to even; too large becomes ±448.
#[inline]
pub fn round_e4m3(x: f32) -> f32 {
    round_fp8(x, 3, -6, 448.0)
}

/// Rounds to the nearest e5m2, ties to even; too large becomes ±57344.
#[inline]
pub fn round_e5m2(x: f32) -> f32 {
    round_fp8(x, 2, -14, 57344.0)
}

/// Rounds to the nearest e2m1, ties to even; too large becomes ±6, NaN 6.
#[inline]
pub fn round_e2m1(x: f32) -> f32 {
    if x.is_nan() { 6.0 } else { round_fp8(x, 1, 0, 6.0) }
}

/// The largest power of two that is not above |x|, from 2^−127 to 2^127.
#[inline]
pub fn round_e8m0(x: f32) -> f32 {
    E8M0[if x.is_nan() { 255 } else { ((x.to_bits() >> 23) & 255).min(254) as usize }]
}

#[inline]
fn round_fp8(x: f32, mantissa: i32, least: i32, limit: f32) -> f32 {
    if x.is_nan() {
        return x;
    }
    let exponent = (((x.to_bits() >> 23) & 0xff) as i32 - 127).max(least);
    let unit = f32::from_bits(((exponent - mantissa + 127).clamp(1, 254) as u32) << 23);
    ((x / unit).round_ties_even() * unit).clamp(-limit, limit)
}

/// The value that an array of this type holds instead.
pub fn round_to(dtype: DType, x: f32) -> f32 {
    match dtype {
        DType::Bf16 => round_bf16(x),
        DType::F16 => round_f16(x),
        DType::E4m3 => round_e4m3(x),
        DType::E5m2 => round_e5m2(x),
        DType::E2m1 => round_e2m1(x),
        DType::E8m0 => round_e8m0(x),
        _ => x,
    }
}

/// Rounds every element.
pub(super) fn round_all(dtype: DType, data: &mut [f32]) {
    match dtype {
        DType::Bf16 => data.iter_mut().for_each(|x| *x = round_bf16(*x)),
        DType::F16 => data.iter_mut().for_each(|x| *x = round_f16(*x)),
        DType::E4m3 => data.iter_mut().for_each(|x| *x = round_e4m3(*x)),
        DType::E5m2 => data.iter_mut().for_each(|x| *x = round_e5m2(*x)),
        DType::E2m1 => data.iter_mut().for_each(|x| *x = round_e2m1(*x)),
        DType::E8m0 => data.iter_mut().for_each(|x| *x = round_e8m0(*x)),
        _ => {}
    }
}

/// An i32 from a float: truncates, saturates at the ends of the type, NaN is 0.
#[inline(always)]
pub(super) fn float_to_int(to: DType, x: f32) -> i32 {
    match to {
        DType::I8 => x as i8 as i32,
        DType::U8 => x as u8 as i32,
        _ => x as i32,
    }
}

/// An integer of a narrower type from an i32: the low bits.
#[inline(always)]
pub(super) fn wrap_int(to: DType, x: i32) -> i32 {
    match to {
        DType::I8 => x as i8 as i32,
        DType::U8 => x as u8 as i32,
        _ => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_hold_the_formats() {
        assert_eq!((E4M3[0x38], E4M3[0x7e], E4M3[0x01], E4M3[0xb8]), (1.0, 448.0, 2f32.powi(-9), -1.0));
        assert!(E4M3[0x7f].is_nan() && E4M3[0xff].is_nan());
        assert_eq!((E5M2[0x3c], E5M2[0x7b], E5M2[0x7c], E5M2[0x01]), (1.0, 57344.0, f32::INFINITY, 2f32.powi(-16)));
        assert_eq!((E8M0[127], E8M0[0], E8M0[254]), (1.0, 2f32.powi(-127), 2f32.powi(127)));
        assert!(E8M0[255].is_nan());
        assert_eq!(E2M1_PAIRS[0x72], [1.0, 6.0]);
    }

    #[test]
    fn rounding_is_the_identity_on_codes_and_nearest_even_between() {
        for code in 0..256 {
            for (table, round) in [(&E4M3, round_e4m3 as fn(f32) -> f32), (&E5M2, round_e5m2)] {
                let x = table[code];
                if x.is_finite() {
                    assert_eq!(round(x).to_bits(), x.to_bits());
                }
            }
        }
        assert_eq!(
            (round_e4m3(17.0), round_e4m3(19.0), round_e4m3(1e9), round_e4m3(-f32::INFINITY)),
            (16.0, 20.0, 448.0, -448.0)
        );
        assert_eq!((round_e5m2(1e9), round_e5m2(9.0), round_e5m2(11.0)), (57344.0, 8.0, 12.0));
        assert_eq!(round_e4m3(2f32.powi(-10)), 0.0);
        for x in E2M1 {
            assert_eq!(round_e2m1(x).to_bits(), x.to_bits());
        }
        let ties = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0, -0.3];
        assert_eq!(ties.map(round_e2m1), [0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 6.0, -0.5]);
        assert_eq!(
            [1.0, 3.9, -5.0, 0.0, f32::INFINITY].map(round_e8m0),
            [1.0, 2.0, 4.0, 2f32.powi(-127), 2f32.powi(127)]
        );
        assert_eq!(round_e4m3(3.0 * 2f32.powi(-10)), 2f32.powi(-8));
        for bits in [0x3f80_8000u32, 0x3f81_8000, 0x3f80_8001, 0x7f7f_ffff, 0x0000_8000, 0xff80_0000] {
            let x = f32::from_bits(bits);
            assert_eq!(round_bf16(x), half::bf16::from_f32(x).to_f32());
        }
        assert!(round_bf16(f32::NAN).is_nan());
    }
}
