use crate::harness::*;
#[test]
fn placeholder() {
    let _ = tool("socat");
}
