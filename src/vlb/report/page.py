"""One HTML page about a run, which needs nothing but itself: styles, charts and pictures are inside."""

import json
import math
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from vlb import config
from vlb.report import figures
from vlb.report.content import Content
from vlb.report.gallery import Gallery
from vlb.report.markup import chart, sheet, table, text, thumbnail

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(content: Content) -> str:
    """The whole page. Likelihoods are in bits/dim, noise levels in nats of log SNR."""
    sections = (headline, bound, training, noise, pictures, film, classification, configuration, reproduction)
    body = "\n".join(filter(None, (section(content) for section in sections)))
    style = files("vlb.report").joinpath("style.css").read_text("utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{text(POLICY)}">
<title>{text(content.name)}: {content.summary["bits_per_dim"]:.3f} bits/dim</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def headline(content: Content) -> str:
    """The number, what it is, and whether the model has learned anything."""
    s = content.summary
    examples = f"{s['examples']:,} {s['split']} examples"
    if s["examples"] < s["split_examples"]:
        examples = f"{s['examples']:,} of {s['split_examples']:,} {s['split']} examples drawn at random"
    what = "−log₂ p(x | y) of examples x given their class y" if s["conditional"] else "−log₂ p(x)"
    kind, sentence = verdict(s)
    return f"""<header>
<h1><b>{text(content.name)}</b> · a variational diffusion model of {text(s["data"]["name"])}</h1>
<p class="headline"><span>{s["bits_per_dim"]:.3f}</span> <span class="error">± {s["standard_error"]:.3f}</span>
<span class="unit">bits/dim</span></p>
<p class="verdict {kind}">{sentence}</p>
<p>An upper bound on {what}: the continuous-time variational bound with all three terms, per dimension, ±
one standard error. Lower is better. Measured on {text(examples)} of {text(s["data"]["name"])}
({text(_dimensions(content.shape))}; discrete data, {s["levels"]} levels) in {s["passes"]} passes. The error has
two parts: {s["se_data"]:.3f} from the choice of examples, {s["se_monte_carlo"]:.3f} from the draws of noise.
The model has {content.parameters:,} parameters.</p>
</header>"""


def verdict(summary: Mapping[str, Any]) -> tuple[str, str]:
    """("better", "worse" or "even", a sentence) about the bound and independent pixels."""
    pixels = summary["baselines"]["independent_pixels"]
    gain = pixels - summary["bits_per_dim"]
    if math.isnan(summary["standard_error"]):
        return "even", f"Of so few examples nothing can be said against the independent-pixel baseline, {pixels:.3f}."
    if abs(gain) <= 2 * summary["standard_error"]:
        return "even", (
            f"It cannot be told from the independent-pixel baseline, {pixels:.3f} bits/dim: the difference of "
            f"{abs(gain):.3f} is within two standard errors. Nothing here shows that the model has learned how "
            "pixels depend on one another."
        )
    told = " The model is told the class, the baseline is not." if summary["conditional"] else ""
    if gain > 0:
        nats = gain * summary["dimensions"] * math.log(2)
        return "better", (
            f"It beats the independent-pixel baseline, {pixels:.3f} bits/dim, by {gain:.3f} bits/dim, which is "
            f"{nats:.1f} nats per example.{told}"
        )
    return "worse", (
        f"It does not beat the independent-pixel baseline, {pixels:.3f} bits/dim: it is {-gain:.3f} bits/dim worse, "
        f"so one histogram per pixel describes the data better.{told}"
    )


def bound(content: Content) -> str:
    """The terms beside the baselines, as a chart and as a table."""
    s = content.summary
    which = "the test split" if s["examples"] == s["split_examples"] else "the same test examples"
    given = " They do not know the class, which the model is given." if s["conditional"] else ""
    caption = (
        "Diffusion: the cost of denoising at all noise levels. Reconstruction: of the data given the least noisy "
        "latent. Prior: of the noisiest latent. Uniform, independent pixels (histograms fitted on the training "
        f"split) and lzma (preset 9e) are codes for {which}.{given}"
    )
    rows = [("bound", f"{s['bits_per_dim']:.4f} ± {s['standard_error']:.4f}", "strong")]
    rows += [(name, f"{s['terms'][name]:.4f}", "inner") for name in ("diffusion", "reconstruction", "prior")]
    by_size = sorted(s["baselines"].items(), key=lambda item: item[1])
    rows += [(name.replace("_", " "), f"{value:.4f}", "") for name, value in by_size]
    return (
        f"<section><h2>The bound and its terms</h2>{chart(figures.terms_and_baselines(s), text(caption))}"
        f"{table(rows, 'The same in numbers', ('code', 'bits/dim'))}</section>"
    )


def training(content: Content) -> str:
    """The course of training."""
    history = content.history
    start = "<section><h2>Training</h2>"
    if history.chosen is None:
        kept = "The run does not say at which step its weights were kept."
    elif history.best:
        kept = f"The model is the average of weights at step {history.chosen}, the best on validation data."
    else:
        kept = f"No validation was made: the model is the average of weights at step {history.chosen}, the last."
    if not history.train and not history.validation:
        return f"{start}<p>{kept}</p><p>metrics.jsonl is missing or empty, so there is no curve to show.</p></section>"
    refused = "No update was skipped."
    if history.skipped:
        plural = "update was" if history.skipped == 1 else "updates were"
        refused = f"{history.skipped:,} {plural} skipped, not finite or a spike of the gradient (ticks on the axis)."
    validated = ""
    if history.validation:
        validated = " Validation: the bound of the averaged weights, always on the same examples and draws."
    caption = (
        f"{kept} {refused} Training: the mean loss since the last point, with dropout and one draw of noise per "
        f"example.{validated}"
    )
    svg = figures.losses(history, content.summary["baselines"]["independent_pixels"])
    return f"{start}{chart(svg, text(caption))}</section>"


def noise(content: Content) -> str:
    """Where on the noise axis the diffusion term is paid."""
    profile, term = content.profile, content.summary["terms"]["diffusion"]
    area = float(profile.bits.sum()) * figures.bin_width(profile)
    caption = (
        f"The area is the diffusion term: {area:.3f} bits/dim by this curve, {term:.3f} by the evaluation, which "
        "draws its own noise."
    )
    figure = chart(figures.noise_levels(profile), text(caption))
    return f"<section><h2>Which noise levels cost the bits</h2>{figure}</section>"


def pictures(content: Content) -> str:
    """Samples beside data."""
    gallery = content.gallery
    if gallery is None:
        shape = " × ".join(map(str, content.shape))
        return (
            "<section><h2>Samples</h2><p>Pictures are left out: examples of shape "
            f"{text(shape)} are not images of one or three channels.</p></section>"
        )
    both = "".join(
        f"<figure><figcaption>{title}</figcaption>{_sheet(gallery, x, present, title)}</figure>"
        for title, x, present in (("Samples", gallery.samples, None), ("Data", gallery.data, gallery.present))
    )
    how = f"Samples by {gallery.steps} steps of ancestral sampling, not selected; data from the test split."
    rows = " A row per class." if gallery.classes else ""
    return (
        f'<section><h2>Samples beside data</h2><div class="pair">{both}</div><p class="note">{how}{rows}</p></section>'
    )


def _sheet(gallery: Gallery, x: np.ndarray, present: np.ndarray | None, title: str) -> str:
    count = len(x) if present is None else int(present.sum())
    description = f"{title}: {count} images in rows of {gallery.columns}"
    picture = sheet(x, gallery.levels, gallery.columns, description, present)
    if not gallery.classes:
        return picture
    labels = "".join(f"<li>{label}</li>" for label in gallery.classes)
    return f'<div class="rows"><ol aria-label="classes">{labels}</ol>{picture}</div>'


def film(content: Content) -> str:
    """How some of the samples came about."""
    gallery = content.gallery
    if gallery is None:
        return ""
    head = "".join(f'<th scope="col">{frame.log_snr:+.1f}</th>'.replace("-", "−") for frame in gallery.frames)
    rows = "".join(_strip(gallery, i) for i in range(len(gallery.ends)))
    return f"""<section><h2>From noise to data</h2>
<figure><div class="wide"><table class="film">
<thead><tr><th scope="row">log SNR</th>{head}<th scope="col">x</th></tr></thead><tbody>{rows}</tbody></table></div>
<figcaption>The first samples of some rows above on their way down: the latent z at each log SNR in nats (scaled to
unit variance of the process), below it x̂(z), the mean of x that the model expects there, and the sample x at the
end.</figcaption></figure></section>"""


def _strip(gallery: Gallery, i: int) -> str:
    def cells(name: str, images: list[Any]) -> str:
        return "".join(
            f"<td>{thumbnail(image, 256, f'{name} of sample {i + 1} at log SNR {frame.log_snr:.1f}')}</td>"
            for frame, image in zip(gallery.frames, images, strict=True)
        )

    end = thumbnail(gallery.ends[i], gallery.levels, f"sample {i + 1}")
    return (
        f'<tr class="state"><th scope="row">z</th>{cells("z", [frame.z[i] for frame in gallery.frames])}'
        f'<td class="end" rowspan="2">{end}</td></tr>'
        f'<tr><th scope="row">x̂</th>{cells("x̂", [frame.x[i] for frame in gallery.frames])}</tr>'
    )


def classification(content: Content) -> str:
    """The accuracy of p(y | x), for conditional models."""
    a = content.accuracy
    if a is None:
        return ""
    return (
        "<section><h2>Classification by Bayes’ rule</h2>"
        f"<p><b>{a.share:.1%} ± {a.standard_error:.1%}</b> of {a.examples:,} test examples get their right class "
        f"({a.right:,} of {a.examples:,}; chance is {1 / a.classes:.1%}).</p>"
        "<p class='note'>The class with the largest bound on log p(x | y) is taken, as if all classes were equally "
        f"frequent; each bound is the mean of {a.draws} draws, which all classes of an example share.</p></section>"
    )


def configuration(content: Content) -> str:
    """All settings, those that differ from the recipe marked; data and versions."""
    groups: dict[str, list[tuple[str, str, str]]] = {"Run": [], "Data": [], "Model": [], "Training": []}
    for path, value in settings(content):
        group, _, rest = path.partition(".")
        title = group.capitalize() if rest else "Run"
        kind = "changed" if _changed(path, content.changed or frozenset()) else ""
        groups.setdefault(title, []).append((rest or path, value, kind))
    data = content.summary["data"]
    groups["Data"] += [("fingerprint", str(data["fingerprint"]), ""), ("shape", _dimensions(content.shape), "")]
    groups["Versions, at the time of the report"] = [(name, version, "") for name, version in content.versions.items()]
    tables = "".join(table(rows, title) for title, rows in groups.items() if rows)
    if content.changed is None:
        note = f"This version of vlb has no recipe {content.experiment.recipe!r} to compare with."
    elif content.changed:
        note = f"Bold, coloured values differ from the recipe {content.experiment.recipe!r}."
    else:
        note = f"All values are those of the recipe {content.experiment.recipe!r}."
    return (
        f'<section><h2>Configuration</h2><p class="note">{text(note)}</p><div class="columns">{tables}</div></section>'
    )


def _changed(path: str, changed: frozenset[str]) -> bool:
    """Whether a field, or a configuration that it is part of, is among those changed."""
    return any(path == other or path.startswith(other + ".") for other in changed)


def settings(content: Content) -> Iterator[tuple[str, str]]:
    """(path, value) of every configuration field; a nested configuration's value is its class name."""
    yield from _leaves(config.encode(content.experiment), "")


def _leaves(value: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, item in value.items():
        if name == "type":
            continue
        if not isinstance(item, dict):
            yield prefix + name, item if isinstance(item, str) else _plain(item)
            continue
        if prefix:
            yield prefix + name, item["type"].removesuffix("Config")
        yield from _leaves(item, f"{prefix}{name}.")


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    return json.dumps(value).strip("[]") or "none"


def reproduction(content: Content) -> str:
    """Command lines that make it again."""
    lines = "\n".join(text(command) for command in content.commands)
    return f"<section><h2>Make it again</h2><pre>{lines}</pre></section>"


def _dimensions(shape: tuple[int, ...]) -> str:
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
