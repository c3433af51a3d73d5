//! Brings tiles of global arrays into the L2 cache ahead of the loads that read them.

use super::body::Body;
use super::emit::Ssa;
use crate::CodegenError;
use tile_lang::ir::OpData;

/// Bytes of a line of the L2 cache.
const LINE: usize = 128;

impl Body<'_> {
    /// One `prefetch` a line, the lines of all rows one after the other over the threads of the team. A row may begin anywhere in a
    /// line, so that it takes one more than its bytes fill; its last line is that of its last element inside of the array.
    pub fn prefetch(&mut self, op: &OpData, shape: &[usize]) -> Result<(), CodegenError> {
        let array = self.array(op.operands[0])?;
        let d = self.dtype(op.operands[0]);
        let (rows, cols) = if let [rows, cols] = *shape { (rows, cols) } else { (1, shape[0]) };
        let lines = (d.bytes(cols).div_ceil(LINE) + 1).next_power_of_two();
        let offsets = &op.operands[1..];
        let last = offsets.len() - 1;
        let row_axis = (shape.len() == 2).then(|| last - 1);
        // Axes before those of the tile have one index each.
        let mut inside = self.e.bool(true);
        for (offset, extent) in offsets.iter().zip(&array.dims).take(offsets.len() - shape.len()) {
            let at = self.scalar(*offset)?;
            let fits = self.e.icmp("ult", &at, extent, "i32");
            inside = self.e.bin("and", &inside, &fits, "i1");
        }
        let base = self.element_offset(&array, offsets)?;
        let threads = 32 * self.warps;
        let per_line = (LINE * 8 / d.bits()) as i64;
        let (zero, mask) = (self.e.i32(0), self.e.i32(lines as i64 - 1));
        let by = self.e.i32(i64::from(lines.trailing_zeros()));
        let (first_col, extent) = (self.scalar(offsets[last])?, array.dims[last].clone());
        // The last element of each row that is in the tile and in the array, from the tile's first column.
        let rest = self.e.bin("sub", &extent, &first_col, "i32");
        let wide = self.e.i32(cols as i64);
        let end = self.e.op(&format!("llvm.intr.smin({rest}, {wide}) : (i32, i32) -> i32"));
        let final_col = self.e.add_const(&end, -1);
        let any = self.e.icmp("sgt", &end, &zero, "i32");
        inside = self.e.bin("and", &inside, &any, "i1");
        for step in 0..(rows * lines).div_ceil(threads) {
            let thread = self.thread.clone();
            let index = self.e.add_const(&thread, (step * threads) as i64);
            let (row, line) = (self.e.bin("lshr", &index, &by, "i32"), self.e.bin("and", &index, &mask, "i32"));
            let count = self.e.i32(rows as i64);
            let mut ok = self.e.icmp("ult", &row, &count, "i32");
            ok = self.e.bin("and", &ok, &inside, "i1");
            let begin = self.e.mul_const(&line, per_line);
            let col = self.e.op(&format!("llvm.intr.smin({begin}, {final_col}) : (i32, i32) -> i32"));
            let mut element = self.e.op(&format!("llvm.sext {col} : i32 to i64"));
            if let Some(axis) = row_axis {
                let first = self.scalar(offsets[axis])?;
                let at = self.e.bin("add", &first, &row, "i32");
                let fits = self.e.icmp("ult", &at, &array.dims[axis].clone(), "i32");
                ok = self.e.bin("and", &ok, &fits, "i1");
                let (row, stride) = (self.wide(&row), self.wide(&extent));
                let down = self.e.bin("mul", &row, &stride, "i64");
                element = self.e.bin("add", &element, &down, "i64");
            }
            let element = self.e.bin("add", &element, &base, "i64");
            let bytes = self.byte_offset(&element, d);
            let pointer = self.e.offset(&array.pointer.clone(), &bytes, "i64", 1);
            let flag = self.e.op(&format!("llvm.zext {ok} : i1 to i32"));
            let text = "{ .reg .pred p; setp.ne.b32 p, $1, 0; @p prefetch.global.L2 [$0]; }";
            self.e.asm(text, "l,r", &[(&pointer, "!llvm.ptr<1>"), (&flag, "i32")], None);
        }
        Ok(())
    }

    fn wide(&mut self, x: &Ssa) -> Ssa {
        self.e.op(&format!("llvm.sext {x} : i32 to i64"))
    }
}
