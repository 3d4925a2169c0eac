"""The two smallest programs, made here byte by byte, as there is no compiler: `keeper` and `maker`. Pure.

The keeper is the first process of a process namespace that containers share (`/pause`): the kernel clears away its
children for it, no signal from within ends it, and it waits for ever. The maker moves into new namespaces, writes a byte
to say so (or ends with the number of the error), and stays until its input is closed.

https://man7.org/linux/man-pages/man5/elf.5.html and https://man7.org/linux/man-pages/man2/syscall.2.html
"""

from __future__ import annotations

import struct

_BASE = 0x400000
_HEADERS = 64 + 56
# rt_sigaction(SIGCHLD, {SIG_IGN}); for ever pause(), or ppoll() where there is no pause
_KEEPERS = {
    "x86_64": "31c0 50 50 50 6a01 bf11000000 4889e6 31d2 41ba08000000 b80d000000 0f05 b822000000 0f05 ebf7",
    "aarch64": (
        "ff8300d1 210080d2 e17f00a9 ff7f01a9 200280d2 e1030091 e2031faa 030180d2 c81080d2 010000d4"
        " e0031faa e1031faa e2031faa e3031faa 280980d2 010000d4 faffff17"
    ),
}
# unshare(flags); write(1); read(0); exit(0), or exit with unshare's error
_MAKERS = {
    "x86_64": "bf{flags} b8100100000f0585c07817504889e6ba0100000089d789d00f0531ff31c00f0531c0f7d889c7b83c0000000f05",
    "aarch64": (
        "{low} {high} 280c80d2 010000d4 6001f837 ff4300d1 200080d2 e1030091 220080d2 080880d2 010000d4 "
        "e0031faa e80780d2 010000d4 e0031faa e003004b a80b80d2 010000d4"
    ),
}
_MACHINES = {"x86_64": 62, "aarch64": 183}


def keeper(machine: str) -> bytes:
    """The executable file for this machine (as uname says it); ValueError for one that is not known here."""
    return _file(machine, _KEEPERS.get(machine, ""))


def maker(machine: str, flags: int) -> bytes:
    """The same; `flags` are unshare's: CLONE_NEWUSER and so on."""
    words = {"flags": struct.pack("<I", flags).hex()}
    words["low"] = struct.pack("<I", 0x52800000 | (flags & 0xFFFF) << 5).hex()
    words["high"] = struct.pack("<I", 0x72A00000 | (flags >> 16) << 5).hex()
    return _file(machine, _MAKERS.get(machine, "").format(**words))


def _file(machine: str, text: str) -> bytes:
    """The code in one segment that can be read and run, and not written."""
    if not text:
        raise ValueError(f"namespaces of a pod can't be held on {machine} yet")
    code = bytes.fromhex(text)
    size = _HEADERS + len(code)
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    entry = _BASE + _HEADERS
    header = struct.pack("<HHIQQQIHHHHHH", 2, _MACHINES[machine], 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return identity + header + struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000) + code
