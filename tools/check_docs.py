"""Check the project's Markdown: links, anchors, paths in backticks, the list of ADRs, the rules' numbers.

    python tools/check_docs.py

Prints one line for each mistake and exits 1 when there is any.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent

FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.M | re.S)
CODE = re.compile(r"`[^`\n]+`")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.M)
ANCHOR = re.compile(r"""<a (?:id|name)=["']([^"']+)["']""")
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]: +(\S+)", re.M)
REPO_PATH = re.compile(r"`((?:src|docs|tests|scripts|tools|notebooks|benchmarks)/[\w./-]*)`")
RULE = re.compile(r"^\| \*\*([A-Z]+\d+)\*\* \|", re.M)


def markdown_files() -> list[Path]:
    """Every Markdown file that is tracked or about to be; outside git, every one not in a hidden folder."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    try:
        listed = subprocess.run(listing, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        found = ROOT.rglob("*.md")
        return sorted(f for f in found if not any(p.startswith(".") for p in f.relative_to(ROOT).parts))
    return sorted(ROOT / name for name in set(listed.split("\0")) - {""} if (ROOT / name).is_file())


def prose(text: str) -> str:
    """The text without its fenced blocks, which only look like Markdown."""
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """The anchors a heading or an <a id> makes, spelled as code hosts spell them."""
    found = set(ANCHOR.findall(text))
    seen: dict[str, int] = {}
    for heading in HEADING.findall(prose(text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        repeats = seen.get(slug, 0)
        seen[slug] = repeats + 1
        found.add(f"{slug}-{repeats}" if repeats else slug)
    return found


def broken_links(file: Path, text: str) -> Iterator[str]:
    for match in LINK.finditer(CODE.sub("", prose(text))):
        target = match[1] or match[2]
        if re.match(r"[a-z][a-z0-9+.-]*:", target, re.I):
            continue  # another site: nothing here depends on the network
        path, _, anchor = unquote(target).partition("#")
        goal = file.parent / path if path else file
        if not goal.exists():
            yield f"link to {target}: no such file"
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal.read_text(encoding="utf-8")):
            yield f"link to {target}: no such heading"


def missing_paths(text: str) -> Iterator[str]:
    for path in sorted(set(REPO_PATH.findall(prose(text)))):
        if not (ROOT / path).exists():
            yield f"names {path}, which does not exist"


def misfiled_adrs(folder: Path) -> Iterator[str]:
    records = sorted(file.name for file in folder.glob("*.md") if file.name != "README.md")
    for expected, name in enumerate(records, start=1):
        if not name.startswith(f"{expected:04d}-"):
            yield f"{name}: expected number {expected:04d}"
            break
    index = folder / "README.md"
    listed = index.read_text(encoding="utf-8") if index.exists() else ""
    for name in records:
        if f"({name})" not in listed:
            yield f"{name}: not listed in README.md"


def repeated_rules(text: str) -> Iterator[str]:
    rules = RULE.findall(text)
    for rule in sorted({rule for rule in rules if rules.count(rule) > 1}):
        yield f"rule {rule} is numbered more than once"


def main() -> int:
    mistakes: list[str] = []
    for file in markdown_files():
        text, name = file.read_text(encoding="utf-8"), file.relative_to(ROOT)
        mistakes += [f"{name}: {mistake}" for mistake in (*broken_links(file, text), *missing_paths(text))]
        if name == Path("docs/protocol.md"):
            mistakes += [f"{name}: {mistake}" for mistake in repeated_rules(text)]
    mistakes += [f"docs/adr: {mistake}" for mistake in misfiled_adrs(ROOT / "docs" / "adr")]
    print("\n".join(mistakes) or "docs: no mistakes")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
