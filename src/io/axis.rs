//! What the indices of a data set mean: axes with their calibration.

use std::fmt;

use crate::units::{Angle, Energy, Length, SpatialFrequency, Time};

/// One axis of a data set: element i stands at `offset + i · scale`, in the unit of the file.
///
/// # Units
/// The unit is kept as the file has it. [`Axis::step`] and [`Axis::start`] give the numbers as quantities; a unit that
/// is not known stays text there too.
///
/// ```
/// use exitwave::io::{Axis, Quantity};
/// use exitwave::units::Length;
/// let axis = Axis::new("x", 256, 0.5, -64.0, "nm");
/// assert_eq!(axis.step(), Quantity::Length(Length::nm(0.5)));
/// assert_eq!(axis.value(2), -63.0);
/// let odd = Axis::new("x", 4, 1.0, 0.0, "furlong");
/// assert_eq!(odd.step().to_string(), "1 furlong");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Name, empty when the file has none.
    pub name: String,
    /// Number of elements.
    pub size: usize,
    /// Distance of two elements, in `unit`.
    pub scale: f64,
    /// Position of the first element, in `unit`.
    pub offset: f64,
    /// The unit as the file has it; empty where it has none, and for pixels.
    pub unit: String,
}

/// A number with its dimension, as far as that is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Quantity {
    /// A length.
    Length(Length),
    /// A spatial frequency.
    Frequency(SpatialFrequency),
    /// An angle.
    Angle(Angle),
    /// An energy.
    Energy(Energy),
    /// A time.
    Time(Time),
    /// A number without unit: pixels, frames.
    Number(f64),
    /// A unit that is not known here, as text.
    Unknown(f64, String),
}

impl Axis {
    /// An axis with all its numbers.
    pub fn new(name: impl Into<String>, size: usize, scale: f64, offset: f64, unit: impl Into<String>) -> Self {
        Axis { name: name.into(), size, scale, offset, unit: unit.into() }
    }

    /// An axis of which only the number of elements is known: scale 1, offset 0, no unit.
    pub fn plain(name: impl Into<String>, size: usize) -> Self {
        Axis::new(name, size, 1.0, 0.0, "")
    }

    /// Position of element `i`, in the unit of the file.
    pub fn value(&self, i: usize) -> f64 {
        self.offset + i as f64 * self.scale
    }

    /// The scale as a quantity.
    pub fn step(&self) -> Quantity {
        quantity(self.scale, &self.unit)
    }

    /// The offset as a quantity.
    pub fn start(&self) -> Quantity {
        quantity(self.offset, &self.unit)
    }

    /// The scale, if it is a length.
    pub fn length(&self) -> Option<Length> {
        match self.step() {
            Quantity::Length(l) => Some(l),
            _ => None,
        }
    }

    /// The scale, if it is a spatial frequency.
    pub fn frequency(&self) -> Option<SpatialFrequency> {
        match self.step() {
            Quantity::Frequency(k) => Some(k),
            _ => None,
        }
    }

    /// The scale, if it is an angle.
    pub fn angle(&self) -> Option<Angle> {
        match self.step() {
            Quantity::Angle(a) => Some(a),
            _ => None,
        }
    }

    /// The scale, if it is an energy.
    pub fn energy(&self) -> Option<Energy> {
        match self.step() {
            Quantity::Energy(e) => Some(e),
            _ => None,
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quantity::Length(v) => v.fmt(f),
            Quantity::Frequency(v) => v.fmt(f),
            Quantity::Angle(v) => v.fmt(f),
            Quantity::Energy(v) => v.fmt(f),
            Quantity::Time(v) => v.fmt(f),
            Quantity::Number(v) => v.fmt(f),
            Quantity::Unknown(v, unit) => write!(f, "{v} {unit}"),
        }
    }
}

/// A number with the unit that the text names. Only unambiguous spellings are known: `"A"` on an axis is the ångström
/// of the field's programs, never ampere; anything else is left as it is.
pub(crate) fn quantity(value: f64, unit: &str) -> Quantity {
    let text = unit.trim();
    // The prefix µ has two code points, and programs write `u` for want of either.
    let plain: String = text.chars().map(|c| if c == '\u{b5}' || c == '\u{3bc}' { 'u' } else { c }).collect();
    let reciprocal = plain.strip_prefix("1/").or_else(|| plain.strip_suffix("^-1")).or_else(|| {
        let base = plain.strip_suffix("-1")?;
        (!base.is_empty()).then_some(base)
    });
    if let Some(base) = reciprocal {
        return match length(1.0, base.trim()) {
            Some(l) => Quantity::Frequency(value / l),
            None => Quantity::Unknown(value, text.to_string()),
        };
    }
    if let Some(l) = length(value, &plain) {
        return Quantity::Length(l);
    }
    match plain.as_str() {
        "" | "1" | "px" | "pix" | "pixel" | "pixels" | "[]" => Quantity::Number(value),
        "rad" | "radian" | "radians" => Quantity::Angle(Angle::rad(value)),
        "mrad" => Quantity::Angle(Angle::mrad(value)),
        "urad" => Quantity::Angle(Angle::urad(value)),
        "deg" | "degree" | "degrees" | "°" => Quantity::Angle(Angle::deg(value)),
        "eV" => Quantity::Energy(Energy::ev(value)),
        "meV" => Quantity::Energy(Energy::ev(1e-3 * value)),
        "keV" => Quantity::Energy(Energy::kev(value)),
        "s" | "sec" | "seconds" => Quantity::Time(Time::s(value)),
        "ms" => Quantity::Time(Time::s(1e-3 * value)),
        "us" => Quantity::Time(Time::s(1e-6 * value)),
        "ns" => Quantity::Time(Time::s(1e-9 * value)),
        _ => Quantity::Unknown(value, text.to_string()),
    }
}

fn length(value: f64, unit: &str) -> Option<Length> {
    Some(match unit {
        "A" | "Å" | "\u{212b}" | "Ang" | "ang" | "angstrom" | "Angstrom" | "angstroms" => Length::angstrom(value),
        "pm" => Length::pm(value),
        "nm" => Length::nm(value),
        "um" | "micron" | "microns" => Length::um(value),
        "mm" => Length::mm(value),
        "cm" => Length::mm(10.0 * value),
        "m" | "meter" | "meters" => Length::m(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_the_field_become_quantities_and_others_stay_text() {
        assert_eq!(quantity(2.0, "µm"), Quantity::Length(Length::um(2.0)));
        assert_eq!(quantity(2.0, "\u{3bc}m"), Quantity::Length(Length::um(2.0)));
        let Quantity::Frequency(k) = quantity(5.0, "1/nm") else { panic!("no frequency") };
        assert!((k.to_per_angstrom() - 0.5).abs() < 1e-15);
        let Quantity::Frequency(k) = quantity(5.0, "nm^-1") else { panic!("no frequency") };
        assert!((k.to_per_angstrom() - 0.5).abs() < 1e-15);
        let Quantity::Frequency(k) = quantity(0.25, "A^-1") else { panic!("no frequency") };
        assert_eq!(k.to_per_angstrom(), 0.25);
        assert_eq!(quantity(3.0, "keV"), Quantity::Energy(Energy::kev(3.0)));
        assert_eq!(quantity(3.0, "pixels"), Quantity::Number(3.0));
        for odd in ["nm/s", "1/s", "Kelvin", "NM", "-1"] {
            assert_eq!(quantity(1.0, odd), Quantity::Unknown(1.0, odd.to_string()), "{odd}");
        }
    }
}
