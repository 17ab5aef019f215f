"""What `view` and `report` write, in a real browser. `python -m tests.test_browser` renews the pictures of docs/."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sclvlm.comparing import Request, compare_runs
from sclvlm.records import GradedTrace, Transition
from sclvlm.storage import read_records, write_records
from sclvlm.viewing import open_run, write_view
from tests.browsing import BROWSERS, PHONE, WIDE, Tab, executable, launched
from tests.synthetic_run import config_of, told, write_run, write_runs, write_samples

DOCS = Path(__file__).parents[1] / "docs"
EVIL = "<script>window.hit = 1</script></script><img src=x onerror='window.hit = 1'>"
MARKUP = "<img src=x onerror='window.hit = 1'>"
LONG = "lora_r16_alpha32_beta0.1_lr1e-5_epochs3_with_everything_else_in_one_word"
MANY = 5000


# How long it takes from a change of a filter until its effect is seen.
FILTER_SECONDS = """async ([id, value]) => {
  const field = document.getElementById(id), count = document.getElementById("count"), before = count.textContent;
  const started = performance.now();
  field.value = value;
  field.dispatchEvent(new Event(id === "words" ? "input" : "change"));
  while (count.textContent === before) {
    if (performance.now() - started > 10000) throw new Error("the count stays as it was");
    await new Promise(requestAnimationFrame);
  }
  await new Promise(requestAnimationFrame);
  return (performance.now() - started) / 1000;
}"""


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Any]:
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[test]'")
    if executable() is None:
        pytest.skip(f"no browser is installed (looked for {', '.join(BROWSERS)})")
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty questions, all stages, a model that ends every answer with markup."""
    run = write_run(tmp_path_factory.mktemp("run"), 30, pictures=6, last_words=EVIL)
    write_view(open_run(run), run / "view.html", limit=1000, picture_mb=64)
    return run


