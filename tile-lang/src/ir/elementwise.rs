//! Elementwise ops and reductions: **one declaration for each op**.
//!
//! From a declaration come the variant, its spelling in source and in the text form, the typing rule, the meaning that
//! the interpreter, constant folding and tests use, the stub that rustc checks kernels against, the instructions that
//! the code generator emits, and the generated tests with their operands and tolerances. `docs/adding-an-op.md` goes
//! through it with an example.

/// Hands the declarations of the ops with one operand to a macro.
///
/// `form` says how source spells the op: a `method` of tiles and numbers, or an `operator` of Rust. `real`, `int` and
/// `truth` are what it means on real numbers (carried as f32), integers and truth values; `bits` and `number` are the
/// two ops between f32 and i32.
macro_rules! unary_ops {
    ($then:ident $(, $arg:tt)*) => { $then! { $($arg)*
        /// Negation.
        neg: Neg { operator, on: Number, real: |x| -x, int: |x| x.wrapping_neg(),
            code: { f32: "fneg x", half: "fneg x", i32: "sub 0, x" }, trial: -8.0, 8.0, 0.0 }
        /// Absolute value.
        abs: Abs { method, on: Number, real: |x| x.abs(), int: |x| x.wrapping_abs(),
            code: { f32: "intr.fabs x", half: "intr.fabs x", i32: "n = sub 0, x; l = icmp.slt x, 0; select l, n, x" },
            trial: -8.0, 8.0, 0.0 }
        /// e^x.
        exp: Exp { method, on: Float, real: |x| x.exp(),
            code: { f32: "t = fmul x, 1.442695; ex2.approx.f32 t" }, trial: -8.0, 4.0, 4e-6 }
        /// 2^x.
        exp2: Exp2 { method, on: Float, real: |x| x.exp2(), code: { f32: "ex2.approx.ftz.f32 x" }, trial: -8.0, 4.0, 2e-6 }
        /// Natural logarithm.
        ln: Ln { method, on: Float, real: |x| x.ln(),
            code: { f32: "t = lg2.approx.f32 x; fmul t, 0.6931472" }, trial: 1e-3, 8.0, 2e-6 }
        /// Logarithm to base 2.
        log2: Log2 { method, on: Float, real: |x| x.log2(), code: { f32: "lg2.approx.f32 x" }, trial: 1e-3, 8.0, 2e-6 }
        /// Square root.
        sqrt: Sqrt { method, on: Float, real: |x| x.sqrt(), code: { f32: "sqrt.rn.f32 x" }, trial: 0.0, 8.0, 0.0 }
        /// 1 / √x.
        // A relative error of 2^-22.9 (PTX manual) where the result is largest: 11 times the root mean square over the trial's range.
        rsqrt: Rsqrt { method, on: Float, real: |x| 1.0 / x.sqrt(),
            code: { f32: "rsqrt.approx.f32 x" }, trial: 1e-2, 8.0, 2e-6 }
        /// 1 / x.
        recip: Recip { method, on: Float, real: |x| x.recip(), code: { f32: "rcp.rn.f32 x" }, trial: 0.1, 8.0, 0.0 }
        /// Sine of an angle in radians.
        sin: Sin { method, on: Float, real: |x| x.sin(),
            code: { f32: "t = fmul x, 0.15915494; n = intr.rint t; \
                          u = intr.fma n, -6.2831855, x; v = intr.fma n, 0.00000017484555, u; sin.approx.f32 v" },
            trial: -40.0, 40.0, 4e-6 }
        /// Cosine of an angle in radians.
        cos: Cos { method, on: Float, real: |x| x.cos(),
            code: { f32: "t = fmul x, 0.15915494; n = intr.rint t; \
                          u = intr.fma n, -6.2831855, x; v = intr.fma n, 0.00000017484555, u; cos.approx.f32 v" },
            trial: -40.0, 40.0, 4e-6 }
        /// Hyperbolic tangent.
        tanh: Tanh { method, on: Float, real: |x| x.tanh(),
            code: { f32: "t = fmul x, 2.88539; e = ex2.approx.f32 t; d = fadd e, 1.0; r = rcp.rn.f32 d; \
                          intr.fma r, -2.0, 1.0" },
            trial: -6.0, 6.0, 2e-6 }
        /// 1 / (1 + e^−x).
        sigmoid: Sigmoid { method, on: Float, real: |x| 1.0 / (1.0 + (-x).exp()),
            code: { f32: "t = fmul x, -1.442695; e = ex2.approx.f32 t; d = fadd e, 1.0; rcp.rn.f32 d" },
            trial: -8.0, 8.0, 2e-6 }
        /// Error function, 2/√π ∫ e^(−t²) dt from 0 to x.
        erf: Erf { method, on: Float, real: |x| super::functions::erf(x),
            code: { f32: "a = intr.fabs x; t = intr.fma a, 0.3275911, 1.0; r = rcp.rn.f32 t; \
                          p = intr.fma r, 1.061405429, -1.453152027; q = intr.fma p, r, 1.421413741; \
                          s = intr.fma q, r, -0.284496736; u = intr.fma s, r, 0.254829592; v = fmul u, r; \
                          b = fmul a, a; c = fmul b, -1.442695; e = ex2.approx.f32 c; w = fmul v, e; \
                          z = fsub 1.0, w; intr.copysign z, x" },
            trial: -4.0, 4.0, 2e-6 }
        /// Largest integer not above x.
        floor: Floor { method, on: Float, real: |x| x.floor(), code: { f32: "intr.floor x" }, trial: -8.0, 8.0, 0.0 }
        /// Smallest integer not below x.
        ceil: Ceil { method, on: Float, real: |x| x.ceil(), code: { f32: "intr.ceil x" }, trial: -8.0, 8.0, 0.0 }
        /// Integer part.
        trunc: Trunc { method, on: Float, real: |x| x.trunc(), code: { f32: "intr.trunc x" }, trial: -8.0, 8.0, 0.0 }
        /// Nearest integer, ties to even.
        round_ties_even: RoundTiesEven { method, on: Float, real: |x| x.round_ties_even(),
            code: { f32: "intr.rint x" }, trial: -8.0, 8.0, 0.0 }
        /// Logical or bitwise complement.
        not: Not { operator, on: Bits, int: |x| !x, truth: |x| !x,
            code: { i32: "xor x, -1", bool: "xor x, true" }, trial: 0.0, 1.0, 0.0 }
        /// The bits of an f32 as i32.
        to_bits: ToBits { bits, on: Single, bits: |x| x.to_bits() as i32,
            code: { f32: "bitcast x to i32" }, trial: -8.0, 8.0, 0.0 }
        /// The f32 with the bits of an i32.
        from_bits: FromBits { number, on: Int, number: |x| f32::from_bits(x as u32),
            code: { i32: "bitcast x to f32" }, trial: 0.0, 1.0, 0.0 }
    } };
}
pub(crate) use unary_ops;

