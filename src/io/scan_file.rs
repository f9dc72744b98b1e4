//! A simulated 4D-STEM scan that is larger than memory, straight to disk.

use std::path::Path;

use crate::error::Error;
use crate::fft::fft_shift;
use crate::io::{FrameWriter, Unfinished};
use crate::multislice::{Multislice, Transmission};
use crate::observe::{Observer, Step, Stop, silent};
use crate::optics::Probe;
use crate::rng;
use crate::shape::{Limits, checked_len, try_zeroed};
use crate::units::Length;

/// Counting of a simulated scan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScanCounts {
    /// Electrons a position: the dose times the area of a step.
    pub electrons: f64,
    /// Seed; frame i draws from stream i.
    pub seed: u64,
}

/// Parameters of [`write_scan`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ScanFileParams {
    /// `[scan_y, scan_x]`.
    pub scan: [usize; 2],
    /// Poisson counts; `None`: expected intensities, of sum 1 a pattern.
    pub counts: Option<ScanCounts>,
    /// What is done about an unfinished file.
    pub unfinished: Unfinished,
    /// Bytes that all may take together, transmissions and what [`Multislice`] works in included.
    pub limits: Limits,
}

/// How far [`write_scan`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanFile {
    /// Frames on disk.
    pub written: usize,
    /// Frames that are held in memory together.
    pub batch: usize,
    /// [`Stop::Cancelled`] when the observer ended it: the file is unfinished then, and can be continued.
    pub stop: Stop,
}

