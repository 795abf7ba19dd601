//! Refuses descriptors that peers pass in messages (`SCM_RIGHTS`, unix(7)).
//!
//! This server never wants them, and they are dangerous: a descriptor that a read discards
//! is closed by the kernel during the read, and that last close can block for a time that the
//! sender chooses (a TCP socket with `SO_LINGER` and unsent data). The whole loop would wait.
//! Reading with recvmsg(2), closing the connection and closing the listener block in the
//! same way, so descriptors must not arrive at all.
//!
//! Linux 6.16 and later can refuse them: with `SO_PASSRIGHTS` off, sendmsg(2) fails with
//! EPERM. A listener passes the option on to each connection when the client connects. So it
//! must be off before listen(2); after accept(2) it is too late. On older kernels such a
//! message still stops the loop, for as long as the close takes. Only a peer that may connect
//! can send one.
//!
//! Stop 13 of EDU_NOTES.md.

use std::os::fd::BorrowedFd;

/// Turns `SO_PASSRIGHTS` off for a socket that is about to listen, and for the connections
/// that it accepts. Does nothing where the kernel does not have the option.
#[cfg(target_os = "linux")]
pub fn refuse_descriptors(socket: BorrowedFd) {
    use std::os::fd::AsRawFd;
    /// From the kernel's asm-generic/socket.h; libc does not have it yet.
    const SO_PASSRIGHTS: libc::c_int = 83;
    let off: libc::c_int = 0;
    // SAFETY: `off` outlives the call, and the length is its size. An error (ENOPROTOOPT)
    // means that the kernel is too old.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
}

#[cfg(not(target_os = "linux"))]
pub fn refuse_descriptors(_: BorrowedFd) {}
