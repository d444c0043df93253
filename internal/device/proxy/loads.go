package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"

	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// openTrust opens the directories of publishers that rules name.
func openTrust(rules sharing.Rules) (map[string]*trust.Client, error) {
	all := map[string]*trust.Client{}
	for _, r := range rules {
		if r.Trust == "" || all[r.Trust] != nil {
			continue
		}
		c, err := trust.New(trust.Config{Dir: r.Trust})
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", r, err)
		}
		all[r.Trust] = c
	}
	return all, nil
}

// askLoads verifies the manifests of signed loads, unless that was just done. What is
// not signed is not learned: its components are then decided on without it.
func (p *Proxy) askLoads(ctx context.Context, d sharing.Decision) {
	for _, u := range d.Loads {
		if !p.mayAsk("load\x00" + u.String()) {
			continue
		}
		m, _, err := p.trusted[d.Trust].Manifest(ctx, &repositoryAt{p, u}, path.Base(u.Path))
		if err == nil {
			p.LearnLoad(u, m)
		}
	}
}

// LearnLoad tells the proxy of a load whose manifest, at a URL, was verified: each chunk
// of its components is handed on as soon as it is here.
func (p *Proxy) LearnLoad(u *url.URL, m *load.Manifest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known.LearnLoad(u, m)
}

// repositoryAt is the signed repository that a manifest belongs to, as a trust.Fetcher.
type repositoryAt struct {
	p  *Proxy
	at *url.URL // of the manifest
}

// Fetch implements trust.Fetcher.
func (r *repositoryAt) Fetch(ctx context.Context, name string, most int64) ([]byte, error) {
	u := *r.at
	u.Path, u.RawPath = path.Join(path.Dir(r.at.Path), name), ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Via", "1.1 "+r.p.pseudo)
	resp, err := r.p.client().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, trust.ErrNotFound
	default:
		return nil, fmt.Errorf("%s: %s", u.Redacted(), resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err == nil && int64(len(b)) > most {
		err = trust.ErrTooLarge
	}
	return b, err
}
