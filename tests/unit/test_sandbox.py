"""The sandbox's own life: threads, forks, Ctrl-C, kill -9, what is missing. What it holds against: test_hostile.py."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sandboxed
from move37 import sandbox
from move37.errors import RewardError
from move37.sandbox import Function, Limits, Outcome, Program
from move37.sandbox.inside import confine, plain

SOURCE = Path(sandbox.__file__).parents[2]


@pytest.fixture(autouse=True)
def chosen():
    yield
    sandbox.use("bubblewrap")


def hello(n=1):
    return sandbox.one(Program([f"print({n})"])).stdout == f"{n}\n"


# ------------------------------------------------------------------------------------------- plain data

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4) | st.binary(max_size=4)
values = st.recursive(
    scalars | st.complex_numbers(allow_nan=False) | st.builds(range, st.integers(-99, 99), st.integers(-99, 99)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(scalars, inner, max_size=3)
        | st.frozensets(scalars)
    ),
    max_leaves=6,
)


@given(values)
@settings(max_examples=60)
def test_plain_data_comes_back(value):
    back = plain.decode(plain.encode(value))
    assert back == value and type(back) is type(value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda x: st.lists(x, max_size=4)))
def test_whatever_is_sent_decodes_to_plain_data_or_not_at_all(data):
    with contextlib.suppress(ValueError, TypeError, KeyError, IndexError, OverflowError):
        plain.encode(plain.decode(data))


def test_subclasses_arrive_as_builtins():
    class Odd(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

    class Long(list):
        def __len__(self):
            return 99

        def __iter__(self):
            return iter([1, 2, 3])

    assert type(plain.decode(plain.encode(Odd(3)))) is int
    assert plain.decode(plain.encode(Long([5]))) == [5]
    assert list(plain.decode(plain.encode(x for x in "ab"))) == ["a", "b"]
    for value in (object(), Odd, lambda: 0, [[]].append):
        with pytest.raises(plain.NotPlain):
            plain.encode(value)
    loop = []
    loop.append(loop)
    with pytest.raises(plain.TooLarge, match="in itself"):
        plain.encode(loop)


def test_the_filter_of_a_known_machine():
    """By hand: four instructions ahead (five values for x86_64), two per refused call, two for clone3, five per exception."""
    for machine, ahead, column in (("x86_64", 4 + 2, 1), ("aarch64", 4, 2)):
        refused = sum(row[column] is not None for row in confine.REFUSED)
        assert len(confine.program(machine, 5)) // 8 == ahead + 2 * refused + 2 + 5 + 3 * 5 + 1
        assert len({row[column] for row in confine.REFUSED if row[column] is not None}) == refused


# ------------------------------------------------------------------------------------------- outcomes


@pytest.mark.parametrize("mode", ["bubblewrap", "none-i-accept-the-risk"])
def test_outcomes_in_both_modes(mode):
    sandboxed.required()
    sandbox.use(mode)
    limits = Limits(time_s=0.3, memory_mb=128, output_kb=4)
    jobs = {
        "print(input()[::-1])": None,
        "while True: pass": Outcome.TIMEOUT,
        "x = bytearray(10**9)": Outcome.MEMORY,
        "1 / 0": Outcome.CRASH,
        "print('x' * 9999)": Outcome.CRASH,
        "import os\nos.fork()": Outcome.CRASH,
        "import sys\nsys.exit(3)": Outcome.CRASH,
        "print(": Outcome.DID_NOT_COMPILE,
        "x = 1\0": Outcome.DID_NOT_COMPILE,
    }
    ended = sandbox.run([Program([source], stdin="abc\n", limits=limits) for source in jobs])
    assert [e.failure for e in ended] == list(jobs.values())
    assert ended[0].stdout == "cba\n" and "ZeroDivisionError" in ended[3].why


def test_a_program_ends_as_an_interpreter_would():
    sandboxed.required()
    source = (
        "import atexit, sys, threading, time\natexit.register(print, 'last')\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\n"
        "print(__name__, sys.argv, open('/dev/stdin').read(), sys.stdin.read(), end=' ')"
    )
    ended = sandbox.one(Program([source], stdin="é\r\n"))
    assert ended.failure is None and ended.stdout == "__main__ ['answer.py'] é\n é\r\n thread\nlast\n"
    assert sandbox.one(Program(["import random\nprint(random.random())"])) .stdout == (
        sandbox.one(Program(["import random\nprint(random.random())"])).stdout
    )


def test_functions_and_their_tests():
    sandboxed.required()

    def tried(source, tests, prompt=""):
        ended = sandbox.one(Function([source], "f", tests, prompt, Limits(time_s=0.5, memory_mb=256)))
        return ended.failure, ended.passed, ended.total, ended.why

    tests = "assert f(1) == 1\nassert f(2) == 4\nassert f(3) == 9\n"
    assert tried("def f(x): return x * x", tests)[:3] == (None, 3, 3)
    assert tried("def f(x): return x", tests)[:3] == (Outcome.WRONG, 1, 3)
    assert tried("def f(x): return x * x if x != 2 else 1 / 0", tests)[:3] == (Outcome.CRASH, 2, 3)
    assert tried("def f(x):\n while x == 2: pass\n return x * x", tests)[:3] == (Outcome.TIMEOUT, 1, 3)
    assert tried("def f(x): return bytearray(10**9)", tests)[0] is Outcome.MEMORY
    assert tried("def f(x)", tests)[:3] == (Outcome.DID_NOT_COMPILE, 0, 3)
    assert tried("def g(x): return x", tests)[3] == "it defines no f"
    # tests that expect an error, use a helper of the prompt, pass a function, read an iterator
    assert tried("def f(x): raise KeyError(x)", "try:\n    f(1)\n    assert False\nexcept KeyError:\n    assert True")[0] is None
    helper = "def h(x): return x * 2\n"
    assert tried("def f(x): return x + 1", "assert h(f(1)) == 4", helper)[0] is None
    assert tried("def f(x): return x + 1", "assert h(f(1)) == 4", f"{helper}def f(x):\n    'no more of it'")[0] is None
    assert tried("def f(g): return g(20) + g(1)", "assert f(lambda x: x + 1) == 23")[0] is None
    assert tried("def f(n): yield from range(n)", "assert list(f(3)) == [0, 1, 2]")[0] is None


def test_tests_that_do_not_work_are_no_fault_of_the_answers():
    sandboxed.required()
    for tests in ("assert f(", "assert nothing == 1", "x = undefined\nassert f(1)", "f(1)", "assert f(object()) == 1"):
        ended = sandbox.one(Function(["def f(x): return 1"], "f", tests))
        assert ended.failure is Outcome.INFRASTRUCTURE, (tests, ended)


# ------------------------------------------------------------------------------- threads, forks, signals


def waiting():
    return [w.process.pid for w in sandbox._chosen.pool._all if w.process]


def test_it_outlives_the_thread_that_started_it():
    """bubblewrap ends with its parent thread; ours is one that stays."""
    sandboxed.required()
    sandbox.close()
    answers = []
    for n in range(3):
        thread = threading.Thread(target=lambda n=n: answers.append(hello(n)))
        thread.start()
        thread.join()
        if n == 0:
            started = waiting()
    time.sleep(0.1)
    assert answers == [True] * 3 and waiting() == started and len(started) == 1


def test_many_threads_at_once():
    sandboxed.required()
    answers = []
    threads = [threading.Thread(target=lambda n=n: answers.append(hello(n))) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 12 and len(waiting()) <= sandbox._chosen.pool.size


def test_a_sandbox_that_was_killed_starts_again():
    sandboxed.required()
    assert hello()
    for pid in waiting():
        os.kill(pid, signal.SIGKILL)
    assert hello()


def test_a_forked_process_has_its_own():
    sandboxed.required()
    assert hello()
    before = waiting()
    child = os.fork()
    if child == 0:
        os._exit(0 if hello(7) and not set(waiting()) & set(before) and (sandbox.close() or True) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert hello() and waiting() == before


SCRIPT = """
import sys, threading, time
from move37 import sandbox
from move37.sandbox import Limits, Program
sandbox.require()
def tell():
    time.sleep(0.5)
    print(*[w.process.pid for w in sandbox._chosen.pool._all if w.process], flush=True)
