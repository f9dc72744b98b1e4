//! The zone axis of a crystal from one diffraction pattern: circle, tilts, and how well it works.

mod support;

use std::path::Path;

use exitwave::fft::frequency_index;
use exitwave::hrtem::{
    CrystalParams, ExcitationParams, FriedelPair, Holder, IndexParams, IndexedPattern, Misorientation, RecordParams,
    Reflection, SpotParams, Strengths, Tilts, ZoneAxisFit, ZoneAxisParams, ZoneNet, ZonePattern, count_pattern,
    cramer_rao, expected_pattern, find_zone_axis, index_pattern,
};
use exitwave::io::{self, npy};
use exitwave::multislice::{Multislice, MultisliceParams, diffraction};
use exitwave::optics::Grid;
use exitwave::render::{Cell, Image, Line, Panel, Plot, Scale, Series};
use exitwave::rng;
use exitwave::specimen::{Atoms, PotentialParams, PotentialPlan, Slicing, crystals};
use exitwave::tensor::Tensor;
use exitwave::units::{Angle, Energy, Length, SpatialFrequency};
use support::{Failure, Options};

const HELP: &str = "\
zone_axis [PATTERN]: the misorientation of the nearest zone axis, and the tilts that remove it

  PATTERN                  a diffraction pattern in any format; without it one is simulated
  --mask FILE              pixels to use: not 0
  --pixel-per-A Q          1/A a pixel: the camera length; without it the pattern is only indexed
  --kev E                  beam energy (default 300)
  --cif FILE               the crystal (default, simulated: UiO-66)
  --zone U,V,W             the zone axis, where it is known (default, simulated: 0,0,1)
  --spot-px S              standard deviation of a spot (default: measured)
  --window-px W            window of the background (default: 3.5 spots, at least 12)
  --gain G                 camera units an electron; 0: measured (default 1)
  --saturation V           values from here on are not used
  --centre Y,X             about where the direct beam is
  --alpha-deg A --beta-deg B             present tilts of the holder (default 0, 0)
  --alpha-axis-deg A --beta-axis-deg B   its axes in the pattern, from +x to +y (default 0, 90)
  --disc-nm D              diameter of the illuminated disc, for the dose (default 112.8: 0.01 um^2)
  --phi-deg P --azimuth-deg A --thickness-nm T --electrons N --seed S   the simulated pattern (2, 40, 30, 5e5, 1)
  --study N                N simulated patterns a crystal and dose: the table of errors
  --dynamical N            N patterns by multislice: the error that dynamical diffraction makes
  --only NAME              of these two, UiO-66 or MFI alone; --electrons N one dose alone; --first I begins at pattern I
  --verbose                a line for each pattern of these two
  --structures DIR         folder of UIO-66.cif and MFI_SI.cif (default ../shared/data/structures)
  --out DIR                where the PNG and the arrays (.npy) go (default out/zone_axis)

The last line printed is one JSON object.";

const NAMES: [&str; 26] = [
    "mask",
    "pixel-per-A",
    "kev",
    "cif",
    "zone",
    "spot-px",
    "window-px",
    "gain",
    "saturation",
    "centre",
    "alpha-deg",
    "beta-deg",
    "alpha-axis-deg",
    "beta-axis-deg",
    "disc-nm",
    "phi-deg",
    "azimuth-deg",
    "thickness-nm",
    "electrons",
    "seed",
    "study",
    "only",
    "first",
    "dynamical",
    "structures",
    "out",
];

fn main() -> Result<(), Failure> {
    let options = Options::read(HELP, &NAMES, &["verbose"])?;
    let out = options.out("out/zone_axis")?;
    let (study, dynamical): (u64, u64) = (options.get("study", 0)?, options.get("dynamical", 0)?);
    let line = if study + dynamical > 0 { errors(&options, study, dynamical, &out)? } else { one(&options, &out)? };
    println!("{line}");
    Ok(())
}

/// Numbers between commas.
fn list<const N: usize>(options: &Options, name: &str) -> Result<Option<[f64; N]>, Failure> {
    let text: String = options.get(name, String::new())?;
    if text.is_empty() {
        return Ok(None);
    }
    let numbers: Vec<f64> = text.split(',').map(|n| n.trim().parse()).collect::<Result<_, _>>()?;
    let numbers = numbers.try_into().map_err(|_| format!("--{name} {text}: {N} numbers between commas"))?;
    Ok(Some(numbers))
}

