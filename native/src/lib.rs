//! Verifies Ed25519 signatures in batches, by the acceptance rule K2 (docs/protocol.md, docs/adr/0017, docs/adr/0036).

#[cfg_attr(test, allow(dead_code))] // batches come from the interpreter alone
mod claims;
mod keys;
#[cfg(test)]
mod tests;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use sha2::{Digest, Sha512};
use std::collections::HashMap;
use std::iter::once;

use claims::Claim;

/// The sizes of the batches that fail may sum up to this often the claims' number; then the rest is verified one by one.
const FAILING_SHARE: usize = 4;

/// A claim past checks 1 to 3 of K2, with all that the equation takes.
struct Term {
    number: usize,
    key: EdwardsPoint,
    key_bytes: [u8; 32],
    commitment: EdwardsPoint,
    scalar: Scalar,
    challenge: Scalar,
}

impl Term {
    /// Checks 1 to 3 of K2, and that R is on the curve.
    fn of(number: usize, claim: &Claim) -> Option<Self> {
        let commitment: [u8; 32] = claim.signature.get(..32)?.try_into().ok()?;
        let scalar = Scalar::from_canonical_bytes(claim.signature.get(32..)?.try_into().ok()?).into_option()?;
        let key_bytes = claim.key.try_into().ok()?;
        if !keys::is_canonical(&commitment) {
            return None;
        }
        let key = keys::valid(&key_bytes)?;
        let hash = Sha512::new().chain_update(commitment).chain_update(key_bytes).chain_update(claim.message);
        let challenge = Scalar::from_hash(hash);
        let commitment = CompressedEdwardsY(commitment).decompress()?;
        Some(Self { number, key, key_bytes, commitment, scalar, challenge })
    }

    /// `[8]([S]B - [k]A - R) = 0`.
    fn holds(&self) -> bool {
        let expected = EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.challenge, &-self.key, &self.scalar);
        (expected - self.commitment).mul_by_cofactor().is_identity()
    }
}

/// Where randomness comes from: it fills all that it is given.
trait Fill: FnMut(&mut [u8]) -> Result<(), getrandom::Error> {}
impl<F: FnMut(&mut [u8]) -> Result<(), getrandom::Error>> Fill for F {}

/// Whether `[8] sum z (R + [k]A - [S]B) = 0`, with 128 random bits z for each: so it is if all equations hold, and else
/// with probability 2^-128.
fn all_hold(terms: &[Term], fill: &mut impl Fill) -> Result<bool, getrandom::Error> {
    let mut random = vec![0; 16 * terms.len()];
    fill(&mut random)?;
    let mut of_base = Scalar::ZERO;
    let mut of_key = HashMap::with_capacity(terms.len());
    let mut factors = Vec::with_capacity(terms.len());
    for (term, random) in terms.iter().zip(random.as_chunks().0) {
        let factor = Scalar::from(u128::from_le_bytes(*random));
        of_base -= factor * term.scalar;
        of_key.entry(&term.key_bytes).or_insert((Scalar::ZERO, term.key)).0 += factor * term.challenge;
        factors.push(factor);
    }
    let sum = EdwardsPoint::vartime_multiscalar_mul(
        once(&of_base).chain(of_key.values().map(|(factor, _)| factor)).chain(&factors),
        once(&curve25519_dalek::constants::ED25519_BASEPOINT_POINT)
            .chain(of_key.values().map(|(_, key)| key))
            .chain(terms.iter().map(|term| &term.commitment)),
    );
    Ok(sum.mul_by_cofactor().is_identity())
}

/// Note the verdicts: of all at once, of both halves, or one by one.
fn judge(
    terms: &[Term],
    fill: &mut impl Fill,
    may_fail: &mut usize,
    verdicts: &mut [u8],
) -> Result<(), getrandom::Error> {
    if terms.len() == 1 || *may_fail < terms.len() {
        terms.iter().for_each(|term| verdicts[term.number] = term.holds().into());
    } else if all_hold(terms, fill)? {
        terms.iter().for_each(|term| verdicts[term.number] = 1);
    } else {
        *may_fail -= terms.len();
        let (one, other) = terms.split_at(terms.len() / 2);
        judge(one, fill, may_fail, verdicts)?;
        judge(other, fill, may_fail, verdicts)?;
    }
    Ok(())
}

/// A byte for each claim: 1 if its signature is accepted, else 0.
fn verdicts(claims: &[Claim], fill: &mut impl Fill) -> Result<Vec<u8>, getrandom::Error> {
    let mut verdicts = vec![0; claims.len()];
    let terms: Vec<_> = claims.iter().enumerate().filter_map(|(number, claim)| Term::of(number, claim)).collect();
    judge(&terms, fill, &mut (FAILING_SHARE * terms.len()), &mut verdicts)?;
    Ok(verdicts)
}

/// Not in tests, which are linked without an interpreter.
#[cfg(not(test))]
#[pyo3::pymodule]
mod tallystick_native {
    use super::*;
    use pyo3::exceptions::{PyOSError, PyValueError};
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    /// What the curve is computed with here. curve25519-dalek chooses alike: by what it was built for, and by features.
    #[pyfunction]
    fn arithmetic() -> &'static str {
        #[cfg(target_arch = "x86_64")]
        if cfg!(any(curve25519_dalek_backend = "serial", curve25519_dalek_backend = "fiat")) {
            return "no vectors";
        } else if cfg!(curve25519_dalek_backend = "avx512")
            && is_x86_feature_detected!("avx512ifma")
            && is_x86_feature_detected!("avx512vl")
        {
            return "AVX-512 IFMA";
        } else if is_x86_feature_detected!("avx2") {
            return "AVX2";
        }
        "no vectors"
    }

    /// Whether each claim's signature is accepted (K2): a byte for each, 1 or 0. The interpreter's lock is let go of.
    ///
    /// `claims` is the MessagePack of an array of arrays of three byte strings: message, signature, public key.
    /// Raises `ValueError` for anything else, and `OSError` when the system has no randomness.
    #[pyfunction]
    fn verify_batch<'py>(py: Python<'py>, claims: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let found = py.detach(|| claims::decode(claims).map(|claims| verdicts(&claims, &mut getrandom::fill)));
        let verdicts = found
            .ok_or_else(|| PyValueError::new_err("not the MessagePack of a list of claims"))?
            .map_err(|error| PyOSError::new_err(error.to_string()))?;
        Ok(PyBytes::new(py, &verdicts))
    }
}