/// Hands the declarations of the ops with two operands to a macro; the fields are those of [`unary_ops`].
macro_rules! binary_ops {
    ($then:ident $(, $arg:tt)*) => { $then! { $($arg)*
        /// Sum.
        add: Add { operator, on: Number, real: |x, y| x + y, int: |x, y| x.wrapping_add(y),
            code: { f32: "fadd x, y", half: "fadd x, y", i32: "add x, y" }, trial: -8.0, 8.0, 0.0 }
        /// Difference.
        sub: Sub { operator, on: Number, real: |x, y| x - y, int: |x, y| x.wrapping_sub(y),
            code: { f32: "fsub x, y", half: "fsub x, y", i32: "sub x, y" }, trial: -8.0, 8.0, 0.0 }
        /// Product.
        mul: Mul { operator, on: Number, real: |x, y| x * y, int: |x, y| x.wrapping_mul(y),
            code: { f32: "fmul x, y", half: "fmul x, y", i32: "mul x, y" }, trial: -8.0, 8.0, 0.0 }
        /// Quotient; integers truncate, division by zero gives 0.
        div: Div { operator, on: Number, real: |x, y| x / y, int: |x, y| if y == 0 { 0 } else { x.wrapping_div(y) },
            code: { f32: "div.rn.f32 x, y",
                    i32: "z = icmp.eq y, 0; s = select z, 1, y; q = sdiv x, s; select z, 0, q" },
            trial: 0.1, 8.0, 0.0 }
        /// Remainder with the sign of the dividend; by zero gives 0.
        rem: Rem { operator, on: Int, int: |x, y| if y == 0 { 0 } else { x.wrapping_rem(y) },
            code: { i32: "z = icmp.eq y, 0; s = select z, 1, y; q = srem x, s; select z, 0, q" }, trial: 0.0, 1.0, 0.0 }
        /// Smaller; of a NaN and a number, the number.
        min: Min { method, on: Number, real: |x, y| x.min(y), int: |x, y| x.min(y),
            code: { f32: "intr.minnum x, y", half: "intr.minnum x, y", i32: "intr.smin x, y" }, trial: -8.0, 8.0, 0.0 }
        /// Larger; of a NaN and a number, the number.
        max: Max { method, on: Number, real: |x, y| x.max(y), int: |x, y| x.max(y),
            code: { f32: "intr.maxnum x, y", half: "intr.maxnum x, y", i32: "intr.smax x, y" }, trial: -8.0, 8.0, 0.0 }
        /// Logical or bitwise and.
        and: And { operator, on: Bits, int: |x, y| x & y, truth: |x, y| x & y,
            code: { i32: "and x, y", bool: "and x, y" }, trial: 0.0, 1.0, 0.0 }
        /// Logical or bitwise or.
        or: Or { operator, on: Bits, int: |x, y| x | y, truth: |x, y| x | y,
            code: { i32: "or x, y", bool: "or x, y" }, trial: 0.0, 1.0, 0.0 }
        /// Logical or bitwise exclusive or.
        xor: Xor { operator, on: Bits, int: |x, y| x ^ y, truth: |x, y| x ^ y,
            code: { i32: "xor x, y", bool: "xor x, y" }, trial: 0.0, 1.0, 0.0 }
        /// Shift left, by the low five bits.
        shl: Shl { operator, on: Int, int: |x, y| x << (y & 31),
            code: { i32: "b = and y, 31; shl x, b" }, trial: 0.0, 1.0, 0.0 }
        /// Arithmetic shift right, by the low five bits.
        shr: Shr { operator, on: Int, int: |x, y| x >> (y & 31),
            code: { i32: "b = and y, 31; ashr x, b" }, trial: 0.0, 1.0, 0.0 }
        /// Logical shift right, by the low five bits.
        shr_logical: ShrLogical { method, on: Int, int: |x, y| (x as u32 >> (y & 31)) as i32,
            code: { i32: "b = and y, 31; lshr x, b" }, trial: 0.0, 1.0, 0.0 }
        /// High 32 bits of the unsigned 64-bit product.
        mul_high: MulHigh { method, on: Int, int: |x, y| ((x as u32 as u64 * y as u32 as u64) >> 32) as i32,
            code: { i32: "a = zext x to i64; b = zext y to i64; p = mul a, b; h = lshr p, 32; trunc h to i32" },
            trial: 0.0, 1.0, 0.0 }
    } };
}
pub(crate) use binary_ops;

