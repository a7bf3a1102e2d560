"""What all pages share: the frame, which needs nothing but itself, and the sections that do not ask for the model.

A module per kind of model – `diffusion`, `hierarchy`, `mixture`, `ladder` – puts its page together from these and
its own.
"""

import json
import math
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

import numpy as np

from vlb.base import configuration as config
from vlb.core.terms import spoken
from vlb.measure.summary import EvaluationResult, named
from vlb.pages import clouds, figures, sounds
from vlb.pages.content import About, Measured
from vlb.pages.gallery import Gallery
from vlb.pages.history import History
from vlb.pages.markup import chart, sheet, table, text

STYLES = ("palette.css", "style.css")
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


def page(title: str, sections: Iterable[str]) -> str:
    """The whole page, of sections that are HTML; empty ones are left out."""
    body = "\n".join(filter(None, sections))
    style = "".join(files("vlb.pages").joinpath(name).read_text("utf-8") for name in STYLES)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{text(POLICY)}">
<title>{text(title)}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def title(measured: Measured) -> str:
    """The name of a page about a likelihood."""
    return f"{measured.about.name}: {measured.result.bits_per_dim:.3f} bits/dim"


def headline(measured: Measured, model: str, what: str, draws: str) -> str:
    """The number, what it is, and whether the model has learned anything; `draws` says what is random in it."""
    s, about = measured.result, measured.about
    examples = f"{s.examples:,} {s.split} examples"
    if s.examples < s.split_examples:
        examples = f"{s.examples:,} of {s.split_examples:,} {s.split} examples drawn at random"
    if s.evaluation.cut:
        examples = f"{s.things:,} {s.split} pictures of any size, in {s.examples:,} tiles (here the examples)"
    kind, sentence = verdict(s)
    nats = s.dimensions * math.log(2)
    return f"""<header>
<h1><b>{text(about.name)}</b> · {text(model)} of {text(s.data)}</h1>
<p class="headline"><span>{s.bits_per_dim:.3f}</span> <span class="error">± {s.standard_error:.3f}</span>
<span class="unit">bits/dim</span></p>
<p class="verdict {kind}">{sentence}</p>
<p>{text(what)}, per dimension, ± one standard error; that is {s.nats_per_example:.2f} ±
{nats * s.standard_error:.2f} nats per example{of_sets(s)}. Lower is
better. Measured on {text(examples)} of {text(s.data)}
({text(sizes(s))}; {text(s.kind)}). {text(draws)}
The model has {about.parameters:,} parameters.</p>
</header>"""


def of_sets(result: EvaluationResult) -> str:
    """What forgetting the order of points does to it."""
    if result.nats_per_set is None:
        return ""
    return f", and {result.nats_per_set:.2f} as a set, whose order is forgotten (N! orders are one set)"


def two_errors(result: EvaluationResult, what: str) -> str:
    """How the standard error comes about where `what` is drawn in every pass."""
    return (
        f"The error has two parts: {result.se_data:.3f} from the choice of examples, "
        f"{result.se_monte_carlo:.3f} from the draws of {what} in {result.passes} passes."
    )


def verdict(result: EvaluationResult) -> tuple[str, str]:
    """("better", "worse" or "even", a sentence) about the bound and independent elements, by paired differences."""
    base, gain = result.baselines["independent_pixels"], result.gain
    error = result.gain_error
    elements = result.elements
    baseline = f"the baseline of independent {elements}, {base:.3f} bits/dim"
    if math.isnan(error):
        return "even", f"Of a single example nothing can be said against {baseline}."
    if abs(gain) <= 3 * error:
        return "even", (
            f"It cannot be told from {baseline}: the difference of {abs(gain):.3f} is within three standard errors. "
            f"Nothing here shows that the model has learned how {elements} depend on one another."
        )
    told = " The model is told the class, the baseline is not." if result.conditional else ""
    if gain > 0:
        nats = result.dimensions * math.log(2)
        return "better", (
            f"It beats {baseline}, by {gain:.3f} ± {error:.3f} bits/dim, which is {gain * nats:.1f} ± "
            f"{error * nats:.1f} nats per example.{told}"
        )
    return "worse", (
        f"It does not beat {baseline}: it is {-gain:.3f} ± {error:.3f} bits/dim worse, so the {elements} by "
        f"themselves describe the data better.{told}"
    )


