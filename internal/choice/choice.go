// Package choice says what is wrong with a word that is none of those that are
// valid: which they are, and which was probably meant.
//
// What lives here: the texts, and what counts as near. What must not: the words
// themselves. Read Unknown first.
package choice

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Unknown says that a word names nothing of its kind, such as a setting, which
// names there are, and which was probably meant.
func Unknown(kind, word string, valid []string) error {
	text := fmt.Sprintf("unknown %s %q", kind, word)
	if len(valid) > 0 {
		text += ": choose " + List(valid)
	}
	return errors.New(text + meant(word, valid))
}

// Check returns nil if the word is valid, else what Unknown says.
func Check(kind, word string, valid []string) error {
	if slices.Contains(valid, word) {
		return nil
	}
	return Unknown(kind, word, valid)
}

// Value returns nil if the value is valid for what is set, an option or a
// setting by its name. Else the error tells what it can be.
func Value(name, value string, valid []string) error {
	if slices.Contains(valid, value) {
		return nil
	}
	return fmt.Errorf("%s is %s, not %q%s", name, List(valid), value, meant(value, valid))
}

// meant ends a message with the words that were probably meant.
func meant(word string, valid []string) string {
	near := Nearest(word, valid)
	if len(near) == 0 || len(near) == len(valid) { // those have been named
		return ""
	}
	return "; did you mean " + List(near) + "?"
}

// Nearest returns the valid words that were probably meant: those that begin
// with the word, else those in which the fewest letters differ, at most one of
// a short word and two of another. Case makes no difference.
func Nearest(word string, valid []string) (near []string) {
	typed := strings.ToLower(word)
	if typed == "" {
		return nil
	}
	least := 1
	if len(typed) > 4 {
		least = 2
	}
	for _, v := range valid {
		lower := strings.ToLower(v)
		far := distance(typed, lower)
		if strings.HasPrefix(lower, typed) {
			far = 0
		}
		if far > least || far == len(lower) { // of which no letter is left
			continue
		}
		if far < least {
			least, near = far, nil
		}
		near = append(near, v)
	}
	return near
}

// List writes words as a sentence has them: a, b or c.
func List(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
	return strings.Join(words, "")
}

// distance is how many bytes to insert, delete, replace, or swap with their
// neighbour until a is b (optimal string alignment).
func distance(a, b string) int {
	// Each row is from the first i bytes of a to each prefix of b.
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			row[j+1] = min(last[j+1], row[j]) + 1
			if a[i] == b[j] {
				row[j+1] = min(row[j+1], last[j])
			} else {
				row[j+1] = min(row[j+1], last[j]+1)
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
