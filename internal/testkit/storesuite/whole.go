package storesuite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peerload/peerload/internal/controller/domain"
)

// oneWriter: updates that run at the same time lose nothing of each other.
func oneWriter(t *testing.T, open Open) {
	s := fresh(t, open)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		return tx.Throttles().Put(ctx, &domain.Throttle{Name: "n"})
	})
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				err := s.Update(t.Context(), func(tx domain.Tx) error {
					n, err := tx.Throttles().Get(t.Context(), "n")
					if err != nil {
						return err
					}
					n.Failures++
					return tx.Throttles().Put(t.Context(), &n)
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		n, err := tx.Throttles().Get(ctx, "n")
		if n.Failures != writers*each {
			t.Errorf("counted %d, not %d", n.Failures, writers*each)
		}
		return err
	})
}

// snapshot: a reader sees one state, also while somebody writes.
func snapshot(t *testing.T, open Open) {
	s := fresh(t, open)
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		before := keys(t, ctx, tx.Loads(), domain.LoadFilter{})
		update(t, s, func(ctx context.Context, tx domain.Tx) error { return tx.Loads().Put(ctx, &domain.Load{Name: "l"}) })
		if after := keys(t, ctx, tx.Loads(), domain.LoadFilter{}); !slices.Equal(before, after) {
			t.Errorf("a reader saw %v and then %v", before, after)
		}
		return nil
	})
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		if got := keys(t, ctx, tx.Loads(), domain.LoadFilter{}); len(got) != 1 {
			t.Errorf("the next reader sees %v", got)
		}
		return nil
	})
}

func readOnly(t *testing.T, open Open) {
	s := fresh(t, open)
	if err := s.View(t.Context(), func(tx domain.Tx) error {
		return tx.Loads().Put(t.Context(),
			&domain.Load{Name: "l"})
	}); err == nil {
		t.Error("a view has written")
	}
}

func reopens(t *testing.T, open Open) {
	s, reopen := open(t)
	fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t)
	defer s.Close()
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		same(t, ctx, tx.Devices(), sampleDevice, 1)
		return nil
	})
}

// export: what was exported and imported is exported as the same.
func export(t *testing.T, open Open) {
	s := fresh(t, open)
	fill(t, s)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		p, err := tx.Profiles().Get(ctx, sampleProfile.Name)
		if err != nil {
			return err
		}
		return tx.Profiles().Put(ctx, &p) // version 2
	})
	var first, second bytes.Buffer
	if err := s.Export(t.Context(), &first); err != nil {
		t.Fatal(err)
	}
	other := fresh(t, open)
	if err := other.Import(t.Context(), bytes.NewReader(first.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := other.Export(t.Context(), &second); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Errorf("exported\n%s\nimported and exported again\n%s", &first, &second)
	}
	view(t, other, func(ctx context.Context, tx domain.Tx) error {
		same(t, ctx, tx.Profiles(), sampleProfile, 2)
		same(t, ctx, tx.Devices(), sampleDevice, 1)
		return nil
	})
	if err := other.Import(t.Context(), bytes.NewReader(first.Bytes())); !errors.Is(err, domain.ErrRefused) {
		t.Errorf("import into a store that is not empty: %v", err)
	}
}

// importLabels: in an export of schema 1 sites were labels; each becomes a site.
func importLabels(t *testing.T, open Open) {
	s := fresh(t, open)
	text := `{"format":"peerload-store","schema":1}
{"table":"devices","row":{"version":1,"created":"2026-03-04T05:06:07Z","name":"SEP1","site":"Kyoto"}}
{"table":"devices","row":{"version":1,"created":"2026-01-04T05:06:07Z","name":"SEP2","site":"Kyoto"}}
{"table":"devices","row":{"version":1,"name":"SEP3","site":"a/b \"c\" \\ 京都"}}
{"table":"devices","row":{"version":1,"name":"SEP4"}}
{"table":"credentials","row":{"version":1,"id":"c","kind":"site-key","hash":"h","site":"Osaka"}}
{"table":"credentials","row":{"version":1,"id":"d","kind":"token","hash":"i"}}
{"end":6}
`
	if err := s.Import(t.Context(), strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		if got := keys(t, ctx, tx.Sites(), domain.TextFilter{}); !slices.Equal(got,
			[]string{"Kyoto", "Osaka", `a/b "c" \ 京都`}) {
			t.Errorf("the sites are %q", got)
		}
		kyoto, err := tx.Sites().Get(ctx, "Kyoto")
		if kyoto.Created.Format(time.DateOnly) != "2026-01-04" || kyoto.Version != 1 || kyoto.Networks == nil {
			t.Errorf("Kyoto is %+v", kyoto)
		}
		return err
	})
	// One of this schema has the sites that it has.
	var now bytes.Buffer
	if err := s.Export(t.Context(), &now); err != nil {
		t.Fatal(err)
	}
	other := fresh(t, open)
	if err := other.Import(t.Context(), &now); err != nil {
		t.Error(err)
	}
}

