//! Files: readers and writers (feature `io`).
//!
//! Readers give an [`Array`] of whatever element type the file holds. Every size that a header states is compared with the
//! file's length before memory is allocated; an error names the file, the byte and the reason. Writers write under a temporary
//! name in the same folder and rename at the end, so that a failure never leaves half a file.
//!
//! | module | format | |
//! |---|---|---|
//! | [`npy`] | NumPy arrays | read, write, frame by frame (read or mapped) |
//! | [`npz`] | archives of npy | read, write |
//! | [`hdf5`] | HDF5, any structure | read: list, attributes, whole sets, parts, frames |
//! | [`tiff`] | 32-bit floating-point images and stacks | write |
//! | [`png`] | pictures of 8 bits a channel | write |
//! | [`save_state`], [`load_state`] | checkpoints of ptychography (npz) | read, write |

pub mod hdf5;
pub mod npy;
pub mod npz;
pub mod png;
pub mod tiff;

mod array;
mod file;
mod hdf5_filters;
mod hdf5_frames;
mod hdf5_links;
mod hdf5_types;
mod mapping;
mod npy_frames;
mod ptycho_state;

pub use array::{Array, ArrayRef, NpyElement};
pub use ptycho_state::{load_state, save_state};
