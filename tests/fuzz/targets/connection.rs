//! Any input, split anywhere, gives the same events and responses as in one piece. Nothing
//! panics.

#![no_main]

#[path = "../../support/feed.rs"]
mod feed;

use feed::feed;
use libfuzzer_sys::fuzz_target;

/// Removes the interim responses: a body that has arrived together with its head gets none.
fn without_interim(responses: &[u8]) -> String {
    String::from_utf8_lossy(responses).replace("HTTP/1.1 100 Continue\r\n\r\n", "")
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (sizes, bytes) = input;
    let mut rest = &bytes[..];
    let mut pieces = Vec::new();
    for size in sizes.iter().filter(|size| **size > 0) {
        let (piece, after) = rest.split_at(rest.len().min(usize::from(*size)));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces.retain(|piece| !piece.is_empty());
    let split = feed(pieces);
    let whole = feed(Some(&bytes[..]).filter(|bytes| !bytes.is_empty()));
    assert_eq!(split.hooks, whole.hooks);
    assert_eq!(
        without_interim(&split.responses),
        without_interim(&whole.responses)
    );
    split.assert_valid();
    whole.assert_valid();
});