/// Hands the declarations of the ops with three operands to a macro; the fields are those of [`unary_ops`].
macro_rules! ternary_ops {
    ($then:ident $(, $arg:tt)*) => { $then! { $($arg)*
        /// This times the first, plus the second, rounded once.
        mul_add: MulAdd { on: Float, real: |x, y, z| x.mul_add(y, z),
            code: { f32: "intr.fma x, y, z" }, trial: -8.0, 8.0, 0.0 }
    } };
}
pub(crate) use ternary_ops;

/// Hands the declarations of comparisons to a macro: the meaning on any ordered type, LLVM's predicates of reals and of
/// integers (unsigned ones are extended first).
macro_rules! cmp_ops {
    ($then:ident) => {
        $then! {
            /// Less.
            lt: Lt { |x, y| x < y, "olt", "slt" }
            /// Less or equal.
            le: Le { |x, y| x <= y, "ole", "sle" }
            /// Greater.
            gt: Gt { |x, y| x > y, "ogt", "sgt" }
            /// Greater or equal.
            ge: Ge { |x, y| x >= y, "oge", "sge" }
            /// Equal.
            eq: Eq { |x, y| x == y, "oeq", "eq" }
            /// Not equal.
            ne: Ne { |x, y| x != y, "une", "ne" }
        }
    };
}
pub(crate) use cmp_ops;

