"""Write docs/api.md from the routes and the views.

python tools/write_api_docs.py            write it
python tools/write_api_docs.py --check    exit 1 when it is not what would be written
"""

import sys
from pathlib import Path
from typing import Any

from msgspec import Struct

from tallystick.api import command_views, governed_views, made_proof_views, proof_views, view_base, views
from tallystick.api.openapi import document, schemas_of
from tallystick.api.routes import ENDPOINTS

TARGET = Path(__file__).resolve().parent.parent / "docs" / "api.md"
HEAD = """# The HTTP API, field by field

This page is written by `python tools/write_api_docs.py` from `src/tallystick/api/`;
`make check` holds it to that. How the API is used, with examples, stands in
[http.md](http.md).

{about}

The same document for programs: `GET /v1/openapi.json`. Everything but `/v1/events` also speaks
MessagePack (`Accept: application/vnd.msgpack`). Beside `/v1` there are `/metrics` (Prometheus), `/livez`, `/readyz`,
and `/verify`, the page that verifies in a browser (HTML; [page.md](page.md)).
"""


COMMANDS: dict[str, type[Struct]] = {
    "verify": proof_views.Verdicts,
    "trust add": proof_views.TrustChanged,
    "trust show": proof_views.TrustChanged,
    "trust list": proof_views.TrustedLedgers,
    "trust remove": proof_views.TrustRemoved,
    "prove": made_proof_views.ProofsMade,
    "renew": made_proof_views.ProofsRenewed,
    "policy": command_views.PolicyMade,
    "audit": proof_views.Audited,
    "verify FILE.tlog-conflict": proof_views.ConflictVerdict,
    "witness new": command_views.WitnessShown,
    "witness add-log": command_views.WitnessShown,
    "witness remove-log": command_views.WitnessShown,
    "witness show": command_views.WitnessShown,
}
"""What commands about proofs print under `--json`; a test holds them to it."""
COMMANDS_HEAD = """## What commands about proofs print

With `--json` a command prints one object, also when its exit code is not 0: of `verify`, `exit_code` and `result` of
each file tell why. Where it can do nothing at all it prints a [Problem](#problem) instead, and ends with its
`exit_code`. Fields may join these; none goes, or gets another meaning, without another `schema`.
"""


def page() -> str:
    """The whole page."""
    made = document(ENDPOINTS)
    local = {(one.method.lower(), one.path) for one in ENDPOINTS if one.is_local}
    parts = [HEAD.format(about=made["info"]["description"].strip()), "## Routes\n"]
    for path, methods in made["paths"].items():
        for method, one in methods.items():
            parts.append(_route(method, path, one, (method, path) in local))
    parts.append("## Answers and bodies\n")
    schemas = made["components"]["schemas"]
    parts += [_struct(name, schemas[name]) for name in sorted(schemas)]
    return "\n".join([*parts, *_commands(schemas)])


def _commands(known: dict[str, Any]) -> list[str]:
    """Commands, and what they print; what the API has, too, stands above."""
    modules = (proof_views, made_proof_views, command_views, governed_views, views, view_base)
    schemas = schemas_of(list(dict.fromkeys(COMMANDS.values())), modules)
    rows = [f"| `tallystick {one}` | [{kind.__name__}](#{kind.__name__.lower()}) |" for one, kind in COMMANDS.items()]
    others = [_struct(name, schemas[name]) for name in sorted(schemas) if name not in known]
    assert all(known[name] == schemas[name] for name in schemas if name in known), "one name is of two structs"
    return [COMMANDS_HEAD, "| command | |\n| --- | --- |", *rows, "", *others]


def _route(method: str, path: str, one: dict[str, Any], is_local: bool) -> str:
    where = " Only at the node's own socket." if is_local else ""
    lines = [f"### `{method.upper()} {path}`\n", f"{one['summary']}{where}\n"]
    rows = [
        f"| `{p['name']}` | {p['in']} | {_type(p['schema'])} | "
        f"{_text(p.get('description') or p['schema'].get('description', ''))} |"
        for p in one["parameters"]
    ]
    if rows:
        lines += ["| parameter | in | type | |\n| --- | --- | --- | --- |", *rows, ""]
    if "requestBody" in one:
        bodies = one["requestBody"]["content"].items()
        lines.append("Body: " + ", ".join(f"{_type(c['schema'])} (`{media}`)" for media, c in bodies) + "\n")
    answer = one["responses"]["200"]["content"].get("application/json")
    if answer:
        lines.append(f"Answer: {_type(answer['schema'])}\n")
    return "\n".join(lines)


def _struct(name: str, schema: dict[str, Any]) -> str:
    lines = [f"### {name}\n", f"{_text(schema.get('description', ''))}\n"]
    rows = [
        f"| `{key}` | {_type(one)} | {_text(one.get('description', ''))} |" for key, one in schema["properties"].items()
    ]
    if rows:
        lines += ["| field | type | |\n| --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object":
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "anything"))


def _text(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Write, or check."""
    made = page()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(made)
    elif not TARGET.exists() or TARGET.read_text() != made:
        print(f"{TARGET.name} is not what the sources say; run: python tools/write_api_docs.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
