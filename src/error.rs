//! The one error type of the crate.

use std::fmt;
use std::path::PathBuf;

/// What went wrong, with the numbers needed to put it right.
///
/// Constructors, parsers and everything that meets a user's data return `Result<_, Error>`. Hot loops do not: a slice
/// of the wrong length there is a programming error and panics, as documented under `# Panics`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A parameter is outside its range.
    Param {
        /// Name of the parameter, as in its struct or function.
        name: &'static str,
        /// The value that was given, printed.
        got: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// Dimensions do not fit together.
    Shape {
        /// The operation that was asked for.
        op: &'static str,
        /// The dimensions it needs.
        expected: Vec<usize>,
        /// The dimensions it was given.
        got: Vec<usize>,
    },
    /// A value in the data cannot be used (NaN, a negative count, a sum of zero).
    Data {
        /// What is wrong with the value.
        what: String,
        /// Flat index of the first such value.
        index: usize,
    },
    /// A file is not what its format says it must be.
    Format {
        /// Short name of the format: `"npy"`, `"npz"`, `"hdf5"`, …
        format: &'static str,
        /// The file, empty when the bytes came from memory.
        path: PathBuf,
        /// Byte offset at which reading failed.
        offset: u64,
        /// What was found and what was expected.
        reason: String,
    },
    /// The input is legal, but this version cannot treat it.
    Unsupported {
        /// What is missing.
        what: String,
    },
    /// The operating system reported an error.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The plan would need more memory than its limit allows; nothing was allocated.
    OverBudget {
        /// Bytes the plan would need.
        needed: u64,
        /// Bytes its `Limits` allow.
        budget: u64,
    },
    /// The allocator refused.
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: u64,
    },
    /// A computation produced NaN or infinity.
    NotFinite {
        /// Where: the name of the quantity.
        node: String,
        /// At which iteration.
        step: usize,
    },
    /// A checkpoint does not belong to this plan.
    Checkpoint {
        /// What this plan expects.
        expected: String,
        /// What the checkpoint holds.
        got: String,
    },
    /// A node of a computation graph cannot be recorded, planned or run.
    Node {
        /// The node's name, or the operation with the names of its operands.
        node: String,
        /// What is wrong with it.
        source: Box<Error>,
    },
}

impl Error {
    /// A parameter outside its range: `Error::param("dose", d, "a positive number")`.
    pub fn param(name: &'static str, got: impl fmt::Display, expected: &'static str) -> Self {
        Error::Param { name, got: got.to_string(), expected }
    }

    /// Dimensions that do not fit.
    pub fn shape(op: &'static str, expected: &[usize], got: &[usize]) -> Self {
        Error::Shape { op, expected: expected.to_vec(), got: got.to_vec() }
    }

    /// An error of the operating system on `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }

    /// An error at a node of a graph.
    pub(crate) fn node(node: impl Into<String>, source: Error) -> Self {
        Error::Node { node: node.into(), source: Box::new(source) }
    }

    /// A malformed file.
    pub fn format(format: &'static str, path: impl Into<PathBuf>, offset: u64, reason: impl fmt::Display) -> Self {
        Error::Format { format, path: path.into(), offset, reason: reason.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Param { name, got, expected } => write!(f, "parameter `{name}` is {got}, expected {expected}"),
            Error::Shape { op, expected, got } => write!(f, "{op}: expected shape {expected:?}, got {got:?}"),
            Error::Data { what, index } => write!(f, "data: {what} at index {index}"),
            Error::Format { format, path, offset, reason } if path.as_os_str().is_empty() => {
                write!(f, "{format} at byte {offset}: {reason}")
            }
            Error::Format { format, path, offset, reason } => {
                write!(f, "{}: {format} at byte {offset}: {reason}", path.display())
            }
            Error::Unsupported { what } => write!(f, "not supported: {what}"),
            Error::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Error::OverBudget { needed, budget } => {
                write!(f, "needs {needed} bytes of memory, the limit is {budget} (raise `limits.bytes`)")
            }
            Error::OutOfMemory { bytes } => write!(f, "could not allocate {bytes} bytes"),
            Error::NotFinite { node, step } => write!(f, "`{node}` is not finite at step {step}"),
            Error::Checkpoint { expected, got } => write!(f, "checkpoint: expected {expected}, got {got}"),
            Error::Node { node, source } => write!(f, "node `{node}`: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Node { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Panics of hot loops: a slice whose length does not fit the plan.
///
/// # Panics
/// Always, naming the operation, the argument and both lengths.
#[cold]
#[inline(never)]
#[track_caller]
pub(crate) fn length_mismatch(op: &str, argument: &str, expected: usize, got: usize) -> ! {
    panic!("{op}: `{argument}` must have length {expected}, got {got}")
}

/// Checks a slice length in a hot loop.
#[inline]
#[track_caller]
pub(crate) fn check_len(op: &str, argument: &str, expected: usize, got: usize) {
    if expected != got {
        length_mismatch(op, argument, expected, got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_the_numbers() {
        let e = Error::shape("conv2d", &[3, 4], &[3, 5]);
        assert_eq!(e.to_string(), "conv2d: expected shape [3, 4], got [3, 5]");
        let e = Error::param("dose", -1.0, "a positive number");
        assert_eq!(e.to_string(), "parameter `dose` is -1, expected a positive number");
        let e = Error::format("npy", "a.npy", 6, "version 9");
        assert_eq!(e.to_string(), "a.npy: npy at byte 6: version 9");
    }

    #[test]
    fn the_error_can_cross_threads() {
        fn check<T: Send + Sync + 'static>() {}
        check::<Error>();
    }
}