def bound(measured: Measured, heading: str, meaning: str) -> str:
    """The terms beside the baselines, as a chart and as a table; `meaning` says what the terms are."""
    s = measured.result
    which = "the test split" if s.examples == s.split_examples else "the same test examples"
    given = " They do not know the class, which the model is given." if s.conditional else ""
    fitted = f"independent {s.elements} (fitted on the training split)"
    codes = f"For comparison {fitted}, of"
    if "mixture_of_points" in s.baselines:
        codes = f"For comparison {fitted} and a mixture of Gaussians, both of points that are independent, of"
    if "lzma" in s.baselines:
        codes = f"Uniform, {fitted} and lzma (preset 9e) are codes for"
    caption = f"{meaning} {codes} {which}.{given}"
    rows = [("in all", f"{s.bits_per_dim:.4f} ± {s.standard_error:.4f}", "strong")]
    rows += [(spoken(path), f"{value:.4f}", "inner") for path, value in s.terms.items()]
    by_size = sorted(s.baselines.items(), key=lambda item: item[1])
    rows += [(named(name, s.elements), f"{value:.4f}", "") for name, value in by_size]
    return (
        f"<section><h2>{text(heading)}</h2>{chart(figures.terms_and_baselines(s), text(caption))}"
        f"{table(rows, 'The same in numbers', ('code', 'bits/dim'))}</section>"
    )


def training(measured: Measured, loss: str) -> str:
    """The course of training by the bound; `loss` says what was drawn in it."""
    history = measured.about.history
    validated = ""
    if history.validation:
        validated = " Validation: the bound of the averaged weights, always on the same examples and draws."
    caption = f"{kept(history)} {refused(history)} Training: the mean loss since the last point, {loss}.{validated}"
    result = measured.result
    reference = result.baselines["independent_pixels"], named("independent_pixels", result.elements)
    svg = figures.losses(history, *reference) if recorded(history) else None
    return course(history, svg, caption)


def course(history: History, svg: str | None, caption: str) -> str:
    """The section about training, of a chart where there is one."""
    start = "<section><h2>Training</h2>"
    if svg is None:
        missing = "metrics.jsonl is missing or empty, so there is no curve to show."
        return f"{start}<p>{kept(history)}</p><p>{missing}</p></section>"
    return f"{start}{chart(svg, text(caption))}</section>"


def recorded(history: History) -> bool:
    """Whether there is a curve to show."""
    return bool(history.train or history.validation)


def kept(history: History) -> str:
    """Which weights the model has."""
    if history.chosen is None:
        return "The run does not say at which step its weights were kept."
    if history.best:
        return f"The model is the average of weights at step {history.chosen}, the best on validation data."
    return f"No validation was made: the model is the average of weights at step {history.chosen}, the last."


def refused(history: History) -> str:
    """How many updates were skipped."""
    if not history.skipped:
        return "No update was skipped."
    plural = "update was" if history.skipped == 1 else "updates were"
    return f"{history.skipped:,} {plural} skipped, not finite or a spike of the gradient (ticks on the axis)."


def pictures(measured: Measured) -> str:
    """Samples beside data."""
    gallery = measured.gallery
    if measured.sounds is not None:
        return sounds.section(measured.sounds)
    if measured.clouds is not None:
        return clouds.section(measured.clouds)
    if gallery is None:
        return no_pictures("Samples", measured.about.shape)
    both = "".join(
        f"<figure><figcaption>{title}</figcaption>{_sheet(gallery, x, present, title)}</figure>"
        for title, x, present in (("Samples", gallery.samples, None), ("Data", gallery.data, gallery.present))
    )
    how = f"Samples by {text(gallery.how)}, not selected; data from the test split."
    rows = " A row per class." if gallery.classes else ""
    if gallery.data.ndim == 5:
        rows += " Voxels at half of the levels and above are solid; seen from before, above and the left."
    return (
        f'<section><h2>Samples beside data</h2><div class="pair">{both}</div><p class="note">{how}{rows}</p></section>'
    )


