"""PDF files to attach proofs to, from several producers."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Final

import pytest
from fpdf import FPDF
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]

from tallystick.client.pdf_revision import AttachedProof

PROOF: Final = AttachedProof(b"c2sp.org/tlog-proof@v1\nno proof of anything\n")
OTHER_PROOF: Final = AttachedProof(b"c2sp.org/tlog-proof@v1\nnor is this\n", b"members \0", b"payload \xff")


def by_reportlab(text: str = "Diploma") -> bytes:
    stream = BytesIO()
    canvas = Canvas(stream, invariant=True)
    for page in (1, 2):
        canvas.drawString(100, 700, f"{text}, page {page}")
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def by_fpdf(text: str = "Diploma") -> bytes:
    pdf = FPDF()
    pdf.creation_date = datetime(2026, 1, 1, tzinfo=UTC)
    pdf.add_page()
    pdf.set_font("helvetica", size=20)
    pdf.cell(text=text)
    return bytes(pdf.output())


def as_by_pdf_lib() -> bytes:
    """MuPDF and pdf-lib leave a line empty before the trailer; the latter ends the file without one."""
    return by_reportlab().replace(b"\ntrailer\n", b"\n\ntrailer\n").rstrip(b"\n")


def with_attachments() -> bytes:
    """Written by fpdf2, which puts an attachment in: a name tree is there already."""
    pdf = FPDF()
    pdf.creation_date = datetime(2026, 1, 1, tzinfo=UTC)
    pdf.add_page()
    pdf.embed_file(bytes=b"zebra", basename="zebra.txt", desc="striped")
    pdf.embed_file(bytes=b"ant", basename="ant.txt")
    return bytes(pdf.output())


def by_chromium(folder: Path) -> bytes:
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("NOT CHECKED, Chromium's PDF files: chromium is not on this machine")
    (folder / "page.html").write_text("<h1>Diploma</h1><p style='color: teal'>Margaret Hamilton</p>")
    arguments = ("--headless", "--no-sandbox", f"--user-data-dir={folder / 'profile'}")
    command = (chromium, *arguments, f"--print-to-pdf={folder / 'page.pdf'}", (folder / "page.html").as_uri())
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return (folder / "page.pdf").read_bytes()


def by_qpdf(pdf: bytes, folder: Path, *options: str) -> bytes:
    """The same PDF in another form."""
    (folder / "before.pdf").write_bytes(pdf)
    run(folder, "qpdf", *options, "before.pdf", "after.pdf")
    return (folder / "after.pdf").read_bytes()


def run(folder: Path, *command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"NOT CHECKED, with {command[0]}: it is not on this machine")
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, timeout=120).stdout


LINEARIZED: Final = ("--linearize", "--static-id")
OBJECT_STREAMS: Final = ("--object-streams=generate", "--static-id")

PRODUCERS: Final[dict[str, Callable[[Path], bytes]]] = {
    "reportlab": lambda _: by_reportlab(),
    "fpdf2": lambda _: by_fpdf(),
    "fpdf2 with attachments": lambda _: with_attachments(),
    "Chromium": by_chromium,
    "qpdf, object streams": lambda folder: by_qpdf(by_reportlab(), folder, *OBJECT_STREAMS),
    "qpdf, linearized": lambda folder: by_qpdf(by_reportlab(), folder, *LINEARIZED),
    "qpdf, both": lambda folder: by_qpdf(by_chromium(folder), folder, *LINEARIZED, *OBJECT_STREAMS),
    "pdf-lib's table": lambda _: as_by_pdf_lib(),
    "written by hand": lambda _: by_hand(),
    "hybrid, as by an office program": lambda _: hybrid(),
}


def by_hand(catalog: bytes = b"/Type /Catalog /Pages 2 0 R", more: dict[int, bytes] | None = None) -> bytes:
    """The smallest PDF, with this catalog and further objects from number 4 on."""
    objects = {
        1: b"<< " + catalog + b" >>",
        2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>",
        **(more or {}),
    }
    out, places = bytearray(b"%PDF-1.7\n"), list[int]()
    for number, value in objects.items():
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, value)
    table = b"0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return bytes(out + b"xref\n0 %d\n" % (len(objects) + 1) + table + end)


def kids() -> Iterator[tuple[int, bytes]]:
    """Objects from number 4 on: a tree of attachments with two leaves, and the specification in them."""
    yield 4, b"<< /Kids [5 0 R 6 0 R] >>"
    yield 5, b"<< /Limits [(a) (b)] /Names [(a) 7 0 R <62> 7 0 R] >>"
    yield 6, b"<< /Limits [(y) (z)] /Names [(y) 7 0 R (\\172) 7 0 R] >>"
    yield 7, b"<< /Type /Filespec /F (x) /EF << /F 8 0 R >> >>"
    yield 8, b"<< /Type /EmbeddedFile /Length 1 >>\nstream\nx\nendstream"


def hybrid(held: bytes = b"4 0 << /Type /StructTreeRoot >>", rows: bytes = b"/Length 4 >>\nstream\n\2\0\5\0") -> bytes:
    """A PDF with a cross-reference table, and a stream for what is in an object stream, hidden from old readers."""
    out, places = bytearray(b"%PDF-1.7\n"), list[int]()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /StructTreeRoot 4 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>",
        b"null",
        b"<< /Type /ObjStm /N 1 /First 4 /Length %d >>\nstream\n%b\nendstream" % (len(held), held),
        b"<< /Type /XRef /Size 7 /W [1 2 1] /Index [4 1] %b\nendstream" % rows,
    ]
    for number, value in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, value) if number != 4 else b""
    entries = [b"%010d 00000 n \n" % place for place in places]
    entries[3] = b"0000000000 00000 f \n"
    table = b"xref\n0 7\n0000000000 65535 f \n" + b"".join(entries)
    trailer = b"trailer\n<< /Size 7 /Root 1 0 R /XRefStm %d >>\n" % places[5]
    return bytes(out + table + trailer + b"startxref\n%d\n%%%%EOF\n" % len(out))
