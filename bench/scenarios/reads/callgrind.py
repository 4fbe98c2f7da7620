"""Runs a command in callgrind; started as a program of its own.

Older valgrinds (3.19) pass the kernel's auxiliary vector on, whose addresses a program in valgrind does not have. So
the system call that returns it is made to fail; programs then read /proc/self/auxv.
"""

import ctypes
import os
import platform
import struct
import sys

PRCTL = {"x86_64": 157, "aarch64": 167}
PR_GET_AUXV, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 0x41555856, 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, EINVAL = 0x7FFF0000, 0x00050016


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def hide_auxiliary_vector():
    steps = [
        (LOAD, 0, 0, 0),  # the system call's number
        (JUMP_IF_EQUAL, 0, 3, PRCTL[platform.machine()]),
        (LOAD, 0, 0, 16),  # its first argument
        (JUMP_IF_EQUAL, 0, 1, PR_GET_AUXV),
        (RETURN, 0, 0, EINVAL),
        (RETURN, 0, 0, ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(steps), code)
    failed = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if failed or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)):
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    hide_auxiliary_vector()
    os.execvp("valgrind", ["valgrind", "--tool=callgrind", "--quiet", *sys.argv[1:]])
