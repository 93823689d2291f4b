//! The bytes of an entry, read and written by the test's own means: the documented form, without the store's code.

/// An entry, taken apart. Hold and times are no distances here.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub kind: u8,
    pub seq: i64,
    pub at: i64,
    pub amount: i64,
    pub available: i64,
    pub balance: i64,
    /// Grant, both buckets, credits.
    pub postings: Vec<(i64, u8, i64)>,
    pub grant: Option<i64>,
    pub hold: Option<i64>,
    /// Operation; quantity, unit price, version.
    pub price: Option<(Vec<u8>, [i64; 3])>,
    pub until: Option<i64>,
    /// Credits, kind, priority, effective time.
    pub terms: Option<[i64; 4]>,
    pub release: Option<i64>,
    /// Epoch, attempted, debt.
    pub odd: [i64; 3],
    pub actor: Vec<u8>,
    pub note: Option<[u8; 32]>,
}

impl Entry {
    pub fn parse(bytes: &[u8]) -> Entry {
        let mut bytes = Bytes(bytes);
        let [1, kind, high, low] = bytes.array() else { panic!("not version 1") };
        let flags = u16::from_be_bytes([high, low]);
        let [seq, at, amount, available, balance, count] = std::array::from_fn(|_| bytes.int());
        let postings = (0..count).map(|_| (bytes.int(), bytes.array::<1>()[0], bytes.int())).collect();
        let mut has = {
            let mut bit = 0;
            move || {
                bit += 1;
                flags & (1 << (bit - 1)) != 0
            }
        };
        let grant = has().then(|| bytes.int());
        let hold = has().then(|| seq - bytes.int());
        let price = has().then(|| (bytes.blob().to_vec(), std::array::from_fn(|_| bytes.int())));
        let until = has().then(|| at + bytes.int());
        let terms = has().then(|| [bytes.int(), bytes.int(), bytes.int(), at + bytes.int()]);
        let release = has().then(|| bytes.int());
        let noted = has();
        let odd = std::array::from_fn(|_| if has() { bytes.int() } else { 0 });
        let actor = bytes.blob().to_vec();
        let note = noted.then(|| bytes.array());
        assert!(bytes.0.is_empty(), "more follows");
        Entry {
            kind,
            seq,
            at,
            amount,
            available,
            balance,
            postings,
            grant,
            hold,
            price,
            until,
            terms,
            release,
            odd,
            actor,
            note,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let present = [
            self.grant.is_some(),
            self.hold.is_some(),
            self.price.is_some(),
            self.until.is_some(),
            self.terms.is_some(),
            self.release.is_some(),
            self.note.is_some(),
            self.odd[0] != 0,
            self.odd[1] != 0,
            self.odd[2] != 0,
        ];
        let flags = present.iter().enumerate().fold(0_u16, |flags, (bit, is)| flags | u16::from(*is) << bit);
        let mut bytes = [&[1, self.kind][..], &flags.to_be_bytes()].concat();
        let fixed = [self.seq, self.at, self.amount, self.available, self.balance];
        let ints = |bytes: &mut Vec<u8>, ints: &[i64]| ints.iter().for_each(|int| put_int(bytes, *int));
        ints(&mut bytes, &fixed);
        put_int(&mut bytes, self.postings.len() as i64);
        for (grant, buckets, credits) in &self.postings {
            put_int(&mut bytes, *grant);
            bytes.push(*buckets);
            put_int(&mut bytes, *credits);
        }
        ints(&mut bytes, self.grant.as_slice());
        ints(&mut bytes, self.hold.map(|hold| self.seq - hold).as_slice());
        if let Some((operation, numbers)) = &self.price {
            put_blob(&mut bytes, operation);
            ints(&mut bytes, numbers);
        }
        ints(&mut bytes, self.until.map(|until| until - self.at).as_slice());
        if let Some([credits, kind, priority, effective]) = self.terms {
            ints(&mut bytes, &[credits, kind, priority, effective - self.at]);
        }
        ints(&mut bytes, self.release.as_slice());
        self.odd.iter().filter(|odd| **odd != 0).for_each(|odd| put_int(&mut bytes, *odd));
        put_blob(&mut bytes, &self.actor);
        bytes.extend(self.note.iter().flatten());
        bytes
    }
}

pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let (array, rest) = self.0.split_first_chunk().expect("bytes");
        self.0 = rest;
        *array
    }

    pub fn int(&mut self) -> i64 {
        let (mut int, mut shift) = (0_u64, 0);
        loop {
            let [byte] = self.array();
            int |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return (int >> 1) as i64 ^ -((int & 1) as i64);
            }
            shift += 7;
        }
    }

    pub fn blob(&mut self) -> &'a [u8] {
        let length = usize::try_from(self.int()).expect("a length");
        let (blob, rest) = self.0.split_at(length);
        self.0 = rest;
        blob
    }
}

pub fn put_int(bytes: &mut Vec<u8>, int: i64) {
    let mut rest = (int << 1 ^ int >> 63) as u64;
    while rest > 0x7f {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

pub fn put_blob(bytes: &mut Vec<u8>, blob: &[u8]) {
    put_int(bytes, blob.len() as i64);
    bytes.extend(blob);
}
