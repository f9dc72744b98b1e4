//! Files: readers and writers.
