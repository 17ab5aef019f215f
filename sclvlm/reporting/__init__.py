"""The report of a run, or of several: one model of figures, as JSON, Markdown, HTML and a few lines on the console."""

from __future__ import annotations

from sclvlm.reporting.build import Repeat, build_report
from sclvlm.reporting.console import headline
from sclvlm.reporting.files import load_report, write_overview, write_report
from sclvlm.reporting.html import render_html, render_overview_html
from sclvlm.reporting.learning import learning_of
from sclvlm.reporting.markdown import render_markdown
from sclvlm.reporting.overview import Overview, build_overview
from sclvlm.reporting.overview_text import overview_headline, render_overview_markdown
from sclvlm.reporting.schema import Report

__all__ = [
    "Overview",
    "Repeat",
    "Report",
    "build_overview",
    "build_report",
    "headline",
    "learning_of",
    "load_report",
    "overview_headline",
    "render_html",
    "render_markdown",
    "render_overview_html",
    "render_overview_markdown",
    "write_overview",
    "write_report",
]
