//! The service over ranges and extents in memory. Every command is carried out twice, as a retry would do it.

mod account_quotas;
mod benches;
mod buckets;
mod classes;
mod copies;
mod encryption;
mod holdings;
mod inspect;
mod lifecycle;
mod listing;
mod model;
mod objects;
mod quotas;
mod renames;
mod settings;
mod support;
mod uploads;
mod versions;
