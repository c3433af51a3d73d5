//! Products by warpgroups: `wgmma.m64nNk16` over swizzled tiles in shared memory.
//!
//! Fence, products, commit and wait each take the accumulators as tied operands, so that nothing moves their registers
//! across: what initialises them stays before the fence, what reads them after the wait.

use super::body::{Body, Held, SharedTile};
use super::emit::Ssa;
use crate::CodegenError;
use crate::layout::{Layout, warpgroup};
use tile_lang::ir::{OpData, ValueId};
use tile_lang::packing::PANEL_BYTES;
use tile_lang::protocol::Action;

/// Rows of one warpgroup's product.
const ROWS: usize = 64;
/// Terms of one instruction.
const DEPTH: usize = 16;
/// Bytes of an element.
const SIZE: usize = 2;
/// Fields of a matrix descriptor beside the address: 8 rows of 128 bytes from one atom to the next, 128-byte swizzle.
const DESCRIPTOR: u64 = (1024 >> 4) << 32 | 1 << 62;

impl Body<'_> {
    pub fn warpgroup_product(&mut self, op: &OpData) -> Result<(), CodegenError> {
        let [acc, a, b] = [op.operands[0], op.operands[1], op.operands[2]];
        let (m, n, k) = (self.k.ty(acc).shape()[0], self.k.ty(acc).shape()[1], self.k.ty(a).shape()[1]);
        let layout = Layout::accumulator(m, n, warpgroup::SPLIT);
        let mut c = self.elements(acc, &layout)?;
        let (a, b) = (self.staged_operand(a)?, self.staged_operand(b)?);
        let thread = self.thread.clone();
        // Each warpgroup has its own 64 rows of the first operand.
        let group = self.e.entry(|e| {
            let seven = e.i32(7);
            let group = e.bin("lshr", &thread, &seven, "i32");
            e.mul_const(&group, (ROWS * PANEL_BYTES) as i64)
        });
        let first = self.descriptor(&a, Some(&group));
        let second = self.descriptor(&b, None);
        self.tied("wgmma.fence.sync.aligned;", &mut c, &[]);
        for step in 0..k / DEPTH {
            let first = self.step(&first, &a, step * DEPTH);
            let second = self.step(&second, &b, step * DEPTH);
            self.multiply(&mut c, n, &first, &second);
        }
        self.e.asm("wgmma.commit_group.sync.aligned;", "", &[], None);
        self.notes.own();
        self.notes.note(Action::Start);
        self.wait_products(&mut c, 0);
        self.define(op.results[0], Held::Elements(c))
    }

    /// Waits until at most `left` products run; what reads `c` comes after it.
    fn wait_products(&mut self, c: &mut [Ssa], left: usize) {
        self.tied(&format!("wgmma.wait_group.sync.aligned {left};"), c, &[]);
        self.notes.note(Action::WaitProducts { left });
    }

    fn staged_operand(&mut self, v: ValueId) -> Result<SharedTile, CodegenError> {
        match self.shared.get(&v) {
            Some(tile) => Ok(tile.clone()),
            None => self.broken("a warpgroup's operand that is not in shared memory"),
        }
    }

    /// The descriptor of an operand's first terms: i64.
    fn descriptor(&mut self, tile: &SharedTile, rows: Option<&Ssa>) -> Ssa {
        let address = self.e.op(&format!("llvm.ptrtoint {} : !llvm.ptr<3> to i32", tile.base));
        let mut address = self.e.add_const(&address, (tile.offset[0] * PANEL_BYTES) as i64);
        if let Some(rows) = rows {
            address = self.e.bin("add", &address, rows, "i32");
        }
        let four = self.e.i32(4);
        let address = self.e.bin("lshr", &address, &four, "i32");
        let address = self.e.op(&format!("llvm.zext {address} : i32 to i64"));
        let fields = self.e.i64(DESCRIPTOR as i64);
        self.e.bin("or", &address, &fields, "i64")
    }

    /// The descriptor some terms further on.
    fn step(&mut self, descriptor: &Ssa, tile: &SharedTile, terms: usize) -> Ssa {
        let column = tile.offset[1] + terms;
        let panel = PANEL_BYTES / SIZE;
        let bytes = column / panel * tile.packing.tile[0] * PANEL_BYTES + column % panel * SIZE;
        if bytes == 0 {
            return descriptor.clone();
        }
        let further = self.e.i64((bytes >> 4) as i64);
        self.e.bin("add", descriptor, &further, "i64")
    }

    fn multiply(&mut self, c: &mut [Ssa], n: usize, a: &Ssa, b: &Ssa) {
        let count = c.len();
        let registers: Vec<String> = (0..count).map(|i| format!("${i}")).collect();
        let text = format!(
            "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.bf16.bf16 {{{}}}, ${count}, ${}, 1, 1, 1, 0, 0;",
            registers.join(","),
            count + 1
        );
        self.tied(&text, c, &[a.clone(), b.clone()]);
    }

    /// One instruction with the accumulators as operands and results; `others` are i64 and follow them.
    fn tied(&mut self, text: &str, c: &mut [Ssa], others: &[Ssa]) {
        let count = c.len();
        let mut constraints = vec!["=f".to_owned(); count];
        constraints.extend(others.iter().map(|_| "l".to_owned()));
        constraints.extend((0..count).map(|i| i.to_string()));
        let operands: Vec<(&str, &str)> =
            others.iter().map(|x| (x.as_str(), "i64")).chain(c.iter().map(|x| (x.as_str(), "f32"))).collect();
        let ty = format!("!llvm.struct<({})>", vec!["f32"; count].join(", "));
        let d = self.e.asm(text, &constraints.join(","), &operands, Some(&ty));
        for (i, x) in c.iter_mut().enumerate() {
            *x = self.e.op(&format!("llvm.extractvalue {d}[{i}] : {ty}"));
        }
    }
}
