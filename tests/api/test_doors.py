"""The doors of a node: the same answers at each, and nobody in who may not."""

import asyncio
import json
import stat
from contextlib import ExitStack

import httpx
import msgspec
import pytest
from tests.api.conftest import Doors, body, entry

from tallystick.api.app import App, TcpDoor
from tallystick.api.file_source import open_file
from tallystick.api.verify_page import PAGE
from tallystick.client.blocking import Client
from tallystick.ledger.wallet import Wallet
from tallystick.problems import Problem

CHAIN = (
    "/v1/ledger",
    "/v1/blocks",
    "/v1/blocks?limit=3&cursor=20",
    "/v1/blocks/0",
    "/v1/blocks/7",
    "/v1/blocks/7?encoded=true",
    "/v1/blocks/9999",
    "/v1/blocks/-1",
    "/v1/log",
    "/v1/log?limit=4&cursor=8",
    "/v1/log?cursor=9007199254740991",
    "/v1/log?cursor=9007199254740992",
    "/v1/members",
    "/v1/members/node-1",
    "/v1/members/nobody",
    "/v1/organisations",
    "/v1/organisations/nobody",
    "/v1/organisations/NOBODY",
    "/v1/motions?limit=3&cursor=2",
    "/v1/motions/00000000",
    "/v1/search?text=diploma",
    "/v1/search?text=diploma&limit=3",
    "/v1/search?text=arch&prefix=true",
    "/v1/search?kind=stake",
    "/v1/search?first_block=3&last_block=5",
    "/v1/search?media_type=text/plain&limit=2&cursor=9",
    "/v1/search?text=%22%29%20OR%20words",
)
LIVE = ("/v1/status", "/v1/peers", "/v1/events")


async def file_answers(doors: Doors, paths: tuple[str, ...]) -> list[tuple[int, bytes]]:
    async with (
        open_file(doors.copy) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://file") as client,
    ):
        return [((answer := await client.get(path)).status_code, answer.content) for path in paths]


def test_the_same_question_has_the_same_answer_at_every_door(doors: Doors) -> None:
    (sha256,) = {one.payload.file.sha256 for one in _verified(doors)}
    paths = (
        *CHAIN,
        f"/v1/files/{sha256}",
        *(f"/v1/certificates/{one}" for one in doors.ids[:3]),
        *(f"/v1/certificates/{one}/validity?at_ms=1" for one in (doors.ids[0], doors.ids[-1])),
        "/v1/certificates/00000000",
    )
    with doors.local() as local, doors.remote() as remote:
        near = [((one := local.get(path)).status_code, one.content) for path in paths]
        far = [((one := remote.get(path)).status_code, one.content) for path in paths]
    assert near == far
    assert near == asyncio.run(file_answers(doors, paths))
    assert {status for status, _ in near} == {200, 400, 404}


def _verified(doors: Doors) -> list:
    with Client(doors.node.folder.path) as client:
        return client.statements_of(doors.report)


def test_a_file_says_that_no_node_runs(doors: Doors) -> None:
    for status, content in asyncio.run(file_answers(doors, LIVE)):
        problem = json.loads(content)
        assert (status, problem["code"], problem["exit_code"]) == (503, "not-running", 3)
        assert "tallystick run" in problem["detail"]


def test_only_the_nodes_user_opens_its_own_door(doors: Doors) -> None:
    assert stat.S_IMODE(doors.node.folder.api_path.stat().st_mode) == 0o600
    only_local = [("POST", "/v1/sign"), ("POST", "/v1/stake"), ("POST", "/v1/invite"), ("POST", "/v1/backup")]
    only_local += [("POST", "/v1/decisions"), ("POST", "/v1/admissions")]
    only_local += [
        ("DELETE", f"/v1/bans/{'0' * 64}"),
        ("DELETE", f"/v1/payloads/{'0' * 64}"),
        ("PUT", f"/v1/names/{'0' * 64}"),
    ]
    with doors.remote() as remote:
        for method, path in only_local:
            answer = remote.request(method, path, json={})
            assert (answer.status_code, answer.json()["code"]) == (404, "no-such-route"), path


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Host": "ledger.example.org"}, 200),
        ({"Host": "LEDGER.example.org"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "ledger.example.org", "Origin": "https://ledger.example.org"}, 200),
        ({"Accept": "text/html"}, 200),
        ({"X-Forwarded-For": "10.0.0.1"}, 200),
    ],
)
def test_a_browser_is_kept_out(doors: Doors, headers: dict[str, str], status: int) -> None:
    with doors.remote(**headers) as remote:
        answer = remote.get("/v1/ledger")
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "not-allowed"


