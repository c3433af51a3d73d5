//! Copies into the ring where there are no bulk copies: the lanes of the producer's warp take 16 bytes each, in turn.

use super::emit::{Emitter, Ssa};

/// Bytes of one lane's copy.
const CHUNK: usize = 16;
/// Lanes of a warp.
const LANES: usize = 32;

/// A box of an array: where its first element lies, and where the array ends.
pub(super) struct ArrayBox<'a> {
    /// The array's address.
    pub pointer: &'a Ssa,
    /// Its extents, i32.
    pub dims: &'a [Ssa],
    /// Coordinates of the first element, one for each extent; the last is a multiple of 16 bytes.
    pub at: &'a [Ssa],
    /// Rows and columns of the box.
    pub shape: [usize; 2],
    /// Bytes of an element.
    pub size: usize,
}

/// Copies a multiple of 16 contiguous bytes.
pub(super) fn copy(e: &mut Emitter, target: &Ssa, source: &Ssa, bytes: usize, thread: &Ssa) {
    each_chunk(e, bytes / CHUNK, thread, |e, chunk| {
        let at = e.mul_const(chunk, CHUNK as i64);
        let to = e.bin("add", target, &at, "i32");
        let from = e.offset(source, &at, "i32", 1);
        e.asm("cp.async.cg.shared.global [$0], [$1], 16;", "r,l", &[(&to, "i32"), (&from, "!llvm.ptr<1>")], None);
    });
}

/// Copies a box, row after row, with zeros for what lies outside of the array.
pub(super) fn copy_box(e: &mut Emitter, target: &Ssa, from: &ArrayBox<'_>, thread: &Ssa) {
    let ArrayBox { pointer, dims, at, shape: [rows, columns], size } = *from;
    let (lead, [height, width]) = (dims.len() - 2, [&dims[dims.len() - 2], &dims[dims.len() - 1]]);
    let mut inside = e.bool(true);
    let mut first = e.i64(0);
    for (x, n) in at.iter().zip(dims).take(lead) {
        // Negative coordinates are large ones here.
        let ok = e.icmp("ult", x, n, "i32");
        inside = e.bin("and", &inside, &ok, "i1");
        let (x, n) = (wide(e, x), wide(e, n));
        let scaled = e.bin("mul", &first, &n, "i64");
        first = e.bin("add", &scaled, &x, "i64");
    }
    let of_row = columns * size / CHUNK;
    each_chunk(e, rows * of_row, thread, |e, chunk| {
        let per_row = e.i32(of_row as i64);
        let (r, c) = (e.bin("udiv", chunk, &per_row, "i32"), e.bin("urem", chunk, &per_row, "i32"));
        let row = e.bin("add", &at[lead], &r, "i32");
        let c = e.mul_const(&c, (CHUNK / size) as i64);
        let column = e.bin("add", &at[lead + 1], &c, "i32");
        let (in_rows, in_columns) = (e.icmp("ult", &row, height, "i32"), e.icmp("ult", &column, width, "i32"));
        let ok = e.bin("and", &in_rows, &in_columns, "i1");
        let ok = e.bin("and", &ok, &inside, "i1");
        // Bytes of the chunk that the row still has; the hardware fills up with zeros.
        let left = e.bin("sub", width, &column, "i32");
        let left = e.mul_const(&left, size as i64);
        let (whole, none) = (e.i32(CHUNK as i64), e.i32(0));
        let left = e.op(&format!("llvm.intr.umin({left}, {whole}) : (i32, i32) -> i32"));
        let bytes = e.select(&ok, &left, &none, "i32");
        let (row, column, height, width) = (wide(e, &row), wide(e, &column), wide(e, height), wide(e, width));
        let linear = e.bin("mul", &first, &height, "i64");
        let linear = e.bin("add", &linear, &row, "i64");
        let linear = e.bin("mul", &linear, &width, "i64");
        let linear = e.bin("add", &linear, &column, "i64");
        let size = e.i64(size as i64);
        let offset = e.bin("mul", &linear, &size, "i64");
        let start = e.i64(0);
        let offset = e.select(&ok, &offset, &start, "i64");
        let source = e.offset(pointer, &offset, "i64", 1);
        let at = e.mul_const(chunk, CHUNK as i64);
        let to = e.bin("add", target, &at, "i32");
        e.asm(
            "cp.async.cg.shared.global [$0], [$1], 16, $2;",
            "r,l,r",
            &[(&to, "i32"), (&source, "!llvm.ptr<1>"), (&bytes, "i32")],
            None,
        );
    });
}

fn wide(e: &mut Emitter, x: &Ssa) -> Ssa {
    e.op(&format!("llvm.sext {x} : i32 to i64"))
}

/// Runs `f` for every chunk: each lane takes its own and then every 32nd after it.
fn each_chunk(e: &mut Emitter, count: usize, thread: &Ssa, f: impl FnOnce(&mut Emitter, &Ssa)) {
    let mask = e.i32(LANES as i64 - 1);
    let lane = e.bin("and", thread, &mask, "i32");
    let (head, one, done, chunk) = (e.label(), e.label(), e.label(), e.fresh());
    e.br(&head, &[(lane, "i32")]);
    e.block(&head, &format!("({chunk}: i32)"));
    let end = e.i32(count as i64);
    let more = e.icmp("ult", &chunk, &end, "i32");
    e.cond_br(&more, &one, &done);
    e.block(&one, "");
    f(e, &chunk);
    let next = e.add_const(&chunk, LANES as i64);
    e.br(&head, &[(next, "i32")]);
    e.block(&done, "");
}
