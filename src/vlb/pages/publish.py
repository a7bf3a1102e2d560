"""`vlb.save_pretrained`, `vlb.push_to_hub`: a run as others may have it, with a card that carries its bound."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vlb.base.errors import UserError
from vlb.base.files import made_new, write_text
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Result, Table
from vlb.core.surroundings import ordinary
from vlb.measure.evaluate import evaluate
from vlb.pages.card import Found, card, words
from vlb.store.places import CARD, PARTS, require_hub
from vlb.store.runs import Run


@dataclass(frozen=True)
class PublishResult(Result):
    """What was published. where: the folder, or the name on the Hub; found: the bound that its card states."""

    where: str
    found: Found

    def values(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {"where": self.where, **self.found.values()}

    def table(self) -> Table:
        """The bound that the card states."""
        return self.found.table()

    def show(self, console: Any) -> None:
        """In a sentence."""
        console.print(f"{self.where}: {words(self.found)} on its card", markup=False)


@ordinary()
def save_pretrained(
    run: Run | str | Path,
    folder: str | Path,
    *,
    name: str | None = None,
    licence: str | None = None,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> PublishResult:
    """Write what others need of a run into a new folder: the configuration without the paths of data on this machine,
    the best weights, the marginals that the run keeps, and a card, README.md, with the bound on the test examples.

    name: what the card calls it, by default the folder; licence: of the weights, such as "apache-2.0". The folder is a
    run: every verb takes it. Raises `UserError` where the folder is there already, and where the run has no bound.
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    target = Path(folder)
    found = evaluate(opened, data=data, device=device, progress=progress)
    with made_new(target) as made:
        for part in PARTS:
            if part != CARD and (opened.path / part).is_file():
                (made / part).parent.mkdir(exist_ok=True)
                shutil.copyfile(opened.path / part, made / part)
        if not (made / "checkpoints" / opened.best.name).is_file():
            raise UserError(
                f"{opened.path} has no best checkpoint: train it until a bound on validation data is measured"
            )
        write_text(made / "config.json", json.dumps(_public(opened.content), indent=2) + "\n")
        write_text(made / CARD, card(Run.open(made), name or target.name, found, licence))
    return PublishResult(str(target), found)


def push_to_hub(
    run: Run | str | Path,
    repository: str,
    *,
    private: bool = False,
    token: str | None = None,
    licence: str | None = None,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> PublishResult:
    """`save_pretrained` into the repository `owner/name` of the Hugging Face Hub, which is made if it is not there.

    token: by default the one that `hf auth login` keeps. Others have it by `hf:owner/name`. Raises `UserError` where
    the package huggingface_hub is not installed, and where the Hub refuses.
    """
    hub = require_hub()
    with tempfile.TemporaryDirectory(prefix="vlb-") as temporary:
        folder = Path(temporary) / "run"
        done = save_pretrained(
            run, folder, name=f"hf:{repository}", licence=licence, data=data, device=device, progress=progress
        )
        progress.begin(f"sending to {repository}")
        try:
            client = hub.HfApi(token=token)
            client.create_repo(repository, private=private, exist_ok=True)
            client.upload_folder(repo_id=repository, folder_path=folder, commit_message="Add a run of vlb")
        except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"the Hub refuses {repository!r}: {reason}") from error
    return PublishResult(f"hf:{repository}", done.found)


def _public(content: dict[str, Any]) -> dict[str, Any]:
    """What config.json says, without where data lie on this machine."""
    experiment = content["experiment"]
    path = experiment["data"]["path"]
    source = {**experiment["data"], "path": path if path and path.startswith("hf:") else None, "schema": None}
    imported = experiment.get("imported")
    if imported is not None and not imported.startswith("hf:"):
        imported = Path(imported).name
    return {**content, "experiment": {**experiment, "data": source, "imported": imported}}
