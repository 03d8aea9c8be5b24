//! K4: the tier on disk.
