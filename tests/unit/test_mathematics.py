"""The pool of mathematics: limits, other threads and processes, hostile answers among ordinary ones."""

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from move37.rewards import equality
from move37.rewards.equality import look, verify_all
from move37.rewards.mathematics import judge, too_large, unlike
from move37.rewards.worker import Pool
from move37.types import Verdict

RIGHT, WRONG, CANNOT_TELL = Verdict.RIGHT, Verdict.WRONG, Verdict.CANNOT_TELL
SLOW = (r"\sin^2 x + \cos^2 x", "1")  # math-verify has to be asked


def verdicts(pairs):
    return [score.verdict for score in verify_all(pairs)]


def asked_elsewhere(pairs):
    """In another process: nothing that this one knows already."""
    equality._verdicts.clear()
    return [verdict.value for verdict in verdicts(pairs)]


PAIRS = [SLOW, (r"\sin x", r"\cos x"), ("2", "2"), ("3", "2"), (r"\int_0^{9^{9^9}} x", "x+1")]
EXPECTED = ["right", "wrong", "right", "wrong", "cannot_tell"]


def test_the_same_from_threads():
    equality._verdicts.clear()
    with ThreadPoolExecutor(4) as executor:
        assert all(found == EXPECTED for found in executor.map(asked_elsewhere, [PAIRS] * 4))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_same_from_processes(method):
    """Also where the parent's workers are running when it forks."""
    assert asked_elsewhere(PAIRS) == EXPECTED
    with multiprocessing.get_context(method).Pool(1) as processes:
        assert processes.apply_async(asked_elsewhere, (PAIRS,)).get(120) == EXPECTED
    assert asked_elsewhere(PAIRS) == EXPECTED  # and the parent's still answer


def test_the_same_from_an_event_loop():
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(None, asked_elsewhere, PAIRS) for _ in range(2)))

    assert asyncio.run(main()) == [EXPECTED] * 2


@pytest.mark.slow
def test_the_same_from_a_ray_actor():
    ray = pytest.importorskip("ray", reason="ray is not installed: the verdict from an actor is not tested")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:

        class Grader:
            def grade(self, pairs):
                from move37.rewards.equality import verify_all

                return [score.verdict.value for score in verify_all(pairs)]

        actor = ray.remote(Grader).remote()
        assert ray.get(actor.grade.remote(PAIRS), timeout=120) == EXPECTED
    finally:
        ray.shutdown()


