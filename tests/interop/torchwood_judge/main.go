// Command torchwood_judge says what filippo.io/torchwood holds of tlog-proofs.
//
// Each line of its input is three paths with tabs between them: a policy, a leaf and a proof. Each line of its output
// is "ok", or why the proof is refused.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

func judge(policyText, leaf, proof []byte) error {
	policy, err := torchwood.ParsePolicy(policyText)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	return torchwood.VerifyProof(policy, tlog.RecordHash(leaf), proof)
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
