// Command formats_judge says what github.com/transparency-dev/formats holds of tlog-proofs.
//
// Each line of its input is three paths with tabs between them: a policy, a leaf and a proof. Each line of its output
// is "ok", or why the proof is refused. formats reads proofs, checkpoints and policies; what it leaves to its caller
// is done here: any one of the policy's logs signed the checkpoint, and the leaf is in its tree.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/formats/witness"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// A policy for clients names no URLs; formats reads the policies of logs, where each witness has one.
var clientsWitness = regexp.MustCompile(`(?m)^([ \t]*witness[ \t]+[^\s#]+[ \t]+[^\s#]+)[ \t\r]*(#.*)?$`)

// logOf returns the checkpoint as the first of the policy's logs that signed it means it.
func logOf(policyText, signed []byte) (*log.Checkpoint, error) {
	err := errors.New("the policy names no log")
	for line := range strings.Lines(string(policyText)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "log" {
			verifier, broken := note.NewVerifier(fields[1])
			if broken != nil {
				return nil, fmt.Errorf("policy: %w", broken)
			}
			var checkpoint *log.Checkpoint
			if checkpoint, _, _, err = log.ParseCheckpoint(signed, verifier.Name(), verifier); err == nil {
				return checkpoint, nil
			}
		}
	}
	return nil, err
}

func judge(policyText, leaf, proofText []byte) error {
	quorum, err := witness.ParsePolicy(clientsWitness.ReplaceAll(policyText, []byte("$1 https://witness.invalid")))
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	var p proof.TLogProof
	if err := p.Unmarshal(proofText); err != nil {
		return err
	}
	checkpoint, err := logOf(policyText, p.Checkpoint)
	if err != nil {
		return err
	}
	if !quorum.Satisfied(p.Checkpoint) {
		return errors.New("the quorum of the policy is not reached")
	}
	path := make([][]byte, len(p.Hashes))
	for i := range p.Hashes {
		path[i] = p.Hashes[i][:]
	}
	leafHash := rfc6962.DefaultHasher.HashLeaf(leaf)
	return merkle.VerifyInclusion(rfc6962.DefaultHasher, p.Index, checkpoint.Size, leafHash, path, checkpoint.Hash)
}

func main() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var files [3][]byte
		var err error
		for i, path := range strings.SplitN(lines.Text(), "\t", len(files)) {
			if files[i], err = os.ReadFile(path); err != nil {
				panic(err)
			}
		}
		verdict := "ok"
		if err := judge(files[0], files[1], files[2]); err != nil {
			verdict = strings.Join(strings.Fields(err.Error()), " ")
		}
		fmt.Println(verdict)
	}
}
