package agent

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/policy"
)

// settings are the values in effect, with the level that each comes from.
type settings []policy.Answer

// effective computes the settings of a device.
func effective(model string, l policy.Levels) (settings, error) {
	return policy.EffectiveAll(policy.Builtin().Lookup(model), l)
}

// answer returns the answer for one setting.
func (s settings) answer(name string) policy.Answer {
	for _, a := range s {
		if a.Setting == name {
			return a
		}
	}
	return policy.Answer{Setting: name}
}

func (s settings) value(name string) string { return s.answer(name).Value }

// certificates reads a file of CA certificates; "" is the system's.
func certificates(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := readBounded(file, 4<<20)
	if err != nil {
		return nil, fmt.Errorf("cacert: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cacert: %s holds no certificate in PEM", file)
	}
	return pool, nil
}

// readMost reads a whole body of at most most bytes.
func readMost(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%w: more than %d bytes", origin.ErrTooMuch, most)
	}
	return b, err
}

// bootID reads what tells one run of the device from the next.
func bootID(file string) (string, error) {
	b, err := readBounded(file, 256)
	if os.IsNotExist(err) {
		return "", fmt.Errorf("%w: name a file with --boot-id whose content changes with each start of the device", err)
	}
	return string(b), err
}
