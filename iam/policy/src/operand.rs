//! The values that condition operators compare with, read once.

use std::net::{IpAddr, Ipv6Addr};

use crate::facts::Scalar;

/// Digits after the point that a decimal keeps.
const FRACTION_DIGITS: usize = 9;

/// A decimal number, exact: the Numeric operators must not round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decimal(i128);

impl Decimal {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || whole.len() > 20 || fraction.len() > FRACTION_DIGITS {
            return None;
        }
        if !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let scale = 10_i128.pow(FRACTION_DIGITS as u32);
        let missing = 10_i128.pow((FRACTION_DIGITS - fraction.len()) as u32);
        let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<i128>().ok()? * missing };
        let value = whole.parse::<i128>().ok()? * scale + fraction;
        Some(Self(if is_negative { -value } else { value }))
    }

    pub(crate) fn of(value: Scalar<'_>) -> Option<Self> {
        match value {
            Scalar::Text(text) => Self::parse(text),
            Scalar::Number(number) | Scalar::Time(number) => {
                Some(Self(i128::from(number) * 10_i128.pow(FRACTION_DIGITS as u32)))
            }
            Scalar::Flag(_) => None,
        }
    }
}

/// A network in CIDR form; an address alone is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    bits: u128,
    mask: u128,
}

impl Network {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let length_max = if address.is_ipv4() { 32 } else { 128 };
        let length = match prefix {
            Some(prefix) if prefix.bytes().all(|b| b.is_ascii_digit()) => prefix.parse::<u32>().ok()?,
            Some(_) => return None,
            None => length_max,
        };
        if length > length_max {
            return None;
        }
        // IPv4 is compared inside ::ffff:0:0/96, so that a mapped address is the address that it maps.
        let length = length + 128 - length_max;
        let mask = if length == 0 { 0 } else { u128::MAX << (128 - length) };
        Some(Self { bits: bits(address) & mask, mask })
    }

    pub(crate) fn contains(self, text: &str) -> bool {
        text.parse::<IpAddr>().is_ok_and(|address| bits(address) & self.mask == self.bits)
    }

    /// True if it spans so much that it names nobody: more than a /8 of IPv4 or a /32 of IPv6.
    pub(crate) fn is_wide(self) -> bool {
        let is_ipv4 = self.mask.leading_ones() >= 96 && self.bits >> 32 == 0xffff;
        self.mask.leading_ones() < if is_ipv4 { 96 + 8 } else { 32 }
    }
}

fn bits(address: IpAddr) -> u128 {
    let wide: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    wide.to_bits()
}

/// Reads `true` and `false`, in any case.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Decimal, Network};

    #[test]
    fn decimals_are_exact() {
        assert!(Decimal::parse("9007199254740993") > Decimal::parse("9007199254740992"));
        assert_eq!(Decimal::parse("1.50"), Decimal::parse("1.5"));
        assert!(Decimal::parse("-0.1") < Decimal::parse("0"));
        for bad in ["", "-", ".5", "1e3", "0x10", "1 ", "1.0000000001"] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let network = Network::parse("192.0.2.0/25").unwrap();
        assert!(network.contains("192.0.2.127") && network.contains("::ffff:192.0.2.1"));
        assert!(!network.contains("192.0.2.128") && !network.contains("::1") && !network.contains("name"));
        assert!(Network::parse("2001:db8::/32").unwrap().contains("2001:db8::1"));
        assert!(Network::parse("0.0.0.0/0").unwrap().contains("203.0.113.9"));
        assert!(!Network::parse("0.0.0.0/0").unwrap().contains("2001:db8::1"));
        for bad in ["192.0.2.0/33", "192.0.2", "::/129", "192.0.2.0/", "192.0.2.0/+8", "*"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
