package bench

import (
	"testing"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/testkit/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// inside runs a test in namespaces.
var inside = labtest.Isolation{Isolated: site.Isolated, Isolate: site.Isolate}
