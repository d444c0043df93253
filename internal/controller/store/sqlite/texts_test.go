package sqlite

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
)

// found lists the devices that have a text.
func found(t *testing.T, s *Store, text string) (names []string) {
	t.Helper()
	err := s.View(t.Context(), func(tx domain.Tx) error {
		names = nil
		l, err := tx.Devices().List(t.Context(), domain.DeviceFilter{Text: text}, domain.Page{Limit: domain.MaxPage})
		for _, d := range l.Items {
			names = append(names, d.Name)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return names
}

// TestTexts: the index of texts finds what has the text, and nothing else: after
// changes, removals, a VACUUM, and of letters of all kinds.
func TestTexts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	s, err := Open(t.Context(), Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	texts := []string{"Reception", "100 % \"quoted\" 'text'", "会議室の電話 東館", "Größe ÄÖÜ",
		"İstanbul", "under_score\\", "a", "room 12", "ROOM 120", "-OR- NOT AND *", ""}
	all := map[string]string{}
	put := func(i int, text string) {
		t.Helper()
		name := fmt.Sprintf("SEP%012X", i)
		err := s.Update(t.Context(), func(tx domain.Tx) error {
			d, _ := tx.Devices().Get(t.Context(), name)
			d.Name, d.Description = name, text
			return tx.Devices().PutAll(t.Context(), []domain.Device{d})
		})
		if err != nil {
			t.Fatal(err)
		}
		all[name] = text
	}
	compare := func() {
		t.Helper()
		for _, text := range append([]string{"cept", "% \"q", "室の電", "größe", "istanbul", "score\\", "oom 12", "sep0000",
			"00a", "or- not", "xyz", "*", "会議"}, texts...) {
			var want []string
			for name, is := range all {
				if strings.Contains(strings.ToLower(name+"\n"+is), strings.ToLower(text)) {
					want = append(want, name)
				}
			}
			slices.Sort(want)
			if got := found(t, s, text); !slices.Equal(got, want) {
				t.Errorf("%q finds %v, not %v", text, got, want)
			}
		}
	}
	for i := range 60 {
		put(i, texts[i%len(texts)])
	}
	compare()
	for i := range 20 {
		put(i, texts[(i+3)%len(texts)])
	}
	for i := 30; i < 40; i++ {
		name := fmt.Sprintf("SEP%012X", i)
		err := s.Update(t.Context(), func(tx domain.Tx) error { return tx.Devices().Delete(t.Context(), name, 0) })
		if err != nil {
			t.Fatal(err)
		}
		delete(all, name)
	}
	compare()
	if _, err := s.Writes.ExecContext(t.Context(), "VACUUM"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(t.Context(), Config{Path: path}); err != nil {
		t.Fatal(err)
	}
	compare()
	put(70, "Reception")
	compare()
	const check = "INSERT INTO devices_text (devices_text) VALUES ('integrity-check')"
	if _, err := s.Writes.ExecContext(t.Context(), check); err != nil {
		t.Error(err)
	}
}

// TestTextIsIndexed: a text that few devices have is found without reading all of them.
func TestTextIsIndexed(t *testing.T) {
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "a.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var asked []string
	s.Trace = func(query string, _ []any) { asked = append(asked, query) }
	found(t, s, "room 12")
	if !slices.ContainsFunc(asked, func(q string) bool {
		return strings.Contains(q, "FROM devices WHERE") &&
			strings.Contains(q, "json_each")
	}) {
		t.Errorf("asked %q", asked)
	}
}
