//! Where in a ring the next message goes: arithmetic alone, in units of 8 bytes.
//!
//! The messages that wait lie in one piece, [head, tail); or in two, [head, sign) and [0, tail), where the sign says "go on
//! at 0"; or, where these two came to touch each other, in three: a second sign leads from the second piece to behind the
//! first, and from there the third grows until the reader has arrived in it. As long as the reader keeps up, everything
//! happens in the first `HOT` units, which stay in the caches; one that falls behind lets the ring reach further, up to
//! its limit, and what waits does not move through all of it.

/// While they suffice, no others are touched (256 KiB).
pub(crate) const HOT: u32 = 32 << 10;

/// A place in the ring, and the number (modulo 2^32) of the message there. Stored as one word, so that both change at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub off: u32,
    pub number: u32,
}

impl Mark {
    #[inline]
    pub fn of(word: u64) -> Self {
        Self {
            off: (word >> 32) as u32,
            number: word as u32,
        }
    }

    #[inline]
    pub fn word(self) -> u64 {
        u64::from(self.off) << 32 | u64::from(self.number)
    }

    /// Messages between this one and a later one.
    #[inline]
    pub fn until(self, later: Self) -> u32 {
        later.number.wrapping_sub(self.number)
    }

    #[inline]
    pub fn before(self, later: Self) -> bool {
        self.until(later) as i32 > 0
    }

    #[inline]
    pub fn next(self, off: u32) -> Self {
        Self {
            off,
            number: self.number.wrapping_add(1),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    At(u32),
    /// At 0; nothing waits, and the head has to be moved there first.
    Reset,
    /// At this one; a sign at the tail leads there.
    Jump(u32),
    /// The head is an old one: look at it again.
    Look,
    /// The ring has to reach so far first.
    Grow(u32),
    Full,
}

/// What publishers know of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub head: Mark,
    pub tail: Mark,
    /// Behind the sign of the first of two pieces.
    pub top: u32,
    /// Where the third piece began, and the number of its first message; an old one, where there is no third.
    pub third: Mark,
    /// Units that can be written, and those there can ever be.
    pub have: u32,
    pub limit: u32,
}

impl Room {
    /// Where so many units go. fresh: the head is not known from earlier. Behind every piece there is a unit for a sign.
    #[inline]
    pub fn place(&self, units: u32, fresh: bool) -> Place {
        let Self { head, tail, .. } = *self;
        let hot = u64::from(self.have.min(HOT));
        if head.number == tail.number {
            return if !fresh {
                Place::Look
            } else if end(head.off, units) <= hot {
                Place::At(head.off)
            } else {
                match self.begin(0, units) {
                    Place::Jump(_) if head.off == 0 => Place::At(0),
                    Place::Jump(_) => Place::Reset,
                    other => other,
                }
            };
        }
        let three = self.is_three();
        if !three && head.off >= tail.off {
            return if end(tail.off, units) <= u64::from(head.off) {
                Place::At(tail.off)
            } else if fresh {
                self.begin(self.top, units)
            } else {
                Place::Look
            };
        }
        let end = end(tail.off, units);
        if !three && end <= hot {
            Place::At(tail.off)
        } else if !three && units < head.off && tail.off - head.off <= head.off {
            Place::Jump(0)
        } else if !fresh && (end > u64::from(self.have) || end >> 12 != u64::from(tail.off) >> 12) {
            // A look costs as much as the rest of a message: one each 32 KiB.
            Place::Look
        } else {
            match self.begin(tail.off, units) {
                Place::Jump(at) => Place::At(at),
                other => other,
            }
        }
    }

    /// Whether there are three pieces: the third has begun, and the reader has not arrived in it.
    #[inline]
    pub fn is_three(&self) -> bool {
        self.head.before(self.third) && self.third.before(self.tail)
    }

    fn begin(&self, at: u32, units: u32) -> Place {
        let end = end(at, units);
        if end <= u64::from(self.have) {
            Place::Jump(at)
        } else if end <= u64::from(self.limit) {
            Place::Grow(end as u32)
        } else {
            Place::Full
        }
    }
}

#[inline]
fn end(at: u32, units: u32) -> u64 {
    u64::from(at) + u64::from(units) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, VecDeque};

