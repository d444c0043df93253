package parse

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestSize(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "7": 7, "007": 7, "7b": 7, " 7 ": 7, "200k": 200 << 10, "2M": 2 << 20, "3g": 3 << 30,
		"64KiB": 64 << 10, "1mib": 1 << 20, "2GiB": 2 << 30, "20MB": 20e6, "1.5 kB": 1500, "0.5G": 1 << 29,
		"4gb": 4e9, ".5k": 512, "0.0": 0, "1.5": 2, "1.0001k": 1024, "4611686018427387904": MaxSize, "4294967296G": MaxSize,
	} {
		if got, err := Size(in); got != want || err != nil {
			t.Errorf("%q is %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", " ", "k", "0.4", "0.0001k", "MB", ".", "-1", "+1", "1e3", "0x10", "1.2.3", "3TB", "1 k B", "1kk", "nan", "inf",
		"1_000", "4611686018427389000", "4611686018427387904k", "9223372036854775808", "99999999999999999999G", "4294967297G",
		strings.Repeat("9", 400),
	} {
		if got, err := Size(in); err == nil {
			t.Errorf("%q was taken as %d", in, got)
		}
	}
}

func TestMAC(t *testing.T) {
	for in, want := range map[string]string{
		"00:1a:2b:3c:4d:5e": "001A2B3C4D5E", "001A2B3C4D5E": "001A2B3C4D5E", "001a.2b3c.4d5e": "001A2B3C4D5E",
		"00-1A-2B-3C-4D-5E": "001A2B3C4D5E", "020000000001": "020000000001",
	} {
		if got, err := MAC(in); got != want || err != nil {
			t.Errorf("%q is %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "00:1a", "001A2B3C4D5G", "001A2B3C4D5E00", " 001A2B3C4D5E", "00/1A2B3C4D5E"} {
		if got, err := MAC(in); err == nil || errors.Is(err, ErrNoDevice) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"} {
		if got, err := MAC(in); !errors.Is(err, ErrNoDevice) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

// FuzzSize: a number of bytes is refused, or within its bounds and read again as
// it is written.
func FuzzSize(f *testing.F) {
	for _, s := range []string{"0", " 1.5 kB", "2M", "4611686018427387904", ".5k", "1e3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Size(s)
		if err != nil {
			return
		}
		if again, err := Size(strconv.FormatInt(n, 10)); n < 0 || n > MaxSize || again != n || err != nil {
			t.Fatalf("%q is %d, and that %d, %v", s, n, again, err)
		}
	})
}

// FuzzMAC: an address is refused, or is one of a device, and its own form.
func FuzzMAC(f *testing.F) {
	for _, s := range []string{"00:11:22:aa:bb:cc", "0011.22aa.bbcc", "01-00-5e-00-00-01", "ffffffffffff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		mac, err := MAC(s)
		if err != nil {
			if mac != "" {
				t.Fatalf("%q is %q with %v", s, mac, err)
			}
			return
		}
		if again, err := MAC(strings.ToLower(mac)); again != mac || err != nil || len(mac) != 12 {
			t.Fatalf("%q is %q, and that %q, %v", s, mac, again, err)
		}
	})
}

// TestAddress: an address without its prefix stands for that of the interface.
func TestAddress(t *testing.T) {
	for text, want := range map[string]string{"10.0.0.1": "10.0.0.1/32", "10.0.0.7/24": "10.0.0.7/24",
		"127.1.2.3/8": "127.1.2.3/8", "": "", "10.0.0": "", "10.0.0.7/33": "", "fe80::1%eth0": "", "host": ""} {
		got, err := Address(text)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "10.0.0.7/24", "::1", "10.0.0.1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Address(s)
		if err != nil {
			return
		}
		if again, err := Address(p.String()); err != nil || again != p {
			t.Fatalf("%q is %v, and that %v, %v", s, p, again, err)
		}
	})
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m", 10 * time.Second: "10s",
		time.Hour + time.Second: "1h0m1s", 2160 * time.Hour: "2160h", 1500 * time.Millisecond: "1.5s",
		-20 * time.Minute: "-20m",
	} {
		if got := Duration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
