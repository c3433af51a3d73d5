use tile_lang::dsl::*;
use tile_lang::tile;

#[tile::kernel(crate = tile_lang)]
fn unsupported(x: &[f32], n: usize, y: Global<f32, 1>, (a, b): (f32, f32), s: String) {}

#[tile::kernel(crate = tile_lang)]
fn generics<const N: i32, T: Clone, U: Elem>(x: &Global<U, 1>) -> f32
where
    T: Copy,
{
    0.0
}

#[tile::kernel(schedule = 3)]
fn attribute(x: &Global<f32, 1>) {}

#[tile::func(crate = tile_lang)]
async fn waits(x: &mut Weight<f32, 2>, t: &Tile<f32, 4>) {}

#[tile::kernel(crate = tile_lang)]
struct Other;

#[tile::model]
fn no_graph() {}

fn main() {}