def no_pictures(heading: str, shape: tuple[int, ...]) -> str:
    """A section that says why nothing is drawn."""
    sizes = text(" × ".join(map(str, shape)))
    return (
        f"<section><h2>{text(heading)}</h2><p>Pictures are left out: examples of shape {sizes} are neither images "
        "of one or three channels nor volumes of one.</p></section>"
    )


def _sheet(gallery: Gallery, x: np.ndarray, present: np.ndarray | None, title: str) -> str:
    count = len(x) if present is None else int(present.sum())
    description = f"{title}: {count} images in rows of {gallery.columns}"
    picture = sheet(x, gallery.levels, gallery.columns, description, present)
    return rows_of_classes(picture, gallery.classes) if gallery.classes else picture


def rows_of_classes(picture: str, classes: Iterable[str]) -> str:
    """A sheet with the name of each row's class beside it."""
    labels = "".join(f"<li>{text(name)}</li>" for name in classes)
    return f'<div class="rows"><ol aria-label="classes">{labels}</ol>{picture}</div>'


def configuration(about: About) -> str:
    """All settings, those that differ from the recipe marked; data and versions."""
    groups: dict[str, list[tuple[str, str, str]]] = {"Run": [], "Data": [], "Model": [], "Training": []}
    for path, value in settings(about):
        group, _, rest = path.partition(".")
        title = group.capitalize() if rest else "Run"
        kind = "changed" if _changed(path, about.changed or frozenset()) else ""
        groups.setdefault(title, []).append((rest or path, value, kind))
    groups["Data"] += [("fingerprint", about.data["fingerprint"], ""), ("shape", dimensions(about.shape), "")]
    groups["Data"] += [(heading, words, "") for heading, words in about.made_of]
    groups["Versions, at the time of the report"] = [(name, version, "") for name, version in about.versions.items()]
    tables = "".join(table(rows, title) for title, rows in groups.items() if rows)
    if about.changed is None:
        note = f"This version of vlb has no recipe {about.experiment.recipe!r} to compare with."
    elif about.changed:
        note = f"Bold, coloured values differ from the recipe {about.experiment.recipe!r}."
    else:
        note = f"All values are those of the recipe {about.experiment.recipe!r}."
    return (
        f'<section><h2>Configuration</h2><p class="note">{text(note)}</p><div class="columns">{tables}</div></section>'
    )


def _changed(path: str, changed: frozenset[str]) -> bool:
    """Whether a field, or a configuration that it is part of, is among those changed."""
    return any(path == other or path.startswith(other + ".") for other in changed)


def settings(about: About) -> Iterator[tuple[str, str]]:
    """(path, value) of every configuration field; a nested configuration's value is its tag."""
    encoded = config.encode(about.experiment)
    yield "model", encoded["model"]["type"]
    yield from _leaves(encoded, "")


def _leaves(value: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, item in value.items():
        if name == "type":
            continue
        if not isinstance(item, dict):
            yield prefix + name, item if isinstance(item, str) else _plain(item)
            continue
        if prefix and "type" in item:
            yield prefix + name, item["type"]
        yield from _leaves(item, f"{prefix}{name}.")


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    return json.dumps(value).strip("[]") or "none"


def reproduction(about: About) -> str:
    """Command lines that make it again."""
    lines = "\n".join(text(command) for command in about.commands)
    return f"<section><h2>Make it again</h2><pre>{lines}</pre></section>"


def sizes(result: EvaluationResult) -> str:
    """Of the examples, as a person says it."""
    pieces = result.evaluation.pieces
    if pieces is None or pieces.cut:
        return dimensions(result.shape)
    least, most = int(pieces.sizes.min()), int(pieces.sizes.max())
    return f"of {least:,} to {most:,} dimensions, {result.dimensions:,.1f} in the mean"


def dimensions(shape: tuple[int, ...]) -> str:
    """A shape as a person says it."""
    if len(shape) == 3:
        channels, height, width = shape
        plural = "channel" if channels == 1 else "channels"
        return f"{height} × {width} pixels, {channels} {plural}: {math.prod(shape):,} dimensions"
    return (
        f"{' × '.join(map(str, shape))}: {math.prod(shape):,} dimensions"
        if len(shape) > 1
        else f"{math.prod(shape):,} dimensions"
    )
