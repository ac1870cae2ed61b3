"""What is read out of a run directory: summary, page, picture, samples, transcripts, live display."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from rich.console import Console

import fabricate
import tiny
from move37.errors import UserError
from move37.report import charts, curves, page, summary, transcripts
from move37.report.listing import rows as listing
from move37.report.live import Clock, Live, duration, sparkline
from move37.report.picture import picture
from move37.report.samples import Filter, select, show
from move37.rewards.style import BEHAVIOURS
from move37.runs import Run
from move37.types import Group, Problem


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return Run.open(fabricate.run(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def html(finished):
    return page.render(finished)


def _unfinished(tmp_path, steps=2, **changes):
    with Run.create(tmp_path, fabricate.recipe()) as run:
        for step in range(1, steps + 1):
            run.log("rl").record(step, fabricate.metrics(step) | changes)
        return Run.open(run.path)


# ------------------------------------------------------------------------------------------------------------- summary


def test_a_summary_has_before_after_times_and_tokens(finished):
    found = summary.write(finished)
    assert found == json.loads((finished.path / "summary.json").read_text())
    assert found["before"]["pass@1"]["value"] < 0.4 < 0.7 < found["after"]["pass@1"]["value"]
    rl = found["stages"]["rl"]
    assert (rl["steps"], rl["tokens"], rl["wall_s"]) == (40, 40 * 12000, 160.0)
    assert rl["seconds"] == {"sample": 40.0, "grade": pytest.approx(4.0), "learn": pytest.approx(116.0)}
    assert found["stages"]["before"]["wall_s"] == 9.0
    assert set(found["tasks"]) == {"chain", "product"}
    assert found["change"]["problems"] == 8 and found["change"]["pass@1"]["low"] > 0
    assert found["warnings"] == []


def test_a_run_that_has_just_begun_has_a_summary(tmp_path):
    found = summary.build(_unfinished(tmp_path, steps=0))
    assert found["before"] is None and found["after"] is None and found["stages"] == {}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"truncated": 0.4}, "limit"),
        ({"no_eos": 0.9}, "EOS"),
        ({"cannot_tell": 0.2}, "graded"),
        ({"signal": 0.0}, "taught nothing"),
        ({"mismatch_kl": 0.5}, "disagree"),
    ],
)
def test_what_makes_numbers_doubtful_is_said(tmp_path, changes, word):
    (sentence,) = summary.warnings(_unfinished(tmp_path, **changes))
    assert word in sentence and sentence.startswith("rl: ")


def test_a_problem_seen_in_training_is_said(tmp_path):
    with Run.create(tmp_path, fabricate.recipe()) as run:
        groups = [fabricate.group(i, 0.5) for i in range(4)]
        run.log("after").evaluation({"overall": {}, "tasks": {}}, groups, [])
        run.log("rl").rollouts(1, groups[:1])
        run.log("rl").record(1, fabricate.metrics(1))
    found = summary.build(Run.open(run.path))
    assert found["held_out"] == {"evaluated": 4, "drawn_in_training": 1}
    assert any("1 of 4 evaluated problems were drawn in training" in w for w in found["warnings"])


# ---------------------------------------------------------------------------------------------------------------- page


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_data(self, data):
        self.text.append(data)


def _read(html):
    reader = _Reader()
    reader.feed(html)
    return reader


def test_the_page_is_one_file_without_script_or_links_outside(html):
    reader = _read(html)
    assert "script" not in reader.tags and "img" not in reader.tags and "link" not in reader.tags
    assert all(link.startswith("#") for link in reader.links)
    assert reader.tags.count("svg") >= 12


def test_the_page_escapes_what_a_model_wrote(html):
    assert fabricate.HOSTILE not in html
    assert "&lt;script&gt;alert(" in html
    assert fabricate.HOSTILE in "".join(_read(html).text)


def test_the_page_tells_the_story(html):
    text = " ".join("".join(_read(html).text).split())
    for wanted in ("In 40 steps", "Before and after", "the same problems before and after", "By task", "product"):
        assert wanted in text
    assert "the first response that doubts itself and gets it right" in text


def test_behaviours_have_rows_of_the_page_alone_and_an_older_record_has_none():
    plain = {"pass@1": {"value": 0.25, "low": 0.0, "high": 0.5}}
    told = plain | {"behaviour/error_identification": {"value": 0.5, "low": 0.25, "high": 0.75}}
    every = (*page.METRICS, *page.BEHAVIOUR_METRICS)
    row = {"label": "shows error identification", "before": "–", "after": "50.0% [25.0, 75.0]"}
    assert page.comparison(plain, told, every)[1:] == [row]
    assert [row["label"] for row in page.comparison(plain, told)] == ["pass@1, sampled"]  # the terminal's
    assert len(page.comparison(plain, plain, every)) == 1


def test_the_page_of_a_run_that_counted_no_behaviours(html, tmp_path):
    assert "shows reflection" in html and "shows planning" in html
    run = Run.open(fabricate.run(tmp_path))
    for name in ("before", "after"):
        log = run.log(name)
        record = log.eval()
        for numbers in (record["overall"], *record["tasks"].values()):
            for key in [key for key in numbers if key.startswith("behaviour/")]:
                del numbers[key]
        (log.path / "eval.json").write_text(json.dumps(record), encoding="utf-8")
    assert "shows reflection" not in page.render(run)


def test_the_page_keeps_its_size(html):
    assert len(html) < 1_000_000


def test_the_page_works_at_any_moment_of_a_run(tmp_path):
    text = "".join(_read(page.render(_unfinished(tmp_path / "a", steps=0))).text)
    assert "no numbers yet" in text
    text = "".join(_read(page.render(_unfinished(tmp_path / "b", steps=1))).text)
    assert "held-out numbers are not there yet" in text


def test_drawing_twice_gives_the_same_page(finished, html):
    assert page.write(finished).read_text() == html


# ------------------------------------------------------------------------------------------------------------- pictures


def test_curves_leave_out_what_is_not_a_number():
    made = curves.curve([{"step": 1, "loss": None}, {"step": 2, "loss": 0.5}, {"step": 3}], "loss", "loss")
    assert (list(made.x), list(made.y)) == ([2], [0.5])


def test_accuracy_of_a_way_few_took_is_left_out():
    rows = ((1, 0.9, 0.1), (2, 0.005, 1.0))
    metrics = [{"step": step, "style/direct": share, "accuracy/direct": right} for step, share, right in rows]
    (drawn,) = next(p for p in curves.main(metrics, []) if p.title == "accuracy of each way").curves
    assert (drawn.x, drawn.y) == ([1], [0.1])


def test_the_panel_of_behaviours():
    """All seven in one chart; the seventh, which has the first one's colour, is dashed. No step tells: no chart."""
    rows = [{"step": step, **{f"behaviour/{kind}": step / 8 for kind in BEHAVIOURS}} for step in (1, 2)]
    (panel,) = curves._behaviours([*rows, {"step": 3}])
    assert [curve.label for curve in panel.curves[-3:]] == ["error identification", "backtracking", "refinement"]
    assert [curve.dashed for curve in panel.curves] == [False] * 6 + [True] and panel.unit == "share"
    assert all((curve.x, curve.y) == ([1, 2], [0.125, 0.25]) for curve in panel.curves)
    assert all(one.empty for one in curves._behaviours([{"step": 1}]))
    assert panel.title in [one.title for one in curves.panels(rows, [])]


