//! Values of any type that can be deserialised, with the names and types of what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::value::U32Deserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// Values of one type that are made at most, until all variants have come.
const TRIES_MAX: usize = 3000;
/// Depth at which what may be absent is absent, for types that contain themselves.
const DEPTH_MAX: usize = 12;

/// A value and what it is.
#[derive(Clone, Debug)]
pub struct Sample<T> {
    /// The value.
    pub value: T,
    /// Names and types of all that is in it, in their order.
    pub shape: String,
}

/// What was seen while samples were made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Structs and enums.
    pub(crate) names: BTreeSet<String>,
    /// Variants of the type itself when it is an enum.
    pub(crate) own_variants: Option<usize>,
}

/// Samples of a type that have each variant of each enum in them at least once.
///
/// # Panics
/// When the type does not take what it is given: it needs samples by hand.
pub fn samples<T: Deserialize<'static>>() -> Vec<Sample<T>> {
    traced().0
}

pub(crate) fn traced<T: Deserialize<'static>>() -> (Vec<Sample<T>>, Seen) {
    let mut sampler = Sampler::default();
    let mut found = Vec::new();
    for number in 0..TRIES_MAX {
        sampler.start();
        let value = T::deserialize(&mut sampler).unwrap_or_else(|error| {
            panic!("{}: no sample, give it by hand: {error}, after {}", std::any::type_name::<T>(), sampler.shape)
        });
        if number == 0 {
            sampler.seen.own_variants = sampler.first_enum.take();
        }
        if sampler.news || number == 0 {
            found.push(Sample { value, shape: sampler.shape.clone() });
        }
        if sampler.enums.values().all(|(taken, all)| taken.len() == *all) {
            return (found, sampler.seen);
        }
    }
    panic!("{}: some variants never came", std::any::type_name::<T>());
}

/// An enum: its name, and its variants, because others may have the same name.
type Enum = (&'static str, &'static [&'static str]);

/// Makes values up: numbers and texts that differ from one another, one element of each list, all that is optional.
#[derive(Default)]
struct Sampler {
    counter: u64,
    depth: usize,
    shape: String,
    /// Variants of each enum that were taken, and how many it has.
    enums: BTreeMap<Enum, (BTreeSet<u32>, usize)>,
    visits: BTreeMap<Enum, u32>,
    /// Whether this sample has a variant that none had before.
    news: bool,
    /// Variants of the enum that was met before anything else.
    first_enum: Option<usize>,
    seen: Seen,
}

impl Sampler {
    fn start(&mut self) {
        self.counter = 0;
        self.depth = 0;
        self.shape.clear();
        self.news = false;
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn next_text(&mut self) -> &'static str {
        let number = self.next();
        Box::leak(format!("s{number}").into_boxed_str())
    }

    /// The variant to take: one that was not taken before, else one after the other.
    fn variant(&mut self, one: Enum) -> u32 {
        let all = one.1.len();
        let visits = self.visits.entry(one).or_default();
        *visits += 1;
        let (taken, _) = self.enums.entry(one).or_insert_with(|| (BTreeSet::new(), all));
        let count = u32::try_from(all).expect("few variants");
        if self.depth > DEPTH_MAX {
            taken.insert(0);
            return 0;
        }
        let chosen = (0..count).find(|variant| !taken.contains(variant)).unwrap_or((*visits - 1) % count);
        self.news |= taken.insert(chosen);
        chosen
    }
}

/// Why a value could not be made up.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl serde::de::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty, $name:literal;)+) => { $(
        fn $method<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
            self.shape.push_str($name);
            // Small ones would not stay apart beyond.
            let number = <$type>::try_from(self.next() % 100).map_err(Refused::custom)?;
            visitor.$visit(number)
        }
    )+ };
}

