// Command mirror_judge reads a whole log in a folder, in the form of C2SP tlog-tiles, through filippo.io/torchwood.
//
// Its arguments are the folder and a key of the log, as a line. It prints "ok" and the number of entries, each of which
// was checked against the signed checkpoint, or why the log is refused.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

func judge(folder, key string) (int64, error) {
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return 0, fmt.Errorf("key: %w", err)
	}
	files := os.DirFS(folder)
	signed, err := os.ReadFile(folder + "/checkpoint")
	if err != nil {
		return 0, err
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return 0, err
	}
	checkpoint, err := torchwood.ParseCheckpoint(opened.Text)
	if err != nil {
		return 0, err
	}
	tiles, err := torchwood.NewTileFS(files)
	if err != nil {
		return 0, err
	}
	client, err := torchwood.NewClient(tiles)
	if err != nil {
		return 0, err
	}
	var count int64
	for index := range client.AllEntries(context.Background(), checkpoint.Tree, 0) {
		if index != count {
			return 0, errors.New("entries out of order")
		}
		count++
	}
	if err := client.Err(); err != nil {
		return 0, err
	}
	if count != checkpoint.N {
		return 0, fmt.Errorf("%d of %d entries", count, checkpoint.N)
	}
	return count, nil
}

func main() {
	count, err := judge(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Println(strings.Join(strings.Fields(err.Error()), " "))
		return
	}
	fmt.Println("ok", count)
}
