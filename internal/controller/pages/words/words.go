// Package words has what the controller's pages say in Japanese. English texts stand
// where they are shown, in templates and in Go; a table finds the Japanese one by them.
//
// What lives here: the tables, ja/*.txt, one for each part of the pages: a line that
// begins with "= " is the Japanese of the line before it. What must not: where a text is
// shown, and the words of devices, which package wording has. TestWords finds texts that
// have no Japanese, and Japanese that nobody shows.
//
// Read first: Say.
package words

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed ja
var files embed.FS

// table has the Japanese of all texts, by their English.
var table = read()

// read reads the tables of this program.
func read() map[string]string {
	all := map[string]string{}
	entries, err := files.ReadDir("ja")
	if err != nil {
		panic(err) // it was embedded
	}
	for _, e := range entries {
		b, err := files.ReadFile("ja/" + e.Name())
		if err != nil {
			panic(err)
		}
		en := ""
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSuffix(line, "\n")
			if ja, ok := strings.CutPrefix(line, "= "); ok {
				all[en] = ja
			}
			en = line
		}
	}
	return all
}

// Say is a text in Japanese or, if ja is false, in English. With args it is a format
// of package fmt, in both languages; Japanese may take them in another order.
func Say(ja bool, en string, args ...any) string {
	text := en
	if ja {
		if t, ok := table[en]; ok {
			text = t
		}
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// Known reports whether a text has Japanese words.
func Known(en string) bool { _, ok := table[en]; return ok }
