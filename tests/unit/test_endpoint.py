"""The client of chat endpoints, against a server of ours that misbehaves as told."""

from __future__ import annotations

import builtins
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server import Answer, chat, serve
from move37.endpoint import DOWN_AFTER, Client, Endpoint, Ledger, Reply, Request, _Again, read_reply
from move37.errors import RunError, UserError


def request(text="2+2?", **fields):
    return Request(messages=({"role": "user", "content": text},), **fields)


def client(url, ledger=None, sleep=lambda seconds: None, **settings):
    return Client(Endpoint(base_url=url, model="m", **{"pause_s": 0.001, **settings}), ledger, sleep)


def once(bad, times=1):
    """A script that misbehaves `times` times and then answers."""
    return lambda body, number: bad if number < times else chat("4")


def test_a_request_and_its_reply():
    with serve(lambda body, number: chat("4 it is")) as server:
        [reply] = client(server.url).ask([request(temperature=0.5, top_p=0.9, max_tokens=3, stop=("END",), seed=11)])
    assert reply == Reply(text="4 it is", prompt_tokens=7, completion_tokens=3)
    assert server.seen == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "2+2?"}],
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 3,
            "stop": ["END"],
            "seed": 11,
        }
    ]


def test_replies_come_in_order_and_equal_requests_are_asked_once():
    with serve(lambda body, number: chat(body["messages"][0]["content"].upper())) as server:
        replies = client(server.url).ask([request(text) for text in "abcabc"])
    assert [reply.text for reply in replies] == list("ABCABC") and len(server.seen) == 3


def test_samples_are_different_requests():
    with serve(lambda body, number: chat(str(number))) as server:
        replies = client(server.url, concurrency=1).ask([request(sample=0), request(sample=1)])
    assert [reply.text for reply in replies] == ["0", "1"]


@pytest.mark.parametrize(
    "bad",
    [
        Answer(b"busy", status=503),
        Answer(b"{}", status=500),
        Answer(b"slow down", status=429),
        Answer(b"<html>gateway</html>"),
        Answer(b'{"choices": []}'),
        Answer(b'{"choices": [{"message": null}]}'),
        Answer(b'{"choices": [{"message": {"content": null}}]}'),
        Answer(b'["no", "object"]'),
        Answer(b"[" * 100_000),
        Answer(b""),
        Answer(b'{"choices": [{"message": {"content": "4"}}]}', drop=True),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:30]!r}",
)
def test_what_passes_is_tried_again(bad):
    with serve(once(bad, 2)) as server:
        [reply] = client(server.url).ask([request()])
    assert reply.text == "4" and len(server.seen) == 3


def test_what_does_not_pass_has_a_clear_outcome():
    with serve(lambda body, number: Answer(b"out of order", status=503)) as server:
        [reply] = client(server.url, attempts=3).ask([request()])
    assert reply.text is None and not reply.paid and len(server.seen) == 3
    assert reply.why == "status 503: 'out of order' (3 attempts)"


@pytest.mark.parametrize(("status", "advice"), [(401, "set key_env"), (404, "are base_url=http"), (400, "too long")])
def test_what_would_fail_again_is_asked_once(status, advice):
    with serve(lambda body, number: Answer(b"too long", status=status)) as server:
        [reply] = client(server.url).ask([request()])
    assert reply.text is None and advice in reply.why and len(server.seen) == 1


def test_retry_after_is_obeyed_and_holds_everybody_back():
    pauses = []
    limited = Answer(b"", status=429, headers={"Retry-After": "17"})
    with serve(once(limited)) as server:
        replies = client(server.url, sleep=pauses.append, concurrency=1).ask([request("a"), request("b")])
    assert [reply.text for reply in replies] == ["4", "4"]
    # the first request waits for its next attempt, then both wait until the 17 seconds are over: nobody slept for real
    assert pauses[0] == 17 and len(pauses) == 3 and all(16 < pause <= 17 for pause in pauses[1:])


def test_pauses_grow():
    pauses = []
    with serve(lambda body, number: Answer(b"", status=500)) as server:
        client(server.url, sleep=pauses.append, attempts=9, pause_s=1.0).ask([request()])
    # full jitter: the pause before attempt n + 1 is uniform in [0, min(60, 2^(n-1))]
    assert len(pauses) == 8 and all(0 <= pause <= min(60, 2**n) for n, pause in enumerate(pauses))
    assert sum(pauses) > 4  # eight zeros would be no waiting at all: the chance of so little is below 1e-6


def test_a_server_that_does_not_answer_in_time():
    never = threading.Event()
    with serve(lambda body, number: Answer(b"", wait=never)) as server:
        [reply] = client(server.url, attempts=1, timeout_s=0.05).ask([request()])
        never.set()
    assert reply.text is None and "in 0.05 s" in reply.why


