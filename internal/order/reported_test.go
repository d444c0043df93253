package order_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/order"
)

// A report comes back as it was, and only the secret, the carrier, the time and the text
// that it was sealed with fit its code.
func TestReported(t *testing.T) {
	mine, theirs := order.NewSecret("one"), order.NewSecret("two")
	text := []byte(`{"schema":1,"message":"a \u003c b"}`)
	r, err := mine.SealReport(one, two, at, text)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := order.PackReports([]order.Reported{r})
	if err != nil {
		t.Fatal(err)
	}
	all, err := order.UnpackReports(packed)
	if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], r) || !mine.Reported(all[0], two) ||
		!all[0].Time().Equal(at) {
		t.Fatalf("%+v came back as %+v, %v", r, all, err)
	}
	if theirs.Reported(r, two) || mine.Reported(r, one) {
		t.Error("another secret or carrier fits")
	}
	for name, change := range map[string]func(*order.Reported){
		"device": func(r *order.Reported) { r.Device = two },
		"time":   func(r *order.Reported) { r.At++ },
		"text":   func(r *order.Reported) { r.Report = json.RawMessage(`{"schema":2}`) },
		"code":   func(r *order.Reported) { r.Code = r.Code[:4] },
	} {
		changed := all[0]
		if change(&changed); mine.Reported(changed, two) {
			t.Errorf("another %s fits", name)
		}
	}
	for _, text := range []string{`{"a": 1}`, `{`, ``} {
		if _, err := mine.SealReport(one, two, at, []byte(text)); !errors.Is(err, order.ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := mine.SealReport(one, "x", at, text); !errors.Is(err, order.ErrMalformed) {
		t.Errorf("for no device: %v", err)
	}
}

// Reports that are alike cost little when they go together, and more than fit are refused.
func TestPackReports(t *testing.T) {
	var all []order.Reported
	plain := 0
	for i := range order.MaxReports {
		device := fmt.Sprintf("SEP%012X", i)
		text := fmt.Appendf(nil, `{"schema":1,"time":"2026-11-29T01:02:%02dZ","model":"CP-7961G","program":"peerload 1",`+
			`"state":"idle","sharing":"on","sharing_from":"enterprise","address":"192.168.10.%d","active":"9.4"}`, i%60, i)
		r, err := order.NewSecret(device).SealReport(device, one, at.Add(time.Duration(i)*time.Millisecond), text)
		if err != nil {
			t.Fatal(err)
		}
		plain += len(text)
		all = append(all, r)
	}
	b, err := order.PackReports(all)
	if err != nil || len(b) > plain/3 {
		t.Errorf("%d bytes became %d, %v", plain, len(b), err)
	}
	t.Logf("%d reports: %d bytes, packed %d", len(all), plain, len(b))
	if _, err := order.PackReports(append(all, all[0])); !errors.Is(err, order.ErrMalformed) {
		t.Errorf("one more: %v", err)
	}
	bomb, err := order.PackReports([]order.Reported{{Report: append(append([]byte{'"'},
		bytes.Repeat([]byte{'a'}, 9<<20)...), '"')}})
	if !errors.Is(err, order.ErrMalformed) {
		t.Errorf("a long one: %d bytes, %v", len(bomb), err)
	}
}

// What is packed into little and would be much is refused before it is: millions of
// reports, and one that no device can hand to a carrier.
func TestReportBombs(t *testing.T) {
	for name, text := range map[string]string{
		"millions":   "[" + strings.Repeat("{},", 2<<20) + "{}]",
		"a long one": `[{"d":"` + one + `","r":[` + strings.Repeat("{},", order.MaxCarried/3+1) + "{}]}]",
		"two lists":  "[][]",
		"no list":    `{"d":"x"}`,
	} {
		packed := order.Packed(t, []byte(text))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := order.UnpackReports(packed)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, order.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if made := (after.TotalAlloc - before.TotalAlloc) >> 20; made > 64 {
			t.Errorf("%s: %d bytes become %d MiB", name, len(packed), made)
		}
	}
}

// A carrier takes no report of nobody, nor one whose parts beside the text are long.
func TestCarriedReport(t *testing.T) {
	good, err := order.NewSecret("one").SealReport(one, two, at, []byte(`{"schema":1}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*order.Reported){
		"as it is": func(*order.Reported) {},
		"device":   func(r *order.Reported) { r.Device = strings.Repeat("A", 32<<10) },
		"code":     func(r *order.Reported) { r.Code = make([]byte, 32<<10) },
	} {
		r := good
		change(&r)
		text, err := order.Carried{Report: &r}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := order.ParseCarried(text); errors.Is(err, order.ErrMalformed) == (name == "as it is") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzReports: what is read as reports can be written again, within the bounds.
func FuzzReports(f *testing.F) {
	r, _ := order.NewSecret("one").SealReport(one, two, at, []byte(`{"schema":1}`))
	b, _ := order.PackReports([]order.Reported{r, r})
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := order.UnpackReports(b)
		if err != nil {
			if !errors.Is(err, order.ErrMalformed) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		if len(all) > order.MaxReports {
			t.Errorf("%d reports", len(all))
		}
		for _, r := range all {
			if order.NewSecret("one").Reported(r, two) && !bytes.Equal(r.Report, []byte(`{"schema":1}`)) {
				t.Errorf("%+v is taken for genuine", r)
			}
		}
	})
}
