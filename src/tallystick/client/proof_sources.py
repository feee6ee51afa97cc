"""Where proofs are made, for commands: at a node, from a chain's file, or from a mirror. None of them is believed."""

from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from tallystick.client.blocking import Client
from tallystick.client.doors import AnswerProblem, is_url
from tallystick.client.mirror import Mirror, NoMirror, files_at
from tallystick.client.mirror_proving import MirrorProver
from tallystick.client.proof_writing import certificate_about
from tallystick.host.data_folder import DataFolder
from tallystick.host.text import shown_url
from tallystick.ledger.bundle import Bundle
from tallystick.ledger.errors import Refused
from tallystick.ledger.file_statement import FileStatement, check_document
from tallystick.problems import DamagedStore, NotThere, NotYet, Problem
from tallystick.storage.making import ProofFiles


class ProofSource(Protocol):
    """Makes proofs of one ledger."""

    @property
    def ledger_id(self) -> bytes:
        """32 bytes."""

    def certificate_id(self, beginning: str) -> str:
        """The whole id of the one certificate whose id begins so. Raises `Problem`."""

    def certificate_about(self, described: FileStatement, before: Bundle | None) -> str:
        """The id of a file's certificate; an earlier proof is of it, or of another. Raises `Problem`."""

    def prove(self, certificate_id: str, before: Bundle | None) -> ProofFiles:
        """The proof of a certificate, of which there may be an earlier one. Raises `Problem`."""

    def prove_by_ml_dsa(self, certificate_id: str) -> ProofFiles | None:
        """At the newest epoch's end that members cosigned by ML-DSA-44, too; `None`: none is known there."""


class NodeSource:
    """A node, or the file of a chain."""

    def __init__(self, client: Client, since: int = 0, timeout_s: float = 60.0, *, ml_dsa: bool = False) -> None:
        """Proofs are for who knows the members of epoch `since`; so long members are waited for.

        `ml_dsa`: at the newest epoch's end that members cosigned by ML-DSA-44, too; nobody is waited for.
        """
        self._client, self._since, self._timeout_s, self._ml_dsa = client, since, timeout_s, ml_dsa
        self.ledger_id = client.ledger_id

    def certificate_id(self, beginning: str) -> str:
        """As the node knows it."""
        return self._client.certificate(beginning).id

    def certificate_about(self, described: FileStatement, before: Bundle | None) -> str:
        """The one that there is a proof of, or else the first that is valid."""
        known = before.extra.certificate.id.hex() if before is not None else None
        return certificate_about(self._client, described, known).id

    def prove(self, certificate_id: str, before: Bundle | None) -> ProofFiles:
        """Members countersign anew what is older than a minute, if a running node can ask them."""
        fresh = not self._client.is_file and not self._ml_dsa
        return self._client.prove(
            certificate_id, since=self._since, fresh=fresh, ml_dsa=self._ml_dsa, timeout_s=self._timeout_s
        )

    def prove_by_ml_dsa(self, certificate_id: str) -> ProofFiles | None:
        """As the node has it since its start; a file keeps none."""
        try:
            return self._client.prove(certificate_id, since=self._since, ml_dsa=True, timeout_s=self._timeout_s)
        except AnswerProblem as problem:
            if problem.code in (NotYet.code, NotThere.code):
                return None
            raise


class MirrorSource:
    """A mirror, with the checkpoint that it has."""

    def __init__(self, mirror: Mirror) -> None:
        """Raises `Problem`."""
        self._prover = MirrorProver(mirror)

    @property
    def ledger_id(self) -> bytes:
        """As the mirror says it."""
        return self._prover.ledger_id

    def certificate_id(self, beginning: str) -> str:
        """As the mirror finds it."""
        return self._prover.certificate_id(beginning)

    def certificate_about(self, described: FileStatement, before: Bundle | None) -> str:
        """That of the earlier proof, if it is about this file: a mirror holds no contents to look in."""
        if before is None:
            found = f"a mirror does not tell which certificate is about {described.name}: it holds no contents"
            raise NotThere(f"{found}; name the id of the certificate, or put an earlier proof beside the file")
        try:
            check_document(before.extra.certificate, before.payload, described)
        except Refused as refused:
            reason = f"the proof beside {described.name} is not known to be of this document: {refused.reason}"
            raise NotThere(f"{reason}; name the certificate by its id") from None
        return before.extra.certificate.id.hex()

    def prove(self, certificate_id: str, before: Bundle | None) -> ProofFiles:
        """With the content that the earlier proof has."""
        return self._prover.prove(certificate_id, before)

    def prove_by_ml_dsa(self, certificate_id: str) -> None:
        """A mirror has no signatures by ML-DSA-44."""


def open_mirror(where: str, stack: ExitStack) -> MirrorSource:
    """The mirror at a URL or in a folder. Raises `Problem`."""
    return MirrorSource(stack.enter_context(Mirror(files_at(where))))


def open_online(where: str, stack: ExitStack) -> ProofSource:
    """A node, or else a mirror: a node has members countersign anew, so it is asked first. Raises `Problem`."""
    if not is_url(where) and not DataFolder(Path(where)).is_there:
        return open_mirror(where, stack)
    try:
        return NodeSource(stack.enter_context(Client(where)))
    except DamagedStore:  # whatever answers there does not answer as a node
        try:
            return open_mirror(where, stack)
        except NoMirror as no_mirror:
            no_node = f"{shown_url(where)} is no node of this version"
            raise Problem(f"{no_node}, and {no_mirror.why}; name a node or a mirror") from None