def test_the_panels_of_how_hard_the_drawn_problems_were():
    """Half, then a quarter of the groups had none right; what a step does not tell is left out of its curve."""
    rows = [
        {"step": 1, "drawn/none": 0.5, "drawn/half_or_more": 0.5, "drawn/level": 0},
        {"step": 2, "drawn/none": 0.25, "drawn/half_or_more": 0.75, "drawn/level": 1, "drawn/pass_rate": 0.4},
    ]
    difficulty, expected, level = curves._drawn(rows)
    assert [(c.label, c.x, c.y) for c in difficulty.curves] == [
        ("none right", [1, 2], [0.5, 0.25]),
        ("half or more", [1, 2], [0.5, 0.75]),
    ]
    assert [c.colour for c in difficulty.curves] == [0, 2]  # a kind keeps its colour where another is not there
    assert [(c.x, c.y, c.dashed) for c in expected.curves] == [([2], [0.4], True)]
    assert [(c.x, c.y) for c in level.curves] == [([1, 2], [0, 1])]
    assert (difficulty.unit, expected.unit, level.unit) == ("share", "share", "")
    without = [{key: value for key, value in row.items() if key in ("step", "drawn/none")} for row in rows]
    assert [panel.title for panel in curves.panels(without, [])] == [difficulty.title]


