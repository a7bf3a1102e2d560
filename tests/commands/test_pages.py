"""Pages are followed: every command of theirs, and their Python, as a person runs them from top to bottom."""

import math
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.commands.test_tables import vlb as command
from tests.data.test_mixed import rows
from tests.test_docs import PAGES, ROOT
from vlb.data import load

Names = dict[str, Any]
BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(sh|console|bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


NETWORK = ("--set", 'model.backbone={"type": "mlp", "width": 8, "blocks": 1}', "--set", "steps=2")  # of no time
QUICK = ("--passes", "2", "--draws", "1")  # of `vlb score`


def steps(count: int) -> tuple[str, ...]:
    return ("--set", f"steps={count}")


@dataclass(frozen=True)
class Followed:
    """How a page is followed. given: makes what its reader has, and returns the names its Python uses; brief: further
    flags of commands, by how these begin; found: what is asked of the names in the end."""

    given: Callable[[], Names] = dict
    brief: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    found: Callable[[Names], None] = lambda names: None


def follow(page: Path, how: Followed) -> None:
    names = how.given()
    for unrun, language, block in BLOCK.findall(page.read_text("utf-8")):
        if unrun:
            continue
        if language == "python":
            exec(compile(block, page.name, "exec"), names)
            continue
        for line in block.replace("\\\n", " ").splitlines():
            line = line.partition(" #")[0].strip()
            assert line.startswith("vlb "), f"{page.name}: a block with `{line}` is marked as not run, and why"
            more = next((flags for begin, flags in how.brief.items() if line.startswith(f"vlb {begin}")), ())
            assert command(*shlex.split(line)[1:], *more) == 0, line
    how.found(names)


def people() -> Names:
    """people.csv, the table that the pages on tables are about."""
    pytest.importorskip("pandas")
    lines = [["age", "income", "town", "since"], *rows(0, 200)]
    Path("people.csv").write_text("".join(",".join(line) + "\n" for line in lines))
    return {}


def imputed(names: Names) -> None:
    assert len(names["means"]) == 5


def odd(names: Names) -> None:
    assert len(names["scores"]) == 200 and names["limit"] > 0
    assert set(names["nats"]) == {"age", "income", "town", "since"}


def units(names: Names) -> None:
    assert np.allclose(names["metres"] - names["centimetres"], math.log(100), atol=1e-6)


def half() -> np.ndarray:
    hole = np.zeros((8, 8), bool)
    hole[:, 4:] = True
    return hole


def pictures() -> Names:
    np.save("digits.npy", load("digits").test.x[:3, 0])
    np.save("mask.npy", half())
    return {}


def inpainted(names: Names) -> None:
    x = np.load("digits.npy")
    assert names["result"].x.shape == (5, 3, 1, 8, 8)
    for number, drawn in enumerate(names["result"].x[:, :, 0], 1):
        assert np.array_equal(np.load(f"filled-{number}.npy"), drawn)
        assert (drawn[:, ~half()] == x[:, ~half()]).all()


def restored(names: Names) -> None:
    assert names["same"] and 8 * Path("digits.vlb").stat().st_size < 3 * 200 * 64  # of 8 * 64 bits before


def filled(names: Names) -> None:
    assert all(Path(f"filled-{draw}.csv").exists() for draw in range(1, 6))
    assert not names["filled"].isna().any().any() and names["filled"].shape == names["table"].shape


def compared(names: Names) -> None:
    assert np.isfinite(names["difference"].values).all() and len(names["difference"].values) == 360


def run(path: str, *more: str, recipe: str = "digits") -> None:
    """A run of next to no training."""
    assert command("train", recipe, "--out", path, *(NETWORK if recipe == "digits" else steps(2)), *more) == 0


def runs(*paths: str) -> Callable[[], Names]:
    """Runs of digits at these paths."""

    def make() -> Names:
        for path in paths:
            run(path)
        return {}

    return make


def contenders() -> Names:
    run("runs/digits", "--set", "optimiser=adamw", "--set", "loss.times=low-discrepancy")
    run("runs/adaptive", "--set", "optimiser=adamw")
    run("runs/vae", recipe="digits-vae")
    return {}


def folders() -> Names:
    """runs/digits, and what it is to compress."""
    run("runs/digits")
    x = load("digits").test.x[:12, 0]
    Path("photos").mkdir()
    for number, picture in enumerate(x[:3]):
        np.save(f"photos/{number}.npy", picture)
    np.save("test.npy", x)
    return {}


def new() -> Names:
    run("runs/digits")
    np.save("new.npy", load("digits").test.x[:8])
    return {}


def hierarchy() -> Names:
    from vlb import load as opened

    run("runs/vae", recipe="digits-vae")
    generator, x = torch.Generator().manual_seed(0), torch.from_numpy(load("digits").test.x[:5])
    return {"hierarchy": opened("runs/vae"), "generator": generator, "x": x, "n": 5}


def descended(names: Names) -> None:
    assert names["bound"].total.shape == (5,) and names["samples"].shape == (5, 1, 8, 8)


def sampled() -> Names:
    run("RUN", "--condition", "labels")
    run("runs/demo")
    return {}


def encoded(names: Names) -> None:
    assert (names["again"] == names["x"]).double().mean() > 0.95


def energies() -> Names:
    """An energy model of labelled digits, latents at a time, and what their chains need."""
    from vlb import load as opened

    run("runs/energy", "--condition", "labels", "--set", "model.head=energy")
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, 1, 8, 8, generator=generator)
    label = torch.tensor([3, 3, 3])
    time = torch.tensor([0.5], dtype=torch.float64)
    return {"model": opened("runs/energy"), "z": z, "t": time, "step": 0.01, "generator": generator} | {
        "first": label, "second": label + 1
    }  # fmt: skip


