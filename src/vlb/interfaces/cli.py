"""The command line. Everything heavy is imported inside the commands, so that --help answers at once."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from vlb.base.errors import UserError

Seed = Annotated[int, Parameter(validator=Number(gte=0, lt=2**63))]  # what torch and NumPy both take

app = App(
    name="vlb",
    help="Likelihood-first diffusion models and their relatives: train, evaluate, sample, report.",
    help_format="markdown",
)


@app.command
def recipes() -> None:
    """List the recipes, a line each."""
    from vlb.training.recipes import RECIPES, describe

    width = max(map(len, RECIPES))
    for name in RECIPES:
        print(f"{name:<{width}}  {describe(name)}")


@app.command
def train(
    recipe: str,
    *,
    out: Path | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    data: Path | None = None,
    condition: str | None = None,
    seed: Seed | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    device: str | None = None,
) -> None:
    """Train a recipe into a run directory.

    Parameters
    ----------
    recipe
        A name from `vlb recipes`.
    out
        The run directory, new unless --resume; by default the first free of runs/RECIPE, runs/RECIPE-2, …
    resume
        Go on from the last checkpoint of --out, exactly as if never interrupted.
    data
        Your own data, for the recipes `images` and `table`.
    condition
        `labels` models p(x|y).
    seed
        Seed of everything random.
    set_
        Override a field, e.g. --set steps=500 --set model.backbone.width=256; may be repeated.
    device
        cpu or cuda; by default cuda where there is one.
    """
    from vlb.interfaces.commands.train import run_training

    run_training(recipe, out, resume, data, condition, seed, set_ or [], device)


@app.command
def evaluate(
    run: Path,
    *,
    split: str = "test",
    passes: int | None = None,
    precision: float | None = None,
    budget: int | None = None,
    seed: Seed = 0,
    steps: int | None = None,
    kernel: str | None = None,
    placement: str | None = None,
    likelihood: str = "bound",
    examples: int | None = None,
    draws: int | None = None,
    dequantisation: str | None = None,
    divergence: str | None = None,
    tolerance: float | None = None,
    data: Path | None = None,
    json: Path | None = None,
    values: Path | None = None,
    device: str | None = None,
) -> None:
    """State the bound on −log p(x) of held-out data in bits/dim, with its terms, errors and baselines.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    split
        test, validation or train, or the path of examples of your own: a folder of images, an .npy, .npz or IDX file,
        or a table of the same columns.
    passes
        Independent draws of noise level and noise per example, at least 2; by default 3 of a diffusion model
        in continuous time, 8 of others, 4 with another --likelihood.
    precision
        Go on until the Monte Carlo error is at most so many bits/dim.
    budget
        Give up on --precision after so many passes, by default 16 times the least; what was computed is kept.
    seed
        Seed of the draws.
    steps
        State the bound of the discrete-time model with so many steps, not the continuous-time one.
    kernel
        What one step down is, with --steps: standard (one Gaussian with the posterior's variance), moment
        (one Gaussian with the head's variance added) or mixture (over the head's levels, the tightest).
    placement
        Where the levels lie, with --steps: t (even in t), snr (even in log SNR) or dp (the best, both ends
        free, by costs measured on validation data).
    likelihood
        bound, importance (the importance-weighted bound from --draws of the latents, for a diffusion model whole
        trajectories of --steps) or ode (a bound on the likelihood of the probability-flow ODE, which is another
        model with the same network; --steps then are those of a fixed-step solver, and --placement t or snr).
    examples
        Evaluate so many random examples of the split; by default all, or 100 with another --likelihood.
    draws
        How many draws are weighted, with --likelihood importance; 16 by default.
    dequantisation
        How discrete data meet the density, with --likelihood ode: diffused (the process's own noise and the model's
        decoder, the default), uniform, truncated-normal or variational (fitted to training data).
    divergence
        exact or hutchinson (in expectation), with --likelihood ode; by default exact for up to 32 dimensions.
    tolerance
        Of the adaptive solver, with --likelihood ode; 1e-5 by default.
    data
        Where your own data are now, if they have moved.
    json
        Also write everything to this file.
    values
        Keep the values per example in this .npz file, by default in RUN/evaluations; the same command goes on with
        what an interrupted one has left there.
    device
        cpu or cuda.
    """
    from vlb.interfaces.commands.evaluate import run_evaluation
    from vlb.interfaces.commands.likelihoods import Request
    from vlb.interfaces.commands.measure import Effort

    request = Request(likelihood, examples, draws, dequantisation, divergence, tolerance)
    effort = Effort(passes, precision, budget, seed)
    run_evaluation(run, split, effort, steps, kernel, placement, request, data, json, values, device)


@app.command
def compare(
    models: Annotated[list[str], Parameter(negative=())],
    *,
    split: str | None = None,
    examples: int | None = None,
    passes: int = 4,
    seed: Seed = 0,
    data: Path | None = None,
    json: Path | None = None,
    out: Annotated[Path | None, Parameter(name=["-o", "--out"])] = None,
    device: str | None = None,
) -> None:
    """Say which of several models finds the same examples likelier: paired differences from the first of them.

    Parameters
    ----------
    models
        Run directories, .npz files of `vlb evaluate --values`, or the baselines independent-pixels and uniform.
    split
        test, validation or train; by default test, or what the saved values are of.
    examples
        Compare on so many random examples of the split; by default all.
    passes
        Independent draws per example for each run, of four noise levels each for diffusion models.
    seed
        Seed of the draws.
    data
        Where your own data are now, if they have moved.
    json
        Also write everything to this file.
    out
        Write a self-contained page, .html, with the examples on which they disagree most.
    device
        cpu or cuda.
    """
    from vlb.interfaces.commands.compare import run_comparison
    from vlb.interfaces.commands.measure import Effort

    run_comparison(models, split, examples, Effort(passes=passes, seed=seed), data, json, out, device)


@app.command
def score(
    run: Path,
    examples: str,
    *,
    out: Annotated[Path, Parameter(name=["-o", "--out"])],
    passes: int = 4,
    draws: int = 8,
    typicality: Annotated[bool, Parameter(negative=())] = False,
    background: str | None = None,
    seed: Seed = 0,
    data: Path | None = None,
    device: str | None = None,
) -> None:
    """Write −log p of every example, in nats and bits/dim, with its Monte Carlo error.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    examples
        A folder of images, an .npy, .npz or IDX file, a table of the same columns, or train, validation or test of the
        run's own data.
    out
        The .npz or .csv file to make; it must not exist yet.
    passes
        Independent randomisations, at least 2: the error is from their spread.
    draws
        Noise levels per example and pass, one in each of so many strata, for diffusion models.
    typicality
        Add how far an example's −log p is from its mean on training data: a sign of other data.
    background
        Add −log p under another model, and the likelihood ratio: a run, independent-pixels, uniform, or lzma.
    seed
        Seed of the draws.
    data
        Where the run's own data are now, if they have moved.
    device
        cpu or cuda.
    """
    from vlb.interfaces.commands.score import Request, run_scoring

    run_scoring(run, examples, Request(passes, draws, seed, background, typicality), data, out, device)


@app.command
def tightness(
    run: Path,
    *,
    split: str = "test",
    examples: int = 100,
    steps: int = 32,
    kernel: str = "standard",
    draws: int = 16,
    ode: Annotated[bool, Parameter(negative=())] = False,
    seed: Seed = 0,
    data: Path | None = None,
    json: Path | None = None,
    device: str | None = None,
) -> None:
    """Say how far the bound of a trained model is from its log p(x), at least, and what cannot be known of that.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    split
        test, validation or train.
    examples
        How many random examples of the split.
    steps
        T of the discrete-time model whose trajectories are weighed, even in log SNR; VAEs have their own levels.
    kernel
        What one of these steps is: standard, moment or mixture, as in `vlb evaluate`.
    draws
        How many draws of all latents are weighed per example.
    ode
        State the likelihood of the probability-flow ODE, too: another model with the same network. It is dear.
    seed
        Seed of the draws.
    data
        Where your own data are now, if they have moved.
    json
        Also write everything to this file.
    device
        cpu or cuda.
    """
    from vlb.interfaces.commands.tightness import Request, run_tightness

    run_tightness(run, split, Request(steps, kernel, draws, examples, ode), seed, data, json, device)


@app.command
def sample(
    run: Path,
    *,
    n: Annotated[int, Parameter(name=["-n", "--number"])] = 64,
    steps: int | None = None,
    sampler: str = "ancestral",
    grid: str = "t",
    guidance: float | None = None,
    clip: Annotated[bool, Parameter(negative="")] = False,
    temperature: Annotated[list[float] | None, Parameter(negative=(), consume_multiple=True)] = None,
    seed: Seed = 0,
    class_: Annotated[str | None, Parameter(name="--class")] = None,
    out: Annotated[Path, Parameter(name=["-o", "--out"])],
    device: str | None = None,
) -> None:
    """Generate examples.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    n
        How many.
    steps
        Denoising steps, by default 100: as many network evaluations per example, twice as many with heun.
    sampler
        ancestral, ddim, heun, heun-sde, dpm2m, dpm2m-sde, or ode, which finds its own steps.
    grid
        Where the steps are: equal in t, in log SNR (snr), as in EDM (edm), or in equal shares of the density that
        adaptive times learned (learned).
    guidance
        Strength of --class: 1 is the model as trained, above 1 more of the class; samples then have no bound.
    clip
        Keep every denoised estimate within the range of the data.
    temperature
        Of a hierarchical VAE: factors on the standard deviation of p, one for all levels or one per level, the level
        next to the data first, e.g. --temperature 1 0.8 0.6.
    seed
        The same seed gives the same samples.
    class_
        Which class, by its name or number, for a model trained with --condition labels.
    out
        A .png (a grid) or .npz (array `x`) that does not exist yet.
    device
        cpu or cuda.
    """
    from vlb.interfaces.commands.sample import Plan, run_sampling

    plan = Plan(sampler=sampler, grid=grid, steps=steps, guidance=guidance, clip=clip)
    run_sampling(run, n, plan, temperature, seed, class_, out, device)


@app.command
def report(run: Path, *, data: Path | None = None, device: str | None = None) -> None:
    """Write RUN/report.html: one self-contained page with the bound, losses, samples and configuration.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    data
        Where your own data are now, if they have moved.
    device
        cpu or cuda.
    """
    from vlb.interfaces.commands.report import run_report

    run_report(run, data, device)


@app.command
def compress(
    run: Path,
    inputs: Annotated[list[Path], Parameter(negative=())],
    *,
    out: Annotated[Path, Parameter(name=["-o", "--out"])],
    effort: str = "normal",
    steps: int | None = None,
    lanes: int | None = None,
    tries: int = 1,
    embed_model: Annotated[bool, Parameter(negative=())] = False,
    verify: bool = True,
    data: Path | None = None,
    device: str | None = None,
) -> None:
    """Compress images or arrays of them without loss, into one file.

    Parameters
    ----------
    run
        A run directory made by `vlb train`; the file can be read with the same weights only.
    inputs
        Folders of images, single images, .npy, .npz or IDX files. What the model cannot code is stored as it is.
    out
        The file to make, e.g. digits.vlb; it must not exist yet.
    effort
        fast, normal, high or extreme: the number of levels, for time against size.
    steps
        The number of levels T, instead of what --effort says.
    lanes
        How many examples are coded at once, 64 by default.
    tries
        Encode each batch so many times from other latents and keep the shortest code: smaller files for most models,
        the more so the fewer --lanes there are; encoding takes so many times as long, decoding no longer.
    embed_model
        Put the model into the file, which can then be read without the run.
    verify
        Decode everything again before it is written; --no-verify trusts the machine, and takes half the time.
    data
        Where your own data are now, if they have moved: levels are placed by them.
    device
        cpu or cuda; decompression needs the same.
    """
    from vlb.coding.api import Choice
    from vlb.interfaces.commands.compress import run_compression

    run_compression(run, inputs, out, Choice(effort, steps, lanes, tries, embed_model, verify, data), device)


@app.command
def decompress(
    file: Path,
    *,
    out: Annotated[Path, Parameter(name=["-o", "--out"])],
    model: Path | None = None,
    stop_after: int | None = None,
    salvage: Annotated[bool, Parameter(negative=())] = False,
    device: str | None = None,
) -> None:
    """Restore what `vlb compress` was given, into a new folder.

    Parameters
    ----------
    file
        A file made by `vlb compress`.
    out
        The folder to make; it must not exist yet.
    model
        The run it was made with, unless the file carries its model.
    stop_after
        Read so many levels of noise of each chunk, 1 being the coarsest, and write the denoised examples known by
        then: those that were coded last.
    salvage
        Of a damaged file, restore what is whole and say what is lost.
    device
        cpu or cuda, the same as for compression.
    """
    from vlb.interfaces.commands.decompress import run_decompression

    run_decompression(file, out, model, stop_after, salvage, device)


@app.command
def inspect(
    file: Path,
    *,
    account: Annotated[bool, Parameter(negative=())] = False,
    model: Path | None = None,
    device: str | None = None,
) -> None:
    """Say what a compressed file holds and which model it needs, and check it for damage.

    Parameters
    ----------
    file
        A file made by `vlb compress`.
    account
        Also decode and encode everything again, and say where the bits went: bound, net rate, initial bits, speed.
    model
        The run it was made with, for --account, unless the file carries its model.
    device
        cpu or cuda, the same as for compression.
    """
    from vlb.interfaces.commands.inspect import run_inspection

    run_inspection(file, account, model, device)


def main(arguments: list[str] | None = None) -> None:
    """The entry point: messages for people, exit status 2 for what they can mend."""
    # Read when torch is loaded: threads that spin for long while waiting make a busy machine many times slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    try:
        try:
            app(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()
    except UserError as error:
        print(f"vlb: {error}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError, TypeError) as error:
        if not _too_large(error):
            raise
        reason = str(error).partition("\n")[0][:200] or "out of memory"
        print(
            f"vlb: this needs more memory than there is ({reason}): make the model, batch or -n smaller",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough; Python would write the rest at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _too_large(error: Exception) -> bool:
    """Whether memory ran out, on whatever device, or a size is beyond all memory: torch has no one type for it."""
    signs = ("allocate memory", "out of memory", "Overflow when unpacking", "Storage size calculation overflowed")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)
