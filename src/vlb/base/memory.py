"""How the C library hands memory back: a setting of the process, for programs to make and not for libraries."""

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Let glibc reuse large freed blocks instead of returning them to the system after every operation.

    A training step allocates the same hundreds of megabytes again and again; mapping them anew costs
    up to half of the step on a CPU. Other C libraries have no such setting and need none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**28)
