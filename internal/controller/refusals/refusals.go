// Package refusals says in Japanese why the controller refused something. A refusal is one
// English text, which the API, the command line and files of bad rows have; pages and the
// command line say it in the language of who reads.
//
// What lives here: the Japanese of each refusal, ja/*.txt, found by the form of the
// English text: a line as it stands in the code, with %d, %s, %q, and %w for a text that is
// a refusal itself. After it comes its Japanese, a line that begins with "= ": %1 is what
// stands in the place of the first of them, %1! the Japanese of that, and %1& that of each
// word of a list. What must not: refusals themselves, which the use cases give; the words
// of pages. TestAllHaveWords reads the code, and finds refusals without words.
//
// Read first: Say.
package refusals

import (
	"cmp"
	"embed"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/peerload/peerload/internal/device/wording"
)

//go:embed ja
var files embed.FS

// form is how an English text looks, and its Japanese.
type form struct {
	parts    []string // literal texts, and verbs: %d, %q, %s, %w
	japanese string
	letters  int // of the literal texts
	// part says that it is one of parts.txt: a word or two that stand within others, and no
	// refusal by themselves.
	part bool
}

// forms are tried in this order: those that may begin with any text come last, and else
// those that say more come first.
var forms = read()

var (
	verb  = regexp.MustCompile(`%(?:\[\d\])?[.0-9]*[a-zA-Z%]`)
	place = regexp.MustCompile(`%[1-9][!&]?`)
	lists = strings.NewReplacer(", ", "\x00", " or ", "\x00", " and ", "\x00")
)

// longest bounds the texts that are looked for, in bytes: a refusal is a sentence or two.
const longest = 8 << 10

func read() (all []form) {
	entries, err := files.ReadDir("ja")
	if err != nil {
		panic(err) // it was embedded
	}
	for _, e := range entries {
		b, err := files.ReadFile("ja/" + e.Name())
		if err != nil {
			panic(err)
		}
		english := ""
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSuffix(line, "\n")
			if ja, ok := strings.CutPrefix(line, "= "); ok {
				f := compile(english, ja)
				f.part = e.Name() == "parts.txt"
				all = append(all, f)
			} else {
				english = line
			}
		}
	}
	slices.SortStableFunc(all, func(a, b form) int {
		return cmp.Or(cmp.Compare(a.open(), b.open()), cmp.Compare(b.letters, a.letters))
	})
	return all
}

// open is 1 of a form that may begin with any text, else 0.
func (f form) open() int {
	if f.parts[0] == "%s" || f.parts[0] == "%w" {
		return 1
	}
	return 0
}

// compile takes a format of package fmt apart.
func compile(english, japanese string) form {
	f := form{japanese: japanese}
	literal := ""
	for english != "" {
		at := verb.FindStringIndex(english)
		if at == nil {
			at = []int{len(english), len(english)}
		}
		literal += english[:at[0]]
		kind := english[at[0]:at[1]]
		english = english[at[1]:]
		if kind == "%%" {
			literal += "%"
			continue
		}
		if literal != "" {
			f.parts, f.letters, literal = append(f.parts, literal), f.letters+len(literal), ""
		}
		switch {
		case kind == "":
		case strings.HasSuffix(kind, "d") || strings.HasSuffix(kind, "q") || strings.HasSuffix(kind, "w"):
			f.parts = append(f.parts, "%"+kind[len(kind)-1:])
		default:
			f.parts = append(f.parts, "%s")
		}
	}
	if literal != "" {
		f.parts, f.letters = append(f.parts, literal), f.letters+len(literal)
	}
	return f
}

// match takes a text apart as a form has it.
func match(parts []string, text string) (got []string, ok bool) {
	if len(parts) == 0 {
		return nil, text == ""
	}
	at := 0
	switch parts[0] {
	case "%d":
		for at < len(text) && (text[at] >= '0' && text[at] <= '9' || at == 0 && text[0] == '-') {
			at++
		}
	case "%q":
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return nil, false
		}
		at = len(quoted)
	case "%s", "%w":
		return search(parts, text)
	default:
		rest, is := strings.CutPrefix(text, parts[0])
		if !is {
			return nil, false
		}
		return match(parts[1:], rest)
	}
	if at == 0 {
		return nil, false
	}
	got, ok = match(parts[1:], text[at:])
	return append([]string{text[:at]}, got...), ok
}

// search looks for the first end of a part that may be any text.
func search(parts []string, text string) (got []string, ok bool) {
	if len(parts) == 1 {
		return []string{text}, true
	}
	next := parts[1]
	for at := 0; at <= len(text); at++ {
		if next[0] != '%' {
			i := strings.Index(text[at:], next)
			if i < 0 {
				return nil, false
			}
			at += i
		}
		if got, ok = match(parts[1:], text[at:]); ok {
			return append([]string{text[:at]}, got...), true
		}
	}
	return nil, false
}

// Say is a refusal for people: in Japanese if it has words there, else as it is.
func Say(refusal string, japanese bool) string {
	if !japanese {
		return refusal
	}
	said, _ := say(refusal, false)
	return said
}

// Known reports whether a refusal has Japanese words in all its parts.
func Known(refusal string) bool { _, known := say(refusal, false); return known }

// say is known if some form is, with all that it says; else it says what it can. within
// is true of what stands within another text.
func say(refusal string, within bool) (said string, known bool) {
	if len(refusal) > longest {
		return refusal, false
	}
	first := ""
	for _, f := range forms {
		if f.part && !within {
			continue
		}
		got, ok := match(f.parts, refusal)
		if !ok {
			continue
		}
		if said, known = f.say(got); known {
			return said, true
		}
		first = cmp.Or(first, said)
	}
	return cmp.Or(first, refusal), false
}

func (f form) say(got []string) (said string, known bool) {
	known = true
	var verbs []string
	for _, p := range f.parts {
		if len(p) == 2 && p[0] == '%' {
			verbs = append(verbs, p)
		}
	}
	said = place.ReplaceAllStringFunc(f.japanese, func(p string) string {
		i := int(p[1] - '1')
		text := got[i]
		switch p[2:] {
		case "":
			return text
		case "!":
			var ok bool
			text, ok = say(text, verbs[i] != "%w")
			known = known && (ok || verbs[i] != "%w")
		case "&":
			words := strings.Split(lists.Replace(text), "\x00")
			for k, w := range words {
				words[k], _ = say(w, true)
			}
			text = strings.Join(words, "、")
		}
		return wording.Edge + text + wording.Edge
	})
	return wording.Spaced(said), known
}
