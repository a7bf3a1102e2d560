"""The same weightings for Fashion-MNIST: does what digits say of bound and samples hold for 28×28 pixels of 256 levels?

Everything is as for the digits, but that the network is a U-Net. The short budget trains it for half a minute of one
core, so that it says which weighting learns fastest; the night's is the network of the recipe, trained for longer.

    python experiments/weightings_fashion.py [--budget short]

`apt-get install dataset-fashion-mnist` where the data are not found.
"""

from shared.arms import Experiment, main
from weightings import Budget, arms, draw, tell

BUDGETS = {
    "toy": Budget(
        data="fashion-mnist",
        set=("backbone.widths=[8]", "backbone.attention=[false]", "precision=float32", "batch=8", "steps=4"),
        seeds=(0,), passes=2, examples=10, samples=80, steps=2, epochs=1,
    ),
    "short": Budget(
        data="fashion-mnist",
        set=("backbone.widths=[32,32,32]", "precision=float32", "batch=32", "warmup=20", "ema=0.95", "steps=100"),
        seeds=(0, 1), passes=2, examples=200, samples=200, steps=8, epochs=1,
    ),
    "night": Budget(
        data="fashion-mnist", set=("steps=600", "precision=float32"), passes=4, samples=2000, steps=30, epochs=3
    ),
}  # fmt: skip

EXPERIMENT = Experiment(
    name="weightings_fashion",
    title="Weightings for Fashion-MNIST",
    budgets=BUDGETS,
    arms=arms,
    draw=draw,
    alt="Left: Fréchet distance against the test bound of Fashion-MNIST for eight weightings, a point per seed. Right: "
    "recall against precision of the same samples.",
    tell=tell,
)

if __name__ == "__main__":
    main(EXPERIMENT)
