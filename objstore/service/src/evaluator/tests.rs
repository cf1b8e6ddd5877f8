//! Evaluators over rows in memory.
