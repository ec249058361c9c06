//! A number in 3 bytes.

/// An `f32` without its last byte: whole numbers up to 65 536, and 4 digits of others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packed([u8; 3]);

/// Half of what the last byte can hold, so that cutting it off rounds.
const HALF: u32 = 0x80;

impl Packed {
    /// There is no value.
    pub const NONE: Self = Self([0x7f, 0xc0, 0]);

    pub fn of(value: f64) -> Self {
        if !value.is_finite() {
            return Self::NONE;
        }
        // Values above the range of an `f32` become infinite, which is not a value either.
        let bits = (value as f32).to_bits().saturating_add(HALF);
        let [a, b, c, _] = bits.to_be_bytes();
        Self([a, b, c])
    }

    pub fn get(self) -> Option<f64> {
        let [a, b, c] = self.0;
        let value = f64::from(f32::from_be_bytes([a, b, c, 0]));
        value.is_finite().then(|| rounded(value))
    }
}

/// Rounds to 5 digits, so that a value is short when it is written.
fn rounded(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let digits = 4 - value.abs().log10().floor() as i32;
    match digits {
        // A power of ten that is an exact number.
        0..=22 => {
            let scale = 10_f64.powi(digits);
            (value * scale).round() / scale
        }
        ..0 => {
            let scale = 10_f64.powi(-digits);
            (value / scale).round() * scale
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_stay_as_they_are() {
        for value in [0.0, 1.0, 65_535.0, 0.5, 0.000_25, 12.345, 1e6, 2e9, 123_450_000.0] {
            assert_eq!(Packed::of(value).get(), Some(value), "{value}");
        }
        for none in [f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(Packed::of(none).get(), None, "{none}");
        }
        assert_eq!(Packed::NONE.get(), None);
    }

    proptest::proptest! {
        #[test]
        fn numbers_keep_four_digits(value in -1e12..1e12_f64) {
            let kept = Packed::of(value).get().unwrap();
            proptest::prop_assert!((kept - value).abs() <= value.abs() * 1e-4, "{value} {kept}");
        }
    }
}
