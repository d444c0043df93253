package terminal

import (
	"slices"
	"testing"
)

func TestTable(t *testing.T) {
	rows := [][]string{{"NAME", "SITE", "OK"}, {"a", "東京", "yes"}, {"bc", "Kyoto", ""}, {"ﾓﾃﾞﾙ", "x\x1b[2J", "no"}}
	want := []string{
		"NAME  SITE      OK",
		"a     東京      yes",
		"bc    Kyoto     -",
		`ﾓﾃﾞﾙ  x\x1b[2J  no`,
	}
	if got := Table(rows); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if rows[3][1] != "x\x1b[2J" || rows[2][2] != "" {
		t.Error("the rows were changed")
	}
	if Table(nil) != nil {
		t.Error("lines of nothing")
	}
	if YesNo(true) != "yes" || YesNo(false) != "no" {
		t.Error("yes and no")
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 bytes", 1: "1 byte", 999: "999 bytes", 1000: "1 kB", 1500: "1.5 kB", 20_912_345: "20.91 MB",
		999_994: "999.99 kB", 999_999: "1 MB", 1_000_000_000: "1 GB", 3_210_000_000_000: "3.21 TB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
