//! The set of parts that have arrived, and its compact forms.
//!
//! Owns `1-50,52,55-100`: the ranges of a set, the missing ranges, and the set as stored bytes. Does not own the size of
//! a part: that is `part_plan`.

use std::{fmt, ops::Bound};

use roaring::RoaringBitmap;

/// A run of part numbers, both ends included, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRange {
    /// First part of the run.
    pub first: u32,
    /// Last part of the run; equal to `first` for a single part.
    pub last: u32,
}

impl PartRange {
    /// The numbers of this range that are larger than `number`. `None` if there are none.
    pub fn after(self, number: u32) -> Option<Self> {
        (self.last > number).then(|| Self { first: self.first.max(number + 1), last: self.last })
    }

    /// How many parts the run holds.
    pub fn count(self) -> u32 {
        self.last - self.first + 1
    }

    /// Appends `7` for a single part, `7-9` for a run. Faster than `Display`, because a response can have thousands of
    /// runs.
    pub fn push_to(self, text: &mut String) {
        text.push_str(itoa::Buffer::new().format(self.first));
        if self.first != self.last {
            text.push('-');
            text.push_str(itoa::Buffer::new().format(self.last));
        }
    }
}

/// `7` for a single part, `7-9` for a run.
impl fmt::Display for PartRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.push_to(&mut text);
        f.write_str(&text)
    }
}

/// A page of received part numbers, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartPage {
    /// The first and the last; all received numbers between them belong to the page.
    pub numbers: Option<(u32, u32)>,
    /// Whether there are received numbers below.
    pub has_previous: bool,
    /// Whether there are received numbers above.
    pub has_next: bool,
}

/// Part numbers that have arrived.
///
/// A [Roaring bitmap](https://github.com/RoaringBitmap/RoaringFormatSpec): a file received in order needs a few dozen
/// bytes for any number of parts, and the worst pattern of 10,000 parts needs about 8 KiB. Runs are found without
/// visiting their members.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartSet(RoaringBitmap);

impl PartSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part. False if the set had it.
    pub fn insert(&mut self, part_number: u32) -> bool {
        self.0.insert(part_number)
    }

    /// Removes a part. False if the set did not have it.
    pub fn remove(&mut self, part_number: u32) -> bool {
        self.0.remove(part_number)
    }

    /// Whether the part has arrived.
    pub fn contains(&self, part_number: u32) -> bool {
        self.0.contains(part_number)
    }

    /// How many parts have arrived.
    pub fn len(&self) -> u32 {
        // A set of u32 part numbers starting at 1 has at most u32::MAX members.
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Whether nothing has arrived.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts that have arrived, as the smallest number of runs, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = PartRange> + '_ {
        let mut members = self.0.iter();
        std::iter::from_fn(move || {
            let run = members.next_range()?;
            Some(PartRange { first: *run.start(), last: *run.end() })
        })
    }

    /// How many consecutive parts have arrived from this one on; 0 if this one has not.
    pub fn run_from(&self, part_number: u32) -> u32 {
        let mut members = self.0.iter();
        members.advance_to(part_number);
        members.next_range().filter(|run| *run.start() == part_number).map_or(0, |run| run.end() - run.start() + 1)
    }

    /// The parts of `1..=total` that have not arrived, as the smallest number of runs, ascending.
    pub fn missing(&self, total: u32) -> impl Iterator<Item = PartRange> + '_ {
        let mut received = self.ranges();
        let mut next = Some(1);
        std::iter::from_fn(move || {
            loop {
                let first = next.filter(|first| *first <= total)?;
                match received.next() {
                    Some(run) => {
                        next = run.last.checked_add(1);
                        if run.first > first {
                            return Some(PartRange { first, last: total.min(run.first - 1) });
                        }
                    }
                    None => {
                        next = None;
                        return Some(PartRange { first, last: total });
                    }
                }
            }
        })
    }

    /// The part numbers above `after` that have arrived, ascending.
    pub fn numbers_after(&self, after: u32) -> impl Iterator<Item = u32> + '_ {
        let mut members = self.0.iter();
        members.advance_to(after.saturating_add(1));
        members.skip_while(move |number| *number <= after)
    }

    /// The received numbers between two exclusive bounds: the first `limit` of them, or the last.
    pub fn page(&self, after: u32, before: u32, limit: usize, from_end: bool) -> PartPage {
        let mut within = self.0.range((Bound::Excluded(after), Bound::Excluded(before)));
        let numbers = if from_end {
            let last = within.next_back().filter(|_| limit > 0);
            last.map(|last| (within.rev().take(limit - 1).next_back().unwrap_or(last), last))
        } else {
            let first = within.next().filter(|_| limit > 0);
            first.map(|first| (first, within.take(limit - 1).next_back().unwrap_or(first)))
        };
        let (first, last) = numbers.unwrap_or((after.saturating_add(1), before.saturating_sub(1)));
        PartPage {
            numbers,
            has_previous: self.0.min().is_some_and(|lowest| lowest < first),
            has_next: self.0.max().is_some_and(|highest| highest > last),
        }
    }

    /// The length of the run that starts at part 1; 0 while part 1 is missing.
    pub fn prefix_len(&self) -> u32 {
        self.ranges().next().filter(|run| run.first == 1).map_or(0, |run| run.last)
    }

    /// The set in the [portable Roaring format](https://github.com/RoaringBitmap/RoaringFormatSpec), runs compressed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut compact = self.0.clone();
        compact.optimize();
        let mut bytes = Vec::with_capacity(compact.serialized_size());
        compact.serialize_into(&mut bytes).expect("writing to a Vec cannot fail");
        bytes
    }

    /// Reads what [`PartSet::to_bytes`] wrote. `None` if the bytes are not such a set.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        RoaringBitmap::deserialize_from(bytes).ok().map(Self)
    }
}

