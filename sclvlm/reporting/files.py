"""report.json, report.md and report.html of a run directory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from sclvlm.errors import SclvlmError
from sclvlm.reporting.html import render_html, render_overview_html
from sclvlm.reporting.markdown import render_markdown
from sclvlm.reporting.overview import Overview
from sclvlm.reporting.overview_text import render_overview_markdown
from sclvlm.reporting.schema import Report
from sclvlm.storage import describe, write_json, write_text


def write_report(report: Report, folder: Path) -> None:
    """Write the three files into `folder`, each replaced as a whole. Image paths are relative to it there."""
    root = folder.absolute()
    portable = _with_images(report, lambda image: os.path.relpath(image, root))
    # By way of JSON text, where pydantic turns what JSON cannot say (NaN in the provenance) into null.
    write_json(folder / "report.json", json.loads(portable.model_dump_json()))
    write_text(folder / "report.md", render_markdown(portable))
    write_text(folder / "report.html", render_html(report))


def write_overview(overview: Overview, folder: Path) -> None:
    """Write the three files into `folder`, each replaced as a whole."""
    write_json(folder / "report.json", overview.model_dump(mode="json"))
    write_text(folder / "report.md", render_overview_markdown(overview))
    write_text(folder / "report.html", render_overview_html(overview))


def load_report(path: Path) -> Report:
    """The report in `path`, image paths absolute. Raises SclvlmError for a file that is not such a report."""
    try:
        report = Report.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SclvlmError(f"{path}: cannot read the report: {error.strerror}.") from None
    except ValidationError as error:
        raise SclvlmError(f"{path}: {describe(error)}. Write it again with `sclvlm report`.") from None
    root = path.parent.absolute()
    return _with_images(report, lambda image: os.path.normpath(root / image))


def _with_images(report: Report, place: Callable[[str], str]) -> Report:
    examples = tuple(
        example.model_copy(update={"images": tuple(place(image) for image in example.images)})
        for example in report.gallery.examples
    )
    return report.model_copy(update={"gallery": report.gallery.model_copy(update={"examples": examples})})
