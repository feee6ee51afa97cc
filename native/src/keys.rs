//! Points as K1 and K2 want them, and the keys that are known to be valid.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::traits::IsIdentity;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// As many as `ledger/keys.py` remembers: to find out about a key costs as much as to verify a signature. When there are
/// more, all are forgotten. Keys that are not valid are not remembered: who sends such can send new ones.
pub const REMEMBERED_KEYS: usize = 16_384;

static VALID: LazyLock<Mutex<HashMap<[u8; 32], EdwardsPoint>>> = LazyLock::new(Mutex::default);

/// The point, if it is a valid key (K1): canonical, in the main subgroup, not its identity.
pub fn valid(key: &[u8; 32]) -> Option<EdwardsPoint> {
    if let Some(point) = VALID.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
        return Some(*point);
    }
    let point = is_canonical(key).then(|| CompressedEdwardsY(*key).decompress())??;
    if point.is_identity() || !point.is_torsion_free() {
        return None;
    }
    let mut valid = VALID.lock().unwrap_or_else(PoisonError::into_inner);
    if valid.len() >= REMEMBERED_KEYS {
        valid.clear();
    }
    valid.insert(*key, point);
    Some(point)
}

#[cfg(test)]
pub fn remembered() -> usize {
    VALID.lock().unwrap_or_else(PoisonError::into_inner).len()
}

/// Whether y < p, and not x = 0 with the sign bit: what RFC 8032, 5.1.3 asks for, and `decompress` does not.
pub fn is_canonical(point: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = point;
    let is_high = highest & 0x7f == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    let is_negative_zero = highest & 0x80 != 0
        && (is_high && *lowest == 0xec
            || (*lowest == 1 && highest & 0x7f == 0 && middle.iter().all(|byte| *byte == 0)));
    !(is_high && *lowest >= 0xed) && !is_negative_zero
}
