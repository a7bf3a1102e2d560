"""Run directories: `config.json`, `checkpoints/*.safetensors`, `metrics.jsonl`, `report.html`."""

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import torch

from vlb.base import configuration
from vlb.base.errors import UserError
from vlb.base.files import write_text
from vlb.data import Dataset
from vlb.data import load as load_data
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.ladder.model import LadderNetwork
from vlb.models.loss import AnyTerms
from vlb.models.protocols import LikelihoodModel
from vlb.store import checkpoint
from vlb.store.experiment import Experiment

FORMAT = 1


class Run:
    """A directory that holds one experiment and what came of it."""

    def __init__(self, path: Path, experiment: Experiment, data: dict[str, Any]) -> None:
        self.path, self.experiment, self.data_description = path, experiment, data

    @classmethod
    def create(cls, path: Path, experiment: Experiment, data: Dataset) -> "Run":
        """Start a run at `path`. Raises `UserError` if something is there already."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UserError(f"{path} already holds something: choose another --out, or --resume to go on with a run")
        description = {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "shape": list(data.shape),
            "levels": data.levels,
            "classes": data.classes,
        }
        if data.columns is not None:
            description["columns"] = [[column.name, *column.values] for column in data.columns]
        try:
            (path / "checkpoints").mkdir(parents=True)
        except OSError as error:
            raise UserError(f"cannot make the folder {path}: {error.strerror}") from error
        content = {"format": FORMAT, "data": description, "experiment": configuration.encode(experiment)}
        write_text(path / "config.json", json.dumps(content, indent=2) + "\n")
        return cls(path, experiment, description)

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open an existing run. Raises `UserError` if `path` is not one."""
        path = Path(path)
        file = path / "config.json"
        if not file.is_file():
            raise UserError(
                f"{path} is not a run: it has no config.json. A run is made by `vlb train RECIPE --out DIR`"
            )
        try:
            content = json.loads(file.read_text())
            if content["format"] != FORMAT:
                raise UserError(f"{file} has format {content['format']}; this version of vlb reads {FORMAT}")
            description, written = dict(content["data"]), content["experiment"]
            _check_description(description)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{file} is damaged ({error!r}): restore it from a copy") from error
        return cls(path, configuration.decode(Experiment, written, f"{file}: experiment"), description)

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
    def fingerprint(self) -> str:
        """16 hex digits of a SHA-256 over the model's configuration and the weights that `model` reads."""
        digest = hashlib.sha256(json.dumps(configuration.encode(self.experiment.model), sort_keys=True).encode())
        for name, tensor in sorted(checkpoint.read(self.chosen).section("average.model").items()):
            digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
            digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    @property
    def metrics(self) -> Path:
        """One JSON object per line: training losses and validation bounds by step."""
        return self.path / "metrics.jsonl"

    def data(self, path: Path | None = None) -> Dataset:
        """The run's data, verified against its fingerprint. `path` says where one's own data are now."""
        source = self.experiment.data
        where = path or (Path(source.path) if source.path else None)
        if path is None and where is not None and not where.exists():
            raise UserError(f"the data of {self.path} are no longer at {where}: say where they are now, --data PATH")
        data = load_data(source.name, where)
        if data.fingerprint != self.data_description["fingerprint"]:
            raise UserError(
                f"the data {source.name!r}{f' at {where}' if where else ''} are not those that {self.path} was "
                f"trained on (fingerprint {data.fingerprint}, expected {self.data_description['fingerprint']})"
            )
        return data

    def model(self, data: Dataset, device: torch.device | str = "cpu") -> LikelihoodModel:
        """The trained model: averaged weights, the best on validation data, ready for use.

        One without a likelihood (a ladder network) refuses in every verb that needs one.
        """
        model = self.experiment.build(data)
        stored = checkpoint.read(self.chosen).section("average.model")
        load_weights(model, stored, self.chosen)
        return cast(LikelihoodModel, model.to(device).eval().requires_grad_(False))

    def loss(self, model: LikelihoodModel) -> AnyTerms:
        """What the run's `model` was trained by, with what it learned: averaged, and chosen with the model."""
        trained = cast(torch.nn.Module, model)
        loss = self.experiment.build_loss(trained)
        load_weights(loss, checkpoint.read(self.chosen).section("average.loss"), self.chosen)
        device = next((tensor.device for tensor in trained.state_dict().values()), torch.device("cpu"))
        return loss.to(device).eval().requires_grad_(False)


def _check_description(data: dict[str, Any]) -> None:
    """Raises an error unless the data are described as `Run.create` does."""
    counts = [data["levels"], *data["shape"], *([] if data["classes"] is None else [data["classes"]])]
    if not all(type(count) is int and count > 0 for count in counts):
        raise ValueError("levels, shape and classes of data are whole numbers above 0")
    if not all(isinstance(data[name], str) for name in ("name", "fingerprint")):
        raise ValueError("name and fingerprint of data are text")


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], source: Path) -> None:
    """Copy named weights into a model. Raises `UserError` where they do not fit."""
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in weights or weights[name].shape != tensor.shape:
            found = tuple(weights[name].shape) if name in weights else "nothing"
            raise UserError(
                f"{source} does not fit config.json: {name} should be {tuple(tensor.shape)}, found {found}. "
                "One of the two files was changed"
            )
    model.load_state_dict({name: weights[name] for name in expected})


def diffusion_model(model: object, purpose: str) -> DiffusionModel:
    """The same model where it is a diffusion model. Raises `UserError` saying that `purpose` needs one."""
    if isinstance(model, LadderNetwork):
        raise UserError(model.without_likelihood)
    if not isinstance(model, DiffusionModel):
        raise UserError(f"{purpose} needs a diffusion model, and this run holds a {type(model).__name__}")
    return model


def load(path: str | Path, device: torch.device | str = "cpu") -> LikelihoodModel:
    """The trained model of the run at `path`. Raises `UserError` if it is not a whole run."""
    run = Run.open(Path(path))
    return run.model(run.data(), device)
