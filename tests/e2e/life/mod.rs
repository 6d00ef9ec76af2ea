//! The life of the process: start, configuration, signals, limits, logs.
