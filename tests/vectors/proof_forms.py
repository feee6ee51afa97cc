"""Cases of the corpus of proofs: one ledger, and a proof broken at each field of file, checkpoint and path."""

from base64 import b64encode

from msgspec.structs import replace

from tallystick.ledger.certificate import issue_statement
from tallystick.ledger.checkpoint import Checkpoint, cosigned_bytes, cosigner_key, log_key
from tallystick.ledger.encoding import encode
from tallystick.ledger.errors import Rule
from tallystick.ledger.file_statement import file_payload
from tallystick.ledger.note import NoteKey, NoteSignature, make_note
from tests.builders import START_MS, STRANGER, wallet
from tests.proving import NOW_MS, ProvenLedger
from tests.vectors.proof_cases import REPORT, Family, strange_signature

_P1, _P2, _P7, _P8 = Rule.P1, Rule.P2, Rule.P7, Rule.P8


def write(ledger: ProvenLedger) -> list[Family]:
    """Organisations ada, ben, cy and dot; the statement about the document is certificate 3 of 9, in block 2."""
    scribe = ledger.scribe
    one, payload = ledger.about(REPORT)
    ledger.forge(scribe.statement(), scribe.statement())
    ledger.forge(scribe.statement(), one, scribe.statement(), payloads=[payload])
    for _ in range(4):
        ledger.forge()
    base = Family("base", ledger, one, ledger.countersigned(), has_document=True)
    base.case("valid", "a file, certified by an organisation, countersigned by four members of four")
    _of_the_text(base)
    _of_the_checkpoint(base)
    _of_extra(base)
    _of_signatures(base)
    _of_the_path(base)
    _of_the_document(base)
    return [base, *_of_other_documents(ledger)]


def _of_other_documents(ledger: ProvenLedger) -> list[Family]:
    """What was certified is not the document at hand."""
    families = []
    others = {
        "other-content": ("a document of the same size", replace(REPORT, sha256=bytes(32))),
        "other-size": (
            "a document of the same hash, which is said to be longer",
            replace(REPORT, size_bytes=REPORT.size_bytes + 1),
        ),
        "other-name": ("the document under another name", replace(REPORT, name="another.txt")),
    }
    for name, (what, document) in others.items():
        one, payload = ledger.about(document)
        ledger.forge(one, payloads=[payload])
        family = Family(name, ledger, one, ledger.countersigned(), has_document=True)
        family.case("valid", f"{what}, with no document at hand", has_document=False)
        family.case("compared", f"{what}, with the document at hand", None if name == "other-name" else Rule.P10)
        families.append(family)
    return families