def test_inline_pictures_use_the_colours_of_the_page():
    svg = charts.inline(charts.draw([charts.Panel("<b>", [charts.Curve("a & b", [1, 2], [0.1, 0.2])])]), 'say "x"')
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert root.attrib["aria-label"] == 'say "x"'
    assert "var(--s0)" in svg and "var(--ink)" in svg
    assert charts.PAGE.ink not in svg and charts.PAGE.series[0] not in svg


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_a_picture_of_one_run(finished, tmp_path, ending):
    path = picture([finished], tmp_path / "deep" / f"curves.{ending}")
    assert path.stat().st_size > 5000
    if ending == "svg":
        text = path.read_text()
        assert "seed 0" in text and "var(" not in text


def test_a_picture_of_seeds_shows_mean_and_range(finished, tmp_path):
    other = tmp_path / "other"
    with Run.create(other, fabricate.recipe("made_up-seed1", seed=1)) as run:
        for step in range(1, 31):
            run.log("rl").record(step, fabricate.metrics(step) | {"pass@1": 0.0})
    path = picture([finished, Run.open(other / "made_up-seed1")], tmp_path / "curves.svg")
    assert re.search(r"seeds 0, 1: lines are means", path.read_text())


def test_pictures_refuse_what_they_can_not_show(finished, tmp_path):
    with pytest.raises(UserError, match=r"\.svg or a \.png"):
        picture([finished], tmp_path / "curves.pdf")
    with pytest.raises(UserError, match="nothing to draw"):
        picture([_unfinished(tmp_path, steps=0)], tmp_path / "curves.svg")
    with pytest.raises(UserError, match="at least one run"):
        picture([], tmp_path / "curves.svg")
    with Run.create(tmp_path, fabricate.recipe("apart", steps=7)) as run, pytest.raises(UserError, match="differ in more"):
        picture([finished, run], tmp_path / "curves.svg")


# --------------------------------------------------------------------------------------------- samples, transcripts


def test_samples_are_found_by_every_filter(finished):
    rows = [row for _, row in select(finished, Filter(stage="rl", step=-1, task="chain", verdict="right"))]
    assert rows and all(row["step"] == 40 and row["task"] == "chain" and row["verdict"] == "right" for row in rows)
    assert all(row["reward"] <= 0 for _, row in select(finished, Filter(stage="rl", step=1, max_reward=0.0)))
    assert next(select(finished, Filter(stage="after")))[0] == "after"


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        (Filter(stage="rll"), "'rl'"),
        (Filter(task="chian"), "'chain'"),
        (Filter(verdict="rigth"), "'right'"),
        (Filter(stage="rl", step=99), "1 to 40"),
    ],
)
def test_a_filter_that_fits_nothing_names_what_is_there(finished, wanted, hint):
    with pytest.raises(UserError, match=hint):
        next(select(finished, wanted))


@pytest.mark.parametrize("plain", [True, False])
def test_samples_are_shown_as_they_are(finished, plain):
    out = io.StringIO()
    stage, row = next(select(finished, Filter(stage="rl")))
    show(Console(file=out, width=300), stage, row | {"text": "[red]not markup[/red] [/]"}, plain)
    assert "[red]not markup[/red] [/]" in out.getvalue() and fabricate.HOSTILE in out.getvalue()


def test_transcripts_follow_their_rule(finished):
    rose, worst = transcripts.over_training(finished.log("rl"))
    assert [look.step for look in rose.looks] == [0, 20, 40]
    gain = rose.looks[-1].right / rose.looks[-1].samples - rose.looks[0].right / rose.looks[0].samples
    assert gain > 0
    assert worst.looks[-1].right <= rose.looks[-1].right
    assert rose.looks[0].text.startswith("<think>")


def test_the_first_doubt_is_the_first(tmp_path):
    problem = Problem(id="a", task="chain", question="?", answer="17")
    with Run.create(tmp_path, fabricate.recipe()) as run:
        log = run.log("rl")
        calm = fabricate.rollout(problem, 0, "steps")
        failed = fabricate.rollout(problem, 1, "checked", right=False)
        doubt = fabricate.rollout(problem, 2, "checked")
        log.rollouts(1, [Group(problem=problem, rollouts=[calm, failed])])
        log.rollouts(2, [Group(problem=problem, rollouts=[calm, failed, doubt])])
        assert transcripts.first_doubt(log).looks[0].step == 2
        assert "Wait" in transcripts.first_doubt(log).looks[0].text