def test_search_over_tcp_is_off_unless_asked_for(doors: Doors) -> None:
    async def ask() -> httpx.Response:
        async with open_file(doors.copy) as app:
            shut = App(app.reader, TcpDoor("file", 80, ("file",)))
            async with httpx.AsyncClient(transport=httpx.ASGITransport(shut.asgi), base_url="http://file") as client:
                assert (await client.get(f"/v1/certificates/{doors.ids[0]}")).status_code == 200
                return await client.get("/v1/search?text=diploma")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["code"]) == (403, "not-allowed")


# ---- submissions ----------------------------------------------------------------------------------------------------


def test_submission_is_idempotent(doors: Doors) -> None:
    one = entry(doors.ledger_id, "once")
    with doors.remote() as remote:
        first = remote.post("/v1/certificates", json=body(one, one, wait_ms=20_000)).json()["outcomes"]
        again = remote.post("/v1/certificates", json=body(one)).json()["outcomes"]
        assert [outcome["state"] for outcome in first + again] == ["final"] * 3
        assert first[0] == first[1] == again[0]
        places = remote.get("/v1/search?text=once").json()["certificates"]
        assert len(places) <= 1


def test_a_bad_signature_is_told_to_its_sender_and_to_nobody_else(doors: Doors) -> None:
    good = entry(doors.ledger_id, "signed well")
    bad = msgspec.structs.replace(good, certificate=msgspec.structs.replace(good.certificate, signature=bytes(64)))
    assert bad.certificate.id == good.certificate.id
    with doors.remote() as remote:
        (told,) = remote.post("/v1/certificates", json=body(bad)).json()["outcomes"]
        assert (told["state"], told["rule"]) == ("refused", "C1")
        path = f"/v1/outcomes/{good.certificate.id.hex()}"
        assert remote.get(path).json()["outcomes"][0]["state"] == "unknown"
        (told,) = remote.post("/v1/certificates", json=body(good, wait_ms=20_000)).json()["outcomes"]
        assert told["state"] == "final"
        assert remote.get(path).json()["outcomes"][0]["state"] == "final"


def test_a_refusal_is_kept_and_a_batch_is_judged_one_by_one(doors: Doors) -> None:
    good = entry(doors.ledger_id, "in time")
    late = entry(doors.ledger_id, "of the future", at_ms=4_000_000_000_000)
    foreign = entry(bytes(32), "of another ledger")
    with doors.remote() as remote:
        told = remote.post("/v1/certificates", json=body(good, late, foreign, wait_ms=20_000)).json()["outcomes"]
        assert [(one["state"], one["rule"]) for one in told] == [("final", None), ("refused", "C2"), ("refused", "C1")]
        kept = remote.get(f"/v1/outcomes/{late.certificate.id.hex()}").json()["outcomes"][0]
        assert kept == told[1]
        assert "clock" in kept["reason"] or "ahead" in kept["reason"]


# ---- what is no request ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/log?cursor=x", 400),
        ("/v1/log?cursor=-1", 400),
        ("/v1/log?limit=1001", 400),
        ("/v1/log?limit=1&limit=2", 400),
        ("/v1/search?issuer=abc", 400),
        ("/v1/search?text=" + "x" * 300, 400),
        ("/v1/search?first_block=" + "9" * 30, 400),
        ("/v1/certificates/zzzzzzzz", 400),
        ("/v1/certificates/abc", 400),
        ("/v1/certificates/..%2f..%2fkey", 404),
        ("/v1/../../key", 404),
        ("/v1/files/..%2Fkey", 404),
        ("/v1/files/ABCD", 400),
        ("/v1/blocks/1e3", 400),
        ("/v1/blocks/%D9%A3", 400),
        ("/v1/members/%00", 404),
        ("/v1/outcomes/" + "g" * 64, 400),
        ("/v1/certificates/abcdef123%0A", 400),
        ("/v1/certificates/" + "0" * 64 + "%0A", 400),
        ("/v1/files/" + "0" * 64 + "%0A", 400),
        ("/v1/files/" + "0" * 64 + "?size_bytes=1%0A", 400),
        ("/v1/outcomes/" + "0" * 64 + "%0A", 400),
        ("/v1/outcomes/" + "0" * 64 + "?wait_ms=1%0A", 400),
        ("/v1/members/node-1%0A", 404),
        ("/v1/blocks/1%0A", 400),
        ("/v1/blocks/1?encoded=true%0A", 400),
        ("/v1/log?limit=1%0A", 400),
        ("/v1/log?cursor=1%0A", 400),
        ("/v1/search?issuer=" + "0" * 64 + "%0A", 400),
        ("/v1/search?sha256=" + "0" * 64 + "%0A", 400),
        ("/v1/search?kind=stake%0A", 400),
        ("/v1/search?prefix=true%0A", 400),
        *((f"/v1/search?{name}=1%0A", 400) for name in ("since_ms", "until_ms", "first_block", "last_block")),
        ("/v2/ledger", 404),
        ("/", 404),
    ],
)
def test_what_is_no_question_is_told_as_a_problem(doors: Doors, path: str, status: int) -> None:
    with doors.local() as local:
        answer = local.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"].startswith("urn:tallystick:problem:")
    assert problem["detail"]


