"""The report in a real browser: what it does under keys, mouse and finger, and what it must not do."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from img2img_jax.reports import write_report

HERE = Path(__file__).parent
HELPERS = SimpleNamespace(**runpy.run_path(HERE.parent / "reports" / "conftest.py"))
PHONE = dict(width=375, height=812, touch=True)


@pytest.fixture(scope="module")
def chromium():
    browser = SimpleNamespace(**runpy.run_path(HERE / "chromium.py")).Chromium()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Five inputs with two seeds, and a reference line."""
    base = tmp_path_factory.mktemp("report")
    workdir = HELPERS.make_run(HELPERS.HELPERS.fill(base / "in"), base / "run")
    rows = HELPERS.rows_of(workdir)
    lines = [{**row, "reference": "text-to-image"} for row in rows if row.get("strength") == 1]
    HELPERS.write_rows(workdir, rows + lines)
    write_report(workdir)
    return workdir


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    base = tmp_path_factory.mktemp("hostile")
    return HELPERS.make_run(HELPERS.fill_hostile(base / "in"), base / 'run "<i>"')


@pytest.fixture
def page(chromium, workdir):
    """The report in a desktop's window; whatever the test did, nothing was asked for and nothing went wrong."""
    address = workdir / "report.html"
    chromium.open(address)
    yield chromium
    assert chromium.requests == [address.as_uri()]
    assert chromium.problems == []


def samples(page, series=0):
    return page.run(f"data.series[{series}].samples.map(s => ({{...s, picture: data.pictures[s.picture]}}))")


def shown(page):
    """Strength, picture and first reading, as a reader sees them."""
    return page.run(
        "[Number(byId('after-caption').textContent.split(' ')[1]), byId('after').src,"
        " byId('readings').querySelector('b').textContent]"
    )


def expected(sample):
    reading = sample["values"][0]
    return [sample["strength"], sample["picture"], f"{reading:#.3g}" if reading else "0"]


def test_keys_move_the_picture_and_its_numbers(page):
    page.run("byId('strength').focus()")
    page.press("Home")
    for number, sample in enumerate(samples(page)):
        assert shown(page) == expected(sample)
        assert page.run("byId('strength').value") == str(number)
        assert page.run("byId('after').complete && byId('after').naturalWidth") == 16
        page.press("ArrowRight")
    assert len({sample["picture"] for sample in samples(page)}) == 4


def test_dots_move_along_the_curves(page):
    page.run("byId('strength').focus()")
    places = set()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight"):
        page.press(key)
        places.add(page.run("byId('readings').querySelector('circle').getAttribute('cx')"))
    assert len(places) == 4


def test_the_mouse_drags_the_slider(page):
    page.run("byId('strength').focus()")
    page.press("Home")
    page.run("window.seen = new Set(); byId('strength').addEventListener('input', () => seen.add(byId('after').src))")
    page.drag("#strength", 0.01, 0.99)
    assert shown(page) == expected(samples(page)[-1])
    assert page.run("[...seen]") == [sample["picture"] for sample in samples(page)[1:]]  # not only at its end


def test_a_finger_drags_the_slider(page, workdir):
    page.open(workdir / "report.html", **PHONE)
    page.run("byId('strength').value = 0; byId('strength').dispatchEvent(new Event('input'))")
    page.drag("#strength", 0.03, 0.97, touch=True)
    assert shown(page) == expected(samples(page)[-1])


def wiped(page):
    """Per cent of the stage that shows the input."""
    return page.run("Number(getComputedStyle(byId('stage')).getPropertyValue('--at').replace('%', ''))")


@pytest.mark.parametrize("touch", [False, True])
def test_the_wipe_follows_the_pointer_and_keys(page, workdir, touch):
    if touch:
        page.open(workdir / "report.html", **PHONE)
    page.run("document.querySelector('input[value=wipe]').click()")
    before, after = page.box("#before"), page.box("#after")
    assert before == after
    page.drag("#after", 0.5, 0.2, touch=touch)
    assert wiped(page) == pytest.approx(20, abs=2)
    assert page.run("getComputedStyle(byId('before')).clipPath").startswith("inset(0px 80% 0px 0px")
    page.run("byId('wipe').focus()")
    page.press("End")
    assert wiped(page) == 100


def test_the_contact_sheet_leads_to_the_picture(page):
    assert page.run("document.querySelectorAll('#rows .row').length") == 10
    page.run("document.querySelectorAll('#rows .row')[4].querySelectorAll('button')[3].click()")
    assert shown(page) == expected(samples(page, 4)[3])
    assert page.run("document.activeElement.id") == "strength"
    assert page.run("document.querySelectorAll('[aria-current]').length") == 1
    assert page.run("document.querySelector('[aria-current]').getAttribute('aria-label')") == (
        "Show p2.png, seed 0, strength 1"
    )


