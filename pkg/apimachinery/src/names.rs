//! Generated names. Upstream: apimachinery `pkg/util/rand`, apiserver `pkg/storage/names`.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// No vowels and nothing that looks like one, so that no words come about.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// How many characters follow a `generateName`.
pub const SUFFIX_LENGTH: usize = 5;

/// A longer prefix is cut, so that the name stays a DNS label.
pub const MAX_PREFIX_LENGTH: usize = 63 - SUFFIX_LENGTH;

/// `prefix` and a random suffix.
pub fn generate_name(prefix: &str) -> String {
    let mut end = prefix.len().min(MAX_PREFIX_LENGTH);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &prefix[..end], random_suffix(SUFFIX_LENGTH))
}

/// Random characters of the alphabet for names. They keep names apart and guard no secret.
pub fn random_suffix(length: usize) -> String {
    suffix(length, &mut random_u64)
}

/// As [`random_suffix`], from a source of the caller's.
pub fn suffix(length: usize, random: &mut dyn FnMut() -> u64) -> String {
    (0..length).map(|_| char::from(ALPHABET[(random() % ALPHABET.len() as u64) as usize])).collect()
}

/// Replaces each byte by a character of the alphabet: how a hash becomes part of a name, as in `nginx-7c5ddbdf54`.
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect()
}

/// A random number, for spreading and for names; nothing that must not be guessed.
pub fn random_u64() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one("names"));
    }
    // SplitMix64: each thread counts on from a random start.
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_differ() {
        let name = generate_name("web-");
        assert_eq!(name.len(), 9);
        assert!(name[4..].bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(name, generate_name("web-"));
        assert_eq!(generate_name(&"x".repeat(100)).len(), 63);
        assert_eq!(safe_encode("59c5d8f7bd").len(), 10);
    }
}
