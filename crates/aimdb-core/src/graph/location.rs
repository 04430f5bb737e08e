//! Where in the source code a graph was declared.
//!
//! The crate decides here, and nowhere else, whether locations are recorded. With the feature `std` they are. Without
//! it, both types have no size and no content, because the paths of source files would fill a microcontroller's flash.

use alloc::vec::Vec;
use core::fmt;

/// The place in the source code of one call: file, line and column.
///
/// It is unknown without the feature `std`, and for a graph that is declared
/// [without locations](crate::AimDbBuilder::without_locations). Nodes of a graph and findings ignore locations when
/// they are compared: a graph that is declared on other lines is still the same graph.
///
/// ```
/// use aimdb_core::graph::Location;
///
/// let here = Location::caller();
/// # #[cfg(feature = "std")]
/// assert_eq!(here.panic_location().unwrap().file(), file!());
/// assert!(Location::UNKNOWN.panic_location().is_none());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location(recorded::Place);

impl Location {
    /// A location of which nothing is known.
    pub const UNKNOWN: Self = Self(recorded::UNKNOWN);

    /// The caller of the function that calls this; for a `#[track_caller]` function, the caller of that function.
    #[must_use]
    #[track_caller]
    pub const fn caller() -> Self {
        Self(recorded::caller())
    }

    /// The location as the standard library's type, if it is known.
    #[must_use]
    pub const fn panic_location(self) -> Option<&'static core::panic::Location<'static>> {
        recorded::panic_location(self.0)
    }
}

/// `src/main.rs:14:14`, or `unknown`.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.panic_location() {
            Some(location) => fmt::Display::fmt(location, f),
            None => f.write_str("unknown"),
        }
    }
}

/// Known locations, each once, in the order of file, line and column.
///
/// The order of registration does not show in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locations(recorded::List);

impl Locations {
    /// The locations that `collect` pushes. Where locations are not recorded, `collect` is never called.
    pub(crate) fn collect(collect: impl FnOnce(&mut Vec<Location>)) -> Self {
        Self(recorded::collect(collect))
    }

    /// Adds `location`, if it is known.
    pub(crate) fn insert(&mut self, location: Location) {
        self.merge(&location.into());
    }

    /// Adds all of `others`.
    pub(crate) fn merge(&mut self, others: &Self) {
        recorded::merge(&mut self.0, &others.0);
    }

    /// The locations as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[Location] {
        recorded::as_slice(&self.0)
    }

    /// The locations, one after the other.
    pub fn iter(&self) -> core::slice::Iter<'_, Location> {
        self.as_slice().iter()
    }

    /// Whether no location is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl From<Location> for Locations {
    fn from(location: Location) -> Self {
        Self::collect(|all| all.push(location))
    }
}

impl<'l> IntoIterator for &'l Locations {
    type Item = &'l Location;
    type IntoIter = core::slice::Iter<'l, Location>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Locations {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(alloc::string::ToString::to_string))
    }
}

/// Locations are recorded.
#[cfg(feature = "std")]
mod recorded {
    use super::Location;
    use alloc::vec::Vec;

    pub(super) type Place = Option<&'static core::panic::Location<'static>>;
    pub(super) type List = Vec<Location>;

    pub(super) const UNKNOWN: Place = None;

    #[track_caller]
    pub(super) const fn caller() -> Place {
        Some(core::panic::Location::caller())
    }

    pub(super) const fn panic_location(place: Place) -> Place {
        place
    }

    pub(super) fn collect(collect: impl FnOnce(&mut Vec<Location>)) -> List {
        let mut all = List::new();
        collect(&mut all);
        all.retain(|location| location.0.is_some());
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) fn merge(list: &mut List, others: &List) {
        *list = collect(|all| {
            all.append(list);
            all.extend(others);
        });
    }

    pub(super) fn as_slice(list: &List) -> &[Location] {
        list
    }
}

/// Locations are not recorded. Everything here compiles to nothing.
#[cfg(not(feature = "std"))]
mod recorded {
    use super::Location;
    use alloc::vec::Vec;

    pub(super) type Place = ();
    pub(super) type List = ();

    pub(super) const UNKNOWN: Place = ();

    pub(super) const fn caller() -> Place {}

    pub(super) const fn panic_location(
        _place: Place,
    ) -> Option<&'static core::panic::Location<'static>> {
        None
    }

    pub(super) fn collect(_collect: impl FnOnce(&mut Vec<Location>)) -> List {}

    pub(super) fn merge(_list: &mut List, _others: &List) {}

    pub(super) fn as_slice(_list: &List) -> &[Location] {
        &[]
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::{Location, Locations};
    use alloc::string::ToString;

    #[test]
    fn locations_are_sorted_and_each_is_kept_once() {
        let (first, second) = (Location::caller(), Location::caller());
        let sorted = Locations::collect(|all| all.extend([first, second]));
        let mut others = Locations::collect(|all| all.extend([second, Location::UNKNOWN, second]));
        others.insert(first);
        assert_eq!(others, sorted);
        assert_eq!(others.as_slice(), [first, second]);
    }

    #[test]
    fn a_location_prints_as_file_line_and_column() {
        let (location, line) = (Location::caller(), line!());
        assert_eq!(location.to_string(), alloc::format!("{}:{line}:33", file!()));
        assert_eq!(Location::UNKNOWN.to_string(), "unknown");
        assert!(Locations::from(Location::UNKNOWN).is_empty());
    }
}