def test_choosing_an_input_keeps_seed_and_strength(page):
    page.run("byId('strength').focus()")
    page.press("End")
    for label, place in (("Seed", 1), ("Input", 3)):
        page.run(
            f"(() => {{ const s = [...document.querySelectorAll('#chooser label')].find(l => l.textContent.startsWith("
            f"'{label}')).querySelector('select'); s.value = {place}; s.dispatchEvent(new Event('change')); }})()"
        )
    assert page.run("[data.series[current].image, data.series[current].seed]") == ["p3.png", 1]
    assert shown(page) == expected(samples(page, 7)[-1])


def test_every_parameter_is_one_click_away(page, workdir):
    page.run("document.querySelector('#parameters summary').click()")
    page.run("new Promise(requestAnimationFrame)")
    cells = "[...document.querySelectorAll('#parameter-rows tr')].map(r => [...r.cells].map(c => c.textContent))"
    rows = dict(page.run(cells))
    [row] = [row for row in HELPERS.rows_of(workdir) if row.get("trial") == rows["trial"] and "reference" not in row]
    assert set(rows) >= {*row} - {"start", "metrics"}
    assert {"start.log_snr", "metrics.l1"} <= set(rows)
    assert (rows["prompt"], rows["output"]) == (row["prompt"], row["output"])
    assert page.run("byId('again').textContent") == f"img2img --from_png={row['output']}"
    assert page.run("document.querySelector('#parameter-rows a').href") == (workdir / row["output"]).as_uri()


def test_charts_have_bands_lines_and_both_axes(page):
    counted = "['.band', '.line', '.reference'].map(c => document.querySelectorAll('#charts ' + c).length)"
    assert page.run(counted) == [2, 2, 2]
    by_strength = page.run("document.querySelector('#charts .line').getAttribute('d')")
    page.run("document.querySelector('input[value=log_snr]').click()")
    assert page.run(counted) == [2, 2, 2]
    assert page.run("document.querySelector('#charts .line').getAttribute('d')") != by_strength
    assert page.run("[...document.querySelectorAll('#charts .tick')].some(t => t.textContent === '\u221e')")


def test_a_chart_reads_out_what_is_under_the_pointer(page):
    box = page.box("#charts svg")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=box["x"] + box["width"] * 0.98, y=box["y"] + 50)
    point = page.run("data.curves[0].points.at(-1)")
    text = page.run("document.querySelector('.reading').textContent")
    assert text.split() == f"at strength 1 {point['mean']:#.3g} ({point['low']:#.3g} to {point['high']:#.3g})".split()


@pytest.mark.parametrize("width", [320, 375, 768])
def test_the_page_is_no_wider_than_its_window(page, workdir, width):
    page.open(workdir / "report.html", **PHONE | {"width": width})
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.run("new Promise(requestAnimationFrame)")
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.run("visualViewport.width") == width


def test_long_names_and_prompts_do_not_widen_the_page(chromium, hostile):
    chromium.open(write_report(hostile), **PHONE)
    for number in range(3):
        chromium.run(f"choose({2 * number})")
        chromium.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert chromium.run("document.documentElement.scrollWidth") == 375


def test_dark_and_light(page):
    paper = "getComputedStyle(document.body).backgroundColor"
    found = {}
    for scheme in ("light", "dark"):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        found[scheme] = page.run(paper)
    assert found["light"] != found["dark"]
    page.run("byId('theme').click()")  # light, though the system is dark
    assert page.run(paper) == found["light"]
    page.run("byId('theme').click()")
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    assert page.run(paper) == found["dark"]


def test_everything_to_use_or_see_has_a_name(page):
    page.run("document.querySelector('input[value=wipe]').click()")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "slider", "combobox", "radio", "checkbox", "link", "img", "image", "region", "group"}
    found = [n for n in nodes if not n["ignored"] and n["role"]["value"] in roles]
    assert {"slider", "combobox", "radio", "button"} <= {node["role"]["value"] for node in found}
    assert [node for node in found if not node.get("name", {}).get("value") and node["role"]["value"] != "group"] == []


def test_hostile_texts_are_shown_and_do_nothing(chromium, hostile):
    address = write_report(hostile)
    chromium.open(address)
    assert chromium.run("document.title") == 'run "<i>" · img2img report'
    assert chromium.run("document.querySelectorAll('img[onerror], img[src=x], i:not(.swatch), main b b').length") == 0
    assert dict(chromium.run("data.series.map(one => [one.image, one.prompt])")).keys() == HELPERS.HOSTILE.keys()
    for number, (name, prompt) in enumerate(HELPERS.HOSTILE.items()):
        chromium.run(f"choose({2 * number})")
        whole = json.dumps(prompt)  # half a surrogate pair survives as JavaScript
        assert chromium.run(f"byId('prompt').textContent === {whole}")
        assert chromium.run("byId('before').alt") == f"input: {name}"
    chromium.run("document.querySelector('#parameters summary').click()")
    assert (chromium.problems, chromium.requests) == ([], [address.as_uri()])


def test_the_policy_stops_what_is_put_into_the_page(chromium, workdir):
    chromium.open(workdir / "report.html")
    chromium.run(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.evil = 1'}))"
    )
    assert chromium.run("window.evil") is None
    assert chromium.run("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'stopped')") == "stopped"
    assert any("Content Security Policy" in problem for problem in chromium.problems)