/// Hands the declarations of reductions to a macro: the op that joins two elements, or the comparison that an element
/// has to win. The third word says what one more tile of results holds: elements or indices.
macro_rules! reduce_ops {
    ($then:ident) => {
        $then! {
            /// Sum, in an order that the layout fixes.
            sum: Sum { on: Word, Join(BinaryOp::Add), same, row_sum col_sum all_sum }
            /// Product, in an order that the layout fixes.
            product: Product { on: Word, Join(BinaryOp::Mul), same, row_product col_product all_product }
            /// Largest.
            max: Max { on: Word, Join(BinaryOp::Max), same, row_max col_max all_max }
            /// Smallest.
            min: Min { on: Word, Join(BinaryOp::Min), same, row_min col_min all_min }
            /// Index (i32) of the largest; the lowest index of equals.
            argmax: ArgMax { on: Word, Index(CmpOp::Gt), index, row_argmax col_argmax all_argmax }
            /// Index (i32) of the smallest; the lowest index of equals.
            argmin: ArgMin { on: Word, Index(CmpOp::Lt), index, row_argmin col_argmin all_argmin }
            /// Whether all hold.
            all: All { on: Truth, Join(BinaryOp::And), same, row_all col_all all_all }
            /// Whether any holds.
            any: Any { on: Truth, Join(BinaryOp::Or), same, row_any col_any all_any }
        }
    };
}
pub(crate) use reduce_ops;

/// Hands the declarations of atomic ops to a macro: the types it is on, and what becomes of the element in memory: it is joined
/// with the new one by an op, or replaced. The last word says whether
/// machines have the op on f32 as well (`native`), or on integers only: there it is a loop around `cas`. The spellings in source are `atomic_…` and `atomic_…_ordered`.
macro_rules! atomic_ops {
    ($then:ident) => {
        $then! {
            /// Adds; in f32 the sum depends on the order, which is open.
            add: Add { on: Word, Join(BinaryOp::Add), atomic_add atomic_add_ordered, native }
            /// Keeps the larger; of a NaN and a number, the number.
            max: Max { on: Word, Join(BinaryOp::Max), atomic_max atomic_max_ordered, integer }
            /// Keeps the smaller; of a NaN and a number, the number.
            min: Min { on: Word, Join(BinaryOp::Min), atomic_min atomic_min_ordered, integer }
            /// Bitwise or.
            or: Or { on: Int, Join(BinaryOp::Or), atomic_or atomic_or_ordered, integer }
            /// Bitwise and.
            and: And { on: Int, Join(BinaryOp::And), atomic_and atomic_and_ordered, integer }
            /// Bitwise exclusive or.
            xor: Xor { on: Int, Join(BinaryOp::Xor), atomic_xor atomic_xor_ordered, integer }
            /// Puts the new element there.
            exchange: Exchange { on: Word, Replace, atomic_exchange atomic_exchange_ordered, native }
        }
    };
}
pub(crate) use atomic_ops;