/// A crystal from a file, every atom moving by 0.1 Å where the file does not say how much.
fn crystal(path: &Path) -> Result<Atoms, Failure> {
    let mut atoms = io::cif::read(path)?.atoms()?;
    atoms.atoms.iter_mut().filter(|a| a.sigma == [0.0; 3]).for_each(|a| a.sigma = [0.1; 3]);
    Ok(atoms)
}

/// One pattern: read or simulated, evaluated, drawn.
fn one(options: &Options, out: &Path) -> Result<serde_json::Value, Failure> {
    let energy = Energy::kev(options.get("kev", 300.0)?);
    let cif: String = options.get("cif", String::new())?;
    let zone = list::<3>(options, "zone")?.map(|z| z.map(|u| u.round() as i32));
    let gain: f64 = options.get("gain", 1.0)?;
    let positive = |name: &str| options.get(name, 0.0).map(|v: f64| if v == 0.0 { None } else { Some(v) });
    let spots = SpotParams {
        spot: positive("spot-px")?,
        window: positive("window-px")?,
        saturation: options.get("saturation", f64::INFINITY)?,
        gain: (gain > 0.0).then_some(gain),
        ..SpotParams::default()
    };
    let index = IndexParams { spots, centre: list::<2>(options, "centre")?, ..IndexParams::default() };
    let Some(path) = options.free(0) else {
        let mut atoms = if cif.is_empty() { crystals::uio_66() } else { crystal(Path::new(&cif))? };
        atoms.atoms.iter_mut().for_each(|a| a.sigma = [0.1; 3]);
        let zone = zone.unwrap_or([0, 0, 1]);
        let tilt = Misorientation::new(
            Angle::deg(options.get("phi-deg", 2.0)?),
            Angle::deg(options.get("azimuth-deg", 40.0)?),
        );
        let thickness = Length::nm(options.get("thickness-nm", 30.0)?);
        let params = CrystalParams { energy, tilt, thickness, rotation: Angle::deg(17.0), ..CrystalParams::default() };
        let record = RecordParams { electrons: options.get("electrons", 5e5)?, ..RecordParams::default() };
        let list = ZonePattern::new(&atoms, zone, SpatialFrequency::per_angstrom(1.5))?.reflections(&params)?;
        let counts = count_pattern(&expected_pattern(&list, &record)?, options.get("seed", 1)?)?;
        let open = record.open()?;
        let p = ZoneAxisParams { zone: Some(zone), pixel: record.pixel, index, ..study_params(energy) };
        let found = find_zone_axis(&counts, Some(&open), Some(&atoms), &p)?;
        let mut line = report(options, &found, &counts, p.pixel, energy, out)?;
        line["true_phi_deg"] = tilt.phi().to_deg().into();
        line["true_azimuth_deg"] = tilt.azimuth().to_deg().into();
        line["error_deg"] = found.fit.tilt.angle_to(&tilt).to_deg().into();
        line["scattered_share"] = list.iter().map(|r| r.share).sum::<f64>().into();
        let disc: f64 = options.get("disc-nm", 112.8)?;
        line["dose_per_A2"] = (record.electrons / (std::f64::consts::PI * (5.0 * disc).powi(2))).into();
        return Ok(line);
    };

    let pattern: Tensor<f64> = io::open(path)?.image(0)?.data;
    let mask: String = options.get("mask", String::new())?;
    let mask = match mask.as_str() {
        "" => None,
        file => Some(io::open(file)?.image::<f64>(0)?.data.map(|v| *v != 0.0)),
    };
    let pixel: f64 = options.get("pixel-per-A", 0.0)?;
    if pixel > 0.0 {
        let atoms = if cif.is_empty() { None } else { Some(crystal(Path::new(&cif))?) };
        let pixel = SpatialFrequency::per_angstrom(pixel);
        let p = ZoneAxisParams { zone, pixel, index, ..study_params(energy) };
        let found = find_zone_axis(&pattern, mask.as_ref(), atoms.as_ref(), &p)?;
        return report(options, &found, &pattern, p.pixel, energy, out);
    }

    // No camera length: lattice and asymmetry, no angle.
    let found = index_pattern(&pattern, mask.as_ref(), &index)?;
    let (pairs, direction) = asymmetry(&found);
    let mut panel = Panel { cell: [560, 560], ..Panel::new(2) };
    panel.add(Cell::Image(overlay(&pattern, &found, None, "Spots with indices (green), without (red), lattice")?));
    panel.add(Cell::Plot(asymmetry_plot(&pairs, direction)));
    let png = out.join("zone_axis.png");
    panel.render()?.write_png(&png)?;
    write_spots(&found, out)?;
    Ok(serde_json::json!({
        "spots": found.spots.spots.len(), "indexed": found.indexed(), "rms_px": found.rms, "centre_px": found.centre(),
        "a_px": found.lattice.a, "b_px": found.lattice.b, "angle_deg": found.lattice.angle().to_degrees(),
        "asymmetry_direction_deg": direction.to_degrees(), "pairs": pairs.len(), "gain": found.spots.gain,
        "spot_px": found.spots.spot,
        "png": png.display().to_string(),
    }))
}

