//! The service over ranges and extents in memory.
