//! What steps add to a kernel: loads and stores of tiles, of elements, and staged tiles.

use super::held;
use crate::build::{Arg, Space};
use crate::dtype::DType;
use crate::generate::Shape;
use crate::generate::arrays::{declared, group};
use crate::generate::facts::Facts;
use crate::generate::grow::{Grower, Held};
use crate::ir::Type;

impl Grower {
    /// A tile of an array that is only read, its edges included.
    pub fn load(&mut self, name: &'static str, shape: &[usize], row: u8, column: u8) -> Held {
        let at = self.at;
        let array = self.array(name);
        let dtype = declared(name).map_or(DType::F32, |a| a.dtype);
        let row = self.staged_index(row);
        let index = match shape.len() {
            1 => Arg::List(vec![row.into()]),
            _ => Arg::List(vec![row.into(), Arg::Int(i64::from(column % 3))]),
        };
        // By elements, tiles cross more borders.
        let method = if column >= 128 { "load_at" } else { "load" };
        let spec = Self::spec(Space::Tile, dtype, shape);
        let val = self.cx.method(at, array, method, &[spec.into()], vec![index]);
        let (magnitude, fraction) = declared(name).map_or((31, 0), |a| a.holds);
        Held { val, facts: Facts::fixed(magnitude, fraction), plain: false }
    }

    pub(super) fn any_load(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        const NAMES: [&str; 13] = [
            "f32s", "bf16s", "i32s", "vector", "f16s", "e4m3s", "e5m2s", "i8s", "u8s", "bools", "f32s", "bf16s", "i32s",
        ];
        let Shape { m, n, k, .. } = self.shape;
        let name = NAMES[a as usize % NAMES.len()];
        let shape = match b % 5 {
            _ if name == "vector" => vec![[m, n][b as usize % 2]],
            0 | 1 => vec![m, n],
            2 => vec![n, m],
            3 => vec![m, k],
            _ => vec![k, n],
        };
        let x = self.load(name, &shape, c, d);
        let to = match self.cx.ty(x.val).dtype() {
            Some(DType::F32 | DType::Bf16 | DType::I32 | DType::Bool) => return Some(x),
            Some(DType::F16) if d % 2 == 0 => return Some(x),
            Some(DType::I8 | DType::U8) if d % 2 == 0 => DType::I32,
            _ if d % 3 == 0 => DType::Bf16,
            _ => DType::F32,
        };
        let facts = if to == DType::I32 { Facts::same(31) } else { x.facts };
        held(self.cx.cast(self.at, x.val, to), facts)
    }

    /// A staged tile of M × K, or of K × N for a product's second operand.
    pub(super) fn stage(&mut self, name: &'static str, index: u8) -> Held {
        let Shape { m, n, k, .. } = self.shape;
        let at = self.at;
        let array = self.array(name);
        let dtype = declared(name).map_or(DType::F32, |a| a.dtype);
        let row = self.staged_index(index);
        let column = || Arg::Int(i64::from(index / 64));
        let (shape, index) = match name {
            "cache" => ([k, n], vec![row.into(), Arg::Int(0), Arg::Int(0)]),
            "rows" => ([m, n], vec![row.into(), Arg::Int(0)]),
            "wb" => ([k, n], vec![row.into(), column()]),
            "wr" => ([m, n], vec![row.into(), column()]),
            "scales" | "fine_scales" => ([m, k / group(name)], vec![row.into(), column()]),
            _ => ([m, k], vec![row.into(), column()]),
        };
        let spec = Self::spec(Space::Smem, dtype, &shape);
        let val = self.cx.method(at, array, "stage", &[spec.into()], vec![Arg::List(index)]);
        let (magnitude, fraction) = declared(name).map_or((31, 0), |a| a.holds);
        Held { val, facts: Facts::fixed(magnitude, fraction), plain: false }
    }