@pytest.fixture(scope="module", name="large")
def _large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of MANY answered questions."""
    root = tmp_path_factory.mktemp("large")
    config_of(root / "run")
    asked = write_samples(root / "data" / "samples.jsonl", MANY, seed=0, pictures=6)
    write_records(root / "run" / "label" / "graded.jsonl", told("infer", asked, seed=0))
    write_view(open_run(root / "run"), root / "view.html", limit=MANY, picture_mb=64)
    return root / "view.html"


Open = Callable[..., Tab]


@pytest.fixture(name="opened")
def _opened(browser: Any) -> Iterator[Open]:
    """Opens a file in a tab, which is closed when the test ends."""
    tabs: list[Tab] = []

    def opened(file: Path, viewport: dict[str, int] = WIDE, **options: Any) -> Tab:
        tabs.append(Tab(browser, file, viewport, **options))
        return tabs[-1]

    yield opened
    for tab in tabs:
        tab.page.context.close()


@pytest.fixture(name="tab")
def _tab(opened: Open, run: Path) -> Tab:
    """The view of the run on a wide screen."""
    return opened(run / "view.html")


def graded(run: Path, stage: str) -> list[GradedTrace]:
    """The traces of a stage."""
    folder = run / "label" if stage == "infer" else run / "evaluate" / stage
    return list(read_records(folder / "graded.jsonl", GradedTrace))


# the view


def test_the_view_says_nothing_on_the_console_and_asks_for_nothing(tab: Tab) -> None:
    tab.page.keyboard.press("End")
    assert tab.said == []
    assert set(tab.asked) <= {"file", "data"}
    assert tab.asked.count("file") == 1


def test_the_view_begins_with_all_traces_and_shows_the_first(tab: Tab, run: Path) -> None:
    assert tab.shown == 90  # thirty questions in three stages
    assert graded(run, "infer")[0].turns[0].response in tab.page.inner_text("#trace")


@pytest.mark.parametrize("transition", Transition)
def test_a_transition_is_filtered_by_its_button(tab: Tab, run: Path, transition: Transition) -> None:
    counts = Counter(trace.transition for stage in ("infer", "before", "after") for trace in graded(run, stage))
    tab.page.click(f"#outcomes .{transition.replace('->', '')}")
    assert tab.shown == counts[transition] > 0


def test_a_button_pressed_again_takes_its_filter_back(tab: Tab) -> None:
    for pressed in ("true", "false"):
        tab.page.click("#outcomes .ic")
        assert tab.page.get_attribute("#outcomes .ic", "aria-pressed") == pressed
    assert tab.shown == 90


def test_a_stage_and_a_category_are_filtered_together(tab: Tab) -> None:
    tab.page.select_option("#stage", "after")
    tab.page.select_option("#category", "clock")
    assert tab.shown == 10  # every third question is about a clock


def test_what_training_changed_is_filtered_in_both_stages_of_the_test(tab: Tab, run: Path) -> None:
    pairs = zip(graded(run, "before"), graded(run, "after"), strict=True)
    first = [Transition.between(then.turns[0].verdict, now.turns[0].verdict) for then, now in pairs]
    tab.page.select_option("#change", "gain")
    assert tab.shown == 2 * first.count(Transition.IC) > 0


def test_all_the_words_searched_for_are_in_what_is_found(tab: Tab) -> None:
    tab.page.evaluate(FILTER_SECONDS, ["words", "CLOCK samples-"])
    assert tab.shown == 10  # every third of thirty training questions
    assert tab.page.inner_text("#trace mark >> nth=0").lower() == "clock"


def test_a_search_without_a_hit_says_so(tab: Tab) -> None:
    tab.page.fill("#words", "no such word")
    tab.page.wait_for_selector("text=No trace passes these filters.")
    assert tab.shown == 0


def test_markup_in_an_answer_shows_as_text_and_does_nothing(tab: Tab) -> None:
    assert EVIL in tab.page.inner_text(".response >> nth=0")
    assert tab.page.evaluate("window.hit") is None


def test_the_policy_of_the_page_refuses_markup_in_strings(tab: Tab) -> None:
    with pytest.raises(Exception, match="TrustedHTML"):
        tab.page.evaluate("document.body.innerHTML = '<b>x</b>'")


def test_the_pictures_of_a_question_are_seen(tab: Tab) -> None:
    assert tab.page.evaluate("document.querySelector('.picture img').naturalWidth") == 320  # as they were drawn


def test_a_question_of_the_test_shows_both_models(tab: Tab) -> None:
    tab.page.select_option("#stage", "before")
    assert tab.page.locator("section.trace h3").all_inner_texts()[0].startswith("Test, before training")
    assert tab.page.locator("section.trace h3").all_inner_texts()[1].startswith("Test, after training")


def test_keys_walk_through_the_traces(tab: Tab) -> None:
    walked = []
    for key in ("j", "j", "k", "End", "ArrowUp", "Home", "PageDown"):
        tab.page.keyboard.press(key)
        walked.append(int(tab.page.inner_text("#at").split()[0]))
    assert walked[:6] == [2, 3, 2, 90, 89, 1]
    assert walked[6] > 2


def test_a_slash_leads_to_the_search_and_escape_back(tab: Tab) -> None:
    focused = "document.activeElement.id"
    tab.page.keyboard.press("/")
    assert tab.page.evaluate(focused) == "words"
    tab.page.keyboard.press("Escape")
    assert tab.page.evaluate(focused) == "list"


def test_the_row_that_is_selected_is_told_to_a_screen_reader(tab: Tab) -> None:
    tab.page.keyboard.press("j")
    name = tab.page.get_attribute("#list", "aria-activedescendant")
    row = tab.page.locator("#list").get_by_role("option", selected=True)
    assert (row.get_attribute("id"), row.get_attribute("aria-posinset")) == (name, "2")


def test_everything_to_press_or_fill_in_has_a_name(tab: Tab) -> None:
    controls = tab.page.locator("button:visible, input:visible, select:visible, [role=listbox]")
    named = controls.evaluate_all(
        "all => all.map(each => each.ariaLabel || each.innerText || each.querySelector('img')?.alt)"
    )
    assert len(named) > 8
    assert all(named)


def test_a_narrow_screen_shows_the_list_then_a_trace_then_the_list_again(opened: Open, run: Path) -> None:
    tab = opened(run / "view.html", PHONE, has_touch=True)
    assert (tab.page.is_visible("#list"), tab.page.is_visible("#trace"), tab.overflow) == (True, False, 0)
    tab.page.tap("#row-2")
    tab.page.wait_for_selector("#trace", state="visible")
    assert (tab.page.inner_text("#at"), tab.overflow) == ("3 of 90", 0)
    tab.page.tap("#back")
    tab.page.wait_for_selector("#list", state="visible")
    assert tab.said == []


@pytest.mark.parametrize("file", ["view.html", "report/report.html"])
def test_a_page_is_dark_where_the_reader_wants_it_so(opened: Open, run: Path, file: str) -> None:
    lightness = [
        opened(run / file, color_scheme=scheme).page.evaluate(
            "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
        )
        for scheme in ("dark", "light")
    ]
    assert lightness[0] < 64
    assert lightness[1] > 192


# many traces


@pytest.mark.parametrize(("field", "values"), [("words", ["april", "", "april"]), ("category", ["clock", "", "clock"])])
def test_thousands_of_traces_are_filtered_within_a_second(
    opened: Open, large: Path, field: str, values: list[str]
) -> None:
    tab = opened(large)
    assert tab.shown == MANY
    assert min(tab.page.evaluate(FILTER_SECONDS, [field, value]) for value in values) < 1


def test_of_thousands_of_rows_only_those_in_sight_are_there(opened: Open, large: Path) -> None:
    tab = opened(large)
    tab.page.keyboard.press("End")
    assert tab.page.inner_text("#at") == "5,000 of 5,000"
    assert tab.page.is_visible(f"#row-{MANY - 1}")
    assert tab.page.locator(".row").count() < 40


# the report


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_report_says_nothing_on_the_console_and_fits_its_window(
    opened: Open, run: Path, viewport: dict[str, int]
) -> None:
    tab = opened(run / "report" / "report.html", viewport)
    assert (tab.said, tab.overflow) == ([], 0)
    assert tab.asked.count("file") == len([kind for kind in tab.asked if kind != "data"]) == 1


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_figures_of_the_report_are_visible(opened: Open, run: Path, viewport: dict[str, int]) -> None:
    tab = opened(run / "report" / "report.html", viewport)
    boxes = tab.page.locator("figure, figure .track svg[role=img], .curve svg, .example img").evaluate_all(
        "all => all.map(each => [each.getBoundingClientRect().width, each.getBoundingClientRect().height])"
    )
    assert len(boxes) > 8
    assert all(width > 40 and height > 10 for width, height in boxes)


def test_the_marks_of_the_report_lie_on_their_figures(opened: Open, run: Path) -> None:
    tab = opened(run / "report" / "report.html")
    inside = tab.page.locator("figure circle.mark").evaluate_all("""all => all.map(mark => {
      const dot = mark.getBoundingClientRect(), box = mark.closest("svg").getBoundingClientRect();
      return dot.width > 0 && box.left <= dot.left && dot.right <= box.right && box.top <= dot.top;
    })""")
    assert len(inside) > 3
    assert all(inside)


def test_markup_in_an_answer_shows_as_text_in_the_report(opened: Open, run: Path) -> None:
    tab = opened(run / "report" / "report.html")
    assert EVIL in tab.page.inner_text(".example pre >> nth=0")
    assert tab.page.evaluate("window.hit") is None


# the overview


@pytest.fixture(scope="module", name="overview")
def _overview(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, one with a long name and one with markup for a name, and their overview."""
    root = tmp_path_factory.mktemp("several")
    runs = write_runs(root, ("demo", LONG, MARKUP), 30, last_words=EVIL)
    targets = [runs / name for name in ("demo", LONG, MARKUP)]
    compare_runs(Request(targets, ["report.resamples=200"], root / "out", False, runs / LONG / "evaluate/before"))
    return root / "out" / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_the_overview_says_nothing_on_the_console_and_fits_its_window(
    opened: Open, overview: Path, viewport: dict[str, int], scheme: str
) -> None:
    tab = opened(overview, viewport, color_scheme=scheme)
    assert (tab.said, tab.overflow, tab.asked) == ([], 0, ["file"])


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_every_run_is_visible_in_the_figures_of_the_overview(
    opened: Open, overview: Path, viewport: dict[str, int]
) -> None:
    tab = opened(overview, viewport)
    boxes = tab.page.locator("figure, .stack, .forest .track svg[role=img]").evaluate_all(
        "all => all.map(each => [each.getBoundingClientRect().width, each.getBoundingClientRect().height])"
    )
    assert len(boxes) == (1 + 2) + 3 * 2 + 2 * 2 * 4  # figures; runs by turns; other runs by turns by slices
    assert all(width > 40 and height > 10 for width, height in boxes)


