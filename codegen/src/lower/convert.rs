//! Conversions of element types.

use super::body::{Body, register_type};
use super::emit::Ssa;
use super::recipe;
use crate::CodegenError;
use tile_lang::dtype::DType;

/// bf16 bits of 2^126: what places an E2M1 code, put into the lowest bits of bf16's exponent, at its value.
const BF16_TWO_126: u16 = 0x7E80;

/// The E2M1 code of an f32 in the low bits of an i8: how many of the middles between magnitudes it reaches, those above
/// an even code included; a NaN reaches all of them and has no sign. sm_90 has no instruction for it.
const E2M1_CODE: &str = "a = intr.fabs x; \
    c1 = fcmp.ugt a, 0.25; c2 = fcmp.uge a, 0.75; c3 = fcmp.ugt a, 1.25; c4 = fcmp.uge a, 1.75; \
    c5 = fcmp.ugt a, 2.5; c6 = fcmp.uge a, 3.5; c7 = fcmp.ugt a, 5.0; \
    n1 = zext c1 to i32; n2 = zext c2 to i32; n3 = zext c3 to i32; n4 = zext c4 to i32; \
    n5 = zext c5 to i32; n6 = zext c6 to i32; n7 = zext c7 to i32; \
    s2 = add n1, n2; s3 = add s2, n3; s4 = add s3, n4; s5 = add s4, n5; s6 = add s5, n6; s7 = add s6, n7; \
    b = bitcast x to i32; h = lshr b, 28; g = and h, 8; o = fcmp.ord x, x; s = select o, g, 0; \
    r = or s7, s; trunc r to i8";

/// The E8M0 code of an f32: its exponent field, at most 254; 255 for a NaN.
const E8M0_CODE: &str = "b = bitcast x to i32; h = lshr b, 23; e = and h, 255; f = intr.smin e, 254; \
    n = fcmp.uno x, x; r = select n, 255, f; trunc r to i8";

