"""Grading: weighted sums, what can not be graded, and user rewards that misbehave in their own process."""

import math
import time
from pathlib import Path

import numpy as np
import pytest

from move37.errors import RewardError, UserError
from move37.rewards import Each, Reward, UserReward, Weighted, resolve, scope, settings, weighted
from move37.rewards.accuracy import Accuracy
from move37.rewards.combine import grade
from move37.rewards.reading import Format
from move37.rewards.user import HANGS_LIMIT
from move37.rewards.worker import Worker
from move37.stages.watch import rl_metrics
from move37.tasks.base import Split, Task
from move37.types import Group, Problem, Rollout, Score, Stop, Verdict

USER = """
import os, sys, time
from move37.rewards import scope
from move37.types import Score

def extent(rollout, problem):
    print("noise that must not reach the pipe")
    return len(rollout.text) / 10

@scope("answer")
def sees(rollout, problem):
    hidden = rollout.thinking is None
    return Score(value=float(hidden and rollout.text == rollout.answer), parts={"n": 1}, why=problem.question)

def odd(rollout, problem):
    kind = rollout.sample
    if kind == 1:
        raise KeyError("oh")
    if kind == 2:
        return float("nan")
    if kind == 3:
        return None
    if kind == 4:
        os._exit(7)
    if kind == 5:
        time.sleep(60)
    if kind == 6:
        return Score.cannot_tell("no idea")
    if kind == 7:
        return float("inf")
    return True

def sleeps(rollout, problem):
    time.sleep(60)

def spins(rollout, problem):
    while True:
        pass

def one_argument(rollout):
    return 1.0
"""


class Equal(Task):
    """A task that knows."""

    def problem(self, index: int, split: Split) -> Problem:
        raise NotImplementedError

    def verify(self, answer: str, problem: Problem) -> Score:
        if answer == "?":
            return Score.cannot_tell("no way to know")
        if answer == "!":
            raise ZeroDivisionError("broken")
        half = Score(value=0.5, parts={"marks": 0.5}, why="half right")
        return half if answer == "half" else Score(value=float(answer == problem.answer))


TASKS = {"t": Equal("t")}
ACCURACY, FORMAT = Accuracy(), Format()


def group(*answers: str, raw: bool = False) -> Group:
    zeros = np.zeros(1, np.float32)
    rollouts = [
        Rollout(
            problem="p", task="t", sample=k, token_ids=np.zeros(1, np.int32), sampled=np.ones(1, bool), logprobs=zeros,
            sampling_logprobs=zeros, text=a if raw else f"<think>so</think><answer>{a}</answer>", stop=Stop.EOS,
            version=0,
        )
        for k, a in enumerate(answers)
    ]  # fmt: skip
    return Group(problem=Problem(id="p", task="t", question="q", answer="5"), rollouts=rollouts)


def lines(**rewards: tuple[Reward, float]) -> list[Weighted]:
    return [Weighted(name, weight, reward) for name, (reward, weight) in rewards.items()]


@pytest.fixture
def user(tmp_path: Path):
    (tmp_path / "mine.py").write_text(USER)

    def made(deadline_s: float = 10.0, **weights: float) -> list[Weighted]:
        """Lines of a recipe: names of this file's functions, and accuracy."""
        mine = {f"mine.py:{n}": {"weight": w, "deadline_s": deadline_s} for n, w in weights.items() if n != "accuracy"}
        given = {"accuracy": weights["accuracy"], **mine} if "accuracy" in weights else mine
        return weighted(given, tmp_path / "recipe.yaml")

    return made


