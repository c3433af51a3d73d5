//! A deadlock: where every process is stuck, and on what.

use super::events::Kind;
use super::run::{FETCHER, Run, Step};
use super::turns::Turn;
use tile_lang::protocol::Turns;

impl Run<'_> {
    /// Processes that can't go on: a deadlock, with what each waits for.
    pub(super) fn stuck(&mut self) {
        let open: Vec<usize> = (0..self.lists.len()).filter(|p| self.at[*p] < self.lists[*p].len()).collect();
        let Some(&first) = open.iter().find(|p| **p != FETCHER).or(open.first()) else { return };
        let steps: Vec<Step> = open
            .iter()
            .map(|&p| {
                let event = &self.lists[p][self.at[p]];
                let what = match &event.kind {
                    Kind::Wait { bar, need, .. } => {
                        let s = &self.states[*bar];
                        let count = self.bars.counts[*bar] as i64;
                        let bytes = match s.bytes {
                            0 => String::new(),
                            n if n > 0 => format!(" and {n} announced bytes have not come"),
                            n => format!(" and {} bytes came that were not announced", -n),
                        };
                        format!(
                            "waits for phase {need} of {}; {} are complete, {} of {count} arrivals of the next have come{bytes}",
                            self.bar_name(*bar),
                            s.completed,
                            count - s.pending
                        )
                    }
                    Kind::Meet { id, threads } => {
                        let here = self.meetings.get(id).map_or(0, |m| m.threads);
                        format!("waits at named barrier {id}; {here} of {threads} threads are there")
                    }
                    Kind::TakeTurn { turns, .. } => {
                        let id = turns.taken_at(self.group_of(p));
                        let given = self.turns.get(&id).map_or(0, Turn::given);
                        format!("waits for its turn at named barrier {id}; {given} of {} threads have given it", Turns::THREADS / 2)
                    }
                    Kind::Gate(record) => format!("fetches no further until record {record} is begun"),
                    Kind::Fetched(record) => format!("waits for the fetch of record {record}"),
                    _ => "can't go on".into(),
                };
                Step { role: self.role(p), place: event.place, what }
            })
            .collect();
        let place = self.lists[first][self.at[first]].place;
        self.fault("E26", place, "the roles wait for each other for ever".into(), steps);
    }
}
