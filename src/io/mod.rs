//! Files: readers and writers (feature `io`).
//!
//! [`open`] recognises a file by its content and gives a [`DataFile`]: a list of data sets with their axes and
//! metadata, of which whole sets, parts, or frames are read. Nothing but headers is read before it is asked for, and no
//! more than what is asked for afterwards.
//!
//! ```no_run
//! use exitwave::io;
//! let file = io::open("scan.dm4")?;
//! for set in file.sets() {
//!     println!("{}: {:?} {}, {:?}", set.name, set.dims, set.dtype, set.axes);
//! }
//! let scan = file.scan(0)?;                              // frames for `stem` and `ptycho`
//! # Ok::<(), exitwave::Error>(())
//! ```
//!
//! Readers give an [`Array`] of whatever element type the file holds. Every size that a header states is compared with
//! the file's length before memory is allocated; an error names the file, the byte and the reason. Writers write under
//! a temporary name in the same folder and rename at the end, so that a failure never leaves half a file.
//!
//! | module | format | |
//! |---|---|---|
//! | [`open`] | DM3, DM4, MRC, MIB, EMPAD, SER/EMI, BLO, TVIPS, TIFF, MSA, MAT, Zarr, npy, npz, CIF, XYZ | read |
//! | [`open`] | HDF5 of Velox, NCEM, py4DSTEM, HyperSpy, Dectris, CXI, FPD and others | read |
//! | [`npy`] | NumPy arrays | read, write, frame by frame (read or mapped) |
//! | [`npz`] | archives of npy | read, write |
//! | [`hdf5`] | HDF5, any structure | read: list, attributes, whole sets, parts, frames |
//! | [`hdf5_write`] | HDF5 with calibrations (EMD) | write |
//! | [`mrc`] | MRC | write |
//! | [`tiff`] | 32-bit floating-point and 16-bit images and stacks | write |
//! | [`zarr`] | Zarr v3 | write |
//! | [`cif`], [`xyz`] | atoms | read |
//! | [`safetensors`] | named arrays, weights of networks | read, write |
//! | [`png`] | pictures of 8 bits a channel | write |
//! | [`save_state`], [`load_state`] | checkpoints of ptychography (npz) | read, write |

pub mod cif;
pub mod hdf5;
pub mod hdf5_write;
pub mod npy;
pub mod npz;
pub mod png;
pub mod safetensors;
pub mod tiff;
pub mod xyz;
pub mod zarr {
    //! Zarr v3 stores: writing. [`crate::io::open`] reads v2 and v3.
    pub use crate::io::zarr_store::write;
}
pub mod mrc {
    //! MRC files: writing. [`crate::io::open`] reads them.
    pub use crate::io::mrc_write::write;
}

mod array;
mod axis;
mod blo;
mod bytes;
mod coded;
mod data_file;
mod dm;
mod dm_tags;
mod empad;
mod file;
mod frame_writer;
mod frames;
mod hall;
mod hdf5_family;
mod hdf5_filters;
mod hdf5_frames;
mod hdf5_links;
mod hdf5_set;
mod hdf5_types;
mod hdf5_virtual;
mod layout;
mod mapping;
mod mat;
mod meta;
mod mib;
mod mrc_read;
mod mrc_write;
mod msa;
mod npy_frames;
mod ptycho_state;
mod recognise;
mod scan_file;
mod ser;
mod shortcuts;
mod structure;
mod symmetry;
mod tiff_read;
mod tvips;
mod velox;
mod xml;
mod zarr_store;

pub use array::{Array, ArrayRef, NpyElement};
pub use axis::{Axis, Quantity};
pub use data_file::{Access, DataFile, OpenParams, SetInfo, open, open_with, parse};
pub use frame_writer::{FrameWriter, Unfinished};
pub use frames::SetFrames;
pub use meta::Meta;
pub use ptycho_state::{load_state, save_state};
pub use scan_file::{ScanCounts, ScanFile, ScanFileParams, write_scan};
pub use shortcuts::{Image, Scan4d, SpectrumImage, Stack, TiltSeries};