    pub(super) fn staged(&mut self, [a, b, c, _]: [u8; 4]) -> Option<Held> {
        if self.data_dependent {
            return None;
        }
        const NAMES: [&str; 10] = ["wa", "wb", "wr", "w8", "w5", "wi", "cache", "rows", "scales", "fine_scales"];
        let name = NAMES[a as usize % NAMES.len()];
        let x = self.stage(name, b);
        let at = self.at;
        let dtype = declared(name).map_or(DType::F32, |a| a.dtype);
        let shape = self.shape_of(x.val);
        let part = if c % 3 == 0 && shape[1].is_multiple_of(16) && shape[1] > 16 && shape[0] > 16 {
            let offsets = [16 * (c as usize / 3 % (shape[0] / 16)), 16 * (c as usize / 8 % (shape[1] / 16))];
            self.cx.slice(at, x.val, &offsets, &[16, 16])
        } else if c % 3 == 1 {
            self.cx.transpose(at, x.val)
        } else {
            x.val
        };
        if dtype == DType::Bf16 && c % 2 == 0 {
            // As it lies in shared memory, for products.
            return held(part, x.facts);
        }
        let registers = self.cx.registers(at, part);
        let to = match dtype {
            DType::F32 | DType::Bf16 => return held(registers, x.facts),
            _ if b % 2 == 0 => DType::Bf16,
            _ => DType::F32,
        };
        held(self.cx.cast(at, registers, to), x.facts)
    }

    pub(super) fn element(&mut self, [a, b, ..]: [u8; 4]) -> Option<Held> {
        let at = self.at;
        let index = self.staged_index(b);
        if a % 3 == 0 {
            let cells = self.array("cells");
            let index = Arg::List(vec![self.item.into(), index.into()]);
            return held(self.cx.method(at, cells, "at", &[], vec![index]), Facts::same(31));
        }
        let table = self.array("table");
        let val = self.cx.method(at, table, "at", &[], vec![Arg::List(vec![index.into()])]);
        Some(Held { val, facts: Facts::same(31), plain: true })
    }

    pub(super) fn set_element(&mut self, [a, b, ..]: [u8; 4]) -> Option<Held> {
        let at = self.at;
        let x = self.pick(a, |t, _| *t == Type::Scalar(DType::I32))?;
        let index = self.staged_index(b);
        let cells = self.array("cells");
        let index = Arg::List(vec![self.item.into(), index.into()]);
        self.cx.method(at, cells, "set", &[], vec![index, x.val.into()]);
        None
    }

    pub(super) fn store_masked(&mut self, [a, b, c, d]: [u8; 4]) -> Option<Held> {
        let Shape { m, n, .. } = self.shape;
        let at = self.at;
        let tile = |d| Type::Tile(d, vec![m, n]);
        let x = self.pick(a, |t, h| *t == tile(DType::F32) && h.facts.is_exact())?;
        let x = if x.facts.magnitude > 3 || x.facts.fraction.is_none_or(|f| f > 2) { self.tame(x, 3) } else { x };
        let array = self.array("masked");
        let own = |g: &Grower| Arg::List(vec![g.first_row.into(), Arg::Int(0)]);
        let mask = self.pick(b, |t, _| *t == tile(DType::Bool));
        let index = own(self);
        match mask.filter(|_| c % 4 > 0) {
            Some(mask) => {
                self.cx.method(at, array, "store_masked_at", &[], vec![index, x.val.into(), mask.val.into()]);
            }
            None => {
                self.cx.method(at, array, "store_at", &[], vec![index, x.val.into()]);
            }
        }
        if d % 2 == 0 {
            return None;
        }
        let spec = Self::spec(Space::Tile, DType::F32, &[m, n]);
        let index = own(self);
        let val = self.cx.method(at, array, "load_at", &[spec.into()], vec![index]);
        let (magnitude, fraction) = declared("masked").map_or((31, 0), |a| a.holds);
        held(val, Facts::fixed(magnitude, fraction))
    }
}
