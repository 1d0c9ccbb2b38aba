//! The cost of a hash: the parameters of argon2id, each with its reason.

use argon2::Params;
use argon2::password_hash::phc::Output;

/// The costs of argon2id (RFC 9106 §3.1), with one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// The memory, in KiB.
    pub memory_kib: u32,
    /// The number of passes over the memory.
    pub passes: u32,
}

impl Costs {
    /// The costs of new hashes. The OWASP Password Storage Cheat Sheet recommends at least 19 MiB and two passes,
    /// with one lane, for argon2id. Of the equivalent settings listed there, this one needs a medium amount of memory,
    /// which even a function with 128 MiB can spare.
    pub const OURS: Self = Self { memory_kib: 19_456, passes: 2 };
}

/// The number of lanes: one, because the functions that compute hashes have one core.
pub(crate) const LANES: u32 = 1;
/// The length of a salt. RFC 9106 §3.1 recommends 16 octets, so that no two hashes share a salt.
pub(crate) const SALT_OCTETS: usize = 16;
/// The length of a hash: the 256 bits recommended in RFC 9106 §4.
pub(crate) const OUTPUT_OCTETS: usize = 32;

/// The parameters of new hashes.
pub(crate) const PARAMS: Params = {
    let Costs { memory_kib, passes } = Costs::OURS;
    match Params::new(memory_kib, passes, LANES, Some(OUTPUT_OCTETS)) {
        Ok(params) => params,
        Err(_) => panic!("the parameters are within argon2's bounds"),
    }
};

/// Whether a new hash would have these parameters.
pub(crate) fn is_current(params: &Params, output: &Output) -> bool {
    let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
    costs(params) == costs(&PARAMS) && output.len() == OUTPUT_OCTETS
}
