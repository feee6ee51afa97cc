"""The client believes what it can check, asks again what failed on the way, and tells what is wrong."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from tests.api.conftest import REPORT, entry

from tallystick.api import views
from tallystick.api.file_source import open_file
from tallystick.client import client as client_module
from tallystick.client import doors as client_doors
from tallystick.client.blocking import Client
from tallystick.client.client import AsyncClient
from tallystick.client.doors import AnswerProblem, Request, ask
from tallystick.ledger.encoding import encode
from tallystick.problems import DamagedStore, ExitCode, NotRunning

Lie = Callable[[dict[str, Any]], None]


class Lying(httpx.AsyncBaseTransport):
    """Passes requests on, and changes answers to paths that begin so."""

    def __init__(self, honest: httpx.AsyncBaseTransport, path: str, lie: Lie) -> None:
        self._honest, self._path, self._lie = honest, path, lie

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._honest.handle_async_request(request)
        if not request.url.path.startswith(self._path):
            return answer
        told = json.loads(await answer.aread())
        self._lie(told)
        return httpx.Response(200, json=told)


Wrap = Callable[[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport]


@asynccontextmanager
async def through(copy: Path, wrap: Wrap, *, is_file: bool = False) -> AsyncIterator[AsyncClient]:
    """A client of a file, through another transport."""
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(open_file(copy))
        transport = wrap(httpx.ASGITransport(app.asgi))
        http = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://liar"))
        ledger = await ask(http, Request("/v1/ledger"), views.Ledger)
        yield AsyncClient(http, ledger, None, stack, is_file=is_file)


@asynccontextmanager
async def lied_to(copy: Path, path: str, lie: Lie, *, is_file: bool = False) -> AsyncIterator[AsyncClient]:
    async with through(copy, lambda honest: Lying(honest, path, lie), is_file=is_file) as client:
        yield client


def put(*path: Any, value: Any) -> Lie:
    """A lie: this value at the end of this path."""

    def lie(told: dict[str, Any]) -> None:
        for key in path[:-1]:
            told = told[key]
        told[path[-1]] = value(told[path[-1]]) if callable(value) else value

    return lie


def flipped(text: str) -> str:
    """The same hex with its last bit turned."""
    return f"{text[:-1]}{int(text[-1], 16) ^ 1:x}"


FOUND = ("certificates", 0)


@pytest.mark.parametrize(
    ("path", "lie"),
    [
        ("/v1/files", put(*FOUND, "encoded", value=flipped)),
        ("/v1/files", put(*FOUND, "payload", "encoded", value=flipped)),
        ("/v1/files", put(*FOUND, "payload", value=None)),
        ("/v1/files", put(*FOUND, "subject", value="Diploma")),
        ("/v1/files", put(*FOUND, "timestamp_ms", value=1)),
        ("/v1/files", put(*FOUND, "issuer", "key", value=flipped)),
        ("/v1/files", put(*FOUND, "id", value=flipped)),
        ("/v1/files", put(*FOUND, "encoded", value="zz")),
        ("/v1/files", put("certificates", value="all of them")),
    ],
)
def test_no_lie_about_a_file_is_believed(doors: Any, path: str, lie: Lie) -> None:
    async def look() -> None:
        async with lied_to(doors.copy, path, lie) as client:
            with pytest.raises(DamagedStore):
                await client.statements_of(doors.report)

    asyncio.run(look())


def test_another_certificate_than_the_one_asked_for_is_not_taken(doors: Any) -> None:
    other = doors.ids[1]

    async def look() -> None:
        def lie(told: dict[str, Any]) -> None:
            told.update(_certificate(doors, other))

        async with lied_to(doors.copy, "/v1/certificates", lie) as client:
            with pytest.raises(DamagedStore):
                await client.certificate(doors.ids[0])

    asyncio.run(look())


def _certificate(doors: Any, one: str) -> dict[str, Any]:
    with doors.remote() as remote:
        found: dict[str, Any] = remote.get(f"/v1/certificates/{one}").json()
        return found


def test_a_client_speaks_for_one_ledger(doors: Any) -> None:
    with Client(doors.url, ledger_id=doors.ledger_id.hex()) as client:
        assert client.ledger().ledger_id == doors.ledger_id.hex()
    with pytest.raises(DamagedStore, match="not the one that was named"):
        Client(doors.url, ledger_id="0" * 64)

    async def changed() -> None:
        answers = iter([doors.ledger_id.hex(), "0" * 64])
        async with lied_to(doors.copy, "/v1/ledger", lambda told: told.update(ledger_id=next(answers))) as client:
            with pytest.raises(DamagedStore, match="another ledger now"):
                await client.ledger()

    asyncio.run(changed())


@pytest.mark.parametrize("told", [[], ["0" * 64, "1" * 64], ["1" * 64]])
def test_outcomes_of_others_than_were_asked_about_are_not_taken(doors: Any, told: list[str]) -> None:
    outcomes = [{"id": one, "state": "unknown"} for one in told]

    def lie(answer: dict[str, Any]) -> None:
        answer.clear()
        answer.update(schema=1, outcomes=outcomes)

    async def ask_for() -> None:
        async with lied_to(doors.copy, "/v1/outcomes", lie) as client:
            with pytest.raises(DamagedStore, match="other certificates"):
                await client.wait(["0" * 64])
        async with lied_to(doors.copy, "/v1/certificates", lie) as client:
            with pytest.raises(DamagedStore, match="other certificates"):
                await client.submit([encode(entry(doors.ledger_id, "one"))])

    asyncio.run(ask_for())


def test_where_nobody_answers_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="tallystick run --data"):
        Client(tmp_path)
    with pytest.raises(NotRunning, match=r"127\.0\.0\.1:1 cannot be asked"):
        Client("http://127.0.0.1:1")


# ---- asking again ---------------------------------------------------------------------------------------------------


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_doors, "_FIRST_PAUSE_S", 0.0)


def asked(answers: list[Any], request: Request) -> tuple[views.Done, list[httpx.Request]]:
    """Ask a door that answers like this, one after the other."""
    seen: list[httpx.Request] = []

    def handle(one: httpx.Request) -> httpx.Response:
        seen.append(one)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, httpx.Response)
        return answer

    async def go() -> views.Done:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle), base_url="http://door") as http:
            return await ask(http, request, views.Done)

    return asyncio.run(go()), seen


def busy() -> httpx.Response:
    told = {"type": "t", "title": "t", "status": 503, "detail": "later", "code": "busy", "exit_code": 4}
    return httpx.Response(503, json=told)


def done() -> httpx.Response:
    return httpx.Response(200, json={"schema": 1})


def test_what_failed_on_the_way_is_asked_again(no_pause: None) -> None:
    broken = [httpx.ConnectError("refused"), httpx.ReadError("cut off"), busy(), done()]
    _, seen = asked(broken, Request("/v1/thing"))
    assert len(seen) == 4
    with pytest.raises(NotRunning):
        asked([httpx.ConnectError("refused")] * 5, Request("/v1/thing"))
    with pytest.raises(AnswerProblem, match="later"):
        asked([busy() for _ in range(5)], Request("/v1/thing"))


def test_what_is_compressed_is_refused_before_it_is_opened(no_pause: None) -> None:
    """It has no bound before that; a door is asked not to."""
    packed = httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=gzip.compress(b'{"schema": 1}'))
    with pytest.raises(DamagedStore, match="answers compressed, though it was asked not to"):
        asked([packed], Request("/v1/thing"))
    _, (request,) = asked([done()], Request("/v1/thing"))
    assert request.headers["accept-encoding"] == "identity"


def test_who_asks_too_fast_waits_as_long_as_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []

    async def pause(pause_s: float) -> None:
        paused.append(pause_s)

    monkeypatch.setattr(asyncio, "sleep", pause)
    told = ["6", "999999999", "9" * 5_000, "soon"]
    fast = [httpx.Response(429, json=too_many().json(), headers={"Retry-After": one}) for one in told]
    asked([*fast, done()], Request("/v1/thing"))
    assert [wait_s < pause_s < wait_s + 2 for wait_s, pause_s in zip((6, 10, 0, 0), paused, strict=True)] == [True] * 4


def test_what_must_not_happen_twice_is_asked_once(no_pause: None) -> None:
    with pytest.raises(NotRunning):
        asked([httpx.ReadError("cut off"), done()], Request("/v1/stake", "POST", is_repeatable=False))


class Breaking(httpx.AsyncBaseTransport):
    """Passes requests on, but for the first ones to some paths: so many, that fail or are answered so."""

    def __init__(self, answer: Callable[[], httpx.Response] | None = None, **failures: int) -> None:
        self._answer, self.failures = answer, failures
        self._honest = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        what = request.url.path.rpartition("/")[2]
        if self.failures.get(what):
            self.failures[what] -= 1
            if self._answer is not None:
                return self._answer()
            raise httpx.ReadError("cut off")
        return await self._honest.handle_async_request(request)

    async def aclose(self) -> None:
        await self._honest.aclose()


def not_running() -> httpx.Response:
    return httpx.Response(503, json={**busy().json(), "code": "not-running"})


def too_many() -> httpx.Response:
    return httpx.Response(429, json={**busy().json(), "status": 429, "code": "too-many-requests"})


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("answer", [None, busy, not_running, too_many])
def test_who_follows_goes_on_where_the_connection_broke(
    doors: Any,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[], httpx.Response] | None,
) -> None:
    monkeypatch.setattr(client_module, "_RECONNECT_S", 0.0)
    broken = Breaking(answer, events=2, log=client_doors._ATTEMPTS + 1)

    async def heard() -> list[int]:
        async with httpx.AsyncClient(transport=broken, base_url=doors.url) as http:
            ledger = await ask(http, Request("/v1/ledger"), views.Ledger)
            client = AsyncClient(http, ledger, None, AsyncExitStack(), is_file=False)
            async with aclosing(client.follow(0)) as following:
                return [(await anext(following)).place.log_index for _ in range(3)]

    assert asyncio.run(heard()) == [0, 1, 2]
    assert not any(broken.failures.values())


def test_who_finds_a_node_busy_again_and_again_comes_back_later_each_time(
    doors: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(client_module, "asyncio", SimpleNamespace(sleep=sleep))

    async def follow() -> None:
        async with httpx.AsyncClient(transport=Breaking(busy, events=7), base_url=doors.url) as http:
            ledger = await ask(http, Request("/v1/ledger"), views.Ledger)
            client = AsyncClient(http, ledger, None, AsyncExitStack(), is_file=False)
            async with aclosing(client.follow(0)) as following:
                await anext(following)

    asyncio.run(follow())
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_who_follows_no_longer_holds_no_connection(doors: Any) -> None:
    class Events(httpx.AsyncByteStream):
        is_closed = False

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"data: {}\n\n"
            await asyncio.Event().wait()

        async def aclose(self) -> None:
            self.is_closed = True

    events = Events()

    class Streaming(Breaking):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/v1/events":
                return httpx.Response(200, stream=events)
            return await super().handle_async_request(request)

    async def follow() -> None:
        async with httpx.AsyncClient(transport=Streaming(), base_url=doors.url) as http:
            ledger = await ask(http, Request("/v1/ledger"), views.Ledger)
            following = AsyncClient(http, ledger, None, AsyncExitStack(), is_file=False).follow(0)
            await anext(following)
            assert not events.is_closed
            await following.aclose()
            assert events.is_closed

    asyncio.run(follow())


class Replaced(Breaking):
    """Passes requests on, until in the place of the node there is one of another ledger, with a log of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.is_replaced = False
        self.news = asyncio.Event()

    async def _events(self) -> AsyncIterator[bytes]:
        yield b": still here\n\n"
        await self.news.wait()
        yield b"data: {}\n\n"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/events":
            return httpx.Response(200, content=self._events())
        if self.is_replaced and request.url.path == "/v1/log":
            request = httpx.Request("GET", request.url.copy_set_param("cursor", "0"), headers=request.headers)
        answer = await super().handle_async_request(request)
        if self.is_replaced and request.url.path == "/v1/ledger":
            return httpx.Response(200, json={**json.loads(await answer.aread()), "ledger_id": "ab" * 32})
        return answer