// importRefuses: a part of an export, or another text, changes nothing.
func importRefuses(t *testing.T, open Open) {
	s := fresh(t, open)
	fill(t, s)
	var all bytes.Buffer
	if err := s.Export(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(all.String(), "\n"), "\n")
	other := fresh(t, open)
	for name, text := range map[string]string{
		"nothing":        "",
		"another text":   "hello\n",
		"no header":      strings.Join(lines[1:], ""),
		"no end":         strings.Join(lines[:len(lines)-1], ""),
		"a row less":     strings.Join(slices.Delete(slices.Clone(lines), 3, 4), ""),
		"a row twice":    strings.Join(slices.Insert(slices.Clone(lines), 3, lines[3]), ""),
		"a cut line":     all.String()[:all.Len()/2],
		"a newer schema": strings.Replace(all.String(), `"schema":2`, `"schema":99`, 1),
		"unknown table":  strings.Replace(all.String(), `"table":"loads"`, `"table":"roads"`, 1),
		"unknown field":  strings.Replace(all.String(), `"release"`, `"colour"`, 1),
		"text behind":    all.String() + "\n{}\n",
	} {
		if err := other.Import(t.Context(), strings.NewReader(text)); err == nil {
			t.Errorf("%s was imported", name)
		}
	}
	// Counted right, and still wrong.
	rows := len(lines) - 2
	end := strings.Replace(lines[len(lines)-1], strconv.Itoa(rows), strconv.Itoa(rows+1), 1)
	twice := strings.Join(slices.Concat(lines[:4], lines[3:len(lines)-1], []string{end}), "")
	for text, want := range map[string]string{
		twice: "stands twice",
		strings.Replace(all.String(), `"version":1`, `"version":0`, 1):                            "without a key or version",
		strings.Replace(all.String(), `"name":"`+sampleProfile.Name+`"`, `"name":""`, 1):          "without a key or version",
		strings.Replace(all.String(), `"table":"loads"`, `"table":""`, 1):                         "there is no table",
		strings.Replace(all.String(), lines[len(lines)-1], strings.Replace(end, ":", ":1", 1), 1): "rows, not ",
		strings.Replace(all.String(), `"format":"`, `"format":"x`, 1):                             "format ",
		strings.Replace(all.String(), `"schema":2`, `"schema":0`, 1):                              "of schema 0",
	} {
		if err := other.Import(t.Context(), strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q for\n%s", err, want, text)
		}
	}
	if err := other.Import(t.Context(), &all); err != nil {
		t.Errorf("after all that, the whole: %v", err)
	}
}

// cancelled: a caller that gives up leaves nothing behind, and blocks nobody.
func cancelled(t *testing.T, open Open) {
	s := fresh(t, open)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Update(ctx, func(tx domain.Tx) error {
		if err := tx.Loads().Put(ctx, &domain.Load{Name: "l"}); err != nil {
			return err
		}
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		if got := keys(t, ctx, tx.Loads(), domain.LoadFilter{}); len(got) > 0 {
			t.Errorf("%v stayed", got)
		}
		return nil
	})
}

// model compares the store with a map over random histories.
func model(t *testing.T, open Open) {
	s := fresh(t, open)
	rapid.Check(t, func(r *rapid.T) {
		want := map[string]int64{} // versions
		ctx := t.Context()
		err := s.Update(ctx, func(tx domain.Tx) error {
			for _, k := range keys(t, ctx, tx.Profiles(), domain.TextFilter{}) {
				if err := tx.Profiles().Delete(ctx, k, 0); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			r.Fatal(err)
		}
		for range rapid.IntRange(1, 6).Draw(r, "transactions") {
			next, fails := maps.Clone(want), rapid.Bool().Draw(r, "fails")
			err := s.Update(ctx, func(tx domain.Tx) error {
				for range rapid.IntRange(1, 5).Draw(r, "steps") {
					step(r, ctx, tx, next)
				}
				if fails {
					return errors.New("on purpose")
				}
				return nil
			})
			if (err != nil) != fails {
				r.Fatal(err)
			}
			if !fails {
				want = next
			}
			got := map[string]int64{}
			err = s.View(ctx, func(tx domain.Tx) error {
				l, err := tx.Profiles().List(ctx, domain.TextFilter{}, domain.Page{})
				for _, p := range l.Items {
					got[p.Name] = p.Version
				}
				return err
			})
			if err != nil || !maps.Equal(got, want) {
				r.Fatalf("the store has %v, %v; want %v", got, err, want)
			}
		}
	})
}

// step does one thing to the store and to the map.
func step(r *rapid.T, ctx context.Context, tx domain.Tx, want map[string]int64) {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "name")
	version := rapid.Int64Range(0, 3).Draw(r, "version")
	if rapid.Bool().Draw(r, "delete") {
		err := tx.Profiles().Delete(ctx, name, version)
		stored, there := want[name]
		wantErr := error(nil)
		switch {
		case !there:
			wantErr = domain.ErrNotFound
		case version != 0 && version != stored:
			wantErr = domain.ErrConflict
		default:
			delete(want, name)
		}
		if !errors.Is(err, wantErr) {
			r.Fatalf("delete %s at %d of %d: %v, want %v", name, version, stored, err, wantErr)
		}
		return
	}
	err := tx.Profiles().Put(ctx, &domain.Profile{Name: name, Meta: domain.Meta{Version: version},
		Description: fmt.Sprint(version)})
	stored, there := want[name]
	wantErr := error(nil)
	switch {
	case version == 0 && there:
		wantErr = domain.ErrExists
	case version != stored:
		wantErr = domain.ErrConflict
	default:
		want[name] = version + 1
	}
	if !errors.Is(err, wantErr) {
		r.Fatalf("put %s at %d of %d: %v, want %v", name, version, stored, err, wantErr)
	}
}
