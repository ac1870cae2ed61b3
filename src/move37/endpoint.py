"""Any OpenAI-compatible chat endpoint: many requests at once, patient with failures, and nothing paid twice.

Judges and the evaluation of remote models ask through here. Whatever an endpoint does (down, slow, rate-limited,
5xx, garbage, no choices) a request is tried again with a growing pause and then has a clear outcome: a `Reply` without
text, and why. Finished requests are lines of a ledger; the same request is answered from it, also after a kill.

The key is read from the environment variable that `key_env` names. It is sent, and written nowhere.

Example:
    >>> client = Client(Endpoint(base_url="http://localhost:8000/v1", model="judge"), ledger=Path("ledger.jsonl"))
    >>> [reply] = client.ask([Request(messages=({"role": "user", "content": "2+2?"},))])
    >>> reply.text
    '4'
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Protocol

from pydantic import Field
from pydantic.dataclasses import dataclass as options

from move37.errors import RunError, UserError
from move37.files import append_line
from move37.options import STRICT

LARGEST = 64 << 20  # bytes of one reply; more is no chat completion
DOWN_AFTER = 3  # requests in a row without any connection, all attempts used: the rest of the call is not tried
LONGEST_PAUSE_S = 60.0
RETRIED = frozenset({408, 409, 425, 429, *range(500, 600)})

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


@options(frozen=True, kw_only=True, config=STRICT)
class Endpoint:
    """Where to ask, and how patiently. `base_url` is what comes before `/chat/completions`."""

    base_url: str
    model: str
    key_env: str = ""  # environment variable that holds the key; empty: none is sent
    timeout_s: Seconds = 120.0  # of one attempt, from sending to the last byte
    attempts: Count = 6
    pause_s: Seconds = 0.5  # before the second attempt; doubles, with jitter, up to a minute. Retry-After is obeyed
    concurrency: Count = 8  # requests in flight

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError("base_url must begin with http:// or https://")
        if "@" in self.base_url:
            raise ValueError("base_url must hold no user or password; name the key's environment variable in key_env")

    def key(self) -> str | None:
        """The key, from the environment.

        Raises:
            UserError: the variable is not set.
        """
        if not self.key_env:
            return None
        if not os.environ.get(self.key_env):
            raise UserError(f"key_env={self.key_env!r}: that environment variable is not set; export {self.key_env}=...")
        return os.environ[self.key_env]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One chat completion. `sample` tells repetitions of the same prompt apart."""

    messages: tuple[dict[str, str], ...]
    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    seed: int | None = None
    sample: int = 0

    def body(self, model: str) -> dict[str, Any]:
        """What is sent."""
        sent: dict[str, Any] = {
            "model": model,
            "messages": list(self.messages),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
        }
        if self.stop:
            sent["stop"] = list(self.stop)
        if self.seed is not None:
            sent["seed"] = self.seed
        return sent

    def key(self, endpoint: Endpoint) -> str:
        """sha256 of everything that decides the reply: where, what, which repetition."""
        told = {"url": endpoint.base_url.rstrip("/"), "sample": self.sample, **self.body(endpoint.model)}
        return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back. `text` is None where nothing did; then `why` says so in a few words."""

    text: str | None = None
    thinking: str | None = None  # where the server parts it from the text (`reasoning`, `reasoning_content`)
    truncated: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    why: str = ""
    refused: bool = False  # no text, and the same request would get none another time
    connected: bool = True  # False: no text, because nobody was there
    paid: bool = True  # False: from the ledger

    @classmethod
    def none(cls, why: str, *, refused: bool = False, connected: bool = True) -> Reply:
        return cls(why=why, refused=refused, connected=connected, paid=False)


class Asker(Protocol):
    """Whoever answers chat requests: a client of an endpoint, a local checkpoint, a script in a test."""

    def ask(self, requests: Sequence[Request]) -> list[Reply]: ...


class Ledger:
    """Finished requests, one line each, never rewritten. Safe for several threads and processes, and after a kill.

    Only the places of the lines are kept in memory. Without a file nothing is remembered.
    """

    def __init__(self, path: Path | None) -> None:
        """Raises RunError where the file was damaged by something else than a kill."""
        self.path = path
        self._lock = threading.Lock()
        self._places: dict[str, int] = {}  # key -> first byte of its line
        if path is not None and path.exists():
            with _held(path) as file:
                self._read(path, file)

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Reply | None:
        if self.path is None or key not in self._places:
            return None
        with open(self.path, "rb") as file:
            file.seek(self._places[key])
            told = json.loads(file.readline())
        del told["key"]
        return Reply(**told, paid=False)

    def put(self, key: str, reply: Reply) -> None:
        if self.path is None:
            return
        told = {k: v for k, v in asdict(reply).items() if k not in ("why", "refused", "connected", "paid")}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, _held(self.path) as file:
            place = file.seek(0, os.SEEK_END)
            append_line(self.path, json.dumps({"key": key, **told}, ensure_ascii=False))
            self._places[key] = place

    def _read(self, path: Path, file: BinaryIO) -> None:
        place = 0
        file.seek(0)
        for number, line in enumerate(file, 1):
            try:
                self._places[json.loads(line)["key"]] = place
            except (ValueError, KeyError, TypeError):
                raise RunError(f"{path}: line {number} is damaged; a kill does not do that. Repair or remove the line") from None
            place += len(line)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[BinaryIO]:
    """The file to ourselves, without the half line that a killed process may have left at its end."""
    with open(path, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        whole = size = file.seek(0, os.SEEK_END)
        while whole and _byte(file, whole - 1) != b"\n":
            whole -= 1
        if whole < size:
            file.truncate(whole)
        yield file


def _byte(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(1)


class Client:
    """Asks one endpoint.

    Raises (when made):
        UserError: the libraries are not installed, or the key's variable is not set.
    """

    def __init__(self, endpoint: Endpoint, ledger: Path | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        """`sleep` is for tests."""
        try:
            import httpx2
            import tenacity  # noqa: F401
        except ImportError as problem:
            raise UserError(f"asking an endpoint needs {problem.name}; pip install 'move37[endpoint]'") from None
        self.endpoint = endpoint
        self.ledger = Ledger(ledger)
        key = endpoint.key()
        self._http = httpx2.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=endpoint.timeout_s,
            limits=httpx2.Limits(max_connections=endpoint.concurrency),
        )
        self._sleep = sleep
        self._quiet_until = 0.0  # a rate limit met by one request holds all of them back

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in order; equal requests are asked once. Never raises for what an endpoint does."""
        keys = [request.key(self.endpoint) for request in requests]
        todo = {key: request for key, request in zip(keys, requests, strict=True) if self.ledger.get(key) is None}
        down = _Down()
        pool = ThreadPoolExecutor(self.endpoint.concurrency)
        try:
            done = dict(zip(todo, pool.map(lambda pair: self._one(*pair, down), todo.items()), strict=True))
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C only what is in flight is waited for
        return [done.get(key) or self.ledger.get(key) or Reply.none("lost") for key in keys]

    def close(self) -> None:
        self._http.close()

    # ------------------------------------------------------------------------------------------------- one request

    def _one(self, key: str, request: Request, down: _Down) -> Reply:
        import tenacity

        if down.count >= DOWN_AFTER:
            told = f"not tried: no connection to {self.endpoint.base_url} in {down.count} requests before it"
            return Reply.none(told, connected=False)
        retry = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.endpoint.attempts),
            wait=self._pause(tenacity.wait_random_exponential(self.endpoint.pause_s, LONGEST_PAUSE_S)),
            retry=tenacity.retry_if_exception_type(_Again),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            reply = retry(self._attempt, request)
        except _Again as problem:
            down.count = down.count + 1 if problem.unconnected else 0
            return Reply.none(f"{problem} ({self.endpoint.attempts} attempts)", connected=not problem.unconnected)
        except _Never as problem:
            return Reply.none(str(problem), refused=True)
        down.count = 0
        self.ledger.put(key, reply)
        return reply

    def _pause(self, growing: Callable[[Any], float]) -> Callable[[Any], float]:
        """Seconds before the next attempt: what the server asks for, or a growing random pause."""

        def pause(state: Any) -> float:
            problem = state.outcome.exception()
            return min(problem.after, LONGEST_PAUSE_S) if problem.after is not None else growing(state)

        return pause

    def _attempt(self, request: Request) -> Reply:
        wait = self._quiet_until - time.monotonic()
        if wait > 0:
            self._sleep(wait)
        status, headers, body = self._post(request)
        if status in RETRIED:
            after = retry_after(headers.get("retry-after"))
            if status == 429 and after is not None:
                self._quiet_until = time.monotonic() + min(after, LONGEST_PAUSE_S)
            raise _Again(f"status {status}: {_short(body)}", after)
        if status != 200:
            raise _Never(f"status {status}: {_short(body)}{_advice(status, self.endpoint)}")
        return read_reply(body)

    def _post(self, request: Request) -> tuple[int, Any, bytes]:
        """The whole answer, within the time and size limits: a server that drips is cut off too."""
        import httpx2

        until = time.monotonic() + self.endpoint.timeout_s
        url = f"{self.endpoint.base_url.rstrip('/')}/chat/completions"
        body = bytearray()
        try:
            with self._http.stream("POST", url, json=request.body(self.endpoint.model)) as response:
                for part in response.iter_bytes():
                    body += part
                    if len(body) > LARGEST:
                        raise _Again(f"a reply of more than {LARGEST >> 20} MB")
                    if time.monotonic() > until:
                        raise _Again(f"no whole reply in {self.endpoint.timeout_s:g} s")
                return response.status_code, response.headers, bytes(body)
        except httpx2.TimeoutException:
            raise _Again(f"no reply in {self.endpoint.timeout_s:g} s") from None
        except httpx2.ConnectError as problem:
            raise _Again(f"no connection to {url}: {problem}", unconnected=True) from None
        except httpx2.InvalidURL as problem:
            raise _Never(f"base_url={self.endpoint.base_url!r} is no address: {problem}") from None
        except httpx2.HTTPError as problem:
            raise _Again(f"{type(problem).__name__}: {problem}") from None