fn study_params(energy: Energy) -> ZoneAxisParams {
    let excitation = ExcitationParams { energy, ..ExcitationParams::default() };
    ZoneAxisParams { excitation, limit: SpatialFrequency::per_angstrom(1.4), ..ZoneAxisParams::default() }
}

/// ln I(g)/I(−g) of the spots that have a partner, and the direction along which it grows: least squares for `u·q`.
fn asymmetry(found: &IndexedPattern) -> (Vec<([f64; 2], f64)>, f64) {
    let mut pairs = Vec::new();
    for (s, i) in found.spots.spots.iter().zip(&found.indices) {
        let Some(i) = i.filter(|i| *i > [0, 0]) else { continue };
        let partner = found.indices.iter().position(|j| *j == Some(i.map(|x| -x)));
        if let Some(p) = partner.map(|p| found.spots.spots[p]) {
            let q = [0, 1].map(|k| s.position[k] - found.centre()[k]);
            pairs.push((q, (s.electrons / p.electrons).ln()));
        }
    }
    let (mut m, mut r) = ([0.0; 3], [0.0; 2]);
    for &([y, x], a) in &pairs {
        m = [m[0] + y * y, m[1] + y * x, m[2] + x * x];
        r = [r[0] + y * a, r[1] + x * a];
    }
    let direction = (m[2] * r[0] - m[1] * r[1]).atan2(m[0] * r[1] - m[1] * r[0]);
    (pairs, direction)
}

fn asymmetry_plot(pairs: &[([f64; 2], f64)], direction: f64) -> Plot {
    let along = |q: [f64; 2]| q[0] * direction.sin() + q[1] * direction.cos();
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().map(|(q, a)| (along(*q), *a)).unzip();
    let slope = x.iter().zip(&y).map(|(x, y)| x * y).sum::<f64>() / x.iter().map(|x| x * x).sum::<f64>().max(1e-9);
    let end = x.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let line =
        Series { label: "u·q".into(), x: vec![-end, end], y: vec![-slope * end, slope * end], ..Series::default() };
    Plot {
        title: "Friedel pairs: asymmetry along its steepest direction".into(),
        x_label: "q along the direction / pixel".into(),
        y_label: "ln I(g)/I(−g)".into(),
        series: vec![Series { label: "pairs".into(), x, y, line: Line::Points, ..Series::default() }, line],
        ..Plot::default()
    }
}

