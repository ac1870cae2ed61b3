"""Code that attacks the sandbox or the verdict. Each row of the table in docs/security.md is a test here."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

import sandboxed
from move37 import sandbox
from move37.rewards import code
from move37.rewards.code import Case
from move37.sandbox import Limits, Outcome, Program

QUICK = Limits(time_s=0.5, memory_mb=128, output_kb=64)
TESTS = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n"
MARK = "/tmp/move37-hostile"


@pytest.fixture(autouse=True)
def works():
    sandboxed.required()
    yield
    assert sandbox.one(Program(["print(1)"])).stdout == "1\n"  # the next case is as good as ever


def attack(source, stdin=""):
    return sandbox.one(Program([source], stdin=stdin, limits=QUICK))


def verdict(source, tests=TESTS):
    return code.function(source, tests, "f", limits=QUICK)


def processes():
    """Of the whole machine, by command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" "))
            except OSError:
                continue
    return found


# ------------------------------------------------------------------------------------------- resources


def test_fork_bomb():
    before = len(processes())
    ended = attack("import os\nwhile True:\n    os.fork()")
    assert ended.failure is Outcome.CRASH and "not permitted" in ended.why
    assert len(processes()) < before + 20


def test_threads_without_end():
    ended = attack("import threading as t, time\nwhile True:\n    t.Thread(target=time.sleep, args=(60,), daemon=True).start()")
    assert ended.failure in (Outcome.CRASH, Outcome.MEMORY, Outcome.TIMEOUT)


def test_other_programs_can_not_be_started():
    ended = attack("import os\nos.execv('/python/bin/python', ['python', '-c', '1'])")
    assert ended.failure is Outcome.CRASH
    assert attack("import subprocess\nsubprocess.run(['true'])").failure is Outcome.CRASH


@pytest.mark.parametrize(
    "bomb",
    [
        "x = bytearray(10**10)",
        "x = []\nwhile True:\n    x.append(bytearray(10**6))",
        "import mmap\nx = [mmap.mmap(-1, 10**8) for _ in range(10)]",
        "x = '9' * 10**12",
    ],
)
def test_memory_bomb(bomb):
    ended = attack(bomb)
    assert ended.failure in (Outcome.MEMORY, Outcome.CRASH) and ended.cpu_s < 2


def test_memory_that_no_limit_counts_is_refused():
    assert "not permitted" in attack("import os\nos.memfd_create('x')").why
    full = attack("import os\nfor k in range(100):\n    open(f'/tmp/{k}', 'wb').write(bytes(10**7))")
    assert full.failure is Outcome.CRASH and "No space left" in full.why


def test_endless_output():
    ended = attack("while True:\n    print('x' * 1000)")
    assert ended.failure is Outcome.CRASH and "wrote more than 65536 bytes" in ended.why
    assert len(ended.stdout) < 200_000
    assert attack("import sys\nwhile True:\n    sys.stderr.write('x' * 1000)").failure is Outcome.CRASH


@pytest.mark.parametrize("loop", ["while True: pass", "9**9**9", "import re\nre.match('(a*)*b', 'a' * 40)"])
def test_infinite_loop(loop):
    assert attack(loop).failure is Outcome.TIMEOUT


def test_sleeping_for_ever_and_ignoring_signals():
    ended = attack("import signal, time\nfor n in (1, 2, 15, 24):\n    signal.signal(n, signal.SIG_IGN)\ntime.sleep(1000)")
    assert ended.failure is Outcome.TIMEOUT and ended.wall_s < 10


def test_no_limit_can_be_raised():
    raised = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)"
    assert attack(raised).failure is Outcome.CRASH


def test_zombie_children():
    ended = attack("import os\nfor _ in range(100):\n    if os.fork() == 0:\n        os._exit(0)\nprint('made')")
    assert ended.failure is Outcome.CRASH and ended.stdout == ""


def test_what_a_case_leaves_running_ends_with_it():
    ended = attack("import threading as t, time\nt.Thread(target=time.sleep, args=(1000,), daemon=True).start()\nprint('done')")
    assert ended.failure is None and ended.wall_s < 5


# ----------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("path", ["/x", "/usr/lib/x", "/sandbox/inside/x", "/dev/x", "/python/lib/x", "/etc/x", "/home/x"])
def test_file_writes_outside(path):
    ended = attack(f"open({path!r}, 'w').write('x')")
    assert ended.failure is Outcome.CRASH and not Path(path).exists()


def test_tmp_is_private_and_forgotten():
    assert attack(f"open({MARK!r}, 'w').write('x')").failure is None
    assert not Path(MARK).exists()
    assert attack("import os\nprint(sorted(os.listdir('/tmp')))").stdout == "['stdin']\n"