/// Simulates a scan into an npy file `[scan_y, scan_x, det_y, det_x]`, within a memory budget.
///
/// The positions are taken in batches that fit the budget; the intensities of each batch are averaged over the transmissions (frozen phonons), counted
/// if wished, brought to the detector's order (direct beam in the middle) and written. The frames do not depend on the batches: a run that
/// was cancelled, or ended by force, and was continued writes the same bytes as one that was not. That the file belongs to the same specimen
/// is the caller's word.
///
/// `observe` is called after each batch with the frames on disk; its break ends the run, and keeps what is written.
///
/// # Errors
/// [`Error::OverBudget`] when not even one pattern fits beside transmissions and workspace, [`Error::Param`] for no transmission, or counts of a
/// negative number of electrons, [`Error::Shape`] for other positions than the scan has, and those of [`Multislice::scan`] and
/// [`FrameWriter`].
///
/// # Examples
/// ```
/// use exitwave::io::{ScanFileParams, npy::NpyFrames, write_scan};
/// use exitwave::multislice::{Multislice, MultisliceParams};
/// use exitwave::observe::silent;
/// use exitwave::optics::{Grid, Probe, ProbeParams};
/// use exitwave::source::FrameSource;
/// use exitwave::specimen::{PotentialParams, PotentialPlan, crystals};
/// use exitwave::units::Length;
///
/// let sto = crystals::strontium_titanate().repeated([2, 2, 1])?;
/// let grid = Grid { dims: [32, 32], sampling: [Length::angstrom(2.0 * 3.905 / 32.0); 2] };
/// let v = PotentialPlan::<f32>::new(&sto, &PotentialParams { grid, ..Default::default() })?.build()?;
/// let multislice =
///     Multislice::new(&MultisliceParams { grid, thickness: v.thickness.clone(), ..Default::default() })?;
/// let t = multislice.transmission(&v)?;
/// let probe = Probe::new(&ProbeParams { grid, ..Default::default() })?;
/// let positions: Vec<_> = (0..6).map(|i| [Length::angstrom(0.5 * f64::from(i / 3)), Length::angstrom(0.5 * f64::from(i % 3))]).collect();
/// let path = std::env::temp_dir().join(format!("exitwave-scan-{}.npy", std::process::id()));
/// let params = ScanFileParams { scan: [2, 3], ..Default::default() };
/// write_scan(&path, &multislice, &[t], &probe, &positions, &params, &mut silent)?;
/// assert_eq!(NpyFrames::open(&path)?.shape(), [2, 3, 32, 32]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn write_scan(
    path: impl AsRef<Path>,
    multislice: &Multislice<f32>,
    transmissions: &[Transmission<f32>],
    probe: &Probe<f32>,
    positions: &[[Length; 2]],
    params: &ScanFileParams,
    observe: Observer<'_>,
) -> Result<ScanFile, Error> {
    let ([ny, nx], [sy, sx]) = (multislice.grid().dims, params.scan);
    if transmissions.is_empty() {
        return Err(Error::param("transmissions", 0, "at least one"));
    }
    if checked_len(&params.scan)? != positions.len() {
        return Err(Error::shape("write_scan: positions", &[sy, sx], &[positions.len()]));
    }
    if let Some(c) = params.counts.filter(|c| !(0.0..=1e18).contains(&c.electrons)) {
        return Err(Error::param("electrons", c.electrons, "0 to 10¹⁸"));
    }

    // What one call of `scan` holds (waves and patterns of a group; workspace with one transmission), the other
    // transmissions, a frame to turn; then as many frames as are left room for.
    let n = checked_len(&[ny, nx])?;
    let others: u64 = transmissions[1..].iter().map(|t| t.bytes()).sum();
    let group = multislice.group().min(positions.len().max(1));
    let probes = (probe.workspace_bytes() as usize + 8 * n) * multislice.threads();
    let fixed =
        multislice.workspace_bytes().saturating_add(others).saturating_add((12 * n * group + 4 * n + probes) as u64);
    let frame = 4 * n as u64;
    params.limits.check(fixed.saturating_add(frame))?;
    let room = usize::try_from((params.limits.bytes - fixed) / frame).unwrap_or(usize::MAX);
    // Whole groups, where they fit, and not more than is of use: a cancelled run loses a batch.
    let batch =
        if room >= group { (room / group * group).min(16 * group) } else { room }.clamp(1, positions.len().max(1));

    let mut writer = FrameWriter::open(path, [sy, sx, ny, nx], params.unfinished)?;
    let mut patterns: Vec<f32> = try_zeroed(batch * n)?;
    let mut turned: Vec<f32> = try_zeroed(n)?;
    let share = 1.0 / transmissions.len() as f32;
    while writer.written() < positions.len() {
        let first = writer.written();
        let some = &positions[first..(first + batch).min(positions.len())];
        let patterns = &mut patterns[..some.len() * n];
        patterns.fill(0.0);
        for t in transmissions {
            let mut add = |at: usize, group: &[f32]| {
                patterns[at * n..].iter_mut().zip(group).for_each(|(p, &v)| *p += share * v);
                Ok(())
            };
            multislice.scan(t, probe, some, &mut add, &mut silent)?;
        }
        for (i, pattern) in patterns.chunks_mut(n).enumerate() {
            fft_shift(&[ny, nx], pattern, &mut turned);
            pattern.copy_from_slice(&turned);
            if let Some(c) = params.counts {
                let mut stream = rng::stream(c.seed, (first + i) as u64);
                pattern.iter_mut().for_each(|v| *v = rng::poisson(&mut stream, c.electrons * f64::from(*v)) as f32);
            }
        }
        writer.append(patterns)?;
        if observe(&Step::new(writer.written(), positions.len(), f64::NAN)).is_break()
            && writer.written() < positions.len()
        {
            return Ok(ScanFile { written: writer.written(), batch, stop: Stop::Cancelled });
        }
    }
    let written = writer.written();
    writer.finish()?;
    Ok(ScanFile { written, batch, stop: Stop::Iterations })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::npy::NpyFrames;
    use crate::multislice::MultisliceParams;
    use crate::observe::ControlFlow;
    use crate::optics::{Grid, ProbeParams};
    use crate::par::Par;
    use crate::source::FrameSource;
    use crate::specimen::{PotentialParams, PotentialPlan, Species, crystals};

    #[test]
    fn a_scan_in_a_small_budget_cancelled_and_continued_is_the_scan_in_memory() {
        let crystal = crystals::strontium_titanate().repeated([2, 2, 1]).unwrap();
        let crystal = crystal.with_sigma(Species::from_symbol("O").unwrap(), Length::angstrom(0.1));
        let grid = Grid { dims: [40, 48], sampling: [40, 48].map(|n| Length::angstrom(2.0 * 3.905 / f64::from(n))) };
        let par = Par::seq();
        let potential = PotentialParams { grid, par: par.clone(), ..Default::default() };
        let build = |i| PotentialPlan::<f32>::new(&crystal.displaced(1, i), &potential).unwrap().build().unwrap();
        let v = [build(0), build(1)];
        let params = MultisliceParams { grid, thickness: v[0].thickness.clone(), par, ..Default::default() };
        let multislice = Multislice::new(&params).unwrap();
        let t = v.map(|v| multislice.transmission(&v).unwrap());
        let probe = Probe::new(&ProbeParams { grid, ..Default::default() }).unwrap();
        let positions: Vec<_> = (0..15).map(|i| [i / 5, i % 5].map(|i| Length::angstrom(0.7 * f64::from(i)))).collect();
        let n = 40 * 48;

        // In memory, by another path.
        let [a, b] = [0, 1].map(|i| multislice.patterns(&t[i], &probe, &positions).unwrap());
        let mut want = vec![0.0; 15 * n];
        for i in 0..15 {
            let mean: Vec<f32> =
                (0..n).map(|p| 0.5 * a.as_slice()[i * n + p] + 0.5 * b.as_slice()[i * n + p]).collect();
            fft_shift(&[40, 48], &mean, &mut want[i * n..(i + 1) * n]);
        }

        let dir = tempfile::tempdir().unwrap();
        for counts in [None, Some(ScanCounts { electrons: 500.0, seed: 3 })] {
            // A budget that leaves room for two frames; one byte less than one frame needs.
            let probing = ScanFileParams { scan: [3, 5], counts, limits: Limits { bytes: 1 }, ..Default::default() };
            let path = dir.path().join("scan.npy");
            let write = |p: &ScanFileParams, path: &Path, observe: Observer<'_>| {
                write_scan(path, &multislice, &t, &probe, &positions, p, observe)
            };
            let Err(Error::OverBudget { needed, .. }) = write(&probing, &path, &mut silent) else {
                panic!("one byte was enough")
            };
            let small = ScanFileParams { limits: Limits { bytes: needed + 4 * n as u64 }, ..probing };
            let mut calls = 0;
            let mut cancel = |_: &Step| {
                calls += 1;
                if calls == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let first = write(&small, &path, &mut cancel).unwrap();
            assert_eq!(first, ScanFile { written: 6, batch: 2, stop: Stop::Cancelled });
            assert!(!path.exists());
            let rest = write(&small, &path, &mut silent).unwrap();
            assert_eq!((rest.written, rest.stop), (15, Stop::Iterations));

            // The same bytes as at once, and what memory holds.
            let whole = dir.path().join("whole.npy");
            write(&ScanFileParams { scan: [3, 5], counts, ..Default::default() }, &whole, &mut silent).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&whole).unwrap());
            let source = NpyFrames::open(&path).unwrap();
            assert_eq!(source.shape(), [3, 5, 40, 48]);
            let mut got = vec![0.0; 15 * n];
            source.read_frames(0, &mut got).unwrap();
            match counts {
                // Two sums in another order.
                None => got.iter().zip(&want).for_each(|(g, w)| assert!((g - w).abs() <= 1e-6 * w.abs() + 1e-12)),
                Some(_) => {
                    let sum: f32 = got.iter().sum();
                    let mean = 500.0 * want.iter().sum::<f32>();
                    assert!((sum - mean).abs() < 5.0 * mean.sqrt() && got.iter().all(|g| g.fract() == 0.0));
                }
            }
            std::fs::remove_file(&path).unwrap();
        }
        assert!(
            write_scan(
                dir.path().join("a.npy"),
                &multislice,
                &[],
                &probe,
                &positions,
                &ScanFileParams::default(),
                &mut silent
            )
            .is_err()
        );
    }
}
