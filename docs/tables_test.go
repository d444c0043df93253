package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestTables: each row of each table has as many cells as its header. Browsers
// leave out what is beyond them.
func TestTables(t *testing.T) {
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	above, err := filepath.Glob("../*.md")
	if err != nil {
		t.Fatal(err)
	}
	if files = slices.Concat(files, above); len(files) < 8 {
		t.Fatal(files)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range uneven(string(b)) {
			t.Errorf("%s: another number of cells than in the header: %s", name, line)
		}
	}
	for text, want := range map[string]int{
		"| a | b |\n|---|---|\n| 1 | 2 |\n": 0, "| a | b |\n|---|---|\n| 1 | 2 | | 3 | 4 |\n": 1,
		"| a | b |\n|---|---|\n| 1 |\n": 1, "| a |\n|---|\n| `x \\| y` |\n": 0, "```\n| a |\n| 1 | 2 |\n```\n": 0,
		"| a |\n|---|\n| 1 |\n\n| b | c |\n|---|---|\n| 1 | 2 |\n": 0,
	} {
		if got := uneven(text); len(got) != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// uneven are the rows of the tables of a text that do not fit their header.
func uneven(text string) (rows []string) {
	header, code := 0, false
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if code || !strings.HasPrefix(line, "|") {
			header = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if header == 0 {
			header = n
		}
		if n != header {
			rows = append(rows, line)
		}
	}
	return rows
}

// TestGlossary: each term is there once, in order, and the section that it leads to has
// the word; the main terms of PROTOCOL.md and ARCHITECTURE.md are all there.
func TestGlossary(t *testing.T) {
	rows := parse(page(t, "GLOSSARY.md")).tables["Glossary/term"]
	var terms []string
	for _, row := range rows {
		terms = append(terms, strings.ToLower(row[0]))
		link := regexp.MustCompile(`^\[\w+\]\((.*\.md)(?:#(.*))?\)$`).FindStringSubmatch(row[len(row)-1])
		if len(row) != 3 || row[1] == "" || link == nil {
			t.Errorf("not a term, what it means and a link: %q", row)
			continue
		}
		text, ok := section(page(t, link[1]), link[2])
		if !ok {
			t.Errorf("%s leads to %s#%s, which is not there", row[0], link[1], link[2])
		} else if !hasWord(text, row[0]) {
			t.Errorf("%s#%s does not speak of %q", link[1], link[2], row[0])
		}
	}
	if len(terms) < 60 || !slices.IsSorted(terms) || len(slices.Compact(slices.Clone(terms))) != len(terms) {
		t.Errorf("%d terms, which should be in order and once: %q", len(terms), terms)
	}
	for _, term := range mainTerms(t) {
		if !slices.Contains(terms, term) {
			t.Errorf("GLOSSARY.md lacks %q", term)
		}
	}
}

func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// mainTerms are what PROTOCOL.md sets off where it introduces itself, in its first section
// and among the states of the election, its datagrams, and the words of ARCHITECTURE.md.
func mainTerms(t *testing.T) (terms []string) {
	t.Helper()
	text := page(t, "PROTOCOL.md")
	scope, _ := section(text, "1-scope-and-identities")
	introduction, _, _ := strings.Cut(text, "\n1. [")
	_, states, _ := strings.Cut(text, "\n**States.** ")
	states, _, _ = strings.Cut(states, "\n\n")
	for _, m := range regexp.MustCompile(`\*+([A-Za-z][a-z ]+)\*+`).FindAllStringSubmatch(introduction+scope+states, -1) {
		terms = append(terms, strings.ToLower(m[1]))
	}
	for _, m := range datagrams {
		terms = append(terms, strings.ToLower(nameOf(m)))
	}
	words := page(t, "../ARCHITECTURE.md")
	path := parse(words).tables["One path, seven words/word"]
	for _, row := range path {
		terms = append(terms, row[0])
	}
	_, others, _ := strings.Cut(words, "Other terms are common in the field: ")
	others, _, _ = strings.Cut(others, ".\n")
	others = regexp.MustCompile(`\([^)]*\)`).ReplaceAllString(strings.ReplaceAll(others, "\n", " "), "")
	for term := range strings.SplitSeq(others, ",") {
		terms = append(terms, strings.TrimSpace(term))
	}
	if len(terms) < 35 || len(path) != 7 {
		t.Fatalf("only these main terms were found: %q", terms)
	}
	return terms
}

// section is the part of a document below a heading, by the heading's anchor; all of the
// document without one.
func section(text, anchor string) (string, bool) {
	if anchor == "" {
		return text, true
	}
	depth := 0
	var in []string
	for line := range strings.SplitSeq(text, "\n") {
		if n := len(line) - len(strings.TrimLeft(line, "#")); n > 0 && strings.HasPrefix(line[n:], " ") {
			if depth > 0 && n <= depth {
				break
			}
			name := regexp.MustCompile(`[^\w\s-]`).ReplaceAllString(strings.ToLower(line[n+1:]), "")
			if strings.ReplaceAll(name, " ", "-") == anchor {
				depth = n
			}
		}
		if depth > 0 {
			in = append(in, line)
		}
	}
	return strings.Join(in, "\n"), depth > 0
}

// hasWord reports whether a text has a word, also at the beginning of a longer form.
func hasWord(text, word string) bool {
	text = strings.Join(strings.Fields(text), " ")
	return regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(word)).MatchString(text)
}

// TestSection shows what a section is, and what a word in it.
func TestSection(t *testing.T) {
	const text = "# A\none\n## B, and c\ntwo\nwords here\n### D\nthree\n## E\nfour\n"
	for anchor, want := range map[string]string{"b-and-c": "## B, and c\ntwo\nwords here\n### D\nthree",
		"d": "### D\nthree", "e": "## E\nfour\n", "": text} {
		if got, ok := section(text, anchor); got != want || !ok {
			t.Errorf("%q: %q, %v", anchor, got, ok)
		}
	}
	if got, ok := section(text, "f"); ok {
		t.Errorf("a section that is not there: %q", got)
	}
	if !hasWord(text, "Two word") || hasWord(text, "ords") {
		t.Error("words are not told apart")
	}
}

// TestComparison: the figures of COMPARISON.md are those of RESULTS.md.
func TestComparison(t *testing.T) {
	read := func(name string) document {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return parse(string(b))
	}
	// The first two tables: the last device, and the bytes over the WAN.
	all := read("RESULTS.md").tables["Beside other ways/way"]
	compared := read("COMPARISON.md")
	ways := slices.IndexFunc(all[1:], func(r []string) bool { return r[0] == all[0][0] }) + 1
	if ways < 6 || len(all) < 2*ways {
		t.Fatalf("RESULTS.md has %d ways in %d rows", ways, len(all))
	}
	for i, name := range []string{"last device / bound", "bytes over the WAN / size"} {
		var want [][]string
		for _, r := range all[i*ways : (i+1)*ways] {
			want = append(want, []string{r[0], r[1], r[3], r[6]}) // wan20, lan, lossy
		}
		if have := compared.tables["Figures/"+name]; !slices.EqualFunc(have, want, slices.Equal) {
			t.Errorf("COMPARISON.md has of %s\n%q\nRESULTS.md\n%q", name, have, want)
		}
	}
}
