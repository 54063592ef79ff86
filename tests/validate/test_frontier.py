"""Frontier: intervals over fits and patients, the hint, what is said of an attack, and a page that shows it all."""

import json
import math
import re

import pytest

from proband import Finding, Report
from proband.stats.intervals import Estimate
from proband.validate.frontier import ATTACK, AUROC, PROVEN, Fit, Frontier, place, together

REAL, NOTHING = 0.8, 0.5
CONTEXT = {"title": "On <b>wards</b>", "target": "died", "synthesizer": "marginals", "delta": 1e-5, "seed": 0}


def fit(epsilon: float, number: int, auroc: float, *, attack: float = 0.5, proven: float | None = 0.0) -> Fit:
    """Half-widths of .01; the logistic regression is the lesser model among real patients, and without interest."""
    rows = [
        {"model": "logistic regression", "measure": "AUROC", "trtr": 0.7, "tstr": 0.99, "both": None, "floor": 0.5, "interval": None},
        {"model": "boosted trees", "measure": "AUROC", "trtr": REAL, "tstr": auroc, "both": None, "floor": NOTHING,
         "interval": [auroc - 0.01, auroc + 0.01]},
        {"model": "boosted trees", "measure": "Brier score", "trtr": 0.9, "tstr": 0.1, "both": None, "floor": 0.2, "interval": None},
    ]  # fmt: skip
    gap = Finding("useful", "tstr_auroc_gap", "Lost", REAL - auroc, "Why.", (0.0, 0.1), 0.0, detail={"models": rows})
    member = Finding("private", ATTACK, "Attack", attack, "Why.", (attack - 0.01, attack + 0.01), 0.5, (0.48, 0.52))
    bound = Finding("private", PROVEN, "Proven", proven, "Why.", None if proven is None else (proven, proven), 0.0)
    return Fit(epsilon, number, "gan" if math.isinf(epsilon) else "marginals", Report((gap, member, bound)))


def made(*fits: Fit) -> Frontier:
    cost = {
        "epsilon": 4.2,
        "delta": 1e-5,
        "private_fits": 2,
        "open_fits": 1,
        "ledger": {"name": "ward.ledger", "head": "0123456789abcdef0"},
    }
    return Frontier(fits, CONTEXT | {"cost": cost})


@pytest.fixture
def frontier() -> Frontier:
    return made(fit(math.inf, 1, 0.79, attack=0.6), fit(3, 1, 0.785), fit(1, 1, 0.7))


def test_the_strongest_promise_stands_first_and_none_last(frontier):
    assert [point.promise for point in frontier.points] == ["epsilon 1", "epsilon 3", "no promise (gan)"]
    assert [line[0] for line in frontier.table()] == ["", "real patients", "epsilon 1", "epsilon 3", "no promise (gan)", "nothing learned"]


def test_the_model_that_does_best_on_real_patients_is_the_one_shown(frontier):
    assert frontier.beside(AUROC) == (REAL, NOTHING)
    assert frontier.points[0].estimate(AUROC) == pytest.approx((0.7, 0.69, 0.71))


def test_one_fit_has_its_patients_interval_alone():
    assert together([Estimate(0.7, 0.68, 0.73)]) == (0.7, 0.68, 0.73)


def test_fits_that_agree_leave_the_patients_doubt_and_fits_that_differ_add_theirs():
    """The patients are the same in every fit: more fits do not make their share of the doubt smaller."""
    alike = together([Estimate(0.7, 0.68, 0.73)] * 4)
    assert alike == pytest.approx((0.7, 0.68, 0.73))
    apart = together([Estimate(value, value - 1e-9, value + 1e-9) for value in (0.6, 0.7, 0.8)])
    assert apart.value == pytest.approx(0.7) and apart.low == pytest.approx(0.7 - 4.303 * 0.1 / 3**0.5, abs=1e-3)  # t with 2 degrees
    assert together([Estimate(0.99, 0.9, 1.0), Estimate(0.8, 0.7, 0.9)]).high == 1.0  # a share stays one


def test_the_hint_is_the_strongest_promise_that_surely_keeps_95_percent(frontier):
    assert frontier.hint is not None and frontier.hint.epsilon == 3  # .775 is above .95 x .8 = .76; .69 is not
    assert "is epsilon 3" in frontier.sentences[0]
    without = made(fit(math.inf, 1, 0.79), fit(1, 1, 0.765))  # its lower end is .755
    assert without.hint is None and "No promise among these" in without.sentences[0]


def test_an_attack_that_beats_chance_is_named_and_one_within_it_proves_little(frontier):
    assert [point.promise for point in frontier.leaks] == ["no promise (gan)"]
    assert "surely beats chance without a promise (gan), and nowhere else" in frontier.verdict
    assert "proves little" in made(fit(1, 1, 0.7, attack=0.525)).verdict  # its lower end is .515, chance gives up to .52


def test_a_promise_that_an_attack_refutes_is_said_to_be_broken():
    refuted = made(fit(1, 1, 0.7, proven=0.2), fit(1, 2, 0.7, proven=1.4), fit(3, 1, 0.7, proven=1.4))
    assert [point.promise for point in refuted.broken] == ["epsilon 1"]
    assert "proves epsilon 1.40 at epsilon 1: the promise is not kept" in refuted.verdict
    assert made(fit(1, 1, 0.7, proven=None)).broken == []


def test_what_looking_cost_is_said(frontier):
    assert "the 2 fits with a promise cost epsilon 4.2" in frontier.price and "ward.ledger" in frontier.price
    assert "the one fit without a promise" in frontier.price


def test_the_file_for_machines_has_every_fit_and_is_the_same_again():
    twice = made(fit(1, 1, 0.7), fit(1, 2, 0.72), fit(math.inf, 1, 0.79, proven=None))
    plain = json.loads(twice.json())
    assert plain["rows"][0][AUROC]["fits"] == [0.7, 0.72] and plain["rows"][0][AUROC]["value"] == 0.71
    assert plain["rows"][1]["epsilon"] is None and plain["rows"][1][PROVEN] is None
    assert plain["beside"][AUROC] == {"real": REAL, "nothing_learned": NOTHING}
    assert plain["rows"][0]["of_real"] == pytest.approx(0.71 / REAL)
    assert twice.json() == twice.json() and "| could not tell |" in str(twice)


def test_the_page_escapes_links_and_asks_the_network_for_nothing(frontier):
    page = frontier.html()
    assert "<b>wards</b>" not in page and "&lt;b&gt;wards" in page
    assert f'href="{place(3, 1)}/report.html"' in page and "http" not in page.replace("http-equiv", "")
    assert page.count('<svg role="img"') == 2  # one for a desk, one for a phone
    assert "real patients 0.800" in page and page == frontier.html()


def test_the_picture_alone_has_its_own_colours_and_stays_within_its_frame():
    svg = made(fit(0.5, 1, 0.2), fit(1, 1, 0.79), fit(math.inf, 1, 0.99, attack=0.99)).svg()
    assert svg.startswith("<svg xmlns=") and "var(--" not in svg
    width, height = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())
    places = re.findall(r'<text[^>]* x="(-?[\d.]+)" y="(-?[\d.]+)"', svg)
    assert len(places) > 12 and all(0 <= float(x) <= width and 0 <= float(y) <= height for x, y in places)


def test_one_that_has_only_begun_can_be_shown():
    assert "Nothing has been fitted yet" in Frontier((), CONTEXT).html()
