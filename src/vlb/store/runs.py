"""Run directories: `config.json`, `checkpoints/*.safetensors`, `metrics.jsonl`, `report.html`.

`config.json` has the sections `model` and `schema`, from which a model is built without any data, `data`, which says
what the run was trained on, and `experiment`, everything else that defines the run.
"""

import json
import os
import shlex
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch

from vlb.base import configuration
from vlb.base.errors import UserError
from vlb.base.files import abandoned, made_new, remove, sweep, write_text
from vlb.base.progress import SILENT, Progress
from vlb.base.results import Table, as_html
from vlb.core.schema import Schema
from vlb.core.surroundings import ordinary
from vlb.data import Dataset
from vlb.data import load as load_data
from vlb.data.about import About as AboutData
from vlb.data.columns import described
from vlb.data.described import written as schema_toml
from vlb.data.hub import on_hub
from vlb.data.sources import OWN, Cutting
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.kinds import AnyModel
from vlb.models.loss import AnyTerms
from vlb.models.protocols import LikelihoodModel, require
from vlb.store import before, checkpoint, reference
from vlb.store.experiment import Experiment
from vlb.store.places import place
from vlb.store.trained import Trained, load_weights

FORMAT = 3


class Run:
    """A directory that holds one experiment and what came of it."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        """content: of `config.json`, in today's format. Raises `UserError` where its sections do not make sense."""
        self.path, self.content = path, content
        self._read: dict[Path | None, Dataset] = {}
        self.schema: Schema = configuration.decode(Schema, content["schema"], f"{path / 'config.json'}: schema")

    @classmethod
    def create(cls, path: Path, experiment: Experiment, data: Dataset) -> "Run":
        """Start a run at `path`. Raises `UserError` if something is there already."""
        cls.refuse_existing(path)
        written = configuration.encode(experiment)
        content = {
            "format": FORMAT,
            "model": written.pop("model"),
            "schema": configuration.encode(data.schema),
            "data": {
                "name": data.name,
                "fingerprint": data.fingerprint,
                "about": configuration.encode(data.about),
            },
            "experiment": written,
        }
        try:
            path.absolute().parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {path}: {error.strerror}") from error
        _clear(path)
        with made_new(path) as folder:
            (folder / "checkpoints").mkdir()
            reference.keep(folder / "reference.safetensors", data)
            if data.schema.gaps:
                write_text(folder / "schema.toml", schema_toml(described(data.schema.columns or ())))
            write_text(folder / "config.json", json.dumps(content, indent=2) + "\n")
        return cls(path, json.loads(json.dumps(content)))

    @classmethod
    def refuse_existing(cls, path: Path) -> None:
        """Raises `UserError` if `path` holds anything but what a killed process left before it was a run."""
        if os.path.lexists(path) and not (path.is_dir() and _unborn(path)):
            raise UserError(f"{path} exists already: choose another --out, or --resume to go on with a run")

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open an existing run, by its path or its name (`vlb:digits`, `hf:owner/name`).

        Raises `UserError` if `path` is not one."""
        path = place(path)
        file = path / "config.json"
        if not file.is_file():
            raise UserError(
                f"{path} is not a run: it has no config.json. A run is made by `vlb train RECIPE --out DIR`; "
                "vlb:digits and vlb:iris come with vlb"
            )
        try:
            content = json.loads(file.read_text())
            content = before.updated(content, str(file))
            if content["format"] != FORMAT:
                raise UserError(f"{file} has format {content['format']}; this version of vlb reads {FORMAT}")
            if not all(isinstance(content[name], dict) for name in ("model", "schema", "experiment")):
                raise ValueError("model, schema and experiment are objects")
            if not all(isinstance(content["data"][name], str) for name in ("name", "fingerprint")):
                raise ValueError("name and fingerprint of data are text")
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{file} is damaged ({error!r}): restore it from a copy") from error
        return cls(path, content)

    def tidy(self) -> None:
        """Remove what killed processes left unfinished; what a living one writes stays."""
        for folder in (self.path, self.last.parent):
            if folder.is_dir():
                sweep(folder)

    @cached_property
    def about(self) -> AboutData | None:
        """What the run was trained on; None where an earlier version did not write it."""
        written = self.content["data"].get("about")
        where = f"{self.path / 'config.json'}: data.about"
        return None if written is None else cast(AboutData, configuration.decode(AboutData, written, where))

    @cached_property
    def experiment(self) -> Experiment:
        """How it was trained. Raises `UserError` for what this version does not offer."""
        written = {**self.content["experiment"], "model": self.content["model"]}
        try:
            return cast(
                Experiment, configuration.decode(Experiment, written, f"{self.path / 'config.json'}: experiment")
            )
        except UserError as error:
            raise UserError(
                f"{error}. If an earlier version of vlb wrote this, change it in the file to what is expected: it says "
                "how the model was trained, and changes neither the model nor its identity"
            ) from error

    @cached_property
    def configuration(self) -> AnyModel:
        """What the model is built by, beside the schema. Raises `UserError` for what this version does not offer."""
        where = f"{self.path / 'config.json'}: model"
        return cast(AnyModel, configuration.decode(AnyModel, self.content["model"], where))

    def table(self) -> Table:
        """What it is, by what is written of it: nothing is loaded or measured."""
        schema, shape = self.schema, " × ".join(map(str, self.schema.shape))
        rows = [
            ("model", str(self.content["model"].get("type"))),
            ("trained by the recipe", str(self.content["experiment"].get("recipe"))),
            ("data", self.content["data"]["name"]),
            ("one example", f"{shape} ({', '.join(schema.layout.axes)})"),
            ("values", schema.kind),
        ]
        if schema.labels:
            shown = ", ".join(schema.labels[:10]) + (", …" if len(schema.labels) > 10 else "")
            rows.append(("classes", f"{shown}{', which the model is told' if self.conditional else ''}"))
        path = shlex.quote(str(self.path))
        more = f"next: vlb evaluate {path}, vlb sample {path} -o FILE, vlb explore {path}"
        return Table(f"run {self.path}", ("", ""), (tuple(rows),), more, numbers=False)

    def _repr_html_(self) -> str:
        return as_html(self.table())

    @property
    def conditional(self) -> bool:
        """Whether the model is conditioned on labels."""
        return "label" in self.configuration.takes

    def refuse_unlabelled(self, purpose: str) -> None:
        """Raises `UserError` where the model was never trained on an example without its label, which `purpose` needs.

        The weights do not show it, and the model's section does not say it: how it was trained does.
        """
        if self.conditional and self.experiment.unconditional_share == 0:
            raise UserError(
                f"{purpose} needs p(x) without a label, and {self.path} was trained with unconditional_share=0, with "
                "every label: train with a share above 0"
            )

    def refuse_untaught(self, purpose: str) -> None:
        """Raises `UserError` where training told a network that takes roles of no known element, as `purpose` does: its
        weights do not show it."""
        if not self.experiment.loss.teaches_known:
            raise UserError(
                f"{purpose} needs a model that was trained with known elements, and {self.path} was trained with "
                "loss.known_share=0: train with --set model.roles=true --set loss.known_share=0.5"
            )

    def refuse_without_likelihood(self, name: str | None = None) -> None:
        """Raises `UserError`, naming the run, where its kind of model has none: before anything is loaded."""
        if self.configuration.why_not:
            raise UserError(f"{name or self.path}: {self.configuration.why_not}")

    @property
    def last(self) -> Path:
        """The checkpoint from which training goes on."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The averaged weights with the best bound on validation data."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def chosen(self) -> Path:
        """The checkpoint that `model` reads: the best, or the last where no bound was measured."""
        return self.best if self.best.is_file() else self.last

    @property
    def trained(self) -> Trained:
        """What is written of the trained model: sections and averaged weights, the best on validation data."""
        stored = checkpoint.read(self.chosen)
        tensors = before.tensors(stored) if before.is_first(self.content) else stored.section("average.model")
        return Trained(self.content["model"], self.content["schema"], tensors, self.chosen, self.content.get("before"))

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the trained model's identity."""
        return self.trained.identity.hex()[:16]

    @property
    def metrics(self) -> Path:
        """One JSON object per line: training losses and validation bounds by step."""
        return self.path / "metrics.jsonl"

    def data(self, path: Path | None = None, progress: Progress = SILENT) -> Dataset:
        """The run's data, verified against its fingerprint. `path` says where one's own data are now. Those of the last
        path are kept: whoever asks again gets the same, and no file is read twice."""
        if path not in self._read:
            self._read = {path: self._verified(path, progress)}
        return self._read[path]

    def _verified(self, path: Path | None, progress: Progress) -> Dataset:
        source, known = self.experiment.data, self.content["data"]
        where = path or (Path(source.path) if source.path else None)
        if path is None and where is not None and not (where.exists() or on_hub(where)):
            raise UserError(f"the data of {self.path} are no longer at {where}: say where they are now, --data PATH")
        columns = self.schema.columns if self.schema.gaps and source.name in OWN else None
        cut = Cutting(
            self.schema.pieces,
            source.skip_damaged,
            progress,
            source.window,
            source.mu_law,
            source.points,
            bool(self.schema.layout.maps),
        )
        data = load_data(source.name, where, source.header, columns, cut=cut)
        if data.fingerprint != known["fingerprint"]:
            raise UserError(
                f"the data {source.name!r}{f' at {where}' if where else ''} are not those that {self.path} was "
                f"trained on (fingerprint {data.fingerprint}, expected {known['fingerprint']})"
            )
        return data

    def reference(self, model: LikelihoodModel, path: Path | None = None) -> Dataset:
        """The run's data where they are; else what stands in for them beside examples that are given: marginals that
        the run kept, and samples of the model in place of each split. `why` then says so.
        """
        try:
            return self.data(path)
        except UserError as error:
            if path is not None:
                raise
            name, module = self.content["data"]["name"], cast(torch.nn.Module, model)
            return reference.stand_in(name, self.schema, module, self.conditional, self.kept, error)

    @property
    def kept(self) -> Path:
        """What the run keeps of its data."""
        return self.path / "reference.safetensors"

    def model(self, device: torch.device | str = "cpu") -> LikelihoodModel:
        """The trained model: averaged weights, the best on validation data, ready for use. No data are needed.

        One without a likelihood (a ladder network) refuses in every verb that needs one.
        """
        return cast(LikelihoodModel, self.trained.build().to(device))

    @ordinary()
    def loss(self, model: LikelihoodModel) -> AnyTerms:
        """What the run's `model` was trained by, with what it learned: averaged, and chosen with the model."""
        if before.is_first(self.content):
            raise UserError(
                f"{self.path} is of an earlier version, which did not keep what a loss learned: train again"
            )
        trained = cast(torch.nn.Module, model)
        loss = self.experiment.build_loss(trained)
        load_weights(loss, checkpoint.read(self.chosen).section("average.loss"), self.chosen)
        device = next((tensor.device for tensor in trained.state_dict().values()), torch.device("cpu"))
        return loss.to(device).eval().requires_grad_(False)


