//! Quantities with their dimension: one `f64` each, in the crate's internal unit.
//!
//! Parameters and results carry units in their type; a plan converts once, when it is made, and its kernels see plain
//! numbers in internal units (Å, 1/Å, rad, eV, electrons/Å², T, s).
//!
//! Every quantity can be added to and subtracted from its own kind, scaled by an `f64`, and divided by its own kind,
//! which gives an `f64`. Products that change the dimension are spelled out: `Length × Length = Area`,
//! `1/Length = SpatialFrequency`, `Dose × Area = f64` (electrons).
//!
//! ```
//! use exitwave::units::{Angle, Dose, Length};
//! let step = Length::angstrom(0.4);
//! let electrons_per_probe = Dose::per_angstrom2(1000.0) * (step * step);
//! assert!((electrons_per_probe - 160.0).abs() < 1e-9);
//! assert_eq!(Angle::mrad(20.0).to_rad(), 0.02);
//! assert_eq!(Length::nm(1.5) / Length::angstrom(5.0), 3.0);
//! ```

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

/// Declares one quantity: its constructors and accessors are `name => value of the unit in internal units`.
macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $symbol:literal, { $($(#[$udoc:meta])* $unit:ident / $to_unit:ident = $factor:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
        #[repr(transparent)]
        pub struct $name(f64);

        impl $name {
            /// Zero.
            pub const ZERO: $name = $name(0.0);
            $(
                $(#[$udoc])*
                #[inline]
                pub const fn $unit(value: f64) -> Self {
                    $name(value * $factor)
                }
                $(#[$udoc])*
                #[inline]
                pub const fn $to_unit(self) -> f64 {
                    self.0 / $factor
                }
            )+
            /// The magnitude, without its sign.
            #[inline]
            pub const fn abs(self) -> Self {
                $name(self.0.abs())
            }
            /// Whether the value is neither infinite nor NaN.
            #[inline]
            pub const fn is_finite(self) -> bool {
                self.0.is_finite()
            }
            /// The smaller of two values.
            #[inline]
            pub const fn min(self, other: Self) -> Self {
                $name(self.0.min(other.0))
            }
            /// The larger of two values.
            #[inline]
            pub const fn max(self, other: Self) -> Self {
                $name(self.0.max(other.0))
            }
        }

        /// Prints the value in the internal unit, with its symbol.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)?;
                f.write_str(concat!(" ", $symbol))
            }
        }
        impl Add for $name {
            type Output = $name;
            #[inline]
            fn add(self, rhs: $name) -> $name {
                $name(self.0 + rhs.0)
            }
        }
        impl Sub for $name {
            type Output = $name;
            #[inline]
            fn sub(self, rhs: $name) -> $name {
                $name(self.0 - rhs.0)
            }
        }
        impl AddAssign for $name {
            #[inline]
            fn add_assign(&mut self, rhs: $name) {
                self.0 += rhs.0
            }
        }
        impl SubAssign for $name {
            #[inline]
            fn sub_assign(&mut self, rhs: $name) {
                self.0 -= rhs.0
            }
        }
        impl Neg for $name {
            type Output = $name;
            #[inline]
            fn neg(self) -> $name {
                $name(-self.0)
            }
        }
        impl Mul<f64> for $name {
            type Output = $name;
            #[inline]
            fn mul(self, rhs: f64) -> $name {
                $name(self.0 * rhs)
            }
        }
        impl Mul<$name> for f64 {
            type Output = $name;
            #[inline]
            fn mul(self, rhs: $name) -> $name {
                $name(self * rhs.0)
            }
        }
        impl Div<f64> for $name {
            type Output = $name;
            #[inline]
            fn div(self, rhs: f64) -> $name {
                $name(self.0 / rhs)
            }
        }
        impl Div for $name {
            type Output = f64;
            #[inline]
            fn div(self, rhs: $name) -> f64 {
                self.0 / rhs.0
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = $name>>(iter: I) -> $name {
                $name(iter.map(|q| q.0).sum())
            }
        }
    };
}

quantity! {
    /// A length; internally ångström.
    Length, "Å", {
        /// Ångström, 1e-10 m.
        angstrom / to_angstrom = 1.0,
        /// Picometre.
        pm / to_pm = 0.01,
        /// Nanometre.
        nm / to_nm = 10.0,
        /// Micrometre.
        um / to_um = 1e4,
        /// Millimetre.
        mm / to_mm = 1e7,
        /// Metre.
        m / to_m = 1e10,
    }
}
quantity! {
    /// A plane angle; internally radian.
    Angle, "rad", {
        /// Radian.
        rad / to_rad = 1.0,
        /// Milliradian.
        mrad / to_mrad = 1e-3,
        /// Microradian.
        urad / to_urad = 1e-6,
        /// Degree.
        deg / to_deg = std::f64::consts::PI / 180.0,
    }
}
quantity! {
    /// An energy; internally electronvolt.
    Energy, "eV", {
        /// Electronvolt.
        ev / to_ev = 1.0,
        /// Millielectronvolt.
        mev / to_mev = 1e-3,
        /// Kiloelectronvolt: the usual way to state an accelerating voltage.
        kev / to_kev = 1e3,
    }
}
quantity! {
    /// Electrons per area of scanned or imaged specimen; internally electrons per Å².
    Dose, "e/Å²", {
        /// Electrons per square ångström.
        per_angstrom2 / to_per_angstrom2 = 1.0,
        /// Electrons per square nanometre.
        per_nm2 / to_per_nm2 = 0.01,
        /// Coulomb per square centimetre.
        coulomb_per_cm2 / to_coulomb_per_cm2 = 1.0 / (1.602176634e-19 * 1e16),
    }
}
quantity! {
    /// Cycles per length; internally 1/Å. No factor of 2π.
    SpatialFrequency, "1/Å", {
        /// Cycles per ångström.
        per_angstrom / to_per_angstrom = 1.0,
        /// Cycles per nanometre.
        per_nm / to_per_nm = 0.1,
    }
}
quantity! {
    /// A time; internally second.
    Time, "s", {
        /// Second.
        s / to_s = 1.0,
        /// Millisecond.
        ms / to_ms = 1e-3,
        /// Microsecond.
        us / to_us = 1e-6,
        /// Nanosecond.
        ns / to_ns = 1e-9,
    }
}
quantity! {
    /// An area; internally Å².
    Area, "Å²", {
        /// Square ångström.
        angstrom2 / to_angstrom2 = 1.0,
        /// Square nanometre.
        nm2 / to_nm2 = 100.0,
        /// Square micrometre.
        um2 / to_um2 = 1e8,
    }
}
quantity! {
    /// A magnetic flux density; internally tesla.
    Induction, "T", {
        /// Tesla.
        tesla / to_tesla = 1.0,
        /// Millitesla.
        millitesla / to_millitesla = 1e-3,
        /// Gauss.
        gauss / to_gauss = 1e-4,
    }
}

impl Mul for Length {
    type Output = Area;
    #[inline]
    fn mul(self, rhs: Length) -> Area {
        Area(self.0 * rhs.0)
    }
}
impl Div<Length> for Area {
    type Output = Length;
    #[inline]
    fn div(self, rhs: Length) -> Length {
        Length(self.0 / rhs.0)
    }
}
impl Div<Length> for f64 {
    type Output = SpatialFrequency;
    #[inline]
    fn div(self, rhs: Length) -> SpatialFrequency {
        SpatialFrequency(self / rhs.0)
    }
}
impl Div<SpatialFrequency> for f64 {
    type Output = Length;
    #[inline]
    fn div(self, rhs: SpatialFrequency) -> Length {
        Length(self / rhs.0)
    }
}
/// Cycles over a length.
impl Mul<Length> for SpatialFrequency {
    type Output = f64;
    #[inline]
    fn mul(self, rhs: Length) -> f64 {
        self.0 * rhs.0
    }
}
/// Electrons on an area.
impl Mul<Area> for Dose {
    type Output = f64;
    #[inline]
    fn mul(self, rhs: Area) -> f64 {
        self.0 * rhs.0
    }
}
/// Electrons spread over an area.
impl Div<Area> for f64 {
    type Output = Dose;
    #[inline]
    fn div(self, rhs: Area) -> Dose {
        Dose(self / rhs.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_convert_both_ways() {
        assert_eq!(Length::nm(2.0).to_angstrom(), 20.0);
        assert_eq!(Length::mm(1.2), Length::angstrom(1.2e7));
        assert!((Angle::deg(180.0).to_rad() - std::f64::consts::PI).abs() < 1e-15);
        assert_eq!(Energy::kev(300.0).to_ev(), 300e3);
        assert_eq!(Dose::per_nm2(100.0).to_per_angstrom2(), 1.0);
        assert!((Induction::gauss(1e4).to_tesla() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn one_coulomb_per_square_centimetre_is_624_electrons_per_square_angstrom() {
        // 1 C = 1/1.602176634e-19 electrons; 1 cm² = 1e16 Å².
        assert!((Dose::coulomb_per_cm2(1.0).to_per_angstrom2() - 624.1509074460763).abs() < 1e-9);
    }

    #[test]
    fn dimensions_multiply_as_they_should() {
        let a = Length::angstrom(2.0) * Length::angstrom(3.0);
        assert_eq!(a.to_angstrom2(), 6.0);
        assert_eq!(Dose::per_angstrom2(5.0) * a, 30.0);
        assert_eq!((30.0 / a).to_per_angstrom2(), 5.0);
        assert_eq!((1.0 / Length::angstrom(4.0)).to_per_angstrom(), 0.25);
        assert_eq!((1.0 / SpatialFrequency::per_nm(1.0)).to_angstrom(), 10.0);
        assert_eq!(format!("{:.2}", Length::angstrom(1.234)), "1.23 Å");
    }
}