/// The pattern on a logarithmic scale with spots, lattice points and, where known, the Laue circle.
fn overlay(
    pattern: &Tensor<f64>,
    found: &IndexedPattern,
    circle: Option<(f64, f64, f64)>,
    title: &str,
) -> Result<Image, Failure> {
    let &[ny, nx] = pattern.dims() else { return Err("a pattern has two axes".into()) };
    // Twofold enlarged, so that marks are thinner than spots.
    const K: usize = 2;
    let gain = found.spots.gain;
    let shade: Vec<f64> = pattern.as_slice().iter().map(|v| (v.max(0.0) / gain + 0.3).ln()).collect();
    let mut sorted: Vec<f64> = shade.clone();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted[sorted.len() / 20], sorted[sorted.len() * 999 / 1000]);
    let mut rgb = vec![[0u8; 3]; ny * nx * K * K];
    for (i, v) in rgb.iter_mut().enumerate() {
        let (y, x) = (i / (nx * K) / K, i % (nx * K) / K);
        *v = [(255.0 * ((shade[y * nx + x] - low) / (high - low).max(1e-9)).clamp(0.0, 1.0)) as u8; 3];
    }
    let mut dot = |y: f64, x: f64, colour: [u8; 3]| {
        let (y, x) = (((y + 0.5) * K as f64).floor(), ((x + 0.5) * K as f64).floor());
        if y >= 0.0 && x >= 0.0 && y < (ny * K) as f64 && x < (nx * K) as f64 {
            rgb[y as usize * nx * K + x as usize] = colour;
        }
    };
    let mut ring = |at: [f64; 2], r: f64, colour: [u8; 3]| {
        let n = ((r * 16.0) as usize).max(24);
        for i in 0..n {
            let (s, c) = (std::f64::consts::TAU * i as f64 / n as f64).sin_cos();
            dot(at[0] + r * s, at[1] + r * c, colour);
        }
    };
    let r = 0.3 * found.lattice.lengths()[0];
    for (s, i) in found.spots.spots.iter().zip(&found.indices) {
        ring(s.position, r.min(8.0), if i.is_some() { [60, 220, 90] } else { [255, 60, 50] });
    }
    ring(found.centre(), r.min(8.0) * 1.3, [255, 220, 0]);
    if let Some((cy, cx, radius)) = circle {
        for d in [-0.25, 0.25] {
            ring([cy, cx], radius + d, [0, 190, 255]);
        }
        ring([cy, cx], 3.0, [0, 190, 255]);
    }
    let reach = (ny.max(nx) as f64 / found.lattice.lengths()[0]) as i32 + 2;
    for h in -reach..=reach {
        for k in -reach..=reach {
            let p = found.lattice.at([f64::from(h), f64::from(k)]);
            dot(p[0], p[1], [255, 170, 0]);
        }
    }
    Ok(Image { title: title.into(), ..Image::rgb(&[ny * K, nx * K], &rgb)? })
}

/// Spots as rows y, x, electrons, significance, h, k (NaN where there are none).
fn write_spots(found: &IndexedPattern, out: &Path) -> Result<(), Failure> {
    let rows: Vec<f64> = (found.spots.spots.iter().zip(&found.indices))
        .flat_map(|(s, i)| {
            let [h, k] = i.map_or([f64::NAN; 2], |i| i.map(f64::from));
            [s.position[0], s.position[1], s.electrons, s.significance, h, k]
        })
        .collect();
    npy::write(out.join("spots.npy"), &Tensor::from_vec(&[rows.len() / 6, 6], rows)?)?;
    npy::write(out.join("background.npy"), &found.spots.background)?;
    Ok(())
}