@pytest.mark.parametrize(("method", "what"), [("DELETE", "bans"), ("DELETE", "payloads"), ("PUT", "names")])
def test_a_line_break_does_not_belong_to_a_key_or_hash(doors: Doors, method: str, what: str) -> None:
    with doors.local() as local:
        answer = local.request(method, f"/v1/{what}/{'0' * 64}%0A", json={"name": "Nobody"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")


@pytest.mark.parametrize(("name", "words"), [("copy.db", "exists already"), ("nowhere/copy.db", "cannot be made")])
def test_a_backup_that_cannot_stand_there_is_its_askers_mistake(doors: Doors, name: str, words: str) -> None:
    with doors.local() as local:
        answer = local.post("/v1/backup", json={"path": str(doors.copy.parent / name)})
    assert (answer.status_code, answer.json()["code"], answer.json()["exit_code"]) == (409, "unusable", 2)
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    ("media_type", "content", "code"),
    [
        ("application/json", b"{", "bad-request"),
        ("application/json", b"[]", "bad-request"),
        ("application/json", b'{"entries":[]}', "bad-request"),
        ("application/json", b'{"entries":["zz"]}', "bad-request"),
        ("application/json", b'{"entries":["00"]}', "bad-request"),
        ("application/json", b'{"entries":["00"],"more":1}', "bad-request"),
        ("application/json", b'{"entries":["\xff"]}', "bad-request"),
        ("application/vnd.msgpack", b"\xc1", "bad-request"),
        ("application/vnd.msgpack", b"\x81\xa7entries\xdd\xff\xff\xff\xff", "bad-request"),
        ("text/plain", b"hello", "unsupported-type"),
        ("application/json", b" " * (16 * 1024 * 1024 + 1), "too-large"),
    ],
)
def test_a_body_that_is_none_is_told_and_nothing_is_submitted(
    doors: Doors, media_type: str, content: bytes, code: str
) -> None:
    with doors.local() as local:
        before = local.get("/v1/status").json()["log_size"]
        answer = local.post("/v1/certificates", content=content, headers={"Content-Type": media_type})
        assert answer.json()["code"] == code
        assert local.get("/v1/status").json()["log_size"] == before


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/log?limit=0", "limit has to be a whole number, at least 1, at most 1000"),
        ("/v1/log?cursor=1e3", "cursor has to be a whole number in plain digits, not '1e3'"),
        ("/v1/log?page=2", "'page' is no field here"),
        ("/v1/search?issuer=abc", "issuer has to be 32 bytes in lower-case hex"),
        (
            "/v1/search?kind=diploma",
            "kind has to be one of `statement`, `stake`, `evidence`, `motion`, `approval`, `objection`, `key_change`, "
            "`revocation`, `supersession`, `erasure` and `erasure_confirmation`",
        ),
        ("/v1/blocks/1?encoded=perhaps", "encoded has to be true or false"),
        ("/v1/blocks/1?index=2", "a parameter stands twice in the address"),
        ("/v1/certificates/abc", "id has to be an id, or how it begins: 8 to 64 hexadecimal digits, in lower case"),
    ],
)
def test_what_is_wrong_with_a_parameter_is_said_in_words(doors: Doors, path: str, words: str) -> None:
    with doors.local() as local:
        answer = local.get(path)
    assert (answer.status_code, answer.json()["detail"]) == (400, words)


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("/v1/sign", {}, "'statements' is missing"),
        ("/v1/sign", [], "the body has to be an object"),
        ("/v1/sign", {"statements": []}, "statements has to be a list, at least 1, at most 4096 items"),
        (
            "/v1/sign",
            {"statements": [{"subject": "a"}, {"subject": "a\nb"}]},
            "statements[1].subject has to be a line of text of at most 256 characters",
        ),
        (
            "/v1/stake",
            {"amount": "all"},
            f"amount has to be a whole number, at least -{2**53 - 1}, at most {2**53 - 1}",
        ),
        ("/v1/backup", {"path": "copy.db"}, "path has to be the whole path, from / on"),
        ("/v1/backup", {"path": "/tmp/a\0b"}, "path has to be the whole path, from / on"),
        ("/v1/outcomes", {"ids": ["no"]}, "ids[0] has to be 32 bytes in lower-case hex"),
        ("/v1/certificates", {"entries": ["zz"]}, "entry 0 is not hexadecimal; nothing was submitted"),
        (
            "/v1/certificates",
            {"entries": ["00"]},
            "entry 0 is no certificate with its payload as docs/protocol.md encodes them (E2, encoded form as "
            "declared); nothing was submitted",
        ),
    ],
)
def test_what_is_wrong_with_a_body_is_said_in_words(doors: Doors, path: str, content: object, words: str) -> None:
    with doors.local() as local:
        answer = local.post(path, json=content)
    assert (answer.status_code, answer.json()["detail"]) == (400, words)


