"""The card of a published run: what it is, how good it is with both errors, how to use it. Markdown with the metadata
that model hubs read, which are JSON values and so YAML."""

import json
from hashlib import sha256
from pathlib import Path

from vlb.base.results import as_markdown
from vlb.measure.recognition import Recognition
from vlb.measure.summary import EvaluationResult
from vlb.models.kinds import MODELS
from vlb.pages.reproduce import making_command
from vlb.store.runs import Run

Found = EvaluationResult | Recognition


def card(run: Run, name: str, found: Found, licence: str | None) -> str:
    """What README.md says of a run that is published as `name`; found: its bound on test examples, or how many of them
    a ladder network recognises."""
    digest = sha256(run.chosen.read_bytes()).hexdigest()
    schema = run.schema
    shape = " × ".join(map(str, schema.shape))
    classes = "" if schema.labels is None else f" Classes: {', '.join(schema.labels[:50])}."
    columns = "" if schema.columns is None else f" Columns: {', '.join(str(c.name) for c in schema.columns[:50])}."
    given = " given labels" if run.conditional else ""
    return f"""---
{_metadata(run, name, found, licence)}
---

# {name}

A model of the kind {MODELS.tag(run.configuration)}, of {run.content["data"]["name"]}{given}, made with vlb:
**{words(found)}** on {found.examples:,} test examples.

{as_markdown(found.table())}
One example has the shape {shape}; the data are {schema.kind}.{classes}{columns}

```sh
vlb sample {name} -n 64 -o samples{".csv" if schema.columns else ".png"}
vlb evaluate {name}
```

Made by `{making_command(run.experiment, Path("RUN"))}`. Identity of the model: `{run.fingerprint}`; SHA-256 of
`checkpoints/best.safetensors`: `{digest}`.
The files are JSON and safetensors: nothing in them is executed.
"""


def words(found: Found) -> str:
    """The number by which a model is known, with its error."""
    if isinstance(found, Recognition):
        return f"{found.error_rate:.2%} errors"
    return f"{found.bits_per_dim:.4f} ± {found.standard_error:.4f} bits/dim"


def _metadata(run: Run, name: str, found: Found, licence: str | None) -> str:
    """Of the hub's model card, a line per entry."""
    data = run.content["data"]["name"]
    if isinstance(found, Recognition):
        task, measured = "classification", {"error rate": found.error_rate}
    else:
        error = "standard error, bits/dim"
        task, measured = (
            "density estimation",
            {f"{found.words}, bits/dim": found.bits_per_dim, error: found.standard_error},
        )
    result = {
        "task": {"type": "other", "name": task},
        "dataset": {"type": data, "name": data, "split": "test"},
        "metrics": [{"type": "other", "name": of, "value": round(value, 6)} for of, value in measured.items()],
    }
    entries = {
        "library_name": "vlb",
        **({} if licence is None else {"license": licence}),
        "tags": ["density-estimation", "lossless-compression", MODELS.tag(run.configuration)],
        "model-index": [{"name": name, "results": [result]}],
    }
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in entries.items())
