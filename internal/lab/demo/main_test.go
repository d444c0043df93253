package demo

import (
	"testing"

	"github.com/peerload/peerload/internal/testkit/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
