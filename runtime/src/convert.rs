//! Contents of buffers: host numbers to stored bytes and back. Floats round to nearest, ties to even.

use half::{bf16, f16};
use tile_lang::DType;
use tile_lang::exec::Data;
use tile_lang::interp::round_to;

/// Stored bytes of numbers; 8-bit floats saturate, integers wrap.
pub(crate) fn encode(dtype: DType, data: &Data) -> Result<Vec<u8>, String> {
    Ok(match (dtype, data) {
        (DType::F32, Data::F32(v)) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        (DType::Bf16, Data::F32(v)) => v.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        (DType::F16, Data::F32(v)) => v.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        (DType::E4m3 | DType::E5m2, Data::F32(v)) => {
            let codes = fp8_codes(dtype);
            v.iter().map(|x| to_fp8(&codes, *x)).collect()
        }
        (DType::E2m1, Data::F32(v)) => {
            let codes: Vec<u8> = v.iter().map(|x| e2m1_code(*x)).collect();
            codes.chunks(2).map(|pair| pair[0] | pair.get(1).unwrap_or(&0) << 4).collect()
        }
        (DType::E8m0, Data::F32(v)) => v.iter().map(|x| e8m0_code(*x)).collect(),
        (DType::I32, Data::I32(v)) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        (DType::I8 | DType::U8, Data::I32(v)) => v.iter().map(|x| *x as u8).collect(),
        (DType::Bool, Data::I32(v)) => v.iter().map(|x| u8::from(*x != 0)).collect(),
        (_, Data::F32(_)) => return Err(format!("real numbers can't be written to elements of type {dtype}")),
        (_, Data::I32(_)) => return Err(format!("integers can't be written to elements of type {dtype}")),
    })
}

/// Numbers of stored bytes.
pub(crate) fn decode(dtype: DType, bytes: &[u8]) -> Result<Data, String> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    let words = || bytes.as_chunks::<4>().0.iter();
    Ok(match dtype {
        DType::F32 => Data::F32(words().map(|b| f32::from_le_bytes(*b)).collect()),
        DType::Bf16 => Data::F32(pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
        DType::F16 => Data::F32(pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect()),
        DType::E4m3 | DType::E5m2 => Data::F32(bytes.iter().map(|b| from_fp8(dtype, *b)).collect()),
        DType::I32 => Data::I32(words().map(|b| i32::from_le_bytes(*b)).collect()),
        DType::I8 => Data::I32(bytes.iter().map(|b| i32::from(*b as i8)).collect()),
        DType::U8 | DType::Bool => Data::I32(bytes.iter().map(|b| i32::from(*b)).collect()),
        DType::E2m1 => Data::F32(bytes.iter().flat_map(|b| [b & 15, b >> 4]).map(from_e2m1).collect()),
        DType::E8m0 => Data::F32(bytes.iter().map(|b| from_e8m0(*b)).collect()),
    })
}

/// How many numbers these are.
pub(crate) fn len(data: &Data) -> usize {
    match data {
        Data::F32(v) => v.len(),
        Data::I32(v) => v.len(),
    }
}

/// Magnitudes of the codes of E2M1.
const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

fn from_e2m1(code: u8) -> f32 {
    let magnitude = E2M1[usize::from(code & 7)];
    if code >= 8 { -magnitude } else { magnitude }
}

fn e2m1_code(x: f32) -> u8 {
    let x = round_to(DType::E2m1, x);
    let code = E2M1.iter().position(|m| *m == x.abs()).unwrap_or(E2M1.len() - 1) as u8;
    if x.is_sign_negative() { code | 8 } else { code }
}

fn from_e8m0(code: u8) -> f32 {
    match code {
        0 => f32::from_bits(1 << 22),
        255 => f32::NAN,
        code => f32::from_bits(u32::from(code) << 23),
    }
}

fn e8m0_code(x: f32) -> u8 {
    let x = round_to(DType::E8m0, x);
    if x.is_nan() { 255 } else { (x.to_bits() >> 23) as u8 }
}

