"""The page's bytes: the same for the same run, closed to requests, with every text escaped."""

import base64
import hashlib
import html
import json
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from img2img_jax.reports import write_report

HELPERS = SimpleNamespace(**runpy.run_path(Path(__file__).parent / "conftest.py"))
SCRIPT = Path(__file__).parents[2] / "scripts" / "report.py"


class Elements(HTMLParser):
    """Start tags with their attributes, and the texts of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.raw, self._inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag

    def handle_data(self, text):
        if self._inside in ("script", "style"):
            self.raw.append((self._inside, text))
            self._inside = None


def test_the_same_run_gives_the_same_bytes(workdir):
    first = write_report(workdir).read_bytes()
    assert write_report(workdir).read_bytes() == first
    assert write_report(workdir) == workdir / "report.html"
    assert list(workdir.glob(".*")) == []


def test_the_policy_allows_its_own_script_and_style_and_nothing_else(workdir):
    elements = Elements(write_report(workdir).read_text())
    [policy] = [a["content"] for tag, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert (rules.pop("default-src"), rules.pop("img-src")) == ("'none'", "data:")
    texts = {"style-src": elements.raw[0][1], "script-src": elements.raw[-1][1]}
    for rule, text in texts.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert set(rules.values()) == {"'none'"}


def test_nothing_is_loaded_from_elsewhere(workdir):
    page = write_report(workdir).read_text()
    elements = Elements(page)
    assert not {tag for tag, _ in elements.tags} & {"link", "iframe", "object", "embed", "base", "form"}
    assert all(not attributes.keys() & {"src", "style", "onclick"} for _, attributes in elements.tags)
    assert "@import" not in page and "url(" not in page


def test_hostile_names_and_prompts_stay_text(hostile):
    page = write_report(hostile).read_text()
    elements = Elements(page)
    assert [tag for tag, _ in elements.tags if tag == "script"] == ["script", "script"]
    assert all("onerror" not in attributes for _, attributes in elements.tags)
    data = json.loads(elements.raw[-2][1])
    assert {one["image"]: one["prompt"] for one in data["series"]} == HELPERS.HOSTILE
    assert html.escape('run "<i>"') in page


def test_failures_are_listed_by_name(workdir):
    section = write_report(workdir).read_text().split('id="failures"')[1].split("</section>")[0]
    assert re.findall(r"<li><b>(.*?)</b> .*?(?:no such file|readable|no prompt)", section) == [
        "broken.png",
        "missing.png",
        "silent.png",
    ]


def test_what_is_left_out_is_named_with_its_files(workdir):
    page = write_report(workdir, page_bytes=0).read_text()
    assert "The pictures of 9 series are not on this page" in page
    section = page.split('id="left-out"')[1].split("</section>")[0]
    gone = [row for row in HELPERS.rows_of(workdir) if "output" in row and (row["image"], row["seed"]) != ("p0.png", 0)]
    assert len(gone) == 36
    assert all(row["output"] in section for row in gone)
    assert 'id="left-out"' not in write_report(workdir).read_text()


def test_the_numbers_are_of_all_rows_whatever_is_left_out(workdir):
    tables = [
        write_report(workdir, page_bytes=size).read_text().split('id="charts"')[1].split("</table>")[0]
        for size in (0, 10**9)
    ]
    assert tables[0] == tables[1]
    assert "8 of 10 finite" not in tables[0] and '<th scope="row">0.4</th>' in tables[0]


def test_a_run_without_pictures_config_and_metrics_is_reported_as_well(tmp_path):
    HELPERS.write_rows(tmp_path / "bare", [{"image": "a.png", "seed": 0, "strength": s} for s in (0.5, 1)])
    page = write_report(tmp_path / "bare").read_text()
    assert "2 pictures · 1 input · 2 strengths · 1 seed" in page
    assert page.count("Not recorded.") == 2


def test_a_run_of_failures_alone_names_them(tmp_path):
    HELPERS.write_rows(tmp_path / "bare", [{"index": 0, "image": "a.png", "error": "torn"}])
    assert "<b>a.png</b> torn" in write_report(tmp_path / "bare").read_text()


def test_the_script_writes_the_page_and_says_where(workdir, tmp_path, capsys):
    from absl import flags

    (workdir / "report.html").unlink(missing_ok=True)
    main = runpy.run_path(str(SCRIPT))["main"]
    flags.FLAGS.unparse_flags()
    try:
        flags.FLAGS(["report", f"--workdir={workdir}", "--megabytes=1"])
        main(["report"])
        assert capsys.readouterr().out.strip() == str(workdir / "report.html")
        flags.FLAGS(["report", f"--workdir={tmp_path}"])
        with pytest.raises(SystemExit, match="report: .* holds no rows of a run"):
            main(["report"])
    finally:
        for name in ("workdir", "megabytes", "max_side"):
            delattr(flags.FLAGS, name)
