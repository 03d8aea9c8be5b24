//! Backends by their place in the fleet, and sets of them as bits.

/// A chain has at most this many backends: sets of them are bits of a `u64`.
pub const BACKENDS_MAX: usize = 64;

/// A backend's place in its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendIndex(u8);

impl BackendIndex {
    /// The place at this position, which must lie below [`BACKENDS_MAX`].
    pub(crate) fn at(position: usize) -> Self {
        debug_assert!(position < BACKENDS_MAX);
        Self(position as u8)
    }

    /// The position in the order of the configuration.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// A set of backends of one fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendSet(u64);

impl BackendSet {
    /// Adds one.
    pub fn insert(&mut self, backend: BackendIndex) {
        self.0 |= 1 << backend.0;
    }

    /// Takes one out.
    pub fn remove(&mut self, backend: BackendIndex) {
        self.0 &= !(1 << backend.0);
    }

    /// Whether it is in the set.
    pub fn contains(self, backend: BackendIndex) -> bool {
        self.0 & (1 << backend.0) != 0
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether everybody in it is in the other one too.
    pub fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// How many are in the set.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether nobody is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Everyone in it, in the order of the configuration.
    pub fn iter(self) -> impl Iterator<Item = BackendIndex> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let first = (left != 0).then(|| BackendIndex(left.trailing_zeros() as u8));
            left &= left.wrapping_sub(1);
            first
        })
    }
}

impl FromIterator<BackendIndex> for BackendSet {
    fn from_iter<I: IntoIterator<Item = BackendIndex>>(backends: I) -> Self {
        let mut set = Self::default();
        backends.into_iter().for_each(|backend| set.insert(backend));
        set
    }
}
