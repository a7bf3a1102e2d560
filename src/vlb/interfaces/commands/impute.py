"""`vlb impute`."""

from pathlib import Path
from typing import Annotated

from vlb.base.errors import UserError
from vlb.base.memory import keep_freed_memory
from vlb.generate.options import ImputeOptions
from vlb.interfaces.commands import Flags, Out

DEFAULT = ImputeOptions()


def impute(
    run: Path,
    examples: Path,
    *,
    options: Annotated[ImputeOptions, Flags] = DEFAULT,
    out: Annotated[Path, Out],
    mask: Path | None = None,
    device: str | None = None,
) -> None:
    """Fill the gaps of a table, or of pictures by a mask: what is there stays as it is, to the byte.

    Parameters
    ----------
    run
        A run directory made by `vlb train`.
    examples
        A .csv, .tsv, .txt, .dat, .parquet, .arrow or .feather file with the columns of the model, in any order; other
        columns are kept as they are. Of a model of an array an .npy file (n, D) with NaN where a cell is missing. With
        --mask a picture, a folder of pictures, or an .npy file.
    out
        A file of the same kind that does not exist yet, or a folder; of several draws NAME-1.csv, NAME-2.csv, …
    mask
        Which pixels are to be filled: white ones, all that are not 0. A picture, an .npy file, or a folder with a mask
        for each picture, of the same name.
    device
        Where pictures are filled: cpu or cuda; by default cuda if there is one. Tables are filled on the CPU.
    """
    from vlb.interfaces.streams import refuse_existing
    from vlb.interfaces.terminal import Terminal, choose_device, output

    keep_freed_memory()
    with Terminal() as progress:
        from vlb.data.brought import suffixes
        from vlb.generate.impute import impute as verb
        from vlb.generate.outputs import outputs

        _refuse_suffix(out, examples, (examples.suffix.lower(),) if mask is None else suffixes(examples))
        for path in outputs(out, 1 if options.long else options.draws):
            refuse_existing(path)
        chosen = choose_device("cpu" if device is None and mask is None else device)
        result = verb(run, examples, options, mask=mask, device=chosen, progress=progress)
    written = result.write(out)
    named = str(written[0]) if len(written) == 1 else f"{written[0]} … {written[-1].name}"
    output().print(f"{result.words}: {named}", markup=False, highlight=False)


def _refuse_suffix(out: Path, examples: Path, suffixes: tuple[str, ...]) -> None:
    """Raises `UserError` where `out` is not as what comes out is written; suffixes: none for a folder."""
    if not suffixes and out.suffix:
        raise UserError(f"{out}: a folder of pictures is written as a folder: give a name without {out.suffix}")
    if suffixes and out.suffix.lower() not in suffixes:
        raise UserError(
            f"{out}: {examples.name} with its gaps filled is written so that nothing else changes: give a name that "
            f"ends in {' or '.join(suffixes) or 'nothing'}"
        )
