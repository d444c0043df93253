package tftp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/peerload/peerload/tftp"
)

// A server offers a directory on a free port, and a client reads from it.
func Example() {
	dir, err := os.MkdirTemp("", "tftp-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(dir+"/app.bin", []byte("the firmware of a phone"), 0o644); err != nil {
		fmt.Println(err)
		return
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer root.Close()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error)
	server := tftp.Server{Files: tftp.Dir(root)}
	go func() { done <- server.Serve(ctx, conn) }()

	var client tftp.Client
	// From the fifth byte on: our server knows where to start.
	body, err := client.Get(ctx, conn.LocalAddr().String(), "app.bin", 4)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := io.ReadAll(body)
	body.Close()
	fmt.Printf("%d bytes in all, from %d on: %s, %v\n", body.Size(), body.Offset(), text, err)

	_, err = client.Get(ctx, conn.LocalAddr().String(), "other.bin", 0)
	fmt.Println("not there:", errors.Is(err, tftp.ErrNotFound))

	stop()
	fmt.Println("the server has ended:", <-done)
	// Output:
	// 23 bytes in all, from 4 on: firmware of a phone, <nil>
	// not there: true
	// the server has ended: <nil>
}