def moved(names: Names) -> None:
    assert torch.isfinite(names["acceptance"]).all()


def described(names: Names) -> None:
    weighting = names["weighting"]
    said = str(weighting.describe(weighting.EDM(), gamma_0=-6.0, gamma_1=5.0))
    assert said.strip() in (ROOT / "docs" / "weighting.md").read_text("utf-8")


def table() -> Names:
    people()
    Path("my.csv").write_bytes(Path("people.csv").read_bytes())
    return {}


def voxels() -> Names:
    pytest.importorskip("trimesh")
    from tests.data.test_meshes import folder_of as meshes

    Path("my").mkdir()
    meshes(Path("my/meshes"), 20)
    x = np.random.default_rng(0).random((30, 8, 8, 8)) < 0.5
    np.save("my/voxels.npy", x)
    np.save("my/shapes.npy", np.random.default_rng(0).random((3, 16, 16, 16)) < 0.5)
    return {}


def clouds() -> Names:
    Path("my/meshes").mkdir(parents=True)
    points = np.random.default_rng(0).normal(size=(24, 300, 3))
    np.save("my/clouds.npy", points[:, :64])
    Path("my/scans").mkdir()
    for number, cloud in enumerate(points):
        np.save(f"my/meshes/{number}.npy", cloud)
        np.save(f"my/scans/{number}.npy", cloud[: 20 + number])
    return {}


def photographs() -> Names:
    """Two folders of pictures of several sizes."""
    draw = np.random.default_rng(0)
    for folder, count in (("my/photographs", 10), ("other/photographs", 2)):
        Path(folder).mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 256, (33 + number, 40), np.uint8)
            Image.fromarray(pixels).save(f"{folder}/{number}.png")
    return {}


def recordings() -> Names:
    Path("my").mkdir()
    page = (ROOT / "docs" / "tutorials" / "sound.md").read_text("utf-8")
    exec(next(block for _, language, block in BLOCK.findall(page) if language == "python"), {})
    Path("recordings").rename("my/recordings")
    return {}