threading.Thread(target=tell).start()
sandbox.run([Program(["import time\\ntime.sleep(999)"], limits=Limits(time_s=60))] * 4)
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def members(session):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found += [int(entry.name)] if int(fields[3]) == session and fields[0] != "Z" else []
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_orphans(number):
    """Ctrl-C, kill -9 and kill in the middle of endless cases: soon nothing is left of the sandbox."""
    sandboxed.required()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
    )
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert pids and all(alive(pid) for pid in pids)
    process.send_signal(number)
    assert process.wait(timeout=20) != 0
    until = time.monotonic() + 10
    while any(members(pid) or alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(members(pid) or alive(pid) for pid in pids)
    process.stdout.close()


# --------------------------------------------------------------------------------------- what is missing


def test_without_bubblewrap_the_install_line_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox.use("none-i-accept-the-risk")
    sandbox.use("bubblewrap")
    with pytest.raises(RewardError, match=r"bubblewrap is not installed: apt-get install bubblewrap .*none-i-accept-the-risk"):
        sandbox.require()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("bwrap: setting up uid map: Permission denied", "does not let bubblewrap make user namespaces"),
        ("bwrap: No permissions to create new namespace, likely because ...", "kernel.apparmor_restrict_unprivileged_userns"),
        ("bwrap: execvp /python/bin/python: No such file or directory", "does not start: bwrap: execvp"),
    ],
)
def test_why_it_does_not_start_is_told(monkeypatch, tmp_path, said, told):
    fake = tmp_path / "bwrap"
    fake.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sandbox.use("none-i-accept-the-risk")
    sandbox.use("bubblewrap")
    with pytest.raises(RewardError, match=told):
        sandbox.require()


def test_a_misspelt_mode():
    with pytest.raises(RewardError, match="did you mean 'bubblewrap'"):
        sandbox.use("bubblewarp")