WORK = """
import time

def work(what, number):
    if what == "sleep":
        time.sleep(number)
    if what == "power":
        return len(str(9**number))
    if what == "memory":
        bytearray(number)
    return number
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    path = tmp_path_factory.mktemp("work") / "work.py"
    path.write_text(WORK)
    return f"{path}:work"


def test_a_hang_delays_others_by_its_own_limit_at_most(work):
    """One hangs on each of two workers; what stood behind them in their share is done all the same, in order."""
    pool = Pool(work, size=2)
    outcomes = pool.run([("sleep", 60), *[("", k) for k in range(30)], ("sleep", 60)], 0.5)
    pool.close()
    assert [outcome.kind for outcome in outcomes] == ["hung", *["ok"] * 30, "hung"]
    assert [outcome.value for outcome in outcomes[1:-1]] == list(range(30))


def test_cpu_time_is_limited_inside_c_code(work):
    """A power of large integers holds the interpreter lock until it is done: no thread and no signal handler runs."""
    pool = Pool(work, size=2, cpu_s=0.3)
    outcomes = pool.run([("", 3), ("power", 10**9), ("", 4)], 60)
    pool.close()
    assert [outcome.kind for outcome in outcomes] == ["ok", "hung", "ok"]
    assert "0.3 s of CPU time" in outcomes[1].value and outcomes[2].value == 4


def test_what_waits_too_long_is_not_tried(work):
    pool = Pool(work, size=1)
    first = threading.Event()

    def busy():
        first.set()
        pool.run([("sleep", 1.5)], 10)

    thread = threading.Thread(target=busy)
    pool.run([("", 0)], 10)  # it is running
    thread.start()
    first.wait()
    time.sleep(0.2)
    second = pool.run([("", 0)], 10, queue_s=0.1)
    thread.join()
    assert [outcome.kind for outcome in second] == ["queued"]
    assert [outcome.kind for outcome in pool.run([("", 0)] * 3, 10, queue_s=30)] == ["ok"] * 3
    pool.close()


def test_a_batch_goes_over_all_workers_in_order(work):
    pool = Pool(work, size=3)
    assert [o.value for o in pool.run([("", k) for k in range(100)], 10)] == list(range(100))
    assert pool.run([], 10) == []
    os.kill(pool._workers[0]._process.pid, signal.SIGKILL)  # respawned: its items may die with it, no others
    kinds = [o.kind for o in pool.run([("", k) for k in range(100)], 10)]
    assert kinds.count("ok") >= 99 and set(kinds) <= {"ok", "died"}
    pool.close()


def test_memory_is_limited(work):
    pool = Pool(work, memory_mb=1024)
    [outcome] = pool.run([("memory", 2 << 30)], 20)
    assert outcome.kind == "raised" and "MemoryError" in outcome.value
    pool.close()


@pytest.mark.parametrize(
    "text",
    [
        *(r"9^{9^{9^{9}}}", "9**9**9", r"(9^{9})^{9^{9}}", "10^{999999}", "10^{-99999}", "99999!", "((9!)!)!", "2^{99!}"),
        *("{" * 41 + "}" * 41, "(" * 50, "9" * 1500, r"\sum_{k=1}^{99999} k", r"\prod_{k=1}^{10000} x^k"),
    ],
)
def test_what_the_guard_refuses(text):
    assert too_large(text)


@pytest.mark.parametrize(
    "text", [r"\frac{1}{2004!}", "2^{4181}", r"x^{12}", r"\sum_{k=1}^{100} k", r"e^{x^2}", r"\sqrt{1+\sqrt{2}}"]
)
def test_what_the_guard_lets_through(text):
    assert not too_large(text)


HOSTILE = [
    *(r"9^{9^{9^{9}}}", r"9^{9^{9}} + \int x", "99999! + \\sin 1", r"\sqrt{" * 200 + "2" + "}" * 200, "{" * 900 + "}" * 900),
    *("x" * 2000, "((((((((((2^2)^2)^2)^2)^2)^2)^2)^2)^2)^2)^{2^{2^{2}}}", r"\frac{" * 300, "1" + "0" * 1990, "\\pm" * 600),
    *(r"\left(" * 300 + "1", "!" * 1000, "5" + "!" * 1000, "5" + "!" * 200, "^" * 1000, r"\text{" * 300, "|" * 500, "," * 1999),
    *("-" * 1999 + "1", "-" * 200 + "1", "x" * 200, "|" * 200, "((9!)!)!", r"\sqrt[9]{" * 30 + "7" + "}" * 30, "x^{x^{x^{x}}}"),
]


def test_hostile_answers_are_never_right_and_never_raise():
    """Nor do they grow in this process: each of them goes through the exact look first."""
    for gold in ("5", r"\sin x"):
        assert RIGHT not in verdicts([(answer, gold) for answer in HOSTILE])


def test_the_look_decides_most():
    assert look("2", "2").value == 1 and look("x+2", "x+1").value == 0 and look(*SLOW) is None
    assert look("I do not know the answer", "5").value == 0


def test_formulas_that_differ_at_a_point():
    from math_verify import parse

    def read(text):
        return parse(f"${text}$", parsing_timeout=None)[0]

    assert unlike(read(r"\sin x"), read(r"\cos x")) and unlike(read(r"\tan x = 3x"), read(r"\tan x = 2x"))
    assert not unlike(read(r"\sin 2x"), read(r"2\sin x\cos x")) and not unlike(read("y=2x"), read("2y=4x"))


def test_tolerance_is_for_those_who_ask():
    assert judge("0.6054", r"\cos^{10}(\frac{\pi}{10})")[0] is False
    assert judge("0.6054", r"\cos^{10}(\frac{\pi}{10})", 1e-4)[0] is True
    assert judge("0.002, 5.234", "0.003, 5.233", 1e-3)[0] is True
    assert judge("5.234", "0.003, 5.233", 1e-3)[0] is False
    assert judge("1", "2, 3", (1,))[0] is None  # one tolerance for two items
