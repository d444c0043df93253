package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	v1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"

	testprograms "github.com/peerload/peerload/internal/testkit/programs"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

const mib = 1 << 20

// TestSizes: what a device has room for, as a release builds it.
func TestSizes(t *testing.T) {
	if err := testprograms.Sources("peerload", "peerload-get", "peerload-server"); err != nil {
		t.Fatal(err)
	}
	tiers.Long(t, "it builds a device's programs for other processors")
	limits := map[string]float64{"peerload": 10.6, get: 6.5}
	for _, tg := range Targets()[2:] { // arm and mipsle
		if tg.Arch != "arm" && os.Getenv("PEERLOAD_FULL") == "" {
			continue // the limits are those of arm
		}
		for _, p := range tg.Programs {
			out := filepath.Join(t.TempDir(), p)
			if err := tg.Build(t.Context(), "../..", p, out); err != nil {
				t.Fatal(err)
			}
			st, err := os.Stat(out)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, %s: %d bytes, %.2f MiB", p, tg.Name(), st.Size(), float64(st.Size())/mib)
			if limit := limits[p]; tg.Arch == "arm" && float64(st.Size()) > limit*mib {
				t.Errorf("%s has %d bytes, more than %.1f MiB: \"go tool nm -size -sort size\" of a program that is "+
					"built without -ldflags shows what weighs", p, st.Size(), limit)
			}
		}
	}
}

// TestStandIn: the names of the stand-in are numbered as those of the module that
// it stands for. Whatever is missing in it does not build.
func TestStandIn(t *testing.T) {
	raw, err := os.ReadFile("slim/protobuf-specs/gen/pb-go/common/v1/v1.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\t(HashAlgorithm|PublicKeyDetails)_(\w+) +(\w+) += (\d+)$`).
		FindAllStringSubmatch(string(raw), -1)
	if len(found) < 15 {
		t.Fatalf("only %d names", len(found))
	}
	for _, f := range found {
		real := v1.PublicKeyDetails_value
		if f[1] == "HashAlgorithm" {
			real = v1.HashAlgorithm_value
		}
		want, ok := real[f[2]]
		if got := fmt.Sprint(want); !ok || got != f[4] || f[1] != f[3] {
			t.Errorf("%s_%s is %s, want %d", f[1], f[2], f[4], want)
		}
	}
}

// TestTrustWithStandIn: the tests of trust pass with what a device is built with.
func TestTrustWithStandIn(t *testing.T) {
	if os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("it compiles the tests of trust anew; ./test.sh full does")
	}
	mod, remove, err := slimModule(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	if err := Command(t.Context(), "../..", nil, "go", "test", "-modfile="+mod, "./trust"); err != nil {
		t.Error(err)
	}
}
