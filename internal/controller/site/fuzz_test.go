package site

import (
	"reflect"
	"slices"
	"testing"
)

// FuzzWindow: a window is refused, or means the same when it is written in its
// one way.
func FuzzWindow(f *testing.F) {
	for _, s := range []string{"22:00-05:00", "mon-fri,sun 22:00-05:00", "sat-mon 00:00-23:59", "5:00-06:00",
		"22:00-22:00", "mon,mon-sun 01:00-02:00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w, err := ParseWindow(s)
		if err != nil {
			return
		}
		if w.Start < 0 || w.Start >= 24*60 || w.End < 0 || w.End >= 24*60 || w.Start == w.End || w.Days == [7]bool{} {
			t.Fatalf("%q is %+v", s, w)
		}
		again, err := ParseWindow(w.String())
		if err != nil || !reflect.DeepEqual(again, w) {
			t.Fatalf("%q is written %q: %+v, %v; want %+v", s, w, again, err, w)
		}
	})
}

// FuzzNetworks: networks are refused, or are their own form.
func FuzzNetworks(f *testing.F) {
	for _, s := range []string{"10.1.2.3/16", "::ffff:10.1.0.0/112", "2001:db8::1/32", "fe80::1%eth0/64", "10.1/16"} {
		f.Add(s, "10.0.0.0/8")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		all, err := Networks([]string{a, b})
		if err != nil {
			return
		}
		if again, err := Networks(all); err != nil || !slices.Equal(again, all) || len(all) == 0 {
			t.Fatalf("%q and %q are %q, and those %q, %v", a, b, all, again, err)
		}
	})
}

// FuzzZone: a time zone is taken or refused, wherever its name leads.
func FuzzZone(f *testing.F) {
	for _, s := range []string{"Asia/Tokyo", "UTC", "Local", "../../etc/passwd", "/etc/localtime", "Asia"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := CheckZone(s); err == nil && (s == "" || s == "Local" || len(s) > 64) {
			t.Fatalf("%q is taken", s)
		}
	})
}
