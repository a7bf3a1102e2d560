"""Options of the verbs: settings whose fields are flags of the command line."""

from typing import Annotated, Any, get_args

from cyclopts import Parameter

from vlb.base.domains import Settings, hints

Names = Annotated[tuple[str, ...], Parameter(consume_multiple=True)]


class Options(Settings):
    """A frozen dataclass of options; what is refused is named as the flag is."""

    @classmethod
    def called(cls, name: str) -> str:
        """The flag, as in --precision."""
        own: Any = cls
        extras = get_args(hints(own)[name])[1:]
        flags = [flag for extra in extras if isinstance(extra, Parameter) for flag in extra.name or ()]
        return flags[0] if flags else "--" + name.replace("_", "-")
