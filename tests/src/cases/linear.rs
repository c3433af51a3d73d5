//! Products with a weight, alone and on a residual.

use super::builder::{
    Build, Built, EPS, F32_ERROR, format_name, product, product_generics, prologue, to_bf16, tolerance,
};
use tile_lang::DType::{self, Bf16, F32};
use tile_lang::build::KernelDef;
use tile_models::graph::Format;
use tile_models::kernels::linear;

/// One product.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// How the weight is stored.
    pub format: Format,
    /// Rows' type.
    pub x: DType,
    /// Result's type.
    pub y: DType,
    /// Whether rows are normalised.
    pub norm: bool,
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Rows.
    pub t: usize,
    /// Columns of a tile.
    pub bk: usize,
}

impl Product {
    fn shape(&self) -> String {
        let norm = if self.norm { "_norm" } else { "" };
        format!("{}_{}x{}_t{}_{}_{}{norm}", self.format_tag(), self.n, self.k, self.t, self.x, self.y)
    }

    fn format_tag(&self) -> &'static str {
        format_name(self.format)
    }
}

fn def(format: Format, add: bool) -> KernelDef {
    match (format, add) {
        (Format::Plain(_), false) => linear::linear::DEF,
        (Format::Fp8, false) => linear::linear_fp8::DEF,
        (Format::Mxfp4, false) => linear::linear_mxfp4::DEF,
        (Format::Plain(_), true) => linear::linear_add::DEF,
        (Format::Fp8, true) => linear::linear_add_fp8::DEF,
        (Format::Mxfp4, true) => linear::linear_add_mxfp4::DEF,
    }
}

/// y = W·x.
pub fn linear_case(p: Product) -> Built {
    let def = def(p.format, false);
    let mut b = Build::new(def.name, &p.shape());
    b.flops = (2 * p.n * p.k * p.t) as u64;
    let w = b.matrix(p.format, p.n, p.k);
    let x = b.rows(p.x, &[p.t, p.k], 1.0);
    let gain = b.gain(p.k, p.norm);
    let y = b.out(p.y, &[p.t, p.n]);
    b.f32(EPS);
    let types = [p.x.into(), p.y.into(), usize::from(p.norm).into()];
    let generics = product_generics(p.format, &types, &[p.t, 16], p.bk);
    let expect = move || {
        let out = product(&prologue(&x, gain.as_deref()), &w);
        vec![y.reals(if p.y == Bf16 { to_bf16(out) } else { out })]
    };
    b.finish(def, &generics, p.format_tag(), tolerance(p.y), Box::new(expect))
}

/// y += W·x.
pub fn linear_add_case(p: Product) -> Built {
    let def = def(p.format, true);
    let mut b = Build::new(def.name, &p.shape());
    b.flops = (2 * p.n * p.k * p.t) as u64;
    let w = b.matrix(p.format, p.n, p.k);
    let x = b.rows(p.x, &[p.t, p.k], 1.0);
    let y = b.out(F32, &[p.t, p.n]);
    b.bytes += (4 * p.t * p.n) as u64;
    let generics = product_generics(p.format, &[p.x.into()], &[p.t, 16], p.bk);
    let expect = move || {
        let out = product(&prologue(&x, None), &w);
        vec![y.reals(out.iter().zip(&y.start).map(|(a, b)| a + b).collect())]
    };
    b.finish(def, &generics, p.format_tag(), F32_ERROR, Box::new(expect))
}

pub(super) fn cases() -> Result<Vec<super::Case>, String> {
    let mut out = Vec::new();
    for format in [Format::Plain(Bf16), Format::Fp8, Format::Mxfp4] {
        let mx = format == Format::Mxfp4;
        let wide = if mx { 1024 } else { 512 };
        // MXFP4 has whole blocks of 32 columns only.
        let odd = |k: usize| if mx { k / 32 * 32 } else { k };
        let p = |n, k, t, bk, x, y, norm| Product { format, x, y, norm, n, k: odd(k), t, bk };
        out.push(linear_case(p(80, 1536, 8, wide, F32, F32, true))?);
        out.push(linear_case(p(37, 200, 16, 256, F32, F32, true))?);
        out.push(linear_case(p(1000, 520, 8, 256, Bf16, Bf16, false))?);
        out.push(linear_case(p(48, 128, 16, 128, F32, Bf16, false))?);
        out.push(linear_case(p(2113, 96, 8, 128, Bf16, F32, true))?);
        out.push(linear_add_case(p(80, 1536, 8, wide, Bf16, F32, false))?);
        out.push(linear_add_case(p(37, 200, 16, 256, F32, F32, false))?);
        out.push(linear_add_case(p(513, 1000, 8, 128, Bf16, F32, false))?);
    }
    let rounded = Product { format: Format::Plain(F32), x: F32, y: F32, norm: false, n: 90, k: 300, t: 16, bk: 128 };
    out.push(linear_case(rounded)?);
    out.push(linear_add_case(Product { n: 300, k: 90, t: 8, ..rounded })?);
    Ok(out)
}
