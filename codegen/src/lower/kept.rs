//! Operands that products of a loop take from shared memory although they are made in registers, before the loop: each is stored
//! once, in the swizzled form in which products read it.

use super::actions;
use super::body::{Body, Held, SharedTile, register_type};
use crate::CodegenError;
use crate::layout::Layout;
use tile_lang::ir::ValueId;
use tile_lang::packing::{PANEL_BYTES, Packing, TileOrder};
use tile_lang::protocol::{Action, Fence, Reach, Who};

/// Bytes of what the swizzle moves.
const CHUNK: usize = 16;
/// Rows after which the swizzle repeats.
const ROWS: usize = 8;

/// An operand in registers that is to be stored where it is kept.
#[derive(Clone, Debug)]
pub(super) struct ToKeep {
    pub value: ValueId,
    pub held: Held,
    pub layout: Layout,
    /// Where in the area.
    pub at: usize,
}

impl Body<'_> {
    /// Stores the operands that are to be kept. Products of earlier items have been waited for by their warpgroups; a meeting makes
    /// that true of all before anything is overwritten. Stores come before the fence, which hands them to the products' proxy,
    /// and the products of all warpgroups after the second meeting.
    pub fn keep_all(&mut self) -> Result<(), CodegenError> {
        if self.to_keep.is_empty() {
            return Ok(());
        }
        self.barrier();
        for operand in std::mem::take(&mut self.to_keep) {
            self.keep(&operand)?;
        }
        actions::fence(self.e, Fence::ProxyShared(Reach::Cta));
        self.notes.note(Action::Fence(Fence::ProxyShared(Reach::Cta), Who::EachWarp));
        self.barrier();
        Ok(())
    }

    fn keep(&mut self, operand: &ToKeep) -> Result<(), CodegenError> {
        let ToKeep { value: v, held, layout, at } = operand;
        let (v, at) = (*v, *at);
        let (Held::Elements(elements), [rows, columns]) = (held, self.k.ty(v).shape()) else {
            return self.broken("a kept operand that is no tile of elements");
        };
        let (dtype, tile) = (self.dtype(v), [*rows, *columns]);
        let size = dtype.bits() / 8;
        let base = self.e.offset_const(&self.map.kept_base.clone(), at, 3);
        let address = self.e.add_const(&self.map.kept_address.clone(), at as i64);
        self.notes.keep(v, at..at + rows * columns * dtype.bits() / 8);
        // Bits of a coordinate are the thread's or the register's: so are those of the address, and of what is xor-ed to it.
        let plain = |row: usize, byte: usize| byte / PANEL_BYTES * tile[0] * PANEL_BYTES + row * PANEL_BYTES;
        let mixed = |row: usize, byte: usize| (byte % PANEL_BYTES) ^ (row % ROWS * CHUNK);
        let bits: Vec<(usize, [usize; 2])> = layout
            .lane
            .iter()
            .chain(&layout.warp)
            .enumerate()
            .filter_map(|(i, b)| b.map(|(axis, bit)| (i, if axis == 0 { [1 << bit, 0] } else { [0, size << bit] })))
            .collect();
        let thread = self.thread.clone();
        let terms = |of: &dyn Fn(usize, usize) -> usize| -> Vec<(usize, usize)> {
            bits.iter().map(|(i, [row, byte])| (*i, of(*row, *byte))).filter(|(_, x)| *x > 0).collect()
        };
        let own = self.thread_sum(&thread, &terms(&plain));
        let turned = self.thread_xor(&thread, &terms(&mixed));
        let neighbours = (0..).take_while(|i| layout.reg.contains(&(1, *i))).count();
        let count = (1usize << neighbours).min(CHUNK / size);
        for (r, first) in (0..layout.registers()).map(|r| (r, layout.register_offset(r))) {
            if first[1] % count != 0 {
                continue;
            }
            let (row, byte) = (first[0], first[1] * size);
            let flipped = match mixed(row, byte) {
                0 => turned.clone(),
                bits => {
                    let bits = self.e.i32(bits as i64);
                    self.e.bin("xor", &turned, &bits, "i32")
                }
            };
            let offset = self.e.bin("add", &own, &flipped, "i32");
            let pointer = self.e.offset(&base, &offset, "i32", 3);
            let pointer = self.e.offset_const(&pointer, plain(row, byte), 3);
            let near: Vec<_> =
                (0..count).map(|i| elements[layout.register_at(&[first[0], first[1] + i])].clone()).collect();
            debug_assert_eq!(layout.register_at(&first), r);
            if count == 1 {
                self.e.store(&near[0], &pointer, register_type(dtype), size, 3);
            } else {
                let ty = format!("vector<{count}x{}>", register_type(dtype));
                let all = self.e.vector(&near, register_type(dtype));
                self.e.store(&all, &pointer, &ty, count * size, 3);
            }
        }
        let packing = Packing { tile, order: TileOrder::Swizzled };
        self.kept.insert(v, SharedTile { base, address, dtype, packing, offset: [0, 0], transposed: false });
        Ok(())
    }
}