/// Draws a fit and says what it found.
fn report(
    options: &Options,
    found: &ZoneAxisFit,
    pattern: &Tensor<f64>,
    pixel: SpatialFrequency,
    energy: Energy,
    out: &Path,
) -> Result<serde_json::Value, Failure> {
    let fit = &found.fit;
    let holder = Holder {
        alpha_axis: Angle::deg(options.get("alpha-axis-deg", 0.0)?),
        beta_axis: Angle::deg(options.get("beta-axis-deg", 90.0)?),
        ..Holder::default()
    };
    let now =
        Tilts { alpha: Angle::deg(options.get("alpha-deg", 0.0)?), beta: Angle::deg(options.get("beta-deg", 0.0)?) };
    let then = holder.target(now, fit.tilt)?;
    let sigma = holder.target_sigma(now, fit.tilt, fit.sigma_phi, fit.sigma_across)?;
    let disc: f64 = options.get("disc-nm", 112.8)?;
    let dose = found.electrons / (std::f64::consts::PI * (5.0 * disc).powi(2));

    // The circle sin φ/λ about the point where the zone axis meets the pattern.
    let lambda = exitwave::optics::wavelength(energy).to_angstrom();
    let k = 1.0 / (lambda * pixel.to_per_angstrom());
    let n = fit.tilt.axis();
    let c = found.indexed.centre();
    let circle = (c[0] + k * n[1] * n[0], c[1] + k * n[2] * n[0], k * fit.tilt.phi().to_rad().sin());
    let mut panel = Panel { cell: [720, 720], ..Panel::new(2) };
    let title = format!(
        "φ = {:.3}° ± {:.3}°: Laue circle (blue), reflections",
        fit.tilt.phi().to_deg(),
        fit.sigma_phi.to_deg()
    );
    panel.add(Cell::Image(overlay(pattern, &found.indexed, Some(circle), &title)?));

    // Share of each pair at q against its excitation errors.
    let w = fit.tilt.slope();
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for p in &found.pairs {
        let n: Vec<f64> = (0..2).map(|i| p.counts[i] - p.background[i]).collect();
        if n[0] + n[1] > 30.0 {
            x.push((w[0] * p.q[0] + w[1] * p.q[1] - p.height) * 1e3);
            y.push(n[0] / (n[0] + n[1]));
        }
    }
    panel.add(Cell::Plot(Plot {
        title: "Share of the side of q in its Friedel pair".into(),
        x_label: "w·q − nH / 10⁻³ Å⁻¹".into(),
        y_label: "I(q)/(I(q) + I(−q))".into(),
        y_range: Some([-0.1, 1.1]),
        series: vec![Series { x, y, line: Line::Points, ..Series::default() }],
        ..Plot::default()
    }));
    let png = out.join("zone_axis.png");
    panel.render()?.write_png(&png)?;
    write_spots(&found.indexed, out)?;
    let rows: Vec<f64> = found
        .pairs
        .iter()
        .flat_map(|p: &FriedelPair| {
            [p.q[0], p.q[1], p.height, p.counts[0], p.counts[1], p.background[0], p.background[1]]
        })
        .collect();
    npy::write(out.join("pairs.npy"), &Tensor::from_vec(&[rows.len() / 7, 7], rows)?)?;
    Ok(serde_json::json!({
        "phi_deg": fit.tilt.phi().to_deg(), "sigma_phi_deg": fit.sigma_phi.to_deg(),
        "azimuth_deg": fit.tilt.azimuth().to_deg(), "sigma_across_deg": fit.sigma_across.to_deg(),
        "alpha_deg": then.alpha.to_deg(), "beta_deg": then.beta.to_deg(),
        "sigma_alpha_deg": sigma.alpha.to_deg(), "sigma_beta_deg": sigma.beta.to_deg(),
        "thickness_nm": fit.thickness.to_nm(), "spread": fit.spread, "deviance": fit.deviance, "pairs": fit.pairs,
        "confidence": fit.confidence, "spot_px": found.indexed.spots.spot,
        "alternatives_deg": fit.alternatives.iter().skip(1).take(3)
            .map(|(t, p)| serde_json::json!([t.phi().to_deg(), t.azimuth().to_deg(), p])).collect::<Vec<_>>(),
        "zone": found.zone.as_ref().map(|z| z.zone), "scale": found.scale,
        "circle_phi_deg": found.circle.map(|c| c.tilt.phi().to_deg()),
        "circle_sigma_phi_deg": found.circle.map(|c| c.sigma_phi.to_deg()),
        "centre_px": found.indexed.centre(), "spots": found.indexed.spots.spots.len(), "indexed": found.indexed.indexed(),
        "electrons": found.electrons, "recorded_dose_per_A2": dose, "png": png.display().to_string(),
    }))
}

/// Confidence below which an answer is flagged.
const FLAG: f64 = 0.9;

/// Errors of many patterns.
#[derive(Default)]
struct Table {
    phi: Vec<f64>,
    whole: Vec<f64>,
    circle: Vec<f64>,
    ratio: Vec<f64>,
    bound: Vec<f64>,
    all_pairs: Vec<f64>,
    known: Vec<f64>,
    /// Errors beyond five of the uncertainties that were stated; answers of a confidence below [`FLAG`]; the first without the second.
    wrong: u64,
    flagged: u64,
    unflagged: u64,
    share: Vec<f64>,
    counted: Vec<f64>,
    failed: u64,
}

fn quantile(v: &[f64], p: f64) -> f64 {
    let mut v = v.to_vec();
    v.sort_by(f64::total_cmp);
    v.get(((v.len() as f64 * p) as usize).min(v.len().max(1) - 1)).copied().unwrap_or(f64::NAN)
}