@pytest.mark.parametrize("is_connected", [False, True])
def test_who_follows_is_told_when_a_node_of_another_ledger_answers(doors: Any, is_connected: bool) -> None:
    async def follow() -> None:
        replaced = Replaced()
        async with httpx.AsyncClient(transport=replaced, base_url=doors.url) as http:
            ledger = await ask(http, Request("/v1/ledger"), views.Ledger)
            client = AsyncClient(http, ledger, None, AsyncExitStack(), is_file=False)
            async with aclosing(client.follow(ledger.log_size - 1)) as following:
                if is_connected:
                    assert (await anext(following)).place.log_index == ledger.log_size - 1
                replaced.is_replaced = True
                replaced.news.set()
                with pytest.raises(DamagedStore, match="another ledger"):
                    await anext(following)

    asyncio.run(follow())


@pytest.mark.parametrize("log_index", [0, 3])
def test_who_follows_is_told_when_the_log_has_a_gap(doors: Any, log_index: int) -> None:
    async def follow() -> None:
        lie = put("certificates", 1, "place", "log_index", value=log_index)
        async with (
            httpx.AsyncHTTPTransport() as honest,
            httpx.AsyncClient(transport=Lying(honest, "/v1/log", lie), base_url=doors.url) as http,
        ):
            ledger = await ask(http, Request("/v1/ledger"), views.Ledger)
            client = AsyncClient(http, ledger, None, AsyncExitStack(), is_file=False)
            async with aclosing(client.follow(1)) as following:
                assert (await anext(following)).place.log_index == 1
                with pytest.raises(DamagedStore, match=f"goes on with {log_index}, not 2"):
                    await anext(following)

    asyncio.run(follow())