def test_weighted_sum_and_verdicts():
    one = group("5", "6")
    one.rollouts.append(group("<answer>5</answer>", "5", raw=True).rollouts[0])
    report = grade([one], lines(accuracy=(ACCURACY, 1.0), format=(FORMAT, 0.25)), TASKS)
    # right and well formed 1 + .25; wrong but well formed .25; right without thought 1
    assert [r.reward for r in one.rollouts] == [1.25, 0.25, 1.0]
    assert [r.verdict for r in one.rollouts] == [Verdict.RIGHT, Verdict.WRONG, Verdict.RIGHT]
    assert (one.rollouts[0].thinking, one.rollouts[0].answer) == ("so", "5")
    assert report.rollouts == 3 and report.ungraded == 0 and not report.reasons
    assert set(report.seconds) == {"accuracy", "format"}


def test_accuracy_and_format_are_always_scored():
    one = group("5", "6")
    grade([one], lines(format=(FORMAT, 1.0)), TASKS)
    assert [r.reward for r in one.rollouts] == [1.0, 1.0]
    assert [r.scores["accuracy"].value for r in one.rollouts] == [1.0, 0.0]
    assert one.rollouts[1].verdict is Verdict.WRONG


def test_no_answer_is_wrong_and_partial_marks_earn_nothing():
    one = group("half", "<think>so</think> 5")
    one.rollouts[1] = group("<think>so</think> 5", raw=True).rollouts[0]
    grade([one], lines(accuracy=(ACCURACY, 1.0)), TASKS)
    assert [r.reward for r in one.rollouts] == [0.0, 0.0]
    assert one.rollouts[0].scores["accuracy"].parts == {"marks": 0.5}
    assert "missing" in one.rollouts[1].scores["accuracy"].why


def test_what_can_not_be_told_gets_no_reward_and_is_counted():
    one = group("5", "?", "!")
    report = grade([one], lines(accuracy=(ACCURACY, 1.0), format=(FORMAT, 1.0)), TASKS)
    assert one.rollouts[0].reward == 2.0 and one.rollouts[0].error is None
    assert [math.isnan(r.reward) for r in one.rollouts] == [False, True, True]
    assert one.rollouts[1].verdict is Verdict.CANNOT_TELL and "no way to know" in one.rollouts[1].error
    assert "ZeroDivisionError" in one.rollouts[2].error
    assert report.reasons == {"accuracy_cannot_tell": 1, "accuracy_raised": 1} and report.ungraded == 2
    assert len(one.graded) == 1


def test_a_task_sees_all_its_answers_at_once():
    """Two groups of one task: one call, in order, without the response that has no answer; a call that fails is data."""
    calls = []

    class Counting(Equal):
        def verify_all(self, pairs):
            calls.append([answer for answer, _ in pairs])
            return super().verify_all(pairs)

    class Broken(Equal):
        def verify_all(self, pairs):
            raise OSError("no pool")

    groups = [group("5", "6"), group("7", "5")]
    groups[0].rollouts[1].text = "nothing"
    grade(groups, lines(accuracy=(ACCURACY, 1.0)), {"t": Counting("t")})
    assert calls == [["5", "7", "5"]]
    assert [r.reward for g in groups for r in g.rollouts] == [1.0, 0.0, 0.0, 1.0]
    report = grade(groups, lines(accuracy=(ACCURACY, 1.0)), {"t": Broken("t")})
    assert report.reasons == {"accuracy_raised": 3} and "no pool" in groups[0].rollouts[0].error


class Open(Equal):
    """Says what it was given."""

    open_ended = True

    def verify(self, answer: str, problem: Problem) -> Score:
        return Score(value=1.0, why=answer)


class Whole(Open):
    open_ended, whole = False, True


