"""Controls beside what they show. Nothing is computed here, and what is made of gradio is of no type that is known."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from importlib.resources import files
from typing import Any

import numpy as np

from vlb.base.errors import UserError
from vlb.base.limits import too_large
from vlb.generate.options import SampleOptions
from vlb.interfaces.explorer.server import require_gradio
from vlb.models.diffusion.grids import GRIDS
from vlb.models.diffusion.model import DiffusionModel
from vlb.models.diffusion.samplers import SAMPLERS
from vlb.models.protocols import Cooled, offers
from vlb.pages.explorer import charts, study
from vlb.pages.explorer import trained as of_run
from vlb.pages.explorer.encodings import encodings
from vlb.pages.explorer.trained import Trained
from vlb.pages.markup import text

ONE_AT_A_TIME = "vlb"  # of all that the page computes
SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace"]
OWN_STYLE = """
.gradio-container { max-width: 1180px !important; margin: 0 auto; }
.vlb h2:first-child, .vlb section:first-child h2 { margin-top: .2rem; }
.vlb h2 { margin-top: 2rem; }
.vlb .refused { border-left: 4px solid var(--second); padding: .1rem 0 .1rem .9rem; }
"""
PAINT = "#ef9555"


def theme() -> Any:
    """Fonts that are on the machine, and the colours of reports, which follow light and dark by themselves."""
    gr = require_gradio()
    own = gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=SANS, font_mono=MONO)
    colours = {
        "body_background_fill": "var(--paper)",
        "body_text_color": "var(--ink)",
        "block_background_fill": "var(--panel)",
        "background_fill_primary": "var(--paper)",
        "background_fill_secondary": "var(--panel)",
        "block_label_text_color": "var(--muted)",
        "block_title_text_color": "var(--ink)",
        "body_text_color_subdued": "var(--muted)",
        "border_color_primary": "var(--rule)",
        "input_background_fill": "var(--paper)",
        "button_primary_background_fill": "var(--first)",
        "button_primary_background_fill_hover": "var(--first)",
        "button_primary_text_color": "var(--paper)",
        "table_even_background_fill": "var(--paper)",
        "table_odd_background_fill": "var(--panel)",
    }
    return own.set(**colours, **{f"{name}_dark": value for name, value in colours.items()})


def head() -> str:
    """Styles of reports, for what is within an element of class `vlb`."""
    palette, style = (files("vlb.pages").joinpath(name).read_text("utf-8") for name in ("palette.css", "style.css"))
    return f"<style>{palette}\n.vlb {{ {style} }}\n{OWN_STYLE}</style>"


def framed(shown: str) -> str:
    """A piece of a page as gradio shows it, which takes braces and dollars for its own."""
    for sign in "{}$":
        shown = shown.replace(sign, f"&#{ord(sign)};")
    return f'<div class="vlb">{shown}</div>'


def refusal(error: Exception) -> str:
    """Why something is not shown."""
    return f'<p class="refused">{text(error)}</p>'


def answering(show: Callable[..., str]) -> Callable[..., str]:
    """What `show` makes, or the sentence of why it refuses, for an `HTML` component."""

    @wraps(show)
    def answer(*values: Any) -> str:
        try:
            return framed(show(*values))
        except UserError as error:
            return framed(refusal(error))
        except (MemoryError, RuntimeError) as error:
            if not too_large(error):
                raise
            return framed(refusal(UserError("this needs more memory than there is: choose less")))

    return answer


def studies() -> Any:
    """The page of diffusions without a network."""
    gr = require_gradio()
    with gr.Blocks(title="vlb explore", analytics_enabled=False) as page, gr.Row():
        with gr.Column(scale=1, min_width=250):
            plain = study.Study()
            controls = [
                gr.Dropdown([*study.SCHEDULES.offered], value="log-snr-linear", label="schedule"),
                gr.Number(plain.schedule.gamma_0, label="γ₀, at the data", step=0.5),
                gr.Number(plain.schedule.gamma_1, label="γ₁, at the noise", step=0.5),
                gr.Dropdown([*study.WEIGHTINGS.offered], value="likelihood", label="weighting"),
                gr.Slider(1, 128, plain.steps, step=1, label="T, steps"),
                gr.Dropdown([*SAMPLERS.offered], value="ancestral", label="sampler"),
                gr.Dropdown([*study.GRIDS.offered], value="t", label="steps equal in"),
                gr.Textbox(label="more", placeholder="schedule.shift=-1 weighting.mean=3", max_lines=1),
                gr.Number(plain.seed, label="seed", step=1),
            ]
        with gr.Column(scale=4, min_width=320):
            shown = _html("", "study")
        _shows(page, controls, studied, shown)
    return page


def studied(
    schedule: str,
    gamma_0: float | None,
    gamma_1: float | None,
    weighting: str,
    steps: float | None,
    sampler: str,
    grid: str,
    more: str,
    seed: float | None,
) -> str:
    """All there is to see of settings."""
    ends = {"gamma_0": gamma_0, "gamma_1": gamma_1}
    settings = {
        "schedule": {"type": schedule, **ends},
        "weighting": weighting,
        "sampler": sampler,
        "grid": grid,
        "steps": whole(steps),
        "seed": whole(seed),
    }
    return charts.page(study.studied(settings, more))


def of_trained(trained: Trained) -> Any:
    """The page of a run."""
    gr = require_gradio()
    with gr.Blocks(title=f"vlb explore {trained.name}", analytics_enabled=False) as page:
        _html(framed(f"<h1><b>{text(trained.name)}</b> · {text(trained.words)}</h1>"))
        for name, tab in TABS.items():
            with gr.Tab(name):
                tab(page, trained)
    return page


def samples(page: Any, trained: Trained) -> None:
    """Samples, and what they depend on."""
    gr = require_gradio()
    diffusion, rungs = offers(trained.model, DiffusionModel), offers(trained.model, Cooled)
    with gr.Row():
        n = gr.Slider(1, 100, 32, step=1, label="how many")
        steps = gr.Number(50, label="steps", step=1, visible=diffusion)
        sampler = gr.Dropdown([*SAMPLERS.offered], value="ancestral", label="sampler", visible=diffusion)
        spaced = gr.Dropdown([*GRIDS.offered], value="t", label="steps equal in", visible=diffusion)
        label = _class(trained)
        guidance = gr.Number(1, label="guidance", step=0.5, visible=diffusion and trained.run.conditional)
        clip = gr.Checkbox(label="clip to the range of the data", visible=diffusion)
        temperature = gr.Textbox("", label="temperature", placeholder="1, or one per rung: 1 0.8", visible=rungs)
        seed = gr.Number(0, label="seed", step=1)

    def show(
        n: float,
        steps: float | None,
        sampler: str,
        grid: str,
        label: str | None,
        guidance: float | None,
        clip: bool,
        temperature: str,
        seed: float | None,
    ) -> str:
        options = SampleOptions(
            n=whole(n), seed=whole(seed), label=label or None, temperature=of_run.temperatures(temperature)
        )
        if diffusion:
            steps = None if sampler == "ode" else whole(steps)  # which finds its own
            strength = None if guidance == 1 else guidance
            options = replace(options, steps=steps, sampler=sampler, grid=grid, clip=clip, guidance=strength)
        return of_run.samples(trained, options)

    _asked("Draw samples", [n, steps, sampler, spaced, label, guidance, clip, temperature, seed], show)


def path(page: Any, trained: Trained) -> None:
    """How one sample comes about."""
    gr = require_gradio()
    with gr.Row():
        steps, label, seed = gr.Number(50, label="steps", step=1), _class(trained), gr.Number(0, label="seed", step=1)

    def show(steps: float | None, label: str | None, seed: float | None) -> str:
        return of_run.path(trained, whole(steps), label or None, whole(seed))

    _asked("Draw a path", [steps, label, seed], show)


def extremes(page: Any, trained: Trained) -> None:
    """The hardest and easiest held-out examples."""
    _asked("Find the hardest and the easiest", [], lambda: of_run.extremes(trained))


def latents(page: Any, trained: Trained) -> None:
    """Encodings."""
    _asked("Encode test examples", [], lambda: encodings(trained))


def gaps(page: Any, trained: Trained) -> None:
    """Imputation: a picture to paint on, a table to clear cells of, or why there is none."""
    try:
        of_run.probe(trained)
    except UserError as error:
        _html(framed(refusal(error)))
        return
    (_cleared if trained.schema.columns else _painted)(page, trained)


def _painted(page: Any, trained: Trained) -> None:
    gr = require_gradio()
    canvas = of_run.canvas(trained, 0)
    brush = max(8, round(1.2 * max(canvas.shape) / max(trained.schema.shape[1:])))
    _html(framed("<p>Paint over the pixels that the model is to fill: those of which at least half is painted.</p>"))
    with gr.Row():
        number = gr.Number(0, label="test example", step=1)
        draws, seed = _draws()
    editor = gr.ImageEditor(
        _on(canvas),
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(default_size=brush, colors=[PAINT], color_mode="fixed"),
        eraser=gr.Eraser(default_size=brush),
        canvas_size=canvas.shape[1::-1],
        fixed_canvas=True,
        buttons=[],
        show_label=False,
        height=canvas.shape[0] + 60,
        elem_id="canvas",
    )

    def other(number: float | None) -> dict[str, Any] | None:
        try:
            return _on(of_run.canvas(trained, whole(number)))
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error

    number.change(other, number, editor, api_visibility="private", concurrency_id=ONE_AT_A_TIME)

    def show(painted: dict[str, Any] | None, number: float | None, draws: float, seed: float | None) -> str:
        layers = (painted or {}).get("layers") or []
        hole = of_run.hole_of(trained, layers[0][..., 3].astype(np.float64) if layers else None)
        return of_run.inpainted(trained, whole(number), hole, whole(draws), whole(seed))

    _asked("Fill what is painted", [editor, number, draws, seed], show)


def _cleared(page: Any, trained: Trained) -> None:
    gr = require_gradio()
    names, cells = of_run.rows(*of_run.first_rows(trained), trained.schema)
    told = "Clear cells (a click and Delete), or write others: what is empty is filled. The rows are of the test split."
    _html(framed(f"<p>{told}</p>"))
    with gr.Row():
        draws, seed = _draws()
    table = gr.Dataframe(
        cells,
        headers=names,
        type="array",
        datatype="str",
        interactive=True,
        buttons=[],
        elem_id="table",
    )

    def show(cells: Sequence[Sequence[Any]], draws: float, seed: float | None) -> str:
        words = [["" if cell is None else str(cell) for cell in row] for row in cells]
        return of_run.completed(trained, words, whole(draws), whole(seed))

    _asked("Fill the gaps", [table, draws, seed], show)


def whole(value: Any) -> Any:
    """A whole number that the browser sent with a point as one; all else as it is, to be refused where it is read."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


