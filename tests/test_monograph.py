"""The page of the monograph's results: made of today's docstrings, whole, and nothing that dangles."""

import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))
import monograph  # noqa: E402

sys.path.remove(str(DOCS))


def test_the_page_is_that_of_code_and_tests() -> None:
    assert monograph.PAGE.read_text("utf-8") == monograph.page(), "run `python docs/monograph.py`"


def test_nine_in_ten_results_have_code_and_a_test() -> None:
    assert monograph.coverage(monograph.read_sections(), monograph.read_markers()).share >= 0.9


@pytest.mark.parametrize(
    ("text", "numbers", "sections"),
    [
        ("N(μ_Q, σ_Q²) (Eq. 3.42–3.44, A.21, and\n    4.7).", {"3.42", "3.43", "3.44", "A.21", "4.7"}, set()),
        ("The rescaling (A.45–A.47), see Section 2.3, 2.4.", {"A.45", "A.46", "A.47"}, {"2.3", "2.4"}),
        ("Tables 4.1 and 4.3, Fig. 2.4 (Appendix A.3.2)", {"Table 4.1", "Table 4.3", "Fig. 2.4"}, {"A.3.2"}),
        ("Tables 4.1–4.3; §3, v", {"Table 4.1", "Table 4.2", "Table 4.3"}, {"3"}),
        ("(Song et al. 2021, Section 4.3 and Eq. 2.4), the bound (Eq. 3.60)", {"3.60"}, set()),
        ("Kingma et al. (2021), Eq. 17; 3.2 nats; A.3 % of 2.5", {"A.3"}, set()),
        ("(Eq. 4.29; Salimans & Ho 2022)", {"4.29"}, set()),
    ],
)
def test_references_are_read_as_people_read_them(text: str, numbers: set[str], sections: set[str]) -> None:
    assert set(monograph.numbers_of(text)) == numbers
    assert set(monograph.sections_of(text)) == sections


def test_what_dangles_is_told() -> None:
    """A reference to no equation or section, an equation that is not listed or twice, a result without anything."""
    sections, markers = monograph.read_sections(), monograph.read_markers()
    assert monograph.complaints(sections, markers) == []
    stray = monograph.Marker("models.stray", frozenset({"3.137"}), frozenset({"6"}))
    nothing = monograph.Markers((stray,), (), (), (), ())
    told = monograph.complaints((*sections[1:], sections[-1]), nothing)
    for what in (
        "models.stray refers to 3.137",
        "models.stray refers to Section 6",
        "Eq. 2.1 states something",
        "the list has A.48 2 times",
    ):
        assert any(line.startswith(what) for line in told), what
    assert not any(line.startswith("Eq. 2.35 ") for line in told)  # a definition
    whole = next(i for i, section in enumerate(sections) if section.number == "2.5")
    told = monograph.complaints((*sections[:whole], *sections[whole + 1 :]), markers)
    assert "the list lacks Eq. 2.35" in told
    assert any(line.startswith("measure.holes refers to Section 2.5") for line in told)