impl Table {
    fn line(&self, name: &str) -> serde_json::Value {
        let rms = (self.ratio.iter().map(|r| r * r).sum::<f64>() / self.ratio.len().max(1) as f64).sqrt();
        serde_json::json!({
            "case": name, "patterns": self.phi.len() as u64 + self.failed, "failed": self.failed,
            "phi_error_median_deg": quantile(&self.phi, 0.5), "phi_error_95_deg": quantile(&self.phi, 0.95),
            "axis_error_median_deg": quantile(&self.whole, 0.5), "axis_error_95_deg": quantile(&self.whole, 0.95),
            "cramer_rao_sigma_median_deg": quantile(&self.bound, 0.5),
            "cramer_rao_sigma_all_pairs_median_deg": quantile(&self.all_pairs, 0.5),
            "wrong": self.wrong, "flagged": self.flagged, "wrong_not_flagged": self.unflagged,
            "known_structure_sigma_median_deg": quantile(&self.known, 0.5),
            // The median of |x| of a normal distribution is 0.6745 σ.
            "median_error_over_bound": quantile(&self.ratio, 0.5) / 0.6745, "rms_error_over_bound": rms,
            "circle_error_median_deg": quantile(&self.circle, 0.5), "circle_error_95_deg": quantile(&self.circle, 0.95),
            "scattered_share_median": quantile(&self.share, 0.5), "recorded_electrons_median": quantile(&self.counted, 0.5),
        })
    }
}

/// The Monte-Carlo study: two crystals, two doses; and the same by multislice.
fn errors(options: &Options, study: u64, dynamical: u64, out: &Path) -> Result<serde_json::Value, Failure> {
    let folder: String = options.get("structures", "../shared/data/structures".to_string())?;
    let seed: u64 = options.get("seed", 1)?;
    let (only, dose): (String, f64) = (options.get("only", String::new())?, options.get("electrons", 0.0)?);
    let first: u64 = options.get("first", 0)?;
    let energy = Energy::kev(options.get("kev", 300.0)?);
    let mut lines = Vec::new();
    let mut plot = Plot {
        title: "Error of φ".into(),
        x_label: "φ / °".into(),
        y_label: "|error| / °".into(),
        y_scale: Scale::Log,
        y_range: Some([1e-4, 10.0]),
        span: 1,
        ..Plot::default()
    };
    for (name, file, zones) in
        [("UiO-66", "UIO-66.cif", [[0, 0, 1], [1, 1, 0]]), ("MFI", "MFI_SI.cif", [[0, 1, 0], [1, 0, 0]])]
    {
        if !(only.is_empty() || only == name) {
            continue;
        }
        let atoms = crystal(&Path::new(&folder).join(file))?;
        let limit = SpatialFrequency::per_angstrom(1.5);
        let patterns = zones.iter().map(|z| ZonePattern::new(&atoms, *z, limit)).collect::<Result<Vec<_>, _>>()?;
        let rivals =
            zones.iter().map(|z| Ok(rival(&ZoneNet::visible(&atoms, *z)?))).collect::<Result<Vec<_>, Failure>>()?;
        let cases = [(study, 5e5, false), (study, 5e4, false), (dynamical, 5e5, true)];
        for (count, electrons, multislice) in cases {
            if count == 0 || dose > 0.0 && electrons != dose {
                continue;
            }
            let mut table = Table::default();
            let (mut x, mut y) = (Vec::new(), Vec::new());
            let bar = indicatif::ProgressBar::new(count);
            for i in first..first + count {
                let k = (i % 2) as usize;
                let mut draw = rng::stream(seed, i);
                let mut uniform = |a: f64, b: f64| a + (b - a) * rng::uniform(&mut draw);
                let tilt = Misorientation::new(Angle::deg(uniform(0.3, 5.0)), Angle::deg(uniform(-180.0, 180.0)));
                let thickness = Length::nm(uniform(20.0, 50.0));
                // Slabs from even to wedge-like; the fit does not know which.
                let spread = if multislice { 0.0 } else { uniform(0.02, 0.1) };
                let rotation = Angle::deg(if multislice { 0.0 } else { uniform(0.0, 180.0) });
                let centre = [uniform(250.0, 262.0), uniform(250.0, 262.0)];
                let p = CrystalParams { energy, tilt, thickness, spread, rotation };
                let record = RecordParams { electrons, centre, ..RecordParams::default() };
                let kinematic = patterns[k].reflections(&p)?;
                let list = if multislice { exact(&atoms, zones[k], &p)? } else { kinematic.clone() };
                let counts = count_pattern(&expected_pattern(&list, &record)?, seed.wrapping_mul(7919) + i)?;
                let params = ZoneAxisParams { zone: Some(zones[k]), pixel: record.pixel, ..study_params(energy) };
                let height = patterns[k].net().layer.to_per_angstrom();
                let limit = params.limit.to_per_angstrom();
                let every = ideal_pairs(&kinematic, &record, height, limit, f64::INFINITY)?;
                let pairs = ideal_pairs(&kinematic, &record, height, limit, rivals[k])?;
                let of = |pairs: &[FriedelPair], s| {
                    cramer_rao(pairs, tilt, thickness, spread, s, &params.excitation).map(|b| b[0].to_deg())
                };
                let bound = |s| of(&pairs, s);
                table.share.push(list.iter().map(|r| r.share).sum());
                bar.inc(1);
                let Ok(found) = find_zone_axis(&counts, Some(&record.open()?), Some(&atoms), &params) else {
                    table.failed += 1;
                    continue;
                };
                let error = (found.fit.tilt.phi() - tilt.phi()).abs().to_deg();
                if options.flag("verbose") {
                    let b = bound(Strengths::Free)?;
                    let f = &found.fit;
                    eprintln!(
                        "{i} zone {k} φ {:.2} az {:.0} T {:.1} error {error:.4} bound {b:.4} σ {:.4} T {:.1} ρ {:.3} D {:.2} confidence {:.3} pairs {} centre off {:.2} {:.2}",
                        tilt.phi().to_deg(),
                        tilt.azimuth().to_deg(),
                        thickness.to_nm(),
                        f.sigma_phi.to_deg(),
                        f.thickness.to_nm(),
                        f.spread,
                        f.deviance,
                        f.confidence,
                        f.pairs,
                        found.indexed.centre()[0] - centre[0],
                        found.indexed.centre()[1] - centre[1]
                    );
                }
                table.bound.push(bound(Strengths::Free)?);
                table.all_pairs.push(of(&every, Strengths::Free)?);
                table.known.push(bound(Strengths::Known)?);
                let off = found.fit.tilt.angle_to(&tilt);
                let wrong = off > found.fit.sigma_phi.max(found.fit.sigma_across) * 5.0;
                let flagged = found.fit.confidence < FLAG;
                table.wrong += u64::from(wrong);
                table.flagged += u64::from(flagged);
                table.unflagged += u64::from(wrong && !flagged);
                table.phi.push(error);
                table.ratio.push(error / table.bound[table.bound.len() - 1]);
                table.whole.push(found.fit.tilt.angle_to(&tilt).to_deg());
                table.circle.push(found.circle.map_or(90.0, |c| (c.tilt.phi() - tilt.phi()).abs().to_deg()));
                table.counted.push(found.electrons);
                x.push(tilt.phi().to_deg());
                y.push(error.max(1e-4));
            }
            bar.finish();
            let name = format!("{name} {electrons:.0e}{}", if multislice { " multislice" } else { "" });
            let line = table.line(&name);
            eprintln!("{line}");
            lines.push(line);
            plot.series.push(Series { label: name, x, y, line: Line::Points, ..Series::default() });
        }
    }
    let mut panel = Panel { cell: [420, 640], ..Panel::new(1) };
    panel.add(Cell::Plot(plot));
    let png = out.join("zone_axis_study.png");
    panel.render()?.write_png(&png)?;
    // Over (100 nm)²: a first pattern of 5·10⁵ electrons, a second one near the axis of 5·10⁴.
    let dose = (5e5 + 5e4) / 1e6;
    let png = png.display().to_string();
    Ok(serde_json::json!({ "table": lines, "dose_of_two_patterns_per_A2": dose, "png": png }))
}

