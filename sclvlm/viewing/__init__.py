"""The traces of a run as one local HTML page to browse: pictures, questions, answers, verdicts, transitions."""

from __future__ import annotations

from sclvlm.viewing.page import View, write_view
from sclvlm.viewing.sources import Source, open_run, sources_of

__all__ = ["Source", "View", "open_run", "sources_of", "write_view"]
