"""The audit of training records: overlap with the test questions, shortcuts of style, balance, lengths."""

from __future__ import annotations

from sclvlm.audit.remarks import Table, concluded, tables
from sclvlm.audit.schema import Audit, Overlap, Remark, Shortcut

__all__ = ["Audit", "Overlap", "Remark", "Shortcut", "Table", "concluded", "tables"]