def test_what_a_task_is_given():
    """A box inside the tags; for open-ended tasks all of the summary; for tasks of the whole response the thought too."""
    given = [group("It is \\boxed{5}.") for _ in range(3)]
    given[2].rollouts += group("no tags", raw=True).rollouts
    for one, task in zip(given, (Equal("t"), Open("t"), Whole("t")), strict=True):
        grade([one], lines(accuracy=(ACCURACY, 1.0)), {"t": task})
    [boxed], [open_ended], [whole, none] = (one.rollouts for one in given)
    assert boxed.verdict is Verdict.RIGHT and (boxed.answer, boxed.final) == ("It is \\boxed{5}.", "5")
    assert open_ended.scores["accuracy"].why == open_ended.final == "It is \\boxed{5}."
    assert whole.scores["accuracy"].why == "so\nIt is \\boxed{5}." and whole.final == "It is \\boxed{5}."
    assert none.final is None and none.verdict is Verdict.WRONG


def test_the_reading_of_a_stage():
    one = group("<think>so</think> \\boxed{5}", "5", raw=True)
    grade([one], lines(accuracy=(ACCURACY, 1.0)), TASKS, "box")
    assert [r.reward for r in one.rollouts] == [1.0, 0.0] and one.rollouts[1].answer == "5"
    assert [r.scores["format"].value for r in one.rollouts] == [1.0, 0.0]  # the form is that of the reading
    grade([one], lines(accuracy=(ACCURACY, 1.0)), TASKS, "text")
    assert one.rollouts[1].reward == 1.0


def test_two_groups_of_one_problem_in_a_step_are_not_compared():
    """Right ones of 10 and 20 tokens, and of 40 and 80: in each group the shorter earns 0.5, the longer -0.5."""
    groups = [group("5", "5"), group("5", "5")]
    for one, lengths in zip(groups, ((10, 20), (40, 80)), strict=True):
        for r, length in zip(one.rollouts, lengths, strict=True):
            r.sampled = np.ones(length, bool)
    grade(groups, lines(length=(resolve("length", Path()), 1.0)), TASKS)
    assert [[r.reward for r in one.rollouts] for one in groups] == [[0.5, -0.5], [0.5, -0.5]]


class Length(Each):
    def score(self, rollout: Rollout, problem: Problem) -> Score:
        return Score(value=float(len(rollout.answer or "")), parts={"letters": 1.0})


def test_a_reward_scores_only_its_tasks():
    """t: accuracy 1 and format .5. u: format .5, and 2 x the 4 letters of its answer; its verdict is recorded, not paid."""
    maths, talk = group("5", "6"), group("5", "four")
    talk.problem = Problem(id="u1", task="u", question="q", answer="5")
    for r in talk.rollouts:
        r.task = "u"
    named = [
        Weighted("accuracy", 1.0, ACCURACY, ("t",)),
        Weighted("format", 0.5, FORMAT),
        Weighted("length", 2.0, Length(), ("u",)),
    ]
    grade([maths, talk], named, {"t": Equal("t"), "u": Equal("u")})
    assert [r.reward for r in maths.rollouts] == [1.5, 0.5]
    assert [r.reward for r in talk.rollouts] == [0.5 + 2 * 1, 0.5 + 2 * 4]
    assert [r.verdict for r in talk.rollouts] == [Verdict.RIGHT, Verdict.WRONG]
    assert [set(r.scores) for r in (maths.rollouts[0], talk.rollouts[0])] == [
        {"accuracy", "format"},
        {"accuracy", "format", "length"},
    ]
    metrics = rl_metrics([maths, talk], [], [], named)
    assert metrics["reward/accuracy"] == 0.5  # 1 and 0 of t; the right one of u is not paid by it
    assert metrics["reward/format"] == 1.0 and metrics["reward/length"] == 2.5
    assert metrics["reward"] == (1.5 + 0.5 + 2.5 + 8.5) / 4


def test_what_another_tasks_reward_can_not_tell_is_no_harm():
    one = group("5")
    grade([one], [Weighted("accuracy", 1.0, ACCURACY), Weighted("broken", 1.0, Broken(), ("u",))], TASKS)
    assert one.rollouts[0].reward == 1.0 and one.rollouts[0].error is None