    #[test]
    fn a_mark_is_one_word() {
        let mark = Mark {
            off: 0x1234_5678,
            number: u32::MAX,
        };
        assert_eq!(Mark::of(mark.word()), mark);
        assert_eq!(mark.next(5), Mark { off: 5, number: 0 });
        assert_eq!(mark.until(mark.next(0)), 1);
        assert!(mark.before(mark.next(0)) && !mark.next(0).before(mark) && !mark.before(mark));
    }

    /// A ring without bytes: what waits, and the signs.
    struct Model {
        room: Room,
        head: Mark,
        waiting: VecDeque<(u32, u32)>,
        signs: HashMap<u32, u32>,
    }

    impl Model {
        fn new(limit: u32) -> Self {
            let zero = Mark { off: 0, number: 0 };
            Self {
                room: Room {
                    head: zero,
                    tail: zero,
                    top: 0,
                    third: zero,
                    have: HOT.min(limit),
                    limit,
                },
                head: zero,
                waiting: VecDeque::new(),
                signs: HashMap::new(),
            }
        }

        fn take(&mut self) {
            if let Some((off, units)) = self.waiting.pop_front() {
                if self.head.off != off {
                    assert_eq!(self.signs.remove(&self.head.off), Some(off));
                }
                self.head = self.head.next(off + units);
            }
        }

        fn free(&self, at: u32, units: u32) -> bool {
            let clear = |off: u32, len: u32| at + units <= off || off + len <= at;
            self.waiting.iter().all(|(off, len)| clear(*off, *len))
                && self.signs.keys().all(|sign| clear(*sign, 1))
        }

        fn put(&mut self, units: u32) -> bool {
            let mut fresh = false;
            let at = loop {
                match self.room.place(units, fresh) {
                    Place::At(off) => break off,
                    Place::Reset => {
                        assert!(self.waiting.is_empty());
                        self.head.off = 0;
                        self.room.head = self.head;
                        break 0;
                    }
                    Place::Jump(to) => {
                        let tail = self.room.tail;
                        assert!(tail.off < self.room.have && self.free(tail.off, 1));
                        self.signs.insert(tail.off, to);
                        if to == 0 {
                            self.room.top = tail.off + 1;
                        } else {
                            self.room.third = Mark { off: to, ..tail };
                        }
                        break to;
                    }
                    Place::Look => {
                        assert!(!fresh);
                        self.room.head = self.head;
                        fresh = true;
                    }
                    Place::Grow(end) => {
                        assert!(end > self.room.have && end <= self.room.limit);
                        self.room.have = end;
                    }
                    Place::Full => return false,
                }
            };
            assert!(at + units < self.room.have);
            assert!(
                self.free(at, units),
                "{at}+{units}: {:?} {:?}",
                self.waiting,
                self.signs
            );
            self.waiting.push_back((at, units));
            self.room.tail = self.room.tail.next(at + units);
            true
        }
    }

    proptest! {
        /// Puts and takes at random, in runs, with a head that is known late: nothing that waits is ever written over, and every
        /// piece ends below the limit.
        #[test]
        fn nothing_that_waits_is_written_over(
            steps in proptest::collection::vec((any::<bool>(), 1usize..40, 1u32..3000), 1..200),
            limit in 4000u32..200_000,
        ) {
            let mut model = Model::new(limit);
            for (put, run, units) in steps {
                for _ in 0..run {
                    if !put {
                        model.take();
                    } else if !model.put(units) {
                        prop_assert!(!model.waiting.is_empty());
                    }
                }
            }
            while !model.waiting.is_empty() {
                model.take();
            }
            prop_assert!(model.put(limit - 1));
        }
    }

    #[test]
    fn what_waits_little_stays_in_little_room() {
        let mut model = Model::new(8 << 20);
        for backlog in [1, 10, 200, 1000] {
            while model.waiting.len() < backlog {
                assert!(model.put(76));
            }
            for _ in 0..5_000 {
                model.take();
                assert!(model.put(76));
            }
            assert!(
                model.room.have <= HOT.max(backlog as u32 * 76 * 4),
                "{backlog}: {}",
                model.room.have
            );
        }
    }

    #[test]
    fn a_reader_that_stops_leaves_all_the_room() {
        for taken in [10, 100, 300, 900] {
            let mut model = Model::new(1 << 20);
            for _ in 0..taken {
                model.put(501);
                model.put(501);
                model.take();
            }
            while model.put(501) {}
            assert!(
                model.waiting.len() * 501 > 1 << 19,
                "{taken}: {}",
                model.waiting.len()
            );
        }
    }
}