@dataclass(slots=True)
class _Down:
    """Requests in a row that found nobody at all."""

    count: int = 0


class _Again(Exception):
    """Worth another attempt."""

    def __init__(self, why: str, after: float | None = None, unconnected: bool = False) -> None:
        super().__init__(why)
        self.after = after
        self.unconnected = unconnected


class _Never(Exception):
    """The same request would fail again."""


# ------------------------------------------------------------------------------------------------------------ reading


def read_reply(body: bytes) -> Reply:
    """The first choice of a chat completion.

    Raises:
        _Again: no JSON, no choices, no text: seen from overloaded servers and proxies, and gone at the next attempt.
    """
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise _Again(f"the reply is no JSON: {_short(body)}") from None
    choices = told.get("choices") if isinstance(told, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _Again(f"the reply has no choices: {_short(body)}")
    message = choices[0].get("message")
    message = message if isinstance(message, dict) else {}
    text, thinking = message.get("content"), message.get("reasoning") or message.get("reasoning_content")
    truncated = choices[0].get("finish_reason") == "length"
    if not isinstance(text, str) and not (truncated and isinstance(thinking, str)):  # cut off within the thought
        raise _Again(f"the reply has no text: {_short(body)}")
    usage = told.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        text=text if isinstance(text, str) else "",
        thinking=thinking if isinstance(thinking, str) else None,
        truncated=truncated,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def retry_after(text: str | None) -> float | None:
    """Seconds of a Retry-After header; None where there is none, or a date (few send one)."""
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _short(body: bytes) -> str:
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return repr(text[:120]) if text else "empty"


def _advice(status: int, endpoint: Endpoint) -> str:
    if status in (401, 403):
        return f"; is the key in {endpoint.key_env} right?" if endpoint.key_env else "; it wants a key: set key_env"
    if status == 404:
        return f"; are base_url={endpoint.base_url} (often it ends in /v1) and model={endpoint.model!r} right?"
    return ""