def test_a_body_without_end_is_cut_off(doors: Doors) -> None:
    def endless():
        while True:
            yield b" " * 65536

    with doors.local() as local, ExitStack() as stack:
        stack.enter_context(pytest.raises((httpx.HTTPError, Told)))
        answer = local.post("/v1/certificates", content=endless(), headers={"Content-Type": "application/json"})
        assert answer.json()["code"] == "too-large"
        raise Told


class Told(Exception):
    pass


# ---- conventions ----------------------------------------------------------------------------------------------------


def test_an_answer_is_not_sent_again_to_who_has_it(doors: Doors) -> None:
    with doors.local() as local:
        first = local.get("/v1/blocks/1")
        again = local.get("/v1/blocks/1", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        packed = local.get("/v1/blocks/1", headers={"Accept": "application/vnd.msgpack"})
    assert msgspec.msgpack.decode(packed.content) == first.json()
    assert packed.headers["etag"] != first.headers["etag"]


def test_json_is_ascii_and_a_text_in_it_is_what_its_author_wrote(doors: Doors) -> None:
    """Who looks at an answer in a terminal is not driven by it; a program has the text itself."""
    subject = "é \u202egnp.exe\u200b \U0001f58b \u0378"
    sent = entry(doors.ledger_id, subject, "\x7f\u009b31m\u2066")
    path = f"/v1/certificates/{sent.certificate.id.hex()}"
    with doors.remote() as remote, Client(doors.url) as client:
        remote.post("/v1/certificates", json=body(sent, wait_ms=20_000))
        answer = remote.get(path)
        packed = remote.get(path, headers={"Accept": "application/vnd.msgpack"})
        assert all(0x20 <= byte < 0x7F for byte in answer.content)
        assert (answer.json()["subject"], answer.json()["payload"]["text"]) == (subject, "\x7f\u009b31m\u2066")
        assert msgspec.msgpack.decode(packed.content) == answer.json()
        assert client.certificate(sent.certificate.id.hex()).subject == subject
        problem = remote.get("/v1/members/%E2%80%AEadA")
        assert (problem.status_code, problem.content.isascii()) == (404, True)


def test_pages_lead_through_everything_once(doors: Doors) -> None:
    with doors.local() as local:
        for path, items, key in (
            ("/v1/log", "certificates", "id"),
            ("/v1/blocks", "blocks", "index"),
            ("/v1/search?kind=statement", "certificates", "id"),
        ):
            seen, cursor = [], None
            while True:
                page = local.get(
                    path, params={**dict(httpx.URL(path).params), "limit": 7, **({"cursor": cursor} if cursor else {})}
                ).json()
                seen += [one[key] for one in page[items]]
                cursor = page["next"]
                if cursor is None:
                    break
            assert len(seen) == len(set(seen)) > 14, path


def test_metrics_and_health(doors: Doors) -> None:
    with doors.remote() as remote:
        assert "tallystick_log_certificates" in remote.get("/metrics").text
        assert remote.get("/livez").text == "alive\n"
        assert remote.get("/readyz").status_code == 200


def test_the_page_that_verifies_is_served_under_its_own_policy(doors: Doors) -> None:
    with doors.remote() as remote:
        answer = remote.get("/verify")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert answer.content == PAGE.read_bytes()
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert policy.endswith("; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert remote.get("/verify", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_a_name_that_is_edited_is_told_at_once_and_kept(doors: Doors) -> None:
    key = Wallet(b"n" * 32).public_key.hex()
    with Client(doors.node.folder.path) as client:
        client.remember_name(key, "Newcomer")
        client.remember_name(doors.node.folder.public_key().hex(), "node-1")
        assert client.member("node-1").member.name == "node-1"
    with pytest.raises(Problem), Client(doors.url) as client:
        client.remember_name(key, "Somebody else")
