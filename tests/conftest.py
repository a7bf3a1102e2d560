"""One thread: the suite shares its machine, and its results do not depend on how many cores there are."""

import torch

torch.set_num_threads(1)
