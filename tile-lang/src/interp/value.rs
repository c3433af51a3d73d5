//! Values while a work item runs, and the pool that their buffers come from and go back to.

use std::rc::Rc;

/// What a slot holds. A tile whose elements are all equal may be held as its one number.
#[derive(Clone, Debug, Default)]
pub(crate) enum Value {
    /// Nothing yet, or moved out.
    #[default]
    Empty,
    /// A real number, or a tile full of it.
    F32(f32),
    /// An integer, or a tile full of it.
    I32(i32),
    /// A truth value, or a tile full of it.
    Bool(u8),
    /// A dense tile of reals.
    TileF(Rc<Vec<f32>>),
    /// A dense tile of integers.
    TileI(Rc<Vec<i32>>),
    /// A dense tile of truth values.
    TileB(Rc<Vec<u8>>),
    /// A part of a tile of reals, or its transpose.
    View(Strided),
}

/// Real elements `data[offset + r · row + c · col]`.
#[derive(Clone, Debug)]
pub(crate) struct Strided {
    pub data: Rc<Vec<f32>>,
    pub offset: usize,
    pub row: usize,
    pub col: usize,
}

/// Buffers that wait to be used again, by the power of two that their capacity reaches.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    f: Shelf<f32>,
    i: Shelf<i32>,
    b: Shelf<u8>,
}

#[derive(Debug)]
struct Shelf<T>(Vec<Vec<Rc<Vec<T>>>>);

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Shelf(Vec::new())
    }
}

/// Buffers of one size that are kept.
const KEPT: usize = 16;

impl<T: Copy + Default> Shelf<T> {
    fn bucket(len: usize) -> usize {
        len.max(1).next_power_of_two().trailing_zeros() as usize
    }

    fn take(&mut self, len: usize) -> Rc<Vec<T>> {
        let bucket = Self::bucket(len);
        let mut buffer = match self.0.get_mut(bucket).and_then(Vec::pop) {
            Some(buffer) => buffer,
            None => Rc::new(Vec::with_capacity(1 << bucket)),
        };
        if let Some(vec) = Rc::get_mut(&mut buffer) {
            vec.resize(len, T::default());
        }
        buffer
    }

    fn give(&mut self, mut buffer: Rc<Vec<T>>) {
        let Some(vec) = Rc::get_mut(&mut buffer) else { return };
        let bucket = Self::bucket(vec.len());
        if vec.capacity() < 1 << bucket {
            return;
        }
        if self.0.len() <= bucket {
            self.0.resize_with(bucket + 1, Vec::new);
        }
        if self.0[bucket].len() < KEPT {
            self.0[bucket].push(buffer);
        }
    }
}

/// An element type of buffers.
pub(super) trait Element: Copy + Default + 'static {
    /// A buffer of `len` elements with anything in it, owned by the caller alone.
    fn take(pool: &mut Pool, len: usize) -> Rc<Vec<Self>>;
    /// Gives a buffer back, if nobody else holds it.
    fn give(pool: &mut Pool, buffer: Rc<Vec<Self>>);
    /// The value of an operand.
    fn value(x: Operand<Self>) -> Value;
}

macro_rules! element {
    ($t:ty, $shelf:ident, $one:ident, $tile:ident) => {
        impl Element for $t {
            fn take(pool: &mut Pool, len: usize) -> Rc<Vec<$t>> {
                pool.$shelf.take(len)
            }
            fn give(pool: &mut Pool, buffer: Rc<Vec<$t>>) {
                pool.$shelf.give(buffer)
            }
            fn value(x: Operand<$t>) -> Value {
                match x {
                    Operand::One(x) => Value::$one(x),
                    Operand::Tile(t) => Value::$tile(t),
                }
            }
        }
    };
}
element!(f32, f, F32, TileF);
element!(i32, i, I32, TileI);
element!(u8, b, Bool, TileB);

impl Pool {
    /// Gives the buffer of a value back.
    pub fn recycle(&mut self, value: Value) {
        match value {
            Value::TileF(t) => self.f.give(t),
            Value::TileI(t) => self.i.give(t),
            Value::TileB(t) => self.b.give(t),
            Value::View(v) => self.f.give(v.data),
            Value::Empty | Value::F32(_) | Value::I32(_) | Value::Bool(_) => {}
        }
    }

