"""Point clouds: the bound beside baselines that take points for independent, and samples beside held-out clouds.

    vlb train clouds --out runs/clouds
    python benchmarks/bench_points.py runs/clouds --examples 200 --samples 100

The bound is of so many clouds of the test split, drawn at random. Chamfer distances are between so many samples and as
many test clouds; beside them, training clouds and independent points of the fitted mixture stand in place of samples.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import vlb
from vlb.base.files import write_text
from vlb.core.terms import key
from vlb.data.independent import MixedPoint
from vlb.measure.clouds import likeness
from vlb.store import checkpoint
from vlb.store.runs import Run

RESULTS = Path(__file__).parent / "results" / "points.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    data, count = run.data(), arguments.samples
    bound = vlb.evaluate(run, "test", vlb.EvaluateOptions(examples=arguments.examples))
    drawn = vlb.sample(run, vlb.SampleOptions(n=count, steps=arguments.steps)).x
    test, train = data.test.subset(count).x, data.train.subset(count, 1).x
    own = MixedPoint(data.train)
    points = own.law.sample(drawn.shape[0] * drawn.shape[1])[0] * own.scale + own.mean
    mixed = np.random.default_rng(0).permutation(points).reshape(drawn.shape)
    among = {"samples": drawn, "training clouds": train, "independent points of the mixture": mixed}
    found = {
        "trained": f"{checkpoint.read(run.chosen).state['step']} steps of {run.experiment.training.batch}",
        "points": data.shape[0],
        "bound, bits per coordinate": [round(bound.bits_per_dim, 4), round(bound.standard_error, 4)],
        "terms, bits per coordinate": {key(path): round(value, 4) for path, value in bound.terms.items()},
        "baselines, bits per coordinate": {name: round(value, 4) for name, value in bound.baselines.items()},
        "gain over independent coordinates": [round(bound.gain, 4), round(bound.gain_error, 4)],
        "nats per cloud": {
            "tuple": round(bound.nats_per_example, 2),
            "set": round(bound.nats_per_set or np.nan, 2),
            "error": round(bound.nats_error, 2),
        },
        "of examples": bound.examples,
        "sampling": f"{count} by ancestral sampling in {arguments.steps} steps",
        "beside as many test clouds": {
            name: {
                "matching": round(of.matching, 5),
                "coverage": round(of.coverage, 3),
                "1-NN accuracy": round(of.one_nn, 3),
                "its error": round(of.one_nn_error, 3),
            }
            for name, of in ((name, likeness(x, test)) for name, x in among.items())
        },
    }
    print(json.dumps(found, indent=2, ensure_ascii=False))
    write_text(RESULTS, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