/// Distance between two layers with reflections over the same places, 1/Å.
fn rival(net: &ZoneNet) -> f64 {
    let whole = |k: &i32| net.offset.iter().all(|f| (f64::from(*k) * f - (f64::from(*k) * f).round()).abs() < 0.1);
    (1..=8).find(whole).map_or(f64::INFINITY, |k| f64::from(k) * net.layer.to_per_angstrom())
}

/// The pairs as they would be counted without error, the background under 4πσ² pixels: what the bound is computed from. Pairs of which the
/// stop covers a part are none, nor are those of which the reflection of another layer, `rival` away, has a part: two counts tell nothing
/// of two unknown strengths.
fn ideal_pairs(
    list: &[Reflection],
    record: &RecordParams,
    height: f64,
    limit: f64,
    rival: f64,
) -> Result<Vec<FriedelPair>, Failure> {
    let area = 4.0 * std::f64::consts::PI * record.spot * record.spot;
    let elastic = record.electrons * (1.0 - record.diffuse - record.ring);
    let by_hkl: std::collections::BTreeMap<[i32; 3], &Reflection> = list.iter().map(|r| (r.hkl, r)).collect();
    let open = record.open()?;
    let pixel = record.pixel.to_per_angstrom();
    let seen = |q: [f64; 2]| {
        let at = [0, 1].map(|i| record.centre[i] + q[i] / pixel);
        let r = 2.2 * record.spot;
        let corners = [[-r, 0.0], [r, 0.0], [0.0, -r], [0.0, r]].map(|d| [at[0] + d[0], at[1] + d[1]]);
        corners.iter().all(|c| {
            let inside = (0..2).all(|i| c[i] >= 0.0 && c[i] <= (record.dims[i] - 1) as f64);
            inside && open.as_slice()[c[0].round() as usize * record.dims[1] + c[1].round() as usize]
        })
    };
    let alone = |s: SpatialFrequency| {
        let s = s.to_per_angstrom();
        3.0 * s.abs() < (s - rival).abs().min((s + rival).abs())
    };
    let mut pairs = Vec::new();
    for r in list.iter().filter(|r| r.hkl > [0; 3]) {
        let Some(partner) = by_hkl.get(&r.hkl.map(|h| -h)) else { continue };
        let q = r.q[0].hypot(r.q[1]);
        let seen = q < limit && seen(r.q) && seen(partner.q);
        if seen && alone(r.excitation) && alone(partner.excitation) {
            let b = record.background(SpatialFrequency::per_angstrom(q)) * area;
            let counts = [r.share, partner.share].map(|s| s * elastic + b);
            pairs.push(FriedelPair { q: r.q, height: f64::from(r.layer) * height, counts, background: [b; 2] });
        }
    }
    Ok(pairs)
}

