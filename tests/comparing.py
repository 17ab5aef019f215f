"""`sclvlm report` over several runs, in this process, and what it has written."""

from __future__ import annotations

from pathlib import Path

from click.testing import Result
from typer.testing import CliRunner

from sclvlm.cli import app
from sclvlm.reporting import Overview, Report, load_report

FEW = "report.resamples=100"


def invoke(*arguments: str | Path) -> Result:
    """`sclvlm report`, in this process."""
    return CliRunner().invoke(app, ["report", *map(str, arguments), *([FEW] if len(arguments) > 1 else [])])


def compared(*arguments: str | Path) -> str:
    """What a comparison that ends well prints."""
    result = invoke(*arguments, "--out", "out")
    assert result.exit_code == 0, result.output
    return result.stdout


def report() -> Report:
    """The report of the comparison."""
    return load_report(Path("out/report.json"))


def overview() -> Overview:
    """The overview of the comparison."""
    return Overview.model_validate_json(Path("out/report.json").read_text(encoding="utf-8"))


def pages(folder: str = "out") -> dict[str, str]:
    """Every form of a report, by the ending of its file."""
    return {each: Path(folder, f"report.{each}").read_text(encoding="utf-8") for each in ("html", "md", "json")}


def error(*arguments: str | Path, code: int) -> str:
    """The one line that a comparison fails with."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    (line,) = result.stderr.splitlines()
    return line
