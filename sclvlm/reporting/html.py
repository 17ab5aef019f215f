"""The report as one HTML file that needs nothing else: no script, no font, no picture from elsewhere.

Model output is untrusted: the template escapes everything, and the page's own policy forbids scripts.
"""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sclvlm.audit import tables
from sclvlm.records import Transition
from sclvlm.reporting import charts, ribbons, sentences, wording
from sclvlm.reporting.overview import Overview
from sclvlm.reporting.schema import Report

SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
}

MAX_IMAGE_BYTES = 4 * 2**20
"""Larger pictures are named instead of shown, so that the file stays one that a phone can open."""


def render_html(report: Report, folder: Path = Path()) -> str:
    """The whole report. folder: where relative image paths of `report` begin."""
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            main=report.main,
            found=report.main.comparison(report.headline.turn),
            finding=report.main.finding(report.headline.turn),
            accuracy=charts.accuracy_chart(report),
            differences=[charts.difference_chart(report, turn) for turn in report.turns],
            tables=tables,
            training_lines=charts.training_lines,
            runs=list(zip(report.names, (report.main.before, report.main.after), strict=True)),
            flows=[ribbons.draw(flow) for flow in report.flows],
            counted=[line for turn in report.turns for line in sentences.findings_sentences(report.slices, turn)],
            picture=lambda image: data_url(folder / image),
        )
    )


def render_overview_html(overview: Overview) -> str:
    """The whole overview."""
    return (
        environment()
        .get_template("overview.html.jinja")
        .render(overview=overview, forests=[charts.forest_chart(overview, turn) for turn in overview.turns])
    )


def data_url(path: Path) -> str | None:
    """The picture at `path` as a data URL; None when it is missing, too large or of no common format."""
    try:
        if path.stat().st_size > MAX_IMAGE_BYTES:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    kind = _kind(data)
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}" if kind else None


def _kind(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in SIGNATURES.items() if data.startswith(start)), None)


def strict_environment(folder: Path) -> Environment:
    """The templates in `folder`: everything is escaped, and a name that nobody gave is an error."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def environment() -> Environment:
    """The templates of this room."""
    templates = strict_environment(Path(__file__).parent)
    # A line must not break between a number and its percent sign.
    templates.filters["unbroken"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    templates.filters["zip"] = lambda one, other: list(zip(one, other, strict=True))
    templates.globals.update(wording=wording, sentences=sentences, transition=Transition)
    return templates