TABS: dict[str, Callable[[Any, Trained], None]] = {
    "Samples": samples,
    "Denoising path": path,
    "Hardest and easiest": extremes,
    "Encodings": latents,
    "Fill in": gaps,
}


def _class(trained: Trained) -> Any:
    """A choice of class, seen where the model is told one."""
    gr = require_gradio()
    names = list(trained.schema.labels or ()) if trained.run.conditional else []
    return gr.Dropdown([("any", ""), *((name, name) for name in names)], value="", label="class", visible=bool(names))


def _draws() -> tuple[Any, Any]:
    gr = require_gradio()
    return gr.Slider(1, 20, 5, step=1, label="draws"), gr.Number(0, label="seed", step=1)


def _on(canvas: np.ndarray) -> dict[str, Any]:
    return {"background": canvas, "layers": [], "composite": None}


def _html(shown: str, name: str | None = None) -> Any:
    """A place for what is framed, in styles of our own alone."""
    gr = require_gradio()
    return gr.HTML(shown, elem_id=name, apply_default_css=False, min_height=60)


def _asked(what: str, inputs: list[Any], show: Callable[..., str]) -> None:
    """A button, and below it what it asks for."""
    gr = require_gradio()
    button, shown = gr.Button(what, variant="primary"), _html("")
    button.click(answering(show), inputs, shown, api_visibility="private", concurrency_id=ONE_AT_A_TIME)


def _shows(page: Any, controls: list[Any], show: Callable[..., str], shown: Any) -> None:
    """What the controls say, at first and after each change; of changes meanwhile, the last."""
    gr = require_gradio()
    gr.on(
        [page.load, *(control.change for control in controls)],
        answering(show),
        controls,
        shown,
        trigger_mode="always_last",
        api_visibility="private",
        concurrency_id=ONE_AT_A_TIME,
        show_progress="minimal",
    )
