"""The data order is a function of seed and step, and every epoch sees every example once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vlb.training.batches import batch_indices, stream_seed


@settings(derandomize=True, deadline=None, max_examples=50)
@given(examples=st.integers(1, 60), batch=st.integers(1, 80), seed=st.integers(0, 2**31))
def test_every_epoch_is_a_permutation(examples: int, batch: int, seed: int) -> None:
    steps = -(-3 * examples // batch)
    order = np.concatenate([batch_indices(seed, step, batch, examples) for step in range(steps)])
    for epoch in range(3):
        piece = order[epoch * examples : (epoch + 1) * examples]
        assert sorted(piece) == list(range(examples))


def test_streams_differ() -> None:
    seeds = {stream_seed(seed, stream, step) for seed in range(5) for stream in range(4) for step in range(200)}
    assert len(seeds) > 3990  # 4000 draws of 32 bits: more than 10 collisions have probability below 1e-30
