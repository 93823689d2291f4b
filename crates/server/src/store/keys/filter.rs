//! Bloom filters: which segments cannot have a key.
//!
//! Owns their stored form, and how those of finished segments lie in memory: bit by bit beside one another, so that eight looks into memory
//! answer for sixty-four segments.

/// Bits of a filter for each key: one key in about 60,000 is looked up in a segment in vain; with half of them it is one in
/// 1,000.
const BITS: usize = 32;
/// Bytes of a filter's block. All bits of a key are in one block.
const BLOCK: usize = 64;

/// Where a key's bits are: a number that says the block, and eight numbers of a bit in it.
pub struct Probes(pub u64, pub [u16; 8]);

impl Probes {
    fn block(&self, blocks: usize) -> usize {
        (self.0 % blocks.max(1) as u64) as usize
    }
}

/// The filter of one segment, as it is stored.
pub struct Filter(pub Vec<u8>);

impl Filter {
    /// One for so many keys. Their number is rounded, so that the filters of full segments are of one size.
    pub fn new(keys: usize) -> Filter {
        let blocks = (keys * BITS / 8 / BLOCK).max(1);
        Filter(vec![0; BLOCK << blocks.ilog2()])
    }

    pub fn add(&mut self, probes: &Probes) {
        let start = probes.block(self.0.len() / BLOCK) * BLOCK;
        probes.1.iter().for_each(|bit| self.0[start + usize::from(bit / 8)] |= 1 << (bit % 8));
    }

    fn may_have(&self, probes: &Probes) -> bool {
        let start = probes.block(self.0.len() / BLOCK) * BLOCK;
        let block = self.0.get(start..start + BLOCK);
        block
            .is_some_and(|block| probes.1.iter().all(|bit| block[usize::from(bit / 8)] & 1 << (bit % 8) != 0))
    }
}

/// The filters of the segments 1, 2, 3, …; the last one may be of a segment that is being written.
#[derive(Default)]
pub struct Filters {
    groups: Vec<Group>,
    finished: i64,
    last: Option<Filter>,
}

/// Up to sixty-four filters of one size: a word has the same bit of each.
struct Group {
    words: Vec<u64>,
    count: u32,
}

impl Filters {
    /// How many segments there are.
    pub fn count(&self) -> i64 {
        self.finished + i64::from(self.last.is_some())
    }

    /// How many of them are finished.
    pub fn finished(&self) -> i64 {
        self.finished
    }

    /// Whether a segment is being written.
    pub fn is_open(&self) -> bool {
        self.last.is_some()
    }

    /// The filter of the segment that is being written.
    pub fn last(&mut self) -> Option<&mut Filter> {
        self.last.as_mut()
    }

    /// Begins a segment of so many keys.
    pub fn begin(&mut self, keys: usize) {
        self.finish();
        self.last = Some(Filter::new(keys));
    }

    /// The segment that was being written is finished.
    pub fn finish(&mut self) {
        self.last.take().into_iter().for_each(|filter| self.add(&[filter]));
    }

    /// Adds segments that are finished.
    pub fn add(&mut self, filters: &[Filter]) {
        let mut left = filters;
        while let Some(Filter(first)) = left.first() {
            let words = first.len() * 8;
            let has_room = |group: &&mut Group| group.count < u64::BITS && group.words.len() == words;
            if self.groups.last_mut().filter(has_room).is_none() {
                self.groups.push(Group { words: vec![0; words], count: 0 });
            }
            let group = self.groups.last_mut().expect("pushed when there was no room");
            let room = ((u64::BITS - group.count) as usize).min(8);
            let fit = left.iter().take(room).take_while(|filter| filter.0.len() == first.len()).count();
            group.add(&left[..fit]);
            left = &left[fit..];
        }
        self.finished += filters.len() as i64;
    }

    /// The segments that may have a key.
    pub fn may_have(&self, probes: &Probes) -> impl Iterator<Item = i64> {
        let being_written = self.last.as_ref().filter(|filter| filter.may_have(probes));
        let being_written = being_written.map(|_| self.count());
        let mut first = 1;
        let finished = self.groups.iter().flat_map(move |group| {
            let (found, begins) = (group.segments(probes), first);
            first += i64::from(group.count);
            (0..i64::from(u64::BITS)).filter(move |bit| found >> bit & 1 != 0).map(move |bit| begins + bit)
        });
        finished.chain(being_written)
    }
}

impl Group {
    /// Adds up to eight filters, for which there is room.
    fn add(&mut self, filters: &[Filter]) {
        for (at, words) in self.words.chunks_exact_mut(8).enumerate() {
            let bytes = filters.iter().enumerate().map(|(row, filter)| u64::from(filter.0[at]) << (8 * row));
            let turned = turned(bytes.sum()).to_le_bytes();
            words.iter_mut().zip(turned).for_each(|(word, bits)| *word |= u64::from(bits) << self.count);
        }
        self.count += filters.len() as u32;
    }

    fn segments(&self, probes: &Probes) -> u64 {
        let start = probes.block(self.words.len() / (8 * BLOCK)) * 8 * BLOCK;
        let Some(block) = self.words.get(start..start + 8 * BLOCK) else { return 0 };
        probes.1.iter().fold(u64::MAX, |found, bit| found & block[usize::from(*bit)])
    }
}

/// Eight rows of eight bits as columns.
fn turned(mut bits: u64) -> u64 {
    for (by, mask) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)] {
        let swapped = (bits ^ bits >> by) & mask;
        bits ^= swapped ^ swapped << by;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(key: u64) -> Probes {
        let spread = |turn: u64| {
            let hash = <sha2::Sha256 as sha2::Digest>::digest((16 * key + turn).to_be_bytes());
            u64::from_be_bytes(std::array::from_fn(|byte| hash[byte]))
        };
        Probes(spread(0), std::array::from_fn(|bit| (spread(bit as u64 + 1) % 512) as u16))
    }

    /// 150 segments of different sizes, the last one open: together they say what each of them says alone.
    #[test]
    fn filters_beside_one_another_say_what_each_says_alone() {
        let (mut filters, mut alone, mut keys) = (Filters::default(), Vec::new(), 0..);
        for segment in 0..150 {
            let size = if segment % 50 < 45 { 40 } else { 400 };
            filters.begin(size);
            let mut filter = Filter::new(size);
            for key in keys.by_ref().take(size) {
                filter.add(&probes(key));
                filters.last().expect("begun").add(&probes(key));
            }
            alone.push(filter);
        }
        assert_eq!((filters.count(), filters.finished, filters.is_open()), (150, 149, true));
        // As a start reads them: eight at a time, where size and number allow it.
        let mut read = Filters::default();
        read.add(&alone[..3]);
        read.add(&alone[3..149]);
        assert_eq!((read.count(), read.is_open()), (149, false));
        let (mut had, next) = (0, keys.start);
        for key in 0..2 * next {
            let probes = probes(key);
            let each: Vec<i64> = (1..)
                .zip(&alone)
                .filter(|(_, filter)| filter.may_have(&probes))
                .map(|(segment, _)| segment)
                .collect();
            assert_eq!(filters.may_have(&probes).collect::<Vec<_>>(), each, "key {key}");
            let finished = each.iter().copied().filter(|segment| *segment < 150);
            assert!(read.may_have(&probes).eq(finished), "key {key}");
            assert!(key >= next || !each.is_empty(), "key {key} is in one of them");
            had += each.len() as u64;
        }
        assert!(had < 2 * next, "they say yes to everything");
    }
}