fn from_fp8(dtype: DType, code: u8) -> f32 {
    let mantissa = if dtype == DType::E4m3 { 3 } else { 2 };
    let bias = if dtype == DType::E4m3 { 7 } else { 15 };
    let (exponent, fraction) = (i32::from(code & 127) >> mantissa, i32::from(code) & ((1 << mantissa) - 1));
    let magnitude = match (dtype, code & 127) {
        (DType::E4m3, 127) => f32::NAN,
        (DType::E5m2, 124) => f32::INFINITY,
        (DType::E5m2, 125..) => f32::NAN,
        _ if exponent == 0 => fraction as f32 * 2f32.powi(1 - bias - mantissa),
        _ => ((1 << mantissa) + fraction) as f32 * 2f32.powi(exponent - bias - mantissa),
    };
    if code >= 128 { -magnitude } else { magnitude }
}

/// Finite magnitudes in order; the index is the code.
fn fp8_codes(dtype: DType) -> Vec<f32> {
    (0..128).map(|c| from_fp8(dtype, c)).take_while(|x| x.is_finite()).collect()
}

fn to_fp8(codes: &[f32], x: f32) -> u8 {
    let sign = if x.is_sign_negative() { 128 } else { 0 };
    if x.is_nan() {
        return sign | 127;
    }
    let above = codes.partition_point(|c| *c < x.abs()).min(codes.len() - 1);
    let below = above.saturating_sub(1);
    let (down, up) = (x.abs() - codes[below], codes[above] - x.abs());
    let nearest = if down < up || (down == up && below % 2 == 0) { below } else { above };
    sign | nearest as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_round_to_nearest_even() {
        let bytes = encode(DType::Bf16, &Data::F32(vec![1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -2.5])).unwrap();
        assert_eq!(decode(DType::Bf16, &bytes), Ok(Data::F32(vec![1.0, 1.0 + 4.0 / 256.0, -2.5])));
        let bytes = encode(DType::E4m3, &Data::F32(vec![17.0, 19.0, 1e9, -0.3, 0.0])).unwrap();
        assert_eq!(decode(DType::E4m3, &bytes), Ok(Data::F32(vec![16.0, 20.0, 448.0, -0.3125, 0.0])));
    }

    #[test]
    fn every_code_of_8_bit_floats_survives() {
        for dtype in [DType::E4m3, DType::E5m2] {
            let codes = fp8_codes(dtype);
            for (code, x) in codes.iter().enumerate() {
                assert_eq!(usize::from(to_fp8(&codes, *x)), code);
            }
        }
        assert_eq!((from_fp8(DType::E4m3, 126), from_fp8(DType::E5m2, 123)), (448.0, 57344.0));
    }

    #[test]
    fn integers_and_wrong_kinds() {
        let bytes = encode(DType::I8, &Data::I32(vec![-1, 127, 300])).unwrap();
        assert_eq!(decode(DType::I8, &bytes), Ok(Data::I32(vec![-1, 127, 44])));
        assert!(encode(DType::I32, &Data::F32(vec![1.0])).is_err());
        assert!(encode(DType::Bf16, &Data::I32(vec![1])).is_err());
        let halves = vec![0.5, -6.0, 1.5, -0.0];
        assert_eq!(encode(DType::E2m1, &Data::F32(halves.clone())).unwrap(), [0xF1, 0x83]);
        assert_eq!(decode(DType::E2m1, &[0xF1, 0x83]), Ok(Data::F32(halves)));
        let powers = vec![1.0, 0.25, 2f32.powi(-127), 2f32.powi(127)];
        assert_eq!(encode(DType::E8m0, &Data::F32(powers.clone())).unwrap(), [127, 125, 0, 254]);
        assert_eq!(decode(DType::E8m0, &[127, 125, 0, 254]), Ok(Data::F32(powers)));
    }
}