def test_the_marks_of_the_overview_lie_on_their_tracks(opened: Open, overview: Path) -> None:
    marks = (
        opened(overview)
        .page.locator(".forest circle.mark")
        .evaluate_all("""all => all.map(mark => {
      const dot = mark.getBoundingClientRect(), box = mark.closest("svg").getBoundingClientRect();
      return dot.width > 0 && box.left <= dot.left && dot.right <= box.right;
    })""")
    )
    assert len(marks) == 2 * 2 * 4
    assert all(marks)


def test_a_run_is_labelled_on_every_track_of_a_phone(opened: Open, overview: Path) -> None:
    labels = opened(overview, PHONE).page.locator(".forest .row:not(.axis) .label")
    assert set(labels.all_inner_texts()) == {LONG, MARKUP}
    assert all(labels.evaluate_all("all => all.map(each => each.scrollWidth <= each.clientWidth)"))


def test_the_overview_leads_to_the_full_report_of_a_run(opened: Open, overview: Path) -> None:
    tab = opened(overview, PHONE)
    tab.page.click("td a >> nth=0")
    assert tab.page.inner_text("h1") == f"{LONG} against demo"
    assert (tab.said, tab.overflow) == ([], 0)


def test_markup_in_the_name_of_a_run_shows_as_text(opened: Open, overview: Path) -> None:
    tab = opened(overview)
    assert MARKUP in tab.page.locator("h3.run").all_inner_texts()
    tab.page.click("td a >> nth=-1")
    assert tab.page.inner_text("h1") == f"{MARKUP} against demo"
    assert EVIL in tab.page.inner_text(".example pre >> nth=0")
    assert tab.page.evaluate("window.hit") is None


def photograph() -> None:
    """The pictures of docs/: the view and the report of a synthetic run."""
    with tempfile.TemporaryDirectory() as root, launched() as browser:
        os.chdir(root)
        Path("runs").mkdir()
        run = shutil.move(write_run(Path(), 240), Path("runs") / "demo")
        write_view(open_run(run), Path("view.html"), limit=1000, picture_mb=64)
        view = Tab(browser, Path("view.html").absolute(), WIDE).page
        view.select_option("#stage", "before")
        view.click("#outcomes .ic")
        view.click("#row-0")
        report = Tab(browser, (run / "report" / "report.html").absolute(), WIDE).page
        for name, page in (("view", view), ("report", report)):
            page.screenshot(path=f"{name}.png")
            with Image.open(f"{name}.png") as picture:
                picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(DOCS / f"{name}.png", optimize=True)


if __name__ == "__main__":
    photograph()
