//! Which numbers of the microscope are sought with the phase, and in what units.

use crate::lorentz::{SETTING_WORDS, Word};

/// Whether a number of the microscope is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freedom {
    /// Known.
    #[default]
    Fixed,
    /// Wrong by the same amount (lengths, angles) or factor (source angle, focal spread) in all images.
    Common,
    /// Wrong in each image by itself.
    Each,
}

/// Which numbers of the microscope are retrieved together with the phase.
///
/// Where images lie is relative: shift, rotation and magnification of image 0 stay as they are. Defoci are relative too,
/// almost: in the limit of small phases all defoci times c and the phase divided by c give the same images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeSettings {
    /// Defocus.
    pub defocus: Freedom,
    /// Twofold astigmatism, both components.
    pub astigmatism: Freedom,
    /// Spherical aberration.
    pub cs: Freedom,
    /// Spread of beam directions, θ_c.
    pub source_angle: Freedom,
    /// Spread of focus.
    pub focal_spread: Freedom,
    /// Shift, both components.
    pub shift: Freedom,
    /// Rotation.
    pub rotation: Freedom,
    /// Magnification.
    pub magnification: Freedom,
}

impl FreeSettings {
    /// Nothing is free.
    pub const NONE: FreeSettings = FreeSettings {
        defocus: Freedom::Fixed,
        astigmatism: Freedom::Fixed,
        cs: Freedom::Fixed,
        source_angle: Freedom::Fixed,
        focal_spread: Freedom::Fixed,
        shift: Freedom::Fixed,
        rotation: Freedom::Fixed,
        magnification: Freedom::Fixed,
    };

    fn of(&self, word: Word) -> Freedom {
        match word {
            Word::C10 => self.defocus,
            Word::C12a | Word::C12b => self.astigmatism,
            Word::C30 => self.cs,
            Word::SourceAngle => self.source_angle,
            Word::FocalSpread => self.focal_spread,
            Word::ShiftY | Word::ShiftX => self.shift,
            Word::Rotation => self.rotation,
            Word::LnMagnification => self.magnification,
        }
    }

    /// Whether anything is free.
    pub fn any(&self) -> bool {
        *self != FreeSettings::NONE
    }
}

/// One number that is sought: v changes `word` of the images in `images` by `unit · v`, or by the factor
/// `exp(unit · v)`.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub word: Word,
    pub images: std::ops::Range<usize>,
    pub unit: f64,
}

impl Variable {
    /// Source angle and focal spread stay positive: they change by factors.
    pub fn is_factor(&self) -> bool {
        matches!(self.word, Word::SourceAngle | Word::FocalSpread)
    }

    /// `∂word/∂v` at the current value.
    pub fn slope(&self, value: f64) -> f64 {
        if self.is_factor() { self.unit * value } else { self.unit }
    }
}

/// The list of variables of a series of n images.
pub(crate) fn variables(free: &FreeSettings, settings: &[[f64; SETTING_WORDS]]) -> Vec<Variable> {
    let n = settings.len();
    let mut out = Vec::new();
    for word in Word::ALL {
        let relative = word as usize >= Word::ShiftY as usize;
        // A spread of zero cannot be multiplied.
        let dead = |k: &std::ops::Range<usize>| {
            matches!(word, Word::SourceAngle | Word::FocalSpread)
                && settings[k.clone()].iter().all(|s| s[word.index()] == 0.0)
        };
        let ranges: Vec<_> = match free.of(word) {
            Freedom::Fixed => Vec::new(),
            Freedom::Common if relative => Vec::new(),
            Freedom::Common => std::iter::once(0..n).collect(),
            Freedom::Each => (usize::from(relative)..n).map(|k| k..k + 1).collect(),
        };
        out.extend(ranges.into_iter().filter(|r| !dead(r)).map(|images| Variable { word, images, unit: 1.0 }));
    }
    out
}

/// The settings that the values `v` give.
pub(crate) fn settings_of(
    start: &[[f64; SETTING_WORDS]],
    variables: &[Variable],
    v: &[f64],
    out: &mut [[f64; SETTING_WORDS]],
) {
    out.copy_from_slice(start);
    for (var, v) in variables.iter().zip(v) {
        for k in var.images.clone() {
            let w = &mut out[k][var.word.index()];
            // No step of a line search may overflow.
            if var.is_factor() { *w *= (var.unit * v).clamp(-7.0, 7.0).exp() } else { *w += var.unit * v }
        }
    }
}

/// The gradient by v, from that by the settings.
pub(crate) fn gradient_of(
    variables: &[Variable],
    settings: &[[f64; SETTING_WORDS]],
    by: &[[f64; SETTING_WORDS]],
    out: &mut [f64],
) {
    for (var, out) in variables.iter().zip(out) {
        let j = var.word.index();
        *out = var.images.clone().map(|k| by[k][j] * var.slope(settings[k][j])).sum();
    }
}