    /// Fills a new buffer.
    pub fn build<T: Element>(&mut self, len: usize, fill: impl FnOnce(&mut [T])) -> Rc<Vec<T>> {
        let mut buffer = T::take(self, len);
        fill(own(&mut buffer));
        buffer
    }

    /// A dense copy of a strided tile.
    pub fn dense(&mut self, v: &Strided, rows: usize, cols: usize) -> Rc<Vec<f32>> {
        self.build(rows * cols, |out| copy_strided(&v.data[v.offset..], v.row, v.col, rows, cols, out))
    }
}

/// Copies `rows × cols` elements at strides `row` and `col` into a dense buffer.
pub(super) fn copy_strided<T: Copy>(data: &[T], row: usize, col: usize, rows: usize, cols: usize, out: &mut [T]) {
    if rows == 0 || cols == 0 {
        return;
    }
    if col == 1 {
        for (r, out) in out.chunks_exact_mut(cols).enumerate() {
            out.copy_from_slice(&data[r * row..r * row + cols]);
        }
        return;
    }
    // Blocks keep both the reads and the writes in cache lines that are used up.
    const BLOCK: usize = 16;
    for r0 in (0..rows).step_by(BLOCK) {
        for c0 in (0..cols).step_by(BLOCK) {
            for r in r0..(r0 + BLOCK).min(rows) {
                let out = &mut out[r * cols..(r + 1) * cols];
                for c in c0..(c0 + BLOCK).min(cols) {
                    out[c] = data[r * row + c * col];
                }
            }
        }
    }
}

/// The elements of a buffer that nobody else holds.
pub(super) fn own<T: Clone>(buffer: &mut Rc<Vec<T>>) -> &mut [T] {
    let vec: &mut Vec<T> = Rc::make_mut(buffer);
    vec
}

/// An operand of an elementwise op: one number for all, or a dense tile.
#[derive(Clone, Debug)]
pub(super) enum Operand<T> {
    One(T),
    Tile(Rc<Vec<T>>),
}

/// `f` of every element, in place where the operand is not needed any more.
pub(super) fn map<T: Element>(pool: &mut Pool, x: Operand<T>, f: impl Fn(T) -> T) -> Operand<T> {
    match x {
        Operand::One(x) => Operand::One(f(x)),
        Operand::Tile(mut t) => {
            if let Some(data) = Rc::get_mut(&mut t) {
                data.iter_mut().for_each(|x| *x = f(*x));
                return Operand::Tile(t);
            }
            Operand::Tile(pool.build(t.len(), |out| out.iter_mut().zip(t.iter()).for_each(|(o, x)| *o = f(*x))))
        }
    }
}

/// `f` of every element, of another type.
pub(super) fn convert<T: Element, U: Element>(pool: &mut Pool, x: Operand<T>, f: impl Fn(T) -> U) -> Operand<U> {
    match x {
        Operand::One(x) => Operand::One(f(x)),
        Operand::Tile(t) => {
            let out = pool.build(t.len(), |out: &mut [U]| out.iter_mut().zip(t.iter()).for_each(|(o, x)| *o = f(*x)));
            T::give(pool, t);
            Operand::Tile(out)
        }
    }
}

/// `f` of every pair, in place where an operand is not needed any more.
pub(super) fn zip<T: Element>(pool: &mut Pool, a: Operand<T>, b: Operand<T>, f: impl Fn(T, T) -> T) -> Operand<T> {
    match (a, b) {
        (Operand::One(a), Operand::One(b)) => Operand::One(f(a, b)),
        (Operand::Tile(a), Operand::One(b)) => map(pool, Operand::Tile(a), |x| f(x, b)),
        (Operand::One(a), Operand::Tile(b)) => map(pool, Operand::Tile(b), |x| f(a, x)),
        (Operand::Tile(mut a), Operand::Tile(mut b)) => {
            if let Some(data) = Rc::get_mut(&mut a) {
                data.iter_mut().zip(b.iter()).for_each(|(x, y)| *x = f(*x, *y));
                T::give(pool, b);
                return Operand::Tile(a);
            }
            if let Some(data) = Rc::get_mut(&mut b) {
                data.iter_mut().zip(a.iter()).for_each(|(y, x)| *y = f(*x, *y));
                return Operand::Tile(b);
            }
            let out = pool.build(a.len(), |out: &mut [T]| {
                out.iter_mut().zip(a.iter().zip(b.iter())).for_each(|(o, (x, y))| *o = f(*x, *y));
            });
            Operand::Tile(out)
        }
    }
}

