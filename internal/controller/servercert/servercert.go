// Package servercert keeps the TLS certificate that the controller serves with: the
// administrator's, or one that it makes itself.
//
// What lives here: loading, making, renewing and swapping it. What must not: flags,
// listening, ACME.
//
// Read first: Open.
package servercert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/internal/durable"
)

// Lives of a generated certificate: it is renewed at a start in its last
// months.
const (
	certLife  = 2 * 365 * 24 * time.Hour
	certRenew = 60 * 24 * time.Hour
)

// Certs holds the certificate in use, which may be replaced meanwhile.
type Certs struct {
	load func() (tls.Certificate, error)
	now  atomic.Pointer[tls.Certificate]
}

// load loads the certificate for the first time.
func load(from func() (tls.Certificate, error)) (*Certs, error) {
	c := &Certs{load: from}
	_, err := c.Reload()
	return c, err
}

// Open returns the certificate of certFile and keyFile, both in PEM, or without them
// the one that is kept in dir, for the host names and addresses in names, of which
// there is at least one. It is made where it is missing, for other names, or about
// to expire. A damaged one is put aside and made anew: without one the server would
// serve nobody.
func Open(certFile, keyFile, dir string, names []string) (*Certs, error) {
	from := func() (tls.Certificate, error) { return certificate(certFile, keyFile, dir, names, time.Now()) }
	c, err := load(from)
	if err == nil || certFile != "" || keyFile != "" {
		return c, err
	}
	for _, f := range []string{"cert.pem", "key.pem"} {
		if e := durable.PutAside(filepath.Join(dir, f)); e != nil && !errors.Is(e, fs.ErrNotExist) {
			return c, errors.Join(err, e)
		}
	}
	return load(from)
}

// Reload loads the certificate again and reports whether it is another one.
// After an error the previous one stays in use.
func (c *Certs) Reload() (changed bool, err error) {
	next, err := c.load()
	if err != nil {
		return false, err
	}
	before := c.now.Swap(&next)
	return before != nil && fingerprint(*before) != fingerprint(next), nil
}

// Get is the GetCertificate of a tls.Config.
func (c *Certs) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil }

// certificate returns the certificate to serve with: the administrator's, or
// one that is generated in dir and kept there. names are host names and
// addresses that a generated one is for.
func certificate(certFile, keyFile, dir string, names []string, now time.Time) (tls.Certificate, error) {
	if certFile != "" || keyFile != "" {
		if certFile == "" || keyFile == "" {
			return tls.Certificate{}, errors.New("--tls-cert and --tls-key belong together: give both, or neither")
		}
		c, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			err = fmt.Errorf("--tls-cert, --tls-key: %w; name the files of a certificate and its key, in PEM", err)
		}
		return c, err
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && usable(c.Leaf, names, now) {
		return c, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("the generated certificate: %w; remove %s to have a new one", err, certFile)
	}
	if err := Generate(durable.Writer{}, certFile, keyFile, names, now); err != nil {
		return c, err
	}
	return tls.LoadX509KeyPair(certFile, keyFile)
}

func usable(leaf *x509.Certificate, names []string, now time.Time) bool {
	return now.Add(certRenew).Before(leaf.NotAfter) &&
		!slices.ContainsFunc(names, func(n string) bool { return leaf.VerifyHostname(n) != nil })
}

// Generate makes a certificate that signs itself, for the host names and addresses
// in names, and its key: clients trust it by having its file.
func Generate(disk durable.Writer, certFile, keyFile string, names []string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "Peerload controller " + names[0]},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certLife), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The certificate last: without it both are made anew. A power cut must not
	// bring the old one back beside the new key.
	if err := disk.Remove(certFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := disk.SyncDir(filepath.Dir(certFile)); err != nil {
		return err
	}
	if err := writePEM(disk, keyFile, "PRIVATE KEY", raw, 0o600); err != nil {
		return err
	}
	return writePEM(disk, certFile, "CERTIFICATE", der, 0o644)
}

func writePEM(disk durable.Writer, path, kind string, der []byte, mode fs.FileMode) error {
	return disk.Write(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}

// Fingerprint is the SHA-256 of the certificate in use, in hexadecimal, as browsers
// show it.
func (c *Certs) Fingerprint() string { return fingerprint(*c.now.Load()) }

// fingerprint is the SHA-256 of a certificate, as browsers show it.
func fingerprint(c tls.Certificate) string { return fmt.Sprintf("%X", sha256.Sum256(c.Certificate[0])) }
