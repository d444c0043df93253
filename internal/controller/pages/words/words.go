// Package words has the Japanese texts of the controller's pages. English texts stand
// where they are shown, in templates and in Go; a table finds the Japanese one by them.
//
// What lives here: the tables, ja/*.txt, one for each part of the pages: a line that
// begins with "= " is the Japanese of the text before it, one with "~ " its English, where
// the text is a key that is put together from a state. What must not: where a text is
// shown, and the words of devices, which package wording has. TestWords finds texts that
// have no Japanese, and Japanese that nobody shows.
//
// Read first: Say.
package words

import (
	"embed"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/device/wording"
)

//go:embed ja
var files embed.FS

// word is a text in both languages.
type word struct{ en, ja string }

// table has all texts, by their English or their keys.
var table = read()

// read reads the tables of this program.
func read() map[string]word {
	all := map[string]word{}
	entries, err := files.ReadDir("ja")
	if err != nil {
		panic(err) // it was embedded
	}
	for _, e := range entries {
		b, err := files.ReadFile("ja/" + e.Name())
		if err != nil {
			panic(err)
		}
		key, en := "", ""
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSuffix(line, "\n")
			if ja, ok := strings.CutPrefix(line, "= "); ok {
				all[key] = word{en, ja}
			} else if text, ok := strings.CutPrefix(line, "~ "); ok {
				en = text
			} else {
				key, en = line, line
			}
		}
	}
	return all
}

// Say is a text in Japanese or, if ja is false, in English. With args it is filled in as
// wording.Fill does it, in both languages; Japanese may take them in another order.
func Say(ja bool, en string, args ...any) string {
	text := en
	if w, ok := table[en]; ok {
		text = w.en
		if ja {
			text = w.ja
		}
	}
	if len(args) == 0 {
		return text
	}
	if !ja {
		return wording.Fill(text, args...)
	}
	marked := slices.Clone(args)
	for i, a := range args {
		if s, ok := a.(string); ok {
			marked[i] = wording.Edge + s + wording.Edge
		}
	}
	return wording.Spaced(wording.Fill(text, marked...))
}

// Known reports whether a text has Japanese words.
func Known(en string) bool { _, ok := table[en]; return ok }