/// The one-line form: `1-50,52,55-100`; empty for the empty set.
impl fmt::Display for PartSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for run in self.ranges() {
            if !text.is_empty() {
                text.push(',');
            }
            run.push_to(&mut text);
        }
        f.write_str(&text)
    }
}

impl FromIterator<u32> for PartSet {
    fn from_iter<I: IntoIterator<Item = u32>>(part_numbers: I) -> Self {
        Self(part_numbers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_run_goes_on_to_the_next_gap() {
        let set: PartSet = [2, 3, 4, 7].into_iter().collect();
        assert_eq!([1, 2, 3, 4, 5, 7, 8].map(|part| set.run_from(part)), [0, 3, 2, 1, 0, 1, 0]);
    }

    fn text(ranges: impl Iterator<Item = PartRange>) -> Vec<String> {
        ranges.map(|run| run.to_string()).collect()
    }

    #[test]
    fn ranges_read_as_in_the_contract() {
        let set: PartSet = (1..=50).chain([52]).chain(55..=100).collect();
        assert_eq!(text(set.ranges()), ["1-50", "52", "55-100"]);
        assert_eq!(text(set.missing(100)), ["51", "53-54"]);
        assert_eq!(set.to_string(), "1-50,52,55-100");
        assert_eq!(set.prefix_len(), 50);
        let after = |number| text(set.ranges().filter_map(move |range| range.after(number)));
        assert_eq!(after(0), text(set.ranges()));
        assert_eq!(after(50), ["52", "55-100"]);
        assert_eq!(after(55), ["56-100"]);
        assert_eq!(after(100), [""; 0]);
    }

    #[test]
    fn an_empty_set_misses_everything_and_a_file_of_no_parts_misses_nothing() {
        assert_eq!(text(PartSet::new().missing(3)), ["1-3"]);
        assert_eq!(text(PartSet::new().missing(0)), [""; 0]);
        assert_eq!(PartSet::new().to_string(), "");
        assert_eq!(PartSet::new().prefix_len(), 0);
    }

    #[test]
    fn a_run_crosses_the_bitmaps_internal_containers() {
        let set: PartSet = (65_000..=200_000).collect();
        assert_eq!(text(set.ranges()), ["65000-200000"]);
    }

    #[test]
    fn a_million_contiguous_parts_stay_small() {
        let set: PartSet = (1..=1_000_000).collect();
        assert!(set.to_bytes().len() < 256, "{} bytes", set.to_bytes().len());
    }

    #[test]
    fn pages_are_cut_from_both_ends() {
        let set: PartSet = [1, 3, 5, 7, 9].into_iter().collect();
        let page = |numbers, has_previous, has_next| PartPage { numbers, has_previous, has_next };
        assert_eq!(set.page(0, u32::MAX, 2, false), page(Some((1, 3)), false, true));
        assert_eq!(set.page(3, u32::MAX, 9, false), page(Some((5, 9)), true, false));
        assert_eq!(set.page(0, u32::MAX, 2, true), page(Some((7, 9)), true, false));
        assert_eq!(set.page(0, 7, 1, true), page(Some((5, 5)), true, true));
        assert_eq!(set.page(9, u32::MAX, 2, false), page(None, true, false));
        assert_eq!(set.page(0, u32::MAX, 0, false).numbers, None);
        assert_eq!(PartSet::new().page(0, u32::MAX, 5, true), page(None, false, false));
    }

    #[test]
    fn foreign_bytes_are_not_a_set() {
        assert_eq!(PartSet::from_bytes(b"not a bitmap"), None);
        assert_eq!(PartSet::from_bytes(b""), None);
    }

    fn part_numbers() -> impl Strategy<Value = (BTreeSet<u32>, u32)> {
        prop_oneof![1u32..40, 65_500u32..65_600, 131_000u32..131_100].prop_flat_map(|total| {
            let low = total.saturating_sub(60).max(1);
            (proptest::collection::btree_set(low..=total, 0..60), Just(total))
        })
    }

    proptest! {
        #[test]
        fn ranges_are_sorted_disjoint_maximal_and_complete((numbers, total) in part_numbers()) {
            let set: PartSet = numbers.iter().copied().collect();
            let runs: Vec<_> = set.ranges().collect();
            for run in &runs {
                prop_assert!(run.first <= run.last);
            }
            for pair in runs.windows(2) {
                prop_assert!(pair[0].last + 1 < pair[1].first);
            }
            let back: BTreeSet<u32> = runs.iter().flat_map(|run| run.first..=run.last).collect();
            prop_assert_eq!(&back, &numbers);
            prop_assert_eq!(set.len() as usize, numbers.len());

            let missing: BTreeSet<u32> = set.missing(total).flat_map(|run| run.first..=run.last).collect();
            let expected: BTreeSet<u32> = (1..=total).filter(|n| !numbers.contains(n)).collect();
            prop_assert_eq!(missing, expected);
            let missing_runs: Vec<_> = set.missing(total).collect();
            for pair in missing_runs.windows(2) {
                prop_assert!(pair[0].last + 1 < pair[1].first);
            }
        }

        #[test]
        fn bytes_round_trip((numbers, _) in part_numbers()) {
            let set: PartSet = numbers.into_iter().collect();
            prop_assert_eq!(PartSet::from_bytes(&set.to_bytes()), Some(set));
        }

        #[test]
        fn inserting_one_by_one_in_any_order_gives_the_same_set(
            numbers in Just((1u32..=64).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let mut set = PartSet::new();
            for n in &numbers {
                prop_assert!(set.insert(*n));
                prop_assert!(!set.insert(*n));
            }
            prop_assert_eq!(set.to_string(), "1-64");
        }
    }
}
