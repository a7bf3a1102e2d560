"""The variational lower bound: likelihood-first diffusion models and their relatives.

Names are imported when first used, so that `import vlb` and `vlb --help` stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlb.base.errors import UserError as UserError
    from vlb.base.progress import Progress as Progress
    from vlb.base.results import Result as Result
    from vlb.base.results import Table as Table
    from vlb.coding.api import compress as compress
    from vlb.coding.api import decompress as decompress
    from vlb.coding.api import inspect as inspect
    from vlb.coding.options import CompressOptions as CompressOptions
    from vlb.coding.options import DecompressOptions as DecompressOptions
    from vlb.coding.options import InspectOptions as InspectOptions
    from vlb.coding.results import Compressed as Compressed
    from vlb.coding.results import Inspection as Inspection
    from vlb.coding.results import Restored as Restored
    from vlb.core.condition import Condition as Condition
    from vlb.core.emissions import Emission as Emission
    from vlb.core.schema import Schema as Schema
    from vlb.core.terms import BoundKind as BoundKind
    from vlb.data import Dataset as Dataset
    from vlb.data import Split as Split
    from vlb.generate.impute import ImputeResult as ImputeResult
    from vlb.generate.impute import impute as impute
    from vlb.generate.inpaint import InpaintResult as InpaintResult
    from vlb.generate.options import ImputeOptions as ImputeOptions
    from vlb.generate.options import SampleOptions as SampleOptions
    from vlb.generate.sample import SampleResult as SampleResult
    from vlb.generate.sample import sample as sample
    from vlb.interfaces.doctor import Diagnosis as Diagnosis
    from vlb.interfaces.doctor import doctor as doctor
    from vlb.interfaces.estimators.diffusion import DiffusionDensity as DiffusionDensity
    from vlb.interfaces.estimators.imputer import Imputer as Imputer
    from vlb.interfaces.estimators.mixture import MixtureDensity as MixtureDensity
    from vlb.interfaces.estimators.vae import VAEDensity as VAEDensity
    from vlb.measure.classification import classify as classify
    from vlb.measure.compare import ComparisonResult as ComparisonResult
    from vlb.measure.compare import compare as compare
    from vlb.measure.evaluate import evaluate as evaluate
    from vlb.measure.evaluation import Evaluation as Evaluation
    from vlb.measure.evaluation import measure_bound as measure_bound
    from vlb.measure.options import CompareOptions as CompareOptions
    from vlb.measure.options import EvaluateOptions as EvaluateOptions
    from vlb.measure.options import ScoreOptions as ScoreOptions
    from vlb.measure.options import TightnessOptions as TightnessOptions
    from vlb.measure.recognition import Recognition as Recognition
    from vlb.measure.score import ScoreResult as ScoreResult
    from vlb.measure.score import score as score
    from vlb.measure.summary import EvaluationResult as EvaluationResult
    from vlb.measure.tightness.measured import TightnessResult as TightnessResult
    from vlb.measure.tightness.measured import tightness as tightness
    from vlb.models.diffusion.model import DiffusionModel as DiffusionModel
    from vlb.models.mixture.gaussian import GaussianMixture as GaussianMixture
    from vlb.pages.export import ExportResult as ExportResult
    from vlb.pages.export import export_diffusers as export_diffusers
    from vlb.pages.publish import PublishResult as PublishResult
    from vlb.pages.publish import push_to_hub as push_to_hub
    from vlb.pages.publish import save_pretrained as save_pretrained
    from vlb.pages.report import ReportResult as ReportResult
    from vlb.pages.report import report as report
    from vlb.store.experiment import Experiment as Experiment
    from vlb.store.runs import Run as Run
    from vlb.store.runs import from_pretrained as from_pretrained
    from vlb.store.runs import load as load
    from vlb.training.imported import ImportResult as ImportResult
    from vlb.training.imported import import_diffusers as import_diffusers
    from vlb.training.options import TrainOptions as TrainOptions
    from vlb.training.recipes import recipe as recipe
    from vlb.training.verb import TrainResult as TrainResult
    from vlb.training.verb import train as train

_NAMES = {
    "vlb.base.errors": ("UserError",),
    "vlb.base.progress": ("Progress",),
    "vlb.base.results": (
        "Result",
        "Table",
    ),
    "vlb.coding.api": (
        "compress",
        "decompress",
        "inspect",
    ),
    "vlb.coding.options": (
        "CompressOptions",
        "DecompressOptions",
        "InspectOptions",
    ),
    "vlb.coding.results": (
        "Compressed",
        "Inspection",
        "Restored",
    ),
    "vlb.core.condition": ("Condition",),
    "vlb.core.emissions": ("Emission",),
    "vlb.core.schema": ("Schema",),
    "vlb.core.terms": ("BoundKind",),
    "vlb.data": (
        "Dataset",
        "Split",
    ),
    "vlb.generate.impute": (
        "ImputeResult",
        "impute",
    ),
    "vlb.generate.inpaint": ("InpaintResult",),
    "vlb.generate.options": (
        "ImputeOptions",
        "SampleOptions",
    ),
    "vlb.interfaces.estimators.diffusion": ("DiffusionDensity",),
    "vlb.interfaces.doctor": (
        "Diagnosis",
        "doctor",
    ),
    "vlb.interfaces.estimators.imputer": ("Imputer",),
    "vlb.interfaces.estimators.mixture": ("MixtureDensity",),
    "vlb.interfaces.estimators.vae": ("VAEDensity",),
    "vlb.generate.sample": (
        "SampleResult",
        "sample",
    ),
    "vlb.measure.classification": ("classify",),
    "vlb.measure.compare": (
        "ComparisonResult",
        "compare",
    ),
    "vlb.measure.evaluate": ("evaluate",),
    "vlb.measure.evaluation": (
        "Evaluation",
        "measure_bound",
    ),
    "vlb.measure.options": (
        "CompareOptions",
        "EvaluateOptions",
        "ScoreOptions",
        "TightnessOptions",
    ),
    "vlb.measure.recognition": ("Recognition",),
    "vlb.measure.score": (
        "ScoreResult",
        "score",
    ),
    "vlb.measure.summary": ("EvaluationResult",),
    "vlb.measure.tightness.measured": (
        "TightnessResult",
        "tightness",
    ),
    "vlb.models.diffusion.model": ("DiffusionModel",),
    "vlb.models.mixture.gaussian": ("GaussianMixture",),
    "vlb.pages.export": ("ExportResult", "export_diffusers"),
    "vlb.pages.publish": (
        "PublishResult",
        "push_to_hub",
        "save_pretrained",
    ),
    "vlb.pages.report": (
        "ReportResult",
        "report",
    ),
    "vlb.store.experiment": ("Experiment",),
    "vlb.store.runs": (
        "Run",
        "from_pretrained",
        "load",
    ),
    "vlb.training.imported": ("ImportResult", "import_diffusers"),
    "vlb.training.options": ("TrainOptions",),
    "vlb.training.recipes": ("recipe",),
    "vlb.training.verb": ("TrainResult", "train"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vlb' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