def test_listing_says_how_far_a_run_is(finished, tmp_path):
    (row,) = listing([finished.path])
    assert row["at"] == "done" and row["pass@1 before"].endswith("%")
    with Run.create(tmp_path, fabricate.recipe()) as run:
        run.log("before").evaluation({"overall": {}}, [], [])
        run.log("rl").record(3, {})
    assert listing([run.path])[0]["at"] == "rl step 3"


# ---------------------------------------------------------------------------------------------------------------- live


@pytest.mark.parametrize("terminal", [True, False])
def test_the_display_takes_any_metrics(terminal):
    out = io.StringIO()
    with Live("t", console=Console(file=out, width=100, force_terminal=terminal)) as live:
        live.stage("base", "pretrain", 5, "five steps")
        live.step({"step": 1, "loss": 3.2})
        live.stage("rl", "rl", 40, "forty steps")
        for step in range(1, 4):
            live.step({"step": step, **fabricate.metrics(step)})
        live.step({"step": 4, "pass@1": None, "length": float("nan")})
        live.note("[/] a note with odd [markup]")
    assert "[/] a note with odd [markup]" in out.getvalue()
    assert "step 4/40" in out.getvalue()
    if not terminal:
        assert len(out.getvalue().splitlines()) == 8  # two stages, five steps, a note


def test_time_left_follows_the_recent_pace():
    clock = Clock(total=100)
    clock.tick(1, now=0.0)
    assert clock.left() == ""
    clock.tick(11, now=20.0)  # two seconds a step, 89 steps to go
    assert clock.left() == "2m 58s"


def test_durations_and_sparklines():
    assert [duration(s) for s in (0.4, 59.4, 185, 7620)] == ["0s", "59s", "3m 05s", "2h 07m"]
    assert sparkline([0.0, 1.0]) == "▁█"
    assert sparkline([2.0, 2.0, 2.0]) == "▁▁▁"
    assert len(sparkline([float(i) for i in range(1000)])) == 24


def test_before_and_after_are_over_the_same_problems(tmp_path):
    """The last evaluation of three asks less: the comparison is of the first two, and all three are listed."""

    path = fabricate.run(tmp_path)
    run = Run.open(path)
    names = summary.evaluations(run)
    assert summary.sides(run) == names and len(names) == 2
    last = run.log(names[-1])
    record = last.eval()
    record["problems"] -= 1
    (last.path / "eval.json").write_text(json.dumps(record), encoding="utf-8")
    assert summary.sides(Run.open(path)) == names[:1]
    built = summary.build(Run.open(path))
    assert built["before"] is None and list(built["evaluations"]) == names


def test_the_table_of_evaluations_has_a_column_for_a_search_where_there_was_one():
    def table(*overall):
        found = {f"e{i}": {"problems": 4, "tasks": ["chain"], "overall": mine} for i, mine in enumerate(overall)}
        made = page._evaluations(found)
        return made["evaluation_metrics"], {name: row["cells"] for name, row in made["evaluations"].items()}

    plain = {"pass@1": {"value": 0.25, "low": 0.0, "high": 0.5}}
    searched = plain | {"search": {"value": 0.5, "low": 0.25, "high": 0.75}}
    assert table(plain, searched) == ([], {})  # two are compared above it
    head, cells = table(plain, plain, searched)
    assert head == ["pass@1", "tree search"] and cells["e0"][1] == "–" and cells["e2"][1] == "50.0% [25.0, 75.0]"
    assert table(plain, plain, plain)[0] == ["pass@1"]


def test_the_sentence_tells_the_rl_that_led_to_the_last_evaluation(tmp_path):
    """Two arms of 5 and of 7 steps; the last look is at the second. Before there is a look at all, both are told."""
    stages = {
        "one": {"stage": "rl", "steps": 5},
        "two": {"stage": "rl", "steps": 7},
        "look": {"stage": "evaluate", "init": "two"},
    }
    found = {"stages": {"one": {"kind": "rl", "steps": 5, "wall_s": 60.0}, "two": {"kind": "rl", "steps": 7, "wall_s": 60.0}}}
    found |= {"before": None, "after": {"pass@1": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    with Run.create(tmp_path, tiny.recipe(stages, model="bundled", template="r1_zero")) as run:
        assert "In 5 steps" in page.sentence(run, found) and "7 steps" in page.sentence(run, found)
        run.log("look").evaluation({"problems": 2, "tasks": {"chain": {}}}, [], [])
        assert page.sentence(run, found).startswith("In 7 steps") and "5 steps" not in page.sentence(run, found)
