"""The page of a report, as a browser has it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Page, browser, needs_browser
from run_folders import write_run

from mtlora_core.report import pdf, write_report
from mtlora_core.report.compare import study_of
from mtlora_core.report.runs import read_run
from mtlora_core.report.study import Row

pytestmark = needs_browser

HOSTILE = "<script>document.title='broken'</script><img src=x onerror=alert(1)>"
ROWS = ("lora", HOSTILE, "router=token, placement=block, regularizers=[uniform-orthogonality]")
TASKS = ("sst2", "</svg>&amp;$x$", "日本 \x07")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a report of three rows, two seeds and three tasks."""
    folder = tmp_path_factory.mktemp("report")
    rows = []
    for i, name in enumerate(ROWS):
        runs = [
            write_run(folder, f"row{i}", seed, _scores(i, seed), parameters=1000 * 4**i)
            for seed in (0, 1)
        ]
        rows.append(Row(name, [run for each in runs if (run := read_run(each)) is not None]))
    less = write_run(folder, "less", 0, {"sst2": 0.7}, parameters=500)
    found = read_run(less)
    assert found is not None
    write_report(study_of("A <b>title</b>", [*rows, Row("less", [found])], "lora"), folder / "out")
    return folder / "out"


def _scores(row: int, seed: int) -> dict[str, float]:
    order = (0.02, 0.05, 0.03)[row]
    return {task: 0.6 + order + 0.1 * t + 0.004 * seed * row for t, task in enumerate(TASKS)}


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Return a page of a browser."""
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(window: Page, report: Path) -> Page:
    """Return the report, opened from its file."""
    window.open(report / "report.html")
    return window


def figures(report: Path) -> list[str]:
    return sorted(path.stem for path in (report / "figures").glob("*.csv"))


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [*csv.DictReader(stream)]


def column(page: Page, table: str, name: str) -> list[str]:
    """Return the cells below a heading."""
    script = """(([id, name]) => {
      const table = document.getElementById(id);
      const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
      const index = heads.indexOf(name);
      return [...table.tBodies[0].rows].map((row) => row.cells[index].textContent);
    })"""
    found: list[str] = page.run(f"{script}({json.dumps([table, name])})")
    return found


def click(page: Page, table: str, name: str) -> str:
    """Click a heading; return how its column is sorted."""
    script = """(([id, name]) => {
      const heads = [...document.getElementById(id).tHead.rows[0].cells];
      const head = heads.find((head) => head.textContent === name);
      head.querySelector("button").click();
      return head.getAttribute("aria-sort");
    })"""
    order: str = page.run(f"{script}({json.dumps([table, name])})")
    return order


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_opens_without_a_complaint_and_is_as_wide_as_the_window(
    window: Page, report: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    window.open(report / "report.html", width=width, dark=dark)

    window.picture(tmp_path / f"{width}-{'dark' if dark else 'light'}.png")
    assert window.complaints() == []
    assert window.run("document.documentElement.scrollWidth") == width
    paper = window.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")


def test_nothing_is_asked_for_but_the_page_itself(page: Page, report: Path) -> None:
    assert page.requests() == [(report / "report.html").as_uri()]


def test_each_figure_holds_as_many_marks_as_its_csv_has_rows(page: Page, report: Path) -> None:
    names = figures(report)
    script = "(name) => document.querySelectorAll(`#figure-${name} .plot .mark`).length"

    assert names == ["differences", "growth", "loss", "parameters", "scores", "tasks", "validation"]
    for name in names:
        marks = page.run(f"({script})({json.dumps(name)})")
        assert marks == len(lines(report / "figures" / f"{name}.csv")) > 0


def test_each_figure_has_a_sentence_a_name_and_its_numbers(page: Page, report: Path) -> None:
    script = """[...document.querySelectorAll("figure")].map((figure) => ({
      reading: figure.querySelector("figcaption").textContent,
      told: [...figure.querySelectorAll("svg[role=img]")].map(
        (svg) => document.getElementById(svg.getAttribute("aria-labelledby"))?.textContent),
      rows: figure.querySelectorAll("details tbody tr").length,
    }))"""

    found: list[dict[str, Any]] = page.run(script)

    assert len(found) == len(figures(report))
    for figure in found:
        assert figure["reading"].count(".") - figure["reading"].count("0.") == 1
        assert figure["told"]
        assert all(told and figure["reading"] in told for told in figure["told"])
        assert figure["rows"] > 0


def test_the_numbers_on_the_page_are_those_of_the_csv(page: Page, report: Path) -> None:
    script = """[...document.getElementById("table-rows").tBodies[0].rows].map((row) =>
      [...row.cells].map((cell) => cell.dataset.value ?? ""))"""

    shown: list[list[str]] = page.run(script)

    for own, line in zip(shown, lines(report / "rows.csv"), strict=True):
        assert own == ["" if name == "row" else value for name, value in line.items()]


def test_a_click_on_a_heading_sorts_and_another_turns_it_round(page: Page, report: Path) -> None:
    before = column(page, "table-rows", "mean")
    values = [float(line["mean"]) for line in lines(report / "rows.csv")]
    down = [f"{value:.3f}" for value in sorted(values, reverse=True)]

    assert before not in (down, down[::-1])
    assert click(page, "table-rows", "mean") == "descending"
    assert column(page, "table-rows", "mean") == down
    assert click(page, "table-rows", "mean") == "ascending"
    assert column(page, "table-rows", "mean") == down[::-1]


def test_what_is_not_known_is_sorted_to_the_end_both_ways(page: Page) -> None:
    for _ in range(2):
        click(page, "table-rows", "difference")
        assert column(page, "table-rows", "difference")[-1] == "–"


def test_names_are_sorted_as_text(page: Page) -> None:
    click(page, "table-rows", "row")

    assert column(page, "table-rows", "row") == page.run(
        f"{json.dumps([*ROWS, 'less'])}.sort((a, b) => a.localeCompare(b))"
    )


def test_names_stay_texts_whatever_is_in_them(page: Page) -> None:
    assert page.run("document.title") == "A <b>title</b>"
    assert page.run("document.images.length + document.querySelectorAll('b').length") == 0
    assert page.run("document.scripts.length") == 1
    assert HOSTILE in column(page, "table-rows", "row")


def test_the_switch_changes_the_colours_and_back(page: Page) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    press = "document.getElementById('theme').click()"
    before = page.run(paper)

    page.run(press)
    assert page.run(paper) != before
    page.run(press)
    assert page.run(paper) == before


def test_data_and_text_can_be_told_from_the_paper(window: Page, report: Path) -> None:
    script = """(() => {
      const light = (colour) => {
        const [r, g, b] = colour.match(/\\d+/g).map((value) => {
          const share = value / 255;
          return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const paper = light(getComputedStyle(document.body).backgroundColor);
      const contrast = (other) =>
        (Math.max(paper, other) + 0.05) / (Math.min(paper, other) + 0.05);
      const seen = [...document.querySelectorAll(".plot .mark, .plot text")].map(
        (shape) => getComputedStyle(shape).fill);
      seen.push(...[...document.querySelectorAll("p, th, figcaption")].map(
        (element) => getComputedStyle(element).color));
      return Math.min(...seen.map((colour) => contrast(light(colour))));
    })()"""

    for dark in (False, True):
        window.open(report / "report.html", dark=dark)
        assert window.run(script) >= 4.5


def test_it_prints(page: Page, tmp_path: Path) -> None:
    page.printed(tmp_path / "report.pdf")

    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_figures_for_a_paper_open_too(window: Page, report: Path) -> None:
    for path in sorted((report / "figures").glob("*.svg")):
        window.open(path)
        assert window.run("document.querySelectorAll('.mark').length") > 0
        assert window.complaints() == []


@pytest.mark.skipif(not pdf.can_draw(), reason="there is no matplotlib here")
def test_every_figure_is_a_pdf_with_its_fonts_inside(report: Path) -> None:
    for name in figures(report):
        content = (report / "figures" / f"{name}.pdf").read_bytes()
        assert content.startswith(b"%PDF")
        assert b"FontFile2" in content