def _of_the_text(base: Family) -> None:
    text = base.files.proof
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")

    def given(name: str, what: str, changed: str | bytes, rule: Rule = _P1) -> None:
        base.case(name, what, rule, text=changed.encode() if isinstance(changed, str) else changed)

    given("empty", "an empty file", "")
    for part in (1, 4, 10, 90, 99):
        given(f"truncated-{part}", f"cut off after {part} % of its bytes", text[: len(text) * part // 100])
    given("no-final-newline", "the last newline missing", text[:-1])
    given("crlf", "lines end with CR LF", text.replace("\n", "\r\n"))
    given("bom", "a byte order mark first", "\ufeff" + text)
    given("not-utf8", "a byte that is no UTF-8", text.encode()[:-1] + b"\xff\n")
    given("utf16", "in UTF-16", text.encode("utf-16-le"))
    given("trailing", "a line after the last", text + "end\n")
    given("blank-at-end", "an empty line after the last", text + "\n")
    given("blank-at-start", "an empty line before the first", "\n" + text)
    base.edit("version", "version 2 of the format", "@v1", "@v2")
    base.edit("name", "another format's name", "tlog-proof", "tlog-proofs")
    base.edit("space-after-name", "a space after the first line", "@v1\n", "@v1 \n")
    base.edit("index-sign", "the index with a sign", "index 3", "index +3")
    base.edit("index-negative", "a negative index", "index 3", "index -3")
    base.edit("index-zero-first", "the index with a leading zero", "index 3", "index 03")
    base.edit("index-hex", "the index in hexadecimal digits", "index 3", "index 0x3")
    base.edit("index-fraction", "the index with a fraction", "index 3", "index 3.0")
    base.edit("index-arabic", "the index in other digits", "index 3", "index \u0663")
    base.edit("index-empty", "no number after index", "index 3", "index ")
    base.edit("index-space", "two spaces before the index", "index 3", "index  3")
    base.edit("index-tab", "a tab before the index", "index 3", "index\t3")
    base.edit("index-huge", "an index beyond 2^53", "index 3", "index 9007199254740992")
    base.edit("index-upper", "Index with a capital", "index 3", "Index 3")
    base.edit("index-bare", "the index without its word", "index 3", "3")
    base.edit("index-missing", "no line index", "index 3\n", "")
    base.edit("index-twice", "two lines index", "index 3\n", "index 3\nindex 3\n")
    given(
        "extra-after-index",
        "extra after the index",
        "\n".join([lines[0], lines[2], lines[1], *lines[3:]]) + "\n\n" + note,
    )
    given("extra-twice", "two lines extra", "\n".join([lines[0], lines[1], lines[1], *lines[2:]]) + "\n\n" + note)
    base.edit("extra-not-base64", "extra not in Base64", "extra ", "extra *")
    base.edit("hash-urlsafe", "a hash in the other alphabet", lines[3], lines[3].replace("+", "-").replace("/", "_")
              if set("+/") & set(lines[3]) else "-" + lines[3][1:])  # fmt: skip
    base.edit("hash-unpadded", "a hash without its padding", lines[3], lines[3].rstrip("="))
    base.edit("hash-short", "a hash of 31 bytes", lines[3], b64encode(bytes(31)).decode())
    base.edit("hash-not-canonical", "a hash whose last bits are not zero", lines[3], _other_bits(lines[3]))
    base.edit("hash-space", "a space after a hash", lines[3], lines[3] + " ")
    base.edit("blank-in-path", "an empty line among the hashes", lines[3], lines[3] + "\n")
    base.edit("no-blank", "no empty line before the checkpoint", "\n\n", "\n")
    base.edit("two-blanks", "two empty lines before the checkpoint", "\n\n", "\n\n\n")
    base.case("path-of-64", "64 hashes", _P1, tlog={"path": (bytes(32),) * 64})


def _other_bits(text: str) -> str:
    """The same 32 bytes, written with other bits in the padding."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-2] + alphabet[alphabet.index(text[-2]) + 1] + "="


def _of_the_checkpoint(base: Family) -> None:
    head, origin = base.extra.log, base.origin
    size, root = head.log_size, b64encode(head.log_root).decode()
    base.edit("size-zero-first", "the size with a leading zero", f"\n{size}\n", f"\n0{size}\n")
    base.edit("size-sign", "the size with a sign", f"\n{size}\n", f"\n+{size}\n")
    base.edit("size-word", "the size is no number", f"\n{size}\n", "\nnine\n")
    base.edit("root-short", "a root of 31 bytes", f"\n{root}\n", f"\n{b64encode(bytes(31)).decode()}\n")
    base.edit("root-missing", "no root", f"\n{root}\n", "\n")
    base.edit("origin-missing", "no origin", f"\n\n{origin}\n", "\n\n")
    base.edit("size-changed", "another size than was signed", f"\n{size}\n", f"\n{size + 1}\n", Rule.P6)
    changed = b64encode(head.log_root[:-1] + bytes([head.log_root[-1] ^ 1])).decode()
    base.edit("root-changed", "another root than was signed", f"\n{root}\n", f"\n{changed}\n", Rule.P6)
    base.edit("origin-changed", "another origin than was signed", f"\n\n{origin}\n", f"\n\nx{origin}\n", Rule.P6)
    for name, what, other in (
        (
            "signed-other-size",
            "all members sign a size that is not the header's",
            Checkpoint(origin, size + 1, head.log_root),
        ),
        ("signed-other-root", "all members sign a root that is not the header's", Checkpoint(origin, size, bytes(32))),
        ("signed-other-origin", "all members sign another short name", Checkpoint("x" + origin, size, head.log_root)),
    ):
        base.case(name, what, Rule.P6, note=base.cosigned(other))
    base.case(
        "extended", "all members sign a line that extends the checkpoint", Rule.P6, note=base.cosigned(more="more\n")
    )
    base.case(
        "blank-line-signed", "all members sign an empty line in the text", _P1, note=base.cosigned(more="\nmore\n")
    )


def _of_extra(base: Family) -> None:
    extra = base.proof.extra
    assert extra is not None
    fields = encode(base.extra)
    base.case("no-extra", "no line extra: for other tools", _P2, extra=None)
    base.case("extra-empty", "extra of no bytes", _P2, extra=b"")
    base.case("extra-cut", "extra without its last byte", _P2, extra=extra[:-1])
    base.case("extra-longer", "a byte after the end of extra", _P2, extra=extra + b"\x00")
    base.case("extra-random", "extra that is something else", _P2, extra=b"to whom it may concern")
    base.case("extra-nested", "extra of arrays in arrays", _P2, extra=b"\x91" * 2_000)
    base.case("extra-claims", "extra that claims an array of 2^32 - 1", _P2, extra=b"\xdd\xff\xff\xff\xff")
    base.case("extra-too-large", "extra of more than 48,000 bytes", _P2, extra=fields + bytes(48_001))
    base.case(
        "extra-not-canonical",
        "a number in extra in more bytes than it needs",
        _P2,
        extra=fields[:3] + b"\xcc\x01" + fields[4:],
    )
    base.case("extra-version", "extra of version 2", _P2, extra={"version": 2})
    small = replace(base.extra.genesis.founders[0], key=(1).to_bytes(32, "little"))
    founders = (small, *base.extra.genesis.founders[1:])
    genesis = replace(base.extra.genesis, founders=founders)
    base.case("small-order-member", "a genesis with a member key of small order", _P2, extra={"genesis": genesis})
    base.case(
        "no-hand-over", "a hand-over that stands in a file beside it, which is missing", _P2, extra={"hand_over": None}
    )
    base.case(
        "hand-over-beside",
        "the hand-over in a file beside it",
        members=base.hand_over.encoded,
        extra={"hand_over": None},
    )
    base.case(
        "hand-over-beside-broken",
        "the same without its last byte",
        _P2,
        members=base.hand_over.encoded[:-1],
        extra={"hand_over": None},
    )
    base.case(
        "payload-beside", "the payload in a file beside it", payload=encode(base.extra.payload), extra={"payload": None}
    )
    base.case(
        "payload-beside-broken",
        "the same without its last byte",
        _P2,
        payload=encode(base.extra.payload)[:-1],
        extra={"payload": None},
    )


def _of_signatures(base: Family) -> None:
    ada, ben, *_ = voters = base.voters
    text, origin = base.proof.checkpoint.text, base.origin
    signed = list(base.proof.checkpoint.signatures)
    stranger = cosigner_key("witness.example", STRANGER.public_key)
    unknown = stranger.signature(NOW_MS.to_bytes(8, "big") + bytes(64))
    base.case("unknown-signature", "one more line, of somebody unknown", note=make_note(text, [*signed, unknown]))
    base.case("twenty-unknown", "20 more lines, of somebody unknown", note=make_note(text, [*signed, *[unknown] * 20]))
    quantum = NoteKey(base.origin, 6, bytes(1_312)).signature(bytes(2_428))
    base.case("ml-dsa", "one more line, of a type that is not verified", note=make_note(text, [*signed, quantum]))
    base.case("twice", "each line twice", note=make_note(text, [*signed, *signed]))
    base.case("three-of-four", "cosigned by three of four members", note=base.cosigned(by=voters[:3]))
    base.case("two-of-four", "cosigned by two of four members", _P7, note=base.cosigned(by=voters[:2]))
    logs = [one for one in signed if one.name == origin]
    base.case("only-log", "log signatures only", _P7, note=make_note(text, logs))
    no_log = [one for one in signed if one.name != origin]
    base.case("no-log", "cosignatures only", _P7, note=make_note(text, no_log))
    base.case("one-log", "one log signature", note=make_note(text, [logs[0], *no_log]))
    base.case(
        "strangers",
        "cosigned by keys that are of no members",
        _P7,
        note=base.cosigned(by=[wallet(f"no {n}") for n in range(4)]),
    )

    def spoilt(key: NoteKey, change: bytes | None = None, *, others: bool = True) -> list[NoteSignature]:
        """The lines with one changed; by default its last byte."""
        lines = [one for one in signed if others or one.key_id == key.id]
        return [
            one._replace(signature=change or one.signature[:-1] + bytes([one.signature[-1] ^ 1]))
            if one.key_id == key.id and one.name == key.name
            else one
            for one in lines
        ]

    first, second, log = (
        cosigner_key(origin, ada.public_key),
        cosigner_key(origin, ben.public_key),
        log_key(origin, ada.public_key),
    )
    base.case("bad-cosignature", "one cosignature of four is bad", _P7, note=make_note(text, spoilt(first)))
    base.case("bad-log-signature", "one log signature of four is bad", _P7, note=make_note(text, spoilt(log)))
    base.case("bad-twice", "a bad cosignature beside a good one of the same key", _P7,
              note=make_note(text, [*signed, *spoilt(first, others=False)]))  # fmt: skip
    time_s = NOW_MS // 1000
    good = strange_signature(ada, cosigned_bytes(time_s, text))
    later = (time_s + 1).to_bytes(8, "big")
    base.case(
        "time-changed", "the time of a cosignature changed", _P7, note=make_note(text, spoilt(first, later + good))
    )
    base.case(
        "time-negative",
        "a cosignature of the time 2^63",
        _P7,
        note=make_note(text, spoilt(first, b"\x80" + bytes(7) + good)),
    )
    base.case(
        "cosignature-short", "a cosignature of 71 bytes", _P7, note=make_note(text, spoilt(first, later + good[:-1]))
    )
    swapped = next(one.signature for one in signed if one.key_id == second.id)
    base.case(
        "swapped", "a member's cosignature in the name of another", _P7, note=make_note(text, spoilt(first, swapped))
    )
    time = time_s.to_bytes(8, "big")
    for more, name, what in ((8, "s-plus-8l", "S + 8 L"), (1, "s-plus-l", "S + L")):
        over = strange_signature(
            ada, cosigned_bytes(time_s, text), more=more * 2**252 + more * 27742317777372353535851937790883648493
        )
        base.case(name, f"a cosignature with {what}", _P7, note=make_note(text, spoilt(first, time + over)))
    for torsion in (1, 4):
        mixed = strange_signature(ada, cosigned_bytes(time_s, text), torsion)
        base.case(f"torsion-{torsion}", f"a cosignature with R + {torsion} T: good by rule K2, refused by many tools",
                  note=make_note(text, spoilt(first, time + mixed)))  # fmt: skip
    identity = (1).to_bytes(32, "little") + bytes(32)
    base.case(
        "r-identity",
        "a cosignature with R the identity and S = 0",
        _P7,
        note=make_note(text, spoilt(first, time + identity)),
    )
    base.case(
        "r-not-canonical",
        "a cosignature with R not canonical",
        _P7,
        note=make_note(text, spoilt(first, time + b"\xff" * 32 + bytes(32))),
    )
    names = [one._replace(name=one.name + "x") if one.name != origin else one for one in signed]
    base.case("names-changed", "cosigners under other names", _P7, note=make_note(text, names))
    ids = [one._replace(key_id=bytes(4)) if one.name != origin else one for one in signed]
    base.case("key-ids-changed", "cosigners under other key ids", _P7, note=make_note(text, ids))
    line = signed[-1].line
    base.edit("hyphen", "a hyphen in place of the dash", line, line.replace("—", "-"))
    base.edit("two-spaces", "two spaces in a signature line", line, line.replace("— ", "—  "))
    base.edit("name-plus", "a plus sign in a key's name", f"— {signed[-1].name}", f"— {signed[-1].name}+x")
    base.edit("name-space", "a no-break space in a key's name", f"— {signed[-1].name}", f"— {signed[-1].name}\u00a0x")
    base.edit("signature-short", "a signature of 4 bytes", line, f"— {signed[-1].name} AAAAAA==")
    base.edit("blank-between", "an empty line between signatures", line, "\n" + line)
    base.edit("control", "a control character in the checkpoint", line, f"— x\x01 AAAAAAA=\n{line}")
    many = NoteSignature("witness.example", bytes(4), bytes(64)).line + "\n"
    base.case("101-signatures", "101 signatures", _P1, text=(base.files.proof + many * (101 - len(signed))).encode())
    base.case("no-signatures", "no signatures", _P1, text=base.files.proof.partition("— ")[0].encode())


def _of_the_path(base: Family) -> None:
    path, index = base.proof.path, base.proof.log_index
    base.case("index-before", "the index of the certificate before", _P8, tlog={"log_index": index - 1})
    base.case("index-after", "the index of the certificate after", _P8, tlog={"log_index": index + 1})
    base.case("index-outside", "the index of a later log", _P8, tlog={"log_index": base.extra.log.log_size})
    base.case("hash-changed", "a hash changed", _P8, tlog={"path": (bytes(32), *path[1:])})
    base.case("hash-missing", "a hash less", _P8, tlog={"path": path[:-1]})
    base.case("hash-more", "a hash more", _P8, tlog={"path": (*path, bytes(32))})
    base.case("hashes-swapped", "two hashes swapped", _P8, tlog={"path": (path[1], path[0], *path[2:])})
    base.case("path-missing", "no hashes", _P8, tlog={"path": ()})
    genesis = base.extra.genesis
    other = issue_statement(base.voters[0], genesis.ledger_id, START_MS, "a better one", base.extra.payload)
    base.case(
        "certificate-not-logged", "a certificate that is signed, but not in the log", _P8, extra={"certificate": other}
    )
    signature = base.extra.certificate.signature
    changed = replace(base.extra.certificate, signature=signature[:-1] + bytes([signature[-1] ^ 1]))
    base.case("certificate-signature", "the certificate with another signature", _P8, extra={"certificate": changed})


def _of_the_document(base: Family) -> None:
    another = file_payload(replace(REPORT, size_bytes=REPORT.size_bytes + 1), bytes(32))
    base.case("payload-of-another", "the payload of another document", Rule.P10, extra={"payload": another})
    assert base.extra.payload is not None
    salted = replace(base.extra.payload, salt=b"s" * 32)
    base.case("payload-salt", "the payload with another salt", Rule.P10, extra={"payload": salted})
    base.case(
        "payload-beside-of-another",
        "a file beside the proof with another payload",
        Rule.P10,
        payload=encode(another),
        extra={"payload": None},
    )
    base.case(
        "content-gone", "the payload is gone: nobody can tell which document it was", Rule.P10, extra={"payload": None}
    )
    base.case(
        "content-gone-not-asked", "the same, where no document is at hand", extra={"payload": None}, has_document=False
    )
