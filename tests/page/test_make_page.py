"""The one file that is checked in is what its sources make, and a source that is not understood is refused."""

from pathlib import Path

import pytest
from tools import make_page


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(make_page, "SOURCES", tmp_path)
    (tmp_path / "index.html").write_text("{{policy}}|{{version}}|{{style}}|{{script}}")
    (tmp_path / "style.css").write_text("p { color: red }\n")
    return tmp_path


def test_the_page_is_that_of_its_sources() -> None:
    assert make_page.page() == make_page.TARGET.read_text(encoding="utf-8")


def test_modules_come_after_those_that_they_import(sources: Path) -> None:
    (sources / "main.js").write_text('import { two as deux } from "./a.js";\nimport * as b from "./b.js";\ndeux(b);\n')
    (sources / "a.js").write_text('import { one } from "./b.js";\nexport function two() {}\nexport const x = one;\n')
    (sources / "b.js").write_text("const one = 1;\nexport { one, one as uno };\n")
    made = make_page.page()
    assert made.index("---- b.js") < made.index("---- a.js") < made.index("---- main.js")
    assert "const { two: deux } = module1;" in made
    assert "const b = module0;" in made
    assert "return { one, uno: one };" in made
    assert "import" not in made.partition("---- b.js")[2]


@pytest.mark.parametrize(
    "text",
    [
        'import x from "./b.js";',
        'import { one } from "https://elsewhere.example/b.js";',
        'import("./b.js");',
        "export default 1;",
        'export * from "./b.js";',
        "export let changing = 1;",
        "const x = '</script>';",
        "const x = '<!--';",
        'import { main } from "./main.js";',
    ],
)
def test_what_is_not_understood_is_refused(sources: Path, text: str) -> None:
    (sources / "main.js").write_text(text)
    (sources / "b.js").write_text("export const one = 1;\n")
    with pytest.raises(make_page.NotUnderstood):
        make_page.page()