/// `f` of every three elements, in place where the last operand is not needed any more.
pub(super) fn zip3<T: Element>(pool: &mut Pool, operands: [Operand<T>; 3], f: impl Fn(T, T, T) -> T) -> Operand<T> {
    match operands {
        [Operand::One(x), b, c] => zip(pool, b, c, |y, z| f(x, y, z)),
        [a, Operand::One(y), c] => zip(pool, a, c, |x, z| f(x, y, z)),
        [a, b, Operand::One(z)] => zip(pool, a, b, |x, y| f(x, y, z)),
        [Operand::Tile(a), Operand::Tile(b), Operand::Tile(mut c)] => {
            let pairs = a.iter().zip(b.iter());
            let c = match Rc::get_mut(&mut c) {
                Some(data) => {
                    data.iter_mut().zip(pairs).for_each(|(z, (x, y))| *z = f(*x, *y, *z));
                    c
                }
                None => pool.build(c.len(), |out: &mut [T]| {
                    out.iter_mut().zip(pairs.zip(c.iter())).for_each(|(o, ((x, y), z))| *o = f(*x, *y, *z));
                }),
            };
            T::give(pool, a);
            T::give(pool, b);
            Operand::Tile(c)
        }
    }
}

/// `f` of every pair, of another type.
pub(super) fn compare<T: Element>(
    pool: &mut Pool,
    a: Operand<T>,
    b: Operand<T>,
    f: impl Fn(T, T) -> bool,
) -> Operand<u8> {
    match (a, b) {
        (Operand::One(a), Operand::One(b)) => Operand::One(f(a, b) as u8),
        (a, Operand::One(b)) => convert(pool, a, |x| f(x, b) as u8),
        (Operand::One(a), b) => convert(pool, b, |x| f(a, x) as u8),
        (Operand::Tile(a), Operand::Tile(b)) => {
            let out = pool.build(a.len(), |out: &mut [u8]| {
                out.iter_mut().zip(a.iter().zip(b.iter())).for_each(|(o, (x, y))| *o = f(*x, *y) as u8);
            });
            T::give(pool, a);
            T::give(pool, b);
            Operand::Tile(out)
        }
    }
}

/// `a` where the condition holds, else `b`.
pub(super) fn select<T: Element>(pool: &mut Pool, c: Operand<u8>, a: Operand<T>, b: Operand<T>) -> Operand<T> {
    let c = match c {
        Operand::One(c) => return if c != 0 { a } else { b },
        Operand::Tile(c) => c,
    };
    let out = match (a, b) {
        (Operand::Tile(mut a), b) if Rc::strong_count(&a) == 1 => {
            let data = own(&mut a);
            match &b {
                Operand::One(b) => data.iter_mut().zip(c.iter()).for_each(|(x, c)| *x = if *c != 0 { *x } else { *b }),
                Operand::Tile(b) => data
                    .iter_mut()
                    .zip(c.iter().zip(b.iter()))
                    .for_each(|(x, (c, b))| *x = if *c != 0 { *x } else { *b }),
            }
            if let Operand::Tile(b) = b {
                T::give(pool, b);
            }
            a
        }
        (a, b) => {
            let get = |x: &Operand<T>, i: usize| match x {
                Operand::One(x) => *x,
                Operand::Tile(t) => t[i],
            };
            pool.build(c.len(), |out: &mut [T]| {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = if c[i] != 0 { get(&a, i) } else { get(&b, i) };
                }
            })
        }
    };
    u8::give(pool, c);
    Operand::Tile(out)
}
