package trust_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// A device takes the manifest of a load from a published tree.
func ExampleClient() {
	base, err := os.MkdirTemp("", "trust-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(base)
	tree, pin := publish(base)

	// Whoever provisions the device puts the publisher's root there.
	dir := filepath.Join(base, "device")
	err = errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, trust.PinName), pin, 0o644))
	if err != nil {
		fmt.Println(err)
		return
	}
	device, err := trust.New(trust.Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, _, err := device.Manifest(context.Background(), trust.DirFetcher(tree), "phone")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range m.Components {
		fmt.Printf("%s %s for %v: %s, %d bytes, SHA-256 %s…\n",
			m.Name, m.Version, m.Models, c.Name, c.Size, c.Digest.Short())
	}
	_, _, err = device.Manifest(context.Background(), trust.DirFetcher(tree), "till")
	fmt.Println("another load is unknown:", errors.Is(err, trust.ErrUnknownTarget))
	// Output:
	// phone 2.1 for [7961]: app.bin, 23 bytes, SHA-256 2d931e45…
	// another load is unknown: true
}

// One device packs what the others need; each of them verifies it for itself.
func ExampleBundle() {
	base, err := os.MkdirTemp("", "trust-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(base)
	tree, pin := publish(base)

	root, err := trust.New(trust.Config{Pin: pin})
	if err != nil {
		fmt.Println(err)
		return
	}
	bundle, _, err := root.BuildBundle(context.Background(), trust.DirFetcher(tree), "phone")
	if err != nil {
		fmt.Println(err)
		return
	}
	sent := trust.PackBundle(bundle)

	received, err := trust.ParseBundle(sent)
	if err != nil {
		fmt.Println(err)
		return
	}
	leaf, err := trust.New(trust.Config{Pin: pin})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, _, err := leaf.Manifest(context.Background(), received, "phone")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("verified from a peer:", m.Name, m.Version)
	// Output: verified from a peer: phone 2.1
}

// publish makes a tree below base and returns its directory and the root that
// devices pin. It stands for peerload-server, which publishes: "load add" makes
// the tree, "trust export" the root. The package that it calls for that is not
// for other programs.
func publish(base string) (tree string, pin []byte) {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	tree = filepath.Join(base, "tree")
	repo, err := repository.Open(repository.Config{Dir: tree, Keys: filepath.Join(base, "keys")})
	check(err)
	check(repo.Init())
	const content = "the firmware of a phone"
	app, err := load.Describe("app.bin", strings.NewReader(content), int64(len(content)))
	check(err)
	m := load.Manifest{Name: "phone", Version: "2.1", Models: []string{"7961"}, Components: []load.Component{app}}
	check(repo.Add(&m, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }))
	pin, _, err = repo.ExportRoot()
	check(err)
	return tree, pin
}
