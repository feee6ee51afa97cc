// Command growing_log is a log that others' libraries make: golang.org/x/mod/sumdb, filippo.io/torchwood,
// github.com/transparency-dev/{formats,witness}. Every history of it is made anew from what it is told.
//
//	growing_log key SEED ORIGIN                              the log's vkey
//	growing_log write DIR SEED ORIGIN SIZE FORK              C2SP tlog-tiles, with a signed checkpoint
//	growing_log prove OLD SIZE                               the consistency proof, a hash in hex a line
//	growing_log submit URL WITNESS SEED ORIGIN OLD SIZE FORK asks a witness; "cosigned TIME", or why not
//
// SEED is 64 hexadecimal digits. Entries from FORK on are those of another history; a FORK of SIZE or more is none.
package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	witness "github.com/transparency-dev/witness/client/http"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func number(text string) int64 { return must(strconv.ParseInt(text, 10, 64)) }

// stored keeps all hashes of a tree, as golang.org/x/mod/sumdb/tlog numbers them.
type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		found[i] = s[index]
	}
	return found, nil
}

func entry(i, fork int64) []byte {
	if i >= fork {
		return fmt.Appendf(nil, "entry %d of another history", i)
	}
	return fmt.Appendf(nil, "entry %d", i)
}

func grown(size, fork int64) stored {
	var hashes stored
	for i := range size {
		hashes = append(hashes, must(tlog.StoredHashes(i, entry(i, fork), hashes))...)
	}
	return hashes
}

func signer(seed, origin string) (note.Signer, string) {
	key := ed25519.NewKeyFromSeed(must(hex.DecodeString(seed)))
	public := append([]byte{1}, key.Public().(ed25519.PublicKey)...)
	vkey := must(note.NewEd25519VerifierKey(origin, key.Public().(ed25519.PublicKey)))
	id := strings.Split(vkey, "+")[1]
	if base64.StdEncoding.EncodeToString(public) != strings.SplitN(vkey, "+", 3)[2] {
		panic("a vkey of another form")
	}
	private := base64.StdEncoding.EncodeToString(append([]byte{1}, key.Seed()...))
	return must(note.NewSigner("PRIVATE+KEY+" + origin + "+" + id + "+" + private)), vkey
}

func checkpoint(seed, origin string, size, fork int64) []byte {
	root := must(tlog.TreeHash(size, grown(size, fork)))
	text := torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: size, Hash: root}}.String()
	by, _ := signer(seed, origin)
	return must(note.Sign(&note.Note{Text: text}, by))
}

func write(dir, seed, origin string, size, fork int64) {
	hashes := grown(size, fork)
	put := func(path string, data []byte) {
		path = filepath.Join(dir, path)
		must(0, os.MkdirAll(filepath.Dir(path), 0o755))
		must(0, os.WriteFile(path, data, 0o644))
	}
	for _, tile := range tlog.NewTiles(torchwood.TileHeight, 0, size) {
		put(torchwood.TilePath(tile), must(tlog.ReadTileData(tile, hashes)))
		if tile.L == 0 {
			var bundle []byte
			for i := range int64(tile.W) {
				bundle = must(torchwood.AppendTileEntry(bundle, entry(tile.N*torchwood.TileWidth+i, fork)))
			}
			tile.L = -1
			put(torchwood.TilePath(tile), bundle)
		}
	}
	put("checkpoint", checkpoint(seed, origin, size, fork))
}

func submit(where, vkey, seed, origin string, old, size, fork int64) string {
	signed, hashes := checkpoint(seed, origin, size, fork), grown(size, fork)
	var proof [][]byte
	if old > 0 && old < size {
		for _, hash := range must(tlog.ProveTree(size, old, hashes)) {
			proof = append(proof, hash[:])
		}
	}
	client := witness.NewWitness(must(url.Parse(where)), http.DefaultClient)
	answer, latest, err := client.Update(context.Background(), uint64(old), signed, proof)
	if err != nil {
		return fmt.Sprintf("refused %d: %v", latest, err)
	}
	full := append(signed, answer...)
	cosigner := must(torchwood.NewCosignatureVerifier(vkey))
	opened := must(note.Open(full, note.VerifierList(cosigner)))
	also := must(fnote.NewVerifierForCosignatureV1(vkey))
	must(note.Open(full, note.VerifierList(also)))
	return fmt.Sprintf("cosigned %d", must(torchwood.CosignatureTimestamp(opened.Sigs[0])))
}

func main() {
	args := os.Args[2:]
	switch os.Args[1] {
	case "key":
		_, vkey := signer(args[0], args[1])
		fmt.Println(vkey)
	case "write":
		write(args[0], args[1], args[2], number(args[3]), number(args[4]))
	case "prove":
		size := number(args[1])
		hashes := grown(size, size)
		fmt.Println(must(tlog.TreeHash(number(args[0]), hashes)), must(tlog.TreeHash(size, hashes)))
		for _, hash := range must(tlog.ProveTree(size, number(args[0]), hashes)) {
			fmt.Println(hash)
		}
	case "submit":
		fmt.Println(submit(args[0], args[1], args[2], args[3], number(args[4]), number(args[5]), number(args[6])))
	}
}