impl Body<'_> {
    /// Registers of one type as another. Neighbouring registers are converted together where the hardware has pairs.
    pub fn cast_elements(&mut self, x: &[Ssa], from: DType, to: DType) -> Result<Vec<Ssa>, CodegenError> {
        match (from, to) {
            _ if from == to => Ok(x.to_vec()),
            (DType::E4m3 | DType::E5m2, _) => {
                let halves = self.fp8_to_f16(x, from);
                let wide: Vec<Ssa> =
                    halves.iter().map(|h| self.e.op(&format!("llvm.fpext {h} : f16 to f32"))).collect();
                self.cast_elements(&wide, DType::F32, to)
            }
            (DType::E8m0, DType::Bf16) => Ok(x.iter().map(|c| self.e8m0_to_bf16(c)).collect()),
            (DType::E8m0, _) => {
                let b: Vec<Ssa> = x.iter().map(|c| self.e8m0_to_bf16(c)).collect();
                self.cast_elements(&b, DType::Bf16, to)
            }
            (DType::E2m1, _) => {
                let words: Vec<(Ssa, u8)> =
                    x.iter().map(|c| (self.e.op(&format!("llvm.zext {c} : i8 to i32")), 0)).collect();
                self.cast_nibbles(&words, to)
            }
            (_, DType::E4m3 | DType::E5m2) => {
                let f = self.cast_elements(x, from, DType::F32)?;
                Ok(self.fp8_from_f32(&f, to))
            }
            (_, DType::E2m1 | DType::E8m0) => {
                let f = self.cast_elements(x, from, DType::F32)?;
                let code = if to == DType::E2m1 { E2M1_CODE } else { E8M0_CODE };
                f.iter()
                    .map(|v| match recipe::emit(self.e, code, std::slice::from_ref(v), "f32") {
                        Ok(v) => Ok(v),
                        Err(message) => self.broken(message),
                    })
                    .collect()
            }
            _ => x.iter().map(|v| self.cast_one(v, from, to)).collect(),
        }
    }

    fn cast_one(&mut self, x: &Ssa, from: DType, to: DType) -> Result<Ssa, CodegenError> {
        let (a, b) = (register_type(from), register_type(to));
        let op = match (from, to) {
            _ if from == to => return Ok(x.clone()),
            (DType::Bf16 | DType::F16, DType::F32) => "fpext",
            (DType::F32, DType::Bf16 | DType::F16) => "fptrunc",
            (DType::Bf16, DType::F16) | (DType::F16, DType::Bf16) => {
                let f = self.cast_one(x, from, DType::F32)?;
                return self.cast_one(&f, DType::F32, to);
            }
            (DType::I32 | DType::I8, DType::F32) => "sitofp",
            (DType::U8 | DType::Bool, DType::F32) => "uitofp",
            (DType::F32, DType::I32) => {
                // cvt saturates and gives 0 for NaN, as Rust's `as` does.
                return Ok(self.e.pure_asm("cvt.rzi.s32.f32 $0, $1;", "=r,f", &[(x, "f32")], "i32"));
            }
            (DType::F32, DType::I8 | DType::U8) => {
                let i = self.cast_one(x, from, DType::I32)?;
                let (low, high) = if to == DType::I8 { (-128, 127) } else { (0, 255) };
                let (low, high) = (self.e.i32(low), self.e.i32(high));
                let i = self.e.op(&format!("llvm.intr.smax({i}, {low}) : (i32, i32) -> i32"));
                let i = self.e.op(&format!("llvm.intr.smin({i}, {high}) : (i32, i32) -> i32"));
                return self.cast_one(&i, DType::I32, to);
            }
            (DType::F32, DType::Bool) => {
                let zero = self.e.f32(0.0);
                return Ok(self.e.op(&format!("llvm.fcmp \"une\" {x}, {zero} : f32")));
            }
            (DType::I8 | DType::U8 | DType::Bool, DType::I32) => return Ok(self.widened(x, from)),
            (DType::I32, DType::I8 | DType::U8) => "trunc",
            (DType::I32, DType::Bool) => {
                let zero = self.e.i32(0);
                return Ok(self.e.icmp("ne", x, &zero, "i32"));
            }
            (_, DType::Bf16 | DType::F16) | (DType::Bf16 | DType::F16, _) => {
                let f = self.cast_one(x, from, DType::F32)?;
                return self.cast_one(&f, DType::F32, to);
            }
            (DType::I8 | DType::U8 | DType::Bool, DType::I8 | DType::U8 | DType::Bool) => {
                let i = self.cast_one(x, from, DType::I32)?;
                return self.cast_one(&i, DType::I32, to);
            }
            _ => return self.broken(format!("no conversion from {from} to {to}")),
        };
        Ok(self.e.op(&format!("llvm.{op} {x} : {a} to {b}")))
    }

    /// FP8 codes to f16, two at a time: exact.
    fn fp8_to_f16(&mut self, x: &[Ssa], from: DType) -> Vec<Ssa> {
        if !self.e.target.fp8_convert {
            return x.iter().map(|c| self.fp8_to_f16_by_bits(c, from)).collect();
        }
        let ty = if from == DType::E4m3 { "e4m3x2" } else { "e5m2x2" };
        let mut out = Vec::with_capacity(x.len());
        for pair in x.chunks(2) {
            let second = pair.last().unwrap_or(&pair[0]);
            let bytes = self.e.vector(&[pair[0].clone(), second.clone()], "i8");
            let word = self.e.bitcast(&bytes, "vector<2xi8>", "i16");
            let text = format!("cvt.rn.f16x2.{ty} $0, $1;");
            let halves = self.e.pure_asm(&text, "=r,h", &[(&word, "i16")], "i32");
            let halves = self.e.bitcast(&halves, "i32", "vector<2xf16>");
            for i in 0..pair.len() {
                out.push(self.e.extract(&halves, i, "vector<2xf16>"));
            }
        }
        out
    }

    /// One FP8 code to f16 without an instruction for it. E5M2 is f16's upper half. E4M3's exponent is biased by 7 and f16's by
    /// 15: with its bits in place the code is 2^8 too small, subnormals included; its one NaN is no NaN there.
    fn fp8_to_f16_by_bits(&mut self, code: &Ssa, from: DType) -> Ssa {
        let wide = self.e.op(&format!("llvm.zext {code} : i8 to i16"));
        let eight = self.e.i16(8);
        let high = self.e.bin("shl", &wide, &eight, "i16");
        if from == DType::E5m2 {
            return self.e.bitcast(&high, "i16", "f16");
        }
        let (sign_mask, code_mask, one) = (self.e.i16(0x8000u16 as i16 as i64), self.e.i16(0x3F80), self.e.i16(1));
        let sign = self.e.bin("and", &high, &sign_mask, "i16");
        let moved = self.e.bin("lshr", &high, &one, "i16");
        let magnitude = self.e.bin("and", &moved, &code_mask, "i16");
        let bits = self.e.bin("or", &sign, &magnitude, "i16");
        let small = self.e.bitcast(&bits, "i16", "f16");
        let scale = self.e.op("llvm.mlir.constant(256.0 : f16) : f16");
        let value = self.e.bin("fmul", &small, &scale, "f16");
        let nan = self.e.i16(0x7FFF);
        let nan = self.e.bitcast(&nan, "i16", "f16");
        let is_nan = self.e.icmp("eq", &magnitude, &code_mask, "i16");
        self.e.select(&is_nan, &nan, &value, "f16")
    }

    /// f32 to codes of FP8, two at a time; too large saturates.
    fn fp8_from_f32(&mut self, x: &[Ssa], to: DType) -> Vec<Ssa> {
        let ty = if to == DType::E4m3 { "e4m3x2" } else { "e5m2x2" };
        let text = format!("cvt.rn.satfinite.{ty}.f32 $0, $1, $2;");
        let mut out = Vec::with_capacity(x.len());
        for pair in x.chunks(2) {
            let second = pair.last().unwrap_or(&pair[0]);
            let word = self.e.pure_asm(&text, "=h,f,f", &[(second, "f32"), (&pair[0], "f32")], "i16");
            let bytes = self.e.bitcast(&word, "i16", "vector<2xi8>");
            for i in 0..pair.len() {
                out.push(self.e.extract(&bytes, i, "vector<2xi8>"));
            }
        }
        out
    }

    /// 2^(code − 127) as bf16: the code is the exponent field; code 0 is the subnormal 2^−127.
    fn e8m0_to_bf16(&mut self, code: &Ssa) -> Ssa {
        let wide = self.e.op(&format!("llvm.zext {code} : i8 to i16"));
        let seven = self.e.i16(7);
        let bits = self.e.bin("shl", &wide, &seven, "i16");
        let (zero, tiny, nan_code, nan) = (self.e.i16(0), self.e.i16(0x40), self.e.i16(0x7F80), self.e.i16(0x7FC0));
        let is_zero = self.e.icmp("eq", &bits, &zero, "i16");
        let bits = self.e.select(&is_zero, &tiny, &bits, "i16");
        let is_nan = self.e.icmp("eq", &bits, &nan_code, "i16");
        let bits = self.e.select(&is_nan, &nan, &bits, "i16");
        self.e.bitcast(&bits, "i16", "bf16")
    }

    /// E2M1 codes to bf16, two at a time. A code's three magnitude bits go to the bottom of the exponent field and the
    /// top of the mantissa, its sign to the sign; times 2^126 that is its value, subnormals included. Codes whose nibbles
    /// lie 16 bits apart in one word are moved together.
    pub fn cast_nibbles(&mut self, x: &[(Ssa, u8)], to: DType) -> Result<Vec<Ssa>, CodegenError> {
        let scale = self.e.bf16_bits(BF16_TWO_126);
        let scale2 = self.e.vector(&[scale.clone(), scale], "bf16");
        let mut out = Vec::with_capacity(x.len());
        for pair in x.chunks(2) {
            let second = pair.last().unwrap_or(&pair[0]);
            let word = if pair[0].0 == second.0 && second.1 == pair[0].1 + 4 {
                self.nibble_to_top(&pair[0].0, pair[0].1)
            } else {
                let low = self.nibble_to_top(&pair[0].0, pair[0].1);
                let high = self.nibble_to_top(&second.0, second.1);
                self.join_halves(&low, pair[0].1, &high, second.1)
            };
            let (sign_mask, code_mask, six) =
                (self.e.i32(0x8000_8000u32 as i32 as i64), self.e.i32(0x01C0_01C0), self.e.i32(6));
            let sign = self.e.bin("and", &word, &sign_mask, "i32");
            let moved = self.e.bin("lshr", &word, &six, "i32");
            let code = self.e.bin("and", &moved, &code_mask, "i32");
            let bits = self.e.bin("or", &sign, &code, "i32");
            let halves = self.e.bitcast(&bits, "i32", "vector<2xbf16>");
            let values = self.e.bin("fmul", &halves, &scale2, "vector<2xbf16>");
            for i in 0..pair.len() {
                out.push(self.e.extract(&values, i, "vector<2xbf16>"));
            }
        }
        if to == DType::Bf16 { Ok(out) } else { self.cast_elements(&out, DType::Bf16, to) }
    }

    /// 4-bit codes in a byte each.
    pub fn codes(&mut self, x: &[(Ssa, u8)]) -> Vec<Ssa> {
        x.iter()
            .map(|(word, n)| {
                let (by, mask) = (self.e.i32(4 * i64::from(*n)), self.e.i32(15));
                let moved = self.e.bin("lshr", word, &by, "i32");
                let code = self.e.bin("and", &moved, &mask, "i32");
                self.e.op(&format!("llvm.trunc {code} : i32 to i8"))
            })
            .collect()
    }

    /// Moves nibble `n` of a word to the top of its 16-bit half.
    fn nibble_to_top(&mut self, word: &Ssa, n: u8) -> Ssa {
        let by = 12 - 4 * i64::from(n % 4);
        if by == 0 {
            return word.clone();
        }
        let by = self.e.i32(by);
        self.e.bin("shl", word, &by, "i32")
    }

    /// The low half from one word and the high half from another; each word's nibble is at the top of half `n / 4`.
    fn join_halves(&mut self, low: &Ssa, n_low: u8, high: &Ssa, n_high: u8) -> Ssa {
        let (mask, sixteen) = (self.e.i32(0xFFFF), self.e.i32(16));
        let low = if n_low / 4 == 0 {
            self.e.bin("and", low, &mask, "i32")
        } else {
            self.e.bin("lshr", low, &sixteen, "i32")
        };
        let high = if n_high / 4 == 0 {
            self.e.bin("shl", high, &sixteen, "i32")
        } else {
            let mask = self.e.i32(0xFFFF_0000u32 as i32 as i64);
            self.e.bin("and", high, &mask, "i32")
        };
        self.e.bin("or", &low, &high, "i32")
    }
}
