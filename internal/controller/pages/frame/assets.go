package frame

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed assets
var assets embed.FS

//go:embed templates
var own embed.FS

const assetPrefix = "/assets/"

// assetSum distinguishes the assets of this program from those of others, so that a
// browser may keep them for good.
var assetSum = sync.OnceValue(func() string {
	sum := sha256.New()
	entries, err := fs.ReadDir(assets, "assets")
	if err != nil {
		panic(err) // it was embedded
	}
	for _, e := range entries {
		b, err := fs.ReadFile(assets, "assets/"+e.Name())
		if err != nil {
			panic(err)
		}
		sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12]
})

// assetPath is where a browser fetches an asset.
func assetPath(name string) string { return assetPrefix + assetSum() + "/" + name }

func serveAsset(w http.ResponseWriter, r *http.Request) {
	sum, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, assetPrefix), "/")
	b, err := fs.ReadFile(assets, "assets/"+name)
	if err != nil || sum != assetSum() || path.Base(name) != name {
		http.Error(w, "there is no such asset", http.StatusNotFound)
		return
	}
	kind := mime.TypeByExtension(path.Ext(name))
	if kind == "" {
		kind = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(b) // the only error is a browser that is gone
}
