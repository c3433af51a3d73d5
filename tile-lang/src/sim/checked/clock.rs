//! Vector clocks: what an agent knows of every other one's progress.
//!
//! Each producer, each consumer warp and each place that copies land in has one component. A warp's time is its position
//! in the log of its team; so a **team access**, which all warps of a CTA do together, each its part, lies before
//! whoever knows that all of the team's warps have come as far.

use std::ops::Range;

/// Where an agent has come to.
pub(super) type Time = u32;

/// How components are numbered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub ctas: usize,
    /// Consumer warps of a CTA.
    pub warps: usize,
    /// Places that copies land in, of a CTA.
    pub copies: usize,
}

impl Space {
    fn stride(&self) -> usize {
        1 + self.warps + self.copies
    }

    pub fn len(&self) -> usize {
        self.ctas * self.stride()
    }

    pub fn producer(&self, cta: usize) -> usize {
        cta * self.stride()
    }

    pub fn warp(&self, cta: usize, warp: usize) -> usize {
        cta * self.stride() + 1 + warp
    }

    pub fn copy(&self, cta: usize, place: usize) -> usize {
        cta * self.stride() + 1 + self.warps + place
    }

    /// The CTA of a component.
    pub fn cta_of(&self, component: usize) -> usize {
        component / self.stride()
    }

    /// The warp of a component, if it is one.
    pub fn warp_of(&self, component: usize) -> Option<usize> {
        (component % self.stride()).checked_sub(1).filter(|w| *w < self.warps)
    }
}

/// Who did an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// All consumer warps of a CTA together.
    Team(u32),
    /// The agent with this component.
    Agent(u32),
    /// An asynchronous copy with this component.
    Copy(u32),
}

/// The progress of everyone, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Clock(Box<[Time]>);

impl Clock {
    pub fn new(space: &Space) -> Self {
        Clock(vec![0; space.len()].into())
    }

    pub fn join(&mut self, other: &Clock) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a = (*a).max(*b));
    }

    /// What is known of these CTAs.
    fn join_of(&mut self, other: &Clock, space: &Space, ctas: Range<usize>) {
        let components = space.producer(ctas.start)..space.producer(ctas.end);
        self.0[components.clone()].iter_mut().zip(&other.0[components]).for_each(|(a, b)| *a = (*a).max(*b));
    }

    /// What both know.
    pub fn meet(&mut self, other: &Clock) {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a = (*a).min(*b));
    }

    pub fn raise(&mut self, component: usize, time: Time) {
        self.0[component] = self.0[component].max(time);
    }

    /// Whether something done by `by` at `time` is known to be over.
    pub fn covers(&self, space: &Space, by: By, time: Time) -> bool {
        match by {
            By::Agent(c) | By::Copy(c) => self.0[c as usize] >= time,
            By::Team(cta) => {
                let first = space.warp(cta as usize, 0);
                self.0[first..first + space.warps].iter().all(|t| *t >= time)
            }
        }
    }
}

/// What an agent knows: of everything, and as far as a proxy fence has made it visible to asynchronous copies, or put it before them.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub seen: Clock,
    /// At most `seen`. Copies see what was written through registers only as far as this.
    pub fenced: Clock,
    /// The same of shared memory: at least `fenced`.
    pub shared: Clock,
}

impl Sight {
    pub fn new(space: &Space) -> Self {
        Sight { seen: Clock::new(space), fenced: Clock::new(space), shared: Clock::new(space) }
    }

    pub fn join(&mut self, other: &Sight) {
        self.seen.join(&other.seen);
        self.fenced.join(&other.fenced);
        self.shared.join(&other.shared);
    }

    /// What both know.
    pub fn meet(&mut self, other: &Sight) {
        self.seen.meet(&other.seen);
        self.fenced.meet(&other.fenced);
        self.shared.meet(&other.shared);
    }

    /// A proxy fence: all that is seen is visible to copies from here on.
    pub fn fence(&mut self) {
        self.fenced.join(&self.seen);
        self.shared.join(&self.seen);
    }

    /// The same of these CTAs' shared memory alone.
    pub fn fence_shared(&mut self, space: &Space, ctas: Range<usize>) {
        self.shared.join_of(&self.seen, space, ctas);
    }
}
