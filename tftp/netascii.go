package tftp

import "io"

// netasciiReader turns a text of this system into netascii (RFC 764): LF
// becomes CR LF, CR becomes CR NUL.
type netasciiReader struct {
	r       io.ByteReader
	pending byte
	has     bool
}

// Read implements io.Reader.
func (n *netasciiReader) Read(p []byte) (int, error) {
	for i := range p {
		if n.has {
			p[i], n.has = n.pending, false
			continue
		}
		b, err := n.r.ReadByte()
		if err != nil {
			return i, err
		}
		switch b {
		case '\n':
			p[i], n.pending, n.has = '\r', '\n', true
		case '\r':
			p[i], n.pending, n.has = '\r', 0, true
		default:
			p[i] = b
		}
	}
	return len(p), nil
}

// netasciiDecoder turns netascii back, in place and in pieces: a CR at the end
// of one piece is kept for the next.
type netasciiDecoder struct{ cr bool }

// decode appends the decoded src to dst. end says that nothing follows.
func (d *netasciiDecoder) decode(dst, src []byte, end bool) []byte {
	for _, b := range src {
		if d.cr {
			d.cr = false
			switch b {
			case '\n':
				dst = append(dst, '\n')
				continue
			case 0:
				dst = append(dst, '\r')
				continue
			}
			dst = append(dst, '\r')
		}
		if b == '\r' {
			d.cr = true
			continue
		}
		dst = append(dst, b)
	}
	if end && d.cr {
		d.cr = false
		dst = append(dst, '\r')
	}
	return dst
}
