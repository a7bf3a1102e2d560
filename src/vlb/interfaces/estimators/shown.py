"""How fitted estimators are shown in a notebook: scikit-learn's diagram, and below it the bound with its error."""

from typing import Any

from vlb.base.results import Table, as_html


class Shown:
    """For classes before `BaseEstimator`."""

    def summary(self) -> Table | None:
        """What was fitted, and its bound with its error; None before `fit`."""
        raise NotImplementedError

    def _repr_html_inner(self) -> str:
        return f"{super()._repr_html_inner()}{self._beside()}"  # type: ignore[misc]

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        found: dict[str, str] = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]
        if "text/html" in found:
            found["text/html"] += self._beside()
        return found

    def _beside(self) -> str:
        table = self.summary()
        return "" if table is None else as_html(table)