def test_nobody_there_is_found_out_once():
    with serve(lambda body, number: chat("")) as server:
        gone = server.url
    replies = client(gone, attempts=2, concurrency=1).ask([request(str(n)) for n in range(DOWN_AFTER + 3)])
    assert all(reply.text is None and "no connection to" in reply.why for reply in replies)
    assert [reply.why.startswith("not tried") for reply in replies] == [False] * DOWN_AFTER + [True] * 3


def test_truncated_and_thinking_are_told():
    told = chat("so 4", finish="length", reasoning="2 and 2")
    with serve(lambda body, number: told) as server:
        [reply] = client(server.url).ask([request()])
    assert reply.truncated and reply.text == "so 4" and reply.thinking == "2 and 2"
    older = read_reply(chat(None, finish="length", reasoning_content="2 and").body)
    assert older.text == "" and older.thinking == "2 and" and older.truncated


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["choices", "message", "content", "usage", "finish_reason"]), x),
    ).map(lambda v: json.dumps(v).encode())
)
def test_any_body_is_a_reply_or_another_attempt(body):
    try:
        assert isinstance(read_reply(body).text, str)
    except _Again as problem:
        assert str(problem)


# ------------------------------------------------------------------------------------------------------------- the key


def test_the_key_is_sent_and_written_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "s3cret")
    with serve(lambda body, number: chat("4")) as server:
        asker = client(server.url, tmp_path / "ledger.jsonl", key_env="SOME_KEY")
        asker.ask([request()])
    assert server.headers[0]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in (tmp_path / "ledger.jsonl").read_text() + repr(asker.endpoint)


def test_mistakes_of_the_user_are_told(monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(UserError, match="SOME_KEY"):
        client("http://h/v1", key_env="SOME_KEY")
    with pytest.raises(ValueError, match="http"):
        Endpoint(base_url="localhost:8000", model="m")
    with pytest.raises(ValueError, match="key_env"):
        Endpoint(base_url="http://me:secret@h/v1", model="m")


def test_without_the_libraries_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name == "tenacity":
            raise ModuleNotFoundError("No module named 'tenacity'", name="tenacity")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"needs tenacity; pip install 'move37\[endpoint\]'"):
        client("http://h/v1")


# ---------------------------------------------------------------------------------------------------------- the ledger


def test_what_is_finished_is_never_paid_again(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with serve(lambda body, number: Answer(b"", status=400) if body["messages"][0]["content"] == "bad" else chat("4")) as server:
        first = client(server.url, path).ask([request("a"), request("bad")])
        again = client(server.url, path).ask([request("a"), request("bad"), request("b")])
    assert [r["messages"][0]["content"] for r in server.seen].count("a") == 1
    assert [r["messages"][0]["content"] for r in server.seen].count("bad") == 2  # nothing came, nothing was paid
    assert first[0].paid and not again[0].paid and again[0].text == "4" and again[0].prompt_tokens == 7


def test_another_model_server_or_setting_is_another_request():
    here, there = Endpoint(base_url="http://a/v1/", model="m"), Endpoint(base_url="http://b/v1", model="m")
    other = Endpoint(base_url="http://a/v1", model="n")
    keys = [request().key(here), request().key(there), request().key(other), request(seed=1).key(here), request("3").key(here)]
    assert len(set(keys)) == 5
    assert request().key(here) == request().key(Endpoint(base_url="http://a/v1", model="m", timeout_s=1.0))


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_line_torn_by_a_kill_is_dropped(tmp_path, cut):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.put("a", Reply(text="1"))
    ledger.put("b", Reply(text="2"))
    path.write_bytes(path.read_bytes()[:-cut])
    mended = Ledger(path)
    assert mended.get("a") == Reply(text="1", paid=False) and mended.get("b") is None
    mended.put("c", Reply(text="3\n4"))
    assert Ledger(path).get("c").text == "3\n4" and len(Ledger(path)) == 2


def test_a_ledger_damaged_by_hand_is_told(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"key": "a", "text": "1"}\nnonsense\n')
    with pytest.raises(RunError, match="line 2"):
        Ledger(path)


KILLED = """
import sys
from pathlib import Path
from move37.endpoint import Client, Endpoint, Request
client = Client(Endpoint(base_url=sys.argv[1], model="m", concurrency=1), Path(sys.argv[2]))
client.ask([Request(messages=({"role": "user", "content": str(n)},)) for n in range(6)])
"""


def test_killed_in_between_only_the_rest_is_asked(tmp_path):
    held, reached = threading.Event(), threading.Event()

    def script(body, number):
        if number == 3:
            reached.set()
            return Answer(b"", wait=held)
        return chat("4")

    path = tmp_path / "ledger.jsonl"
    with serve(script) as server:
        source = str(Path(__file__).parents[2] / "src")
        command = [sys.executable, "-c", KILLED, server.url, str(path)]
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": source})
        assert reached.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        held.set()
        replies = client(server.url, path).ask([request(str(n)) for n in range(6)])
    assert [reply.text for reply in replies] == ["4"] * 6 and [reply.paid for reply in replies] == [False] * 3 + [True] * 3
    assert len(server.seen) == 7  # six, and the one that was in flight