/// The reflections by multislice: the smallest orthogonal cell along the zone axis, slices of 1 Å or so, the
/// mistilt in the propagator.
fn exact(atoms: &Atoms, zone: [i32; 3], p: &CrystalParams) -> Result<Vec<Reflection>, Failure> {
    let up = if zone == [0, 0, 1] || zone == [0, 1, 0] { [1, 0, 0] } else { [0, 0, 1] };
    let cell = atoms.oriented(zone, up)?;
    let [lz, ly, lx] = cell.edges()?.map(|l| l.to_angstrom());
    let cells = (p.thickness.to_angstrom() / lz).round().max(1.0) as usize;
    let even = |l: f64| 2 * (l / 0.16 / 2.0).ceil() as usize;
    let dims = [even(ly), even(lx)];
    let grid = Grid { dims, sampling: [Length::angstrom(ly / dims[0] as f64), Length::angstrom(lx / dims[1] as f64)] };
    // One cell of slices, passed as often as the crystal is thick; thermal motion damps the potential.
    let slices = (lz / 1.3).ceil();
    let params =
        PotentialParams { grid, slicing: Slicing::Thickness(Length::angstrom(lz / slices)), ..Default::default() };
    let v = PotentialPlan::<f32>::new(&cell.repeated([1, 1, cells])?, &params)?.build()?;
    // The beam's direction in the crystal is opposite to the crystal's tilt.
    let tilt = p.tilt.slope().map(|w| Angle::rad(-w));
    let plan = Multislice::<f32>::new(&MultisliceParams {
        energy: p.energy,
        grid,
        thickness: v.thickness.clone(),
        tilt,
        ..MultisliceParams::default()
    })?;
    let waves = plan.exit_waves(&plan.transmission(&v)?, &plan.plane_waves(1)?)?;
    let pattern = diffraction(&waves, &exitwave::par::Par::seq())?;
    let total: f64 = pattern.as_slice().iter().map(|v| f64::from(*v)).sum();
    let mut list = Vec::new();
    for i in 0..dims[0] {
        for j in 0..dims[1] {
            let (h, k) = (frequency_index(i, dims[0]) as i32, frequency_index(j, dims[1]) as i32);
            let q = [f64::from(h) / ly, f64::from(k) / lx];
            let share = f64::from(pattern.as_slice()[i * dims[1] + j]) / total;
            if (h, k) != (0, 0) && q[0].hypot(q[1]) < 1.5 && share > 1e-9 {
                list.push(Reflection { hkl: [h, k, 0], layer: 0, q, excitation: SpatialFrequency::ZERO, share });
            }
        }
    }
    Ok(list)
}
