"""`vlb doctor`."""

from pathlib import Path

from vlb.base.errors import UserError


def doctor(*, json: Path | None = None) -> None:
    """Say whether vlb works on this machine, with versions, memory and what is installed: to be sent with a report.

    Parameters
    ----------
    json
        A new file for everything in the table.
    """
    from vlb.interfaces.streams import refuse_existing
    from vlb.interfaces.terminal import Terminal, show, write_json

    refuse_existing(json)
    with Terminal() as progress:
        from vlb.interfaces.doctor import doctor as verb

        found = verb(progress=progress)
    show(found)
    write_json(found, json)
    wrong = [check.what for check in found.checks if check.mend]
    if wrong:
        raise UserError(f"this does not work here: {', '.join(wrong)}")