def _unborn(path: Path) -> bool:
    """Whether a folder holds nothing but what begins a run without a config.json, and no living process is at it."""
    checkpoints = path / "checkpoints"
    if not checkpoints.is_dir():
        return not any(path.iterdir())
    left = {*abandoned(path), *abandoned(checkpoints), checkpoints, path / "reference.safetensors"}
    return {*path.iterdir(), *checkpoints.iterdir()} <= left


def _clear(path: Path) -> None:
    """Make room where `refuse_existing` let pass what was left."""
    if path.is_dir():
        for entry in path.iterdir():
            remove(entry)


def diffusion_model(model: object, purpose: str) -> DiffusionModel:
    """The same model where it is a diffusion model. Raises `UserError` saying that `purpose` needs one."""
    return require(model, DiffusionModel, f"{purpose} needs a diffusion model")


def from_pretrained(name: str | Path, device: torch.device | str = "cpu") -> LikelihoodModel:
    """`load` of a run on the Hugging Face Hub, `owner/name` or `owner/name@revision`, unless a folder or `vlb:NAME` is
    given. Raises `UserError` where it cannot be had."""
    folder = Path(name).exists() or ":" in str(name)
    return load(name if folder else f"hf:{name}", device)


def load(path: str | Path, device: torch.device | str = "cpu") -> LikelihoodModel:
    """The trained model of the run at `path`, or of one by its name. Raises `UserError` if it is not a whole run."""
    return Run.open(path).model(device)
