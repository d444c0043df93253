package proxy

import (
	"os"
	"testing"

	"github.com/peerload/peerload/internal/testkit/parallel"
)

func TestMain(m *testing.M) {
	parallel.Tests(16) // they wait for pauses before something is tried again
	os.Exit(m.Run())
}
