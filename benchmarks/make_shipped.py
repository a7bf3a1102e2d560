"""Make the runs that come with vlb, `vlb:digits` and `vlb:iris`: train them and publish them into the package.

    python benchmarks/make_shipped.py [NAME …]

Seeds are fixed; on another machine weights differ in their last digits, and with them the hashes on the cards.
"""

import sys
import tempfile
from pathlib import Path

import vlb
from vlb.interfaces.terminal import Terminal
from vlb.store.places import FOLDER

WAYS = {
    "digits": ("digits", ("steps=1500",)),
    "iris": ("iris", ()),
}


def make(name: str) -> None:
    """One of them, in place of the one before."""
    recipe, overrides = WAYS[name]
    with tempfile.TemporaryDirectory() as temporary, Terminal() as progress:
        options = vlb.TrainOptions(overrides=overrides)
        run = vlb.train(recipe, options, out=Path(temporary) / name, progress=progress).run
        made = Path(temporary) / "made"
        found = vlb.save_pretrained(run, made, name=f"vlb:{name}", licence="bsd-3-clause", progress=progress)
        target = FOLDER / name
        for file in sorted(path for path in made.rglob("*") if path.is_file()):
            (target / file.relative_to(made)).parent.mkdir(parents=True, exist_ok=True)
            (target / file.relative_to(made)).write_bytes(file.read_bytes())
        print(found)


if __name__ == "__main__":
    for name in sys.argv[1:] or WAYS:
        make(name)