def test_grading_again_forgets_the_first_time():
    one = group("?")
    grade([one], lines(accuracy=(ACCURACY, 1.0)), TASKS)
    one.rollouts[0].text = "<think>so</think><answer>5</answer>"
    grade([one], lines(accuracy=(ACCURACY, 1.0)), TASKS)
    assert one.rollouts[0].reward == 1.0 and one.rollouts[0].error is None


def test_user_reward_with_its_scope(user):
    one = group("5", "6")
    rewards = user(accuracy=1.0, extent=1.0, sees=2.0)
    assert [w.reward.scope for w in rewards] == ["answer", "response", "answer"]
    grade([one], rewards, TASKS)
    # len("<think>so</think><answer>5</answer>") is 35
    assert [r.reward for r in one.rollouts] == [1 + 3.5 + 2, 0 + 3.5 + 2]
    assert one.rollouts[0].scores["sees"].why == "q" and one.rollouts[0].scores["sees"].parts == {"n": 1.0}


def test_user_reward_that_misbehaves_is_data(user):
    one = group(*["5"] * 9)
    report = grade([one], user(accuracy=1.0, odd=1.0, deadline_s=0.5), TASKS)
    assert report.reasons == {"odd_raised": 1, "odd_nan": 3, "odd_died": 1, "odd_hung": 1, "odd_cannot_tell": 1}
    assert [k for k, r in enumerate(one.rollouts) if r.graded] == [0, 8]
    assert one.rollouts[0].reward == one.rollouts[8].reward == 2.0
    for k, part in {1: "KeyError", 2: "nan", 3: "None", 4: "exit code 7", 5: "0.5 s", 6: "no idea", 7: "inf"}.items():
        assert part in one.rollouts[k].error
    assert all(r.verdict is Verdict.RIGHT for r in one.rollouts)  # accuracy is told apart


def test_weight_zero_only_watches(user):
    one = group("5", "5")
    report = grade([one], user(accuracy=1.0, odd=0.0), TASKS)
    assert [r.reward for r in one.rollouts] == [1.0, 1.0] and one.rollouts[1].error is None
    assert report.reasons == {"odd_raised": 1}


@pytest.mark.parametrize("name", ["sleeps", "spins"])
def test_hangs_are_limited_per_call(user, name):
    one = group(*["5"] * 12)
    report = grade([one], user(**{name: 1.0}, deadline_s=0.1), TASKS)
    assert report.reasons == {f"{name}_hung": 12} and report.ungraded == 12
    assert "not tried" in one.rollouts[HANGS_LIMIT].error


class Half(Each):
    """Made in Python: it runs in process; scope holds there too."""

    scope = "thinking"

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None, Verdict]] = []

    def score(self, rollout: Rollout, problem: Problem) -> Score:
        self.seen.append((rollout.text, rollout.answer, rollout.verdict))
        if rollout.sample == 1:
            raise KeyError("oh")
        return Score(value=0.5 if rollout.sample == 0 else math.inf)


class Broken(Reward):
    def scores(self, items):
        raise KeyError("all of them")


def test_in_process_reward_object():
    one, half = group("5", "6", "7"), Half()
    report = grade([one], lines(mine=(half, 2.0)), TASKS)
    assert one.rollouts[0].reward == 1.0 and half.seen[0] == ("so", None, Verdict.RIGHT)
    assert report.reasons == {"mine_raised": 1, "mine_nan": 1} and report.ungraded == 2
    assert grade([one], lines(broken=(Broken(), 1.0)), TASKS).reasons == {"broken_raised": 3}


