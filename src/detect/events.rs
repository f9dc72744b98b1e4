//! Counting electrons one by one: moving images, spread before counting, coincidence.

use crate::error::Error;
use crate::par::Par;
use crate::rng;
use crate::shape::{Limits, checked_len, try_zeroed};
use crate::tensor::Tensor;

/// A direct electron detection camera that counts.
#[derive(Clone, Debug)]
pub struct EventCameraParams {
    /// `[ny, nx]` pixels.
    pub dims: [usize; 2],
    /// Probability that an electron is found: DQE at zero frequency without coincidence.
    pub efficiency: f64,
    /// Standard deviation along an axis of the place at which an electron is found, pixels. The MTF is that of the pixel times e^{−2π²s²k²}.
    pub spread: f64,
    /// Internal readouts that are summed in a frame.
    pub readouts: usize,
    /// Electrons closer than this, pixels, in the same readout count once; 0: all count.
    pub coincidence: f64,
    /// Threads.
    pub par: Par,
    /// Memory that the frames may take.
    pub limits: Limits,
}

/// 512 × 512 pixels, every electron found, at its place, and counted.
impl Default for EventCameraParams {
    fn default() -> Self {
        EventCameraParams {
            dims: [512; 2],
            efficiency: 1.0,
            spread: 0.0,
            readouts: 1,
            coincidence: 0.0,
            par: Par::default(),
            limits: Limits::default(),
        }
    }
}

/// Counts electrons that arrive with a density ρ(t, r) that may change within a frame, as it does when the specimen moves.
///
/// ```text
/// arrivals      a Poisson process of the density ρ(t, r), t in frames
/// found         with the probability `efficiency`, at r + N(0, s²) on each axis
/// counted       unless an electron counted in the same readout lies closer than c
/// expected      n (1 − ½ n_r π c² + …) a pixel and frame, n_r the electrons found a pixel and readout
/// ```
///
/// Nothing is interpolated: the blur of motion, of the pixel and of the spread come out of the places of single electrons. The process is sampled by thinning: electrons
/// of the constant density `highest` are drawn, and each is kept with the probability ρ/`highest`. Frame f draws from the stream f of the seed.
///
/// `density(t, [y, x])` is in electrons a pixel and frame, the pixel (i, j) covering i − ½ to i + ½.
///
/// # Shapes
/// Frames `[frames, ny, nx]`, at most 255 counts a pixel.
///
/// # Errors
/// [`Error::Param`] for empty frames, an efficiency outside (0, 1], a spread or a distance that is negative or not finite, no readouts, or a highest density
/// that is not positive or above 1000; [`Error::OverBudget`], [`Error::OutOfMemory`].
///
/// # Panics
/// If `density` is above `highest`, negative or NaN.
///
/// # References
/// P. A. W. Lewis, G. S. Shedler, Naval Res. Logist. Q. 26, 403 (1979): thinning. X. Li and others, J. Struct. Biol. 184, 251 (2013): coincidence loss of counting cameras.
///
/// # Examples
/// ```
/// use exitwave::detect::{EventCameraParams, count_events};
/// let camera = EventCameraParams { dims: [64, 64], ..Default::default() };
/// let wave = |t: f64, r: [f64; 2]| 0.5 * (1.0 + 0.5 * (0.8 * (r[0] - 2.0 * t)).cos());
/// let frames = count_events(&camera, &wave, 0.75, 10, 1)?;
/// let mean = frames.as_slice().iter().map(|&n| f64::from(n)).sum::<f64>() / 40960.0;
/// assert!((mean - 0.5).abs() < 0.02);
/// # Ok::<(), exitwave::Error>(())
/// ```
pub fn count_events(
    camera: &EventCameraParams,
    density: &(dyn Fn(f64, [f64; 2]) -> f64 + Sync),
    highest: f64,
    frames: usize,
    seed: u64,
) -> Result<Tensor<u8>, Error> {
    let [ny, nx] = camera.dims;
    if ny == 0 || nx == 0 || frames == 0 {
        return Err(Error::param("dims", format!("{frames} × {ny} × {nx}"), "at least one frame and one pixel"));
    }
    if !(camera.efficiency > 0.0 && camera.efficiency <= 1.0) {
        return Err(Error::param("efficiency", camera.efficiency, "in (0, 1]"));
    }
    for (name, v) in [("spread", camera.spread), ("coincidence", camera.coincidence)] {
        if !(0.0..=16.0).contains(&v) {
            return Err(Error::param(name, v, "0 to 16 pixels"));
        }
    }
    if camera.readouts == 0 {
        return Err(Error::param("readouts", 0, "at least one"));
    }
    if !(highest > 0.0 && highest <= 1000.0) {
        return Err(Error::param("highest", highest, "above 0 and at most 1000 electrons a pixel and frame"));
    }
    let len = checked_len(&[frames, ny, nx])?;
    camera.limits.check(len as u64)?;
    let mut out = try_zeroed::<u8>(len)?;
    // Electrons from outside the frame may be found within.
    let border = 4.0 * camera.spread;
    let size = [ny as f64 + 2.0 * border, nx as f64 + 2.0 * border];
    let per_readout = highest * camera.efficiency * size[0] * size[1] / camera.readouts as f64;
    camera.par.chunks(&mut out, ny * nx, |f, counts| {
        let mut stream = rng::stream(seed, f as u64);
        let mut near = Coincidence::new(camera.coincidence, [ny, nx]);
        for readout in 0..camera.readouts {
            near.clear();
            for _ in 0..rng::poisson(&mut stream, per_readout) as u64 {
                let t = f as f64 + (readout as f64 + rng::uniform(&mut stream)) / camera.readouts as f64;
                let mut r = size.map(|s| s * rng::uniform(&mut stream) - border - 0.5);
                let rho = density(t, r);
                assert!((0.0..=highest).contains(&rho), "count_events: a density of {rho}, expected 0 to {highest}");
                if rng::uniform(&mut stream) * highest >= rho {
                    continue;
                }
                if camera.spread > 0.0 {
                    let (a, b) = rng::normal_pair(&mut stream);
                    r = [r[0] + camera.spread * a, r[1] + camera.spread * b];
                }
                let pixel = r.map(|v| (v + 0.5).floor());
                if pixel[0] < 0.0 || pixel[1] < 0.0 || pixel[0] >= ny as f64 || pixel[1] >= nx as f64 {
                    continue;
                }
                if near.counts(r) {
                    let i = pixel[0] as usize * nx + pixel[1] as usize;
                    counts[i] = counts[i].saturating_add(1);
                }
            }
        }
    });
    Tensor::from_vec(&[frames, ny, nx], out)
}

