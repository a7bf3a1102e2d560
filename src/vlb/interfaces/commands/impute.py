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
    table: Path,
    *,
    options: Annotated[ImputeOptions, Flags] = DEFAULT,
    out: Annotated[Path, Out],
) -> None:
    """Fill the gaps of a table: what is there stays as it is, to the byte.

    Parameters
    ----------
    run
        A run directory made by `vlb train table`.
    table
        A .csv, .tsv, .txt, .dat, .parquet, .arrow or .feather file with the columns of the model, in any order; other
        columns are kept as they are.
    out
        A file of the same kind that does not exist yet; of several draws NAME-1.csv, NAME-2.csv, …
    """
    from vlb.interfaces.streams import refuse_existing
    from vlb.interfaces.terminal import Terminal, output

    keep_freed_memory()
    if out.suffix.lower() != table.suffix.lower():
        raise UserError(f"{out}: the table is written as it was read: give a name that ends in {table.suffix}")
    with Terminal() as progress:
        from vlb.generate.impute import impute as verb
        from vlb.generate.impute import outputs

        for path in outputs(out, 1 if options.long else options.draws):
            refuse_existing(path)
        result = verb(run, table, options, progress=progress)
    written = result.write(out)
    named = str(written[0]) if len(written) == 1 else f"{written[0]} … {written[-1].name}"
    output().print(f"{result.words}: {named}", markup=False, highlight=False)
