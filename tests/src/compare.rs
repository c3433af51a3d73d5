//! Whether a device's buffers hold what the reference computed.

use crate::cases::Case;
use tile_lang::exec::{Data, ExecError, Executor};

/// What a case's outputs differed by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Errors {
    /// The largest difference of a real that had to be written, relative to the root mean square of all of them in its
    /// buffer, or to the element's magnitude where the expectation gives that; infinite where something is not a number.
    pub largest: f64,
    /// Elements that differ though they must be equal: integers, and reals that had to stay as they were.
    pub unequal: usize,
}

impl Errors {
    /// Whether the case's tolerance holds.
    pub fn passed(&self, case: &Case) -> bool {
        self.largest <= case.tolerance && self.unequal == 0
    }
}

/// Compares outputs with the expectation. The case must have been filled and run once.
///
/// # Errors
/// The device failed.
pub fn compare(case: &Case, executor: &mut dyn Executor) -> Result<Errors, ExecError> {
    let mut errors = Errors::default();
    for expected in (case.expect)() {
        let start = case.start.iter().find(|(b, _)| *b == expected.buffer).map(|(_, data)| data);
        let len = match &expected.data {
            Data::F32(x) => x.len(),
            Data::I32(x) => x.len(),
        };
        match (executor.read(expected.buffer, 0, len)?, &expected.data, start) {
            (Data::F32(got), Data::F32(want), Some(Data::F32(start))) => match &expected.magnitudes {
                Some(magnitudes) => each(&got, want, start, magnitudes, &mut errors),
                None => reals(&got, want, start, &mut errors),
            },
            (Data::I32(got), Data::I32(want), _) => {
                errors.unequal += got.iter().zip(want).filter(|(a, b)| a != b).count();
            }
            _ => errors.unequal += len,
        }
    }
    Ok(errors)
}

fn reals(got: &[f32], want: &[f32], start: &[f32], errors: &mut Errors) {
    let (mut worst, mut squares, mut written) = (0.0f64, 0.0f64, 0usize);
    for ((got, want), start) in got.iter().zip(want).zip(start) {
        if want.to_bits() == start.to_bits() {
            errors.unequal += usize::from(got.to_bits() != start.to_bits());
            continue;
        }
        let d = f64::from((got - want).abs());
        worst = worst.max(if d.is_nan() { f64::INFINITY } else { d });
        squares += f64::from(*want) * f64::from(*want);
        written += 1;
    }
    if worst > 0.0 {
        let rms = (squares / written.max(1) as f64).sqrt().max(f64::MIN_POSITIVE);
        errors.largest = errors.largest.max(worst / rms);
    }
}

/// As [`reals`], with the magnitude that each element's error is relative to.
fn each(got: &[f32], want: &[f32], start: &[f32], magnitudes: &[f32], errors: &mut Errors) {
    for (((got, want), start), magnitude) in got.iter().zip(want).zip(start).zip(magnitudes) {
        if *magnitude == f32::INFINITY {
            continue;
        }
        if want.to_bits() == start.to_bits() {
            errors.unequal += usize::from(got.to_bits() != start.to_bits());
            continue;
        }
        let d = f64::from((got - want).abs()) / f64::from(*magnitude).max(f64::MIN_POSITIVE);
        errors.largest = errors.largest.max(if d.is_nan() { f64::INFINITY } else { d });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_magnitudes() {
        let mut errors = Errors::default();
        let magnitudes = [10.0, 0.5, 1.0, f32::INFINITY];
        each(&[12.0, 0.25, 7.0, f32::NAN], &[10.0, 0.5, 7.0, 1.0], &[0.0, 0.0, 7.0, 0.0], &magnitudes, &mut errors);
        assert_eq!(errors, Errors { largest: 0.5, unequal: 0 });
        each(&[1.0], &[0.0], &[0.0], &[1.0], &mut errors);
        assert_eq!(errors.unequal, 1);
        each(&[f32::NAN], &[1.0], &[0.0], &[1.0], &mut errors);
        assert_eq!(errors.largest, f64::INFINITY);
    }

    #[test]
    fn what_is_not_written_must_stay() {
        let mut errors = Errors::default();
        reals(&[1.0, 5.0, 2.0], &[1.0, 4.0, 2.0], &[1.0, 0.0, 2.0], &mut errors);
        assert_eq!(errors, Errors { largest: 0.25, unequal: 0 });
        reals(&[1.5, 4.0], &[1.0, 4.0], &[1.0, 0.0], &mut errors);
        assert_eq!(errors, Errors { largest: 0.25, unequal: 1 });
        reals(&[f32::NAN], &[1.0], &[0.0], &mut errors);
        assert_eq!(errors.largest, f64::INFINITY);
    }
}