@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/passwd", "/proc/1/environ", "/proc/self/mem", "/sys/kernel", "/dev/mem"])
def test_reading_the_system(path):
    assert "FileNotFoundError" in attack(f"print(open({path!r}).read())").why


def test_reading_the_home_directory_and_the_project():
    here = Path(__file__).parents[2]
    for path in {Path.home(), here, here / "src", Path("/root"), Path("/home")}:
        assert attack(f"import os\nprint(os.listdir({str(path)!r}))").failure is Outcome.CRASH
    assert attack("import move37.rewards").failure is Outcome.CRASH
    assert attack("import numpy").failure is Outcome.CRASH  # no installed package either


def test_symlink_tricks():
    ended = attack(
        "import os\nos.symlink('/etc/shadow', '/tmp/a')\nos.symlink('/', '/tmp/b')\nos.symlink('a', '/tmp/stdin2')\n"
        "for path in ('/tmp/a', '/tmp/b/etc/shadow', '/tmp/../etc/shadow', '/dev/stdin/../../etc/shadow'):\n"
        "    try:\n        print(open(path).read())\n    except OSError as error:\n        print(type(error).__name__)\n"
        "os.unlink('/tmp/stdin')\nos.symlink('/usr/lib', '/tmp/stdin')"
    )
    assert ended.failure is None and set(ended.stdout.split()) <= {"FileNotFoundError", "NotADirectoryError"}
    for way in ("os.link('/sandbox/inside/serve.py', '/tmp/c')", "os.mkdir('/dev/d')", "os.rename('/dev/stdin', '/dev/in')"):
        assert attack(f"import os\n{way}").failure is Outcome.CRASH


def test_devices_keep_their_mode():
    before = os.stat("/dev/null").st_mode
    assert attack("import os\nos.chmod('/dev/null', 0)").failure is Outcome.CRASH
    assert os.stat("/dev/null").st_mode == before


# ------------------------------------------------------------------------------- network and processes


def test_network_connect():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = attack(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)")
        assert ended.failure is Outcome.CRASH and "not permitted" in ended.why
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("number", [2, 9, 15, 19])
@pytest.mark.parametrize("target", ["os.getppid()", "1", "-1", "0", str(os.getpid())])
def test_killing_the_parent(target, number):
    ended = attack(f"import os\nos.kill({target}, {number})\nprint('sent')")
    assert ended.failure is Outcome.CRASH and "sent" not in ended.stdout


def test_system_calls_for_getting_out_are_refused():
    calls = {"ptrace": 101, "unshare": 272, "mount": 165, "setns": 308, "bpf": 321, "io_uring_setup": 425, "keyctl": 250}
    assert {name: number for name, number, _ in sandbox.confine.REFUSED if name in calls} == calls
    if os.uname().machine == "x86_64":
        ended = attack(
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
            f"for call in {sorted(calls.values())}:\n    print(libc.syscall(call, 0, 0, 0, 0, 0), ctypes.get_errno())\n"
            "print(libc.syscall(0x40000000 | 39), ctypes.get_errno())"  # getpid, by the other convention
        )
        assert ended.stdout.splitlines() == ["-1 1"] * (len(calls) + 1)


# --------------------------------------------------------------------------------------- the verdict


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "raise SystemExit",
        "def f(x):\n    import sys\n    sys.exit(0)",
        "def f(x):\n    import os\n    os._exit(0)",
        "def f(x):\n    raise SystemExit(0)",
        "def f(x):\n    raise KeyboardInterrupt",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    ],
)
def test_leaving_before_the_asserts(source):
    assert verdict(source).value == 0


@pytest.mark.parametrize(
    "source",
    [
        "class Equal:\n    __eq__ = lambda self, other: True\ndef f(x): return Equal()",
        "class Equal(int):\n    __eq__ = lambda self, other: True\n    __ne__ = lambda *a: False\ndef f(x): return Equal(5)",
        "class Equal(list):\n    __eq__ = lambda self, other: True\ndef f(x): return Equal()",
        "import unittest.mock\ndef f(x): return unittest.mock.ANY",
        "def f(x): return float('nan')",
    ],
)
def test_objects_that_equal_everything(source):
    assert verdict(source).value == 0


