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

from tests.commands.test_tables import vlb as command
from tests.data.test_mixed import rows
from tests.test_docs import PAGES, ROOT
from vlb.data import load

Names = dict[str, Any]
BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```(sh|console|bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def network(**parts: object) -> tuple[str, ...]:
    """Flags of `vlb train` for a network that takes no time, and two steps."""
    set_ = {"model.backbone.type": "mlp", "model.backbone.width": 8, "model.backbone.blocks": 1, "steps": 2, **parts}
    whole = '{"type": "mlp", "width": 8, "blocks": 1, "dropout": 0.0}'
    rest = {name: value for name, value in set_.items() if not name.startswith("model.backbone.")}
    changes = {"model.backbone": whole, **rest}
    return tuple(word for name, value in changes.items() for word in ("--set", f"{name}={value}"))


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


def trained(people_too: bool = True) -> Names:
    people()
    assert command("train", "table", "--data", "people.csv", "--out", "runs/people") == 0
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
    assert not names["filled"].isna().any().any() and names["filled"].shape == names["table"].shape


def compared(names: Names) -> None:
    assert names["difference"].mean > 0


FOLLOWED = {
    "impute.md": Followed(people, found=imputed),
    "odd.md": Followed(trained, found=odd),
    "units.md": Followed(people, found=units),
    "tutorials/images.md": Followed(brief={"train images": network()}),
    "tutorials/gaps.md": Followed(found=filled),
    "tutorials/compress.md": Followed(found=restored),
    "tutorials/compare.md": Followed(
        brief={"train digits-vae": steps(5), "evaluate": ("--examples", "20")}, found=compared
    ),
    "tutorials/diffusion.md": Followed(
        brief={"train digits ": network(), "train digits-vae": steps(2), "train digits-hvae": steps(2)}
    ),
    "tutorials/sound.md": Followed(brief={"train sound": network()}),
}
SLOW = {
    "inpaint.md": Followed(pictures, {"train digits": steps(1)}, inpainted),
}


@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_is_followed(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    follow(ROOT / "docs" / page, FOLLOWED[page])


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW)
def test_a_page_is_followed_at_length(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    follow(ROOT / "docs" / page, SLOW[page])
