package units

import (
	"math"
	"testing"
)

func TestParseRate(t *testing.T) {
	for in, want := range map[string]Rate{
		"20mbit": 20 * Mbit, "8 Mbit/s": 8 * Mbit, "384kbit": 384 * Kbit, "1.5Gbps": 0, "1.5gbitps": 1500 * Mbit,
		"": 0, "20": 0, "20mb": 0, "1bit": 0, "-3mbit": 0, "1e3mbit": 0, "200gbit": 0, "nanmbit": 0,
	} {
		got, err := ParseRate(in)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	if s := (1500 * Kbit).String(); s != "1.5 Mbit/s" {
		t.Error(s)
	}
	if back, err := ParseRate((20 * Mbit).String()); err != nil || back != 20*Mbit {
		t.Error(back, err)
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]Size{
		"20MB": 20e6, "64KiB": 64 << 10, "7": 7, "1.5 kB": 1500, "500MB": 500e6,
		"": 0, "MB": 0, "0": 0, "17GiB": 0, "-1": 0, "3TB": 0,
	} {
		got, err := parseSize(in)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
}

func TestParseFraction(t *testing.T) {
	for in, want := range map[string]Fraction{"0.5%": 0.005, "2": 0.02, "0%": 0, "100 %": 1,
		"101%": -1, "-1%": -1, "": -1, "x": -1, "nan%": -1} {
		got, err := parseFraction(in)
		if (err == nil) != (want >= 0) || err == nil && got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	if s := Fraction(0.005).String(); s != "0.5%" {
		t.Error(s)
	}
}

// FuzzUnits: a rate, a size and a percentage are refused, or within their bounds;
// what is written of them is read again as nearly the same.
func FuzzUnits(f *testing.F) {
	for _, s := range []string{"20mbit", "8 kbit/s", "100Gbps", "64KiB", "0.5%", "1e9", "16GiB", "nan"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRate(s); err == nil {
			again, err := ParseRate(r.String())
			if err != nil || r < 8*Kbit || r > maxRate || math.Abs(float64(again-r)) > float64(r)/1000 {
				t.Fatalf("%q is %d, written %q: %d, %v", s, r, r, again, err)
			}
		}
		var z Size
		if err := z.Set(s); err == nil && (z < 1 || z > maxSize) {
			t.Fatalf("%q is %d bytes", s, z)
		}
		if p, err := parseFraction(s); err == nil {
			again, err := parseFraction(p.String())
			if err != nil || p < 0 || p > 1 || math.Abs(float64(again-p)) > 1e-8 {
				t.Fatalf("%q is %v, written %q: %v, %v", s, float64(p), p, float64(again), err)
			}
		}
	})
}