@pytest.mark.parametrize(
    "source",
    [
        "import builtins\nbuiltins.AssertionError = KeyError\nbuiltins.__debug__x = 0\ndef f(x): return 0",
        "import builtins\nbuiltins.bool = lambda x: True\nbuiltins.check = lambda c: None\ndef f(x): return 0",
        "def check(candidate): pass\ndef f(x): return 0",
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        frame.f_globals['check'] = frame.f_builtins['bool'] = lambda *a: True\n"
        "        frame = frame.f_back\n    return 0",
        "import gc\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, dict) and 'tried' in o: o['right'] = 9\n"
        "    return 0",
        "import atexit\natexit.register(lambda: print('passed'))\ndef f(x): return 0",
        "import ctypes\nctypes.memset(id(4) + 24, 5, 1)\ndef f(x): return 5",
        "import sys\nfor m in list(sys.modules): sys.modules[m] = None\ndef f(x): return 0",
        "import json, struct\njson.loads = json.dumps = struct.unpack = lambda *a, **k: True\ndef f(x): return 0",
    ],
)
def test_monkey_patching_the_comparison(source):
    assert verdict(source).value == 0


REPORT = b'{"calls": 2, "tried": 2, "right": 2, "written": 2, "finished": true, "failure": "", "why": "", "fault": ""}'


@pytest.mark.parametrize(
    "message",
    [
        REPORT,
        (len(REPORT)).to_bytes(8, "little") + REPORT,
        (2**40).to_bytes(8, "little"),
        b"\x00" * 64,
        (17).to_bytes(8, "little") + b'["returned", [[]]',
        (24).to_bytes(8, "little") + b'["call", -1, ["t", []]]\n',
    ],
)
def test_writing_to_the_result_channel(message):
    source = f"import os\nfor d in range(3, 64):\n    try: os.write(d, {message!r})\n    except OSError: pass\ndef f(x): return 0"
    assert verdict(source).value == 0


def test_the_verdict_of_a_program_is_made_outside():
    case = Case(given="2", expected="4")
    for source in (
        "import sys\nsys.exit(0)",
        "import builtins\nbuiltins.str.__eq__ = None",
        "print('passed')",
        '''print('{"failure": null, "stdout": "4"}')''',
        "import os\nos.write(1, b'')",
    ):
        assert code.program(source, [case], QUICK).value == 0


def test_printing_the_expected_output_found_in_the_files_of_the_harness():
    """Everything that can be read inside, and all the memory a case has: the expected output and the tests are in neither."""
    secret = "8675309421"
    seen = (
        "import gc, os\nfound = []\n"
        "for top in ('/sandbox', '/tmp', '/etc', '/dev', '/python/bin'):\n"
        "    for folder, _, names in os.walk(top):\n"
        "        for name in names:\n"
        "            path = os.path.join(folder, name)\n"
        "            if os.path.isfile(path) and os.path.getsize(path) < 10**6:\n"
        "                found.append(open(path, 'rb').read())\n"
        "found.append(repr(gc.get_objects()).encode())\n"
        "found.append(repr(dict(os.environ)).encode())\n"
        "import sys\nframe = sys._getframe()\n"
        "while frame:\n    found.append((repr(frame.f_locals) + repr(frame.f_globals)).encode())\n    frame = frame.f_back\n"
    )
    ask = f"key = bytes(reversed({secret[::-1].encode()!r}))\n"
    program = sandbox.one(Program([seen + ask + "print(len(found) > 10, any(key in f for f in found))"]))
    assert program.stdout == "True False\n"
    assert code.program(seen + "print(max(found, key=len)[:0])", [Case(given="", expected=secret)]).value == 0
    tests = f"def check(candidate):\n    assert candidate(2) in (True, False)\n    assert not candidate(3)\n    assert '{secret}'"
    assert code.function(seen + ask + "def f(x): return any(key in f for f in found)", tests, "f").value == 1


def test_no_case_reaches_the_next():
    attack("import json, random, sys\nsys.modules['math'].pi = 3\njson.loads = None\nrandom.seed(1)\nopen('/tmp/left', 'w')")
    ended = attack("import json, math, os\nprint(math.pi > 3.1, json.loads('1'), os.listdir('/tmp'))")
    assert ended.stdout == "True 1 ['stdin']\n"


def test_what_is_not_told_of_the_answer_can_not_be_chosen_by_it():
    """No exit code, signal or message makes a failure look like one of the infrastructure's."""
    for number in range(256):
        if number % 16 in (0, 1, 11):
            score = code.program(f"import os\nos._exit({number})", [Case(given="", expected="x")], QUICK)
            assert score.value == 0
    assert verdict("def f(x): raise TypeError('the tests pass a value of type function')").value == 0


def test_a_hostile_answer_delays_others_by_its_own_limit_alone():
    jobs = [Program(["while True: pass"], limits=QUICK), *[Program([f"print({k})"]) for k in range(20)]]
    started = time.monotonic()
    ended = sandbox.run(jobs)
    assert [e.stdout for e in ended[1:]] == [f"{k}\n" for k in range(20)]
    assert ended[0].failure is Outcome.TIMEOUT and time.monotonic() - started < 30