impl Deserializer<'static> for &mut Sampler {
    type Error = Refused;

    numbers! {
        deserialize_u8 visit_u8 u8, "u8";
        deserialize_u16 visit_u16 u16, "u16";
        deserialize_u32 visit_u32 u32, "u32";
        deserialize_u64 visit_u64 u64, "u64";
        deserialize_u128 visit_u128 u128, "u128";
        deserialize_i8 visit_i8 i8, "i8";
        deserialize_i16 visit_i16 i16, "i16";
        deserialize_i32 visit_i32 i32, "i32";
        deserialize_i64 visit_i64 i64, "i64";
        deserialize_i128 visit_i128 i128, "i128";
    }

    fn deserialize_any<V: Visitor<'static>>(self, _visitor: V) -> Result<V::Value, Refused> {
        Err(Refused::custom("it does not say what it wants"))
    }

    fn deserialize_bool<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.push_str("bool");
        visitor.visit_bool(true)
    }

    fn deserialize_f32<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.push_str("f32");
        visitor.visit_f32(1.5)
    }

    fn deserialize_f64<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.push_str("f64");
        visitor.visit_f64(2.5)
    }

    fn deserialize_char<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.push_str("char");
        visitor.visit_char('c')
    }

    fn deserialize_str<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.push_str("text");
        visitor.visit_borrowed_str(self.next_text())
    }

    fn deserialize_string<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.push_str("bytes");
        visitor.visit_borrowed_bytes(self.next_text().as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        if self.depth > DEPTH_MAX {
            self.shape.push_str("None");
            return visitor.visit_none();
        }
        self.depth += 1;
        self.shape.push('?');
        let value = visitor.visit_some(&mut *self);
        self.depth -= 1;
        value
    }

    fn deserialize_unit<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.push_str("()");
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'static>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refused> {
        self.seen.names.insert(name.to_owned());
        self.shape.push_str(name);
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'static>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.seen.names.insert(name.to_owned());
        self.shape.push_str(name);
        self.shape.push('(');
        let value = visitor.visit_newtype_struct(&mut *self);
        self.shape.push(')');
        value
    }

    fn deserialize_seq<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.push('[');
        let left = usize::from(self.depth <= DEPTH_MAX);
        let value = visitor.visit_seq(Fields { sampler: self, left, names: None });
        self.shape.push(']');
        value
    }

    fn deserialize_tuple<V: Visitor<'static>>(self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        let before = self.shape.len();
        self.shape.push('(');
        let value = visitor.visit_seq(Fields { sampler: self, left: length, names: None });
        self.shape.push(')');
        // An array of one type is written as such.
        let inside = self.shape[before + 1..self.shape.len() - 1].to_owned();
        let (first, rest) = inside.split_once(',').unwrap_or((&inside, ""));
        if length > 3 && rest.split(',').all(|other| other == first) {
            self.shape.truncate(before);
            self.shape.push_str(&format!("[{first};{length}]"));
        }
        value
    }

    fn deserialize_tuple_struct<V: Visitor<'static>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.seen.names.insert(name.to_owned());
        self.shape.push_str(name);
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.shape.push_str("map[");
        let left = usize::from(self.depth <= DEPTH_MAX);
        let value = visitor.visit_map(Fields { sampler: self, left, names: None });
        self.shape.push(']');
        value
    }

    fn deserialize_struct<V: Visitor<'static>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.seen.names.insert(name.to_owned());
        self.shape.push_str(name);
        self.fields(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'static>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        if self.shape.is_empty() {
            self.first_enum = Some(variants.len());
        }
        self.seen.names.insert(name.to_owned());
        let chosen = self.variant((name, variants));
        self.shape.push_str(&format!("{name}::{}", variants[chosen as usize]));
        self.depth += 1;
        let value = visitor.visit_enum(Variant { sampler: &mut *self, chosen });
        self.depth -= 1;
        value
    }

    fn deserialize_identifier<V: Visitor<'static>>(self, _visitor: V) -> Result<V::Value, Refused> {
        Err(Refused::custom("it wants a name"))
    }

    fn deserialize_ignored_any<V: Visitor<'static>>(self, _visitor: V) -> Result<V::Value, Refused> {
        Err(Refused::custom("it ignores something"))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl Sampler {
    fn fields<V: Visitor<'static>>(&mut self, names: &'static [&'static str], visitor: V) -> Result<V::Value, Refused> {
        self.shape.push('{');
        self.depth += 1;
        let value = visitor.visit_seq(Fields { sampler: self, left: names.len(), names: Some(names) });
        self.depth -= 1;
        self.shape.push('}');
        value
    }
}

/// What is in a struct, a tuple, a list or a map.
struct Fields<'a> {
    sampler: &'a mut Sampler,
    left: usize,
    names: Option<&'static [&'static str]>,
}

impl Fields<'_> {
    fn begin(&mut self) {
        if !self.sampler.shape.ends_with(['{', '(', '[']) {
            self.sampler.shape.push(',');
        }
        if let Some(names) = self.names {
            self.sampler.shape.push_str(names[names.len() - self.left]);
            self.sampler.shape.push(':');
        }
        self.left -= 1;
    }
}

impl SeqAccess<'static> for Fields<'_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'static>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        if self.left == 0 {
            return Ok(None);
        }
        self.begin();
        seed.deserialize(&mut *self.sampler).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl MapAccess<'static> for Fields<'_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'static>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'static>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        self.sampler.shape.push(':');
        seed.deserialize(&mut *self.sampler)
    }
}

/// The variant of an enum.
struct Variant<'a> {
    sampler: &'a mut Sampler,
    chosen: u32,
}

impl<'a> EnumAccess<'static> for Variant<'a> {
    type Error = Refused;
    type Variant = &'a mut Sampler;

    fn variant_seed<S: DeserializeSeed<'static>>(self, seed: S) -> Result<(S::Value, Self::Variant), Refused> {
        let chosen: U32Deserializer<Refused> = self.chosen.into_deserializer();
        Ok((seed.deserialize(chosen)?, self.sampler))
    }
}

impl VariantAccess<'static> for &mut Sampler {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'static>>(self, seed: S) -> Result<S::Value, Refused> {
        self.shape.push('(');
        let value = seed.deserialize(&mut *self);
        self.shape.push(')');
        value
    }

    fn tuple_variant<V: Visitor<'static>>(self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'static>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.fields(fields, visitor)
    }
}
