//! Motion within frames.

use num_complex::Complex;

use crate::error::Error;
use crate::real::cis;

/// Drift as a function of time, from the track of the frames: what happened within each, and what that blurs.
///
/// Frame f lasts from t = f to f + 1, and `track[f]` is its drift in the middle. Between the middles the path is a cubic with the slopes of the finite differences (Catmull–Rom); where the
/// track jumps, it stays until the border between the frames, and continues from there.
///
/// ```text
/// T_f(k) = ∫_f^{f+1} e^{−2πi k·(d(t) − d_f)} dt,     sinc(k·v) for a constant velocity v in pixels a frame
/// ```
///
/// # References
/// E. Catmull, R. Rom, in Computer Aided Geometric Design (1974), p. 317.
///
/// ```
/// use exitwave::hrtem::SubframeMotion;
/// let motion = SubframeMotion::new(&[[0.0, 0.0], [0.0, 2.0], [0.0, 4.0]], 10.0)?;
/// assert!((motion.position(2.0)[1] - 3.0).abs() < 1e-12);
/// // Two pixels a frame blur a period of four pixels to sinc(½) = 2/π.
/// assert!((motion.transfer(1, [0.0, 0.25]).norm() - std::f64::consts::FRAC_2_PI).abs() < 1e-3);
/// # Ok::<(), exitwave::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SubframeMotion {
    track: Vec<[f64; 2]>,
    slopes: Vec<[f64; 2]>,
    jumps: Vec<bool>,
}

impl SubframeMotion {
    /// Steps longer than `jump` pixels are jumps.
    ///
    /// # Errors
    /// [`Error::Param`] for an empty track or one that is not finite, or a jump that is not positive.
    pub fn new(track: &[[f64; 2]], jump: f64) -> Result<Self, Error> {
        if track.is_empty() || !track.iter().flatten().all(|d| d.is_finite()) {
            return Err(Error::param("track", format!("{} frames", track.len()), "at least one frame, finite drift"));
        }
        if jump.is_nan() || jump <= 0.0 {
            return Err(Error::param("jump", jump, "a positive number of pixels"));
        }
        let step = |f: usize| [0, 1].map(|a| track[f + 1][a] - track[f][a]);
        let jumps: Vec<bool> = (0..track.len() - 1).map(|f| step(f)[0].hypot(step(f)[1]) > jump).collect();
        let slope = |f: usize| {
            let before = (f > 0 && !jumps[f - 1]).then(|| step(f - 1));
            let after = (f < jumps.len() && !jumps[f]).then(|| step(f));
            match (before, after) {
                (Some(b), Some(a)) => [0, 1].map(|i| 0.5 * (a[i] + b[i])),
                (Some(s), None) | (None, Some(s)) => s,
                (None, None) => [0.0; 2],
            }
        };
        Ok(SubframeMotion { slopes: (0..track.len()).map(slope).collect(), track: track.to_vec(), jumps })
    }

    /// d(t), t in frames; beyond the ends along the last slope.
    pub fn position(&self, t: f64) -> [f64; 2] {
        let s = t - 0.5;
        let last = self.track.len() - 1;
        let line = |f: usize| [0, 1].map(|a| self.track[f][a] + (s - f as f64) * self.slopes[f][a]);
        if s <= 0.0 {
            return line(0);
        }
        let f = s as usize;
        if f >= last {
            return line(last);
        }
        let u = s - f as f64;
        if self.jumps[f] {
            return line(if u < 0.5 { f } else { f + 1 });
        }
        // The cubic of Hermite.
        let (u2, u3) = (u * u, u * u * u);
        let h = [2.0 * u3 - 3.0 * u2 + 1.0, u3 - 2.0 * u2 + u, -2.0 * u3 + 3.0 * u2, u3 - u2];
        [0, 1].map(|a| {
            h[0] * self.track[f][a]
                + h[1] * self.slopes[f][a]
                + h[2] * self.track[f + 1][a]
                + h[3] * self.slopes[f + 1][a]
        })
    }

    /// T_f(k), k = `[y, x]` in cycles a pixel: what motion within frame f makes of a coefficient.
    ///
    /// # Panics
    /// If there is no frame `f`.
    pub fn transfer(&self, f: usize, k: [f64; 2]) -> Complex<f64> {
        let d = self.track[f];
        let n = 32;
        let at = |i: usize| {
            let p = self.position(f as f64 + (i as f64 + 0.5) / n as f64);
            cis(-std::f64::consts::TAU * (k[0] * (p[0] - d[0]) + k[1] * (p[1] - d[1])))
        };
        (0..n).map(at).sum::<Complex<f64>>() / n as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_passes_the_track_and_does_not_run_through_jumps() {
        let track = [[0.0, 0.0], [1.0, 0.5], [1.5, 1.5], [12.0, -8.0], [13.0, -8.5]];
        let m = SubframeMotion::new(&track, 5.0).unwrap();
        for (f, d) in track.iter().enumerate() {
            let p = m.position(f as f64 + 0.5);
            assert!((p[0] - d[0]).abs() < 1e-12 && (p[1] - d[1]).abs() < 1e-12);
        }
        assert!(m.position(2.99)[0] < 3.0 && m.position(3.01)[0] > 11.0);
        assert_eq!(m.transfer(3, [0.0, 0.0]), Complex::new(1.0, 0.0));
        assert!(m.transfer(0, [0.3, 0.0]).norm() < 1.0);
        assert!(SubframeMotion::new(&[], 1.0).is_err());
        assert!(SubframeMotion::new(&track, f64::NAN).is_err());
    }
}
