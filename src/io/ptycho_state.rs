//! Checkpoints of ptychography: a [`State`] as an npz archive.

use std::path::Path;

use num_complex::Complex;

use crate::error::Error;
use crate::io::npz::{self, Npz};
use crate::io::{ArrayRef, NpyElement};
use crate::ptycho::State;
use crate::real::Real;
use crate::tensor::Tensor;

/// Writes everything that an iteration needs: `object` (height, width), `probe` (modes, ny, nx), `positions` (n, 2),
/// `iteration` (1), `loss` (iterations), `memory` of the optimizer. The names are those in the file, which numpy opens.
///
/// # Errors
/// [`Error::Io`]; a file that was there before stays whole then.
pub fn save_state<T: Real + NpyElement>(path: impl AsRef<Path>, state: &State<T>) -> Result<(), Error>
where
    Complex<T>: NpyElement,
{
    let positions = Tensor::from_vec(&[state.positions.len(), 2], state.positions.as_flattened().to_vec())?;
    let iteration = Tensor::from_vec(&[1], vec![state.iteration as u64])?;
    let loss = Tensor::from_vec(&[state.loss.len()], state.loss.clone())?;
    let memory = Tensor::from_vec(&[state.memory.len()], state.memory.clone())?;
    npz::write(
        path,
        &[
            ("object", ArrayRef::from(&state.object)),
            ("probe", ArrayRef::from(&state.probe)),
            ("positions", ArrayRef::from(&positions)),
            ("iteration", ArrayRef::from(&iteration)),
            ("loss", ArrayRef::from(&loss)),
            ("memory", ArrayRef::from(&memory)),
        ],
    )
}

/// Reads what [`save_state`] wrote: a run that goes on from it gives the same bits as one that was never interrupted.
///
/// Whether it belongs to a plan is for [`crate::ptycho::Ptychography::run`] to say.
///
/// # Errors
/// [`Error::Io`], [`Error::Format`] for a file that is no such archive, [`Error::Checkpoint`] for arrays of other
/// shapes or a file of the other scalar.
pub fn load_state<T: Real>(path: impl AsRef<Path>) -> Result<State<T>, Error> {
    let file = Npz::open(path)?;
    let wrong = |expected: &str, got: String| Error::Checkpoint { expected: expected.into(), got };
    let complex = |name: &str, axes: usize| -> Result<Tensor<Complex<T>>, Error> {
        let array = file.get(name)?;
        let wanted = if T::NAME == "f32" { "complex<f32>" } else { "complex<f64>" };
        if array.dims().len() != axes || array.dtype() != wanted {
            let expected = format!("`{name}` with {axes} axes of {wanted}");
            return Err(wrong(&expected, format!("{:?} of {}", array.dims(), array.dtype())));
        }
        array.into_complex()
    };
    let (object, probe) = (complex("object", 2)?, complex("probe", 3)?);
    let positions = file.get("positions")?.into_real::<f64>()?;
    if !matches!(*positions.dims(), [_, 2]) {
        return Err(wrong("`positions` (n, 2)", format!("{:?}", positions.dims())));
    }
    let iteration = file.get("iteration")?.into_real::<f64>()?;
    let &[iteration] = iteration.as_slice() else {
        return Err(wrong("`iteration`, one number", format!("{:?}", iteration.dims())));
    };
    Ok(State {
        object,
        probe,
        positions: positions.as_slice().chunks(2).map(|p| [p[0], p[1]]).collect(),
        iteration: iteration as usize,
        loss: file.get("loss")?.into_real::<f64>()?.into_vec(),
        memory: file.get("memory")?.into_real::<T>()?.into_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State<f32> {
        State {
            object: Tensor::from_fn(&[3, 4], |i| Complex::new(i[0] as f32, -(i[1] as f32))),
            probe: Tensor::from_fn(&[2, 2, 2], |i| Complex::new(0.1 * i[0] as f32, i[2] as f32)),
            positions: vec![[0.25, 1.0], [1.0 / 3.0, 0.0]],
            iteration: 7,
            loss: vec![0.5, 0.1],
            memory: vec![1.5; 5],
        }
    }

    #[test]
    fn a_state_is_read_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.npz");
        save_state(&path, &state()).unwrap();
        assert_eq!(load_state::<f32>(&path).unwrap(), state());
        let empty = State { loss: vec![], memory: vec![], ..state() };
        save_state(&path, &empty).unwrap();
        assert_eq!(load_state::<f32>(&path).unwrap(), empty);
    }

    #[test]
    fn another_scalar_or_another_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.npz");
        save_state(&path, &state()).unwrap();
        assert!(matches!(load_state::<f64>(&path), Err(Error::Checkpoint { .. })));
        let other = Tensor::from_vec(&[1], vec![1.0f32]).unwrap();
        npz::write(&path, &[("object", ArrayRef::from(&other))]).unwrap();
        assert!(load_state::<f32>(&path).is_err());
        assert!(load_state::<f32>(folder.path().join("absent.npz")).is_err());
    }
}
