//! The claims as a worker gets them: MessagePack, of which this is the part that a list of claims is made of.

/// What stands under a signature, the signature, and the public key that is said to have made it.
pub struct Claim<'a> {
    pub message: &'a [u8],
    pub signature: &'a [u8],
    pub key: &'a [u8],
}

/// No claim takes fewer bytes: its own header, and those of three empty strings.
const SMALLEST_CLAIM_BYTES: usize = 7;

/// The claims, if the data is an array of arrays of three byte strings, and nothing else.
pub fn decode(mut data: &[u8]) -> Option<Vec<Claim<'_>>> {
    let count = array(&mut data)?;
    let mut claims = Vec::with_capacity(count.min(data.len() / SMALLEST_CLAIM_BYTES));
    for _ in 0..count {
        if array(&mut data)? != 3 {
            return None;
        }
        claims.push(Claim { message: bytes(&mut data)?, signature: bytes(&mut data)?, key: bytes(&mut data)? });
    }
    data.is_empty().then_some(claims)
}

/// How many there are in the array.
fn array(data: &mut &[u8]) -> Option<usize> {
    match number(data, 1)? {
        short @ 0x90..=0x9f => Some(short & 0x0f),
        0xdc => number(data, 2),
        0xdd => number(data, 4),
        _ => None,
    }
}

fn bytes<'a>(data: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length_bytes = match number(data, 1)? {
        0xc4 => 1,
        0xc5 => 2,
        0xc6 => 4,
        _ => return None,
    };
    let length = number(data, length_bytes)?;
    data.split_off(..length)
}

fn number(data: &mut &[u8], length_bytes: usize) -> Option<usize> {
    Some(data.split_off(..length_bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}
