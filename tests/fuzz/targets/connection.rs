//! Any bytes, cut anywhere: the same events and answers as in one piece, and no panic.

#![no_main]

#[path = "../../support/feed.rs"]
mod feed;

use feed::feed;
use libfuzzer_sys::fuzz_target;

/// An interim response depends on what has arrived when the head is read.
fn without_interim(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).replace("HTTP/1.1 100 Continue\r\n\r\n", "")
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (cuts, bytes) = input;
    let mut rest = &bytes[..];
    let mut pieces = Vec::new();
    for cut in cuts.iter().filter(|cut| **cut > 0) {
        let (piece, after) = rest.split_at(rest.len().min(usize::from(*cut)));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces.retain(|piece| !piece.is_empty());
    let (cut, whole) = (feed(pieces), feed(Some(&bytes[..]).filter(|bytes| !bytes.is_empty())));
    assert_eq!(cut.hooks, whole.hooks);
    assert_eq!(without_interim(&cut.answer), without_interim(&whole.answer));
    cut.assert_sane();
    whole.assert_sane();
});
