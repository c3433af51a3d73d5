//! Sweeps: one product in every tile and under every schedule that may suit it.
//!
//! A variant that can't be had, because a tile doesn't fit or a schedule asks for too much, is no failure: which ones can be had is part of
//! what a sweep finds out.

use super::Built;
use super::gemm::{self, Gemm, Order};
use super::gemm_fp8::{self, Fp8, Scales};
use super::schedules::under;
use tile_lang::DType::Bf16;
use tile_lang::schedule::ScheduleDef;
use tile_models::kernels::library;

/// Rows of C between two that are compared: fewer than any warpgroup makes, so that a fault of one shows.
pub(super) const EVERY: usize = 61;

/// A kernel that sweeps know how to make cases of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// bf16, C = A·Bᵀ.
    Dense,
    /// E4M3 with one scale for each operand.
    Fp8,
    /// E4M3 with scales for blocks; the tile's last number is the parts of an item.
    Fp8Blocks,
}

/// A way to make a product.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Rows, columns, and the third number of the kernel's generics.
    pub tile: [usize; 3],
    /// A schedule of the library; none is the compiler's own.
    pub schedule: Option<ScheduleDef>,
}

impl Variant {
    /// What stands for the schedule: `default` for the compiler's own.
    pub fn schedule_name(&self) -> &'static str {
        self.schedule.map_or("default", |s| s.name)
    }
}

/// One product of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    family: Family,
    /// Rows and columns of C, terms.
    pub extents: [usize; 3],
}

impl Sweep {
    /// The library kernel.
    pub fn kernel(&self) -> &'static str {
        match self.family {
            Family::Dense => "gemm",
            Family::Fp8 => "gemm_fp8",
            Family::Fp8Blocks => "gemm_fp8_blocks",
        }
    }

    /// Name, unique.
    pub fn name(&self) -> String {
        let [m, n, k] = self.extents;
        format!("sweep_{}_{m}x{n}x{k}", self.kernel())
    }

    /// The ways to make it.
    pub fn variants(&self) -> Vec<Variant> {
        let tiles: &[[usize; 3]] = match self.family {
            Family::Dense => &[[128, 256, 64], [256, 128, 64], [128, 128, 64], [64, 256, 64], [64, 128, 64]],
            Family::Fp8 => &[[128, 256, 128], [256, 128, 128], [128, 128, 128]],
            Family::Fp8Blocks => &[[128, 128, 1], [128, 128, 2], [256, 128, 1]],
        };
        // The others are there to show what the compiler's choices are worth.
        let own = library::schedules().into_iter().filter(|s| s.kernel.name == self.kernel());
        let own = own.filter(|s| s.name.ends_with("neighbours"));
        let schedules: Vec<Option<ScheduleDef>> = std::iter::once(None).chain(own.map(Some)).collect();
        let of =
            |tile: &[usize; 3]| schedules.iter().map(|s| Variant { tile: *tile, schedule: *s }).collect::<Vec<_>>();
        tiles.iter().flat_map(of).collect()
    }

    /// The case of a variant, of which one of [`EVERY`] rows is compared.
    ///
    /// # Errors
    /// The schedule isn't for such a tile, or the tile not for the kernel.
    pub fn case(&self, variant: &Variant) -> Built {
        let (extents, tile) = (self.extents, variant.tile);
        let fp8 = |scales, y| gemm_fp8::fp8_case(Fp8 { scales, extents, y, tile, every: EVERY });
        let case = match self.family {
            Family::Dense => gemm::gemm_case(Gemm { order: Order::Nt, extents, x: Bf16, y: Bf16, tile, every: EVERY }),
            Family::Fp8 => fp8(Scales::Tensor, Bf16),
            Family::Fp8Blocks => fp8(Scales::Blocks, Bf16),
        }?;
        let mut case = match variant.schedule {
            Some(schedule) => under(case, schedule)?,
            None => case,
        };
        case.name.insert_str(0, "sweep_");
        case.large = true;
        Ok(case)
    }
}

/// All of them: squares, few rows, and extents that aren't powers of two.
pub fn sweeps() -> Vec<Sweep> {
    let odd = [5120, 3584, 7168];
    let dense = [[1024; 3], [2048; 3], [4096; 3], [8192; 3], [512, 8192, 8192], [1000, 4096, 4096], odd];
    let fp8 = [[4096; 3], odd];
    let of = |family, extents: &[[usize; 3]]| extents.iter().map(|e| Sweep { family, extents: *e }).collect::<Vec<_>>();
    [of(Family::Dense, &dense), of(Family::Fp8, &fp8), of(Family::Fp8Blocks, &fp8)].concat()
}

/// A small sweep of each family, with the same ways to make it: for tests.
pub fn small() -> Vec<Sweep> {
    [Family::Dense, Family::Fp8, Family::Fp8Blocks].map(|family| Sweep { family, extents: [130, 264, 272] }).to_vec()
}
