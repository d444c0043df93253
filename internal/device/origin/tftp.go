package origin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/tftp"
)

// tftpClient is the client that the configuration asks for.
func (c *Config) tftpClient() tftp.Client {
	t := tftp.Client{
		Idle: c.StallTimeout, MaxSize: load.MaxFileSize, LocalAddr: c.LocalAddr, BlockSize: c.BlockSize,
		WindowSize: c.WindowSize, Slide: c.Slide,
	}
	if c.LimitRate > 0 {
		// What is in flight must arrive before the server's timer ends.
		blocks := int(max(1, min(c.LimitRate/4/tftp.DefaultBlockSize, tftp.DefaultSlide)))
		if t.WindowSize == 0 {
			t.WindowSize = min(blocks, tftp.DefaultWindowSize)
		}
		if t.Slide == 0 {
			t.Slide = blocks
		}
	}
	return t
}

// openTFTP asks for a file. The path after the host and one slash is its name
// (RFC 3617); a second slash is part of the name.
func (m *Mux) openTFTP(ctx context.Context, r Request) (*Body, error) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	name, mode, _ := strings.Cut(name, ";mode=")
	if mode != "" && !strings.EqualFold(mode, "octet") {
		return nil, fmt.Errorf("the TFTP mode %q cannot carry firmware; use octet", mode)
	}
	if name == "" {
		return nil, errors.New("the URL names no file")
	}
	client := m.cfg.tftpClient()
	client.Learned = &m.tftp
	t, err := client.Get(ctx, r.URL.Host, name, r.Offset)
	if err != nil {
		return nil, classify(ctx, err, connecting)
	}
	return &Body{ReadCloser: t, Offset: t.Offset(), Size: t.Size(), Scheme: "tftp"}, nil
}
