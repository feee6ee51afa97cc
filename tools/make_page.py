"""Make src/tallystick/api/verify.html, the page that verifies, from the sources in page/.

python tools/make_page.py            write it
python tools/make_page.py --check    exit 1 when it is not what would be written

Modules are put into one script, each in a function of its own, those that it imports before it. They may import names,
or a whole module, by relative paths, and export declarations, or a list at the end: no more of the language's modules
is understood, and whatever else looks like it is refused.
"""

import re
import sys
import tomllib
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "page"
TARGET = ROOT / "src" / "tallystick" / "api" / "verify.html"

_NAMES = r"\{(?P<names>[^{}]*)\}"
_IMPORT = re.compile(rf"^import\s+(?:{_NAMES}|\*\s+as\s+(?P<whole>\w+))\s+from\s+[\"'](?P<path>\.[^\"']+)[\"'];?", re.M)
_EXPORT = re.compile(r"^export\s+(?P<declared>(?:async\s+)?(?:const|function\*?|class)\s+(?P<name>[\w$]+))", re.M)
_LIST = re.compile(rf"^export\s+{_NAMES};?[ \t]*$", re.M)
_LEFT = re.compile(r"^\s*(?:import|export)\b(?!\s*:).*|\bimport\s*[.(].*|</(?:script|style).*|<!--.*", re.M | re.I)
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*\n?", re.M)


class NotUnderstood(Exception):
    """A source holds what this program makes nothing of."""


def page() -> str:
    """The whole page."""
    script, style = "\n" + _script(SOURCES / "main.js"), "\n" + _read(SOURCES / "style.css")
    version = tomllib.loads(_read(ROOT / "pyproject.toml"))["project"]["version"]
    told = f"{version}, script {sha256(script.encode()).hexdigest()[:16]}"
    filled = _read(SOURCES / "index.html")
    policy = (
        f"default-src 'none'; script-src '{_named(script)}'; style-src '{_named(style)}';"
        " base-uri 'none'; form-action 'none'"
    )
    parts = {"{{policy}}": policy, "{{version}}": told, "{{style}}": style, "{{script}}": script}
    for place, part in parts.items():
        if filled.count(place) != 1:
            raise NotUnderstood(f"index.html has {place} {filled.count(place)} times, not once")
        filled = filled.replace(place, part)
    return filled


def _named(text: str) -> str:
    """What a Content-Security-Policy calls an inline script or style."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _script(start: Path) -> str:
    """All modules that the first one needs, each after those that it imports."""
    numbers: dict[Path, int] = {}
    parts: list[str] = []
    _add(start, numbers, parts, ())
    return "\n".join(parts)


def _add(path: Path, numbers: dict[Path, int], parts: list[str], within: tuple[Path, ...]) -> int:
    if path in within:
        raise NotUnderstood(f"{path} imports itself, by way of {within[-1]}")
    if path in numbers:
        return numbers[path]
    text = _SOURCE_MAP.sub("", _read(path))
    for found in _IMPORT.finditer(text):
        _add((path.parent / found["path"]).resolve(), numbers, parts, (*within, path))
    exported: list[str] = []

    def imported(found: re.Match[str]) -> str:
        number = numbers[(path.parent / found["path"]).resolve()]
        return f"const {found['whole'] or _pattern(found['names'])} = module{number};"

    def declared(found: re.Match[str]) -> str:
        exported.append(found["name"])
        return found["declared"]

    def listed(found: re.Match[str]) -> str:
        exported.extend(": ".join(reversed(one.split(" as "))) for one in _split(found["names"]))
        return ""

    body = _LIST.sub(listed, _EXPORT.sub(declared, _IMPORT.sub(imported, text)))
    without_comments = re.sub(r"/\*.*?\*/|^\s*//.*$", "", body, flags=re.S | re.M)
    if left := _LEFT.search(without_comments) or re.search(r"</(?:script|style)|<!--", body, re.I):
        raise NotUnderstood(f"{path}: {left[0].strip()[:80]!r}")
    numbers[path] = len(numbers)
    heading = f"// ---- {path.relative_to(SOURCES)}"
    parts.append(
        f"{heading}\nconst module{numbers[path]} = (() => {{\n"
        f'"use strict";\n{body.strip()}\nreturn {{ {", ".join(exported)} }};\n}})();\n'
    )
    return numbers[path]


def _pattern(names: str) -> str:
    return f"{{ {', '.join(one.replace(' as ', ': ') for one in _split(names))} }}"


def _split(names: str) -> list[str]:
    return [" ".join(one.split()) for one in names.split(",") if one.strip()]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def main() -> int:
    try:
        made = page()
    except (NotUnderstood, OSError) as error:
        print(f"page: {error}", file=sys.stderr)
        return 1
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(made, encoding="utf-8")
        return 0
    if TARGET.exists() and _read(TARGET) == made:
        return 0
    print(f"{TARGET.relative_to(ROOT)} is not what page/ makes: run python tools/make_page.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