def test_resolving(user, tmp_path):
    assert resolve("accuracy", tmp_path) == ACCURACY
    assert resolve("mine.py:extent", tmp_path).source == f"{tmp_path}/mine.py:extent"
    for name, part in {
        "acuracy": "did you mean 'accuracy'",
        "mine.py:extnet": "did you mean 'extent'",
        "mien.py:extent": "did you mean 'mine.py'",
        "mine.py:one_argument": "(rollout, problem)",
        "no_such_module:x": "No module named",
        "os:getcwdd": "getcwd",
        "mine.py:accuracy": "built-in",
    }.items():
        with pytest.raises(RewardError, match=part.replace("(", r"\(").replace(")", r"\)")):
            resolve(name, tmp_path)
    (tmp_path / "broken.py").write_text("1/0")
    with pytest.raises(RewardError, match="ZeroDivisionError"):
        resolve("broken.py:x", tmp_path)
    with pytest.raises(RewardError, match="thinkin"):
        scope("thinkin")


def test_two_rewards_of_one_name(user, tmp_path):
    user()
    (tmp_path / "other.py").write_text("def extent(rollout, problem):\n    return 0.0\n")
    with pytest.raises(RewardError, match="extent"):
        weighted({"mine.py:extent": 1.0, "other.py:extent": 1.0}, tmp_path)


def test_a_worker_that_does_not_load(tmp_path):
    path = tmp_path / "later.py"
    path.write_text("def f(rollout, problem):\n    return 1.0\n")
    reward = resolve("later.py:f", tmp_path)
    assert isinstance(reward, UserReward)
    path.unlink()
    with pytest.raises(RewardError, match="does not exist"):
        grade([group("5")], lines(f=(reward, 1.0)), TASKS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"acuracy": 1}, "did you mean 'accuracy'"),
        ({"accuracy": {"weight": 1, "wieght": 2}}, "reward accuracy has no option 'wieght'"),
        ({"mine.py:extent": {"weight": 1, "n": 2}}, "takes weight, tasks, from_step and deadline_s"),
        ({"accuracy": {}}, "reward accuracy: give a weight"),
        ({"accuracy": "1"}, "given: '1'"),
        ({"accuracy": True}, "given: True"),
        ({"accuracy": math.inf}, "given: inf"),
        ({"accuracy": {"weight": 1, "tasks": "chain"}}, "tasks='chain' is no list"),
        ({"accuracy": {"weight": 1, "tasks": []}}, "tasks=[] is no list"),
        ({"mine.py:extent": {"weight": 1, "deadline_s": 0}}, "deadline_s=0"),
    ],
)
def test_a_line_that_can_not_be(given, said):
    with pytest.raises(UserError) as raised:
        settings(given)
    assert said in str(raised.value)


def test_a_line_is_a_weight_or_a_mapping():
    told = {
        "accuracy": {"weight": 1.0, "tasks": None, "from_step": 1, "credit": "full"},
        "x.py:f": {"weight": 0.5, "tasks": None, "from_step": 2, "deadline_s": 10.0},
    }
    assert settings({"accuracy": 1, "x.py:f": {"weight": 0.5, "from_step": 2}}) == settings(told) == told


def test_worker_dies_with_its_children(tmp_path):
    (tmp_path / "forks.py").write_text(
        "import subprocess, time\n"
        "def f(rollout, problem):\n"
        "    child = subprocess.Popen(['sleep', '300'])\n"
        f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "    time.sleep(300)\n"
    )
    worker = Worker(f"{tmp_path}/forks.py:f")
    [outcome] = worker.run([(1, 2)], 1.0)
    assert outcome.kind == "hung"
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10  # a killed process dies when the system gets to it
    while time.monotonic() < deadline and not _dead(pid):
        time.sleep(0.05)
    assert _dead(pid)


def _dead(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_reward_counts_from_its_step_on_and_is_watched_before():
    named = weighted({"accuracy": 1.0, "format": {"weight": 0.25, "from_step": 3}}, Path())
    for step, paid in ((1, 1.0), (2, 1.0), (3, 1.25), (9, 1.25)):
        one = group("5")
        grade([one], [w.at(step) for w in named], TASKS)
        assert one.rollouts[0].reward == paid
        assert one.rollouts[0].scores["format"].value == 1.0
