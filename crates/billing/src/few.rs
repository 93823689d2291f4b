//! A list that nearly always has one item, which then needs no allocation.
//!
//! Nearly every charge is paid by one grant and makes one entry; a vector for each would be most of what a decision costs.

use alloc::vec::Vec;
use core::fmt;
use core::ops::{Deref, DerefMut};

/// A list with room for one item in place.
#[derive(Clone)]
pub struct Few<T>(Items<T>);

#[derive(Clone)]
enum Items<T> {
    One([T; 1]),
    Any(Vec<T>),
}

impl<T> Few<T> {
    /// Adds an item at the end.
    pub fn push(&mut self, item: T) {
        self.0 = match core::mem::replace(&mut self.0, Items::Any(Vec::new())) {
            Items::One([first]) => Items::Any(Vec::from([first, item])),
            Items::Any(items) if items.is_empty() => Items::One([item]),
            Items::Any(mut items) => {
                items.push(item);
                Items::Any(items)
            }
        };
    }
}

impl<T> Default for Few<T> {
    fn default() -> Few<T> {
        Few(Items::Any(Vec::new()))
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Items::One(item) => item,
            Items::Any(items) => items,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Items::One(item) => item,
            Items::Any(items) => items,
        }
    }
}

impl<T> Extend<T> for Few<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Few<T> {
        let mut few = Few::default();
        few.extend(items);
        few
    }
}

impl<T> IntoIterator for Few<T> {
    type Item = T;
    type IntoIter = core::iter::Chain<core::option::IntoIter<T>, alloc::vec::IntoIter<T>>;

    fn into_iter(self) -> Self::IntoIter {
        let (first, rest) = match self.0 {
            Items::One([item]) => (Some(item), Vec::new()),
            Items::Any(items) => (None, items),
        };
        first.into_iter().chain(rest)
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Few<T>) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T: fmt::Debug> fmt::Debug for Few<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_was_put_into_it() {
        for count in 0..5 {
            let few: Few<usize> = (0..count).collect();
            let expected: Vec<usize> = (0..count).collect();
            assert_eq!(*few, *expected);
            assert_eq!(alloc::format!("{few:?}"), alloc::format!("{expected:?}"));
            assert_eq!(few, few.clone());
            assert_eq!(few.clone().into_iter().collect::<Vec<_>>(), expected);
            let mut more = few.clone();
            more.push(count);
            assert_ne!(few, more);
        }
    }
}