/// Electrons counted in one readout, sorted into squares as wide as the distance in which others are lost.
struct Coincidence {
    distance: f64,
    width: f64,
    squares: [usize; 2],
    /// The first electron of each square + 1, and the next of each electron + 1.
    head: Vec<u32>,
    electrons: Vec<([f64; 2], u32, usize)>,
}

impl Coincidence {
    fn new(distance: f64, dims: [usize; 2]) -> Self {
        let width = distance.max(1.0);
        let squares = dims.map(|n| (n as f64 / width) as usize + 2);
        let head = if distance > 0.0 { vec![0; squares[0] * squares[1]] } else { Vec::new() };
        Coincidence { distance, width, squares, head, electrons: Vec::new() }
    }

    fn clear(&mut self) {
        for e in self.electrons.drain(..) {
            self.head[e.2] = 0;
        }
    }

    /// Whether an electron counts; it is remembered if so.
    fn counts(&mut self, r: [f64; 2]) -> bool {
        if self.distance == 0.0 {
            return true;
        }
        let at = r.map(|v| ((v + 0.5) / self.width) as usize);
        for y in at[0].saturating_sub(1)..(at[0] + 2).min(self.squares[0]) {
            for x in at[1].saturating_sub(1)..(at[1] + 2).min(self.squares[1]) {
                let mut next = self.head[y * self.squares[1] + x];
                while next > 0 {
                    let (q, after, _) = self.electrons[next as usize - 1];
                    if (q[0] - r[0]).hypot(q[1] - r[1]) < self.distance {
                        return false;
                    }
                    next = after;
                }
            }
        }
        let square = at[0] * self.squares[1] + at[1];
        self.electrons.push((r, self.head[square], square));
        self.head[square] = self.electrons.len() as u32;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(t: &Tensor<u8>) -> f64 {
        t.as_slice().iter().map(|&n| f64::from(n)).sum::<f64>() / t.len() as f64
    }

    #[test]
    fn coincidence_loses_what_the_area_about_each_electron_holds() {
        let camera = |coincidence: f64, readouts: usize| EventCameraParams {
            dims: [128, 128],
            coincidence,
            readouts,
            par: Par::seq(),
            ..Default::default()
        };
        let flat = |_: f64, _: [f64; 2]| 0.4;
        for (c, readouts) in [(0.0, 1), (1.0, 10), (1.5, 8), (1.5, 40)] {
            let got = mean(&count_events(&camera(c, readouts), &flat, 0.4, 10, 3).unwrap());
            // Each pair in a readout loses one of its two: n_r π c²/2, and the next order is below its square.
            let loss = 0.5 * 0.4 / readouts as f64 * std::f64::consts::PI * c * c;
            let error = 5.0 * (0.4f64 / (10.0 * 128.0 * 128.0)).sqrt() + 0.4 * loss * loss;
            assert!((got - 0.4 * (1.0 - loss)).abs() < error, "{c} {readouts}: {got}, loss {loss}");
        }
    }

    #[test]
    fn spread_lowers_the_contrast_as_its_transform_says() {
        let k = 0.1;
        let wave = |_: f64, r: [f64; 2]| 2.0 * (1.0 + 0.8 * (std::f64::consts::TAU * k * r[1]).cos());
        let camera =
            EventCameraParams { dims: [100, 100], spread: 1.2, efficiency: 0.5, par: Par::seq(), ..Default::default() };
        let frames = count_events(&camera, &wave, 3.6, 20, 7).unwrap();
        assert!((mean(&frames) - 1.0).abs() < 5.0 / 200_000f64.sqrt());
        let sum: f64 = frames
            .as_slice()
            .iter()
            .enumerate()
            .map(|(i, &n)| f64::from(n) * (std::f64::consts::TAU * k * (i % 100) as f64).cos())
            .sum();
        let contrast = 2.0 * sum / 200_000.0;
        let pixel = (std::f64::consts::PI * k).sin() / (std::f64::consts::PI * k);
        let want = 0.8 * pixel * (-2.0 * (std::f64::consts::PI * 1.2 * k).powi(2)).exp();
        assert!((contrast - want).abs() < 5.0 * (2.0f64 / 200_000.0).sqrt(), "{contrast} {want}");
    }

    #[test]
    fn frames_are_the_same_for_any_number_of_threads_and_bad_cameras_are_errors() {
        let flat = |_: f64, _: [f64; 2]| 0.2;
        let run = |par: Par| {
            let camera = EventCameraParams { dims: [20, 30], spread: 0.5, coincidence: 1.0, par, ..Default::default() };
            count_events(&camera, &flat, 0.3, 5, 1).unwrap()
        };
        assert_eq!(run(Par::seq()), run(Par::threads(3).unwrap()));
        let bad = |c: EventCameraParams| count_events(&c, &flat, 0.3, 1, 1).is_err();
        assert!(bad(EventCameraParams { efficiency: 0.0, ..Default::default() }));
        assert!(bad(EventCameraParams { spread: f64::NAN, ..Default::default() }));
        assert!(bad(EventCameraParams { coincidence: -1.0, ..Default::default() }));
        assert!(bad(EventCameraParams { readouts: 0, ..Default::default() }));
        assert!(bad(EventCameraParams { dims: [0, 4], ..Default::default() }));
        assert!(bad(EventCameraParams { limits: Limits { bytes: 10 }, ..Default::default() }));
        assert!(count_events(&EventCameraParams::default(), &flat, f64::NAN, 1, 1).is_err());
    }
}
