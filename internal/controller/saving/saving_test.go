package saving_test

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/saving"
	"github.com/peerload/peerload/report"
)

var at = time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)

// TestAdd: what a final report counts for.
func TestAdd(t *testing.T) {
	type counts = saving.Counts
	for name, c := range map[string]struct {
		f    report.Final
		want counts
	}{
		"from peers": {report.Final{Load: "L", Size: 100, BytesFromPeers: 90, BytesFromOrigin: 10},
			counts{Done: 1, FromPeers: 90, FromOrigin: 10, Classic: 100, Last: at, LastDevice: "d"}},
		"a part was held": {report.Final{Load: "L", Size: 100, BytesFromPeers: 30, BytesFromCache: 70},
			counts{Done: 1, FromPeers: 30, FromCache: 70, Classic: 30, Last: at, LastDevice: "d"}},
		"a part came twice": {report.Final{Load: "L", Size: 100, BytesFromOrigin: 130},
			counts{Done: 1, FromOrigin: 130, Classic: 100, Last: at, LastDevice: "d"}},
		"failed": {report.Final{Load: "L", Size: 100, BytesFromOrigin: 40, Reason: "disk",
			Fallbacks: []report.Fallback{{Reason: "parent-lost"}, {Reason: "parent-lost"}, {}}},
			counts{Failed: 1, FromOrigin: 40, Classic: 40, Fallbacks: map[string]int{"parent-lost": 2, "other": 1}}},
		"an older device, all of it": {report.Final{Size: 100, BytesFromPeers: 60, BytesFromCache: 40},
			counts{Done: 1, FromPeers: 60, FromCache: 40, Classic: 60, Last: at, LastDevice: "d"}},
		"an older device, a part": {report.Final{Size: 100, BytesFromPeers: 60},
			counts{Failed: 1, FromPeers: 60, Classic: 60}},
	} {
		var got counts
		if got.Add(at, "d", c.f); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestBounds: sums stop at the largest number, and invented reasons are not kept.
func TestBounds(t *testing.T) {
	c := saving.Counts{FromOrigin: math.MaxInt64 - 5}
	for i := range 100 {
		c.Add(at, "d", report.Final{BytesFromOrigin: 10, Fallbacks: []report.Fallback{{Reason: fmt.Sprint(i)}}})
	}
	if c.FromOrigin != math.MaxInt64 || len(c.Fallbacks) > 33 || c.Fallbacks["other"] != 68 {
		t.Errorf("%d bytes, %d reasons, %d others", c.FromOrigin, len(c.Fallbacks), c.Fallbacks["other"])
	}
}

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		origin, classic int64
		want            int
		ok              bool
	}{{3, 100, 97, true}, {1, 100_000, 99, true}, {0, 100, 100, true}, {130, 100, -30, true}, {0, 0, 0, false}} {
		got, ok := saving.Counts{FromOrigin: c.origin, Classic: c.classic}.Percent()
		if got != c.want || ok != c.ok {
			t.Errorf("%d of %d: %d, %t", c.origin, c.classic, got, ok)
		}
	}
}

// TestSum: counts are put together by each way, and by several at once.
func TestSum(t *testing.T) {
	rec := func(month, site, load string, done int) saving.Record {
		return saving.Record{Group: saving.Group{Month: month, Site: site, Load: load}, Counts: saving.Counts{Done: done,
			Last: at.Add(time.Duration(done) * time.Minute), LastDevice: fmt.Sprint("d", done)}}
	}
	all := []saving.Record{rec("2026-10", "Kyoto", "a", 1), rec("2026-11", "Kyoto", "b", 2),
		rec("2026-11", "Nara", "a", 4), rec("2026-11", "", "", 8)}
	releases := map[string][]string{"a": {"9.4", "9.5"}, "b": {"9.5"}}
	for _, c := range []struct {
		by   []string
		want string
	}{
		{nil, "[///:15]"},
		{[]string{saving.BySite}, "[///:8 /Kyoto//:3 /Nara//:4]"},
		{[]string{saving.ByMonth}, "[2026-10///:1 2026-11///:14]"},
		{[]string{saving.ByLoad}, "[///:8 //a/:5 //b/:2]"},
		{[]string{saving.ByRelease}, "[///:8 ///9.4:5 ///9.5:7]"},
		{saving.Ways(), "[2026-10/Kyoto/a/9.4:1 2026-10/Kyoto/a/9.5:1 2026-11///:8 2026-11/Kyoto/b/9.5:2 " +
			"2026-11/Nara/a/9.4:4 2026-11/Nara/a/9.5:4]"},
	} {
		var got []string
		for _, r := range saving.Sum(all, c.by, releases) {
			got = append(got, fmt.Sprintf("%s/%s/%s/%s:%d", r.Month, r.Site, r.Load, r.Release, r.Done))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("by %v: %v, want %s", c.by, got, c.want)
		}
	}
	if sum := saving.Sum(all, nil, nil)[0]; sum.LastDevice != "d8" {
		t.Errorf("the last device is %s", sum.LastDevice)
	}
}
