"""One thread, here and in the processes that tests start: the suite shares its machine, and its results do not depend on
how many cores there are. These processes are many, so that vlb's own modules are compiled once, whatever the shell says."""

import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import torch  # noqa: E402

torch.set_num_threads(1)
