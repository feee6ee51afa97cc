//! What no verdict tells: the size of the random factors, the cost of bad batches, the bound on remembered keys.

use super::*;
use crate::keys::{REMEMBERED_KEYS, remembered, valid};
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT as BASE;

type Parts = (Vec<u8>, [u8; 64], [u8; 32]);

/// A claim whose S is off by so much.
fn signed(number: u64, error: Scalar) -> Parts {
    let (secret, nonce) = (Scalar::from(number + 1), Scalar::from(number + 1000));
    let (key, commitment) = ((BASE * secret).compress(), (BASE * nonce).compress());
    let message = number.to_le_bytes().to_vec();
    let hash = Sha512::new().chain_update(commitment.0).chain_update(key.0).chain_update(&message);
    let scalar = nonce + Scalar::from_hash(hash) * secret + error;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&commitment.0);
    signature[32..].copy_from_slice(&scalar.to_bytes());
    (message, signature, key.0)
}

fn claims(parts: &[Parts]) -> Vec<Claim<'_>> {
    parts.iter().map(|(message, signature, key)| Claim { message, signature, key }).collect()
}

fn terms(parts: &[Parts]) -> Vec<Term> {
    claims(parts).iter().enumerate().filter_map(|(number, claim)| Term::of(number, claim)).collect()
}

/// Errors cancel for the one pair of factors, 1 and 2^bit, and for no other.
#[test]
fn each_of_the_128_bits_of_a_factor_counts() {
    for bit in 0..128 {
        let terms = terms(&[signed(1, Scalar::from(1_u128 << bit)), signed(2, -Scalar::ONE)]);
        for other in [None, Some(0), Some(64), Some(127)] {
            let factor = 1_u128 << bit ^ other.filter(|other| *other != bit).map_or(0, |other| 1 << other);
            let mut fill = |random: &mut [u8]| {
                random[..16].copy_from_slice(&1_u128.to_le_bytes());
                random[16..].copy_from_slice(&factor.to_le_bytes());
                Ok(())
            };
            assert_eq!(all_hold(&terms, &mut fill), Ok(factor == 1 << bit));
        }
    }
}

/// 16 random bytes are asked for a claim that is in a sum, so they tell the sizes of all sums.
fn summed(parts: &[Parts]) -> usize {
    let mut asked = 0;
    let mut fill = |random: &mut [u8]| {
        asked += random.len();
        getrandom::fill(random)
    };
    let found = verdicts(&claims(parts), &mut fill).unwrap();
    assert!(found.iter().enumerate().all(|(number, verdict)| *verdict == u8::from(parts[number].2 != parts[0].2)));
    assert_eq!(asked % 16, 0);
    asked / 16
}

#[test]
fn sums_over_bad_claims_are_bounded() {
    let bad = |number| signed(number, Scalar::ONE);
    let all_bad: Vec<_> = (0..256).map(|_| bad(0)).collect();
    assert_eq!(summed(&all_bad), 4 * 256);
    let one_bad: Vec<_> =
        (0..256).map(|number| if number == 0 { bad(0) } else { signed(number, Scalar::ZERO) }).collect();
    assert_eq!(summed(&one_bad), 256 + 2 * (128 + 64 + 32 + 16 + 8 + 4 + 2));
}

#[test]
fn the_keys_that_are_remembered_are_bounded() {
    let mut key = BASE;
    for _ in 0..=REMEMBERED_KEYS {
        assert!(valid(&key.compress().0).is_some());
        assert!((1..=REMEMBERED_KEYS).contains(&remembered()));
        key += BASE;
    }
}