def test_a_file_says_that_no_node_runs(doors: Any) -> None:
    with Client(doors.copy) as client:
        for ask_it in (client.status, client.peers, lambda: next(client.follow(0))):
            with pytest.raises(NotRunning, match="tallystick run"):
                ask_it()


def test_an_answer_that_is_none_is_told(no_pause: None) -> None:
    for answer in (
        httpx.Response(200, text="<html>"),
        httpx.Response(404, text="<html>"),
        httpx.Response(200, json=[]),
    ):
        with pytest.raises(DamagedStore):
            asked([answer], Request("/v1/thing"))


def test_a_problem_keeps_its_code_and_exit_code(doors: Any) -> None:
    with Client(doors.url) as client:
        with pytest.raises(AnswerProblem) as told:
            client.certificate("00000000")
        assert (told.value.code, told.value.exit_code) == ("not-there", ExitCode.NOT_THERE)
        with pytest.raises(AnswerProblem) as told:
            client.invite()
        assert told.value.code == "no-such-route"


def test_it_certifies_from_another_machine_with_a_key_of_its_own(doors: Any, tmp_path: Path) -> None:
    from tallystick.ledger.wallet import Wallet  # noqa: PLC0415

    wallet = Wallet(b"w" * 32)
    file = tmp_path / "deed.txt"
    file.write_bytes(REPORT[:-1])
    with Client(doors.url, wallet=wallet) as client:
        outcome = client.certify(file, note="by hand")
        assert outcome.state == "final"
        (found,) = client.statements_of(file)
        assert found.issuer.key == wallet.public_key.hex()
        assert found.payload is not None
        assert found.payload.file is not None
        assert found.payload.file.note == "by hand"
        file.write_bytes(REPORT[:-2])
        assert client.statements_of(file) == []
