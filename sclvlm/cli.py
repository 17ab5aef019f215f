"""The door: verbs only. Each imports its stage inside, so help is instant and labeling loads no torch."""

from __future__ import annotations

import json
import logging
import os
import re
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.logging import RichHandler

from sclvlm import __version__
from sclvlm.errors import SclvlmError
from sclvlm.launch import count, index, is_main
from sclvlm.progress import console, errors

# Before any of these libraries is loaded: quiet, and no call home.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, rich_markup_mode="markdown"
)

ConfigFile = Annotated[Path, typer.Argument(help="The run's YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings over the file: section.key=value ...", show_default=False)
]
Redo = Annotated[str | None, typer.Option(help="Make this stage and those behind it anew.", metavar="STAGE")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


class Format(StrEnum):
    """What `export` writes; the keys of export.EXPORTS."""

    PARQUET = "parquet"
    LLAMAFACTORY = "llamafactory"
    SWIFT = "swift"


@app.callback(invoke_without_command=True)
def sclvlm(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Vision-language models that improve themselves from their own mistakes."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    redo: Redo = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Execute every stage the config has a section for; skip what is done, resume what was killed.

    Examples: `sclvlm run configs/demo.yaml`, `sclvlm run configs/demo.yaml train.beta=0.2 run.dir=runs/beta`,
    `sclvlm run configs/demo.yaml --redo train`
    """
    _execute(config, overrides, None, redo, as_json=as_json, debug=debug)


RedoThis = Annotated[bool, typer.Option("--redo", help="Make it, and what is behind it, anew.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be asked, and how many tokens it has.")]


def _verb(stage: str, summary: str, examples: str) -> None:
    """Add the verb that executes one stage."""

    def verb(
        config: ConfigFile,
        overrides: Overrides = None,
        redo: RedoThis = False,
        as_json: AsJson = False,
        debug: Debug = False,
    ) -> None:
        _execute(config, overrides, stage, stage if redo else None, as_json=as_json, debug=debug)

    verb.__doc__ = f"{summary}\n\nExample: `{examples}`"
    app.command(stage)(verb)


@app.command()
def infer(
    config: ConfigFile,
    overrides: Overrides = None,
    redo: RedoThis = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Answer and refine the questions of data.samples: traces.jsonl.

    Examples: `sclvlm infer configs/demo.yaml`, `sclvlm infer configs/demo.yaml --dry-run`
    """
    if dry_run:
        _preview(config, overrides, "infer", as_json=as_json, debug=debug)
    else:
        _execute(config, overrides, "infer", "infer" if redo else None, as_json=as_json, debug=debug)


_verb("label", "Grade the traces and make preference pairs: pairs.jsonl.", "sclvlm label configs/demo.yaml")
_verb(
    "train", "Fine-tune on the pairs: an adapter, or a model.", "sclvlm train configs/demo.yaml train.beta=0.2 --redo"
)


@app.command()
def evaluate(
    config: ConfigFile,
    overrides: Overrides = None,
    redo: RedoThis = False,
    rescore: Annotated[bool, typer.Option("--rescore", help="Only judge again what was answered.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Answer data.test before and after training, and by further models: official figures, and a table of all.

    Examples: `sclvlm evaluate configs/demo.yaml`, `sclvlm evaluate configs/demo.yaml --rescore`,
    `sclvlm evaluate configs/demo.yaml --dry-run`
    """
    if rescore and (redo or dry_run):
        raise typer.BadParameter("asks nothing: leave out --redo and --dry-run.", param_hint="--rescore")
    if rescore:
        _rescore(config, overrides, as_json=as_json, debug=debug)
    elif dry_run:
        _preview(config, overrides, "evaluate", as_json=as_json, debug=debug)
    else:
        _execute(config, overrides, "evaluate", "evaluate" if redo else None, as_json=as_json, debug=debug)


@app.command()
def report(
    targets: Annotated[
        list[str],
        typer.Argument(
            help="A run's YAML file. Or runs to compare: directories, folders of graded answers in them, YAML files. "
            "And settings: section.key=value ...",
            show_default=False,
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Where to write.", show_default="comparisons/A-vs-B")] = None,
    shared: Annotated[bool, typer.Option("--shared", help="Compare only the questions that all were asked.")] = False,
    noise: Annotated[Path | None, typer.Option(help="A repeat of the first run with another seed.")] = None,
    redo: RedoThis = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what changed, before against after training, or between runs: report.json, .md and .html.

    Of several runs the first is what the others are compared with.

    Examples: `sclvlm report configs/demo.yaml`, `sclvlm report runs/demo runs/beta`,
    `sclvlm report runs/demo/evaluate/before runs/demo runs/beta --noise runs/demo_seed1 --out comparison`
    """
    paths = [Path(each) for each in targets if not _is_override(each)]
    overrides = [each for each in targets if _is_override(each)]
    if len(paths) == 1 and not paths[0].is_dir() and not (out or shared or noise):
        _execute(paths[0], overrides, "report", "report" if redo else None, as_json=as_json, debug=debug)
    elif redo:
        raise typer.BadParameter("a comparison is made anew every time: leave it out.", param_hint="--redo")
    else:
        _compare(paths, overrides, out=out, shared=shared, noise=noise, as_json=as_json, debug=debug)


def _is_override(argument: str) -> bool:
    return re.match(r"[\w.-]+=", argument) is not None and not Path(argument).exists()


@app.command()
def export(
    config: ConfigFile,
    overrides: Overrides = None,
    form: Annotated[Format, typer.Option("--format", help="For TRL, LLaMA-Factory or ms-swift.")] = Format.PARQUET,
    out: Annotated[Path | None, typer.Option(help="Where to write.", show_default="RUN/export/...")] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write the run's pairs for another trainer, for TRL with the pictures inside.

    Examples: `sclvlm export configs/demo.yaml`, `sclvlm export configs/demo.yaml --format swift --out pairs.jsonl`
    """
    with _clear_errors(debug):
        from sclvlm.config import load_config
        from sclvlm.export import EXPORTS, NAMES
        from sclvlm.pipeline import made_pairs

        loaded = load_config(config, overrides)
        target = out or loaded.folder / "export" / NAMES[form]
        count = EXPORTS[form](made_pairs(loaded), target)
        _print({"stage": "export", "pairs": str(target), "count": count}, as_json=as_json)


@app.command()
def view(
    run: Annotated[Path, typer.Argument(help="A run directory, or the run's YAML file.", show_default=False)],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The page to write.", show_default="RUN/view.html")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show so many traces of each stage, the first ones.")] = 20_000,
    picture_mb: Annotated[float, typer.Option(min=0, help="Shrink the pictures to so many MB in all.")] = 64,
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write one local HTML page to browse what a run's model said: questions, answers, verdicts, transitions.

    Examples: `sclvlm view runs/demo --open`, `sclvlm view configs/demo.yaml --out traces.html`
    """
    with _clear_errors(debug):
        from sclvlm.viewing import open_run, write_view

        opened = open_run(run, overrides)
        seen = write_view(opened, out or opened.folder / "view.html", limit=limit, picture_mb=picture_mb)
        for note in seen.notes:
            console.print(note)
        _print({"stage": "view", "page": str(seen.page), "traces": seen.traces}, as_json=as_json)
        if show and not webbrowser.open(seen.page.absolute().as_uri()):
            console.print("No browser could be started here: open the page yourself.")


def _execute(
    config: Path,
    overrides: list[str] | None,
    stage: str | None,
    redo: str | None,
    *,
    as_json: bool,
    debug: bool,
) -> None:
    with _clear_errors(debug):
        from sclvlm.config import load_config
        from sclvlm.pipeline import run_stages

        loaded = load_config(config, overrides)
        facts = run_stages(loaded, (stage,) if stage else loaded.stages, redo)
        if is_main():
            _print(facts if as_json else facts[-1], as_json=as_json)


def _rescore(config: Path, overrides: list[str] | None, *, as_json: bool, debug: bool) -> None:
    with _clear_errors(debug):
        from sclvlm.config import load_config
        from sclvlm.evaluation import rescore

        if is_main():
            facts = rescore(load_config(config, overrides))
            _print([facts] if as_json else facts, as_json=as_json)


def _compare(
    targets: list[Path],
    overrides: list[str],
    *,
    out: Path | None,
    shared: bool,
    noise: Path | None,
    as_json: bool,
    debug: bool,
) -> None:
    with _clear_errors(debug):
        from sclvlm.comparing import Request, compare_runs

        if is_main():
            facts = compare_runs(Request(targets, overrides, out, shared, noise))
            _print([facts] if as_json else facts, as_json=as_json)


def _preview(config: Path, overrides: list[str] | None, stage: str, *, as_json: bool, debug: bool) -> None:
    with _clear_errors(debug):
        from sclvlm.config import load_config
        from sclvlm.pipeline import preview

        shown = preview(load_config(config, overrides), stage)
        if is_main():
            typer.echo(
                json.dumps([each.facts() for each in shown], indent=2) if as_json else "\n\n".join(map(str, shown))
            )


def _print(facts: Any, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        lines = [facts[key] if key == "headline" else f"{key}: {facts[key]}" for key in facts if key != "stage"]
        typer.echo("\n".join(lines))


@contextmanager
def _clear_errors(debug: bool) -> Iterator[None]:
    """One message without a traceback for what a user can mend; everything else is a bug and shows."""
    handler = RichHandler(console=console, show_path=False, show_time=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    try:
        yield
    except SclvlmError as error:
        if debug:
            raise
        errors.print(f"{_who()}error: {error}", style="red", markup=False)
        raise typer.Exit(error.exit_code) from None
    except OSError as error:  # a full disk, a folder that may not be written
        if debug or error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        errors.print(f"{_who()}error: {where}{error.strerror}.", style="red", markup=False)
        raise typer.Exit(SclvlmError.exit_code) from None


def _who() -> str:
    return f"process {index()}: " if count() > 1 else ""


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
