"""Pieces of HTML. Every text goes through `text`: a run directory may come from anybody."""

import html
from base64 import b64encode
from collections.abc import Iterable

import numpy as np

from vlb.generate.pictures import grid, png
from vlb.generate.volumes import surface

SHEET = 800


def text(value: object) -> str:
    """A value as text that cannot be mistaken for markup, within elements and quoted attributes."""
    return html.escape(str(value))


def sheet(x: np.ndarray, levels: int, columns: int, description: str, present: np.ndarray | None = None) -> str:
    """Images x (n, C, H, W), or volumes, of integers below `levels` as one picture at least `SHEET` pixels wide.

    The margins between them are transparent, and so are those that are not `present` (n,).
    """
    if x.ndim == 5:
        x, levels = surface(x, levels), 256
    picture = grid(x, levels, columns)
    absent = np.zeros_like(x[:, :1])
    if present is not None:
        absent[~present] = 1
    covered = grid(absent, 2, columns) == 0
    colours = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, -1)
    alpha = colours[..., 3] if colours.shape[-1] == 4 else np.uint8(255)
    opaque = np.dstack((colours[..., :3], np.where(covered, alpha, 0).astype(np.uint8)))
    return picture_element(png(opaque, -(-SHEET // opaque.shape[1])), description)


def thumbnail(image: np.ndarray, levels: int, description: str) -> str:
    """One image (C, H, W) of integers below `levels`, a pixel per value, or one volume; the browser enlarges it."""
    return picture_element(png(grid(image[None], levels, 1, 0)), description)


def picture_element(content: bytes, description: str) -> str:
    """An <img> that carries its PNG with it."""
    return f'<img alt="{text(description)}" src="data:image/png;base64,{b64encode(content).decode()}">'


def table(rows: Iterable[tuple[str, str, str]], caption: str, head: tuple[str, str] | None = None) -> str:
    """A table of (name, value, class of the row); numbers are the caller's to format."""
    body = "".join(
        f'<tr class="{text(kind)}"><th scope="row">{text(name)}</th><td class="number">{text(value)}</td></tr>'
        for name, value, kind in rows
    )
    top = ""
    if head is not None:
        first, second = map(text, head)
        top = f'<thead><tr><th scope="col">{first}</th><th scope="col" class="number">{second}</th></tr></thead>'
    return f"<table><caption>{text(caption)}</caption>{top}<tbody>{body}</tbody></table>"


def chart(svg: str, caption: str) -> str:
    """A chart with its caption, which is HTML."""
    return f'<figure><div class="chart wide">{svg}</div><figcaption>{caption}</figcaption></figure>'


def sheet_of_words(head: Iterable[str], rows: Iterable[Iterable[str]], caption: str) -> str:
    """A table of words in as many columns as it has headings."""
    top = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><caption>{text(caption)}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
