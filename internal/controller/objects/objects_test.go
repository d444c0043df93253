package objects_test

import (
	"testing"

	"github.com/peerload/peerload/internal/controller/objects"
	"github.com/peerload/peerload/internal/testkit/treesuite"
)

func TestDir(t *testing.T) {
	treesuite.Run(t, func(t *testing.T) objects.Tree {
		return objects.Dir{Path: t.TempDir(), Folders: []string{"metadata", "components"}}
	})
}