def shared() -> Names:
    """runs/a, and a folder of digits."""
    run("runs/a")
    Path("my/digits").mkdir(parents=True)
    np.save("my/digits/some.npy", load("digits").test.x[:4, 0])
    return {}


def schedule_parts() -> Names:
    from dataclasses import dataclass
    from typing import Annotated

    from vlb.base.domains import Within
    from vlb.models.diffusion.schedules import FixedSchedule

    return {"dataclass": dataclass, "Annotated": Annotated, "Within": Within, "FixedSchedule": FixedSchedule}


FOLLOWED = {
    "CONTRIBUTING.md": Followed(schedule_parts),
    "docs/impute.md": Followed(people, found=imputed),
    "docs/mixtures.md": Followed(table),
    "docs/odd.md": Followed(people, found=odd),
    "docs/parameterization.md": Followed(energies, found=moved),
    "docs/sampling.md": Followed(sampled, found=encoded),
    "docs/tutorial.md": Followed(brief={"train digits": NETWORK}),
    "docs/tutorials/compress.md": Followed(found=restored),
    "docs/units.md": Followed(people, found=units),
    "docs/vaes.md": Followed(hierarchy, found=descended),
    "docs/weighting.md": Followed(found=described),
}
AT_LENGTH = {
    "README.md": Followed(table),
    "docs/compare.md": Followed(contenders),
    "docs/compression.md": Followed(folders),
    "docs/density.md": Followed(new, {"score": QUICK}),
    "docs/discrete-time.md": Followed(runs("RUN")),
    "docs/evaluation.md": Followed(runs("runs/a")),
    "docs/inpaint.md": Followed(pictures, {"train digits": steps(1)}, inpainted),
    "docs/likelihoods.md": Followed(runs("runs/a")),
    "docs/photographs.md": Followed(
        photographs, {"train": NETWORK, "score": QUICK, "sample": ("--steps", "2"), "compress": ("--effort", "fast")}
    ),
    "docs/points.md": Followed(clouds, {"train": steps(1), "score": QUICK, "evaluate": ("--split", "my/clouds.npy")}),
    "docs/scikit-learn.md": Followed(),
    "docs/sharing.md": Followed(shared),
    "docs/sound.md": Followed(recordings, {"train sound": NETWORK, "score": QUICK}),
    "docs/tutorials/compare.md": Followed(
        brief={"train digits-vae": steps(5), "evaluate": ("--examples", "20")}, found=compared
    ),
    "docs/tutorials/diffusion.md": Followed(
        brief={"train digits ": NETWORK, "train digits-vae": steps(2), "train digits-hvae": steps(2)}
    ),
    "docs/tutorials/gaps.md": Followed(found=filled),
    "docs/tutorials/images.md": Followed(brief={"train images": NETWORK, "score": QUICK}),
    "docs/tutorials/sound.md": Followed(brief={"train sound": NETWORK, "score": QUICK}),
    "docs/volumes.md": Followed(
        voxels,
        {"train": NETWORK, "score": QUICK, "evaluate": ("--split", "my/shapes.npy"), "compress": ("--effort", "fast")},
    ),
}


def test_every_block_of_every_page_is_run_or_marked() -> None:
    named = {str(page.relative_to(ROOT)): page.read_text("utf-8") for page in PAGES}
    blocks = {name for name, text in named.items() if any(not unrun for unrun, *_ in BLOCK.findall(text))}
    assert blocks == {*FOLLOWED, *AT_LENGTH}, "a page is followed, or its blocks say why not"


@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_is_followed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    follow(ROOT / page, FOLLOWED[page])


@pytest.mark.slow
@pytest.mark.parametrize("page", AT_LENGTH)
def test_a_page_is_followed_at_length(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    follow(ROOT / page, AT_LENGTH[page])
