"""The report of a run: one model of figures, shown as JSON, Markdown, HTML and a few lines on the console."""

from __future__ import annotations

from sclvlm.reporting.build import build_report
from sclvlm.reporting.console import headline
from sclvlm.reporting.files import load_report, write_report
from sclvlm.reporting.html import render_html
from sclvlm.reporting.markdown import render_markdown
from sclvlm.reporting.schema import Report

__all__ = [
    "Report",
    "build_report",
    "headline",
    "load_report",
    "render_html",
    "render_markdown",
    "write_report",
]
