//! Written later in this series.
