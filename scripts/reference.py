"""Writes the tables of docs/reference that are generated from code: `python -m scripts.reference`.

The table of a page is between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gateway import errors
from gateway.grpc_api.status import code_of_kind
from gateway.model_options import ModelOptions
from gateway.observability.metrics import Metrics
from gateway.prediction_log.records import Feedback, Prediction, Shadow
from gateway.settings import PREFIX, Settings

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"

SECTIONS = {
    "host": "Server",
    "serving_target": "Model server",
    "default_model": "Models",
    "traffic_split": "Rollouts",
    "request_timeout_seconds": "Time limits",
    "max_upload_bytes": "Request limits",
    "max_predict_batch_size": "Batching and capacity",
    "decode_workers": "Worker processes",
    "cors_origins": "Access",
    "docs": "Operations",
    "prediction_log": "Prediction log",
}
"""The first setting of each section, and its heading."""

PLACE = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings() -> str:
    """One table of settings for each section."""
    lines: list[str] = []
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            lines += ["", f"### {SECTIONS[name]}", "", "| variable | default | description |", "|---|---|---|"]
        default = field.get_default(call_default_factory=True)
        literal = json.dumps(default) if isinstance(default, bool | int | float) else str(default or "")
        lines.append(
            _row(f"`{PREFIX}{name.upper()}`", f"`{literal}`" if literal and default != {} else "", _text(field))
        )
    return "\n".join([*lines[1:], ""])


def model_options() -> str:
    """A table of the options in `GATEWAY_MODEL_OPTIONS`."""
    lines = ["| option | default | description |", "|---|---|---|"]
    for name, field in ModelOptions.model_fields.items():
        default = field.get_default(call_default_factory=True)
        literal = json.dumps(list(default) if isinstance(default, tuple) else default)
        lines.append(_row(f"`{name}`", "" if default is None else f"`{literal}`", _text(field)))
    return "\n".join([*lines, ""])


def error_codes() -> str:
    """A table of all error codes, sorted by status."""
    lines = ["| status | gRPC | code | retry | meaning |", "|---|---|---|---|---|"]
    for kind in sorted(raised_errors(errors.GatewayError), key=lambda one: one.status):
        meaning = (kind.__doc__ or "").splitlines()[0]
        retry = "yes" if kind.retry_after_seconds else ""
        lines.append(_row(str(kind.status), f"`{code_of_kind(kind).name}`", f"`{kind.code}`", retry, meaning))
    return "\n".join([*lines, ""])


def metrics() -> str:
    """A table of the gateway's own metrics."""
    lines = ["| metric | type | labels | description |", "|---|---|---|---|"]
    all_metrics = Metrics()
    for metric in (*vars(all_metrics).values(), *vars(all_metrics.answers).values()):
        if not hasattr(metric, "_labelnames"):
            continue
        [family] = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        lines.append(_row(f"`{name}`", family.type, labels, family.documentation))
    return "\n".join([*lines, ""])


def records() -> str:
    """A table of the fields of each kind of record in the prediction log."""
    lines = []
    for kind in (Prediction, Feedback, Shadow):
        lines += [f"### {kind.__name__}", "", "| field | type | description |", "|---|---|---|"]
        properties = kind.model_json_schema()["properties"]
        for name, described in properties.items():
            lines.append(_row(f"`{name}`", _json_type(described), described["description"]))
        lines.append("")
    return "\n".join(lines)


def _json_type(described: dict[str, Any]) -> str:
    choices = described.get("anyOf", [described])
    names = [
        "one of " + ", ".join(one["enum"])
        if "enum" in one
        else str(one.get("const") or one.get("format") or one["type"])
        for one in choices
    ]
    return " or ".join(names)


def raised_errors(kind: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
    """The errors that callers see: classes without subclasses, and base classes that are raised too."""
    below = kind.__subclasses__()
    if not below or kind in (errors.BadRequest, errors.NotFound):
        yield kind
    for subclass in below:
        yield from raised_errors(subclass)


GENERATORS: dict[str, Callable[[], str]] = {
    generate.__name__: generate for generate in (settings, model_options, error_codes, metrics, records)
}


def current(text: str) -> str:
    """A page with current tables."""
    return PLACE.sub(lambda place: f"{place[1]}\n{GENERATORS[place[2]]()}\n{place[3]}", text)


def pages() -> list[Path]:
    """The pages with generated tables."""
    return [page for page in sorted(REFERENCE.glob("*.md")) if PLACE.search(page.read_text("utf-8"))]


def _text(field: object) -> str:
    return str(getattr(field, "description", "") or "")


def _row(*cells: str) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(escaped)} |".replace("|  |", "| |")


if __name__ == "__main__":
    for page in pages():
        page.write_text(current(page.read_text("utf-8")), "utf-8")
