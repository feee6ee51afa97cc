"""`tallystick erase`: a payload goes from this node, or is ordered to go from all."""

from typing import Annotated, Final

from msgspec.structs import replace

from tallystick.api import views
from tallystick.api.words import SHORT_ID
from tallystick.cli.issuers import SignWith, Why
from tallystick.cli.motions import organisations
from tallystick.cli.operating import settled
from tallystick.cli.options import Data, NoPassphrase, PassphraseFile, Yes, argument, flag, open_node, wallet_in
from tallystick.cli.output import confirm, fail, give, hint, is_json, marked, say, say_fields, told
from tallystick.cli.words import called, erasure_fields, names_of
from tallystick.client.blocking import Client
from tallystick.client.doors import AnswerProblem
from tallystick.problems import ExitCode, NotThere, Problem

_HASH_DIGITS: Final = 64


def erase(
    which: Annotated[str, argument("WHICH", "A certificate's id, or a payload's hash.")],
    data: Data = None,
    *,
    everywhere: Annotated[
        bool, flag("--everywhere", "Order it for all nodes, of what the own organisation certified.")
    ] = False,
    why: Why = "",
    key: SignWith = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: NoPassphrase = False,
    yes: Yes = False,
) -> None:
    """Erase a payload from this node, for good: what a certificate states, not the certificate.

    The certificate, its place and every proof of it stay. Its subject goes with the payload if it stands there, as on a
    ledger with a directory; otherwise it stays. Other nodes, and backups, have copies of their own. WHICH is a
    certificate's id, or how that begins, or a payload's hash.

    With --everywhere the organisation orders that all nodes erase what it certified, without a vote; what others
    certified, members decide with tallystick motion erase. No node erases by an order: each operator runs tallystick
    erase (tallystick status says so), which then confirms it on the ledger in its member's name. Cut off, run it again.
    Who confirmed: tallystick show certificate 5f0c93ab.

    Examples:
      tallystick erase 5f0c93ab
      tallystick erase 5f0c93ab --everywhere
    """
    if (why or key) and not everywhere:
        raise Problem("--why and --key are for an order: say --everywhere, too")
    with open_node(data, wallet=wallet_in(key, passphrase_file, no_passphrase) if everywhere else None) as client:
        payload_hash, what, one = _payload(client, which)
        _check_alone(client, payload_hash, one)
        order = None
        if everywhere:
            order = _ordered(client, one, what, why, by_node=key is None, yes=yes)
        else:
            kept = "The certificate and every proof of it stay; other nodes and backups keep their copies."
            if one is not None and one.erasure is not None:
                kept += f" {called(one.erasure.orders[0].by)} ordered it; a member's node confirms it on the ledger."
            confirm(f"{kept} Erase {what} from this node, for good?", is_said=yes)
        erased = client.erase(payload_hash, timeout_s=0)
        erased = replace(erased, order=order, confirmations=[settled(client, each) for each in erased.confirmations])
        give(erased)
        _tell(client, what, one, order, erased)


def _payload(client: Client, which: str) -> tuple[str, str, views.Certificate | None]:
    """The hash of the payload that is meant, what it is, and the certificate by which it was named."""
    try:
        one = client.certificate(which)
    except AnswerProblem as problem:
        if problem.exit_code is not ExitCode.NOT_THERE or len(which) != _HASH_DIGITS:
            raise
        return which.lower(), f"the payload {which[:SHORT_ID]}… (now, or when it comes)", None
    if one.payload_hash is None:
        raise NotThere(f"certificate {one.id[:SHORT_ID]}… has no payload; nothing was erased")
    if one.payload is None:
        return one.payload_hash, f"the payload of {one.id[:SHORT_ID]}… (not kept here now)", one
    about = f" about the file {one.payload.file.name}" if one.payload.file else ""
    return one.payload_hash, f"the payload of {one.id[:SHORT_ID]}…{about}", one


def _check_alone(client: Client, payload_hash: str, one: views.Certificate | None) -> None:
    """Raise `Problem` if a certificate of another issuer's, that was not named, would lose its payload, too.

    Whoever certifies the hash of another's payload could otherwise have that erased.
    """
    if one is None:
        return
    own, lines = _of(one), client.payload_use(payload_hash).certificates
    if others := [f"{line.id[:SHORT_ID]}… by {called(line.issuer)}" for line in lines if _of(line) != own]:
        said = f"the payload of {one.id[:SHORT_ID]}… is that of another issuer's certificate, too: {names_of(others)}"
        raise Problem(f"{said}. To erase it all the same, name the payload: tallystick erase {payload_hash}")


def _of(one: views.CertificateLine) -> str:
    return one.issuer.organisation or one.issuer.key


def _ordered(
    client: Client, one: views.Certificate | None, what: str, why: str, *, by_node: bool, yes: bool
) -> views.Outcome | None:
    """The order to erase it everywhere, made unless one stands already. Raises `Problem`."""
    lines = organisations(client)  # on an open ledger nobody would confirm
    if one is None or one.kind != "statement":
        raise Problem(f"only the payload of a statement is ordered to be erased, by the statement's id: {what} is none")
    own = client.status().node
    if by_node and one.issuer.organisation != own.organisation:
        said = f"{called(one.issuer)} certified {one.id[:SHORT_ID]}…, and not this node's organisation"
        if own.key in [line.member_key for line in lines]:
            raise Problem(f"{said}: the members decide that together: tallystick motion erase {one.id[:SHORT_ID]}")
        raise Problem(f"{said}: that organisation orders it, or members do by motion")
    if one.erasure is not None:
        return None
    stays = "The certificate and every proof of it stay, and so do backups, exports and copies in anybody's hands."
    public = " Its public subject stays, too." if one.summary and not (one.payload and one.payload.subject) else ""
    confirm(f"{stays}{public} Order all nodes to erase {what} and erase it here, for good?", is_said=yes)
    outcome = settled(client, client.order_erasure(one.id, words=why, timeout_s=0).outcome)
    if outcome.state == "refused":
        give(views.Outcomes(outcomes=[outcome]))
        raise told(fail(f"it was refused: {outcome.reason}", ExitCode.REFUSED))
    return outcome


def _tell(
    client: Client, what: str, one: views.Certificate | None, order: views.Outcome | None, erased: views.Erased
) -> None:
    if order is not None:
        say(marked("✓", "all nodes", f" are to erase {what}: block {order.block_index or 0:,}"))
    done = [f"block {each.block_index or 0:,}" for each in erased.confirmations if each.state == "final"]
    say(marked("✓", f"{what} is erased here", f", and that is confirmed: {', '.join(done)}" if done else ""))
    for each in erased.confirmations:
        if each.state == "refused":
            raise told(fail(f"that it is erased was not confirmed: {each.reason}", ExitCode.REFUSED))
    if one is not None and not is_json() and (found := client.certificate(one.id).erasure) is not None:
        say_fields(erasure_fields(found))
        if order is not None:
            hint(f"Who has erased it later: tallystick show certificate {one.id[:SHORT_ID]}")
