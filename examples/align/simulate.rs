//! The series that is simulated: UiO-66 under a microscope, drifting, on a counting camera.

#[path = "../../tests/support/drifting_crystal.rs"]
pub mod drifting_crystal;

use drifting_crystal::{Crystal, Scene, drift};
use exitwave::multislice::{Averaging, HrtemImage, Multislice, MultisliceParams};
use exitwave::optics::{Aberrations, Aperture, CtfParams, FocalSpread, Grid, SourceAngle};
use exitwave::par::Par;
use exitwave::specimen::{PotentialParams, PotentialPlan, Slicing, Species, crystals};
use exitwave::units::{Angle, Energy, Length};

use super::support::{Failure, Options};

/// Pixel of the camera at the specimen.
pub const PIXEL: Length = Length::angstrom(1.0);
const CELL: usize = 96;

/// A series to be simulated.
pub struct Simulation {
    pub crystal: Crystal,
    pub electrons: f64,
    pub frames: usize,
    pub jumps: usize,
    pub seed: u64,
}

impl Simulation {
    pub fn from_options(options: &Options, par: &Par) -> Result<Self, Failure> {
        let scene = match options.get("scene", "corner".to_string())?.as_str() {
            "infinite" => Scene::Infinite,
            "corner" => Scene::Corner,
            "faint-corner" => Scene::FaintCorner,
            "defect" => Scene::Defect,
            "spot" => Scene::Spot,
            other => return Err(format!("--scene {other} (see --help)").into()),
        };
        let side = options.get("side", 2048)?;
        Ok(Simulation {
            crystal: uio66([side; 2], options.get("contrast", 0.05)?, scene, par)?,
            electrons: options.get("electrons", 0.033)?,
            frames: options.get("frames", 120)?,
            jumps: options.get("jumps", 3)?,
            seed: options.get("seed", 1)?,
        })
    }

    pub fn track(&self) -> Vec<[f64; 2]> {
        drift(self.frames, 30.0, self.jumps, self.seed)
    }
}

/// The image of a cell of UiO-66 [110], 300 kV, 60 nm under focus, ten cells thick, with its contrast scaled to `contrast`; turned by 12° on the camera.
pub fn uio66(dims: [usize; 2], contrast: f64, scene: Scene, par: &Par) -> Result<Crystal, Failure> {
    let mut cell = crystals::uio_66().oriented([1, 1, 0], [0, 0, 1])?;
    for (symbol, sigma) in [("C", 0.1007), ("H", 0.1007), ("O", 0.0872), ("Zr", 0.0390)] {
        cell = cell.with_sigma(Species::from_symbol(symbol)?, Length::angstrom(sigma));
    }
    let [_, y, x] = cell.edges()?;
    let crystal = cell.repeated([1, 1, 6])?;
    let energy = Energy::kev(300.0);
    let grid = Grid { dims: [CELL; 2], sampling: [y / CELL as f64, x / CELL as f64] };
    let slicing = Slicing::Thickness(Length::angstrom(3.0));
    let potential = PotentialParams { grid, slicing, par: par.clone(), ..Default::default() };
    let v = PotentialPlan::<f64>::new(&crystal, &potential)?.build()?;
    let params =
        MultisliceParams { energy, grid, thickness: v.thickness.clone(), par: par.clone(), ..Default::default() };
    let multislice = Multislice::new(&params)?;
    let wave = multislice.exit_waves(&multislice.transmission(&v)?, &multislice.plane_waves(1)?)?;
    let mut aberrations = Aberrations::from_defocus(Length::nm(60.0));
    aberrations.set_cs(Length::mm(1.2));
    let ctf = CtfParams {
        energy,
        aberrations,
        aperture: Aperture::Soft { semi_angle: Angle::mrad(9.0) },
        focal_spread: FocalSpread::rms(Length::nm(4.0)),
        source_angle: SourceAngle::rms(Angle::mrad(0.1)),
        ..Default::default()
    };
    let image = HrtemImage::<f64>::new(&ctf, grid, Averaging::Envelope, par.clone())?.images(&wave)?;
    let (s, c) = 12f64.to_radians().sin_cos();
    let (a, b) = (y.to_angstrom() / PIXEL.to_angstrom(), x.to_angstrom() / PIXEL.to_angstrom());
    let mut crystal = Crystal::new(dims, [a * c, a * s], [-b * s, b * c], CELL, image.into_vec(), contrast, scene);
    // The projection of the face-centred cell is centred.
    crystal.primitive[1] = [0, 1].map(|i| 0.5 * (crystal.a[i] + crystal.b[i]));
    Ok(crystal)
}
